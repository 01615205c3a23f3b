"""Maps of where a model looks in a picture, as stages wrote them: which systems have some, and what belongs to a question.

A system has maps if it has a stage `<system>_maps`. Beside what that stage writes, they need what it reads:

- `maps.parquet`, in the folder that `<system>_maps` writes: a row for each question and method, with a value for each patch of the picture;
- `questions.parquet`, `images.parquet` and `objects.parquet`, in the folder of `data/` that it reads;
- `answers.parquet`, in the folder that `<system>_answers` writes, if there is such a stage.

Only these files are read, never a model. Rows are picked while a file is read, so that no file has to fit into memory.
"""

import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import streamlit as st
from PIL import Image

from app_lib import data
from app_lib.overlay import Box
from catalog.base.errors import CatalogError
from catalog.base.params import PROFILES

MOST_PIXELS = 50_000_000
PICTURES = ("PNG", "JPEG")
REGION = ("x0", "y0", "x1", "y1")
ONE_HEAD = re.compile(r"head \d+[._]\d+")  # a method that is the map of one head: layer, head


@dataclass(frozen=True)
class Files:
    """The built files of a system at a profile; `answers` is None if no stage writes answers, or if they are not built."""

    images: Path
    objects: Path
    questions: Path
    maps: Path
    answers: Path | None


def systems() -> dict[str, str]:
    """Return the systems that have a stage of maps: name -> title."""
    rows = data.records("""
        SELECT s.system, s.title FROM systems s JOIN stages t ON t.stage = s.system || '_maps' ORDER BY s.sort_order, s.system
    """)
    return {row["system"]: row["title"] for row in rows}


def built(system: str) -> dict[str, Files]:
    """Return what is built of a system's maps: profile -> files."""
    maps, answers = _stage(f"{system}_maps"), _stage(f"{system}_answers")
    scenes = next((_folder(path) for path in maps["deps"] if path.startswith("data/") and not path.startswith("data/assets/")), None)
    written = _written(maps)
    if scenes is None or written is None:
        return {}
    said = _written(answers)
    found = {}
    for profile in PROFILES:
        pictures = data.root() / scenes.parent / profile
        needed = [pictures / f"{name}.parquet" for name in ("images", "objects", "questions")]
        needed.append(data.root() / written.parent / profile / "maps.parquet")
        beside = data.root() / said.parent / profile / "answers.parquet" if said else None
        if all(path.is_file() for path in needed):
            found[profile] = Files(*needed, beside if beside and beside.is_file() else None)
    return found


def _stage(name: str) -> dict[str, Any]:
    """What a stage reads and writes; nothing if there is none of that name."""
    rows = data.records("SELECT deps, outs FROM stages WHERE stage = $name", {"name": name})
    return rows[0] if rows else {"deps": [], "outs": []}


def _folder(path: str) -> Path:
    """The folder that an entry of `deps` or `outs` names, or in which the file lies that it names."""
    return Path(path).parent if Path(path).suffix else Path(path)


def _written(stage: dict[str, Any]) -> Path | None:
    """The folder that a stage writes, whose last part is the profile."""
    return next((_folder(path) for path in stage["outs"] if not path.endswith(".json")), None)


def questions(files: Files) -> pl.DataFrame:
    """Return the questions that have a map: id, image, split, type, question, asked, gold, said, correct.

    Without a file of answers, `said` is the token whose score the maps share out; `correct` is null where there is no gold answer.
    """
    mapped = read(files.maps, ["question", "target"]).group_by("question").agg(pl.col("target").first())
    rows = read(files.questions, ["id", "image", "split", "type", "question", "answer", "asked"])
    rows = rows.rename({"answer": "gold"}).join(mapped, left_on="id", right_on="question", how="inner")
    if files.answers is not None:
        answers = read(files.answers, ["question", "answer"], pl.col("condition") == "image").unique("question", keep="first")
        rows = rows.join(answers.rename({"answer": "answered"}), left_on="id", right_on="question", how="left")
    else:
        rows = rows.with_columns(answered=pl.lit(None, pl.String))
    rows = rows.with_columns(said=pl.coalesce(pl.col("answered"), pl.col("target").str.strip_chars()))
    return rows.with_columns(correct=pl.col("said") == pl.col("gold")).drop("answered").sort("id")


def of_question(files: Files, question: str) -> pl.DataFrame:
    """Return the maps of a question, a row for each method; its head and the part that it covers where the file has them."""
    columns = ["method", "values", "forwards", "target"]
    try:
        columns += [name for name in ("head", *REGION) if name in pl.read_parquet_schema(files.maps)]
    except (OSError, pl.exceptions.PolarsError):
        pass  # the next line says what is wrong
    return read(files.maps, columns, pl.col("question") == question)


