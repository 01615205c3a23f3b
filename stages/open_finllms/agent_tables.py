"""What is shown of the trading agent: its decisions day by day, what it usually does, and whether it knows the future.

The agent's raw answers come from ``models/finance_trades/<profile>/`` (`trade.py`). Returns are computed here, as for every rule.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl

from catalog.base.errors import CatalogError
from catalog.report.intervals import wilson
from stages.open_finllms import trading, windows
from stages.open_finllms.actions import ACTIONS
from stages.open_finllms.agent import Played, play
from stages.open_finllms.leak import changed_future
from stages.open_finllms.simulate import AGENT, Decided, Place
from stages.open_finllms.trader import Answer, Options, Run

FILES = ("decisions", "retrieved", "memories", "written")
RUN = ("model", "window", "asset", "source", "seed")
EARLY = "FinMem agent that reads tomorrow"  # shows that the check finds such a thing
DAYS = 40  # of a window, in the check
ALL = "all"


def read(folder: Path) -> dict[str, pl.DataFrame]:
    """The raw signals of the agent."""
    missing = [name for name in FILES if not (folder / f"{name}.parquet").is_file()]
    if missing:
        raise CatalogError(f"{folder / missing[0]}.parquet is missing; run the stage open_finllms_trade.")
    return {name: pl.read_parquet(folder / f"{name}.parquet") for name in FILES}


def decided(decisions: pl.DataFrame) -> dict[Place, list[Decided]]:
    """(window, asset, source) -> what each model and seed decided there, as `simulate.play` takes it."""
    found: dict[Place, list[Decided]] = {}
    for (model, window, asset, source, seed), part in decisions.group_by(RUN, maintain_order=True):
        found.setdefault((window, asset, source), []).append((model, seed, part.select("date", "action", "parsed", "status").sort("date")))
    return found


def days(raw: Mapping[str, pl.DataFrame], daily: pl.DataFrame) -> pl.DataFrame:
    """The own table `agent_days`: what was found, read, answered, decided and earned, under the paper's script."""
    named = pl.format("{} {} ({})", "id", "layer", pl.col("score").round(3))
    retrieved = raw["retrieved"].group_by(*RUN, "date").agg(retrieved=named.sort_by("score", descending=True).str.join(", "))
    series = dict(iter(daily.group_by("asset", "source")))
    parts = []
    for (_, _, asset, source, _), part in raw["decisions"].group_by(RUN, maintain_order=True):
        frame = trading.run(series[asset, source], part, "finmem").select("date", "price", "position", "r")
        parts.append(part.join(frame, on="date", maintain_order="left"))
    table = pl.concat(parts).join(retrieved, on=[*RUN, "date"], how="left", maintain_order="left")
    scores = [pl.col("scores").list.get(place).round(4).alias(f"score_{name}") for place, name in enumerate(ACTIONS)]
    return table.select(
        *("model", pl.col("window").alias("period"), "asset", "source", pl.col("seed").cast(pl.Int64)),
        *(pl.col("date").cast(pl.String), pl.col("price").round(6), "action", "parsed", "status"),
        *(*scores, pl.col("position").cast(pl.Int64), pl.col("r").round(6), "tokens", "shown", "left_out", "retrieved", "prompt"),
    )


