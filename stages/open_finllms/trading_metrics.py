"""What a series of daily returns is worth, in two conventions that share their names and not their values.

``log`` is FinMem's metric script (figures of the paper): the cumulative return is the *sum* of log returns, the year is counted in prices
(N prices have N - 1 returns), and the drawdown compounds log returns as if they were simple. ``simple`` is the usual one: compounded simple
returns, Sharpe ratio = mean / deviation * sqrt(periods). `DEFINITIONS` puts both beside empyrical-reloaded and quantstats.

    log      CR = sum(r)           AV = sd(r) sqrt(p)   SR = (CR / (N / p) - rf) / AV            MDD on prod(1 + r)
    simple   CR = prod(1 + r) - 1  AV = sd(r) sqrt(p)   SR = (mean(r) - rf / p) / sd(r) sqrt(p)  MDD on prod(1 + r)

sd has n - 1 in the denominator, p is the number of returns a year (252 for shares, 365 for what trades every day, 52 for weeks), rf the
risk-free rate a year. A drawdown is a positive number and starts at the wealth *before* the first return. A figure that the returns do not
define (a deviation of one return, a ratio to a deviation of 0) is None.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import polars as pl

from catalog.base.errors import CatalogError
from stages.open_finllms.trading import FAILED

PERIODS = {"shares": 252, "crypto": 365}
# What each convention computes, and what two libraries (empyrical-reloaded 0.7.1, quantstats 0.0.86) do under the same name. The tests hold
# `simple_metrics` against the values that both gave for one series, and against empyrical itself where it is installed.
DEFINITIONS = {
    "cumulative return": {"log": "sum of log returns", "simple": "prod(1 + r) - 1", "empyrical": "as simple", "quantstats": "as simple"},
    "annual return": {
        "log": "CR / (N / p), N prices (inside the Sharpe ratio alone)",
        "simple": "(1 + CR)^(p / n) - 1, n returns",
        "empyrical": "as simple",
        "quantstats": "as simple; older versions took the years from the calendar",
    },
    "annual volatility": {"log": "sd sqrt(p) of log returns", "simple": "sd sqrt(p)", "empyrical": "as simple", "quantstats": "as simple"},
    "Sharpe ratio": {
        "log": "(CR / (N / p) - rf) / AV",
        "simple": "(mean - rf / p) / sd sqrt(p)",
        "empyrical": "as simple, where its risk-free rate is rf / p: it takes that of one period",
        "quantstats": "as simple at rf = 0; otherwise the rate of one period is (1 + rf)^(1 / p) - 1",
    },
    "maximal drawdown": {
        "log": "positive; log returns compounded as if simple",
        "simple": "positive; begins before the first return",
        "empyrical": "as simple, but negative",
        "quantstats": "as simple, but negative; older versions began after the first return",
    },
    "Sortino ratio": {
        "log": "none",
        "simple": "(mean - rf / p) / sqrt(mean of min(r - rf / p, 0)^2) sqrt(p)",
        "empyrical": "as simple",
        "quantstats": "as simple",
    },
    "Calmar ratio": {"log": "none", "simple": "annual return / maximal drawdown", "empyrical": "as simple", "quantstats": "as simple"},
}


def returns(prices: Sequence[float | None], log: bool = False) -> np.ndarray:
    """The returns from each known price to the next known one: a day without a price is left out and never a return of 0.

    A row of no volume that repeats the price before is no trading day either: the reader of price files leaves it out and says so.
    """
    known = np.array([price for price in prices if price is not None and not math.isnan(price)], dtype=float)
    if (known <= 0).any():
        raise CatalogError("A price is not positive; correct or remove it.")
    return np.diff(np.log(known)) if log else known[1:] / known[:-1] - 1


def drawdown(returns: Sequence[float]) -> float:
    """The largest loss from a high to a later low, in [0, 1] or above where a short loses more than all; 0 without returns."""
    wealth = np.cumprod(np.concatenate([[1.0], 1 + np.asarray(returns, dtype=float)]))
    return float(np.max(1 - wealth / np.maximum.accumulate(wealth)))


def log_metrics(returns: Sequence[float], periods: int = 252, rf: float = 0.0) -> dict[str, float | None]:
    """CR, SR, AV and MDD of log returns in the convention of FinMem, and its normalised Sharpe ratio."""
    r = np.asarray(returns, dtype=float)
    total, deviation = float(r.sum()), _deviation(r)
    volatility = None if deviation is None else deviation * math.sqrt(periods)
    sharpe = (total / ((len(r) + 1) / periods) - rf) / volatility if volatility else None
    return {"CR": total, "SR": sharpe, "NSR": normalised_sharpe(sharpe), "AV": volatility, "MDD": drawdown(r)}


def simple_metrics(returns: Sequence[float], periods: int = 252, rf: float = 0.0) -> dict[str, float | None]:
    """CR, annual return (AR), SR, AV, MDD, Sortino and Calmar ratio of simple returns in the usual convention."""
    r = np.asarray(returns, dtype=float)
    total, deviation, loss = float(np.prod(1 + r)) - 1, _deviation(r), drawdown(r)
    excess = r - rf / periods
    below = math.sqrt(np.mean(np.minimum(excess, 0) ** 2)) if len(r) else 0.0
    annual = _annual(total, periods / len(r)) if len(r) and total >= -1 else None
    sharpe = float(excess.mean()) / deviation * math.sqrt(periods) if deviation else None
    return {
        "CR": total,
        "AR": annual,
        "SR": sharpe,
        "NSR": normalised_sharpe(sharpe),
        "AV": None if deviation is None else deviation * math.sqrt(periods),
        "MDD": loss,
        "Sortino": float(excess.mean()) / below * math.sqrt(periods) if below else None,
        "Calmar": annual / loss if loss and annual is not None else None,
    }


def _annual(total: float, times: float) -> float | None:
    """A return compounded; None where it is too large for a number, as that of a day of great gains may be."""
    try:
        return (1 + total) ** times - 1
    except OverflowError:
        return None


def normalised_sharpe(sharpe: float | None) -> float | None:
    """The paper's Sharpe ratio on a scale of 0 (-3) to 100 (3)."""
    return None if sharpe is None else 100 * (sharpe + 3) / 6


