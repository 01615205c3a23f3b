"""Paired differences on the tasks: two models on the same items, or two ways to read the same answers. Imports no torch.

An item's score is 1 or 0 where the answer is a label or a number, F1 of its entities or relations, and ROUGE-L of a summary. Over several
tasks the effect is the mean over tasks of the mean difference in each. Its interval is a bootstrap in which the units of every task (an
item, or the items that share a table or a headline) are drawn within that task: 10,000 draws, the same units for every model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from zlib import crc32

import numpy as np
import polars as pl

DRAWS = 10_000
READABLE = ("ok", "defaulted")
MEAN = "mean over tasks"
SCHEMA = {
    **dict.fromkeys(("comparison", "measure", "model", "other", "mode", "other_mode", "task"), pl.String),
    **dict.fromkeys(("value", "low", "high"), pl.Float64),
    **dict.fromkeys(("n", "tasks"), pl.Int64),
    "overall": pl.Boolean,
}
Side = tuple[str, str]  # model, mode


def draws(differences: Mapping[str, Sequence[float]], name: str) -> np.ndarray:
    """Means of a task's items when its units are drawn with replacement: (DRAWS,).

    Args:
        differences: unit -> the differences of its items.
        name: of the task; tells its draws from those of others.
    """
    units = sorted(differences)
    sums = np.array([[sum(differences[unit]), len(differences[unit])] for unit in units], dtype=float)
    rng = np.random.default_rng(crc32(name.encode()))
    drawn = rng.multinomial(len(units), np.full(len(units), 1 / len(units)), size=DRAWS) @ sums
    return drawn[:, 0] / drawn[:, 1]


def interval(values: np.ndarray) -> tuple[float, float]:
    """The middle 95 %."""
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def compared(predictions: pl.DataFrame, tasks: Sequence[str], sides: Sequence[tuple[Side, Side | None]], measure: str) -> dict[str, dict]:
    """By task, and over tasks: the mean of one side, or of one less the other, on the items that both have.

    Several pairs are averaged item by item.

    Args:
        measure: score, or readable: whether the answer could be read.
    """
    value = pl.col("score") if measure == "score" else pl.col("status").is_in(READABLE).cast(pl.Float64)
    frame = predictions.select("task", "id", "unit", "model", "mode", value=value)
    found, all_draws = {}, []
    for task in tasks:
        per_item = []
        for one, other in sides:
            mine = frame.filter(task=task, model=one[0], mode=one[1])
            if other is not None:
                theirs = frame.filter(task=task, model=other[0], mode=other[1]).select("id", other="value")
                mine = mine.join(theirs, on="id", how="inner").with_columns(value=pl.col("value") - pl.col("other"))
            per_item.append(mine.drop_nulls("value").select("id", "unit", "value"))
        means = pl.concat(per_item).group_by("id", "unit").agg(pl.col("value").mean()).sort("id")
        if means.is_empty():
            continue
        units: dict[str, list[float]] = {}
        for unit, number in means.select("unit", "value").iter_rows():
            units.setdefault(unit, []).append(number)
        drawn = draws(units, task)
        low, high = interval(drawn)
        found[task] = {"value": float(means["value"].mean()), "low": low, "high": high, "n": len(means), "tasks": 1}
        all_draws.append(drawn)
    if len(found) > 1:
        low, high = interval(np.mean(all_draws, axis=0))
        value_of_all = float(np.mean([one["value"] for one in found.values()]))
        found[MEAN] = {"value": value_of_all, "low": low, "high": high, "n": sum(one["n"] for one in found.values()), "tasks": len(found)}
    return found


def gains(predictions: pl.DataFrame, base: str, tuned: Sequence[str], words: str, choice: Sequence[str]) -> pl.DataFrame:
    """The own table `gains`.

    Args:
        base: the model before training; tuned: FinLLaMA and FinLLaMA-Instruct.
        words: the method without a language model, which has the tasks `choice` alone.
    """
    few = sorted({task for task in predictions["task"].unique() if task.endswith("shot")})
    zero = sorted(set(predictions["task"].unique()) - set(few))
    models, strict, (first, last) = (base, *tuned), "strict", tuned
    rows = []

    def add(comparison: str, tasks: Sequence[str], sides: Sequence[tuple[Side, Side | None]], measure: str = "score") -> None:
        one, other = sides[0]
        names = {"model": one[0] if len(sides) == 1 else "all", "other": None if other is None else other[0] if len(sides) == 1 else "all"}
        modes = {"mode": one[1], "other_mode": None if other is None else other[1]}
        by_task = compared(predictions, tasks, sides, measure)
        for task, numbers in by_task.items():
            overall = {"overall": task == MEAN or len(by_task) == 1}
            rows.append({"comparison": comparison, "measure": measure, "task": task} | names | modes | numbers | overall)

    for model in models:
        add("zero-shot", zero, [((model, strict), None)])
        add("zero-shot", zero, [((model, strict), None)], "readable")
        add("labels", choice, [((model, strict), None)])
    for model in (base, first):
        add("few-shot", few, [((model, strict), None)])
    add("labels", choice, [((words, strict), None)])
    for comparison, tasks, one, other in (
        ("zero-shot gain", zero, first, base),
        ("zero-shot gain", zero, last, base),
        ("zero-shot gain", zero, last, first),
        ("few-shot gain", few, first, base),
        ("labels gain", choice, last, words),
    ):
        add(comparison, tasks, [((one, strict), (other, strict))])
    add("readable gain", zero, [((last, strict), (base, strict))], "readable")
    add("paper less strict", choice, [((model, "paper"), (model, strict)) for model in models])
    for mode in ("paper", strict):
        add("reading", choice, [((model, mode), None) for model in models])
    for model in models:
        add("paper less strict", choice, [((model, "paper"), (model, strict))])
    return pl.DataFrame(rows, schema=SCHEMA)
