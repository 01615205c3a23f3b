"""Comparisons on the same test pairs, each with its 95 % interval: differences, trends over a share of tokens, joint statistics.

Every policy is measured on the same pairs, so what is compared is one number a pair, and pairs are what an interval is over. Margins have
the percentile bootstrap. Differences of accuracy have the interval of Agresti and Min (2005), since the bootstrap of a few discordant pairs
never draws a sign that was not seen. Where several rivals stand behind one statement its statistic is the least lead over any of them. Its
interval is joint: of margins the least is taken anew in each resample; of accuracies each interval is corrected for their number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist

import numpy as np

from catalog.report.intervals import bootstrap

Interval = tuple[float, float, float]  # value, low, high


def difference(a: np.ndarray, b: np.ndarray) -> Interval:
    """Mean of ``a - b`` over pairs, ``(n,)`` each, and its bootstrap interval."""
    gap = a - b
    return float(gap.mean()), *bootstrap(gap)


def share_difference(a: np.ndarray, b: np.ndarray, level: float = 0.95) -> Interval:
    """Mean of ``a - b`` of matched shares, ``(n,)`` in [0, 1] each, with the interval of Agresti and Min (2005).

    Half a pair is added to each of the four cells (both right, only a, only b, neither); then Wald's interval. It holds where few or no
    pairs are discordant. A value between 0 and 1 is a mean over seeds.
    """
    gap = np.asarray(a, dtype=np.float64) - b
    n, total = len(gap) + 2, float(gap.sum())
    spread = math.sqrt(float((gap**2).sum()) + 1 - total**2 / n)
    half = NormalDist().inv_cdf((1 + level) / 2) * spread / n
    value = total / len(gap)
    return value, max(-1.0, min(value, total / n - half)), min(1.0, max(value, total / n + half))


def least(gaps: Sequence[np.ndarray]) -> Interval:
    """The least of several mean differences, ``(n,)`` each over the same pairs, resampled jointly."""
    return _joint(gaps, lambda values, axis: values.mean(axis).min(-1))


def largest(gaps: Sequence[np.ndarray]) -> Interval:
    """The largest of several mean differences, likewise."""
    return _joint(gaps, lambda values, axis: values.mean(axis).max(-1))


def least_share(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> Interval:
    """The least of several differences of matched shares (a, b): of value, low and high of all, each at the level 1 - .05 / k.

    All k intervals hold at once with 95 %, and then the least difference lies between the least low and the least high.
    """
    return _bonferroni(pairs, min)


def largest_share(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> Interval:
    """The largest of several differences of matched shares, likewise."""
    return _bonferroni(pairs, max)


def _bonferroni(pairs: Sequence[tuple[np.ndarray, np.ndarray]], take: Callable[..., float]) -> Interval:
    each = [share_difference(a, b, 1 - 0.05 / len(pairs)) for a, b in pairs]
    value, low, high = (take(column) for column in zip(*each, strict=True))
    return value, low, high


def _joint(gaps: Sequence[np.ndarray], statistic: Callable[..., np.ndarray]) -> Interval:
    values = np.stack(gaps, axis=1)
    return float(statistic(values[None], axis=1)[0]), *bootstrap(values, statistic)


def slope(shares: Sequence[float], margins: Sequence[np.ndarray]) -> Interval:
    """Slope of the mean margin over the share of tokens (least squares), per unit of the share: the mean of the pairs' own slopes.

    Args:
        shares: (k,) at least two different ones; margins: k arrays (n,).
    """
    centred = np.asarray(shares) - np.mean(shares)
    own = np.tensordot(centred / (centred**2).sum(), np.stack(margins), axes=1)
    return float(own.mean()), *bootstrap(own)
