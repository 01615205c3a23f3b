"""Patches of a picture: their boxes, how much of each a mask covers, and how well a map finds what is asked about.

A map is a value for each patch, row by row. It **hits** if what is asked about covers enough of the patch with the highest value. Its
**overlap** (IoU) is that of the patches with the highest values with all patches of which enough is covered: how many both sets share, over
how many are in one of them.
"""

from collections.abc import Sequence

import numpy as np

Box = tuple[float, float, float, float]  # x0, y0, x1, y1 in pixels of the picture, the last two beyond the last pixel

COVERED = 0.12  # share of a patch from which it counts as part of what is asked about
TOP = 20  # patches that the overlap compares


def boxes(rows: int, columns: int, region: Box) -> list[Box]:
    """Boxes of a grid's patches, row by row, within the part of the picture that the model saw."""
    x0, y0, x1, y1 = region
    wide, high = (x1 - x0) / columns, (y1 - y0) / rows
    return [
        (x0 + column * wide, y0 + row * high, x0 + (column + 1) * wide, y0 + (row + 1) * high)
        for row in range(rows)
        for column in range(columns)
    ]


def decode(runs: Sequence[int], height: int, width: int) -> np.ndarray:
    """The mask (height, width) of COCO's run lengths: column after column, beginning with pixels outside.

    Raises:
        ValueError: run lengths of another number of pixels.
    """
    inside = np.arange(len(runs)) % 2 == 1
    return np.repeat(inside, np.asarray(runs, int)).reshape((height, width), order="F")


def cover(mask: np.ndarray, patches: Sequence[Box]) -> np.ndarray:
    """Share of each patch that a mask covers; edges are rounded to whole pixels."""
    shares = []
    for box in patches:
        x0, y0, x1, y1 = (max(0, round(edge)) for edge in box)
        part = mask[y0:y1, x0:x1]
        shares.append(float(part.mean()) if part.size else 0.0)
    return np.array(shares)


def strongest(values: Sequence[float]) -> int:
    """Place of the highest value; the first of equals."""
    return int(np.argmax(np.asarray(values, float)))


def hit(values: Sequence[float], covered: np.ndarray) -> bool:
    """Whether enough of the patch with the highest value is covered."""
    return bool(covered[strongest(values)] > COVERED)


def overlap(values: Sequence[float], covered: np.ndarray, top: int = TOP) -> float | None:
    """IoU of the `top` highest values and the patches of which enough is covered; None if there are none."""
    picked = set(np.argsort(-np.asarray(values, float), kind="stable")[:top].tolist())
    true = set(np.flatnonzero(covered > COVERED).tolist())
    return len(picked & true) / len(picked | true) if true else None
