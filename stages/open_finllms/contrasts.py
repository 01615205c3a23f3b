"""Intervals of Sharpe ratios and of their differences, over shares: the numbers that the claims rest on.

Shares of one market move together, so a mean over shares is not as certain as its number of shares suggests. All shares of a window that
have the same days are therefore resampled together: one draw of blocks of days (`block_bootstrap`) for every share, method and execution,
the Sharpe ratio of each on those days, and then the mean over shares. Two methods are compared by the difference on the same draw. Shares
with other days (windows that end elsewhere) have draws of their own.

An agent's fall and rise are also taken together, as the mean of the two: buy and hold is bad in one and good in the other by construction,
and in the mean it is neither. That does not make it neutral: a fall begins at a high and a rise at a low, which favours whatever judges
days by those before the window.

A draw uses a day a number of times, and a Sharpe ratio needs the sum of the returns and of their squares alone. So all draws of all series
are two products of matrices: (draws, days) counts times (days, series).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from stages.open_finllms import block_bootstrap
from stages.open_finllms.settings import Trading
from stages.open_finllms.simulate import AGENT, HALF, HOLDING, MOMENTUM, ORACLE, RANDOM, REVERSION, SHUFFLED, TURNOVER, Played

Who = str | tuple[str, str]  # a method, or one with a language model and the model's name
Side = tuple[str, Who, str, str]  # window, agent, execution, hold
Place = tuple[str, str]  # asset, source
TOGETHER = ("bear", "bull")  # windows of an agent that are also taken together
SCHEMA = {
    **dict.fromkeys(("period", "agent", "model", "execution", "hold", "other", "other_model", "other_execution", "other_hold"), pl.String),
    **dict.fromkeys(("value", "low", "high"), pl.Float64),
    **dict.fromkeys(("n", "shares"), pl.Int64),
}


def counts(n: int, block: int | None, draws: int, seed: int) -> np.ndarray:
    """How often each draw of `block_bootstrap.resamples` has each day: (draws, n)."""
    days = block_bootstrap.resamples(n, block, draws, seed)
    flat = (days + np.arange(draws)[:, None] * n).ravel()
    return np.bincount(flat, minlength=draws * n).reshape(draws, n).astype(float)


def sharpes(weights: np.ndarray, returns: np.ndarray, periods: int, priced: bool) -> np.ndarray:
    """Sharpe ratios of weighted days: weights (draws, n), returns (n, series) -> (draws, series); NaN where the returns do not vary.

    Args:
        priced: whether the year is counted in prices, one more than returns, as FinMem's script does.
    """
    n = len(returns)
    total, squares = weights @ returns, weights @ returns**2
    variance = (squares - total**2 / n) / (n - 1)
    with np.errstate(invalid="ignore"):
        deviation = np.sqrt(np.where(variance > 1e-12 * squares / n, variance, np.nan))
    return total / (n + priced) / deviation * math.sqrt(periods)


class Drawn:
    """Sharpe ratios of everything that was played: as measured, and in every draw."""

    def __init__(self, played: Sequence[Played], p: Trading, seed: int) -> None:
        calendars: dict[tuple, list[Played]] = defaultdict(list)
        for one in played:
            calendars[one.span.window, one.span.first, one.span.last, len(one.dates)].append(one)
        self.values: dict[tuple[Side, Place, int], np.ndarray] = {}  # the first number is the measured one, the draws follow
        self.days: dict[str, set] = defaultdict(set)
        self.keys: dict[Side, dict[Place, list[int]]] = defaultdict(lambda: defaultdict(list))
        for place, group in enumerate(calendars.values()):
            n = len(group[0].dates) - 1
            self.days[group[0].span.window] |= set(group[0].dates[1:])
            weights = np.vstack([np.ones((1, n)), counts(n, p.block, p.draws, seed + place)])
            for convention in ("log", "simple"):
                part = [one for one in group if one.convention == convention]
                if part:
                    returns = np.column_stack([one.returns for one in part])
                    found = sharpes(weights, returns, p.periods, priced=convention == "log")
                    for one, values in zip(part, found.T, strict=True):
                        self._keep(one, values)

    def _keep(self, one: Played, values: np.ndarray) -> None:
        side, place = (one.span.window, one.who, one.execution, one.hold), (one.span.asset, one.span.source)
        self.keys[side][place].append(one.seed)
        self.values[side, place, one.seed] = values

    def of(self, side: Side, place: Place) -> np.ndarray | None:
        """One share's numbers, means over the seeds of random decisions."""
        seeds = self.keys[side][place] if place in self.keys.get(side, {}) else []
        return np.mean([self.values[side, place, seed] for seed in seeds], axis=0) if seeds else None

    def mean(self, side: Side, less: Side | None = None, windows: Sequence[str] | None = None, on: Who | None = None) -> dict | None:
        """The mean over shares, of one side or of its difference from another on the same draws, as a row of `contrasts`.

        Args:
            windows: several windows in place of the sides' own: the mean of their means. Their days are drawn apart.
            on: an agent on whose shares alone a rule is to be seen; the row has the name of its model.
        """
        parts, shares, days = [], 0, 0
        for window in windows or [side[0]]:
            one, two = (window, *side[1:]), None if less is None else (window, *less[1:])
            where = (two, None if on is None else (window, on, *side[2:]))
            places = [
                place for place in self.keys.get(one, {}) if all(which is None or place in self.keys.get(which, {}) for which in where)
            ]
            if not places:
                return None
            parts.append(np.mean([self.of(one, place) - (0 if two is None else self.of(two, place)) for place in places], axis=0))
            shares, days = shares + len(places), days + len(self.days[window])
        values = np.mean(parts, axis=0)
        if math.isnan(values[0]):
            return None
        _, who, execution, hold = side
        agent, model = named(who)
        model = model if on is None else named(on)[1]
        other, other_model = named(less[1] if less else None)
        low, high = interval(values[1:])
        row = {"period": " and ".join(windows or [side[0]]), "agent": agent, "model": model, "execution": execution, "hold": hold}
        row |= {"other": other, "other_model": other_model}
        row |= {"other_execution": less[2] if less else None, "other_hold": less[3] if less else None}
        return row | {"value": float(values[0]), "low": low, "high": high, "n": days, "shares": shares}

    def models(self) -> list[str]:
        """The language models of the agents, in order of their names."""
        return sorted({who[1] for _, who, _, _ in self.keys if isinstance(who, tuple)})


