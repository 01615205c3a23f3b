"""Results, tables and pictures of the system, from the raw signals of `measure` and `train`. Runs no model.

The numbers of each experiment, with an interval and the random heads or neurons beside it; how far two of them lie apart over the same
items is in the table `paired` (`effects`).
"""

from __future__ import annotations

import polars as pl

from catalog.base.errors import run
from catalog.base.io import read_json, write_json
from catalog.base.params import ROOT, profile_params
from catalog.report.results import (
    bootstrap,
    describe_dataset,
    describe_model,
    folder,
    row,
    training_facts,
    wilson,
    write_descriptions,
    write_results,
    write_run,
    write_tables,
)
from stages.arithmetic import effects, figures, tables
from stages.arithmetic.settings import Params

SYSTEM = "arithmetic"
DATASET = "arithmetic"
RAW = "predictions heads cna verify memorise hidden chain chain_edges certify".split()


class Rows:
    """Collects the tidy rows of one profile."""

    def __init__(self, profile: str):
        self.profile, self.rows = profile, []

    def add(self, experiment: str, model: str, method: str, metric: str, found: effects.Found, n: int, **more) -> None:
        """A value with its interval; what could not be measured is left out."""
        if found is not None:
            value, *interval = found
            self.rows.append(row(SYSTEM, self.profile, experiment, DATASET, model, method, metric, value, ci=tuple(interval), n=n, **more))

    def plain(self, experiment: str, model: str, method: str, metric: str, value: float, n: int) -> None:
        """A count, which has no interval."""
        self.rows.append(row(SYSTEM, self.profile, experiment, DATASET, model, method, metric, value, n=n))


def share(right: pl.Series) -> effects.Found:
    """Share of true values with Wilson's interval."""
    return effects.mean_share(right.to_numpy())


def of_mean(values: pl.Series) -> effects.Found:
    return effects.around(float(values.mean()), *bootstrap(values.to_numpy()))


def add_accuracies(out: Rows, base: pl.DataFrame) -> None:
    """Accuracy of the untouched models on the evaluation set."""
    own = base.filter(pl.col("split") == "eval")
    for (model, op), part in own.filter(pl.col("form") == "digits").group_by("model", "operation", maintain_order=True):
        out.add("base", model, f"none, {op}", "accuracy", share(part["correct"]), len(part))
    for (model, form), part in own.group_by("model", "form", maintain_order=True):
        out.add("base", model, f"none, {form}", "accuracy", share(part["correct"]), len(part))


def add_heads(out: Rows, raw: dict[str, pl.DataFrame], count: int) -> None:
    """The best head of the scan, whose drop on the evaluation set is not selected, and random heads; each operation's own head."""
    for (model,), part in effects.best_and_random(effects.by_prompt(raw, count)).group_by("model", maintain_order=True):
        for metric in ("accuracy_drop_abs", "logprob_drop"):
            for method, column in (("best head", metric), ("random heads", f"{metric}_random")):
                values = part[column]
                found = effects.difference(values) if metric == "accuracy_drop_abs" else of_mean(values)
                out.add("head_scan", model, method, metric, found, len(part))
    base = raw["predictions"].select("model", "id", pl.col("correct").alias("before"))
    study = raw["heads"].filter(pl.col("phase") == "study").join(base, on=["model", "id"]).sort("model", "id")
    for (model,), part in study.group_by("model", maintain_order=True):
        lost = part["before"].cast(pl.Int8) - part["correct"].cast(pl.Int8)
        out.add("head_study", model, "head of the operation", "accuracy_drop_abs", effects.difference(lost), len(part))


def add_neurons(out: Rows, raw: dict[str, pl.DataFrame]) -> None:
    """Masking, keeping and coefficients of CNA neurons, and of hidden-interpretable ones. The cases are answered right before, so what is
    answered wrong after is the relative fall."""
    for (model, protocol, size, control), part in raw["verify"].group_by("model", "protocol", "size", "control", maintain_order=True):
        method = f"{protocol} {'random' if control else 'top'} {size}"
        if protocol != "coef":
            out.add("verify", model, method, "accuracy_drop_rel", share(~part["correct"]), len(part))
        if protocol in ("coef", "lowest"):
            out.add("verify", model, method, "coefficient_change_rel", of_mean(-part["coef_drop"]), len(part))
    for (model, op, kind), part in raw["memorise"].sort("id", "place").group_by("model", "operation", "type", maintain_order=True):
        sums = part.group_by("id", maintain_order=True).agg(pl.col("before", "after").sum())
        found = effects.relative(sums["before"].to_numpy(), sums["after"].to_numpy())
        if found:
            out.add("memorise", model, f"{kind}, {op}", "accuracy_drop_rel", found, len(part))
        elif part["before"].any():  # no resample differs: a value without an interval
            out.plain("memorise", model, f"{kind}, {op}", "accuracy_drop_rel", 1 - part["after"].sum() / part["before"].sum(), len(part))
    for (model, m, control, count, total), part in raw["hidden"].group_by("model", "m", "control", "count", "total", maintain_order=True):
        method = f"random, size of count > {m}" if control else f"count > {m}"
        out.add("hidden", model, method, "accuracy_drop_rel", share(~part["correct"]), len(part))
        if not control:
            out.plain("hidden", model, method, "count", count, total)


