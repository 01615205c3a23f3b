"""What the small LLaVA learns from: questions about the training images, and what is at each place of their grids.

Without torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from catalog.base.errors import CatalogError
from stages.llava_vqa.masks import decode
from stages.llava_vqa.pictures import Picture
from stages.llava_vqa.prompts import answer, with_image
from stages.llava_vqa.questions import possible
from stages.llava_vqa.scenes import Thing

TYPES = ("colour", "kind", "place")  # of the questions that are added
COVERED = 0.12  # least share of a place that an object covers which is there


def conversations(
    images: pl.DataFrame, objects: pl.DataFrame, questions: pl.DataFrame, most: int, seed: int
) -> list[tuple[int, list[tuple[str, str]]]]:
    """(row of the image, [(prompt, answer), …]) of each image with a question.

    An image's own questions come first. Where they are fewer than ``most``, others about its objects are drawn from all that it allows: a
    question costs a fraction of the image that stands before it.
    """
    own = questions.drop_nulls("answer").partition_by("image", as_dict=True)
    scenes: dict[str, list[Thing]] = {}
    for image, *shown in objects.sort("image", "object").select("image", "kind", "picture", "source", "colour", "place").iter_rows():
        scenes.setdefault(image, []).append(Thing(Picture(*shown[:3]), *shown[3:]))
    rng, made = np.random.default_rng([seed, 3]), []
    for row, image in enumerate(images["image"]):
        asked = dict(own[(image,)].select("question", "answer").iter_rows()) if (image,) in own else {}
        others = [q for type in TYPES for q in possible(scenes.get(image, []), type) if q.text not in asked]
        drawn = rng.permutation(len(others))[: max(0, most - len(asked))]
        asked |= {others[i].text: others[i].answer for i in drawn}
        if asked:
            made.append((row, [(with_image(text), answer(word)) for text, word in asked.items()]))
    return made


def coverage(masks: Sequence[Sequence[int]], side: int, grid: int) -> np.ndarray:
    """(objects, places) share of each place of a grid that each object covers, row by row; `side` pixels, a multiple of `grid`."""
    size = side // grid
    return np.array([decode(runs, side, side).reshape(grid, size, grid, size).mean((1, 3)).ravel() for runs in masks])


def there(images: pl.DataFrame, objects: pl.DataFrame, grid: int) -> np.ndarray:
    """(images, places) number of the object that covers most of a place among those of its image, or -1 where there is none.

    Raises:
        CatalogError: images that are no squares of a multiple of the grid.
    """
    if not ((images["width"] == images["height"]) & (images["width"] % grid == 0)).all():
        raise CatalogError(
            f"The projector is aligned on square images whose side is a multiple of {grid}; set align_steps to 0 for others."
        )
    by_image = objects.sort("object").partition_by("image", as_dict=True)
    found = np.full((len(images), grid * grid), -1)
    for row, (image, side) in enumerate(images.select("image", "width").iter_rows()):
        if (image,) in by_image:
            covered = coverage(by_image[(image,)]["mask"].to_list(), side, grid)
            found[row] = np.where(covered.max(0) > COVERED, covered.argmax(0), -1)
    return found


def words(images: pl.DataFrame, objects: pl.DataFrame, found: np.ndarray, token: Mapping[str, int]) -> np.ndarray:
    """(images, places, 4) token ids of kind, colour, top or bottom, left or right of what is at a place; -1 where nothing is.

    token: word -> its first token behind a space.
    """
    by_image = objects.sort("object").partition_by("image", as_dict=True)
    ids = np.full((*found.shape, 4), -1)
    for row, image in enumerate(images["image"]):
        if (image,) not in by_image:
            continue
        for number, (kind, colour, place) in enumerate(by_image[(image,)].select("kind", "colour", "place").iter_rows()):
            said = (kind, colour, *place.split())
            ids[row, found[row] == number] = [token[word] if word else -1 for word in said]
    return ids


def vocabulary(objects: pl.DataFrame) -> list[str]:
    """All words that `words` needs tokens of."""
    places = [word for place in objects["place"].unique() for word in place.split()]
    return sorted({*objects["kind"], *objects["colour"].drop_nulls(), *places})
