"""Train the policies: every method of every experiment from one reference, and measure each on held-out pairs.

A policy is a LoRA on the reference (the base model with the reference adapter of stage ``sepo_oracle`` folded in). A run that two
experiments share is trained once. Writes ``models/sepo_policies/<profile>/``: the adapters, `runs.parquet` (what each run is),
`experiments.parquet` (which runs an experiment compares), `curves.parquet`, `measured.parquet` (log-probabilities of each test pair under
each policy), `divergence.parquet` and `answers.parquet`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from catalog.adapters import saved_lora
from catalog.errors import CatalogError, run
from catalog.io import atomic_dir, write_json, write_parquet
from catalog.lm import generate, load_lm, require_full
from catalog.pairs import SIDES, pair_collate
from catalog.params import ROOT, profile_params
from catalog.progress import progress
from catalog.training import checkpoint_folder, finish, is_main, lora, save_lora, train_once
from stages.sepo.method import check, labels_of, loss_of, response_positions, step_flops
from stages.sepo.oracle import with_reference
from stages.sepo.scoring import Scores, divergence, token_log_probs
from stages.sepo.settings import Experiment, Method, Params, Train
from stages.sepo.texts import Pairs, encoded, entering, prompt_ids, read, settings

STAGE = "sepo_train"
MODEL = "sepo_policies"
DIVERGED = 32  # test pairs of a set whose divergence is measured, for time
UNTRAINED = "untrained"


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
        """Of its folder, and in every table."""
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


def answers(model: Any, tokenizer: Any, pairs: Pairs, p: Train, system: str | None, name: str) -> pl.DataFrame:
    """run, id, answer, tokens: greedy answers to the prompts of the first pairs."""
    some = pairs.rows.head(p.prompts)
    prompts = [prompt_ids(tokenizer, text, system) for text in some["prompt"]]
    texts = generate(model, tokenizer, prompts, p.answer_tokens)
    counts = [len(ids) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]]
    return pl.DataFrame({"run": [name] * len(texts), "id": some["id"], "answer": texts, "tokens": counts})


def main(profile: str) -> None:
    params = profile_params(Params, "sepo", profile)
    p = params.train
    for method in p.methods:
        check(method)
    wanted = {e.name: list(specs(e, p)) for e in p.experiments}
    runs = list(dict.fromkeys(spec for group in wanted.values() for spec in group))
    if profile == "full":  # before any work
        require_full(p.model)
    began = time.perf_counter()
    table, scored = read(profile), pl.read_parquet(ROOT / "data" / "token_scores" / profile / "scores.parquet")
    model, tokenizer = load_lm(p.model)
    train_sets = {name: encoded(table, tokenizer, params.tokens, name, "train", params.seed)[0] for name in {r.set: 0 for r in runs}}
    train_sets = {name: pairs.head(p.pairs) if p.pairs else pairs for name, pairs in train_sets.items()}
    test_sets = {name: encoded(table, tokenizer, params.tokens, name, "test", params.seed)[0] for name in p.measured}
    s = settings(params.lora, p.fit, model.config.num_hidden_layers, params.seed)
    start = min(s.lora_layers, default=0)
    train_sets = {name: entering(model, pairs, s.lora_layers) for name, pairs in train_sets.items()}
    test_sets = {name: entering(model, pairs, s.lora_layers) for name, pairs in test_sets.items()}
    measured, kls, said, curves, infos, rows = [measure(model, test_sets, start, "base")], [], [], [], [], []
    with saved_lora(model, ROOT / "models" / "sepo_oracle" / profile / p.reference / "reference") as adapted:
        adapted.merge_adapter()
    measured.append(measure(model, test_sets, start, UNTRAINED))
    first = p.experiments[0]
    spoken = [spec.name for spec in wanted[first.name] if spec.seed == first.seeds[0]]
    asked = next(iter(test_sets.values()))
    if p.prompts:
        said.append(answers(model, tokenizer, asked, p, params.tokens.system, UNTRAINED))
    cached = {name: with_reference(pairs, token_log_probs(model, pairs.tokens, start)) for name, pairs in train_sets.items()}
    folder = checkpoint_folder(STAGE, profile, model, [], s, extra=[p.reference])
    made = []
    with progress(len(runs), "policies", "policy") as advance:
        for spec in runs:
            m, pairs = spec.method, train_sets[spec.set]
            scores = scores_of(scored, spec.oracle, spec.set, pairs) if spec.oracle else None
            source = cached[spec.set] if m.reference == "cached" else pairs.tokens
            examples = labels_of(m, source, scores, spec.seed)
            own = settings(params.lora, p.fit, model.config.num_hidden_layers, spec.seed, steps=0)
            cost, unit = (step_flops(kind, model, examples if kind is m else pairs.tokens, own) for kind in (m, _dpo(p)))
            steps = max(1, round(p.fit.epochs * len(pairs.tokens) / p.fit.batch_size * (unit / cost if spec.compute else 1)))
            own = replace(own, steps=steps)
            done = train_once(
                model, examples, own, folder / spec.name, loss_fn=loss_of(m), collate=pair_collate(shared=True), desc=spec.name
            )
            made.append((spec, own, done.tensors))
            trained_on = sum(int((np.asarray(e[f"{side}_labels"]) != -100).sum()) for e in examples for side in SIDES)
            all_tokens = sum(len(response_positions(e, side)) for e in pairs.tokens for side in SIDES)
            if is_main():
                with lora(model, own, done.tensors) as adapted:
                    measured.append(measure(adapted.eval(), test_sets, start, spec.name))
                    kls.append(diverge(adapted, test_sets, start, spec.name))
                    if p.prompts and spec.name in spoken:
                        said.append(answers(adapted, tokenizer, asked, p, params.tokens.system, spec.name))
                label = {"run": spec.name}
                curves.append(pl.DataFrame(done.history).with_columns(run=pl.lit(spec.name)))
                infos.append(label | done.info)
                rows.append(
                    label
                    | {"method": m.name, "loss": m.loss, "selector": m.selector, "reference": m.reference, "oracle": spec.oracle}
                    | {"set": spec.set, "seed": spec.seed, "chosen_share": m.chosen_share, "rejected_share": m.rejected_share}
                    | {"beta": m.beta, "gamma": m.gamma, "pairs": len(pairs.tokens), "steps": steps}
                    | {"tokens_used": trained_on / all_tokens, "step_flops": float(cost), "relative_cost": float(cost / unit)}
                )
            advance()
    if is_main():
        with atomic_dir(ROOT / "models" / MODEL / profile) as target:
            for spec, own, tensors in made:
                save_lora(tensors, own, p.model, target / "adapters" / spec.name)
            write_parquet(pl.DataFrame(rows, infer_schema_length=None), target / "runs.parquet")
            members = [{"experiment": name, "run": spec.name} for name, group in wanted.items() for spec in dict.fromkeys(group)]
            write_parquet(pl.DataFrame(members), target / "experiments.parquet")
            write_parquet(pl.concat(curves), target / "curves.parquet")
            write_parquet(pl.concat(measured), target / "measured.parquet")
            write_parquet(pl.concat(kls), target / "divergence.parquet")
            if said:
                write_parquet(pl.concat(said), target / "answers.parquet")
        facts = {"seconds": round(time.perf_counter() - began, 1), "peak_memory_mb": max(info["peak_memory_mb"] for info in infos)}
        write_json({"runs": infos} | facts, ROOT / "models" / MODEL / f"{profile}.run.json")
    finish(STAGE, profile)


def _dpo(p: Train) -> Method:
    """DPO with a live reference, whose cost is the unit."""
    m = p.methods[0]
    return replace(m, name="dpo", loss="dpo", selector="all", reference="live", chosen_share=1.0, rejected_share=1.0)


if __name__ == "__main__":
    run(main)
