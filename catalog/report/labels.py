"""Where the names of points go in a picture, so that none covers another.

Vega-Lite writes each text at one offset from its point. Where points lie close, `placed` tries places around each, nearest first, and
takes the one that covers least of the names and points before it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from catalog.report.vega import field

LETTER = 0.5  # width of a letter, as a share of the font's size
STEPS = (0, -1, 1, -2, 2, -3, 3)  # lines up and down that a name may move


def placed(
    data: pl.DataFrame,
    x: str,
    y: str,
    text: str,
    *,
    width: int,
    height: int,
    size: int = 9,
    reverse: bool = False,
    also: float | None = None,
) -> tuple[pl.DataFrame, dict[str, Any], dict[str, Any]]:
    """The data with `label_x` and `label_y`, where the middle left of each name stands, and the scales of both axes.

    Args:
        data: a row a point, without missing coordinates.
        x, y, text: columns.
        width, height: of the picture, pixels.
        size: of the font, pixels.
        reverse: of the x axis.
        also: a value that the x axis has to hold.

    Returns:
        The data, the scale of x and that of y. The places hold for these scales alone and for a picture of just that size, which a view by
        itself has not everywhere (legends take from it); one in a concatenation has.
    """
    low, high = zip(_bounds(data[x], also), _bounds(data[y]), strict=True)
    span = np.subtract(high, low)
    points = (data.select(x, y).to_numpy() - low) / span
    points[:, 1] = 1 - points[:, 1]  # pixels count down
    if reverse:
        points[:, 0] = 1 - points[:, 0]
    points *= (width, height)
    around = np.concatenate([points - 5, points + 5], axis=1)  # boxes: left, top, right, bottom
    boxes = np.empty((0, 4))
    for (left, top), name in zip(points, data[text], strict=True):
        wide = LETTER * size * len(name)
        tries = [(left + at, top + (size + 2) * step) for step in STEPS for at in (8, -8 - wide)]
        tries += [(left - wide / 2, top + (size + 2) * step) for step in STEPS[1:]]
        own = np.array([[a, b - size / 2, a + wide, b + size / 2] for a, b in tries])
        outside = np.clip(-own[:, :2], 0, None).sum(1) + np.clip(own[:, 2:] - (width, height), 0, None).sum(1)
        far = np.hypot(np.clip(np.abs(own[:, ::2] - left).min(1) - 8, 0, None), own[:, 1] + size / 2 - top)
        cost = size * (_covered(own, boxes) + _covered(own, around)) + 1e6 * outside + far  # far away rather than covered
        boxes = np.vstack([boxes, own[int(cost.argmin())]])
    at = np.column_stack([boxes[:, 0], (boxes[:, 1] + boxes[:, 3]) / 2]).reshape(-1, 2) / (width, height)
    if reverse:
        at[:, 0] = 1 - at[:, 0]
    at[:, 1] = 1 - at[:, 1]
    at = at * span + low
    scales = [{"domain": [round(float(a), 6), round(float(b), 6)], "nice": False} for a, b in zip(low, high, strict=True)]
    scales[0] |= {"reverse": True} if reverse else {}
    return data.with_columns(label_x=pl.Series(at[:, 0]), label_y=pl.Series(at[:, 1])), scales[0], scales[1]


def words(text: str, place: dict[str, dict[str, Any]], size: int = 9) -> dict[str, Any]:
    """The layer with the names of `placed`; place: the encoding of the points, x and y with the scales of `placed`."""
    own = {axis: place[axis] | {"field": f"label_{axis}"} for axis in "xy"}
    mark = {"type": "text", "align": "left", "baseline": "middle", "fontSize": size}
    return {"mark": mark, "encoding": own | {"text": field(text, "nominal")}}


def _bounds(values: pl.Series, also: float | None = None) -> tuple[float, float]:
    """Lowest and highest, with a twelfth of the span on either side."""
    every = [*values.to_list(), *([] if also is None else [also])]
    low, high = min(every), max(every)
    room = (high - low or abs(high) or 1.0) / 12
    return low - room, high + room


def _covered(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(N,) area of each of N boxes that any of M others lies on, counted once for each."""
    sides = [np.minimum(boxes[:, None, i + 2], others[None, :, i + 2]) - np.maximum(boxes[:, None, i], others[None, :, i]) for i in (0, 1)]
    return (np.clip(sides[0], 0, None) * np.clip(sides[1], 0, None)).sum(1)
