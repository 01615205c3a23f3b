"""A map over patches as colours on the original image.

Orange is evidence for the token and blue against it, stronger colour for larger scores; one scale for both, so that a weak map against a
strong one is still seen as such. The image itself is faded to grey under it. What the model never saw, cut off by its processor, is dark.
The best patch is framed. The picture has the pixels of the original: what is at (x, y) of one is at (x, y) of the other.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from catalog.vision.geometry import Geometry

FOR, AGAINST = (255, 110, 0), (0, 110, 255)
STRONGEST = 190  # of 255, so that the image shows through


def is_constant(values: Any) -> bool:
    """Whether a map says nothing: all its values are the same, up to the rounding of float32, or none is a number."""
    values = np.asarray(values, float)
    finite = values[np.isfinite(values)]
    return not len(finite) or bool(np.ptp(finite) <= 1e-6 * np.abs(finite).max())


def normalised(values: Any) -> tuple[np.ndarray, bool]:
    """(values from 0 that sum to 1, whether the map was constant and hence is uniform now), as the paper draws them: less the least, and
    divided by their sum. The sign is lost: (-3, -2, -1) gives what (1, 2, 3) does."""
    values = np.asarray(values, float)
    if is_constant(values):
        return np.full(values.shape, 1 / values.size), True
    spread = values - values.min()
    return spread / spread.sum(), False


def draw(image: Any, where: Geometry, values: Any, *, frame: bool = True) -> Any:
    """`image` (RGB, of size `where.size`) with a signed map (rows, columns) on it, as a new image of the same size. A constant map gets no
    colour and no frame."""
    from PIL import Image, ImageDraw

    values = np.asarray(values, float)
    flat = is_constant(values)
    strength = np.zeros(values.shape) if flat else np.nan_to_num(np.abs(values) / np.abs(values).max())
    colours = np.zeros((*values.shape, 4), np.uint8)
    colours[..., :3] = np.where((values > 0)[..., None], FOR, AGAINST)
    colours[..., 3] = (strength * STRONGEST).round()
    grey = Image.blend(image, image.convert("L").convert("RGB"), 0.7).convert("RGBA")
    made = Image.alpha_composite(grey, _spread(Image.fromarray(colours), where)).convert("RGB")
    unseen = _spread(Image.new("L", values.shape[::-1], 255), where).point(lambda seen: 150 if seen == 0 else 0)
    made.paste((20, 20, 20), mask=unseen)
    if frame and not flat and values.max() > 0:
        box = where.clipped()[np.unravel_index(np.nanargmax(values), values.shape)]
        x0, y0, x1, y1 = (round(side) for side in box.tolist())
        pen = ImageDraw.Draw(made)
        width = max(1, min(made.size) // 200)
        if x1 - x0 > 2 * width and y1 - y0 > 2 * width:
            pen.rectangle((x0, y0, x1 - 1, y1 - 1), outline="black", width=2 * width)
            pen.rectangle((x0, y0, x1 - 1, y1 - 1), outline="white", width=width)
    return made


def _spread(patches: Any, where: Geometry) -> Any:
    """An image with a pixel for each patch, laid over the original: each of its pixels takes the value of the patch that shows it, or 0."""
    from PIL import Image

    (sx, sy), (dx, dy), (width, height) = where.scale, where.shift, where.patch
    inverse = (sx / width, 0, dx / width, 0, sy / height, dy / height)
    return patches.transform(where.size, Image.Transform.AFFINE, inverse, Image.Resampling.NEAREST, fillcolor=0)
