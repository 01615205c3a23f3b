"""Model runs of the system: measure the bias, find the neurons, edit, and measure again, with every baseline beside it.

Writes raw signals (one row a prompt, paragraph or question, for each method) to `models/gender_edit/<profile>/`, with the edit itself: a
reversible patch and, for the first model, a whole edited checkpoint. `evaluate` makes tables and intervals of them without a model.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import polars as pl
import torch

from catalog.base.errors import CatalogError, run
from catalog.base.io import atomic_dir, write_json, write_parquet
from catalog.base.params import ROOT, profile_params
from catalog.inside.anatomy import view
from catalog.inside.interventions import random_neurons
from catalog.inside.patch import make_patch, patched, save_patch
from catalog.inside.scan import finish, probe
from catalog.inside.two_targets import find
from catalog.models.answers import next_token
from catalog.models.devices import peak_memory_mb
from catalog.models.lm import load_lm, require_full
from catalog.training.adapters import save_model, saved_lora
from stages.gender_bias.bench import Bench, bench, choices, load, reverse
from stages.gender_bias.calibration import calibrate
from stages.gender_bias.locate import Selection, cards, hierarchy, locate_prompts, part, search, selections, weighed
from stages.gender_bias.proto import cna_neurons, profession_bias
from stages.gender_bias.settings import Measure, Params, Row

NAMES = "words factual neutral choice arithmetic reverse neurons hierarchy proto_a calibration calibration_edit".split()
Tables = dict[str, list[pl.DataFrame]]


class Recorder:
    """Measures one bench under one method after another and keeps the rows. ``base`` is what the unedited model reads on neutral text: the
    first model given, so that an edit's agreement is with it."""

    def __init__(self, b: Bench, data: dict[str, pl.DataFrame], out: Tables, base: tuple | None = None):
        self.b, self.data, self.out = b, data, out
        self.base = b.reading(b.v.n_layers - 1) if base is None else base
        sums = data["sums"]
        self.on_sums = probe(b.v, b.ids(sums["prompt"].to_list()))
        gold = [next_token(b.tokenizer, prompt, answer, apart=True) for prompt, answer in sums.select("prompt", "answer").iter_rows()]
        self.gold = torch.tensor(gold, device=b.v.device)[self.on_sums.rows]

    def note(self, method: str, start: int = 0, *, neurons: int | None = None, seed: int = 0, wide: bool = False, prefix: str = "") -> None:
        """Measure the model as it stands; ``start`` is the first layer that differs. ``wide`` adds multiple choice and the reverse
        direction. A ``prefix`` goes before every prompt of the bias sets; neutral text is then the model's own."""
        b = self.b
        on_words, on_factual = b.on_words, b.on_factual
        if prefix:  # the probes are fresh, so only the output is left to compute
            start = b.v.n_layers - 1
            on_words, on_factual = (probe(b.v, b.ids(table["text"].to_list(), prefix)) for table in (b.words, b.factual))
        nll, best = self.base if prefix else b.reading(start)
        agree = (best == self.base[1]).tolist()
        read = pl.DataFrame({"paragraph": b.on_neutral.rows.tolist(), "nll": nll.tolist(), "agree": agree})
        measured = {
            "words": pl.concat([b.words.select("id"), b.odds(on_words, start)], how="horizontal"),
            "factual": pl.concat([b.factual.select("id"), b.odds(on_factual, start)], how="horizontal"),
            "neutral": read.group_by("paragraph").agg(pl.len().alias("tokens"), pl.col("nll", "agree").sum()).sort("paragraph"),
        }
        if not prefix:
            right = torch.empty(len(self.gold), dtype=torch.bool, device=b.v.device)
            right[self.on_sums.rows] = finish(b.v, self.on_sums, start, lambda logp: logp.argmax(-1)) == self.gold
            measured["arithmetic"] = self.data["sums"].select("id").with_columns(correct=pl.Series(right.tolist()))
        if wide:
            measured["choice"] = choices(b.model, b.tokenizer, self.data["choice"])
            measured["reverse"] = reverse(b.model, b.tokenizer, self.data["prompts"])
        for name, table in measured.items():
            labels = {"model": pl.lit(b.name), "method": pl.lit(method), "seed": pl.lit(seed)}
            self.out[name].append(table.with_columns(**labels, neurons=pl.lit(neurons, pl.Int32)))


