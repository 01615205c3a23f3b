"""The differences that claims rest on, each over the same items on both sides, with an interval: the tables `paired` and `resampled`.

An item is a prompt, a case or a test problem. Where it is lost, kept or won (-1, 0, 1), the interval is Bonett and Price's, which stays
honest when all of a few items agree: a bootstrap of eight zeros would say that zero is certain. Other differences are bootstrapped over
items; a mean over three cases has Student's t, since three values have next to no resamples.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist

import numpy as np
import polars as pl
from scipy import stats

from catalog.report.intervals import bootstrap, wilson
from stages.arithmetic.settings import Params
from stages.arithmetic.tables import controls, depth, depth_range, one_rate, scan_effect

Row = dict[str, object]
Found = tuple[float, float, float] | None  # value, low, high

HIDDEN_TESTED = (2, 3)  # the thresholds M on which a claim rests, and for whose number its intervals are corrected
RESAMPLES = 2000
RESAMPLED = {"model": pl.String, "statement": pl.String, "share": pl.Float64, "n": pl.Int64, "resamples": pl.Int64}


# --- intervals -----------------------------------------------------------------------------------------------------------------


def adjusted_wald(more: int, fewer: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Interval of ``(more - fewer) / n`` for paired shares (Bonett and Price 2012): one item is added to each of the two counts."""
    up, down = (more + 1) / (n + 2), (fewer + 1) / (n + 2)
    half = NormalDist().inv_cdf((1 + level) / 2) * math.sqrt((up + down - (up - down) ** 2) / (n + 2))
    return max(-1.0, up - down - half), min(1.0, up - down + half)


def difference(values: np.ndarray, level: float = 0.95) -> tuple[float, float, float]:
    """Mean of the items' differences and its interval: value, low, high."""
    values = np.asarray(values, dtype=np.float64)
    if np.isin(values, (-1.0, 0.0, 1.0)).all():
        low, high = adjusted_wald(int((values > 0).sum()), int((values < 0).sum()), len(values), level)
    else:
        low, high = bootstrap(values, n_boot=RESAMPLES, level=level)
    return around(float(values.mean()), low, high)


def mean_share(values: np.ndarray) -> tuple[float, float, float]:
    """Mean of shares (one truth value an item, or the mean of several) and its interval: Wilson's, or a bootstrap over items."""
    values = np.asarray(values, dtype=np.float64)
    interval = wilson(int(values.sum()), len(values)) if np.isin(values, (0.0, 1.0)).all() else bootstrap(values)
    return around(float(values.mean()), *interval)


def student(values: np.ndarray, level: float = 0.95) -> Found:
    """Mean of a few numbers and Student's t interval; None for a single one, which has no spread."""
    values = np.asarray(values, dtype=np.float64)
    if len(values) < 2:
        return None
    half = float(stats.t.ppf((1 + level) / 2, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values)))
    return float(values.mean()), float(values.mean()) - half, float(values.mean()) + half


def lost_share(table: np.ndarray, axis: int = 1) -> np.ndarray:
    """``1 - after / before`` of summed columns (before, after); 0 where nothing was there to be lost."""
    before, after = np.moveaxis(table.sum(axis), -1, 0)
    return np.where(before > 0, 1 - after / np.maximum(before, 1), 0.0)


def relative(before: np.ndarray, after: np.ndarray) -> Found:
    """Relative fall of a summed count, resampled over items; None from a base of zero."""
    both = np.stack([before, after], -1).astype(np.float64)
    return resampled(both, lost_share) if both[:, 0].sum() > 0 else None


def resampled(items: np.ndarray, statistic: Callable[..., np.ndarray]) -> Found:
    """A statistic of items with its bootstrap interval; None where every resample gives the same, which a few items do by chance."""
    low, high = bootstrap(items, statistic, n_boot=RESAMPLES)
    return around(float(statistic(items[None], axis=1)[0]), low, high) if low < high else None


def around(value: float, low: float, high: float) -> tuple[float, float, float]:
    """The interval holds its value: a quantile of equal resamples may miss it by a rounding error."""
    return value, min(low, value), max(high, value)


