"""Scores of predictions and their intervals: what `stages.harmonic.utility` measures classifiers by.

C is the number of classes. Accuracy, F1 and AUC lie in [0, 1], MCC in [-1, 1], R2 below 1; what is undefined (AUC of a test split with one
class) is None or NaN and never 0. `draws` resamples test rows, the same ones for every table, so that tables can be compared draw by draw.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from catalog.base.errors import CatalogError

METRICS = ("accuracy", "mcc", "weighted_f1", "macro_f1", "auc")
_CELLS = 4_000_000  # values resampled at once, as in catalog.report.intervals


@dataclass(frozen=True)
class Prediction:
    """What one classifier says of the rows of the test split."""

    predicted: np.ndarray  # (n,) int64 places in `Utility.classes`; float64 values in a regression
    score: np.ndarray | None  # (n, C) float64, higher for the class held more likely, comparable within a class only; None: not asked for


@dataclass(frozen=True)
class Utility:
    """Scores of the classifiers trained on one table, and what they are made of."""

    rows: list[dict]  # one a classifier: classifier, metrics, n (test rows), n_train, classes (trained on), in the paper form parameters
    predictions: dict[str, Prediction]  # by classifier
    truth: np.ndarray  # (n,) int64 places in `classes`, or float64
    classes: tuple[str, ...]  # empty in a regression


# --- metrics ----------------------------------------------------------------------------------------------------------------------------


def scores(confusion: np.ndarray) -> dict[str, np.ndarray]:
    """Accuracy, MCC, weighted and macro F1 of confusion tables (..., C, C) of counts: rows are the truth, columns the prediction.

    MCC is Gorodkin's (2004) for any number of classes, 0 where one side names one class only; F1 of a class that is nowhere predicted is
    0. The macro mean is over the classes that occur on either side. All as in scikit-learn.
    """
    table = np.asarray(confusion, dtype=np.float64)
    n = table.sum((-2, -1))
    hits = np.diagonal(table, axis1=-2, axis2=-1)
    actual, called = table.sum(-1), table.sum(-2)
    spread = (n**2 - (actual**2).sum(-1)) * (n**2 - (called**2).sum(-1))
    covered = hits.sum(-1) * n - (actual * called).sum(-1)
    either = actual + called
    f1 = np.divide(2 * hits, either, out=np.zeros_like(hits), where=either > 0)
    return {
        "accuracy": hits.sum(-1) / n,
        "mcc": np.divide(covered, np.sqrt(spread), out=np.zeros_like(covered), where=spread > 0),
        "weighted_f1": (f1 * actual).sum(-1) / n,
        "macro_f1": f1.sum(-1) / (either > 0).sum(-1),
    }


def auc(truth: np.ndarray, score: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Area under the ROC curve, ties counted half; of more than two classes the mean of one class against the rest.

    Args:
        truth: (n,) places of the classes.
        score: (n, C).
        weights: (b, n) how often each row counts; once by default.

    Returns:
        (b,); classes without a row, or with all, do not count, and NaN where none is left.
    """
    weights = np.ones((1, len(truth))) if weights is None else weights
    found = []
    for c in [1] if score.shape[1] == 2 else range(score.shape[1]):
        order = np.argsort(score[:, c], kind="stable")
        ranked = score[order, c]
        starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])  # rows of one score stand together
        positive = truth[order] == c
        w = weights[:, order]
        ours, rest = (np.add.reduceat(np.where(side, w, 0.0), starts, axis=1) for side in (positive, ~positive))
        below = np.cumsum(rest, axis=1) - rest / 2
        pairs = ours.sum(1) * rest.sum(1)
        found.append(np.divide((ours * below).sum(1), pairs, out=np.full(len(w), np.nan), where=pairs > 0))
    stacked = np.stack(found)
    defined = np.isfinite(stacked).sum(0)
    return np.divide(np.nansum(stacked, axis=0), defined, out=np.full(stacked.shape[1], np.nan), where=defined > 0)


