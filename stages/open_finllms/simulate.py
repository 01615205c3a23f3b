"""Every rule on every share, window and execution: decisions -> `Played`.

Rules see the whole history before a window, as an agent does, and decide from the first day of the window to the last but one, whose
decision the last price pays. A window of N prices thus has N decisions less one, and N - 1 returns.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import polars as pl

from stages.open_finllms import rules, trading
from stages.open_finllms.settings import Trading
from stages.open_finllms.windows import Span

HOLDING, FLAT, MOMENTUM, REVERSION = "buy and hold", "always flat", "momentum-3", "mean reversion"
ORACLE = rules.LOOK_AHEAD[0]
RANDOM = "random, turnover of momentum-3"
HALF = "momentum-3, every other day"  # holds on the days between: what hold means then decides half of the days
CONVENTIONS = (MOMENTUM, REVERSION, HALF)  # rules whose decisions are also run with hold as keep and as the agent's own book


@dataclass(frozen=True)
class Played:
    """The decisions of one method on one share in one window, executed."""

    span: Span
    agent: str
    seed: int  # of random decisions, else 0
    execution: str
    hold: str
    frame: pl.DataFrame  # of `trading.run`

    @property
    def convention(self) -> str:
        """The returns that the execution is measured in: ``log`` for FinMem's, ``simple`` for an account."""
        return "log" if self.execution == "finmem" else "simple"

    @property
    def returns(self) -> pl.Series:
        return self.frame[f"r_{self.convention}"][:-1]


def every_other_day(decisions: pl.DataFrame) -> pl.DataFrame:
    """The same decisions, with hold on every second day, the second one first."""
    held = pl.int_range(pl.len()) % 2 == 1
    changed = [pl.when(held).then(pl.lit("hold")).otherwise(name).alias(name) for name in ("action", "parsed")]
    return decisions.with_columns(*changed)


def decisions(prices: pl.DataFrame, span: Span, draws: int) -> dict[tuple[str, int], pl.DataFrame]:
    """(agent, seed) -> its decisions on the days of the window."""
    until = prices.filter(pl.col("date") <= span.last)
    inside = pl.col("date").is_between(span.first, span.last, closed="left")
    found = {(name, 0): rule(until).filter(inside) for name, rule in rules.RULES.items()}
    momentum = found[MOMENTUM, 0]
    found[HALF, 0] = every_other_day(momentum)
    return found | {(RANDOM, seed): rules.equal_turnover(momentum, seed) for seed in range(draws)}


def play(daily: pl.DataFrame, spans: Iterable[Span], p: Trading) -> Iterator[Played]:
    """Every share, method and execution. Hold means what the execution says; `CONVENTIONS` are run with its other meanings as well."""
    series = {key: part for key, part in daily.group_by("asset", "source")}
    for span in spans:
        prices = series[span.asset, span.source].sort("date")
        inside = prices.filter(pl.col("date").is_between(span.first, span.last))
        for (agent, seed), decided in decisions(prices, span, p.random).items():
            for name, how in p.executions.items():
                usual = "flat" if how.mode == "finmem" else "keep"
                for hold in trading.HOLDS if how.mode == "finmem" and agent in CONVENTIONS else (usual,):
                    meant = {"hold": hold} if how.mode == "finmem" else {"fee_bps": how.fee_bps, "short": how.short}
                    yield Played(span, agent, seed, name, hold, trading.run(inside, decided, how.mode, **meant))
