"""Does anything that was known on a day depend on what came later? The future is changed, and what differs is named.

All prices and volumes after a day are multiplied by random factors, everything is computed anew, and the decisions, positions and accounts
up to that day are compared, as well as the returns up to it. Equal means bit for bit: the same computation ran twice.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import numpy as np
import polars as pl

from stages.open_finllms.trading import run


def changed_future(prices: pl.DataFrame, day: date, seed: int = 0) -> pl.DataFrame:
    """The same table with every number after ``day`` multiplied by a factor of its row, from a half to two."""
    factors = pl.Series("factor", np.exp(np.random.default_rng(seed).uniform(-np.log(2), np.log(2), prices.height)))
    numbers = [name for name, kind in prices.schema.items() if kind.is_numeric()]
    later = pl.col("date") > day
    changed = [pl.when(later).then(pl.col(name) * factors).otherwise(name).cast(pl.Float64) for name in numbers]
    return prices.with_columns(changed)


def leaks(prices: pl.DataFrame, decide: Callable[[pl.DataFrame], pl.DataFrame], day: date, seed: int = 0, **options) -> list[str]:
    """The columns that know the future of ``day``; none where nothing leaks.

    Args:
        decide: prices -> decisions (a rule, or an agent).
        options: as `stages.open_finllms.trading.run`.
    """
    before = [decide(table) for table in (prices, changed_future(prices, day, seed))]
    known = [table.filter(pl.col("date") <= day) for table in before]
    found = [f"decisions.{name}" for name in known[0].columns if not known[0][name].equals(known[1][name])]
    frames = [run(table, decisions, **options) for table, decisions in zip((prices, changed_future(prices, day, seed)), before)]
    now = [frame.filter(pl.col("date") <= day) for frame in frames]
    for name in now[0].columns:
        # Row t holds the return from t to the next day: what was earned up to the day is in the rows before it.
        kept = [frame[name][:-1] if name in ("r", "r_log", "r_simple") else frame[name] for frame in now]
        if not kept[0].equals(kept[1]):
            found.append(name)
    return found
