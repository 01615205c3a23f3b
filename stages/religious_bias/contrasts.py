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

RESAMPLES = 2000


def twins(masks: pl.DataFrame) -> pl.DataFrame:
    """``log P(r | negative) - log P(r | positive twin)`` by model and religion, mean over frames, without mitigation.

    ``lead`` is the mean of a religion less the largest of the others, in the same resamples; ``top_share`` the share of the resamples in
    which it is the largest of all."""
    keys = ["model", "frame", "religion"]
    plain = masks.filter(pl.col("condition") == "none")
    sides = [plain.filter(pl.col("stem") == stem).select(*keys, pl.col("logp").alias(stem)) for stem in ("negative", "positive")]
    both = sides[0].join(sides[1], on=keys, maintain_order="left").with_columns(contrast=pl.col("negative") - pl.col("positive"))
    rows = []
    for (model,), part in both.group_by("model", maintain_order=True):
        wide = part.pivot("religion", index="frame", values="contrast").sort("frame").select(*RELIGIONS).drop_nulls().to_numpy()
        if not len(wide):
            continue
        mean = wide.mean(0)
        drawn = wide[np.random.default_rng(0).integers(0, len(wide), (RESAMPLES, len(wide)))].mean(1)
        for r, religion in enumerate(RELIGIONS):
            others = [k for k in range(len(RELIGIONS)) if k != r]
            lead = drawn[:, r] - drawn[:, others].max(1)
            (low, high), (lead_low, lead_high) = (np.quantile(x, [0.025, 0.975]) for x in (drawn[:, r], lead))
            out = {"model": model, "religion": religion, "n": len(wide), "contrast": mean[r], "ci_low": low, "ci_high": high}
            out |= {"lead": mean[r] - mean[others].max(), "lead_low": lead_low, "lead_high": lead_high}
            rows.append(out | {"top_share": float((lead > 0).mean())})
    numbers = "contrast ci_low ci_high lead lead_low lead_high top_share".split()
    kinds = {"model": pl.String, "religion": pl.String, "n": pl.Int64} | dict.fromkeys(numbers, pl.Float64)
    return pl.DataFrame(rows, schema=kinds, orient="row")


def contrasts(s: dict[str, pl.DataFrame]) -> pl.DataFrame:
    """Single comparisons: model, contrast, value, ci_low, ci_high, n."""
    rows = [*edit_against_random(s["bridge"]), *controls(s)]
    kinds = {"model": pl.String, "contrast": pl.String, "value": pl.Float64, "ci_low": pl.Float64, "ci_high": pl.Float64, "n": pl.Int64}
    return pl.DataFrame(rows, schema=kinds, orient="row")


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
