"""What the small LLaVA answers to every test question, and what it answers under conditions that should take the answer away.

Writes ``models/llava_answers/<profile>/answers.parquet``: for each condition and question the likeliest of the possible answers, the
log-probability of each, and whether it is right (null where there is no right one). Conditions:

- ``image``: the question and its image;
- ``swapped``: the image of another scene of the same split;
- ``no image``: the question alone;
- ``text``: the facts of the scene as sentences in place of the image;
- ``untrained``: the image, with the projector aligned and the language model as it was before training.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from catalog.base.deps import require_dep
from catalog.base.errors import CatalogError, run
from catalog.base.io import atomic_dir, write_json, write_parquet
from catalog.base.params import ROOT, profile_params
from catalog.models.devices import peak_memory_mb
from catalog.models.lm import load_lm, require_full
from catalog.vision.build import load
from catalog.vision.features import features
from stages.llava_vqa import prompts, reading
from stages.llava_vqa.settings import Params

SYSTEM, NAME, MODEL = "llava_vqa", "llava_answers", "llava_small"
SPLITS = ("seen", "unseen")
SCHEMA = {
    "model": pl.String,
    "condition": pl.String,
    "question": pl.String,
    "answer": pl.String,
    "logprob": pl.List(pl.Float64),
    "correct": pl.Boolean,
}


def trained(profile: str, params: Params) -> tuple[Any, Any]:
    """The model that stage llava_vqa_train wrote and its processor; where it trains nothing, the published model."""
    folder = ROOT / "models" / MODEL / profile
    require_dep(folder)
    if params.train.steps and not (folder / "model").is_dir():
        raise CatalogError(f"{folder.relative_to(ROOT)} has no model; run `dvc repro {SYSTEM}_train` to train it.")
    return load(folder / "model" if params.train.steps else params.train.model)


def by_image(questions: pl.DataFrame) -> dict[str, list[dict[str, Any]]]:
    """Image -> its questions, in the order of the table."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in questions.iter_rows(named=True):
        found.setdefault(row["image"], []).append(row)
    return found


def swapped(images: Sequence[str], splits: Mapping[str, str]) -> dict[str, str]:
    """Image -> another one of its split: the one that stands half of the split further on.

    Raises:
        CatalogError: a split of one image.
    """
    out = {}
    for split in dict.fromkeys(splits[image] for image in images):
        own = [image for image in images if splits[image] == split]
        if len(own) < 2:
            raise CatalogError(f"The split {split} has one image, so there is none to swap it with; raise data.images.")
        out |= {image: own[(number + len(own) // 2) % len(own)] for number, image in enumerate(own)}
    return out


def rows_of(
    condition: str, found: Mapping[str, list[dict]], scored: Sequence[Sequence[Sequence[float]]], model: str
) -> list[dict[str, Any]]:
    """Rows of `answers.parquet` of one condition."""
    rows = []
    for asked, said in zip(found.values(), scored, strict=True):
        for question, values in zip(asked, said, strict=True):
            answer = question["candidates"][int(np.argmax(values))]
            right = None if question["answer"] is None else answer == question["answer"]
            key = {"model": model, "condition": condition, "question": question["id"]}
            rows.append(key | {"answer": answer, "logprob": values, "correct": right})
    return rows


@torch.inference_mode()
def projected(model: Any, seen: Tensor) -> Tensor:
    """(n, I, d) what stands for the image tokens of each image."""
    projector = model.model.multi_modal_projector
    weight = projector.linear_1.weight
    return projector(seen.to(weight.device, weight.dtype))


def ask(
    reader: reading.Reader,
    processor: Any,
    found: Mapping[str, list[dict]],
    form: Callable[[dict], str],
    places: Mapping[str, Tensor] | None,
    desc: str,
) -> list[list[list[float]]]:
    """Log-probabilities of all answers to all questions.

    Args:
        form: question -> prompt. places: image -> what stands for its tokens; none without images.
    """
    token = processor.image_token_id
    rows = [
        reading.asked(
            processor.tokenizer, [form(row) for row in asked], [row["candidates"] for row in asked], places and places[image], token
        )
        for image, asked in found.items()
    ]
    return reading.score(reader, rows, token, desc)


def pictures(images: pl.DataFrame, names: Sequence[str]) -> list[Image.Image]:
    """The images of these names."""
    stored = dict(images.select("image", "png").iter_rows())
    return [Image.open(io.BytesIO(stored[name])).convert("RGB") for name in names]


def conditions(
    model: Any, processor: Any, found: Mapping[str, list[dict]], places: Mapping[str, Tensor], other: Mapping[str, str]
) -> list[dict]:
    """Rows of all conditions of the trained model."""
    reader = reading.Reader.of_llava(model)
    with_image = lambda row: prompts.with_image(row["question"])  # noqa: E731
    asked = {
        "image": (with_image, places),
        "swapped": (with_image, {image: places[other[image]] for image in places}),
        "no image": (lambda row: prompts.without(row["question"]), None),
        "text": (lambda row: prompts.with_text(row["text"], row["question"]), None),
    }
    rows = []
    for name, (form, shown) in asked.items():
        rows += rows_of(name, found, ask(reader, processor, found, form, shown, f"answers, {name}"), MODEL)
    return rows


def untrained(
    model: Any, processor: Any, found: Mapping[str, list[dict]], seen: Tensor, aligned: Mapping[str, Tensor], lm: Any
) -> list[dict]:
    """Rows with the aligned projector and the language model as it was. ``model`` has that projector afterwards."""
    model.model.multi_modal_projector.load_state_dict(dict(aligned))
    places = dict(zip(found, projected(model, seen)))
    form = lambda row: prompts.with_image(row["question"])  # noqa: E731
    return rows_of("untrained", found, ask(reading.Reader.of_lm(lm), processor, found, form, places, "answers, untrained"), MODEL)


def main(profile: str) -> None:
    """Write ``models/llava_answers/<profile>/``."""
    params = profile_params(Params, SYSTEM, profile)
    if profile == "full":  # before any work
        require_full(params.train.model)
    began = time.perf_counter()
    folder = ROOT / "data" / "scenes" / profile
    questions = pl.read_parquet(folder / "questions.parquet").filter(pl.col("split").is_in(SPLITS)).sort("image", "id")
    images = pl.read_parquet(folder / "images.parquet").filter(pl.col("split").is_in(SPLITS)).sort("image")
    found = by_image(questions)
    place = ROOT / "models" / MODEL / profile
    model, processor = trained(profile, params)
    seen = features(model, processor, pictures(images, list(found)))
    places = dict(zip(found, projected(model, seen)))
    rows = conditions(model, processor, found, places, swapped(list(found), dict(images.select("image", "split").iter_rows())))
    if (place / "projector_aligned.safetensors").is_file():
        aligned = load_file(place / "projector_aligned.safetensors")
        rows += untrained(model, processor, found, seen, aligned, load_lm(params.train.model)[0])
    with atomic_dir(ROOT / "models" / NAME / profile) as out:
        write_parquet(pl.DataFrame(rows, schema=SCHEMA).sort("condition", "question"), out / "answers.parquet")
    facts = {"seconds": round(time.perf_counter() - began, 1), "peak_memory_mb": peak_memory_mb(), "answers": len(rows)}
    write_json(facts, ROOT / "models" / NAME / f"{profile}.run.json")


if __name__ == "__main__":
    run(main)
