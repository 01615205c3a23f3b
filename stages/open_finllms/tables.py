"""The own tables of the evaluation, from what was played."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import numpy as np
import polars as pl

from stages.open_finllms import contrasts, leak, printed, rules, windows
from stages.open_finllms.contrasts import Drawn
from stages.open_finllms.settings import Trading
from stages.open_finllms.simulate import AGENT, CONVENTIONS, HOLDING, Played

YEAR = 252  # a window of more prices is shown at some of its days only
WEALTH = ("finmem", "fees")  # executions whose wealth is shown day by day
RATIOS = ("CR", "SR", "NSR", "AV", "MDD")
COUNTED = ("trades", "turnover", "holds", "failures", "in_market")


def build(
    daily: pl.DataFrame, found: Sequence[windows.Span], played: Sequence[Played], drawn: Drawn, p: Trading
) -> dict[str, pl.DataFrame]:
    """All tables by name, but for those of the agent alone (`agent_tables`)."""
    return {
        "windows": windows.table(list(found), daily, p),
        "trading": trading(played, drawn),
        "contrasts": contrasts.table(drawn, p),
        "conventions": conventions(played),
        "equity": equity(played, p.equity_every),
        "trades": trades(played),
        "printed": printed.table(),
        "leaks": leaks(daily, found),
    }


def trading(played: Sequence[Played], drawn: Drawn) -> pl.DataFrame:
    """A row for each share, window, method and execution, hold as the execution means it; random decisions as means over their draws."""
    groups: dict[tuple, list[Played]] = {}
    for one in played:
        if one.hold == ("flat" if one.convention == "log" else "keep"):
            groups.setdefault((one.span, one.who, one.execution), []).append(one)
    rows = []
    for (span, who, execution), same in groups.items():
        first, place = same[0], (span.asset, span.source)
        agent, side = first.agent, (span.window, who, execution, first.hold)
        ratios = drawn.of(side, place)
        holding = drawn.of((span.window, HOLDING, execution, first.hold), place)
        low, high = contrasts.interval(ratios[1:])
        row = {"period": span.window, "asset": span.asset, "source": span.source, "agent": agent, "model": first.model}
        row |= {
            "execution": execution,
            "fee_bps": first.fee_bps,
            "hold": first.hold,
            "returns": first.convention,
            "seeds": len(same),
            "n": len(first.dates),
        }
        for convention in ("log", "simple"):
            row |= {f"{name.lower()}_{convention}": _mean(one.figures[convention][name] for one in same) for name in RATIOS}
        row |= {name: _mean(one.figures["counts"][name] for one in same) for name in COUNTED}
        row |= {"sr_low": low, "sr_high": high} | _lead(None if agent == HOLDING else ratios - holding)
        rows.append(row)
    return pl.DataFrame(rows, infer_schema_length=None)


def _lead(values: np.ndarray | None) -> dict[str, float | None]:
    if values is None or np.isnan(values[0]):
        return {"lead": None, "lead_low": None, "lead_high": None}
    low, high = contrasts.interval(values[1:])
    return {"lead": float(values[0]), "lead_low": low, "lead_high": high}


def _mean(values) -> float | None:
    known = list(values)
    return None if None in known else float(np.mean(known))


def conventions(played: Sequence[Played]) -> pl.DataFrame:
    """The same decisions under FinMem's script, with hold as flat, keep and book, each measured as log and as simple returns."""
    rows = []
    for one in played:
        if one.convention == "log" and one.agent in (*CONVENTIONS, HOLDING, AGENT) and one.seed == 0:
            place = {"period": one.span.window, "asset": one.span.asset, "source": one.span.source}
            place |= {"agent": one.agent, "model": one.model, "hold": one.hold}
            counted = {"in_market": one.figures["counts"]["in_market"], "holds": one.figures["counts"]["holds"]}
            for convention in ("log", "simple"):
                measured = {name.lower(): one.figures[convention][name] for name in RATIOS}
                rows.append(place | {"returns": convention} | measured | counted)
    return pl.DataFrame(rows, infer_schema_length=None)


def shown(played: Sequence[Played]) -> list[Played]:
    """Runs whose days are shown."""
    return [one for one in played if one.frame is not None and one.execution in WEALTH]


def equity(played: Sequence[Played], every: int) -> pl.DataFrame:
    """Wealth of 1 at the first close, and how far it is below its highest so far."""
    parts = []
    for one in shown(played):
        wealth = np.concatenate([[1.0], np.cumprod(1 + one.frame["r_simple"][:-1].to_numpy())])
        frame = pl.DataFrame({"date": one.frame["date"], "value": wealth, "drawdown": 1 - wealth / np.maximum.accumulate(wealth)})
        if frame.height > YEAR:
            frame = frame.filter((pl.int_range(pl.len()) % every == 0) | (pl.int_range(pl.len()) == pl.len() - 1))
        parts.append(frame.select(*_key(one), pl.col("date").cast(pl.String), pl.col("value", "drawdown").round(6)))
    return pl.concat(parts)


def trades(played: Sequence[Played]) -> pl.DataFrame:
    """Every change of position in the account with fees, in windows of up to a year."""
    parts = []
    for one in shown(played):
        if one.execution == "fees" and one.frame.height <= YEAR:
            decided = pl.col("position").shift(1)  # the decision of a day is filled on the next one
            frame = one.frame.with_columns(wanted=decided, before=pl.col("position").shift(2).fill_null(0), said=pl.col("parsed").shift(1))
            frame = frame.filter(pl.col("traded") > 0).select(
                *_key(one),
                pl.col("date").cast(pl.String),
                action=pl.col("said"),
                fill="fill",
                price=pl.when(pl.col("fill") == "open").then("open").otherwise("price"),
                before=pl.col("before").cast(pl.Int64),
                after=pl.col("wanted").cast(pl.Int64),
                traded="traded",
                fee="fee",
                wealth="wealth",
            )
            parts.append(frame)
    return pl.concat(parts)


def _key(one: Played) -> list[pl.Expr]:
    names = {"period": one.span.window, "asset": one.span.asset, "source": one.span.source, "agent": one.agent}
    names |= {"model": one.model, "execution": one.execution}
    return [pl.lit(value, dtype=pl.String).alias(name) for name, value in names.items()]


def leaks(daily: pl.DataFrame, found: Sequence[windows.Span]) -> pl.DataFrame:
    """Every rule on the first share of each window: the prices after a day are changed, and what differs up to that day is named."""
    firsts = {span.window: span for span in reversed(found)}
    rows = []
    for span in sorted(firsts.values(), key=lambda span: span.window):
        mine = (pl.col("asset") == span.asset) & (pl.col("source") == span.source)
        prices = daily.filter(
            mine & pl.col("date").is_between(span.first - timedelta(days=30), min(span.last, span.first + timedelta(days=180)))
        )
        days = prices["date"].sort()
        for part in (1, 2, 3):
            day = days[len(days) * part // 4]
            for agent, rule in rules.RULES.items():
                for mode in ("finmem", "realistic"):
                    names = leak.leaks(prices, rule, day, mode=mode)
                    row = {"period": span.window, "asset": span.asset, "agent": agent, "execution": mode, "date": str(day)}
                    rows.append(row | {"looks_ahead": agent in rules.LOOK_AHEAD, "changed": len(names), "what": ", ".join(names)})
    return pl.DataFrame(rows)
