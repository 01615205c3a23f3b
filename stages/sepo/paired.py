"""Comparisons on the same test documents, each with its 95 % interval: differences, trends over a share of tokens, joint statistics.

Two pairs made of one document are not independent: they share the prompt and often the chosen response. So their values are averaged first
(`tables.per_document`), one number a document is compared, and documents are what ``n`` counts and what an interval is over.

Margins have the percentile bootstrap. Shares (accuracies, hits) have Wilson's interval and their differences that of Agresti and Min
(2005), since the bootstrap of a few discordant documents never draws a sign that was not seen, and has no width where none is discordant.
Where several rivals stand behind one statement its statistic is the least lead over any of them, and the interval of each lead is corrected
for their number. (Taking the least anew in each resample would count the selection twice: the least of resampled means mostly lies below
that of the means.)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist

import numpy as np

from catalog.report.intervals import bootstrap, wilson

Interval = tuple[float, float, float]  # value, low, high
Both = tuple[np.ndarray, np.ndarray]  # what is compared, (n,) each
RESAMPLES = 2000  # for a level of 95 %


def mean_share(values: np.ndarray) -> Interval:
    """Mean of shares ``(n,)`` in [0, 1] with Wilson's interval.

    The values need not be 0 or 1: a document of two pairs may have one of them right, and a value may be a mean over seeds. Values in
    [0, 1] with the mean p have a variance of p (1 - p) at most, which is what Wilson's interval assumes, so it is not too narrow for them.
    """
    value = min(1.0, float(np.mean(values)))
    low, high = wilson(value * len(values), len(values))
    return value, min(low, value), max(high, value)


def difference(a: np.ndarray, b: np.ndarray, level: float = 0.95) -> Interval:
    """Mean of ``a - b`` over documents, ``(n,)`` each, and its bootstrap interval; more resamples the higher its level."""
    gap = a - b
    return float(gap.mean()), *bootstrap(gap, n_boot=round(RESAMPLES * 0.05 / (1 - level)), level=level)


def share_difference(a: np.ndarray, b: np.ndarray, level: float = 0.95) -> Interval:
    """Mean of ``a - b`` of matched shares, ``(n,)`` in [0, 1] each, with the interval of Agresti and Min (2005).

    Half a document is added to each of the four cells (both right, only a, only b, neither); then Wald's interval. It holds where few or no
    documents are discordant. A value between 0 and 1 is a mean over a document's pairs or over seeds.
    """
    gap = np.asarray(a, dtype=np.float64) - b
    n, total = len(gap) + 2, float(gap.sum())
    spread = math.sqrt(float((gap**2).sum()) + 1 - total**2 / n)
    half = NormalDist().inv_cdf((1 + level) / 2) * spread / n
    value = total / len(gap)
    return value, max(-1.0, min(value, total / n - half)), min(1.0, max(value, total / n + half))


def least(pairs: Sequence[Both]) -> Interval:
    """The least of several differences of margins (a, b): of value, low and high of all, each at the level 1 - .05 / k.

    All k intervals hold at once with 95 %, and then the least difference lies between the least low and the least high.
    """
    return _bonferroni(pairs, min, difference)


def largest(pairs: Sequence[Both]) -> Interval:
    """The largest of several differences of margins, likewise."""
    return _bonferroni(pairs, max, difference)


def least_share(pairs: Sequence[Both]) -> Interval:
    """The least of several differences of matched shares (a, b), likewise."""
    return _bonferroni(pairs, min, share_difference)


def largest_share(pairs: Sequence[Both]) -> Interval:
    """The largest of several differences of matched shares, likewise."""
    return _bonferroni(pairs, max, share_difference)


def _bonferroni(pairs: Sequence[Both], take: Callable[..., float], interval: Callable[..., Interval]) -> Interval:
    each = [interval(a, b, 1 - 0.05 / len(pairs)) for a, b in pairs]
    value, low, high = (take(column) for column in zip(*each, strict=True))
    return value, low, high


def slope(shares: Sequence[float], margins: Sequence[np.ndarray]) -> Interval:
    """Slope of the mean margin over the share of tokens (least squares), per unit of the share: the mean of the documents' own slopes.

    Args:
        shares: (k,) at least two different ones; margins: k arrays (n,).
    """
    centred = np.asarray(shares) - np.mean(shares)
    own = np.tensordot(centred / (centred**2).sum(), np.stack(margins), axes=1)
    return float(own.mean()), *bootstrap(own)
