"""Intervals over contexts: claims on one context, and a note and its fake, share their sentences, so they are drawn together.

Every statistic here is a ratio of sums over items, such as right answers over answers. Contexts are resampled with replacement and both
sums taken anew (percentile bootstrap of clusters). All statistics of the same contexts are taken over the same resamples, so that a
difference of two is paired even where each counts other items, as *True against False among the answers that say either* does.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from catalog.report.intervals import clustered_share

RESAMPLES = 4000
Interval = tuple[float, float, float]  # value, low, high


@lru_cache(maxsize=32)
def draws(contexts: int) -> np.ndarray:
    """How often each context is in each resample: (RESAMPLES, contexts)."""
    return np.random.default_rng(0).multinomial(contexts, np.full(contexts, 1 / contexts), size=RESAMPLES).astype(np.float64)


def by_context(context: np.ndarray, *values: np.ndarray) -> list[np.ndarray]:
    """Sums of each array (items,) over the items of each context, those contexts left out where the last array is 0 throughout.

    Args:
        context: (items,) whole numbers from 0.
    """
    sums = [np.bincount(context, weights=np.asarray(value, dtype=np.float64), minlength=int(context.max()) + 1) for value in values]
    kept = np.bincount(context, weights=np.abs(np.asarray(values[-1], dtype=np.float64))) > 0
    return [total[kept] for total in sums]


def ratio(context: np.ndarray, part: np.ndarray, whole: np.ndarray, level: float = 0.95) -> Interval | None:
    """Sum of ``part`` over sum of ``whole`` with its interval; None where the latter is 0.

    Where all contexts have one share, as with one answer to all items, resamples have it too, and their interval has no length; it is
    `clustered_share`'s then. So is that of a single context: 0 to 1, for a share.
    """
    if not np.any(whole):
        return None
    parts, wholes = by_context(context, part, whole)
    value = float(parts.sum() / wholes.sum())
    if np.ptp(parts / wholes) == 0 or len(wholes) < 2:
        low, high = clustered_share(parts, wholes, level)
        return value, min(low, value), max(high, value)
    weights = draws(len(wholes))
    return value, *_quantiles((weights @ parts) / (weights @ wholes), value, level)


def difference(
    context: np.ndarray, one: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray], level: float = 0.95
) -> Interval | None:
    """The ratio of ``one`` (part, whole) less that of ``other``, over the same resamples; None where one of them is not defined.

    Resamples in which one is not defined, as few answers may make it, are left out.
    """
    if not np.any(one[1]) or not np.any(other[1]):
        return None
    counted = np.asarray(one[1], dtype=np.float64) + np.asarray(other[1], dtype=np.float64)
    a, n, b, m, _ = by_context(context, *one, *other, counted)
    value = float(a.sum() / n.sum() - b.sum() / m.sum())
    weights = draws(len(n))
    with np.errstate(invalid="ignore", divide="ignore"):
        found = (weights @ a) / (weights @ n) - (weights @ b) / (weights @ m)
    return value, *_quantiles(found[np.isfinite(found)], value, level)


def macro_f1(context: np.ndarray, gold: np.ndarray, answers: np.ndarray, labels: list[str], level: float = 0.95) -> Interval:
    """F1 averaged over ``labels``, with its interval; an answer that is none of them is wrong.

    Args:
        gold, answers: (items,) texts.
    """
    weights = draws(int(context.max()) + 1)
    means = np.zeros(len(weights))
    whole = 0.0
    for label in labels:
        hit, said, true = (
            np.bincount(context, weights=mask.astype(np.float64), minlength=int(context.max()) + 1)
            for mask in ((gold == label) & (answers == label), answers == label, gold == label)
        )
        bottom = weights @ (said + true)
        means += np.divide(2 * (weights @ hit), bottom, out=np.zeros(len(weights)), where=bottom > 0) / len(labels)
        total = float((said + true).sum())
        whole += 2 * float(hit.sum()) / total / len(labels) if total else 0.0
    return whole, *_quantiles(means, whole, level)


def _quantiles(found: np.ndarray, value: float, level: float) -> tuple[float, float]:
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return min(float(low), value), max(float(high), value)
