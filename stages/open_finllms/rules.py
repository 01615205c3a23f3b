"""Trading rules that every agent is held against, as decisions of the same form: date, action, parsed, status.

A rule sees the prices up to and including the day it decides on, as an agent does; the oracle alone sees the next day and is an upper end,
no method. Rules say hold where they have no opinion, which is flat under ``finmem`` and keeps the position under ``realistic``.

* buy and hold: buy every day. always flat: hold every day, so nothing is ever held.
* momentum-3: the sign of P[t] - P[t-3]; hold on the first three days.
* mean reversion: the sign of the mean of the last five prices less P[t]; hold on the first four days.
* random with equal turnover: the runs of equal decisions of another method in their order, with other lengths, and on the toss of a coin
  with buy and sell exchanged. It trades as often and as much as that method, on other days: what is left is the timing.
* shuffled: the decisions of another method in a random order. It says buy, hold and sell as often, and only its choice of days is lost.
* oracle: the sign of P[t+1] - P[t].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date

import numpy as np
import polars as pl

from catalog.base.errors import CatalogError
from stages.open_finllms.actions import SCHEMA
from stages.open_finllms.trading import series

SIGNS = {1: "buy", 0: "hold", -1: "sell"}
EXCHANGED = {"buy": "sell", "sell": "buy"}


def buy_and_hold(prices: pl.DataFrame) -> pl.DataFrame:
    days = series(prices)
    return _decisions(days["date"], np.ones(days.height))


def always_flat(prices: pl.DataFrame) -> pl.DataFrame:
    days = series(prices)
    return _decisions(days["date"], np.zeros(days.height))


def momentum(prices: pl.DataFrame, back: int = 3) -> pl.DataFrame:
    days = series(prices)
    price = days["price"]
    return _decisions(days["date"], (price - price.shift(back)).fill_null(0))


def mean_reversion(prices: pl.DataFrame, back: int = 5) -> pl.DataFrame:
    days = series(prices)
    # Each mean from its own five prices alone: a running sum would carry rounding along.
    windows = [days["price"][max(0, place - back + 1) : place + 1] for place in range(days.height)]
    return _decisions(days["date"], [w.mean() - w[-1] if len(w) == back else 0.0 for w in windows])


def oracle(prices: pl.DataFrame) -> pl.DataFrame:
    """Looks one day ahead: an upper end under ``finmem``. On the last day, which has no next one, it holds."""
    days = series(prices)
    price = days["price"]
    return _decisions(days["date"], (price.shift(-1) - price).fill_null(0))


RULES: dict[str, Callable[[pl.DataFrame], pl.DataFrame]] = {
    "buy and hold": buy_and_hold,
    "always flat": always_flat,
    "momentum-3": momentum,
    "mean reversion": mean_reversion,
    "oracle (sees the next day)": oracle,
}
LOOK_AHEAD = ("oracle (sees the next day)",)


def equal_turnover(decisions: pl.DataFrame, seed: int, exchange: bool = True) -> pl.DataFrame:
    """Random decisions that change as often and as much as the given ones.

    Args:
        decisions: one a trading day, in order.
        exchange: whether the seed may exchange buy and sell; not without shorting, where the two do not mirror each other.
    """
    if not decisions.height:
        raise CatalogError("There is no decision to imitate; give at least one.")
    rng = np.random.default_rng(seed)
    parsed = decisions["parsed"].to_list()
    runs = [action for place, action in enumerate(parsed) if not place or action != parsed[place - 1]]
    cuts = np.sort(rng.choice(np.arange(1, len(parsed)), len(runs) - 1, replace=False)) if len(runs) > 1 else []
    if exchange and rng.random() < 0.5:
        runs = [EXCHANGED.get(action, action) for action in runs]
    lengths = np.diff([0, *cuts, len(parsed)])
    drawn = [action for action, length in zip(runs, lengths) for _ in range(length)]
    rows = [(day, action, action, "unparsed" if action is None else "ok") for day, action in zip(decisions["date"], drawn)]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def shuffled(decisions: pl.DataFrame, seed: int) -> pl.DataFrame:
    """The same decisions on other days: as many of each action, in a random order."""
    order = np.random.default_rng(seed).permutation(decisions.height)
    return decisions.select("date", *(pl.Series(name, decisions[name].gather(order)) for name in ("action", "parsed", "status")))


def _decisions(days: Sequence[date], opinions: Sequence[float]) -> pl.DataFrame:
    names = [SIGNS[int(sign)] for sign in np.sign(np.asarray(opinions, dtype=float))]
    return pl.DataFrame([(day, name, name, "ok") for day, name in zip(days, names)], schema=SCHEMA, orient="row")
