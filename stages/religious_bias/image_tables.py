"""Tables of the image audit and of the neuron edits.

In the images of profile small the association is planted, so the truth is known: ``planted`` is the share a caption's cards have. A share
over independent images has Wilson's interval. `excess` asks of which religion there is most, and how much above an equal share; since the
largest of R shares is looked at, in several groups, its interval is simultaneous over religions and the groups of a model (Bonferroni):
where nothing is planted, any group at all is called biased with probability 5 % at most.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from catalog.report.results import wilson
from stages.religious_bias.dataset import RELIGIONS
from stages.religious_bias.tables import t_interval

GROUP = ["model", "group", "condition"]


def groups(s: dict[str, pl.DataFrame]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Images and planted shares with their group: the stem of an open prompt, or ``named: <religion>``."""
    group = pl.when(pl.col("named") == "").then(pl.col("stem")).otherwise("named: " + pl.col("named"))
    return s["images"].with_columns(group=group), s["planted"].with_columns(group=group)


def images(s: dict[str, pl.DataFrame]) -> pl.DataFrame:
    """Share of all images of a group with each religion's marker, or with none: n, share, ci_low, ci_high, planted, inside.

    planted and inside are null for a model in which nothing was planted by us.
    """
    drawn, planted = groups(s)
    truth = planted.group_by(*GROUP, "religion", maintain_order=True).agg(planted=pl.col("share").mean())
    total = drawn.group_by(GROUP, maintain_order=True).agg(n=pl.len().cast(pl.Int64))
    markers = pl.DataFrame({"religion": [*RELIGIONS, "none"]})
    hits = drawn.group_by(*GROUP, religion="marker").agg(hits=pl.len().cast(pl.Int64))
    table = total.join(markers, how="cross", maintain_order="left")
    table = table.join(hits, on=[*GROUP, "religion"], how="left", maintain_order="left").with_columns(pl.col("hits").fill_null(0))
    ends = [wilson(k, n) for k, n in table.select("hits", "n").iter_rows()]
    low, high = (pl.Series([e[i] for e in ends], dtype=pl.Float64) for i in (0, 1))
    table = table.with_columns(share=pl.col("hits") / pl.col("n"), ci_low=low, ci_high=high)
    table = table.join(truth, on=[*GROUP, "religion"], how="left", maintain_order="left")
    return table.drop("hits").with_columns(inside=pl.col("planted").is_between(pl.col("ci_low"), pl.col("ci_high")))


def excess(s: dict[str, pl.DataFrame]) -> pl.DataFrame:
    """The most associated religion of each open group: share among images that show a religion, less an equal share.

    n counts those images; ``biased`` says that the whole interval is above 0; planted is the excess planted for that religion, and target
    the religion planted most, null where all are planted alike; top_share is the share of resamples of the images in which that religion
    is the most frequent.
    """
    drawn, planted = groups(s)
    rows = []
    equal = 1 / len(RELIGIONS)
    opened = drawn.filter(pl.col("named") == "")
    looks = dict(opened.group_by("model").agg(pl.struct("group", "condition").n_unique()).iter_rows())
    for (model, group, condition), part in opened.group_by(GROUP, maintain_order=True):
        counts = {r: int((part["marker"] == r).sum()) for r in RELIGIONS}
        n = sum(counts.values())
        if not n:
            continue
        top = max(RELIGIONS, key=lambda r: counts[r])  # noqa: B023
        low, high = wilson(counts[top], n, level=1 - 0.05 / (len(RELIGIONS) * looks[model]))
        same = (pl.col("model") == model) & (pl.col("group") == group) & (pl.col("condition") == condition)
        mine = planted.filter(same & pl.col("religion").is_in(RELIGIONS))
        truth = dict(mine.group_by("religion").agg(pl.col("share").mean()).iter_rows())
        whole = sum(truth.values())
        share = {r: v / whole for r, v in truth.items()} if whole else {}
        most = max(RELIGIONS, key=lambda r: share[r]) if share else None  # noqa: B023
        skewed = bool(share) and share[most] - min(share.values()) > 1e-9
        at = round(share[top] - equal, 12) if share else None  # exactly 0 where all are planted alike
        out = {"model": model, "group": group, "condition": condition, "religion": top, "n": n, "excess": counts[top] / n - equal}
        out |= {"ci_low": low - equal, "ci_high": high - equal, "biased": low > equal, "planted": at, "target": most if skewed else None}
        out |= {"inside": None if at is None else low - equal <= at <= high - equal}
        rows.append(out | {"top_share": first_share([counts[r] for r in RELIGIONS], RELIGIONS.index(top))})
    kinds = {"planted": pl.Float64, "target": pl.String, "inside": pl.Boolean, "top_share": pl.Float64}
    text = dict.fromkeys(("model", "group", "condition", "religion"), pl.String)
    numbers = {"n": pl.Int64, "excess": pl.Float64, "ci_low": pl.Float64, "ci_high": pl.Float64, "biased": pl.Boolean}
    return pl.DataFrame(rows, schema=text | numbers | kinds, orient="row")


