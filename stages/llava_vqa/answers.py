"""What the small LLaVA answers to every test question, and what it answers under conditions that should take the answer away.

Writes ``models/llava_answers/<profile>/answers.parquet``: for each condition and question the likeliest of the possible answers, the
log-probability of each, and whether it is right (null where there is no right one). Conditions:

- ``image``: the question and its image;
- ``swapped``: the image of another scene of the same split, one that gives as few of the right answers as there are;
- ``no image``: the question alone;
- ``text``: the facts of the scene as sentences in place of the image, read by the LLaVA's language model;
- ``text before training``: the same, read by the language model as it was;
- ``untrained``: the image, with the projector aligned and the language model as it was.

All but ``image`` are asked of the first images of each split alone. What the model writes by itself, greedily, is in ``generated`` for the
first few images, null for the others.
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
from catalog.vision.build import inputs, load
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
    "generated": pl.String,
}
NEW_TOKENS = 5  # of an answer that the model writes; the longest one to choose from has two


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


def swapped(
    images: Sequence[str], splits: Mapping[str, str], wanted: Mapping[str, set] | None = None, has: Mapping[str, set] | None = None
) -> dict[str, str]:
    """Image -> another one of its split: the first, counted from half of the split further on, that has the least of what is wanted.

    Args:
        wanted: image -> what the right answers to its questions say. has: image -> all that is so in it. See `facts`.

    Raises:
        CatalogError: a split of one image.
    """
    out = {}
    for split in dict.fromkeys(splits[image] for image in images):
        own = [image for image in images if splits[image] == split]
        if len(own) < 2:
            raise CatalogError(f"The split {split} has one image, so there is none to swap it with; raise data.images.")
        for number, image in enumerate(own):
            others = [own[(number + len(own) // 2 + step) % len(own)] for step in range(len(own))]
            others.remove(image)
            out[image] = min(others, key=lambda other: len(wanted[image] & has[other])) if wanted and has else others[0]
    return out


def facts(found: Mapping[str, list[dict[str, Any]]], objects: pl.DataFrame) -> tuple[dict[str, set], dict[str, set]]:
    """What the right answers say of each image, and all that is so in it: colours, kinds, and which kind is where.

    How many there are and yes or no are left out: no image lacks them.
    """
    things: dict[str, list[dict]] = {image: [] for image in found}
    for thing in objects.filter(pl.col("image").is_in(list(found))).sort("image", "object").iter_rows(named=True):
        things[thing["image"]].append(thing)
    wanted: dict[str, set] = {image: set() for image in found}
    for image, asked in found.items():
        for row in asked:
            if row["answer"] is not None and row["type"] in ("colour", "kind"):
                wanted[image].add((row["type"], row["answer"]))
            elif row["answer"] is not None and row["type"] == "place":
                wanted[image].add(("place", things[image][row["asked"][0]]["kind"], row["answer"]))
    has = {
        image: {
            fact
            for thing in own
            for fact in (("colour", thing["colour"]), ("kind", thing["kind"]), ("place", thing["kind"], thing["place"]))
        }
        for image, own in things.items()
    }
    return wanted, has


def first(found: Mapping[str, list[dict[str, Any]]], count: int) -> dict[str, list[dict[str, Any]]]:
    """The first ``count`` images of each split, with their questions."""
    left: dict[str, int] = {}
    kept = {}
    for image, asked in found.items():
        split = asked[0]["split"]
        left[split] = left.get(split, count) - 1
        if left[split] >= 0:
            kept[image] = asked
    return kept


def rows_of(
    condition: str, found: Mapping[str, list[dict]], scored: Sequence[Sequence[Sequence[float]]], model: str = MODEL
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


@torch.inference_mode()
def written(model: Any, processor: Any, found: Mapping[str, list[dict]], shown: Mapping[str, Image.Image]) -> dict[str, str]:
    """Question -> what the model writes behind its prompt by itself, the likeliest token each time, up to the end token."""
    out: dict[str, str] = {}
    for image, asked in found.items():
        given = inputs(processor, [shown[image]] * len(asked), [prompts.with_image(row["question"]) for row in asked])
        given = {name: tensor.to(model.device) for name, tensor in given.items()}
        made = model.generate(**given, max_new_tokens=NEW_TOKENS, do_sample=False, pad_token_id=processor.tokenizer.pad_token_id)
        texts = processor.tokenizer.batch_decode(made[:, given["input_ids"].shape[1] :], skip_special_tokens=True)
        out |= {row["id"]: text.strip() for row, text in zip(asked, texts, strict=True)}
    return out


def seeing(row: dict[str, Any]) -> str:
    """The prompt with an image."""
    return prompts.with_image(row["question"])


def telling(row: dict[str, Any]) -> str:
    """The prompt with the facts of the scene."""
    return prompts.with_text(row["text"], row["question"])


def conditions(
    model: Any, processor: Any, found: Mapping[str, list[dict]], places: Mapping[str, Tensor], other: Mapping[str, str], controls: int
) -> list[dict]:
    """Rows of all conditions of the trained model; of the controls, for so many images of each split."""
    reader, few = reading.Reader.of_llava(model), first(found, controls)
    asked = {
        "image": (seeing, found, places),
        "swapped": (seeing, few, {image: places[other[image]] for image in few}),
        "no image": (lambda row: prompts.without(row["question"]), few, None),
        "text": (telling, few, None),
    }
    rows = []
    for name, (form, some, shown) in asked.items():
        rows += rows_of(name, some, ask(reader, processor, some, form, shown, f"answers, {name}"))
    return rows


def before_training(
    model: Any, processor: Any, found: Mapping[str, list[dict]], seen: Mapping[str, Tensor], aligned: Mapping[str, Tensor] | None, lm: Any
) -> list[dict]:
    """Rows of the language model as it was, told the scenes and, with the aligned projector, shown them.

    Args:
        seen: image -> features. aligned: the projector, which ``model`` has afterwards; none if there is none.
    """
    reader = reading.Reader.of_lm(lm)
    rows = rows_of("text before training", found, ask(reader, processor, found, telling, None, "answers, text before training"))
    if aligned is not None:
        model.model.multi_modal_projector.load_state_dict(dict(aligned))
        places = dict(zip(found, projected(model, torch.stack([seen[image] for image in found]))))
        rows += rows_of("untrained", found, ask(reader, processor, found, seeing, places, "answers, untrained"))
    return rows


def main(profile: str) -> None:
    """Write ``models/llava_answers/<profile>/``."""
    params = profile_params(Params, SYSTEM, profile)
    p = params.answers
    if profile == "full":  # before any work
        for name in (params.train.model, p.lm):
            require_full(name)
    began = time.perf_counter()
    folder = ROOT / "data" / "scenes" / profile
    images, objects, questions = (pl.read_parquet(folder / f"{name}.parquet") for name in ("images", "objects", "questions"))
    images, questions = (frame.filter(pl.col("split").is_in(SPLITS)) for frame in (images, questions))
    found = by_image(questions.sort("image", "id"))
    model, processor = trained(profile, params)
    shown = dict(zip(found, pictures(images, list(found))))
    seen = dict(zip(found, features(model, processor, list(shown.values()))))
    places = dict(zip(found, projected(model, torch.stack(list(seen.values())))))
    other = swapped(list(found), dict(images.select("image", "split").iter_rows()), *facts(found, objects))
    rows = conditions(model, processor, found, places, other, p.controls)
    said = written(model, processor, first(found, p.generated), shown)
    place = ROOT / "models" / MODEL / profile / "projector_aligned.safetensors"
    aligned = load_file(place) if place.is_file() else None
    rows += before_training(model, processor, first(found, p.controls), seen, aligned, load_lm(p.lm)[0])
    for row in rows:
        row["generated"] = said.get(row["question"]) if row["condition"] == "image" else None
    agreeing = [row["generated"] == row["answer"] for row in rows if row["generated"] is not None]
    with atomic_dir(ROOT / "models" / NAME / profile) as out:
        write_parquet(pl.DataFrame(rows, schema=SCHEMA).sort("condition", "question"), out / "answers.parquet")
    facts_of_run = {"seconds": round(time.perf_counter() - began, 1), "peak_memory_mb": peak_memory_mb(), "answers": len(rows)}
    facts_of_run |= {"written_answers": len(agreeing), "written_as_likeliest": float(np.mean(agreeing)) if agreeing else None}
    write_json(facts_of_run, ROOT / "models" / NAME / f"{profile}.run.json")


if __name__ == "__main__":
    run(main)
