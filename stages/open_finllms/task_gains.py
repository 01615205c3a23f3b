"""Paired differences on the tasks: two models on the same items, or two ways to read the same answers. Imports no torch.

An item's score is 1 or 0 where the answer is a label or a number, F1 of its entities or relations, and ROUGE-L of a summary. Over several
tasks the effect is the mean over tasks of the mean difference in each. Its interval is a bootstrap in which the units of every task (an
item, or the items that share a table or a headline) are drawn within that task: 2,000 draws, the same units for every model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from zlib import crc32

import numpy as np
import polars as pl

DRAWS = 2_000
READABLE = ("ok", "defaulted")
MEAN = "mean over tasks"
SCHEMA = {
    **dict.fromkeys(("comparison", "measure", "model", "other", "mode", "other_mode", "task"), pl.String),
    **dict.fromkeys(("value", "low", "high"), pl.Float64),
    **dict.fromkeys(("n", "tasks"), pl.Int64),
    "overall": pl.Boolean,
}
Side = tuple[str, str]  # model, mode
Said = dict[tuple[str, str, str], dict[str, tuple[str, float | None, float]]]


@lru_cache
def weights(units: int, name: str) -> np.ndarray:
    """How often each draw has each unit: (DRAWS, units). The same for all that is compared on a task."""
    rng = np.random.default_rng(crc32(name.encode()))
    return rng.multinomial(units, np.full(units, 1 / units), size=DRAWS).astype(float)


def draws(differences: Mapping[str, Sequence[float]], name: str) -> np.ndarray:
    """Means of a task's items when its units are drawn with replacement: (DRAWS,).

    Args:
        differences: unit -> the differences of its items.
        name: of the task; tells its draws from those of others.
    """
    sums = np.array([[sum(differences[unit]), len(differences[unit])] for unit in sorted(differences)], dtype=float)
    drawn = weights(len(sums), name) @ sums
    return drawn[:, 0] / drawn[:, 1]


def interval(values: np.ndarray) -> tuple[float, float]:
    """The middle 95 %."""
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def by_side(predictions: pl.DataFrame) -> Said:
    """(task, model, mode) -> id -> (unit, score or None, whether the answer could be read)."""
    found: Said = {}
    for task, model, mode, name, unit, score, status in predictions.select(
        "task", "model", "mode", "id", "unit", "score", "status"
    ).iter_rows():
        found.setdefault((task, model, mode), {})[name] = (unit, score, float(status in READABLE))
    return found


def differences(said: Said, task: str, sides: Sequence[tuple[Side, Side | None]], measure: str) -> dict[str, list[float]]:
    """Unit -> a number for each item that all sides have: the mean over the pairs of one side's score, less the other's."""
    at = 1 if measure == "score" else 2
    numbers: dict[str, tuple[str, list[float]]] = {}
    for one, other in sides:
        mine, theirs = said.get((task, *one), {}), None if other is None else said.get((task, *other), {})
        for name, row in mine.items():
            less = 0.0 if theirs is None else theirs[name][at] if name in theirs else None
            if row[at] is not None and less is not None:
                numbers.setdefault(name, (row[0], []))[1].append(row[at] - less)
    found: dict[str, list[float]] = {}
    for unit, values in numbers.values():
        if len(values) == len(sides):
            found.setdefault(unit, []).append(float(np.mean(values)))
    return found


def compared(said: Said, tasks: Sequence[str], sides: Sequence[tuple[Side, Side | None]], measure: str) -> dict[str, dict]:
    """By task, and over tasks: the mean of one side, or of one less the other, on the items that both have.

    Several pairs are averaged item by item.

    Args:
        measure: score, or readable: whether the answer could be read.
    """
    found, all_draws = {}, []
    for task in tasks:
        units = differences(said, task, sides, measure)
        if not units:
            continue
        values = sorted(value for some in units.values() for value in some)
        all_draws.append(draws(units, task))
        low, high = interval(all_draws[-1])
        if low == high:  # no unit differs from another, so no draw does; a share of units up to this may differ all the same
            unseen = 1 - 0.025 ** (1 / len(units))
            low, high = max(low - unseen, -1.0), min(high + unseen, 1.0)
        found[task] = {"value": float(np.mean(values)), "low": low, "high": high, "n": len(values), "tasks": 1}
    if len(found) > 1:
        low, high = interval(np.mean(all_draws, axis=0))
        mean = float(np.mean([one["value"] for one in found.values()]))
        found[MEAN] = {"value": mean, "low": low, "high": high, "n": sum(one["n"] for one in found.values()), "tasks": len(found)}
    return found


def gains(predictions: pl.DataFrame, base: str, tuned: Sequence[str], words: str, choice: Sequence[str]) -> pl.DataFrame:
    """The own table `gains`.

    Args:
        base: the model before training; tuned: FinLLaMA and FinLLaMA-Instruct.
        words: the method without a language model, which has the tasks `choice` alone.
    """
    few = sorted({task for task in predictions["task"].unique() if task.endswith("shot")})
    zero = sorted(set(predictions["task"].unique()) - set(few))
    said = by_side(predictions)
    models, strict, (first, last) = (base, *tuned), "strict", tuned
    rows = []

    def add(comparison: str, tasks: Sequence[str], sides: Sequence[tuple[Side, Side | None]], measure: str = "score") -> None:
        one, other = sides[0]
        names = {"model": one[0] if len(sides) == 1 else "all", "other": None if other is None else other[0] if len(sides) == 1 else "all"}
        modes = {"mode": one[1], "other_mode": None if other is None else other[1]}
        by_task = compared(said, tasks, sides, measure)
        for task, numbers in by_task.items():
            overall = {"overall": task == MEAN or len(by_task) == 1}
            rows.append({"comparison": comparison, "measure": measure, "task": task} | names | modes | numbers | overall)

    for model in models:
        for mode in ("paper", strict):  # where what cannot be read has the published default, and where it is wrong
            add("zero-shot", zero, [((model, mode), None)])
        add("zero-shot", zero, [((model, strict), None)], "readable")
        add("labels", choice, [((model, strict), None)])
    for model in (base, first):
        add("few-shot", few, [((model, strict), None)])
    add("labels", choice, [((words, strict), None)])
    add("few-shot gain", few, [((first, strict), (base, strict))])
    add("labels gain", choice, [((last, strict), (words, strict))])
    for mode in ("paper", strict):
        for one, other in ((first, base), (last, base), (last, first)):
            add("zero-shot gain", zero, [((one, mode), (other, mode))])
        add("labels gain", choice, [((last, mode), (base, mode))])
    add("readable gain", zero, [((last, strict), (base, strict))], "readable")
    add("paper less strict", choice, [((model, "paper"), (model, strict)) for model in models])
    for mode in ("paper", strict):
        add("reading", choice, [((model, mode), None) for model in models])
    for model in models:
        add("paper less strict", choice, [((model, "paper"), (model, strict))])
    return pl.DataFrame(rows, schema=SCHEMA)