# --- signals by item -------------------------------------------------------------------------------------------------------------


def by_prompt(raw: dict[str, pl.DataFrame], count: int) -> pl.DataFrame:
    """Drops of correct and log-probability by confirmed head and prompt; ``control`` marks random heads, ``best`` the first of the scan."""
    effect = scan_effect(raw)
    order = effect.sort("model", "drop", "layer", "head", descending=[False, True, False, False])
    best = order.group_by("model", maintain_order=True).first().select("model", "layer", "head", pl.lit(True).alias("best"))
    base = raw["predictions"].select("model", "id", pl.col("correct").alias("before"), pl.col("logprob").alias("base"))
    rows = raw["heads"].filter(pl.col("phase") == "confirm").join(base, on=["model", "id"])
    rows = rows.join(controls(raw["heads"], effect, count), on=["model", "layer", "head"])
    rows = rows.join(best, on=["model", "layer", "head"], how="left").with_columns(pl.col("best").fill_null(value=False))
    drops = (pl.col("before").cast(pl.Float64) - pl.col("correct").cast(pl.Float64)).alias("accuracy_drop_abs")
    return rows.with_columns(drops, (pl.col("base") - pl.col("logprob")).alias("logprob_drop")).sort("model", "layer", "head", "id")


def best_and_random(rows: pl.DataFrame) -> pl.DataFrame:
    """One row a model and prompt: both drops of the scan's best head, and their mean over the random heads (``_random``)."""
    metrics = ["accuracy_drop_abs", "logprob_drop"]
    best = rows.filter("best").select("model", "id", *metrics)
    stray = rows.filter("control").group_by("model", "id").agg(pl.col(metrics).mean().name.suffix("_random"))
    return best.join(stray, on=["model", "id"]).sort("model", "id")


def by_depth(tuned: pl.DataFrame, model: str, n_layers: int) -> pl.DataFrame:
    """Share of the LoRAs of each range of layers that answer a test problem right: id, range (or "none": no LoRA), correct."""
    own = tuned.filter((pl.col("model") == model) & pl.col("variant").is_in(["base", "lora"]))
    names = {layer: depth_range(layer, n_layers) for layer in own["layer"].drop_nulls().unique()}
    own = own.with_columns(
        range=pl.when(pl.col("variant") == "base")
        .then(pl.lit("none"))
        .otherwise(pl.col("layer").replace_strict(names, return_dtype=pl.String))
    )
    return own.drop_nulls("range").group_by("range", "id").agg(pl.col("correct").mean()).sort("range", "id")


def increases(coefficients: pl.DataFrame, n_layers: int, size: int) -> pl.DataFrame:
    """Relative change of a case's summed |coefficient|, mean over the LoRAs of a range of layers: range, case, increase."""
    top = coefficients.filter((pl.col("set") == "lora") & (pl.col("rank") <= size))
    sums = top.group_by("lora_layer", "rate", "case").agg(increase=pl.col("coef_tuned").abs().sum() / pl.col("coef_base").abs().sum() - 1)
    names = {layer: depth_range(layer, n_layers) for layer in sums["lora_layer"].unique()}
    ranges = sums.with_columns(range=pl.col("lora_layer").replace_strict(names, return_dtype=pl.String)).drop_nulls("range")
    return ranges.group_by("range", "case").agg(pl.col("increase").mean()).sort("range", "case")


# --- the tables ------------------------------------------------------------------------------------------------------------------


def _row(
    model: str, experiment: str, method: str, against: str, metric: str, found, n: int, split: str = "all", level: float = 0.95
) -> Row:
    value, low, high = found
    label = {"model": model, "experiment": experiment, "split": split, "method": method, "against": against, "metric": metric}
    return label | {"difference": value, "low": low, "high": high, "n": n, "level": level}