def metrics(frame: pl.DataFrame, periods: int = 252, rf: float = 0.0) -> dict[str, dict[str, float | int | None]]:
    """All figures of `stages.open_finllms.trading.run`'s frame: ``log``, ``simple`` and ``counts``.

    Counts: N prices, returns, days in the market, trades (changes of position that were filled), turnover (their notional over wealth; a
    reversal counts twice), fees (of a start wealth of 1), holds by choice, failures (answers without an action), other (sold on an answer
    that was no "sell", mode ``paper``), missing (days that held for want of a decision). An account that lost everything has no log
    figures: they are None.
    """
    r_log, r_simple = frame["r_log"][:-1], frame["r_simple"][:-1]
    log = dict.fromkeys(("CR", "SR", "NSR", "AV", "MDD")) if r_log.null_count() else log_metrics(r_log, periods, rf)
    status, parsed = frame["status"], frame["parsed"]
    counts = {
        "N": frame.height,
        "returns": len(r_simple),
        "in_market": int((frame["position"][:-1] != 0).sum()),
        "trades": int((frame["traded"] > 0).sum()),
        "turnover": float(frame["traded"].sum()),
        "fees": float(frame["fee"].sum()),
        "holds": int(((parsed == "hold") & (status == "ok")).sum()),
        "failures": int(status.is_in(FAILED).sum()),
        "other": int((status == "other").sum()),
        "missing": int((status == "missing").sum()),
    }
    return {"log": log, "simple": simple_metrics(r_simple, periods, rf), "counts": counts}


def _deviation(r: np.ndarray) -> float | None:
    """The sample deviation; exactly 0 where all returns are equal but for rounding, None for fewer than two."""
    if len(r) < 2:
        return None
    return 0.0 if np.ptp(r) <= 1e-12 else float(r.std(ddof=1))
