"""Scores of one map: does it point at the object that was asked about, how concentrated is it, does it agree with another map?

A map has a number for each patch of the image. Ground truth are the patches that the object's mask covers by more than a threshold.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import rankdata

from catalog.base.errors import CatalogError
from stages.llava_vqa.masks import decode


def coverage(mask: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Share of each patch that a mask covers: (rows, columns) of the grid.

    Args:
        mask: (height, width) bool; its sides must be multiples of the grid's.
    """
    (height, width), (rows, columns) = mask.shape, grid
    if height % rows or width % columns:
        raise CatalogError(f"An image of {width} x {height} pixels cannot be cut into {columns} x {rows} equal patches; check the maps.")
    return mask.reshape(rows, height // rows, columns, width // columns).mean(axis=(1, 3))


def truth(masks: Sequence[list[int]], height: int, width: int, grid: tuple[int, int], covered: float) -> np.ndarray:
    """Which patches show one of these objects: (rows * columns,) bool, row by row.

    Args:
        masks: run lengths of each object's mask. covered: a patch shows it if the masks cover more than this share.
    """
    together = np.zeros((height, width), bool)
    for runs in masks:
        together |= decode(runs, height, width)
    return (coverage(together, grid) > covered).ravel()


def hit(values: np.ndarray, shown: np.ndarray) -> float:
    """1 if the highest patch shows the object, else 0; the share of them that do where several are equally high."""
    return float(shown[values == values.max()].mean())


def iou(values: np.ndarray, shown: np.ndarray, k: int) -> float:
    """Intersection over union of the ``k`` highest patches with those that show the object; of equal ones the first is higher."""
    top = np.zeros(len(values), bool)
    top[np.argsort(-values, kind="stable")[:k]] = True
    return float((top & shown).sum() / (top | shown).sum())


def inside(values: np.ndarray, shown: np.ndarray) -> float:
    """Share of the map's positive evidence that lies on the object; NaN if none is positive."""
    up = np.maximum(values, 0)
    return float(up[shown].sum() / up.sum()) if up.sum() > 0 else float("nan")


def concentration(values: np.ndarray) -> float:
    """1 less the entropy of the positive evidence over that of an even spread: 1 for a single patch, 0 for all alike or none."""
    up = np.maximum(values, 0)
    if up.sum() <= 0:
        return 0.0
    share = up[up > 0] / up.sum()
    return float(1 + (share * np.log(share)).sum() / np.log(len(values)))


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Spearman's rank correlation of two maps; NaN if one is the same everywhere."""
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return float("nan")
    return float(np.corrcoef(rankdata(one), rankdata(other))[0, 1])


def area(shares: np.ndarray, values: np.ndarray) -> float:
    """Mean height of a curve between its first and its last share, by trapezoids."""
    order = np.argsort(shares)
    x, y = shares[order], values[order]
    return float(np.trapezoid(y, x) / (x[-1] - x[0]))
