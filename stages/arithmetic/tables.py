"""The system's own tables, from the raw signals of `measure` and `train`. Every drop is given in points and relative to the base, as the
paper's tables are relative; every set of neurons and every head has a random one beside it."""

from __future__ import annotations

import polars as pl

from catalog.report.intervals import wilson
from stages.arithmetic.settings import Params, Train


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


def scan_effect(raw: dict[str, pl.DataFrame]) -> pl.DataFrame:
    """Mean fall of the right token's log-probability over the prompts of the scan, for each head."""
    base = raw["predictions"].select("model", "id", pl.col("logprob").alias("base"))
    scanned = raw["heads"].filter(pl.col("phase") == "scan").join(base, on=["model", "id"])
    return scanned.group_by("model", "layer", "head").agg(drop=(pl.col("base") - pl.col("logprob")).mean())


def controls(heads: pl.DataFrame, effect: pl.DataFrame, count: int) -> pl.DataFrame:
    """Which of the confirmed heads are random controls: all but the ``count`` best of the scan."""
    best = effect.sort("model", "drop", "layer", "head", descending=[False, True, False, False]).group_by("model", maintain_order=True)
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


def depth(raw: dict[str, pl.DataFrame], model: str) -> int:
    """Number of layers of a model: the scan takes every one."""
    return int(raw["heads"].filter((pl.col("phase") == "scan") & (pl.col("model") == model))["layer"].max()) + 1


def depth_range(layer: int, n_layers: int) -> str | None:
    """Where a layer lies among the paper's ranges of Llama's 32 (§5, Table 10), by its share of the depth: shallow is 1-9, middle 10-16,
    deep 17-30. The first layer and the last behave otherwise and belong to none."""
    at = 32 * layer / n_layers
    if layer == 0 or layer == n_layers - 1:
        return None
    return "shallow" if at < 10 else "middle" if at < 17 else "deep"


def lora_table(predictions: pl.DataFrame, p: Train, n_layers: dict[str, int]) -> pl.DataFrame:
    """Accuracy of the base model and of each LoRA on the test split, with a Wilson interval."""
    scored = predictions.filter(pl.col("variant").is_in(["base", "lora"]))
    table = accuracies(scored, ["model", "variant", "layer", "rate"])
    depths = [None if layer is None else depth_range(layer, n_layers[model]) for model, layer in table.select("model", "layer").iter_rows()]
    table = table.with_columns(depth=pl.Series(depths, dtype=pl.String), epochs=pl.lit(p.epochs), rank=pl.lit(p.rank))
    return table.with_columns(layer=pl.col("layer").fill_null(-1), rate=pl.col("rate").fill_null(0.0))


def one_rate(tuned: pl.DataFrame) -> pl.DataFrame:
    """The LoRAs with the rate that the pruned models were tuned with: the sweep of the whole model has others besides."""
    rates = tuned.filter(pl.col("variant") == "pruned")["rate"].drop_nulls().unique()
    return tuned.filter(pl.col("rate").is_in(rates.implode()))


def prune_table(predictions: pl.DataFrame, facts: dict, model: str) -> pl.DataFrame:
    """Accuracy before and after a LoRA on the same layer: whole model, CNA-pruned, randomly pruned (paper Table 11)."""
    names = {"base": "whole", "lora": "whole", "pruned": "pruned", "random-pruned": "random-pruned"}
    mine = predictions.filter(pl.col("model") == model)
    own = pl.concat([mine.filter(pl.col("layer").is_null()), one_rate(mine.filter(pl.col("layer") == facts["lora_layer"]))])
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


def build(raw: dict[str, pl.DataFrame], tuned: pl.DataFrame, coefficients: pl.DataFrame, kept: dict, p: Params) -> dict[str, pl.DataFrame]:
    """Every table but those of `effects`, by name. ``raw``: what `measure` wrote; ``tuned``, ``coefficients`` and ``kept``: `train`."""
    base, heads = raw["predictions"], raw["heads"]
    memorise = raw["memorise"].group_by("model", "operation", "type").agg(drop())
    return {
        "head_scan": head_scan(base, heads, controls(heads, scan_effect(raw), p.measure.confirm_heads)),
        "cna": raw["cna"],
        "verify": verify(raw["verify"]),
        "memorise": memorise.rename({"base_acc": "acc0", "acc": "acc1", "acc_abs_drop": "abs", "acc_rel_drop": "rel"}),
        "hidden": hidden(raw["hidden"]),
        "chain": raw["chain"],
        "chain_edges": raw["chain_edges"],
        "lora": lora_table(tuned, p.train, {model: depth(raw, model) for model in heads["model"].unique()}),
        "lora_coefficients": coefficients,
        "lora_sets": lora_sets(coefficients),
        "prune": prune_table(tuned, kept, p.train.model),
        "base_accuracy": base_accuracy(base),
        "certify": raw["certify"],
    }
