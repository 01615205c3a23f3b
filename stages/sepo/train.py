"""Train the policies: every method of every experiment from one reference, and measure each on held-out pairs.

A policy is a LoRA on the reference (the base model with the reference adapter of stage ``sepo_oracle`` folded in). A run that two
experiments share is trained once. Writes ``models/sepo_policies/<profile>/``: the adapters, `runs.parquet` (what each run is),
`experiments.parquet` (which runs an experiment compares), `curves.parquet`, `measured.parquet` (log-probabilities of each test pair under
each policy), `divergence.parquet`, `answers.parquet` and `left_out.parquet` (pairs that are too long or too short, or alike once cut).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from catalog.base.errors import CatalogError, run
from catalog.base.io import atomic_dir, write_json, write_parquet
from catalog.base.params import ROOT, profile_params
from catalog.base.progress import progress
from catalog.models.lm import generate, load_lm, require_full
from catalog.training.adapters import lora, save_lora, saved_lora
from catalog.training.checkpoints import checkpoint_folder, finish, is_main
from catalog.training.pairs import SIDES, pair_collate
from catalog.training.settings import Settings
from catalog.training.train import Run, train_once
from stages.sepo.method import check, labels_of, loss_of, response_positions, step_flops
from stages.sepo.oracle import with_reference
from stages.sepo.scoring import Scores, divergence, token_log_probs
from stages.sepo.settings import BASE, LIVE_DPO, UNTRAINED, Experiment, Method, Params, Train
from stages.sepo.texts import Pairs, encoded, entering, prompts, read, settings

STAGE = "sepo_train"
MODEL = "sepo_policies"
DIVERGED = 16  # test pairs of a set whose divergence is measured, for time


@dataclass(frozen=True)
class Spec:
    """What makes a policy: two experiments that ask for equal ones share it."""

    method: Method
    oracle: str | None
    set: str
    seed: int
    compute: bool

    @property
    def name(self) -> str:
        """Its id: of its folder, and what tables are joined by. Nothing reads it: what a run is stands in columns of `runs.parquet`."""
        m = self.method
        shares = f"{m.chosen_share:g}-{m.rejected_share:g}" if m.selector != "all" else "all"
        parts = [m.name, self.set, self.oracle or "none", shares, f"seed{self.seed}", *(["compute"] if self.compute else [])]
        return "_".join(parts).replace(" ", "-")


def specs(e: Experiment, p: Train) -> Iterator[Spec]:
    """The runs of an experiment.

    Raises:
        CatalogError: a method that is not declared.
    """
    known = {m.name: m for m in p.methods}
    for name in e.methods:
        if name not in known:
            raise CatalogError(f"Experiment {e.name} names the method {name!r}; train.methods has {', '.join(known)}.")
        method = known[name]
        for oracle in e.oracles if method.selector == "oracle" else (None,):
            for chosen in e.chosen_shares or (method.chosen_share,):
                for rejected in e.rejected_shares or (method.rejected_share,):
                    changed = replace(method, chosen_share=chosen, rejected_share=rejected) if method.selector != "all" else method
                    for data in e.sets:
                        for seed in e.seeds:
                            yield Spec(changed, oracle, data, seed, e.compute)


def scores_of(table: pl.DataFrame, oracle: str, name: str, pairs: Pairs) -> list[Scores]:
    """Token scores of the pairs in their order, from the table of stage ``sepo_oracle``.

    Raises:
        CatalogError: a pair has no scores.
    """
    part = table.filter((pl.col("oracle") == oracle) & (pl.col("set") == name)).sort("id", "side", "position")
    found = part.group_by("id", "side", maintain_order=True).agg("score")
    groups = {(key, side): np.asarray(values, dtype=np.float32) for key, side, values in found.iter_rows()}
    missing = [key for key in pairs.rows["id"] if any((key, side) not in groups for side in SIDES)]
    if missing:
        raise CatalogError(f"Oracle {oracle} has no scores for pair {missing[0]} of {name}; run `dvc repro -f sepo_oracle`.")
    return [{side: groups[key, side] for side in SIDES} for key in pairs.rows["id"]]


@dataclass(frozen=True)
class Bench:
    """What every policy is trained from and measured on."""

    model: Any  # the reference: the base model with the adapter of stage ``sepo_oracle`` folded in
    tokenizer: Any
    params: Params
    start: int  # the layer that the pairs' streams enter
    train: dict[str, Pairs]
    test: dict[str, Pairs]
    cached: dict[str, list[dict[str, Any]]]  # training pairs with the reference's log-probabilities
    unit: dict[str, float]  # FLOPs of a step of DPO with a live reference on a set
    left_out: pl.DataFrame  # pairs that are neither trained on nor measured: set, split, id, reason


def settings_of(params: Params, model: Any, seed: int) -> Settings:
    return settings(params.lora, params.train.fit, model.config.num_hidden_layers, seed)


def ready(params: Params, sets: list[str], profile: str) -> tuple[Bench, list[pl.DataFrame]]:
    """The bench, and what is measured of the base model and of the reference before any training."""
    p, table = params.train, read(profile)
    model, tokenizer = load_lm(p.model)
    s = settings_of(params, model, params.seed)
    left = []

    def pairs(name: str, split: str) -> Pairs:
        found, dropped = encoded(table, tokenizer, params.tokens, name, split, params.seed)
        left.append(dropped)
        return entering(model, found.head(p.pairs) if split == "train" and p.pairs else found, s.lora_layers)

    measured_sets = dict.fromkeys(name for e in p.experiments for name in e.measured)
    train, test = ({name: pairs(name, split) for name in names} for names, split in ((sets, "train"), (measured_sets, "test")))
    start = min(s.lora_layers, default=0)
    measured = [measure(model, test, start, BASE)]
    with saved_lora(model, ROOT / "models" / "sepo_oracle" / profile / p.reference / "reference") as adapted:
        adapted.merge_adapter()
    measured.append(measure(model, test, start, UNTRAINED))
    cached = {name: with_reference(own, token_log_probs(model, own.tokens, start)) for name, own in train.items()}
    unit = {name: step_flops(LIVE_DPO, model, own.tokens, s) for name, own in train.items()}
    return Bench(model, tokenizer, params, start, train, test, cached, unit, pl.concat(left)), measured


def policy(b: Bench, spec: Spec, scored: pl.DataFrame, folder: Path) -> tuple[Settings, Run, dict[str, Any]]:
    """Train one policy, or read it where an interrupted stage has done so: its settings, its run, its row of `runs`."""
    m, pairs, fit = spec.method, b.train[spec.set], b.params.train.fit
    scores = scores_of(scored, spec.oracle, spec.set, pairs) if spec.oracle else None
    examples = labels_of(m, b.cached[spec.set] if m.reference == "cached" else pairs.tokens, scores, spec.seed)
    s = settings_of(b.params, b.model, spec.seed)
    cost = step_flops(m, b.model, examples, s)
    relative = cost / b.unit[spec.set]
    s = replace(s, steps=max(1, round(fit.epochs * len(examples) / fit.batch_size / (relative if spec.compute else 1))))
    done = train_once(b.model, examples, s, folder / spec.name, loss_fn=loss_of(m), collate=pair_collate(shared=True), desc=spec.name)
    used, tokens = (sum(len(response_positions(e, side)) for e in group for side in SIDES) for group in (examples, pairs.tokens))
    return s, done, {
        "run": spec.name,
        "method": m.name,
        "loss": m.loss,
        "selector": m.selector,
        "reference": m.reference,
        "oracle": spec.oracle,
        "set": spec.set,
        "seed": spec.seed,
        "chosen_share": m.chosen_share,
        "rejected_share": m.rejected_share,
        "compute": spec.compute,
        "beta": m.beta,
        "gamma": m.gamma,
        "pairs": len(examples),
        "steps": s.steps,
        "tokens_used": used / tokens,
        "step_flops": float(cost),
        "relative_cost": float(relative),
    }  # fmt: skip


def measure(model: Any, sets: dict[str, Pairs], start: int, name: str) -> pl.DataFrame:
    """run, set, id and, of each side, sum and number of the log-probabilities of its tokens."""
    parts = []
    for data, pairs in sets.items():
        found = token_log_probs(model, pairs.tokens, start)
        columns = {f"{side}_sum": [float(both[side].sum(dtype=np.float64)) for both in found] for side in SIDES}
        columns |= {f"{side}_tokens": [len(both[side]) for both in found] for side in SIDES}
        parts.append(pl.DataFrame({"run": [name] * len(found), "set": [data] * len(found), "id": pairs.rows["id"], **columns}))
    return pl.concat(parts)


def diverge(model: Any, sets: dict[str, Pairs], start: int, name: str) -> pl.DataFrame:
    """run, set, id, kl: mean over the response tokens of the first pairs of each set."""
    parts = []
    for data, pairs in sets.items():
        some = pairs.head(DIVERGED)
        kl = divergence(model, some.tokens, start)
        parts.append(pl.DataFrame({"run": [name] * len(kl), "set": [data] * len(kl), "id": some.rows["id"], "kl": kl}))
    return pl.concat(parts)


def answers(model: Any, b: Bench, name: str) -> pl.DataFrame:
    """run, id, answer, tokens: greedy answers to the prompts of the first pairs of the first set."""
    some = next(iter(b.test.values())).rows.head(b.params.train.prompts)
    texts = generate(model, b.tokenizer, prompts(b.tokenizer, some, b.params.tokens.system), b.params.train.answer_tokens)
    counts = [len(ids) for ids in b.tokenizer(texts, add_special_tokens=False)["input_ids"]]
    return pl.DataFrame({"run": [name] * len(texts), "id": some["id"], "answer": texts, "tokens": counts})


@dataclass
class Made:
    """What the stage writes: of each policy its settings, its run and what it is, and what was measured of it."""

    runs: list[tuple[Spec, Settings, Run, dict[str, Any]]]
    measured: list[pl.DataFrame]
    diverged: list[pl.DataFrame]
    said: list[pl.DataFrame]


def train_all(b: Bench, wanted: dict[str, list[Spec]], scored: pl.DataFrame, folder: Path, made: Made) -> None:
    """Train every policy and measure it on the sets of its experiments; those of the first experiment also by divergence and answers."""
    p = b.params.train
    first = p.experiments[0]
    with progress(len(every(wanted)), "policies", "policy") as advance:
        for spec in every(wanted):
            s, done, row = policy(b, spec, scored, folder)
            made.runs.append((spec, s, done, row))
            if is_main():
                with lora(b.model, s, done.tensors) as adapted:
                    adapted.eval()
                    asked = {name: b.test[name] for e in p.experiments if spec in wanted[e.name] for name in e.measured}
                    made.measured.append(measure(adapted, asked, b.start, spec.name))
                    if spec in wanted[first.name]:  # the others are compared by margin and accuracy
                        made.diverged.append(diverge(adapted, asked, b.start, spec.name))
                        if p.prompts and spec.seed == first.seeds[0]:
                            made.said.append(answers(adapted, b, spec.name))
            advance()


def every(wanted: dict[str, list[Spec]]) -> list[Spec]:
    """The policies of all experiments, each once."""
    return list(dict.fromkeys(spec for group in wanted.values() for spec in group))


def write(made: Made, wanted: dict[str, list[Spec]], b: Bench, target: Path) -> None:
    """Adapters and tables of all policies."""
    for spec, s, done, _ in made.runs:
        save_lora(done.tensors, s, b.params.train.model, target / "adapters" / spec.name)
    write_parquet(b.left_out, target / "left_out.parquet", sort_by=["set", "split", "id"])
    members = [{"experiment": name, "run": spec.name} for name, group in wanted.items() for spec in dict.fromkeys(group)]
    write_parquet(pl.DataFrame([row for *_, row in made.runs], infer_schema_length=None), target / "runs.parquet")
    write_parquet(pl.DataFrame(members), target / "experiments.parquet")
    curves = [pl.DataFrame(done.history).with_columns(run=pl.lit(spec.name)) for spec, _, done, _ in made.runs]
    for name, tables in (("curves", curves), ("measured", made.measured), ("divergence", made.diverged), ("answers", made.said)):
        if tables:
            write_parquet(pl.concat(tables), target / f"{name}.parquet")


def main(profile: str) -> None:
    params = profile_params(Params, "sepo", profile)
    p = params.train
    for method in p.methods:
        check(method)
    wanted = {e.name: list(specs(e, p)) for e in p.experiments}
    if profile == "full":  # before any work
        require_full(p.model)
    began = time.perf_counter()
    scored = pl.read_parquet(ROOT / "data" / "token_scores" / profile / "scores.parquet")
    b, measured = ready(params, list(dict.fromkeys(spec.set for spec in every(wanted))), profile)
    made = Made([], measured, [], [answers(b.model, b, UNTRAINED)] if p.prompts else [])
    folder = checkpoint_folder(STAGE, profile, b.model, [], settings_of(params, b.model, params.seed), extra=[p.reference])
    train_all(b, wanted, scored, folder, made)
    if is_main():
        with atomic_dir(ROOT / "models" / MODEL / profile) as target:
            write(made, wanted, b, target)
        infos = [{"run": spec.name} | done.info for spec, _, done, _ in made.runs]
        facts = {"seconds": round(time.perf_counter() - began, 1), "peak_memory_mb": max(info["peak_memory_mb"] for info in infos)}
        write_json({"runs": infos} | facts, ROOT / "models" / MODEL / f"{profile}.run.json")
    finish(STAGE, profile)


if __name__ == "__main__":
    run(main)