@contextmanager
def without_direction(b: Bench, pairs: pl.DataFrame, components: int, count: int) -> Iterator[None]:
    """Sentence-Debias (Liang et al. 2020, arXiv 2007.08100) on the last hidden state: the first principal components of the differences
    between sentences and their gender-swapped twins are projected out before the output layer."""
    step = max(1, len(pairs) // 2 // count)
    one, other = (pairs.filter(pl.col("gender") == gender).sort("id")["text"].to_list()[::step] for gender in ("man", "woman"))
    hidden = _last_hidden(b, one + other)
    # Each pair about its own mean, as the authors do: the two halves are opposite, so half of the difference is enough.
    _, _, axes = torch.linalg.svd((hidden[: len(one)] - hidden[len(one) :]) / 2, full_matrices=False)
    basis = axes[:components]
    handle = b.v.final_norm.register_forward_hook(lambda _, args, out: out - ((out.float() @ basis.T) @ basis).to(out.dtype))
    try:
        yield
    finally:
        handle.remove()


@torch.inference_mode()
def _last_hidden(b: Bench, texts: list[str]) -> torch.Tensor:
    p = probe(b.v, b.ids(texts))
    out = torch.empty(len(texts), b.v.d_model, device=b.v.device)
    for tree in p.trees:
        hidden = b.v.blocks[-1](tree.streams[-1][None], **tree.context)[0, tree.read]
        out[tree.prompts] = b.v.final_norm(hidden).float()
    return out


def study(row: Row, data: dict[str, pl.DataFrame], p: Measure, seed: int, profile: str, folder, out: Tables) -> dict:
    """Every experiment on one model; rows are appended to ``out``. Returns its neuron sets."""
    loaded = load(row.model, "float32" if profile == "small" else None)
    with saved_lora(loaded[0], ROOT / "models" / row.adapter) if row.adapter else nullcontext():
        b = bench(row.name, loaded, data["prompts"], data["synonyms"], data["neutral"], p.templates)
        record = Recorder(b, data, out)
        record.note("none", b.v.n_layers - 1, wide="choice" in row.experiments)
    if not row.edit:
        return {}
    v, tokenizer = b.v, b.tokenizer
    neutral = data["neutral"].filter(pl.col("split") == "locate")["text"].to_list()
    asked = locate_prompts(data["prompts"], row.locate_words)
    texts = asked["text"].to_list()
    found = find(v, tokenizer, (b.to.man, b.to.woman), texts, neutral, search(p))
    report = probe(v, tokenizer(neutral)["input_ids"], every=1)
    budget, shares = weighed(v, found, report, p)
    sets = selections(v, found, budget, shares, p)
    out["neurons"].append(cards(found, asked["word"].to_list(), sets, p, row.model))
    n = len(sets["combined"].neurons)
    generator = torch.Generator().manual_seed(seed)

    def edited(method: str, chosen: Selection, **more) -> None:
        with patched(v, chosen.neurons, chosen.factors):
            record.note(method, min(layer for layer, _ in chosen.neurons), neurons=len(chosen.neurons), **more)

    for method, chosen in sets.items():
        edited(method, chosen, wide=method == "combined" and "choice" in row.experiments)
    layers = sorted({layer for layer, _ in sets["combined"].neurons})
    for draw in range(p.random_draws):
        neurons = random_neurons(n, layers, v.n_ffn, generator)
        edited("random", Selection(neurons, [0.0] * n), seed=draw)
    if "dose" in row.experiments:
        doses = {}  # by size: weighed again, two doses may keep equally many neurons
        for count in (count for count in p.dose if count < n):
            chosen = part(v, found, shares, count, budget, p)
            doses.setdefault(len(chosen.neurons), chosen)
        for chosen in doses.values():
            edited("dose combined", chosen)
        for count in (count for count in p.dose if count < n):
            edited("dose logit", Selection(found.logit_order[:count], [0.0] * count))
    if "prompt" in row.experiments:
        for draw, text in enumerate(data["corrections"]["text"]):
            record.note("prompt", prefix=text.rstrip() + " ", seed=draw)
    if "projection" in row.experiments:
        with without_direction(b, data["balanced"], p.projection, p.projection_pairs):
            record.note("sentence-debias", v.n_layers - 1)
    if "hierarchy" in row.experiments:
        out["hierarchy"].append(hierarchy(v, tokenizer, found, texts, b.on_neutral, record.base[0], p, row.model, generator))
    if "proto_a" in row.experiments:
        neurons = cna_neurons(v, tokenizer, data["proto_a"])
        sets["cna"] = Selection(neurons, [0.0] * len(neurons))
        edited("cna", sets["cna"])
        for method in ("none", "cna", "combined"):
            chosen = sets.get(method)
            with patched(v, chosen.neurons, chosen.factors) if chosen else nullcontext():
                table = profession_bias(b.model, tokenizer, data["proto_a"])
            out["proto_a"].append(table.with_columns(pl.lit(row.model).alias("model"), pl.lit(method).alias("method")))
    final = sets["combined"]
    save_patch(make_patch(v, final.neurons, final.factors), folder / f"{row.model}.safetensors")
    if "trained" in row.experiments:
        trained(b, record, data, profile, p.templates)
    if "checkpoint" in row.experiments:
        with patched(v, final.neurons, final.factors):
            save_model(b.model, tokenizer, folder / row.model)
    return {
        name: {"neurons": [list(neuron) for neuron in chosen.neurons], "factors": [round(x, 6) for x in chosen.factors]}
        for name, chosen in sets.items()
    }


def trained(b: Bench, record: Recorder, data: dict[str, pl.DataFrame], profile: str, templates: int | None) -> None:
    """The two fine-tuned models of `train`: the LoRA on this model, the full one in its place."""
    source = ROOT / "models" / "gender_tuned" / profile
    with saved_lora(b.model, source / "lora"):
        record.note("lora", wide=True)
    whole, tokenizer = load_lm(source / "full", dtype="float32" if profile == "small" else None)
    other = bench(b.name, (whole, tokenizer, view(whole)), data["prompts"], data["synonyms"], data["neutral"], templates)
    Recorder(other, data, record.out, record.base).note("full", other.v.n_layers - 1, wide=True)


def inputs(profile: str) -> dict[str, pl.DataFrame]:
    """The tables the runs read."""
    own, shared = ROOT / "data" / "commonwords" / profile, ROOT / "data" / "capability" / profile
    problems = pl.read_parquet(ROOT / "data" / "arithmetic" / profile / "problems.parquet")
    return {
        **{name: pl.read_parquet(own / f"{name}.parquet") for name in "prompts synonyms balanced proto_a corrections".split()},
        **{name: pl.read_parquet(shared / f"{name}.parquet") for name in ("neutral", "choice")},
        "sums": worked(problems),
    }


def worked(problems: pl.DataFrame) -> pl.DataFrame:
    """One-digit problems with two worked examples of their operation in front: id, prompt, answer."""
    mine = problems.filter((pl.col("split") == "study") & (pl.col("digits") == 1)).sort("id")
    mine = mine.filter(pl.col("template") == mine["template"].max())
    solved = mine.with_columns(turn=pl.int_range(pl.len()).over("operation"), line=pl.col("prompt") + pl.col("answer") + "\n")
    shots = solved.filter(pl.col("turn") < 2).group_by("operation", maintain_order=True).agg(pl.col("line").str.join(""))
    asked = solved.filter(pl.col("turn") >= 2).drop("line").join(shots, on="operation", maintain_order="left")
    return asked.select("id", "answer", prompt=pl.col("line") + pl.col("prompt"))


def main(profile: str) -> None:
    started = time.perf_counter()
    params = profile_params(Params, "gender_bias", profile)
    if any(row.adapter and row.edit for row in params.measure.rows):
        raise CatalogError("gender_bias.measure.rows: a model with an adapter is measured only; give it edit: false.")
    if profile == "full":  # before any work
        for row in params.measure.rows:
            require_full(row.model)
    data = inputs(profile)
    out: Tables = {name: [] for name in NAMES}
    with atomic_dir(ROOT / "models" / "gender_edit" / profile) as folder:
        for name, table in calibrate(params.seed).items():
            out[name].append(table)
        sets = {row.name: study(row, data, params.measure, params.seed, profile, folder, out) for row in params.measure.rows}
        for name in NAMES:
            write_parquet(pl.concat(out[name]) if out[name] else pl.DataFrame(), folder / f"{name}.parquet")
        write_json(sets, folder / "neurons.json")
    facts = {
        "seconds": round(time.perf_counter() - started, 1),
        "peak_memory_mb": peak_memory_mb(),
    }
    write_json(facts, ROOT / "models" / "gender_edit" / f"{profile}.run.json")


if __name__ == "__main__":
    run(main)
