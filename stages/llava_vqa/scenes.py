"""Scenes: one to four coloured objects, one a quadrant, each with its exact mask."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image

from stages.llava_vqa.backgrounds import background
from stages.llava_vqa.masks import box, encode
from stages.llava_vqa.pictures import COLOURS, Picture, stamp
from stages.llava_vqa.settings import Data

IMAGES = {
    "image": pl.String,
    "split": pl.String,
    "width": pl.Int64,
    "height": pl.Int64,
    "background": pl.String,
    "png": pl.Binary,
}
OBJECTS = {
    "image": pl.String,
    "object": pl.Int64,
    "kind": pl.String,
    "colour": pl.String,
    "place": pl.String,
    "picture": pl.String,
    "source": pl.String,
    **dict.fromkeys(("x0", "y0", "x1", "y1"), pl.Float64),
    "mask": pl.List(pl.Int32),
    "area": pl.Int64,
}
PLACES = ("top left", "top right", "bottom left", "bottom right")


@dataclass(frozen=True)
class Thing:
    """One object of a scene: its picture, and how it is shown."""

    picture: Picture
    colour: str | None  # None where an annotation gives none
    place: str | None  # None where a photograph shows it in several quadrants

    @property
    def kind(self) -> str:
        """What it is called."""
        return self.picture.kind


def compose(p: Data, shelf: dict[str, list[Picture]], rng: np.random.Generator) -> list[Thing]:
    """Draw the objects of one scene.

    Kinds, colours and places are drawn evenly and apart from each other, so that none tells about another. Now and then an object takes the
    colour or the kind of an earlier one: a distractor, which must be told apart by the other property.
    """
    number = 1 + int(rng.choice(len(p.objects), p=p.objects))
    places = rng.permutation(len(PLACES))[:number]
    kinds, colours = [], []
    for i in range(number):
        same_colour, same_kind = rng.random(2) < (p.same_colour, p.same_kind)
        if i and same_kind and not same_colour:
            kinds.append(kinds[rng.integers(i)])
        else:
            kinds.append(list(shelf)[rng.integers(len(shelf))])
        if i and same_colour:
            colours.append(colours[rng.integers(i)])
        else:
            colours.append(list(COLOURS)[rng.integers(len(COLOURS))])
    return [
        Thing(shelf[kind][rng.integers(len(shelf[kind]))], colour, PLACES[place]) for kind, colour, place in zip(kinds, colours, places)
    ]


def render(things: list[Thing], p: Data, floor: str, emoji: Path, rng: np.random.Generator) -> tuple[Image.Image, list[np.ndarray]]:
    """Draw a scene on a background: the image, and for each object the pixels it covers."""
    canvas = Image.fromarray(background(floor, p.size, rng))
    masks = []
    for thing in things:
        picture = stamp(thing.picture, thing.colour, int(rng.integers(p.sides[0], p.sides[1] + 1)), emoji)
        corner = _corner(thing.place, picture.size, p.size, rng)
        canvas.paste(picture, corner, picture)
        mask = np.zeros((p.size, p.size), bool)
        mask[corner[1] : corner[1] + picture.height, corner[0] : corner[0] + picture.width] = np.asarray(picture)[..., 3] > 127
        masks.append(mask)
    return canvas, masks


def _corner(place: str, sides: tuple[int, int], size: int, rng: np.random.Generator) -> tuple[int, int]:
    """Where the picture's upper left corner goes: anywhere in its quadrant that keeps it whole and off the border."""
    half, margin = size // 2, 3
    x, y = (int(rng.integers(margin, half - side - margin + 1)) for side in sides)
    return x + half * place.endswith("right"), y + half * place.startswith("bottom")


def rows(things: list[Thing], masks: list[np.ndarray], image: str) -> list[dict]:
    """Rows of the table of objects."""
    found = []
    for number, (thing, mask) in enumerate(zip(things, masks)):
        x0, y0, x1, y1 = box(mask)
        found.append(
            {
                "image": image,
                "object": number,
                "kind": thing.kind,
                "colour": thing.colour,
                "place": thing.place,
                "picture": thing.picture.name,
                "source": thing.picture.source,
                "x0": x0,
                "y0": y0,
                "x1": x1,
                "y1": y1,
                "mask": encode(mask),
                "area": int(mask.sum()),
            }
        )
    return found


def png(picture: Image.Image) -> bytes:
    """A picture as the bytes of a PNG file."""
    target = io.BytesIO()
    picture.save(target, "PNG", compress_level=4)
    return target.getvalue()
