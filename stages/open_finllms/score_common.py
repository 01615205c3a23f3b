"""What all scorers of text tasks share: items, scores, and intervals over items or over the documents that items share.

A scorer takes items (what a model answered, and what is right) and gives scores and one row an item. Every score comes with the
number of items it rests on, the share of them without a usable answer, an interval, and the best that an answer which never
changes would have got, since several published scores of this benchmark are no better than that.

Intervals are bootstrap intervals over *units*: an item, or a document where several items share one (the turns of a conversation, the
questions on a table). Each unit has a vector of sums (right answers and items, cells of a confusion matrix, true and false
spans), and the score is a function of the total, so that a resample is one product of matrices.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from catalog.base.errors import CatalogError
from catalog.report.intervals import bootstrap

MODES = ("paper", "strict")  # as the benchmark's published code scores; as one would score today
STATUSES = ("ok", "defaulted", "unparsable", "several", "empty", "absent")  # only of the first two there is an answer


@dataclass(frozen=True)
class Item:
    """One question with its answer."""

    id: str
    output: str  # as the model wrote it
    gold: str  # target of the task's template
    row: Mapping[str, Any]  # the published columns
    choices: tuple[str, ...] = ()
    unit: str = ""  # what is resampled; the id by default
    absent: bool = False  # there is no output for this id


@dataclass(frozen=True)
class Score:
    """One number. `constant` is what the best constant answer gets, None where there is no such thing."""

    metric: str
    value: float | None  # None: nothing could be scored
    low: float | None
    high: float | None
    n: int  # items the value rests on
    missing: float  # share of all items without a usable answer
    units: int  # what the interval resamples
    unit: str = "fraction"  # fraction (0 to 1), correlation (-1 to 1), percent (0 to 100), error (in the target's unit)
    constant: float | None = None


@dataclass(frozen=True)
class Scored:
    """All scores of a task, and one row an item: id, output, parsed, gold, status, score."""

    scores: tuple[Score, ...]
    items: pl.DataFrame = field(repr=False)

    def __getitem__(self, metric: str) -> Score:
        for score in self.scores:
            if score.metric == metric:
                return score
        raise CatalogError(f"There is no score {metric}; there are {', '.join(score.metric for score in self.scores)}.")


def by_unit(items: Sequence[Item], sums: np.ndarray) -> np.ndarray:
    """Sums of the items, (n, k), added up by unit in the order of the units' names, (u, k): the order of the items is forgotten."""
    units = [item.unit or item.id for item in items]
    places = {name: place for place, name in enumerate(sorted(set(units)))}
    total = np.zeros((len(places), sums.shape[1]))
    order = sorted(range(len(items)), key=lambda at: items[at].id)  # sums of fractions depend on their order
    np.add.at(total, [places[units[at]] for at in order], sums[order])
    return total


def interval(
    sums: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray], level: float = 0.95, seed: int = 0
) -> tuple[float | None, float | None]:
    """Bootstrap interval of `statistic` of the units' total.

    Args:
        sums: (u, k), a vector a unit.
        statistic: totals (b, k) -> (b,), finite.

    Returns:
        Lower and upper bound; (None, None) for fewer than two units, of which nothing can be said.
    """
    if len(sums) < 2:
        return None, None

    def of_resamples(drawn: np.ndarray, axis: int) -> np.ndarray:
        rows, count = len(drawn), len(sums)
        places = drawn.astype(np.int64) + np.arange(rows)[:, None] * count
        times = np.bincount(places.ravel(), minlength=rows * count).reshape(rows, count)
        return statistic(times @ sums)

    return bootstrap(np.arange(len(sums)), of_resamples, level=level, seed=seed)


def mean_score(
    metric: str, items: Sequence[Item], values: Sequence[float], missing: float, constant: float | None = None, unit: str = "fraction"
) -> Score:
    """Mean of one number between 0 and 1 an item, with its interval.

    Where all units agree, no draw differs, and the bootstrap would claim certainty. A share of 1 - .025 ** (1 / units) of all units may
    differ without one being seen among these, so the interval reaches that far to either side, within 0 and 1.
    """
    values = np.asarray(values, dtype=np.float64)
    if not len(values):
        return Score(metric, None, None, None, 0, missing, 0, unit, constant)
    sums = by_unit(items, np.column_stack([values, np.ones(len(values))]))
    low, high = interval(sums, lambda total: total[:, 0] / total[:, 1])
    if low is not None and low == high:
        unseen = 1 - 0.025 ** (1 / len(sums))
        low, high = max(low - unseen, 0.0), min(high + unseen, 1.0)
    return Score(metric, float(np.sort(values).mean()), low, high, len(values), missing, len(sums), unit, constant)


def f1(true: np.ndarray, predicted: np.ndarray, gold: np.ndarray) -> np.ndarray:
    """2·TP / (predicted + gold), the harmonic mean of precision and recall; 0 where there is nothing on either side."""
    both = predicted + gold
    return np.divide(2 * true, both, out=np.zeros(np.shape(both)), where=both > 0)


def micro_scores(items: Sequence[Item], counts: np.ndarray, missing: float, names: Mapping[str, str]) -> list[Score]:
    """Precision, recall and F1 of counts added up over all items.

    Args:
        counts: (n, 3): right, predicted, gold.
        names: of what is wanted, from precision, recall, f1 to the metric's name.
    """
    sums = by_unit(items, counts.astype(np.float64))

    def share(of: int) -> Callable[[np.ndarray], np.ndarray]:
        return lambda total: np.divide(total[:, 0], total[:, of], out=np.zeros(len(total)), where=total[:, of] > 0)

    kinds = {"precision": share(1), "recall": share(2), "f1": lambda total: f1(total[:, 0], total[:, 1], total[:, 2])}
    total = sums.sum(0, keepdims=True)
    return [
        Score(name, float(kinds[kind](total)[0]), *interval(sums, kinds[kind]), len(items), missing, len(sums))
        for kind, name in names.items()
    ]


def frame(
    items: Sequence[Item],
    parsed: Sequence[str | None],
    statuses: Sequence[str],
    scores: Sequence[float | None],
    gold: Sequence[str] | None = None,
) -> pl.DataFrame:
    """One row an item. An item without an output says so, whatever was made of the empty text."""
    return pl.DataFrame(
        {
            "id": [item.id for item in items],
            "output": [None if item.absent else item.output for item in items],
            "parsed": list(parsed),
            "gold": [item.gold for item in items] if gold is None else list(gold),
            "status": ["absent" if item.absent else status for item, status in zip(items, statuses)],
            "score": [None if score is None else float(score) for score in scores],
        },
        schema={"id": pl.String, "output": pl.String, "parsed": pl.String, "gold": pl.String, "status": pl.String, "score": pl.Float64},
    )


def missing_rate(statuses: Sequence[str]) -> float:
    """Share of items without a usable answer. A default that the published code puts in is not missing, but has a score of its own."""
    return sum(status not in ("ok", "defaulted") for status in statuses) / len(statuses)


def column(item: Item, name: str) -> Any:
    """A published column that the scorer reads."""
    value = item.row.get(name)
    if value is None:
        raise CatalogError(f"Item {item.id} has no {name}, which its scorer reads; the columns are {', '.join(sorted(item.row))}.")
    return value
