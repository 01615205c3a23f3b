"""Which pixels of the original image each patch of an image tower shows.

A processor scales an image, cuts out its middle or pads it to a square before the tower divides it into patches. A map over patches laid on
the original without undoing this is misplaced. Each step moves a coordinate x of the original, counted in pixels from the left edge, to
``scale * x + shift``; so does their sequence, and its inverse carries the borders of the patches back. All of it is read from the image
processor's own settings, in the order in which it applies them, and the size that comes out is compared with the pixels that it gave.

Example (llava-1.5; shortest edge 336, centre crop): an image of 640 x 480 becomes 448 x 336 at a scale of .7; its columns 56 to 391
are kept. Patch (0, 0) of 14 x 14 pixels shows x 80 to 100 and y 0 to 20 of the original; what lies left of x = 80 the model never sees.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from catalog.base.errors import CatalogError


@dataclass(frozen=True)
class Geometry:
    """Sizes and boxes are (x, y): x to the right, y down. Grids are (rows, columns)."""

    size: tuple[int, int]  # width and height of the original
    pixels: tuple[int, int]  # width and height of what the tower gets
    scale: tuple[float, float]  # pixels of the tower = scale * x + shift
    shift: tuple[float, float]
    grid: tuple[int, int]
    patch: tuple[float, float]  # width and height of a patch in pixels of the tower

    def boxes(self) -> np.ndarray:
        """(rows, columns, 4): x0, y0, x1, y1 of each patch in pixels of the original. A patch on padding lies outside of it."""
        rows, columns = self.grid
        xs, ys = (
            ((np.arange(count + 1) * side - shift) / scale).round(6)  # so that rounding shows no sliver of the image on padding
            for count, side, scale, shift in zip((columns, rows), self.patch, self.scale, self.shift, strict=True)
        )
        out = np.empty((rows, columns, 4))
        out[..., 0], out[..., 2] = xs[None, :-1], xs[None, 1:]
        out[..., 1], out[..., 3] = ys[:-1, None], ys[1:, None]
        return out

    def clipped(self) -> np.ndarray:
        """`boxes` cut at the image's border; a patch that shows only padding has an empty box."""
        width, height = self.size
        return self.boxes().clip(0, [width, height, width, height])

    def shown(self) -> np.ndarray:
        """(rows, columns): the share of each patch that shows the image and not padding, 0 to 1."""
        area, part = (np.prod(box[..., 2:] - box[..., :2], -1) for box in (self.boxes(), self.clipped()))
        return part / area

    def seen(self) -> tuple[float, float, float, float]:
        """x0, y0, x1, y1 of the part of the image that the model sees at all."""
        boxes = self.clipped().reshape(-1, 4)
        return (*boxes[:, :2].min(0).tolist(), *boxes[:, 2:].max(0).tolist())


def cell(position: int, start: int, grid: tuple[int, int]) -> tuple[int, int]:
    """(row, column) of the patch whose token is at `position` of a prompt in which the image's tokens begin at `start`.

    Raises:
        CatalogError: the position is not one of the image's.
    """
    rows, columns = grid
    if not 0 <= position - start < rows * columns:
        raise CatalogError(f"Position {position} is none of the image's, which are {start} to {start + rows * columns - 1}.")
    return divmod(position - start, columns)


def geometry(
    processor: Any, size: tuple[int, int], grid: tuple[int, int], pixels: tuple[int, int] | None = None, patch: int | None = None
) -> Geometry:
    """Where the patches of a grid lie on an image of (width, height) `size`.

    Args:
        processor: an image processor of the transformers library, or a processor that has one.
        grid: (rows, columns), from the tower's output.
        pixels: (width, height) that the processor really gave for this image, as a check.
        patch: pixels of a patch each way; None: the grid divides the pixels. A tower of 14-pixel patches ignores the last 6 of 384.

    Raises:
        CatalogError: the processor cuts several crops or works in a way that is not known here, `pixels` differ from what its settings say,
            or the patches do not fit in them.
    """
    images = getattr(processor, "image_processor", processor)
    refuse_crops(images)
    kind = type(images).__name__
    now, scale, shift = np.array(size, float), np.ones(2), np.zeros(2)
    square = bool(getattr(images, "do_pad", False))
    if square and not hasattr(images, "pad_to_square"):
        raise CatalogError(f"{kind} pads images in a way that is not known here; use a processor that scales, crops or pads to a square.")
    if square:
        side = now.max()
        shift += (side - now) // 2
        now[:] = side
    if getattr(images, "do_resize", False):
        new = np.array(_resized(images, now), float)
        scale, shift, now = scale * new / now, shift * new / now, new
    if getattr(images, "do_center_crop", False):
        crop = np.array([images.crop_size["width"], images.crop_size["height"]], float)
        shift, now = shift - (now - crop) // 2, crop  # a side that is too short is padded, and the shift is to the right
    made = tuple(int(side) for side in now)
    if pixels is not None and tuple(pixels) != made:
        raise CatalogError(
            f"{kind} gave {pixels[0]} x {pixels[1]} pixels where its settings say {made[0]} x {made[1]}, so where its patches lie is "
            f"not known; use a processor that scales, crops or pads to a square."
        )
    rows, columns = grid
    across = (patch, patch) if patch else (made[0] / columns, made[1] / rows)
    if across != (made[0] // columns, made[1] // rows) and (not patch or columns * patch > made[0] or rows * patch > made[1]):
        raise CatalogError(
            f"A grid of {rows} x {columns} patches does not fit images of {made[0]} x {made[1]} pixels; give the grid and the patch size "
            f"of the tower that the processor belongs to."
        )
    return Geometry(tuple(size), made, tuple(scale.tolist()), tuple(shift.tolist()), (rows, columns), across)


def refuse_crops(*parts: Any) -> None:
    """Refuse a model's configuration or an image processor that cuts an image into several crops."""
    for part in parts:
        if any(getattr(part, name, None) for name in ("image_grid_pinpoints", "crop_to_patches", "do_image_splitting")):
            raise CatalogError(
                f"{type(part).__name__} cuts an image into several crops, and which patch a token shows is not known here; use a model "
                f"that sees the image once, such as llava-1.5."
            )


def _resized(images: Any, now: Sequence[float]) -> tuple[int, int]:
    """(width, height) after the processor's own resizing."""
    given = {name: value for name, value in dict(images.size).items() if value}
    width, height = (int(side) for side in now)
    if set(given) == {"height", "width"}:
        return given["width"], given["height"]
    if set(given) == {"shortest_edge"}:
        edge, short, long = given["shortest_edge"], min(width, height), max(width, height)
        other = int(edge * long / short)
        return (edge, other) if width <= height else (other, edge)
    raise CatalogError(
        f"{type(images).__name__} scales images by {sorted(given)}, which is not known here; use shortest_edge, or height and width."
    )
