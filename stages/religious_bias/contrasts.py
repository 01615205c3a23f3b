"""Paired and joint statistics that claims are tested by, from the same signals as the tables.

A negative predicate is compared with its *positive* twin, frame by frame: a religion whose word any marked predicate raises, good or bad,
has a log ratio against the neutral twin and no contrast between the two. "Most" is a statement about an order, so its evidence is the share
of resamples of the frames in which the order holds. Where a statement is about the least or the largest of several means, its interval is
simultaneous over them (`extreme`).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl

from catalog.report.results import wilson
from stages.religious_bias.dataset import RELIGIONS
from stages.religious_bias.image_tables import groups
from stages.religious_bias.tables import by_frame, judged, matrix, t_interval

RESAMPLES = 2000


def paired(masks: pl.DataFrame) -> dict[str, np.ndarray]:
    """Model -> (T, R) ``log P(r | negative) - log P(r | positive twin)`` of its T frames in order, without mitigation."""
    keys = ["model", "frame", "religion"]
    plain = masks.filter(pl.col("condition") == "none")
    sides = [plain.filter(pl.col("stem") == stem).select(*keys, pl.col("logp").alias(stem)) for stem in ("negative", "positive")]
    both = sides[0].join(sides[1], on=keys, maintain_order="left").with_columns(contrast=pl.col("negative") - pl.col("positive"))
    wide = {
        model: part.pivot("religion", index="frame", values="contrast") for (model,), part in both.group_by("model", maintain_order=True)
    }
    rows = {model: table.sort("frame").select(*RELIGIONS).drop_nulls().to_numpy() for model, table in wide.items()}
    return {model: values for model, values in rows.items() if len(values)}


def twins(masks: pl.DataFrame) -> pl.DataFrame:
    """Mean of :func:`paired` over frames by model and religion.

    ``lead`` is the mean of a religion less the largest of the others, its interval simultaneous over them; ``top_share`` the share of the
    resamples in which it is the largest of all."""
    rows = []
    for model, values in paired(masks).items():
        drawn = values[np.random.default_rng(0).integers(0, len(values), (RESAMPLES, len(values)))].mean(1)
        for r, religion in enumerate(RELIGIONS):
            lead = extreme(values[:, [r]] - np.delete(values, r, axis=1), min)
            top = drawn[:, r] > np.delete(drawn, r, axis=1).max(1)
            rows.append((model, religion, len(values), *around(float(values[:, r].mean()), drawn[:, r]), *lead, float(top.mean())))
    numbers = "contrast ci_low ci_high lead lead_low lead_high top_share".split()
    kinds = {"model": pl.String, "religion": pl.String, "n": pl.Int64} | dict.fromkeys(numbers, pl.Float64)
    return pl.DataFrame(rows, schema=kinds, orient="row")


def contrasts(s: dict[str, pl.DataFrame], scores: pl.DataFrame) -> pl.DataFrame:
    """Single comparisons: model, contrast, value, ci_low, ci_high, n. ``scores`` are those of `signals.scored`."""
    masked = s["quality"].filter(pl.col("correct").is_not_null())["model"].to_list()
    rows = [*every_masked(s["masks"], masked), *crossed(scores), *mitigated(scores), *controls(s)]
    kinds = {"model": pl.String, "contrast": pl.String, "value": pl.Float64, "ci_low": pl.Float64, "ci_high": pl.Float64, "n": pl.Int64}
    return pl.DataFrame(rows, schema=kinds, orient="row")


def every_masked(masks: pl.DataFrame, models: list[str]) -> list[tuple]:
    """Islam's contrast under the masked LM where it is smallest, the largest of another religion under any, and the share of resamples in
    which Islam's is the largest under every masked LM. All models have the same frames."""
    found = {model: wide for model, wide in paired(masks).items() if model in models}
    if not found:
        return []
    stacked = np.stack(list(found.values()), axis=1)  # (T, M, R)
    own, n = RELIGIONS.index("islam"), len(stacked)
    drawn = stacked[np.random.default_rng(0).integers(0, n, (RESAMPLES, n))].mean(1)
    top = float((drawn[..., own] > np.delete(drawn, own, axis=-1).max(-1)).all(1).mean())
    return [
        (None, "Islam, least masked LM", *extreme(stacked[..., own], min), n),
        (None, "largest contrast of another religion", *extreme(np.delete(stacked, own, axis=-1).reshape(n, -1), max), n),
        (None, "Islam first, share of resamples", top, None, None, n),
    ]


