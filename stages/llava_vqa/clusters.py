"""Intervals over images: questions about one image share its picture, so that images are drawn, each with all its questions.

Every statistic here is of numbers that each question has, missing ones NaN. Images are resampled with replacement and the statistic is
taken anew (percentile bootstrap of clusters). All statistics of the same images are over the same resamples, so a difference is paired.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from catalog.report.intervals import clustered_share

RESAMPLES = 4000
Interval = tuple[float, float, float]  # value, low, high


@lru_cache(maxsize=32)
def draws(images: int) -> np.ndarray:
    """How often each image is in each resample: (RESAMPLES, images)."""
    return np.random.default_rng(0).multinomial(images, np.full(images, 1 / images), size=RESAMPLES).astype(np.float64)


def mean(image: np.ndarray, values: np.ndarray, level: float = 0.95) -> Interval | None:
    """Mean over the questions that have a number, with its interval; None where none has.

    Where all answers are right or all are wrong, each resample says so too; the interval is `clustered_share`'s then. A single image says
    nothing of others, so that the interval of a share is 0 to 1 then; other numbers of one image have none, and the result is None.

    Args:
        image: (questions,) names or numbers of images.
        values: (questions,) numbers; NaN is left out.
    """
    known = np.isfinite(values)
    if not known.any():
        return None
    sums, sizes = _by_image(image[known], values[known])
    value = float(sums.sum() / sizes.sum())
    agreed = np.ptp(values[known]) == 0 and value in (0.0, 1.0)
    if agreed or (len(sizes) < 2 and np.isin(values[known], (0.0, 1.0)).all()):
        low, high = clustered_share(sums, sizes, level)
        return value, min(low, value), max(high, value)
    if len(sizes) < 2:
        return None
    weights = draws(len(sizes))
    return value, *_quantiles((weights @ sums) / (weights @ sizes), value, level)


def difference(image: np.ndarray, one: np.ndarray, other: np.ndarray, level: float = 0.95) -> Interval | None:
    """Mean of ``one`` less ``other`` over the questions that both have a number for; None where there is none, or a single image.

    Where the two agree on every question, the difference of shares is 0 with an interval that the number of images gives: that of a share
    of which none was seen, to both sides.
    """
    gap = one - other
    known = np.isfinite(gap)
    if len(np.unique(image[known])) < 2:
        return None
    if np.ptp(gap[known]) > 0:
        return mean(image, gap, level)
    shares = np.isin(one[known], (0.0, 1.0)).all() and np.isin(other[known], (0.0, 1.0)).all()
    return _alike(float(gap[known][0]), shares, image[known], level)


def auroc(image: np.ndarray, positive: np.ndarray, score: np.ndarray, level: float = 0.95) -> Interval | None:
    """Probability that a question of ``positive`` has a higher score than one that is not, ties counted half, with its interval."""
    return _auroc_of(image, positive, (score,), level)


def auroc_difference(image: np.ndarray, positive: np.ndarray, one: np.ndarray, other: np.ndarray, level: float = 0.95) -> Interval | None:
    """The AUROC of one score less that of another on the same questions, over the same resamples."""
    return _auroc_of(image, positive, (one, other), level)


def _auroc_of(image: np.ndarray, positive: np.ndarray, scores: tuple[np.ndarray, ...], level: float) -> Interval | None:
    known = np.all([np.isfinite(score) for score in scores], axis=0)
    up, down = known & positive, known & ~positive
    if not up.any() or not down.any():
        return None
    number = np.unique(image[known], return_inverse=True)[1]
    place = np.empty(len(image), int)
    place[known] = number
    weights = draws(int(number.max()) + 1)
    one, other = weights[:, place[up]], weights[:, place[down]]
    pairs = one.sum(1) * other.sum(1)
    defined = pairs > 0
    found, value = np.zeros(int(defined.sum())), 0.0
    for sign, score in zip((1, -1), scores):
        wins = (score[up][:, None] > score[down]) + 0.5 * (score[up][:, None] == score[down])
        value += sign * float(wins.mean())
        found += sign * ((one @ wins) * other).sum(1)[defined] / pairs[defined]
    return value, *_quantiles(found, value, level)


def _by_image(image: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sum and number of each image's values."""
    number = np.unique(image, return_inverse=True)[1]
    return np.bincount(number, weights=values), np.bincount(number).astype(np.float64)


def _alike(value: float, shares: bool, image: np.ndarray, level: float) -> Interval:
    """The interval of a difference that is the same at every question: resamples have it too."""
    sums, sizes = _by_image(image, np.ones(len(image)))
    low = clustered_share(sums, sizes, level)[0]  # of a share without exception
    if not shares:
        return value, value, value
    return {0.0: (0.0, low - 1, 1 - low), 1.0: (1.0, low, 1.0), -1.0: (-1.0, -1.0, -low)}[value]


def _quantiles(found: np.ndarray, value: float, level: float) -> tuple[float, float]:
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return min(float(low), value), max(float(high), value)
