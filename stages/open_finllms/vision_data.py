"""The data set `chart_questions`: charts and tables drawn from real figures, and questions about them with computed answers.

Writes `data/chart_questions/<profile>/`: `images.parquet` (PNG inside), `marks.parquet` (each line, bar, slice and cell: its box and
figures) and `questions.parquet`. Splits: train, valid, `test` (shares and days that train does not have) and `style` (moreover in styles
that train does not have); each has applicants of its own. Imports no torch.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

import polars as pl

from catalog.base.deps import require_dep
from catalog.base.errors import CatalogError, run
from catalog.base.io import atomic_dir, write_parquet
from catalog.base.params import ROOT, profile_params
from stages.open_finllms.german import GERMAN, asset, german_rows
from stages.open_finllms.settings import Params, VisionData
from stages.open_finllms.vision_charts import STYLES, draw
from stages.open_finllms.vision_content import FORMS, Market, content
from stages.open_finllms.vision_questions import KINDS, Question, balanced, questions

SYSTEM, DATASET = "open_finllms", "chart_questions"
SPLITS = ("train", "valid", "test", "style")
IMAGES = {
    **dict.fromkeys(("image", "split", "form", "style", "origin", "title"), pl.String),
    "assets": pl.List(pl.String),
    "first": pl.Date,
    "last": pl.Date,
    "width": pl.Int32,
    "height": pl.Int32,
    "png": pl.Binary,
}
MARKS = {
    "image": pl.String,
    "mark": pl.Int32,
    **dict.fromkeys(("kind", "series", "label"), pl.String),
    "row": pl.Int32,
    "column": pl.Int32,
    "colour": pl.String,
    "text": pl.String,
    "values": pl.List(pl.Float64),
    **dict.fromkeys(("x0", "y0", "x1", "y1"), pl.Float64),
}
QUESTIONS = {
    **dict.fromkeys(("id", "image", "split", "category", "kind", "question", "answer"), pl.String),
    "candidates": pl.List(pl.String),
    "options": pl.List(pl.String),
    "letter": pl.String,
    "gold": pl.String,
    "asked": pl.List(pl.Int32),
}


def check(p: VisionData) -> None:
    """Splits that are disjoint as they are said to be.

    Raises:
        CatalogError: a share or a day in two of train, valid and test, or a style of the split style that train has.
    """
    for name in ("shares", "spans", "styles", "images"):
        if tuple(getattr(p, name)) != SPLITS:
            raise CatalogError(f"vision_data.{name} must have the splits {', '.join(SPLITS)}, in this order.")
    for one, other in (("train", "valid"), ("train", "test"), ("valid", "test"), ("train", "style"), ("valid", "style")):
        both = sorted(set(p.shares[one]) & set(p.shares[other]))
        if both:
            raise CatalogError(f"vision_data.shares has {both[0]} in {one} and in {other}; leave it in one.")
        (first, last), (begin, end) = p.spans[one], p.spans[other]
        if first <= end and begin <= last:
            raise CatalogError(f"vision_data.spans of {one} and {other} have days in common.")
    for split, styles in p.styles.items():
        for style in styles:
            if style not in STYLES:
                raise CatalogError(f"vision_data.styles has {style}, which there is not; there are {', '.join(STYLES)}.")
            if split == "style" and style in p.styles["train"]:
                raise CatalogError(f"vision_data.styles has {style} in train and in style; leave it in one.")
    for split, forms in p.images.items():
        if tuple(forms) != FORMS:
            raise CatalogError(f"vision_data.images.{split} must have the forms {', '.join(FORMS)}, in this order.")


def build(daily: pl.DataFrame, people: Sequence[Mapping[str, str]], p: VisionData, seed: int) -> dict[str, pl.DataFrame]:
    """The three tables."""
    check(p)
    images, marks, asked = [], [], []
    shuffled = random.Random(f"{seed}:people").sample(list(people), len(people))
    for number, split in enumerate(SPLITS):
        market = Market.of(daily, p.source, p.shares[split], *p.spans[split])
        crowd = shuffled[number :: len(SPLITS)]
        again = f":{p.draws[split]}" if p.draws[split] else ""
        rng, found = random.Random(f"{seed}:{split}{again}"), []
        for form, count in p.images[split].items():
            for at in range(count):
                name = f"{split}-{form}-{at:05d}"
                own = random.Random(f"{seed}:{name}{again}")
                style = own.choice(p.styles[split])
                shown = content(form, market, crowd, own, at)
                png, there = draw(shown, style, p.size)
                facts = {"image": name, "split": split, "style": style, "width": p.size, "height": p.size, "png": png}
                facts |= {key: getattr(shown, key) for key in ("form", "origin", "title", "first", "last")}
                images.append(facts | {"assets": list(shown.assets)})
                for place, mark in enumerate(there):
                    box = dict(zip(("x0", "y0", "x1", "y1"), mark.box))
                    what = {"image": name, "mark": place, "values": list(mark.values)} | box
                    marks.append(what | {key: getattr(mark, key) for key in ("kind", "series", "label", "row", "column", "colour", "text")})
                found += [(name, one) for one in questions(shown, there, own)]
        asked += [row(split, at, image, one) for at, (image, one) in enumerate(balanced(found, rng))]
    return {
        "images": pl.DataFrame(images, schema=IMAGES),
        "marks": pl.DataFrame(marks, schema=MARKS),
        "questions": pl.DataFrame(asked, schema=QUESTIONS),
    }


def row(split: str, at: int, image: str, one: Question) -> dict:
    """A question as the table has it; `answer` and `candidates` are null where it is not asked openly."""
    return {
        "id": f"{split}-{at:05d}",
        "image": image,
        "split": split,
        "category": KINDS[one.kind],
        "kind": one.kind,
        "question": one.text,
        "answer": one.answer if one.word else None,
        "candidates": list(one.choices) if one.word else None,
        "options": list(one.options),
        "letter": one.letter,
        "gold": one.answer,
        "asked": list(one.asked),
    }


def main(profile: str) -> None:
    """Write `data/chart_questions/<profile>/`."""
    p = profile_params(Params, SYSTEM, profile)
    prices = ROOT / "data" / "prices" / profile
    require_dep(prices, ROOT)
    if not prices.is_dir():
        raise CatalogError(f"The charts need {prices.relative_to(ROOT)}, which is absent; run `dvc repro {SYSTEM}_prices` to make it.")
    people = german_rows(asset(GERMAN, ROOT))
    tables = build(pl.read_parquet(prices / "daily.parquet"), people, p.vision_data, p.seed)
    with atomic_dir(ROOT / "data" / DATASET / profile) as folder:
        for name, table in tables.items():
            write_parquet(table, folder / f"{name}.parquet")


if __name__ == "__main__":
    run(main)