def around(value: float, drawn: np.ndarray) -> tuple[float, float, float]:
    """A value with its percentile interval, which is made to hold the value."""
    low, high = np.quantile(drawn, [0.025, 0.975])
    return value, min(float(low), value), max(float(high), value)


def extreme(values: np.ndarray, take: Callable[..., float]) -> tuple[float, float, float]:
    """The least or the largest (``take`` is min or max) of the means of (n, k) matched columns: of all values, low ends and high ends, the
    intervals Student's at the level 1 - .05 / k. They all hold at once with 95 %, and then the extreme mean lies between these two ends.

    To take the extreme anew in every resample would count the selection twice: the interval of the largest of several means that are all 0
    would lie above 0 far more often than once in forty times.
    """
    each = [(float(column.mean()), *t_interval(column, 1 - 0.05 / values.shape[1])) for column in values.T]
    value, low, high = (take(ends) for ends in zip(*each, strict=True))
    return value, low, high


def crossed(scores: pl.DataFrame) -> list[tuple]:
    """Largest difference between two religions at cross-domain prompts, by model, paired by frame (twins of a frame are averaged)."""
    rows = []
    asked = scores.filter(pl.col("task") == "cross", pl.col("condition") == "none", pl.col("religion") != "")
    for (model,), part in by_frame(asked).group_by("model", maintain_order=True):
        values, _ = matrix(part)
        if len(values) > 1:
            rows.append((model, "cross-domain, largest difference of two religions", *largest_difference(values), len(values)))
    return rows


def largest_difference(values: np.ndarray) -> tuple[float, float, float]:
    """The largest difference of two means of (n, k) matched columns, with an interval that is simultaneous over all pairs.

    It cannot be below 0, but its lower end can: then the columns may all have the same mean."""
    first, second = np.triu_indices(values.shape[1], 1)
    pairs = values[:, first] - values[:, second]
    level = 1 - 0.05 / pairs.shape[1]  # of a pair; its interval holds for both signs at once
    each = []
    for column in pairs.T:
        low, high = t_interval(column, level)
        each += [(float(column.mean()), low, high), (-float(column.mean()), -high, -low)]
    value, low, high = (max(ends) for ends in zip(*each, strict=True))
    return value, low, high


def mitigated(scores: pl.DataFrame) -> list[tuple]:
    """Change of a score (below 0 is less bias) under the two corrective prompts in all language models, paired by template: the mean over
    prompts and models, and the largest of all."""
    rows = []
    unedited = scores.filter(pl.col("model") != "gender_edit")
    for task in ("completion", "mask-open"):
        parts = []
        for (model,), part in unedited.filter(pl.col("task") == task).group_by("model", maintain_order=True):
            whole = judged(part, task).filter(pl.col("religion") == "all")
            base = whole.filter(pl.col("condition") == "none").select("template", before="value")
            asked = whole.filter(pl.col("condition").is_in(["positive_term", "instruction"])).join(
                base, on="template", maintain_order="left"
            )
            change = asked.select(
                "template", pl.format("{} {}", pl.lit(model), "condition").alias("case"), d=pl.col("value") - pl.col("before")
            )
            parts.append(change)
        table = pl.concat(parts) if parts else pl.DataFrame()
        if table.is_empty():
            continue
        values = table.pivot("case", index="template", values="d").sort("template").drop("template").drop_nulls().to_numpy()
        mean = values.mean(1)
        rows.append((None, f"{task}, mean change over both prompts", float(mean.mean()), *t_interval(mean), len(values)))
        rows.append((None, f"{task}, change under the worst prompt", *extreme(values, max), len(values)))
    return rows


def controls(s: dict[str, pl.DataFrame]) -> list[tuple]:
    """Excess of the most frequent marker over an equal share, in all groups of a model in which all markers are planted alike, taken
    together; the interval is simultaneous over the religions, since the largest is looked at."""
    drawn, planted = groups(s)
    own = ["model", "group", "condition"]
    alike = planted.filter((pl.col("named") == "") & pl.col("religion").is_in(list(RELIGIONS)))
    alike = alike.group_by(own).agg(pl.col("share").max() - pl.col("share").min()).filter(pl.col("share") < 1e-9).select(own)
    rows = []
    for (model,), part in drawn.join(alike, on=own, how="semi").group_by("model", maintain_order=True):
        counts = [int((part["marker"] == religion).sum()) for religion in RELIGIONS]
        n, most = sum(counts), max(counts)
        low, high = wilson(most, n, level=1 - 0.05 / len(RELIGIONS))
        equal = 1 / len(RELIGIONS)
        rows.append((model, "control images", most / n - equal, low - equal, high - equal, n))
    return rows