def add_loras(out: Rows, t: dict[str, pl.DataFrame], tuned: pl.DataFrame, p: Params, n_layers: int) -> None:
    """Each LoRA and each range of layers; pruned models; what LoRAs do to coefficients."""
    for r in t["lora"].iter_rows(named=True):
        method = "none" if r["layer"] < 0 else f"LoRA on layer {r['layer']}, lr {r['rate']:g}"
        out.add("lora", r["model"], method, "accuracy", (r["acc"], r["ci_low"], r["ci_high"]), r["n"])
    model = p.train.model
    for (depth,), part in effects.by_depth(tuned, model, n_layers).group_by("range", maintain_order=True):
        if depth != "none":
            out.add("lora", model, effects.lora_name(depth), "accuracy", share(part["correct"]), len(part))
    for size in (50, 30, 20, 10):
        for (depth,), part in effects.increases(t["lora_coefficients"], n_layers, size).group_by("range", maintain_order=True):
            found = effects.student(part["increase"].to_numpy())
            out.add("lora_cna", model, f"{effects.lora_name(depth)}: lora top {size}", "coefficient_change_rel", found, len(part))
    for r in t["lora_sets"].iter_rows(named=True):
        method = f"LoRA on layer {r['lora_layer']}, lr {r['rate']:g}: {r['set']} top {r['size']}"
        out.plain("lora_cna", r["model"], method, "coefficient_change_rel", r["increase"], r["cases"])
    for r in t["prune"].iter_rows(named=True):
        before = wilson(round(r["acc_before"] * r["n"]), r["n"])
        out.add("prune", r["model"], r["variant"], "accuracy", (r["acc_before"], *before), r["n"])
        out.add("prune", r["model"], f"{r['variant']} + LoRA", "accuracy", (r["acc_after"], r["ci_low"], r["ci_high"]), r["n"])


def results(profile: str, t: dict[str, pl.DataFrame], raw: dict[str, pl.DataFrame], tuned: pl.DataFrame, p: Params) -> list[dict]:
    """The tidy rows: what stands in the catalog's `results`."""
    out = Rows(profile)
    add_accuracies(out, raw["predictions"])
    add_heads(out, raw, p.measure.confirm_heads)
    add_neurons(out, raw)
    add_loras(out, t, tuned, p, tables.depth(raw, p.train.model))
    for (model,), part in t["certify"].group_by("model", maintain_order=True):
        out.plain("certify", model, "limited search against certified search", "overlap", part["recall"].mean(), len(part))
    return out.rows


def main(profile: str) -> None:
    params = profile_params(Params, SYSTEM, profile)
    neurons, lora = (ROOT / "models" / name / profile for name in ("arithmetic_neurons", "arithmetic_lora"))
    raw = {name: pl.read_parquet(neurons / f"{name}.parquet") for name in RAW}
    tuned, coefficients, curves = (pl.read_parquet(lora / f"{name}.parquet") for name in ("predictions", "coefficients", "curves"))
    kept = read_json(lora / "pruned.json")

    own = tables.build(raw, tuned, coefficients, kept, params)
    rests = effects.build(raw, tuned, coefficients, kept, params)
    write_results(results(profile, own, raw, tuned, params), SYSTEM, profile)
    write_tables(own | rests, SYSTEM, profile)
    for name, spec in figures.draw(own, curves).items():
        write_json(spec, folder(SYSTEM, profile) / "plots" / f"{name}.json")
    problems = ROOT / "data" / DATASET / profile / "problems.parquet"
    made = [describe_model(path, path.parent.name, profile) for path in (neurons, lora)]
    write_descriptions(SYSTEM, profile, [describe_dataset(problems, DATASET, profile)], made)
    runs = read_json(ROOT / "models" / "arithmetic_lora" / f"{profile}.run.json")["runs"]
    measured = read_json(ROOT / "models" / "arithmetic_neurons" / f"{profile}.run.json")
    write_run(SYSTEM, profile, training_facts(runs, measured) | {"measure": measured, "training": runs})


if __name__ == "__main__":
    run(main)