def measure(metric: str, found: Prediction, truth: np.ndarray, count: int, weights: np.ndarray) -> np.ndarray:
    """(b,) values of a metric, row i of the test split counted weights[:, i] times; NaN where undefined."""
    if metric == "auc":
        return auc(truth, found.score, weights)
    if metric == "r2":
        centred = truth - truth.mean()  # keeps the difference of squares exact
        total = weights @ centred**2 - (weights @ centred) ** 2 / weights.sum(1)
        error = weights @ (truth - found.predicted) ** 2
        return 1 - np.divide(error, total, out=np.full(len(total), np.nan), where=total > 1e-12 * max(1.0, float(centred.var())))
    cells = np.eye(count * count)[truth * count + found.predicted]  # (n, C * C), one 1 a row
    return scores((weights @ cells).reshape(-1, count, count))[metric]


# --- intervals --------------------------------------------------------------------------------------------------------------------------


def draws(utility: Utility, metric: str, classifiers: Sequence[str] | None = None, n_boot: int = 2000, seed: int = 0) -> np.ndarray:
    """Values (n_boot,) of a metric, or of its mean over several classifiers, in resamples of the test rows; NaN where undefined.

    The resamples depend on the seed and the number of rows alone and are those of `catalog.report.intervals.bootstrap`, so draws of
    two tables
    tested on the same rows are paired: their difference or ratio can be taken draw by draw.

    Args:
        metric: of `METRICS`; ``r2`` in a regression.
        classifiers: whose mean is taken; all by default.
    """
    kinds = list(utility.predictions if classifiers is None else classifiers)
    allowed = ("r2",) if not utility.classes else METRICS
    if not kinds or (unknown := [kind for kind in kinds if kind not in utility.predictions]):
        raise CatalogError(f"There is no prediction of {unknown[0] if kinds else 'no classifier'}; use {', '.join(utility.predictions)}.")
    if metric not in allowed or metric == "auc" and any(utility.predictions[kind].score is None for kind in kinds):
        raise CatalogError(f"{metric!r} cannot be had of these predictions; use {' or '.join(m for m in allowed if m != 'auc')}.")
    parts = []
    for weights in _resamples(len(utility.truth), n_boot, seed):
        values = [measure(metric, utility.predictions[kind], utility.truth, len(utility.classes), weights) for kind in kinds]
        parts.append(np.mean(values, axis=0))
    return np.concatenate(parts)


def interval(
    utility: Utility,
    metric: str,
    classifiers: Sequence[str] | None = None,
    n_boot: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float] | tuple[None, None]:
    """Percentile bootstrap interval (Efron 1979) of `draws`: over the test rows, with the trained classifiers as they are.

    It holds no variation of training or of the generator's seed. Undefined draws are left out; (None, None) if all are.
    """
    found = draws(utility, metric, classifiers, n_boot, seed)
    found = found[np.isfinite(found)]
    if not len(found):
        return None, None
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def mean(utility: Utility, metric: str, classifiers: Sequence[str] | None = None) -> float | None:
    """Mean of a metric over classifiers (all by default), the number that `interval` belongs to; None if one of them is undefined."""
    values = [row[metric] for row in utility.rows if classifiers is None or row["classifier"] in classifiers]
    return None if None in values else float(np.mean(values))


def _resamples(n: int, n_boot: int, seed: int) -> Iterator[np.ndarray]:
    """How often each of n rows is drawn (b, n) float64, in chunks whose size depends on n alone."""
    generator, chunk = np.random.default_rng(seed), max(1, _CELLS // n)
    for start in range(0, n_boot, chunk):
        index = generator.integers(0, n, size=(min(chunk, n_boot - start), n))
        flat = (index + n * np.arange(len(index))[:, None]).ravel()
        yield np.bincount(flat, minlength=index.size).reshape(index.shape).astype(np.float64)