def of_heads(raw: dict[str, pl.DataFrame], count: int) -> list[Row]:
    """The scan's best head against random heads, and each operation's head on problems that played no part in choosing it."""
    rows = []
    for (model,), part in best_and_random(by_prompt(raw, count)).group_by("model", maintain_order=True):
        for metric in ("accuracy_drop_abs", "logprob_drop"):
            found = difference((part[metric] - part[f"{metric}_random"]).to_numpy())
            rows.append(_row(model, "head_scan", "best head", "random heads", metric, found, len(part)))
    base = raw["predictions"].select("model", "id", pl.col("correct").alias("before"))
    study = raw["heads"].filter(pl.col("phase") == "study").join(base, on=["model", "id"]).sort("model", "operation", "id")
    for (model,), mine in study.group_by("model", maintain_order=True):
        operations = mine["operation"].n_unique()
        for (op,), part in mine.group_by("operation", maintain_order=True):
            level = 1 - 0.05 / operations
            found = difference(part["before"].cast(pl.Int8) - part["correct"].cast(pl.Int8), level)
            rows.append(_row(model, "head_study", "head of the operation", "whole model", "accuracy_drop_abs", found, len(part), op, level))
    return rows


def of_digits(raw: dict[str, pl.DataFrame]) -> list[Row]:
    """Digits without and with a carry: tokens lost by zeroing the operation's head, and by how much the two relative falls differ,
    resampled over problems."""
    rows = []
    for (model, op), mine in raw["memorise"].sort("model", "operation", "id", "place").group_by("model", "operation", maintain_order=True):
        for (kind,), part in mine.group_by("type", maintain_order=True):
            found = difference(part["before"].cast(pl.Int8) - part["after"].cast(pl.Int8))
            rows.append(_row(model, "memorise", kind, "whole model", "accuracy_drop_abs", found, len(part), op))
        sums = mine.group_by("id", maintain_order=True).agg(
            *(pl.col(side).filter(pl.col("type") == kind).sum().alias(f"{kind} {side}") for kind in KINDS for side in ("before", "after"))
        )
        items = sums.drop("id").to_numpy().astype(np.float64)
        found = resampled(items, _fall_apart) if items[:, 0].sum() > 0 and items[:, 2].sum() > 0 else None
        if found:
            rows.append(_row(model, "memorise", KINDS[0], KINDS[1], "accuracy_drop_rel", found, len(items), op))
    return rows


KINDS = ("memorise", "change-one")


def _fall_apart(items: np.ndarray, axis: int = 1) -> np.ndarray:
    """Relative fall of the first two columns (before, after) less that of the last two."""
    return lost_share(items[..., :2], axis) - lost_share(items[..., 2:], axis)


def of_neurons(raw: dict[str, pl.DataFrame]) -> list[Row]:
    """CNA neurons and hidden-interpretable neurons against as many random ones, over cases."""
    rows = []
    wrong = 1 - pl.col("correct").cast(pl.Int8)
    measures = {"mask": wrong, "keep": wrong, "coef": -pl.col("coef_drop"), "lowest": -pl.col("coef_drop")}
    for (model, protocol, size), part in raw["verify"].group_by("model", "protocol", "size", maintain_order=True):
        values = _control_beside(part.with_columns(value=measures[protocol]).drop_nulls("value"), ["operation", "case"])
        metric = "accuracy_drop_rel" if protocol in ("mask", "keep") else "coefficient_change_rel"
        rows.append(_row(model, "verify", f"{protocol} top {size}", f"{protocol} random {size}", metric, difference(values), len(values)))
    for (model, m), part in raw["hidden"].group_by("model", "m", maintain_order=True):
        level = 1 - 0.05 / len(HIDDEN_TESTED) if m in HIDDEN_TESTED else 0.95
        values = _control_beside(part.with_columns(value=wrong), ["case"])
        names = f"count > {m}", f"random, size of count > {m}"
        rows.append(_row(model, "hidden", *names, "accuracy_drop_rel", difference(values, level), len(values), level=level))
    return rows


def _control_beside(rows: pl.DataFrame, key: list[str]) -> np.ndarray:
    """The value of each item less that of its control."""
    own, other = (rows.filter(pl.col("control") == side).select(*key, "value") for side in (False, True))
    both = own.join(other, on=key, suffix="_control").sort(key)
    return (both["value"] - both["value_control"]).to_numpy()


