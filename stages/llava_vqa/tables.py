"""The tables of answers and maps: one row for each question and method, then means with intervals, then paired differences.

`Asked` are the questions with the groups that means are taken over. A *measure* has a number for each question and method, NaN where there
is none; right answers and hits are numbers of 0 and 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import polars as pl

from catalog.base.errors import CatalogError
from stages.llava_vqa import clusters
from stages.llava_vqa.comparators import OBJECT_TYPES

SPLITS = ("seen", "unseen")
LOCATED = "located"  # group of the questions about one object
CORRECTED = ("rival", "simple")  # roles of which a claim may compare with the best: their intervals are corrected for their number
Values = Mapping[str, np.ndarray]  # method -> (questions,)
CONTRASTS = {
    **dict.fromkeys(("measure", "method", "other", "other_role", "split", "subset"), pl.String),
    **dict.fromkeys(("value", "low", "high", "joint_low", "joint_high"), pl.Float64),
    **dict.fromkeys(("comparisons", "n", "images"), pl.Int64),
}


class Asked(NamedTuple):
    """Questions of the test splits."""

    id: np.ndarray
    image: np.ndarray
    split: np.ndarray
    groups: dict[str, np.ndarray]  # name -> which questions


def asked(questions: pl.DataFrame, objects: pl.DataFrame, splits: Sequence[str] = SPLITS) -> pl.DataFrame:
    """The questions of ``splits`` in order of their names, with the number of objects in their scene."""
    counted = objects.group_by("image").agg(objects=pl.len().cast(pl.Int64))
    found = questions.filter(pl.col("split").is_in(splits)).join(counted, on="image", how="left", maintain_order="left")
    return found.with_columns(pl.col("objects").fill_null(0)).sort("id")


def of_answers(test: pl.DataFrame) -> Asked:
    """All questions that have an answer: those about one object together, and each type."""
    kind = test["type"].to_numpy()
    answered = test["answer"].is_not_null().to_numpy()
    located = np.isin(kind, OBJECT_TYPES)
    several = located & (test["objects"].to_numpy() > 1)
    groups = {LOCATED: located, "located, several objects": several, "located, one object": located & ~several}
    groups |= {type: (kind == type) & answered for type in dict.fromkeys(kind[answered].tolist())}
    return Asked(test["id"].to_numpy(), codes(test["image"]), test["split"].to_numpy(), groups)


def of_maps(test: pl.DataFrame, right: np.ndarray) -> Asked:
    """Questions about one object of several, together, by type, and by whether the model answers right.

    A lone object is found by whatever finds any object, so that it would tell nothing.

    Args:
        right: 1, 0 or NaN for each question.
    """
    kind = test["type"].to_numpy()
    located, several = np.isin(kind, OBJECT_TYPES), test["objects"].to_numpy() > 1
    groups = {LOCATED: located & several} | {type: (kind == type) & several for type in OBJECT_TYPES}
    groups |= {"answered right": located & several & (right == 1), "answered wrong": located & several & (right == 0)}
    return Asked(test["id"].to_numpy(), codes(test["image"]), test["split"].to_numpy(), groups)


def codes(names: pl.Series) -> np.ndarray:
    """A whole number for each name, which is quicker to count than texts."""
    return names.rank("dense").to_numpy() - 1


def spread(ids: np.ndarray, frame: pl.DataFrame, column: str) -> Values:
    """Method -> the numbers of ``column`` in the order of ``ids``, NaN where a method has none.

    Args:
        frame: columns method, question and ``column``; a question is none of ``ids`` where it is of another split.
    """
    place = {name: number for number, name in enumerate(ids)}
    found = {}
    for (method,), part in frame.group_by("method", maintain_order=True):
        values = np.full(len(ids), np.nan)
        for question, value in part.select("question", pl.col(column).cast(pl.Float64)).iter_rows():
            if value is not None and question in place:
                values[place[question]] = value
        found[method] = values
    return found


def means(test: Asked, measures: Mapping[str, Values], counted: Mapping[str, str] = MappingProxyType({})) -> pl.DataFrame:
    """One row for each method, split and group that any of ``measures`` has a number for: ``measure``, ``measure``_low, ``measure``_high.

    ``n`` and ``images`` count the questions of the first measure that has one.

    Args:
        counted: further columns that count the questions of a measure.
    """
    rows = []
    for method in dict.fromkeys(name for values in measures.values() for name in values):
        for split in dict.fromkeys(test.split.tolist()):
            for group, members in test.groups.items():
                where, row = members & (test.split == split), {"method": method, "split": split, "subset": group}
                for name, values in measures.items():
                    own = np.where(where, values.get(method, np.nan), np.nan)
                    found = clusters.mean(test.image, own)
                    if found is not None:
                        row = {"n": int(np.isfinite(own).sum()), "images": len(np.unique(test.image[np.isfinite(own)]))} | row
                        row |= {column: int(np.isfinite(own).sum()) for column, of in counted.items() if of == name}
                        row |= dict(zip((name, f"{name}_low", f"{name}_high"), found))
                if "n" in row:
                    rows.append(row)
    numbers = [name + end for name in measures for end in ("", "_low", "_high")]
    schema = dict.fromkeys(("method", "split", "subset"), pl.String) | dict.fromkeys(("n", "images", *counted), pl.Int64)
    return pl.DataFrame([dict.fromkeys([*schema, *numbers]) | row for row in rows], schema=schema | dict.fromkeys(numbers, pl.Float64))


def contrasts(test: Asked, measures: Mapping[str, Values], subjects: Sequence[str], roles: Mapping[str, str]) -> pl.DataFrame:
    """Differences of each of ``subjects`` and every other method on the same questions, over the same resamples of images.

    Args:
        roles: method -> role. ``joint_low`` and ``joint_high`` have the level 1 - .05/k for the k others of a role in `CORRECTED`, and
            are those of 95 % for the others.
    """
    rows = []
    for measure, values in measures.items():
        for subject in subjects:
            others = [name for name in values if name != subject] if subject in values else []
            for other in others:
                role = roles[other]
                alike = sum(roles[name] == role for name in others) if role in CORRECTED else 1
                for split in dict.fromkeys(test.split.tolist()):
                    for group, members in test.groups.items():
                        where = members & (test.split == split)
                        one = np.where(where, values[subject], np.nan)
                        found = clusters.difference(test.image, one, values[other])
                        if found is None:
                            continue
                        joint = found if alike == 1 else clusters.difference(test.image, one, values[other], 1 - 0.05 / alike)
                        both = np.isfinite(one) & np.isfinite(values[other])
                        ids = (measure, subject, other, role, split, group)
                        rows.append((*ids, *found, *joint[1:], alike, int(both.sum()), len(np.unique(test.image[both]))))
    return pl.DataFrame(rows, schema=CONTRASTS, orient="row")


def predictions(test: pl.DataFrame, answers: pl.DataFrame, known: Sequence[str]) -> pl.DataFrame:
    """What the model says to each question of ``test`` under each condition, the table `predictions`.

    Args:
        answers: model, condition, question, answer, logprob (of each possible answer), correct. known: all questions of the data set.

    Raises:
        CatalogError: an answer to a question that the data set does not have, which is of an older set.
    """
    if len(strange := answers.filter(~pl.col("question").is_in(list(known)))):
        raise CatalogError(
            f"The answers are to {strange['question'][0]}, which is no question of scenes; run stage llava_vqa_answers again."
        )
    said = answers.select("model", "question", "answer", method="condition", right="correct", logprob=pl.col("logprob").list.max())
    facts = test.select("image", "split", "type", question="id", asked_text="question", gold="answer")
    found = said.join(facts, on="question", how="inner", maintain_order="left")
    right = pl.when(pl.col("gold").is_not_null()).then(pl.col("right"))
    return found.select(
        "model",
        "method",
        "question",
        "image",
        "split",
        "type",
        "asked_text",
        "answer",
        "gold",
        right.alias("right"),
        pl.col("logprob").cast(pl.Float64),
    )
