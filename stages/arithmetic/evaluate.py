"""Tables, results and pictures of the system, from the raw signals of `edit` and `train`. Runs no model.

Every drop is given in points and relative to the base, as the paper's tables are relative; every headline number has an interval
and a control: random heads, random neurons, a random prune. Intervals are Wilson's for accuracies and paired bootstraps over
prompts for drops.
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
    wilson,
    write_descriptions,
    write_results,
    write_run,
    write_table,
)
from stages.arithmetic import figures
from stages.arithmetic.settings import Params

SYSTEM = "arithmetic"
DATASET = "arithmetic"


def drop(before: str = "before", after: str = "after") -> list[pl.Expr]:
    """acc, acc_abs_drop and acc_rel_drop of paired truth columns; relative to a base of 0 is null."""
    a, b = pl.col(before).mean(), pl.col(after).mean()
    return [
        pl.len().alias("n"),
        a.alias("base_acc"),
        b.alias("acc"),
        (a - b).alias("acc_abs_drop"),
        pl.when(a > 0).then((a - b) / a).alias("acc_rel_drop"),
    ]


def head_scan(base: pl.DataFrame, heads: pl.DataFrame, chosen: pl.DataFrame) -> pl.DataFrame:
    """One row a head, operation and template, and one for all prompts of a head ("all"), for each phase."""
    joined = heads.join(base.select("model", "id", pl.col("correct").alias("before"), pl.col("logprob").alias("base")), on=["model", "id"])
    joined = joined.rename({"correct": "after"}).with_columns(drop=pl.col("base") - pl.col("logprob"))
    measures = [*drop(), pl.col("base").mean().alias("base_logprob"), pl.col("drop").mean().alias("logprob_drop")]
    keys = ["model", "phase", "layer", "head"]
    cells = joined.group_by(*keys, "operation", "template", "digits").agg(measures)
    whole = joined.filter(pl.col("phase") != "study").group_by(keys).agg(measures)
    whole = whole.with_columns(operation=pl.lit("all"), template=pl.lit("all"), digits=pl.lit(0, pl.Int32))
    table = pl.concat([cells, whole.select(cells.columns)])
    return table.join(chosen, on=["model", "layer", "head"], how="left").with_columns(pl.col("control").fill_null(value=False))


def controls(heads: pl.DataFrame, scan_effect: pl.DataFrame, count: int) -> pl.DataFrame:
    """Which of the confirmed heads are random controls: all but the ``count`` best of the scan."""
    best = scan_effect.sort("model", "drop", "layer", "head", descending=[False, True, False, False]).group_by("model", maintain_order=True)
    confirmed = heads.filter(pl.col("phase") == "confirm").select("model", "layer", "head").unique()
    best = best.head(count).select("model", "layer", "head", pl.lit(False).alias("control"))
    return confirmed.join(best, on=["model", "layer", "head"], how="left").with_columns(pl.col("control").fill_null(value=True))


def verify(rows: pl.DataFrame) -> pl.DataFrame:
    """Mask / keep / coef / lowest by model, operation and set size; the random control in columns beside."""
    rows = pl.concat([rows, rows.with_columns(operation=pl.lit("all"))])
    keys = ["model", "operation", "size", "protocol"]
    acc = pl.col("correct").mean()
    # Cases are problems the model answers right: the base accuracy is 1, so points and relative drop agree.
    measures = [pl.col("case").n_unique().alias("cases"), (1 - acc).alias("abs"), (1 - acc).alias("rel"), pl.col("coef_drop").mean()]
    own = rows.filter(~pl.col("control")).group_by(keys).agg(measures)
    other = (
        rows.filter(pl.col("control"))
        .group_by(keys)
        .agg((1 - acc).alias("random_abs"), (1 - acc).alias("random_rel"), pl.col("coef_drop").mean().alias("random_coef_drop"))
    )
    return own.join(other, on=keys)


def hidden(rows: pl.DataFrame) -> pl.DataFrame:
    """Hidden-interpretable sets by M: size, share, drop, drop of a random set of the same size."""
    keys = ["model", "m", "count", "total", "maps", "concepts"]
    own = rows.filter(~pl.col("control")).group_by(keys).agg(pl.len().alias("cases"), (1 - pl.col("correct").mean()).alias("drop"))
    other = rows.filter(pl.col("control")).group_by("model", "m").agg((1 - pl.col("correct").mean()).alias("random_drop"))
    return own.join(other, on=["model", "m"]).with_columns(share=pl.col("count") / pl.col("total"))


def lora_sets(coefficients: pl.DataFrame) -> pl.DataFrame:
    """Mean relative change of |coefficient| of the top 50/30/20/10 neurons of each set under each LoRA (paper Table 10)."""
    parts = []
    for size in (50, 30, 20, 10):
        top = coefficients.filter(pl.col("rank") <= size)
        sums = top.group_by("model", "set", "lora_layer", "rate").agg(
            pl.col("case").n_unique().alias("cases"),
            pl.col("coef_base").abs().sum().alias("base"),
            pl.col("coef_tuned").abs().sum().alias("tuned"),
        )
        parts.append(sums.with_columns(size=pl.lit(size), increase=pl.col("tuned") / pl.col("base") - 1))
    return pl.concat(parts).select("model", "set", "lora_layer", "rate", "size", "cases", "increase")


def accuracies(scored: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    """n, right, mean logprob, acc and its Wilson interval (ci_low, ci_high) for each group of scored problems."""
    table = scored.group_by(keys).agg(pl.len().alias("n"), pl.col("correct").sum().alias("right"), pl.col("logprob").mean())
    bounds = [wilson(k, n) for k, n in table.select("right", "n").iter_rows()]
    return table.with_columns(
        acc=pl.col("right") / pl.col("n"), ci_low=pl.Series([b[0] for b in bounds]), ci_high=pl.Series([b[1] for b in bounds])
    )


def lora_table(predictions: pl.DataFrame, p) -> pl.DataFrame:
    """Accuracy of the base model and of each LoRA on the test split, with a Wilson interval."""
    scored = predictions.filter(pl.col("variant").is_in(["base", "lora"]))
    table = accuracies(scored, ["model", "variant", "layer", "rate"])
    table = table.with_columns(epochs=pl.lit(p.epochs), rank=pl.lit(p.rank))
    return table.with_columns(layer=pl.col("layer").fill_null(-1), rate=pl.col("rate").fill_null(0.0))


def prune_table(predictions: pl.DataFrame, facts: dict, model: str) -> pl.DataFrame:
    """Accuracy before and after a LoRA on the same layer: whole model, CNA-pruned, randomly pruned (paper Table 11)."""
    names = {"base": "whole", "lora": "whole", "pruned": "pruned", "random-pruned": "random-pruned"}
    own = predictions.filter((pl.col("model") == model) & (pl.col("layer").is_null() | (pl.col("layer") == facts["lora_layer"])))
    own = own.with_columns(name=pl.col("variant").replace_strict(names), tuned=pl.col("layer").is_not_null())
    kept = {"whole": facts["total"]}
    rows = []
    for name in ("whole", "pruned", "random-pruned"):
        part = own.filter(pl.col("name") == name)
        before, after = (part.filter(pl.col("tuned") == t)["correct"] for t in (False, True))
        low, high = wilson(int(after.sum()), len(after))
        count = kept.get(name, len(facts["kept"]))
        rows.append(
            {
                "model": model,
                "variant": name,
                "neurons_kept": count,
                "share": count / facts["total"],
                "n": len(after),
                "acc_before": before.mean(),
                "acc_after": after.mean(),
                "ci_low": low,
                "ci_high": high,
            }
        )
    return pl.DataFrame(rows)


def base_accuracy(base: pl.DataFrame) -> pl.DataFrame:
    """Accuracy of the untouched models by split, template, operation, digits and form, with a Wilson interval."""
    keys = ["model", "split", "template", "operation", "digits", "form"]
    return accuracies(base, keys).drop("right")


def paired(before: pl.Series, after: pl.Series) -> tuple[float, tuple[float, float]]:
    """Drop of paired truth values and its bootstrap interval over prompts."""
    values = (before.cast(pl.Float64) - after.cast(pl.Float64)).to_numpy()
    return float(values.mean()), bootstrap(values)


def results(profile: str, t: dict[str, pl.DataFrame], raw: dict[str, pl.DataFrame]) -> list[dict]:
    """The tidy rows: what stands in the catalog's `results`."""
    out: list[dict] = []

    def add(experiment: str, model: str, method: str, metric: str, value: float | None, **more) -> None:
        if value is not None:
            out.append(row(SYSTEM, profile, experiment, DATASET, model, method, metric, value, **more))

    base = raw["predictions"]
    for (model, op), part in [
        *base.filter((pl.col("split") == "eval") & (pl.col("form") == "digits")).group_by("model", "operation", maintain_order=True)
    ]:
        add("base", model, f"none, {op}", "accuracy", part["correct"].mean(), ci=wilson(int(part["correct"].sum()), len(part)), n=len(part))
    for (model, form), part in [*base.filter(pl.col("split") == "eval").group_by("model", "form", maintain_order=True)]:
        add(
            "base",
            model,
            f"none, {form}",
            "accuracy",
            part["correct"].mean(),
            ci=wilson(int(part["correct"].sum()), len(part)),
            n=len(part),
        )

    heads = (
        raw["heads"]
        .filter(pl.col("phase") == "confirm")
        .join(base.select("model", "id", pl.col("correct").alias("before"), pl.col("logprob").alias("base")), on=["model", "id"])
        .join(t["controls"], on=["model", "layer", "head"])
    )
    for (model,), part in heads.group_by("model", maintain_order=True):
        for control, method in ((False, "best head"), (True, "random heads")):
            mine = part.filter(pl.col("control") == control)
            if not control:  # the best of the scan, not of this evaluation: its drop here is not selected
                first = t["scan_best"].filter(pl.col("model") == model).row(0, named=True)
                mine = mine.filter((pl.col("layer") == first["layer"]) & (pl.col("head") == first["head"]))
            value, interval = paired(mine["before"], mine["correct"])
            add("head_scan", model, method, "accuracy_drop_abs", value, ci=interval, n=len(mine))
            nats = (mine["base"] - mine["logprob"]).to_numpy()
            add("head_scan", model, method, "logprob_drop", float(nats.mean()), ci=bootstrap(nats), n=len(mine))
    for (model, protocol, size, control), part in (
        raw["verify"].filter(pl.col("correct").is_not_null()).group_by("model", "protocol", "size", "control", maintain_order=True)
    ):
        method = f"{protocol} {'random ' if control else 'top '}{size}"
        value, interval = paired(pl.Series([True] * len(part)), part["correct"])
        add("verify", model, method, "accuracy_drop_rel", value, ci=interval, n=len(part))
    for (model, protocol, size, control), part in (
        raw["verify"].filter(pl.col("coef_drop").is_not_null()).group_by("model", "protocol", "size", "control", maintain_order=True)
    ):
        method = f"{protocol} {'random ' if control else 'top '}{size}"
        values = -part["coef_drop"].to_numpy()
        add("verify", model, method, "coefficient_change_rel", float(values.mean()), ci=bootstrap(values), n=len(part))
    for r in t["memorise"].iter_rows(named=True):
        add("memorise", r["model"], f"{r['type']}, {r['operation']}", "accuracy_drop_rel", r["rel"], n=r["n"])
    for r in t["hidden"].iter_rows(named=True):
        add("hidden", r["model"], f"count > {r['m']}", "count", r["count"], n=r["total"])
        add("hidden", r["model"], f"count > {r['m']}", "accuracy_drop_rel", r["drop"], n=r["cases"])
        add("hidden", r["model"], f"random, size of count > {r['m']}", "accuracy_drop_rel", r["random_drop"], n=r["cases"])
    for r in t["lora"].iter_rows(named=True):
        method = "none" if r["layer"] < 0 else f"LoRA on layer {r['layer']}, lr {r['rate']:g}"
        add("lora", r["model"], method, "accuracy", r["acc"], ci=(r["ci_low"], r["ci_high"]), n=r["n"])
    for r in t["lora_sets"].iter_rows(named=True):
        method = f"LoRA on layer {r['lora_layer']}, lr {r['rate']:g}: {r['set']} top {r['size']}"
        add("lora_cna", r["model"], method, "coefficient_change_rel", r["increase"], n=r["cases"])
    for r in t["prune"].iter_rows(named=True):
        add("prune", r["model"], r["variant"], "accuracy", r["acc_before"], n=r["n"])
        add("prune", r["model"], f"{r['variant']} + LoRA", "accuracy", r["acc_after"], ci=(r["ci_low"], r["ci_high"]), n=r["n"])
    for (model,), part in t["certify"].group_by("model", maintain_order=True):
        add("certify", model, "limited search against certified search", "overlap", part["recall"].mean(), n=len(part))
    return out


