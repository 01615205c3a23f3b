"""Intervals of Sharpe ratios by the circular block bootstrap (Politis and Romano 1992).

Daily returns depend on each other (volatility comes in clusters, positions last for days), so days are drawn in blocks of consecutive ones.
The series is a circle: a block that reaches the end goes on at the beginning, and every day is drawn equally often. With blocks that do not
wrap, the ends of the series are drawn rarely and the mean of the resamples is not that of the returns. The last block is cut, so that
each resample is as long as the series.

The length of a block is a parameter. By default it is n^(1/3), rounded up, the rate at which the best length for a variance grows (Hall,
Horowitz and Jing 1995); for half a year of days that is a trading week, for ten years 14 days.

Two methods are compared by the difference of their ratios on the *same* resampled days, which is much narrower than two intervals.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from catalog.base.errors import CatalogError

Statistic = Callable[[np.ndarray], np.ndarray]  # returns: (..., n) -> (...)
UNDEFINED = 0.05  # with a larger share of resamples without a ratio (all days flat) there is no interval


def block_length(n: int) -> int:
    """The default length of a block in a series of n returns."""
    return max(1, math.ceil(round(n ** (1 / 3), 9)))


def wrapped(starts: np.ndarray, block: int, n: int) -> np.ndarray:
    """The days of blocks that begin at ``starts`` ((..., blocks), at least n days in all) on a circle of n days: (..., n)."""
    days = (starts[..., None] + np.arange(block)) % n
    return days.reshape(*starts.shape[:-1], -1)[..., :n]


def resamples(n: int, block: int | None = None, draws: int = 2000, seed: int = 0) -> np.ndarray:
    """The days of each resample: (draws, n), equal for equal arguments."""
    block = block_length(n) if block is None else block
    if not 1 <= block <= n:
        raise CatalogError(f"A block of {block} days does not fit into {n} returns; choose 1 to {n}.")
    starts = np.random.default_rng(seed).integers(0, n, size=(draws, math.ceil(n / block)))
    return wrapped(starts, block, n)


def sharpe(periods: int = 252, convention: str = "simple", rf: float = 0.0) -> Statistic:
    """The Sharpe ratio of returns along the last axis, by a convention of `stages.open_finllms.trading_metrics`; NaN where undefined."""

    def statistic(r: np.ndarray) -> np.ndarray:
        n = r.shape[-1]
        deviation = np.where(np.ptp(r, axis=-1) <= 1e-12, np.nan, r.std(axis=-1, ddof=1))
        count = n + 1 if convention == "log" else n
        return (r.sum(axis=-1) / count - rf / periods) / deviation * math.sqrt(periods)

    return statistic


def interval(
    returns: Sequence[float],
    statistic: Statistic | None = None,
    *,
    block: int | None = None,
    draws: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float | None, float | None]:
    """The percentile interval of a statistic (by default the Sharpe ratio); (None, None) where too many resamples have none."""
    r = np.asarray(returns, dtype=float)
    if len(r) < 2:
        return None, None
    return _quantiles((statistic or sharpe())(r[resamples(len(r), block, draws, seed)]), level)


def difference(
    ours: Sequence[float],
    theirs: Sequence[float],
    statistic: Statistic | None = None,
    *,
    block: int | None = None,
    draws: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float | None, float | None]:
    """The interval of statistic(ours) - statistic(theirs), both on the same resampled days."""
    a, b = np.asarray(ours, dtype=float), np.asarray(theirs, dtype=float)
    if len(a) != len(b):
        raise CatalogError(f"The two series have {len(a)} and {len(b)} returns; compare them on the same days.")
    if len(a) < 2:
        return None, None
    days, statistic = resamples(len(a), block, draws, seed), statistic or sharpe()
    return _quantiles(statistic(a[days]) - statistic(b[days]), level)


def _quantiles(values: np.ndarray, level: float) -> tuple[float | None, float | None]:
    if np.isnan(values).mean() > UNDEFINED:
        return None, None
    low, high = np.nanquantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
