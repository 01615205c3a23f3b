"""Which words belong to each place of a picture's grid: what is drawn there, in which colour, and where.

The projector is first drawn towards these words (`catalog.vision.align`). The pixels of a mark are those in its box that have its colour; a
line is thin, so a few of its pixels count for a place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.colors import to_rgb

from stages.open_finllms.vision_charts import STYLES
from stages.open_finllms.vision_content import COLOURS

KINDS, SIDES, LEVELS = ("line", "bar", "slice", "cell"), ("left", "middle", "right"), ("top", "middle", "bottom")
WORDS = (*KINDS, *COLOURS, *SIDES, *LEVELS)
_NEAR = 60  # of 255; edges are blended with the paper
_THIN = {"line": 8.0}  # how much a pixel of it counts


def coverage(pixels: np.ndarray, mark: dict[str, Any], style: str, grid: int) -> np.ndarray:
    """(grid * grid,) share of each place that a mark covers, row by row."""
    colour = np.array(to_rgb(STYLES[style].palette[mark["colour"]])) * 255
    close = np.abs(pixels.astype(float) - colour).max(-1) < _NEAR
    ys, xs = np.mgrid[: pixels.shape[0], : pixels.shape[1]] + 0.5
    close &= (xs > mark["x0"] - 1) & (xs < mark["x1"] + 1) & (ys > mark["y0"] - 1) & (ys < mark["y1"] + 1)
    side = pixels.shape[0] // grid
    shares = close.reshape(grid, side, grid, side).mean((1, 3)).ravel()
    return np.minimum(shares * _THIN.get(mark["kind"], 1.0), 1.0)


def words(pixels: np.ndarray, marks: Sequence[dict[str, Any]], style: str, grid: int, least: float = 0.12) -> list[tuple[str, ...] | None]:
    """(kind, colour, side, level) of each place, or None where less than `least` of it is covered; the mark that covers most counts."""
    drawn = [mark for mark in marks if mark["kind"] in KINDS and mark["colour"]]
    if not drawn:
        return [None] * grid**2
    shares = np.stack([coverage(pixels, mark, style, grid) for mark in drawn])
    most = shares.argmax(0)
    return [
        (drawn[which]["kind"], drawn[which]["colour"], SIDES[3 * (place % grid) // grid], LEVELS[3 * (place // grid) // grid])
        if shares[which, place] > least
        else None
        for place, which in enumerate(most)
    ]
