"""Masks as COCO's run-length codes: lengths of runs of equal pixels, column after column, beginning with those outside."""

from __future__ import annotations

import numpy as np

FINE = 5  # grid points a pixel on which an outline is traced


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


def decompress(text: str) -> list[int]:
    """Run lengths from COCO's compressed text.

    A number is written in groups of five bits, the lowest first, each as a character from "0" on; a sixth bit says that another group
    follows, and the highest bit of the last one is the sign. From the fourth number on, the difference to the number two before is written.
    """
    runs: list[int] = []
    value = shift = 0
    for character in text:
        group = ord(character) - 48
        value |= (group & 31) << shift
        shift += 5
        if group & 32:
            continue
        if group & 16:
            value -= 1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value = shift = 0
    return runs


def polygon(points: np.ndarray, height: int, width: int) -> np.ndarray:
    """Pixels inside one polygon, bit for bit as COCO's own tool (`rleFrPoly`) finds them: rows x columns.

    The outline is traced on a grid five times as fine. Where it crosses the middle of a column of pixels, the inside begins or ends.

    Args:
        points: n x 2, x and y in pixels.
    """
    fine = np.trunc(FINE * points + 0.5).astype(np.int64)
    us, vs = zip(*(_trace(start, end) for start, end in zip(fine, np.roll(fine, -1, axis=0))))
    u, v = np.concatenate(us), np.concatenate(vs)
    moved = np.flatnonzero(u[1:] != u[:-1]) + 1
    x = (np.where(u[moved] < u[moved - 1], u[moved], u[moved] - 1) + 0.5) / FINE - 0.5
    y = np.ceil(np.clip((np.minimum(v[moved], v[moved - 1]) + 0.5) / FINE - 0.5, 0, height))
    middle = (np.floor(x) == x) & (x >= 0) & (x <= width - 1)
    at = (x[middle] * height + y[middle]).astype(np.int64)
    crossings = np.bincount(at, minlength=height * width + 1)[: height * width]
    return (np.cumsum(crossings) % 2 == 1).reshape((height, width), order="F")


def _trace(start: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Grid points of a straight line, both ends included: one for each step along its longer direction."""
    (x0, y0), (x1, y1) = start.tolist(), end.tolist()
    wide, tall = abs(x1 - x0), abs(y1 - y0)
    steps = np.arange(max(wide, tall) + 1)
    back = x0 > x1 if wide >= tall else y0 > y1
    if back:
        x0, y0, x1, y1 = x1, y1, x0, y0
        steps = steps[::-1]
    if wide >= tall:
        slope = (y1 - y0) / wide if wide else 0.0
        return steps + x0, np.trunc(y0 + slope * steps + 0.5).astype(np.int64)
    return np.trunc(x0 + (x1 - x0) / tall * steps + 0.5).astype(np.int64), steps + y0
