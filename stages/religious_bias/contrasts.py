"""Paired and joint statistics that claims are tested by, from the same signals as the tables.

A negative predicate is compared with its *positive* twin, frame by frame: a religion whose word any marked predicate raises, good or bad,
has a log ratio against the neutral twin and no contrast between the two. "Most" is a statement about an order, so its evidence is the share
of resamples of the frames in which the order holds.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from catalog.report.results import bootstrap, wilson
from stages.religious_bias.dataset import RELIGIONS
from stages.religious_bias.image_tables import groups
from stages.religious_bias.tables import judged

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

    ``lead`` is the mean of a religion less the largest of the others, in the same resamples; ``top_share`` the share of the resamples in
    which it is the largest of all."""
    rows = []
    for model, values in paired(masks).items():
        mean = values.mean(0)
        drawn = values[np.random.default_rng(0).integers(0, len(values), (RESAMPLES, len(values)))].mean(1)
        for r, religion in enumerate(RELIGIONS):
            lead = drawn[:, r] - np.delete(drawn, r, axis=1).max(1)
            out = (model, religion, len(values), *around(float(mean[r]), drawn[:, r]))
            rows.append((*out, *around(float(mean[r] - np.delete(mean, r).max()), lead), float((lead > 0).mean())))
    numbers = "contrast ci_low ci_high lead lead_low lead_high top_share".split()
    kinds = {"model": pl.String, "religion": pl.String, "n": pl.Int64} | dict.fromkeys(numbers, pl.Float64)
    return pl.DataFrame(rows, schema=kinds, orient="row")


def contrasts(s: dict[str, pl.DataFrame], scores: pl.DataFrame) -> pl.DataFrame:
    """Single comparisons: model, contrast, value, ci_low, ci_high, n. ``scores`` are those of `signals.scored`."""
    masked = s["quality"].filter(pl.col("correct").is_not_null())["model"].to_list()
    rows = [*every_masked(s["masks"], masked), *least_mitigated(scores), *edit_against_random(s["bridge"]), *controls(s)]
    kinds = {"model": pl.String, "contrast": pl.String, "value": pl.Float64, "ci_low": pl.Float64, "ci_high": pl.Float64, "n": pl.Int64}
    return pl.DataFrame(rows, schema=kinds, orient="row")


def every_masked(masks: pl.DataFrame, models: list[str]) -> list[tuple]:
    """Islam's contrast under the masked LM where it is smallest, the largest of another religion under any, and the share of resamples in
    which Islam's is the largest under every masked LM. The same frames are drawn for all models."""
    found = {model: wide for model, wide in paired(masks).items() if model in models}
    if not found:
        return []
    stacked = np.stack(list(found.values()), axis=1)  # (T, M, R)
    own, n = RELIGIONS.index("islam"), len(stacked)
    drawn = stacked[np.random.default_rng(0).integers(0, n, (RESAMPLES, n))].mean(1)
    top = float((drawn[..., own] > np.delete(drawn, own, axis=-1).max(-1)).all(1).mean())
    out = []
    for name, read in (
        ("Islam, least masked LM", lambda x: x[..., own].min(-1)),
        ("another religion, largest of any masked LM", lambda x: np.delete(x, own, axis=-1).max((-2, -1))),
    ):
        out.append((None, name, *around(float(read(stacked.mean(0))), read(drawn)), n))
    return [*out, (None, "Islam largest under every masked LM, share of resamples", top, None, None, n)]


def around(value: float, drawn: np.ndarray) -> tuple[float, float, float]:
    """A value with its percentile interval, which is made to hold the value: that of a maximum need not."""
    low, high = np.quantile(drawn, [0.025, 0.975])
    return value, min(float(low), value), max(float(high), value)


def least_mitigated(scores: pl.DataFrame) -> list[tuple]:
    """Largest change of a score (below 0 is less bias) over both corrective prompts and all language models, templates drawn together."""
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
        drawn = values[np.random.default_rng(0).integers(0, len(values), (RESAMPLES, len(values)))].mean(1).max(-1)
        rows.append((None, f"{task}, change under the prompt that helps least", *around(float(values.mean(0).max()), drawn), len(values)))
    return rows


def edit_against_random(raw: pl.DataFrame) -> list[tuple]:
    """Fall of mean |log-odds| on held-out frames under the edit of religion, less that under as many random neurons, paired by frame."""
    keys = ["model", "method", "frame"]
    frames = raw.filter(pl.col("half") == 1).group_by(keys, maintain_order=True).agg(pl.col("d").abs().mean())
    rows = []
    for (model,), part in frames.group_by("model", maintain_order=True):
        wide = part.pivot("method", index="frame", values="d").sort("frame")
        if not {"none", "religion edit", "random"} <= set(wide.columns):
            continue
        values = wide.select("none", "religion edit", "random").drop_nulls().to_numpy()
        gain = lambda x, axis: (x[..., 2] - x[..., 1]).mean(axis) / x[..., 0].mean(axis)  # noqa: E731
        rows.append((model, "religion edit less random", float(gain(values[None], axis=1)[0]), *bootstrap(values, gain), len(values)))
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
