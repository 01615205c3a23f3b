"""Reading levels: how well a reader names them, beside the majority and thresholds on the Flesch-Kincaid grade.

A trained reader has to beat the grade alone, which one number of each document gives.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from catalog.base.errors import CatalogError


def accuracy(truth: np.ndarray, named: np.ndarray, times: np.ndarray) -> np.ndarray:
    """(B,) share of documents named right, under weights (B, n)."""
    return times @ (truth == named) / times.sum(axis=1)


def adjacent(truth: np.ndarray, named: np.ndarray, times: np.ndarray) -> np.ndarray:
    """(B,) share of documents named right or one level off."""
    return times @ (np.abs(truth - named) <= 1) / times.sum(axis=1)


def macro_f1(truth: np.ndarray, named: np.ndarray, times: np.ndarray, levels: int) -> np.ndarray:
    """(B,) mean over the levels of F1; 0 for a level that neither occurs nor is named."""
    out = np.zeros(len(times))
    for level in range(levels):
        right = times @ ((truth == level) & (named == level))
        both = times @ (truth == level) + times @ (named == level)
        out += np.divide(2 * right, both, out=np.zeros_like(right), where=both > 0)
    return out / levels


def confusion(truth: np.ndarray, named: np.ndarray, levels: int) -> np.ndarray:
    """(levels, levels) documents by true level and named level."""
    found = np.zeros((levels, levels), dtype=np.int64)
    np.add.at(found, (truth, named), 1)
    return found


def fit_thresholds(grades: Sequence[float], levels: Sequence[int], count: int) -> np.ndarray:
    """Grades at which the level changes, falling, with the most documents on the right side of them.

    Args:
        grades: of the training documents; levels: theirs, 0 is the hardest; count: of levels.

    Returns:
        (count - 1,) thresholds: a document above the first has level 0. Among equally good ones the highest.

    Raises:
        CatalogError: no documents.
    """
    if not len(grades):
        raise CatalogError("Thresholds need training documents with a grade; there are none.")
    order = np.argsort(-np.asarray(grades, dtype=float), kind="stable")
    grade, truth = np.asarray(grades, dtype=float)[order], np.asarray(levels)[order]
    n = len(grade)
    # hits[k][i]: most right names of the first i documents with the levels up to k.
    hits = np.full((count, n + 1), -1, dtype=np.int64)
    cut = np.zeros((count, n + 1), dtype=np.int64)
    hits[0] = np.concatenate([[0], np.cumsum(truth == 0)])
    for k in range(1, count):
        own = np.concatenate([[0], np.cumsum(truth == k)])
        best, place = -(10**9), 0
        for i in range(n + 1):
            if (i == 0 or i == n or grade[i - 1] > grade[i]) and hits[k - 1][i] - own[i] > best:
                best, place = hits[k - 1][i] - own[i], i
            hits[k][i], cut[k][i] = best + own[i], place
    ends, i = [], n
    for k in range(count - 1, 0, -1):
        i = int(cut[k][i])
        ends.append(i)
    edges = np.concatenate([[np.inf], grade, [-np.inf]])
    return np.array([_middle(edges[end], edges[end + 1]) for end in reversed(ends)])


def _middle(above: float, below: float) -> float:
    return above if np.isinf(above) else below if np.isinf(below) else (above + below) / 2


def by_thresholds(grades: Sequence[float], thresholds: np.ndarray) -> np.ndarray:
    """(n,) level of each document."""
    return (np.asarray(grades, dtype=float)[:, None] <= thresholds).sum(axis=1)
