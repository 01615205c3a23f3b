"""FinLLaVA's answers to the questions of the splits test and style.

Open questions: the likeliest of the possible words, with the picture, with another picture of the same form, and without one. Multiple
choice: as it is written under three prompts, with and without the picture; the letter is read later, by `vision_letters`.

Writes `models/finllava_answers/<profile>/answers.parquet`, key [condition, form, question].
"""

from __future__ import annotations

import time
from itertools import zip_longest
from typing import Any

import polars as pl

from catalog.base.deps import require_dep
from catalog.base.errors import CatalogError, run
from catalog.base.io import atomic_dir, write_json, write_parquet
from catalog.base.params import ROOT, profile_params
from catalog.models.devices import peak_memory_mb
from catalog.vision import build, features
from stages.open_finllms.settings import Params, VisionAnswers
from stages.open_finllms.vision_asking import with_pictures, without_pictures, written
from stages.open_finllms.vision_letters import PROMPTS
from stages.open_finllms.vision_prompts import OPEN, asked, prompt
from stages.open_finllms.vision_read import picture, read

SYSTEM, MODEL, NAME = "open_finllms", "finllava", "finllava_answers"
IMAGE, SWAPPED, NONE = "image", "swapped", "no image"
SCHEMA = {**dict.fromkeys(("condition", "form", "question", "output"), pl.String), "logprobs": pl.List(pl.Float32)}


def swaps(images: pl.DataFrame) -> dict[str, str]:
    """Another picture of the same split and form for each; the next one, and the first for the last."""
    found = {}
    for _, part in images.group_by("split", "form", maintain_order=True):
        names = part["image"].to_list()
        found |= dict(zip(names, names[1:] + names[:1]))
    return found


def chosen(questions: pl.DataFrame, count: int) -> pl.DataFrame:
    """So many questions of the split test, the kinds in turn; 0 takes all."""
    parts = questions.filter(split="test").partition_by("kind", maintain_order=True)
    parts.sort(key=lambda part: part["kind"][0])
    turns = [row for turn in zip_longest(*(part["id"].to_list() for part in parts)) for row in turn if row is not None]
    return questions.filter(pl.col("id").is_in(turns[: count or None]))


def open_answers(model: Any, processor: Any, tables: dict[str, pl.DataFrame], p: VisionAnswers) -> list[dict]:
    """Rows of the form open under the three conditions."""
    questions = tables["questions"].filter(pl.col("answer").is_not_null())
    names = tables["images"]["image"].to_list()
    seen = features.features(model, processor, [picture(png) for png in tables["images"]["png"]])
    other, by_image = swaps(tables["images"]), questions.partition_by("image", as_dict=True, maintain_order=True)
    rows = []
    for condition in (IMAGE, SWAPPED):
        put, put_of = [], []
        for (image,), part in by_image.items():
            if condition == SWAPPED and not image.startswith("test-"):  # a control is enough once
                continue
            put_of += part.to_dicts()
            shown = names.index(image if condition == IMAGE else other[image])
            put.append((shown, [(prompt(asked(one, OPEN)), one["candidates"]) for one in part.to_dicts()]))
        found = with_pictures(model, processor, seen, put, p.batch)
        rows += _likeliest(condition, put_of, found)
    alone = questions.to_dicts()
    put = [(prompt(asked(one, OPEN), image=False), one["candidates"]) for one in alone]
    return rows + _likeliest(NONE, alone, without_pictures(model, processor, put))


def _likeliest(condition: str, questions: list[dict], found: list[list[float]]) -> list[dict]:
    rows = []
    for one, values in zip(questions, found, strict=True):
        best = one["candidates"][values.index(max(values))]
        rows.append({"condition": condition, "form": OPEN, "question": one["id"], "output": best, "logprobs": values})
    return rows


def letter_answers(model: Any, processor: Any, tables: dict[str, pl.DataFrame], p: VisionAnswers) -> list[dict]:
    """Rows of multiple choice, as they are written."""
    questions = chosen(tables["questions"], p.written).to_dicts()
    png = dict(tables["images"].select("image", "png").iter_rows())
    rows = []
    for form in PROMPTS:
        for condition in (IMAGE, NONE):
            there = condition == IMAGE
            prompts = [prompt(asked(one, form), image=there) for one in questions]
            pictures = [picture(png[one["image"]]) for one in questions] if there else None
            found = written(model, processor, pictures, prompts, p.batch, p.new_tokens[form])
            facts = {"condition": condition, "form": form, "logprobs": None}
            rows += [facts | {"question": one["id"], "output": text} for one, text in zip(questions, found, strict=True)]
    return rows


def main(profile: str) -> None:
    """Write `models/finllava_answers/<profile>/`."""
    p = profile_params(Params, SYSTEM, profile).vision_answers
    if p.new_tokens.keys() != PROMPTS.keys():
        raise CatalogError(f"vision_answers.new_tokens must have the prompts {', '.join(PROMPTS)}.")
    folder = ROOT / "models" / MODEL / profile / "model"
    require_dep(folder, ROOT)
    if not folder.is_dir():
        raise CatalogError(f"{folder.relative_to(ROOT)} is not there; run `dvc repro {SYSTEM}_vision_train` to make it.")
    began = time.perf_counter()
    tables = {name: table.filter(~pl.col("image").str.contains("^(train|valid)-")) for name, table in read(profile).items()}
    model, processor = build.load(folder)
    rows = open_answers(model, processor, tables, p)
    opened = time.perf_counter()
    rows += letter_answers(model, processor, tables, p)
    table = pl.DataFrame(rows, schema=SCHEMA).sort("condition", "form", "question")
    with atomic_dir(ROOT / "models" / NAME / profile) as target:
        write_parquet(table, target / "answers.parquet")
    seconds = {"open": round(opened - began, 1), "letters": round(time.perf_counter() - opened, 1)}
    facts = {"seconds": round(time.perf_counter() - began, 1), "peak_memory_mb": peak_memory_mb(), "seconds_by_form": seconds}
    write_json(facts, ROOT / "models" / NAME / f"{profile}.run.json")


if __name__ == "__main__":
    run(main)