def named(who: Who | None) -> tuple[str | None, str | None]:
    """Agent and model."""
    return who if isinstance(who, tuple) else (who, None)


def interval(draws: np.ndarray) -> tuple[float | None, float | None]:
    """The middle 95 % of the draws; none where too many have no ratio, as in `block_bootstrap`."""
    if np.isnan(draws).mean() > block_bootstrap.UNDEFINED:
        return None, None
    low, high = np.nanquantile(draws, [0.025, 0.975])
    return float(low), float(high)


def pairs(windows: Sequence[str], executions: Mapping[str, str]) -> list[tuple[Side, Side | None]]:
    """What is compared; executions: name -> what hold means there.

    Every method by itself, less buy and hold, and momentum less random decisions, in every execution; fees and the ban on shorts against
    none; under FinMem's script the meanings of hold, and the same decisions as an account without fees.
    """
    found: list[tuple[Side, Side | None]] = []
    for window in windows:
        for name, hold in executions.items():
            found += [((window, agent, name, hold), None) for agent in (HOLDING, MOMENTUM, REVERSION, HALF, RANDOM, ORACLE)]
            found += [((window, agent, name, hold), (window, HOLDING, name, hold)) for agent in (MOMENTUM, REVERSION, HALF, RANDOM)]
            found.append(((window, MOMENTUM, name, hold), (window, RANDOM, name, hold)))
        for agent in (HOLDING, MOMENTUM, REVERSION, HALF):
            steps = (("fees", "free"), ("long-only", "fees"), ("free", "finmem"))
            found += [((window, agent, a, executions[a]), (window, agent, b, executions[b])) for a, b in steps if {a, b} <= set(executions)]
        if "finmem" in executions:
            meanings = [(window, agent, "finmem", hold) for agent in (MOMENTUM, REVERSION, HALF) for hold in ("keep", "book")]
            found += [(side, None) for side in meanings] + [(side, (*side[:3], "flat")) for side in meanings]
    return found


def agent_pairs(window: str, executions: Mapping[str, str], models: Sequence[str]) -> list[tuple[Side, Side | None]]:
    """What is compared of agents: with every baseline, with their own decisions on other days, and with every other model."""
    found: list[tuple[Side, Side | None]] = []
    for model in models:
        own = (AGENT, model)
        drawn = [(SHUFFLED, model), (TURNOVER, model)]
        others = [HOLDING, MOMENTUM, REVERSION, RANDOM, *drawn, *((AGENT, one) for one in models if one != model)]
        for name, hold in executions.items():
            side = (window, own, name, hold)
            found += [(side, None), *(((window, one, name, hold), None) for one in drawn)]
            found += [(side, (window, other, name, hold)) for other in others]
        steps = (("fees", "free"), ("long-only", "fees"), ("free", "finmem"))
        found += [((window, own, a, executions[a]), (window, own, b, executions[b])) for a, b in steps if {a, b} <= set(executions)]
        if "finmem" in executions:
            meanings = [(window, own, "finmem", hold) for hold in ("keep", "book")]
            found += [(side, None) for side in meanings] + [(side, (*side[:3], "flat")) for side in meanings]
    return found


def table(drawn: Drawn, p: Trading) -> pl.DataFrame:
    """The own table `contrasts`."""
    executions = {name: "flat" if how.mode == "finmem" else "keep" for name, how in p.executions.items()}
    rows = [drawn.mean(*both) for both in pairs(list(p.windows), executions)]
    models = drawn.models()
    for windows in (*([name] for name in p.windows), list(TOGETHER)):
        rows += [drawn.mean(*both, windows=windows) for both in agent_pairs(windows[0], executions, models)]
        for name, hold in executions.items():
            sides = [((windows[0], rule, name, hold), (AGENT, model)) for model in models for rule in (HOLDING, MOMENTUM)]
            rows += [drawn.mean(side, windows=windows, on=agent) for side, agent in sides]
    return pl.DataFrame([row for row in rows if row], schema=SCHEMA)
