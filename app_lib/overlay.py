"""A map laid over its picture: what speaks for the answer in orange, what speaks against it in blue.

The picture is drawn grey and light, so that its own colours are not mistaken for those of the map. A patch is the more opaque the larger
the absolute value of its score; patches that speak against the answer are hatched too, so that no one has to tell colours apart. Patches
are drawn as blocks, as that is all that the map knows.
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

Box = tuple[float, float, float, float]  # x0, y0, x1, y1 in pixels of the picture, the last two beyond the last pixel

FOR, AGAINST = (232, 89, 12), (25, 80, 200)  # orange and blue: told apart in every common kind of colour blindness
LEAST_SIDE = 640  # pixels that the drawing's longer side has at least; a small picture is enlarged by a whole number
OPAQUE = 0.82  # of the patch with the largest absolute value
HATCH = 12  # pixels between two lines


def patches(rows: int, columns: int, region: Box) -> list[Box]:
    """Boxes of a grid's patches, row by row, within the part of the picture that the model saw."""
    x0, y0, x1, y1 = region
    wide, high = (x1 - x0) / columns, (y1 - y0) / rows
    return [
        (x0 + column * wide, y0 + row * high, x0 + (column + 1) * wide, y0 + (row + 1) * high)
        for row in range(rows)
        for column in range(columns)
    ]


def draw(picture: Image.Image, grid: Sequence[Sequence[float]], region: Box, framed: Sequence[Box] = ()) -> Image.Image:
    """Draw a map over its picture.

    Args:
        picture: the original, at its own size.
        grid: the map's values, (rows, columns).
        region: part of the picture that the grid covers.
        framed: boxes drawn as dashed frames; a plain frame is drawn around the patch with the highest value, the first of equals.
    """
    values = np.asarray(grid, float)
    most = float(np.abs(values).max()) or 1.0
    times = max(1, -(-LEAST_SIDE // max(picture.size)))
    large = picture.convert("L").resize((picture.width * times, picture.height * times), Image.Resampling.BICUBIC)
    drawn = Image.fromarray((np.asarray(large) * 0.6 + 0.4 * 255).astype(np.uint8)).convert("RGB")
    scaled = [tuple(round(edge * times) for edge in box) for box in patches(*values.shape, region)]
    for box, value in zip(scaled, values.ravel(), strict=True):
        _tint(drawn, box, float(value) / most)
    pen = ImageDraw.Draw(drawn)
    if np.ptp(values) > 0:
        _frame(pen, scaled[int(values.argmax())])
    for box in framed:
        _dashes(pen, tuple(round(edge * times) for edge in box))
    return drawn


def _tint(drawn: Image.Image, box: tuple[int, ...], share: float) -> None:
    """Lay the colour of a value between -1 and 1 over a patch."""
    x0, y0, x1, y1 = max(box[0], 0), max(box[1], 0), min(box[2], drawn.width), min(box[3], drawn.height)
    if share == 0 or x0 >= x1 or y0 >= y1:
        return
    part = drawn.crop((x0, y0, x1, y1))
    mask = np.full((y1 - y0, x1 - x0), OPAQUE * abs(share))
    if share < 0:
        down, across = np.mgrid[y0:y1, x0:x1]
        mask[(down + across) % HATCH < 3] *= 0.25
    colour = Image.new("RGB", part.size, FOR if share > 0 else AGAINST)
    drawn.paste(colour, (x0, y0), Image.fromarray((mask * 255).round().astype(np.uint8)))


def _frame(pen: ImageDraw.ImageDraw, box: tuple[int, ...]) -> None:
    """A dark frame with a light line on each side, which shows on every ground."""
    x0, y0, x1, y1 = box
    for inset, colour, width in ((0, "white", 8), (2, "black", 4)):
        pen.rectangle((x0 + inset, y0 + inset, x1 - 1 - inset, y1 - 1 - inset), outline=colour, width=width)


def _dashes(pen: ImageDraw.ImageDraw, box: tuple[int, ...]) -> None:
    """A frame of black dashes on white."""
    x0, y0, x1, y1 = box[0], box[1], box[2] - 1, box[3] - 1
    pen.rectangle((x0 - 1, y0 - 1, x1 + 1, y1 + 1), outline="white", width=4)
    for start in range(x0, x1, 16):
        for y in (y0, y1):
            pen.line((start, y, min(start + 8, x1), y), fill="black", width=2)
    for start in range(y0, y1, 16):
        for x in (x0, x1):
            pen.line((x, start, x, min(start + 8, y1)), fill="black", width=2)
