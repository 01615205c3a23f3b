"""Masks as COCO's run-length codes: lengths of runs of equal pixels, column after column, beginning with those outside."""

from __future__ import annotations

import numpy as np


def encode(mask: np.ndarray) -> list[int]:
    """Run lengths of a mask (rows x columns, bool)."""
    flat = mask.ravel(order="F").astype(np.int8)
    changes = np.flatnonzero(np.diff(flat)) + 1
    edges = np.concatenate([[0], changes, [flat.size]])
    runs = np.diff(edges).tolist()
    return runs if not flat[0] else [0, *runs]


def decode(runs: list[int], height: int, width: int) -> np.ndarray:
    """The mask of run lengths: rows x columns, bool."""
    values = np.arange(len(runs)) % 2 == 1
    return np.repeat(values, runs).reshape((height, width), order="F")


def box(mask: np.ndarray) -> tuple[float, float, float, float]:
    """Smallest box of the mask's pixels: x0, y0, x1, y1; the last two lie beyond the last pixel."""
    columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)
