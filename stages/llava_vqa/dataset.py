"""Composed scenes with exact masks, and questions about them.

Writes `data/scenes/<profile>/`: `images.parquet` (PNG inside), `objects.parquet` (box, mask, kind, colour, place) and `questions.parquet`.
Four splits: train, valid, `seen` (new scenes of the pictures that train shows) and `unseen` (scenes of pictures that train does not show).
Imports no torch.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl

from catalog.base.errors import CatalogError, run
from catalog.base.io import atomic_dir, write_parquet
from catalog.base.params import ROOT, profile_params
from stages.llava_vqa import questions, scenes
from stages.llava_vqa.backgrounds import BACKGROUNDS
from stages.llava_vqa.pictures import pictures
from stages.llava_vqa.settings import SPLITS, Data, Params

SYSTEM, DATASET = "llava_vqa", "scenes"
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
QUESTIONS = {
    **dict.fromkeys(("id", "image", "split", "type", "question", "answer"), pl.String),
    "candidates": pl.List(pl.String),
    "asked": pl.List(pl.Int64),
    "others": pl.List(pl.String),
    "text": pl.String,
}


def build(p: Data, emoji: Path, seed: int) -> dict[str, pl.DataFrame]:
    """The three tables."""
    check(p)
    images, objects, asked = [], [], []
    for split, composed in _compose(p, seed).items():
        for number, things in enumerate(composed):
            name, floor = f"{split}-{number:05d}", BACKGROUNDS[number % len(BACKGROUNDS)]
            picture, masks = scenes.render(things, p, floor, emoji, _rng(seed, name))
            images.append({"image": name, "split": split, "width": p.size, "height": p.size, "background": floor, "png": png(picture)})
            objects += scenes.rows(things, masks, name)
        asked += _questions(p, split, composed, _rng(seed, f"{split}: questions"))
    return {
        "images": pl.DataFrame(images, schema=IMAGES),
        "objects": pl.DataFrame(objects, schema=OBJECTS),
        "questions": pl.DataFrame(asked, schema=QUESTIONS),
    }


def _compose(p: Data, seed: int) -> dict[str, list[list[scenes.Thing]]]:
    """The scenes of each split. No scene, as pictures with their colours and places, is in two splits; train gives way to the others."""
    composed: dict[str, list[list[scenes.Thing]]] = {}
    elsewhere: set[frozenset[scenes.Thing]] = set()
    for split in reversed(SPLITS):
        rng, shelf, found = _rng(seed, split), pictures(unseen=split == "unseen"), []
        for _ in range(p.images[split]):
            things = scenes.compose(p, shelf, rng)
            while frozenset(things) in elsewhere:
                things = scenes.compose(p, shelf, rng)
            found.append(things)
        elsewhere |= {frozenset(things) for things in found}
        composed[split] = found
    return {split: composed[split] for split in SPLITS}


def _rng(seed: int, name: str) -> np.random.Generator:
    """Random numbers of one part, which no change of another part moves."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def _questions(p: Data, split: str, composed: list[list[scenes.Thing]], rng: np.random.Generator) -> Iterator[dict]:
    """Rows of the questions of a split."""
    shares = {type: share for type, share in p.questions.items() if type != "absent" or split in ("seen", "unseen")}
    for number, (things, chosen) in enumerate(zip(composed, questions.choose(composed, shares, rng))):
        text = questions.facts(things)
        for question in chosen:
            yield {
                "id": f"{split}-{number:05d}-{question.type}",
                "image": f"{split}-{number:05d}",
                "split": split,
                "type": question.type,
                "question": question.text,
                "answer": question.answer,
                "candidates": list(questions.CANDIDATES[question.type]),
                "asked": list(question.asked),
                "others": list(question.others),
                "text": text,
            }


def png(picture) -> bytes:
    """A picture as the bytes of a PNG file."""
    target = io.BytesIO()
    picture.save(target, "PNG", compress_level=4)
    return target.getvalue()


def check(p: Data) -> None:
    """Raise a CatalogError for parameters that make no scene."""
    if set(p.images) != set(SPLITS):
        raise CatalogError(f"data.images of {SYSTEM} names {', '.join(p.images)}; it needs {', '.join(SPLITS)}.")
    if unknown := sorted(set(p.questions) - set(questions.TYPES)):
        raise CatalogError(f"data.questions of {SYSTEM} names {unknown[0]}; the types are {', '.join(questions.TYPES)}.")
    if len(p.objects) > len(scenes.PLACES) or min(p.objects, default=-1) < 0 or abs(sum(p.objects) - 1) > 1e-9:
        raise CatalogError(f"data.objects of {SYSTEM} is {list(p.objects)}; give the probabilities of one to four objects, which sum to 1.")
    if not 1 <= p.sides[0] <= p.sides[1] <= p.size // 2 - 6:
        raise CatalogError(f"data.sides of {SYSTEM} is {list(p.sides)}; an object of an image of {p.size} px has 1 to {p.size // 2 - 6}.")


def main(profile: str) -> None:
    p = profile_params(Params, SYSTEM, profile)
    tables = build(p.data, ROOT / "data" / "assets" / "emoji", p.seed)
    with atomic_dir(ROOT / "data" / DATASET / profile) as folder:
        write_parquet(tables["images"], folder / "images.parquet", sort_by=["image"])
        write_parquet(tables["objects"], folder / "objects.parquet", sort_by=["image", "object"])
        write_parquet(tables["questions"], folder / "questions.parquet", sort_by=["id"])


if __name__ == "__main__":
    run(main)