def of_loras(tuned: pl.DataFrame, coefficients: pl.DataFrame, model: str, n_layers: int) -> list[Row]:
    """A LoRA on a shallow layer against none and against one on a deep layer; pruned models against each other and the whole one."""
    rows = []
    sides = {name: part.sort("id")["correct"].to_numpy() for (name,), part in by_depth(tuned, model, n_layers).group_by("range")}
    for other in ("none", "deep"):
        if "shallow" in sides and other in sides:
            found = difference(sides["shallow"].astype(float) - sides[other].astype(float))
            rows.append(_row(model, "lora", "LoRA on shallow layers", lora_name(other), "accuracy", found, len(sides[other])))
    for size in (50, 30, 20, 10):
        apart = increases(coefficients, n_layers, size).pivot(on="range", index="case", values="increase")
        if {"shallow", "deep"} <= set(apart.columns):
            found = student((apart["shallow"] - apart["deep"]).to_numpy())
            if found:
                labels = "LoRA on shallow layers", "LoRA on deep layers", "coefficient_change_rel", found, len(apart)
                rows.append(_row(model, "lora_cna", *labels, f"top {size}"))
    return rows


def lora_name(depth: str) -> str:
    """The method of the LoRAs on a range of layers."""
    return "none" if depth == "none" else f"LoRA on {depth} layers"


def of_pruning(tuned: pl.DataFrame, model: str, layer: int) -> list[Row]:
    """The model pruned to the CNA neurons and tuned, against a randomly pruned one and against what the whole one keeps."""
    own = one_rate(tuned.filter((pl.col("model") == model) & (pl.col("layer") == layer))).sort("id")
    whole, kept, stray = (own.filter(pl.col("variant") == name)["correct"].to_numpy() for name in ("lora", "pruned", "random-pruned"))
    name = "pruned + LoRA"
    rows = [_row(model, "prune", name, "random-pruned + LoRA", "accuracy", difference(kept.astype(float) - stray), len(kept))]
    found = relative(whole, kept)
    return rows + ([_row(model, "prune", name, "whole + LoRA", "accuracy_drop_rel", found, len(kept))] if found else [])


def same_head(rows: pl.DataFrame) -> list[Row]:
    """In how many resamples of the prompts addition and subtraction have the same best head, and multiplication and division other ones.
    The best is the head, of those the scan found, whose loss costs the operation's right answers the most log-probability."""
    out = []
    for (model,), part in rows.filter(~pl.col("control")).group_by("model", maintain_order=True):
        rng = np.random.default_rng(0)
        best = {}
        for (op,), mine in part.group_by("operation", maintain_order=True):
            table = (
                mine.pivot(on="id", index=["layer", "head"], values="logprob_drop").sort("layer", "head").drop("layer", "head").to_numpy()
            )
            n = table.shape[1]
            drawn = rng.multinomial(n, np.full(n, 1 / n), size=RESAMPLES)  # how often each prompt is in a resample
            best[op] = (drawn @ table.T).argmax(1)  # head, by place, in each resample
        if set(best) == set("+-*/"):
            true = (best["+"] == best["-"]) & (best["+"] != best["*"]) & (best["+"] != best["/"])
            out.append({"model": model, "statement": "same head for + and -, others for * and /", "share": float(true.mean())})
            out[-1] |= {"n": part["id"].n_unique(), "resamples": RESAMPLES}
    return out


def build(raw: dict[str, pl.DataFrame], tuned: pl.DataFrame, coefficients: pl.DataFrame, kept: dict, p: Params) -> dict[str, pl.DataFrame]:
    """The tables `paired` and `resampled`. Arguments as of `tables.build`."""
    model, count = p.train.model, p.measure.confirm_heads
    loras = of_loras(tuned, coefficients, model, depth(raw, model)) + of_pruning(tuned, model, kept["lora_layer"])
    return {
        "paired": pl.DataFrame([*of_heads(raw, count), *of_digits(raw), *of_neurons(raw), *loras]),
        "resampled": pl.DataFrame(same_head(by_prompt(raw, count)), schema=RESAMPLED),
    }
