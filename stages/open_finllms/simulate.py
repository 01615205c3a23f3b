"""Every rule and every agent on every share, window and execution: decisions -> `Played`.

Rules see the days before a window, as an agent does, and decide from the first day of the window to the last but one, whose
decision the last price pays. A window of N prices thus has N decisions less one, and N - 1 returns.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import polars as pl

from stages.open_finllms import rules, trading
from stages.open_finllms.settings import Execution, Trading
from stages.open_finllms.trading_metrics import metrics
from stages.open_finllms.windows import Span

HOLDING, FLAT, MOMENTUM, REVERSION = "buy and hold", "always flat", "momentum-3", "mean reversion"
ORACLE = rules.LOOK_AHEAD[0]
RANDOM = "random, equal turnover"  # with that of momentum-3
HALF = "momentum-3, odd days"  # acts on the first day, the third and so on: what hold means decides the days between
CONVENTIONS = (MOMENTUM, REVERSION, HALF)  # rules whose decisions are also run with hold as keep and as the agent's own book
AGENT = "FinMem agent"  # with a language model, which is named beside it
SHUFFLED = "agent, days shuffled"  # its own decisions in a random order
TURNOVER = "random, own turnover"
SHOWN = (AGENT, HOLDING, MOMENTUM, REVERSION)  # methods whose days are kept, where the share has opens
Place = tuple[str, str, str]  # window, asset, source
Decided = tuple[str, int, pl.DataFrame]  # model, seed, decisions


HISTORY = timedelta(days=30)  # of prices before a window; no rule looks back further than a week


@dataclass(frozen=True)
class Played:
    """The decisions of one method on one share in one window, executed."""

    span: Span
    agent: str
    seed: int  # of random decisions, else 0
    execution: str
    fee_bps: float
    hold: str
    convention: str  # the returns that the execution is measured in: ``log`` for FinMem's script, ``simple`` for an account
    dates: pl.Series  # of the prices, one more than returns
    returns: np.ndarray
    figures: dict[str, dict[str, float | int | None]]  # of `trading_metrics.metrics`
    frame: pl.DataFrame | None  # of `trading.run`, with the open, for what is shown day by day (`SHOWN`)
    model: str | None = None  # language model of an agent, and of what is drawn from its decisions

    @property
    def who(self) -> str | tuple[str, str]:
        """What tells methods apart: the agent, with its model where it has one."""
        return self.agent if self.model is None else (self.agent, self.model)


def every_other_day(decisions: pl.DataFrame) -> pl.DataFrame:
    """The same decisions, with hold on every second day, the second one first."""
    held = pl.int_range(pl.len()) % 2 == 1
    changed = [pl.when(held).then(pl.lit("hold")).otherwise(name).alias(name) for name in ("action", "parsed")]
    return decisions.with_columns(*changed)


def decisions(prices: pl.DataFrame, span: Span) -> dict[tuple[str, int], pl.DataFrame]:
    """(agent, 0) -> what each rule decides on the days of the window."""
    known = prices.filter(pl.col("date").is_between(span.first - HISTORY, span.last))
    inside = pl.col("date").is_between(span.first, span.last, closed="left")
    found = {(name, 0): rule(known).filter(inside) for name, rule in rules.RULES.items()}
    return found | {(HALF, 0): every_other_day(found[MOMENTUM, 0])}


def play(
    daily: pl.DataFrame, spans: Iterable[Span], p: Trading, agents: Mapping[Place, Sequence[Decided]] | None = None
) -> Iterator[Played]:
    """Every share, method and execution. Hold means what the execution says; `CONVENTIONS` are run with its other meanings as well.

    Args:
        agents: what language models decided, by window and share; what is drawn from each run's decisions is added to it.
    """
    series = dict(iter(daily.group_by("asset", "source")))
    for span in spans:
        prices = series[span.asset, span.source].sort("date")
        inside = prices.filter(pl.col("date").is_between(span.first, span.last))
        ruled = {(None, *key): decided for key, decided in decisions(prices, span).items()}
        # Without shorts a sell is no mirror of a buy, so the two are not exchanged.
        drawn = {
            short: {(None, RANDOM, seed): rules.equal_turnover(ruled[None, MOMENTUM, 0], seed, exchange=short) for seed in range(p.random)}
            for short in {how.short for how in p.executions.values()}
        }
        answered = (agents or {}).get((span.window, span.asset, span.source), [])
        for name, how in p.executions.items():
            every = ruled | drawn[how.short] | beside(answered, how.short, p.random)
            for (model, agent, seed), decided in every.items():
                for hold in trading.HOLDS if how.mode == "finmem" and agent in (*CONVENTIONS, AGENT) else (usual(how),):
                    yield execute(span, inside, agent, seed, decided, name, how, hold, p.periods, model)


def beside(answered: Sequence[Decided], short: bool, draws: int) -> dict[tuple[str, str, int], pl.DataFrame]:
    """(model, agent, seed) -> decisions: those of each run, and so many draws of its days shuffled and of its turnover."""
    found = {}
    for model, seed, decided in answered:
        found[model, AGENT, seed] = decided
        for draw in range(draws):
            place = seed * draws + draw
            found[model, SHUFFLED, place] = rules.shuffled(decided, place)
            found[model, TURNOVER, place] = rules.equal_turnover(decided, place, exchange=short)
    return found


def usual(how: Execution) -> str:
    """What hold means in an execution: FinMem's script is flat on it, an account keeps its position."""
    return "flat" if how.mode == "finmem" else "keep"


def execute(
    span: Span,
    prices: pl.DataFrame,
    agent: str,
    seed: int,
    decided: pl.DataFrame,
    name: str,
    how: Execution,
    hold: str,
    periods: int,
    model: str | None = None,
) -> Played:
    """Run one method's decisions on the prices of a window."""
    finmem = how.mode == "finmem"
    meant = {"hold": hold} if finmem else {"fee_bps": how.fee_bps, "short": how.short}
    frame = trading.run(prices, decided, how.mode, **meant)
    convention = "log" if finmem else "simple"
    shown = agent in SHOWN and seed == 0 and hold == usual(how) and prices["open"].null_count() == 0
    return Played(
        span=span,
        agent=agent,
        seed=seed,
        execution=name,
        fee_bps=how.fee_bps,
        hold=hold,
        convention=convention,
        dates=frame["date"],
        returns=frame[f"r_{convention}"][:-1].to_numpy(),
        figures=metrics(frame, periods),
        frame=frame.join(trading.series(prices).select("date", "open"), on="date", how="left", maintain_order="left") if shown else None,
        model=model,
    )