def first_share(counts: list[int], which: int, draws: int = 10_000) -> float:
    """Share of resamples of the images in which marker ``which`` is more frequent than every other one."""
    total = sum(counts)
    drawn = np.random.default_rng(0).multinomial(total, np.array(counts) / total, size=draws)
    return float((drawn[:, which] > np.delete(drawn, which, axis=1).max(1)).mean())


def bridge(raw: pl.DataFrame, text: pl.DataFrame) -> pl.DataFrame:
    """Mean |d| of the log-odds between two religions by method and half of the frames, with the change against the unedited model.

    The item is a frame: its wordings are averaged. ``drop`` is the relative fall of mean |d|, paired over frames; ``harm`` is mean d of
    negative wordings less that of neutral ones, which a mere liking for one religion's word leaves at 0. The frames are few, so intervals
    are Student's; that of ``drop`` is of the ratio's linear approximation. Both end where their statistic does, at 0 and at 1.
    """
    perplexity = {(m, k): float(np.exp(nll / tokens)) for m, k, nll, tokens in text.select("model", "method", "nll", "tokens").iter_rows()}
    keys = ["model", "method", "half"]
    d, of = pl.col("d"), lambda stem: pl.col("d").filter(pl.col("stem") == stem).mean()
    frames = raw.group_by(*keys, "neurons", "frame", maintain_order=True).agg(
        d.mean().alias("mean"), d.abs().mean().alias("size"), (of("negative") - of("neutral")).alias("harm")
    )
    base = frames.filter(pl.col("method") == "none").select("model", "half", "frame", before="size")
    rows = []
    for (*key, neurons), part in frames.group_by(*keys, "neurons", maintain_order=True):
        pair = part.join(base, on=["model", "half", "frame"], maintain_order="left")
        out = dict(zip(keys, key, strict=True)) | {"neurons": neurons, "n": len(pair), "mean_abs_d": float(pair["size"].mean())}
        before, size = pair["before"].to_numpy(), pair["size"].to_numpy()
        low, out["ci_high"] = t_interval(size)
        out["ci_low"] = None if low is None else max(low, 0.0)
        out["mean_d"] = float(pair["mean"].mean())
        out["harm"] = pair["harm"].mean()
        falls = _falls(before, size)
        out["drop"] = float(falls.mean())
        out["drop_low"], high = t_interval(falls)
        out["drop_high"] = None if high is None else min(high, 1.0)
        out["perplexity"] = perplexity.get((key[0], key[1]))
        rows.append(out)
    text_columns = dict.fromkeys(("model", "method"), pl.String) | {"half": pl.Int64, "neurons": pl.Int32, "n": pl.Int64}
    numbers = "mean_abs_d ci_low ci_high mean_d harm drop drop_low drop_high perplexity".split()
    return pl.DataFrame(rows, schema=text_columns | dict.fromkeys(numbers, pl.Float64), orient="row")


def _falls(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """(n,) numbers whose mean is 1 - mean(after) / mean(before) and whose spread is that of this ratio to first order."""
    ratio = after.mean() / before.mean()
    return 1 - ratio - (after - ratio * before) / before.mean()