def main(profile: str) -> None:
    params = profile_params(Params, SYSTEM, profile)
    neurons, lora = (ROOT / "models" / name / profile for name in ("arithmetic_neurons", "arithmetic_lora"))
    names = "predictions heads cna verify memorise hidden chain chain_edges certify".split()
    raw = {name: pl.read_parquet(neurons / f"{name}.parquet") for name in names}
    tuned = pl.read_parquet(lora / "predictions.parquet")
    base = raw["predictions"]

    scanned = (
        raw["heads"].filter(pl.col("phase") == "scan").join(base.select("model", "id", pl.col("logprob").alias("base")), on=["model", "id"])
    )
    effect = scanned.group_by("model", "layer", "head").agg(drop=(pl.col("base") - pl.col("logprob")).mean())
    chosen = controls(raw["heads"], effect, params.edit.confirm_heads)
    t = {
        "controls": chosen,
        "scan_best": effect.sort("model", "drop", "layer", "head", descending=[False, True, False, False]),
        "head_scan": head_scan(base, raw["heads"], chosen),
        "cna": raw["cna"],
        "verify": verify(raw["verify"]),
        "memorise": raw["memorise"]
        .group_by("model", "operation", "type")
        .agg(drop())
        .rename({"base_acc": "acc0", "acc": "acc1", "acc_abs_drop": "abs", "acc_rel_drop": "rel"}),
        "hidden": hidden(raw["hidden"]),
        "chain": raw["chain"],
        "chain_edges": raw["chain_edges"],
        "lora": lora_table(tuned, params.train),
        "lora_coefficients": pl.read_parquet(lora / "coefficients.parquet"),
        "prune": prune_table(tuned, read_json(lora / "pruned.json"), params.train.model),
        "base_accuracy": base_accuracy(base),
        "certify": raw["certify"],
    }
    t["lora_sets"] = lora_sets(t["lora_coefficients"])
    write_results(results(profile, t, raw), SYSTEM, profile)
    keys = {
        "head_scan": ["model", "phase", "layer", "head", "operation", "template", "digits"],
        "cna": ["model", "operation", "case", "rank"],
        "verify": ["model", "operation", "protocol", "size"],
        "memorise": ["model", "operation", "type"],
        "hidden": ["model", "m"],
        "chain": ["model", "operation", "case", "stage", "node"],
        "chain_edges": ["model", "operation", "case", "source", "target"],
        "lora": ["model", "layer", "rate"],
        "lora_coefficients": ["model", "set", "lora_layer", "rate", "case", "rank"],
        "lora_sets": ["model", "set", "lora_layer", "rate", "size"],
        "prune": ["model", "variant"],
        "base_accuracy": ["model", "split", "template", "operation", "digits", "form"],
        "certify": ["model", "operation", "case"],
    }
    for name, key in keys.items():
        write_table(t[name], SYSTEM, profile, name, key)
    curves = pl.read_parquet(lora / "curves.parquet")
    for name, spec in figures.draw(t, curves).items():
        write_json(spec, folder(SYSTEM, profile) / "plots" / f"{name}.json")
    problems = ROOT / "data" / DATASET / profile / "problems.parquet"
    write_descriptions(
        SYSTEM,
        profile,
        [describe_dataset(problems, DATASET, profile)],
        [describe_model(path, path.parent.name, profile) for path in (neurons, lora)],
    )
    runs = read_json(ROOT / "models" / "arithmetic_lora" / f"{profile}.run.json")["runs"]
    edit = read_json(ROOT / "models" / "arithmetic_neurons" / f"{profile}.run.json")
    training = sum(r["seconds"] for r in runs)
    write_run(
        SYSTEM,
        profile,
        {
            "device": runs[0]["device"],
            "dtype": runs[0]["dtype"],
            "seconds": round(edit["seconds"] + training, 1),
            "peak_memory_mb": max([edit["peak_memory_mb"], *[r["peak_memory_mb"] for r in runs]]),
            "tokens_per_second": round(sum(r["tokens"] for r in runs) / training, 1),
            "edit": edit,
            "training": runs,
        },
    )


if __name__ == "__main__":
    run(main)