def summary(raw: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """The own table `agents`: how often a model says each word, and how often a written answer names one."""
    rows = []
    every = raw["decisions"].with_columns(window=pl.lit(ALL), asset=pl.lit(ALL), source=pl.lit(ALL))
    told = raw["written"].with_columns(window=pl.lit(ALL), asset=pl.lit(ALL), source=pl.lit(ALL))
    for decisions, written in ((every, told), (raw["decisions"], raw["written"])):
        for (model, window, asset, source), part in decisions.group_by("model", "window", "asset", "source", maintain_order=True):
            mine = written.filter(model=model, window=window, asset=asset, source=source)
            row = {"model": model, "period": window, "asset": asset, "source": source, "decisions": part.height}
            row |= {name: int((part["parsed"] == name).sum()) for name in ACTIONS}
            row |= {"failures": part["parsed"].null_count(), "different_prompts": part["prompt"].n_unique()}
            row |= {"tokens": float(part["tokens"].mean()), "written": mine.height, "written_named": mine["parsed"].count()}
            low, high = wilson(row["written_named"], mine.height) if mine.height else (None, None)
            agree = mine.filter(pl.col("parsed") == pl.col("likely")).height
            rows.append(row | {"named_low": low, "named_high": high, "written_agrees": agree})
    return pl.DataFrame(rows, infer_schema_length=None)


def by_checksum(prompts: Sequence[str]) -> list[Answer]:
    """An answer that any letter of the prompt changes: in place of a model, so that a difference in a prompt is one in a decision.

    It has a score for each action, so that what the agent takes off them, the mean of the days before, is part of the check.
    """
    sums = [zlib.crc32(prompt.encode()) for prompt in prompts]
    return [Answer(ACTIONS[one % 3], tuple(float(one >> shift & 255) for shift in (0, 8, 16))) for one in sums]


def by_letters(texts: Sequence[str]) -> np.ndarray:
    """A vector of each text alone."""
    return np.stack([np.random.default_rng(zlib.crc32(text.encode())).normal(size=8) for text in texts]) if texts else np.zeros((0, 8))


def words(text: str) -> int:
    """In place of tokens."""
    return len(text.split())


def leaks(daily: pl.DataFrame, found: Sequence[windows.Span], traded: pl.DataFrame, options: Options) -> list[dict]:
    """Rows of the table `leaks`: the first share of each of the agent's windows; prices after a day are changed, and the agent runs anew.

    Whatever differs up to that day is named: memories, what was retrieved, prompts, decisions and positions. The model is a checksum of
    its prompt.
    """
    rows = []
    seen = {(one["window"], one["asset"], one["source"]) for one in traded.iter_rows(named=True)}
    spans = {span.window: span for span in reversed(found) if (span.window, span.asset, span.source) in seen}
    for span in sorted(spans.values(), key=lambda span: span.window):
        prices = daily.filter((pl.col("asset") == span.asset) & (pl.col("source") == span.source)).sort("date")
        inside = prices["date"].filter(prices["date"].is_between(span.first, span.last))[:DAYS]
        run = Run(span.asset, span.asset, prices.filter(pl.col("date") <= inside[-1]), span.window, inside[0], inside[-1], 30)
        for agent, places in ((AGENT, (1, 2, 3)), (EARLY, (2,))):
            for part in places:
                day = inside[len(inside) * part // 4]
                for execution, names in changed(run, day, options, agent == EARLY).items():
                    row = {"period": span.window, "asset": span.asset, "agent": agent, "execution": execution, "date": str(day)}
                    rows.append(row | {"looks_ahead": agent == EARLY, "changed": len(names), "what": ", ".join(names)})
    return rows


def changed(run: Run, day: date, options: Options, early: bool = False) -> dict[str, list[str]]:
    """Execution -> what differs up to ``day`` when the prices after it do; ``early`` lets the agent read each price a day too soon."""
    prices = [run.prices, changed_future(run.prices, day)]
    both = [play([replace(run, prices=_early(table) if early else table)], by_letters, by_checksum, words, options) for table in prices]
    found = []
    for name in Played._fields:
        one, two = (getattr(played, name).drop("deleted", strict=False).filter(pl.col("date") <= day) for played in both)
        same = one.height == two.height
        found += [f"{name}.{column}" for column in one.columns if not (same and one[column].equals(two[column]))]
    names = {}
    for mode in trading.MODES:
        frames = [trading.run(table, played.decisions, mode).filter(pl.col("date") <= day) for table, played in zip(prices, both)]
        names[mode] = found + [name for name in ("position", "shares") if not frames[0][name].equals(frames[1][name])]
    return names


def _early(prices: pl.DataFrame) -> pl.DataFrame:
    numbers = [name for name, kind in prices.schema.items() if kind.is_numeric()]
    return prices.with_columns(pl.col(numbers).shift(-1).forward_fill())