def region(row: dict[str, Any], size: tuple[int, int]) -> Box:
    """Return the part of a picture of a size (width, height) that the patches of a map cover: x0, y0, x1, y1.

    Raises:
        CatalogError: the map does not say it, and the picture is no square, so that a model may have seen its middle alone.
    """
    if all(row.get(name) is not None for name in REGION):
        return tuple(float(row[name]) for name in REGION)
    if size[0] != size[1]:
        raise CatalogError(f"This map does not say which part of the picture of {size[0]} x {size[1]} pixels it covers: build it again.")
    return (0.0, 0.0, *map(float, size))


def grid(values: list[float]) -> list[list[float]]:
    """Return the values of a map row by row, as many rows as columns.

    Raises:
        CatalogError: values that fill no square, or that are no finite numbers.
    """
    side = math.isqrt(len(values))
    if not values or side * side != len(values):
        raise CatalogError(f"This map has {len(values)} values, which fill no square grid: build it again.")
    if not all(value is not None and math.isfinite(value) for value in values):
        raise CatalogError("This map has values that are no finite numbers: build it again.")
    return [list(values[start : start + side]) for start in range(0, len(values), side)]


def probability(files: Files, question: str) -> float | None:
    """Return the probability that the model gives to its own answer, or None where no file has it."""
    if files.answers is None:
        rows = read(files.maps, ["logprob"], pl.col("question") == question)
    else:
        rows = read(files.answers, ["logprob"], (pl.col("condition") == "image") & (pl.col("question") == question))
    if rows.schema["logprob"].is_nested():  # of each possible answer; the model gives the likeliest
        rows = rows.explode("logprob")
    likeliest = rows["logprob"].max()
    return None if likeliest is None else math.exp(min(likeliest, 0.0))


def methods(names: list[str]) -> dict[str, list[str]]:
    """Return the methods to choose from, with the maps that each has: one, or those of single heads, which are one method together."""
    heads = [name for name in names if ONE_HEAD.fullmatch(name)]
    found = {name: [name] for name in names if name not in heads}
    return found | ({"each head": heads} if heads else {})


def scores(system: str, profile: str, question: str) -> pl.DataFrame | None:
    """Return how well each method's map of a question finds what is asked about: method, hit, iou.

    They are rows of the system's own table that has these columns; None if it has no such table, or no rows of this question.
    """
    named = data.one(
        """SELECT table_name FROM duckdb_columns() WHERE schema_name = $system
        AND column_name IN ('profile', 'question', 'method', 'hit', 'iou') GROUP BY table_name HAVING count(*) = 5 ORDER BY table_name""",
        {"system": system},
    )
    if named is None:
        return None
    source = f"{data.quote(system)}.{data.quote(named)}"
    rows = data.table(
        f"SELECT method, hit::DOUBLE AS hit, iou::DOUBLE AS iou FROM {source} WHERE profile = $profile AND question = $question",
        {"profile": profile, "question": question},
    )
    return rows if rows.height else None


def boxes(files: Files, image: str, numbers: Sequence[int]) -> list[Box]:
    """Return the boxes of the objects of an image that have these numbers, in its pixels."""
    of = (pl.col("image") == image) & pl.col("object").is_in(list(numbers))
    return read(files.objects, ["x0", "y0", "x1", "y1"], of).rows()


def picture(files: Files, image: str) -> Image.Image:
    """Return a picture of the data set as RGB.

    Raises:
        CatalogError: no picture of that name, or one that cannot be decoded.
    """
    return _picture(str(files.images), data.stamp(files.images), image)


@st.cache_data(max_entries=32, show_spinner=False)
def _picture(path: str, stamp: tuple[int, int, int] | None, image: str) -> Image.Image:
    rows = read(Path(path), ["png"], pl.col("image") == image)
    if not rows.height:
        raise CatalogError(f"{_short(Path(path))} has no picture called {image}: build both files again.")
    try:
        opened = Image.open(io.BytesIO(rows["png"][0]), formats=PICTURES)
        if opened.width * opened.height > MOST_PIXELS:
            raise CatalogError(f"The picture {image} has {opened.width} x {opened.height} pixels, more than this page draws.")
        return opened.convert("RGB")
    except (OSError, SyntaxError, TypeError, ValueError, Image.DecompressionBombError):
        raise CatalogError(f"The picture {image} cannot be decoded: build {_short(Path(path))} again.") from None


def read(path: Path, columns: list[str], where: pl.Expr | None = None) -> pl.DataFrame:
    """Return columns of a Parquet file, and of its rows those that `where` picks.

    Raises:
        CatalogError: a file that is gone, damaged, or without these columns.
    """
    try:
        rows = pl.scan_parquet(path, glob=False)
        return (rows if where is None else rows.filter(where)).select(columns).collect()
    except (OSError, pl.exceptions.PolarsError) as error:
        cause = " ".join(str(error).split("\n")[0].split())[:120]
        raise CatalogError(f"{_short(path)} cannot be read ({cause}): build it again with `make repro`.") from None


def _short(path: Path) -> str:
    """The path as seen from the project's folder."""
    return path.relative_to(data.root()).as_posix() if path.is_relative_to(data.root()) else path.name
