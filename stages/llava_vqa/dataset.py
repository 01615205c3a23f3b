"""Composed scenes with exact masks, and questions about them.

Writes `data/scenes/<profile>/`: `images.parquet` (PNG inside), `objects.parquet` (box, mask, kind, colour, place) and `questions.parquet`.
Four splits: train, valid, `seen` (new scenes of the pictures that train shows) and `unseen` (scenes of pictures that train does not show).
Imports no torch.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl

from catalog.base.deps import require_dep
from catalog.base.errors import CatalogError, run
from catalog.base.io import atomic_dir, write_parquet
from catalog.base.params import ROOT, profile_params
from stages.llava_vqa import coco, questions, scenes
from stages.llava_vqa.backgrounds import BACKGROUNDS
from stages.llava_vqa.pictures import pictures
from stages.llava_vqa.settings import SPLITS, Data, Params

SYSTEM, DATASET = "llava_vqa", "scenes"
EMOJI = Path("data") / "assets" / "emoji"
OWN = Path("data") / "own" / SYSTEM
QUESTIONS = {
    **dict.fromkeys(("id", "image", "split", "type", "question", "answer"), pl.String),
    "candidates": pl.List(pl.String),
    "asked": pl.List(pl.Int64),
    "others": pl.List(pl.String),
    "text": pl.String,
}


def build(p: Data, root: Path, seed: int) -> dict[str, pl.DataFrame]:
    """The three tables.

    Args:
        root: folder of the project, with the emoji and the user's own photographs.
    """
    check(p)
    images, objects, asked = [], [], []
    for split, composed in _compose(p, seed).items():
        names = [f"{split}-{number:05d}" for number in range(len(composed))]
        for number, (name, things) in enumerate(zip(names, composed)):
            floor = BACKGROUNDS[number % len(BACKGROUNDS)]
            picture, masks = scenes.render(things, p, floor, root / EMOJI, _rng(seed, name))
            images.append(
                {"image": name, "split": split, "width": p.size, "height": p.size, "background": floor, "png": scenes.png(picture)}
            )
            objects += scenes.rows(things, masks, name)
        asked += _questions(p, split, dict(zip(names, composed)), seed)
    tables = [pl.DataFrame(images, schema=scenes.IMAGES), pl.DataFrame(objects, schema=scenes.OBJECTS)]
    if p.coco:
        folder = OWN / p.coco
        require_dep(folder, root, own=SYSTEM)
        photographs = coco.read(root / folder / "instances.json", root / folder / "images")
        tables = [pl.concat(pair) for pair in zip(tables, photographs)]
        asked += _questions(p, coco.SPLIT, coco.scenes_of(*photographs), seed, coco.answers(photographs[1]))
    return dict(zip(("images", "objects"), tables)) | {"questions": pl.DataFrame(asked, schema=QUESTIONS)}


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


def _questions(
    p: Data, split: str, composed: dict[str, list[scenes.Thing]], seed: int, answers: dict[str, tuple[str, ...]] = questions.CANDIDATES
) -> Iterator[dict]:
    """Rows of the questions of a split; `composed` is image -> its objects."""
    shares = {type: share for type, share in p.questions.items() if type != "absent" or split not in ("train", "valid")}
    chosen = questions.choose(list(composed.values()), shares, _rng(seed, f"{split}: questions"), answers)
    for (image, things), of_image in zip(composed.items(), chosen):
        for question in of_image:
            yield {
                "id": f"{image}-{question.type}",
                "image": image,
                "split": split,
                "type": question.type,
                "question": question.text,
                "answer": question.answer,
                "candidates": list(answers[question.type]),
                "asked": list(question.asked),
                "others": list(question.others),
                "text": questions.facts(things),
            }


def check(p: Data) -> None:
    """Raise a CatalogError for parameters that make no scene."""
    if set(p.images) != set(SPLITS):
        raise CatalogError(f"data.images of {SYSTEM} names {', '.join(p.images)}; it needs {', '.join(SPLITS)}.")
    if unknown := sorted(set(p.questions) - set(questions.TYPES)):
        raise CatalogError(f"data.questions of {SYSTEM} names {unknown[0]}; the types are {', '.join(questions.TYPES)}.")
    if wrong := sorted(type for type, share in p.questions.items() if not 0 <= share <= 1):
        raise CatalogError(f"data.questions of {SYSTEM} asks {p.questions[wrong[0]]} of {wrong[0]} an image; it can be 0 to 1.")
    if len(p.objects) > len(scenes.PLACES) or min(p.objects, default=-1) < 0 or abs(sum(p.objects) - 1) > 1e-9:
        raise CatalogError(f"data.objects of {SYSTEM} is {list(p.objects)}; give the probabilities of one to four objects, which sum to 1.")
    if not 1 <= p.sides[0] <= p.sides[1] <= p.size // 2 - 6:
        raise CatalogError(f"data.sides of {SYSTEM} is {list(p.sides)}; an object of an image of {p.size} px has 1 to {p.size // 2 - 6}.")


def main(profile: str) -> None:
    p = profile_params(Params, SYSTEM, profile)
    tables = build(p.data, ROOT, p.seed)
    with atomic_dir(ROOT / "data" / DATASET / profile) as folder:
        write_parquet(tables["images"], folder / "images.parquet", sort_by=["image"])
        write_parquet(tables["objects"], folder / "objects.parquet", sort_by=["image", "object"])
        write_parquet(tables["questions"], folder / "questions.parquet", sort_by=["id"])


if __name__ == "__main__":
    run(main)
