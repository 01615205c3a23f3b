"""Pictures of single objects: which there are of each kind, how they take a colour, and what they stand on.

Ten kinds are emoji (Noto, 64 px with transparency), four are drawn. Each kind has several pictures, some of which no training image shows:
the split `unseen` is made of those alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageOps

from catalog.base.errors import CatalogError

# kind -> (pictures of train, valid and seen; pictures of unseen): code points of emoji, or variants of `draw`
EMOJI = {
    "car": (("1f697", "1f698", "1f699", "1f693"), ("1f695", "1f696")),
    "fish": (("1f41f", "1f421", "1f988"), ("1f420",)),
    "bird": (("1f426", "1f54a-fe0f", "1f986", "1f424"), ("1f426-200d-2b1b", "1f99c")),
    "cat": (("1f408", "1f431"), ("1f408-200d-2b1b", "1f63a")),
    "house": (("1f3e0", "1f3e1", "1f6d6"), ("1f3da-fe0f",)),
    "tree": (("1f332", "1f333", "1f334"), ("1f384",)),
    "flower": (("1f337", "1f338", "1f339", "1f33b"), ("1f33a", "1f33c")),
    "shoe": (("1f45e", "1f97e", "1f97f"), ("1f45f",)),
    "clock": (("1f550", "23f0", "1f570-fe0f"), ("23f1-fe0f",)),
    "cup": (("2615", "1f964", "1f95b"), ("1f375",)),
}
DRAWN = {
    "star": (("five points", "six points"), ("seven points",)),
    "heart": (("full", "slim"), ("wide",)),
    "ring": (("thin", "thick"), ("double",)),
    "cross": (("plus", "saltire"), ("thin plus",)),
}
KINDS = (*EMOJI, *DRAWN)
COLOURS = {
    "red": (214, 30, 30),
    "orange": (247, 132, 10),
    "yellow": (244, 216, 20),
    "green": (36, 152, 46),
    "blue": (32, 76, 214),
    "purple": (124, 44, 176),
    "pink": (248, 128, 190),
    "black": (34, 34, 36),
}
RINGS = {  # radius and what is filled inside it, from the outside in
    "thin": ((1, 255), (0.76, 0)),
    "thick": ((1, 255), (0.55, 0)),
    "double": ((1, 255), (0.72, 0), (0.5, 255), (0.2, 0)),
}
SMOOTH = 8  # a drawn shape is drawn this many times larger and shrunk


@dataclass(frozen=True)
class Picture:
    """One picture of a kind."""

    kind: str
    name: str  # emoji file without its ending, or variant of the drawn shape
    source: str  # emoji or drawn


def pictures(unseen: bool) -> dict[str, list[Picture]]:
    """Kind -> its pictures: those of training, or those held out."""
    return {
        kind: [Picture(kind, name, source) for name in names[unseen]]
        for source, kinds in (("emoji", EMOJI), ("drawn", DRAWN))
        for kind, names in kinds.items()
    }


@cache
def emoji(folder: Path, name: str) -> np.ndarray:
    """Pixels of one emoji, cut to its visible part: rows x columns x RGBA."""
    path = folder / f"{name}.png"
    if not path.is_file():
        raise CatalogError(f"{path.name} is not among the emoji pictures in {folder}; run `dvc repro fetch@emoji`.")
    image = Image.open(path).convert("RGBA")
    return np.asarray(image.crop(image.getchannel("A").getbbox()))


def stamp(picture: Picture, colour: str, size: int, folder: Path) -> Image.Image:
    """The picture in a colour, with transparency, its longer side `size` pixels."""
    pixels = emoji(folder, picture.name) if picture.source == "emoji" else draw(picture.kind, picture.name)
    tinted = Image.fromarray(tint(pixels, COLOURS[colour]))
    scale = size / max(tinted.size)
    return tinted.resize(tuple(max(1, round(side * scale)) for side in tinted.size), Image.Resampling.LANCZOS)


def tint(pixels: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """The same drawing in shades of one colour: its median lightness becomes the colour, darker parts go to black, lighter ones to white.

    Order of lightness is kept, so that outlines, windows and wheels still show; how light the original was does not matter.
    """
    light = pixels[..., :3] @ np.array([0.299, 0.587, 0.114]) / 255
    visible = light[pixels[..., 3] > 127]
    low, middle, high = np.quantile(visible, [0.02, 0.5, 0.98])
    below = np.clip((middle - light) / max(middle - low, 0.25), 0, 1)[..., None]
    above = np.clip((light - middle) / max(high - middle, 0.25), 0, 1)[..., None]
    base = np.array(colour, float)
    rgb = base + below * (0.3 * base - base) + above * 0.55 * (255 - base)
    return np.dstack([rgb.round().clip(0, 255).astype(np.uint8), pixels[..., 3]])


@cache
def draw(kind: str, variant: str, size: int = 96) -> np.ndarray:
    """A drawn shape in grey with a darker rim, as the emoji have shades: rows x columns x RGBA."""
    big = size * SMOOTH
    mask = Image.new("L", (big, big))
    pen, half = ImageDraw.Draw(mask), big / 2

    def polygon(points: list[tuple[float, float]]) -> None:
        pen.polygon([(half + half * x, half + half * y) for x, y in points], fill=255)

    if kind == "star":
        tips = {"five points": 5, "six points": 6, "seven points": 7}[variant]
        radii = [1 if i % 2 == 0 else 0.45 for i in range(2 * tips)]
        polygon([(r * math.sin(math.pi * i / tips), -r * math.cos(math.pi * i / tips)) for i, r in enumerate(radii)])
    elif kind == "heart":
        wide, tall = {"full": (1, 1), "slim": (0.75, 1), "wide": (1, 0.75)}[variant]
        turns = [2 * math.pi * i / 200 for i in range(200)]
        xs = [wide * math.sin(t) ** 3 for t in turns]
        ys = [-tall * (13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)) / 17 for t in turns]
        polygon(list(zip(xs, ys)))
    elif kind == "ring":
        for radius, fill in RINGS[variant]:
            pen.ellipse([half * (1 - radius), half * (1 - radius), half * (1 + radius) - 1, half * (1 + radius) - 1], fill=fill)
    else:
        arm = {"plus": 0.32, "saltire": 0.3, "thin plus": 0.18}[variant]
        bars = [[(-arm, -1), (arm, -1), (arm, 1), (-arm, 1)], [(-1, -arm), (1, -arm), (1, arm), (-1, arm)]]
        angle = math.pi / 4 if variant == "saltire" else 0
        for bar in bars:
            polygon([(x * math.cos(angle) - y * math.sin(angle), x * math.sin(angle) + y * math.cos(angle)) for x, y in bar])
    mask = ImageOps.expand(mask.crop(mask.getbbox()), 2 * SMOOTH).reduce(SMOOTH)
    inner = np.asarray(mask.filter(ImageFilter.MinFilter(5)))  # the shape without its rim of two pixels
    grey = np.where(inner > 127, 150, 60).astype(np.uint8)
    return np.dstack([grey, grey, grey, np.asarray(mask)])
