"""Decisions -> positions -> daily returns, in two kinds of execution. No decision of day t can earn what the price did up to t.

``finmem`` is the metric script of FinMem: the position is the direction of the day's decision, for one day, so that hold is *flat*;
shorting is free, nothing costs, and the return is ``a_t ln(P[t+1] / P[t])``: the decision is filled at the close that it was made with.
The agent itself keeps another book, which adds one share a decision (``shares``) and takes no part in the returns. What hold means decides
the result, so two more meanings are here: ``hold="keep"`` keeps the position, ``hold="book"`` takes the sign of the agent's book.

``realistic`` is an account: hold keeps the position, a decision is filled at the next open (the next close where there is no open), and
each trade costs ``fee_bps`` of its notional. At a change of direction the whole wealth is invested; the shares are then left alone. Without
shorting, sell means cash. The return is the change of wealth. A short whose loss exceeds the wealth ends the account at -100 %.

A frame of results has one row a price day, from the first decision to the day after the last one:

    date, price (adjusted close), action (raw text), parsed, status,
    position   -1, 0 or 1: the direction after this row's decision
    r          return from this row's close to the next one's, as the execution defines it; null in the last row
    r_log, r_simple   the same as log and as simple return
    shares, cash, wealth, fee, traded, fill   the account at this row's close; traded is notional over wealth, reversing counts twice
"""

from __future__ import annotations

import math

import numpy as np
import polars as pl

from catalog.base.errors import CatalogError
from stages.open_finllms.actions import DIRECTION

MODES = ("finmem", "realistic")
HOLDS = ("flat", "keep", "book")
FAILED = ("empty", "unparsed", "several")  # statuses of answers without an action, where `parsed` is null


def series(prices: pl.DataFrame) -> pl.DataFrame:
    """The days of one share in order: date, price, open, both adjusted alike. A day without a price is no trading day.

    Args:
        prices: date, adj_close (or close alone), and open and close where they are known.

    Raises:
        CatalogError: several shares, a day twice, a price that is not positive, fewer than two days.
    """
    for column in ("asset", "source"):
        if column in prices.columns and prices[column].n_unique() > 1:
            raise CatalogError(f"The prices are of several values of {column}; give those of one.")
    price = "adj_close" if "adj_close" in prices.columns else "close"
    known = {"open", "close"} <= set(prices.columns)
    opened = pl.col("open") * pl.col(price) / pl.col("close") if known else pl.lit(None, dtype=pl.Float64)
    days = prices.select("date", price=pl.col(price).cast(pl.Float64).fill_nan(None), open=opened.cast(pl.Float64).fill_nan(None))
    days = days.drop_nulls("price").sort("date")
    if (twice := days.filter(pl.col("date").is_duplicated())).height:
        raise CatalogError(f"The prices have {twice['date'][0]} twice; keep one row a day.")
    if (bad := days.filter((pl.col("price") <= 0) | pl.col("price").is_infinite() | (pl.col("open") <= 0))).height:
        raise CatalogError(f"The price of {bad['date'][0]} is not positive; correct or remove the row.")
    if days.height < 2:
        raise CatalogError("A return needs the prices of two days; give more rows.")
    return days


def run(
    prices: pl.DataFrame,
    decisions: pl.DataFrame,
    mode: str = "finmem",
    *,
    hold: str = "flat",
    fee_bps: float = 0.0,
    short: bool = True,
    fill: str = "open",
    unparsed: str = "flat",
    missing: str = "error",
) -> pl.DataFrame:
    """The positions and returns of decisions, as the module's docstring describes them.

    Args:
        prices: as `series`.
        decisions: date, parsed (buy, hold, sell or null), and action and status where there are any; in any order.
        hold: what hold means under ``finmem`` (`HOLDS`). fee_bps, short and fill (``open`` or ``close``) concern ``realistic`` alone.
        unparsed: what an answer without an action does: ``flat``, or ``keep`` the position.
        missing: ``error``, or ``hold`` on trading days between two decisions that have none.

    Raises:
        CatalogError: as `series`, and decisions that do not fit the days.
    """
    for name, value, allowed in (
        ("mode", mode, MODES),
        ("hold", hold, HOLDS),
        ("fill", fill, ("open", "close")),
        ("unparsed", unparsed, ("flat", "keep")),
        ("missing", missing, ("error", "hold")),
    ):
        if value not in allowed:
            raise CatalogError(f"{name} is {value!r}; use {' or '.join(allowed)}.")
    if not (math.isfinite(fee_bps) and 0 <= fee_bps < 10_000):
        raise CatalogError(f"The fee is {fee_bps} basis points; give a number from 0 to below 10000.")
    days = window(series(prices), decisions, missing)
    if mode == "finmem":
        positions = _positions(days, hold, unparsed, short=True)
        return _finmem(days, positions)
    return _account(days, _positions(days, "keep", unparsed, short), fee_bps / 10_000, fill)


def window(days: pl.DataFrame, decisions: pl.DataFrame, missing: str = "error") -> pl.DataFrame:
    """Price days from the first decision to the day after the last one, with the decisions: date, price, open, action, parsed, status."""
    if not decisions.height:
        raise CatalogError("There is no decision; give at least one.")
    if (twice := decisions.filter(pl.col("date").is_duplicated())).height:
        raise CatalogError(
            f"{twice['date'].min()} has {twice.filter(pl.col('date') == twice['date'].min()).height} decisions; give one a day."
        )
    strange = decisions.join(days, on="date", how="anti").sort("date")
    if strange.height:
        span = f"{days['date'][0]} to {days['date'][-1]}"
        raise CatalogError(
            f"{strange.height} of {decisions.height} decisions are on days without a price, the first on {strange['date'][0]:%A %Y-%m-%d} "
            f"(prices: {span}); decide on trading days alone."
        )
    if unknown := set(decisions["parsed"].drop_nulls()) - set(DIRECTION):
        raise CatalogError(f"{min(unknown)!r} is no action; use buy, hold, sell or null.")
    first, last = decisions["date"].min(), decisions["date"].max()
    after = days.filter(pl.col("date") > last)["date"].head(1)
    end = after[0] if len(after) else last
    have = decisions.select(
        "date",
        pl.col("action") if "action" in decisions.columns else pl.col("parsed").alias("action"),
        "parsed",
        pl.col("status")
        if "status" in decisions.columns
        else pl.when(pl.col("parsed").is_null()).then(pl.lit("unparsed")).otherwise(pl.lit("ok")).alias("status"),
    )
    rows = days.filter(pl.col("date").is_between(first, end)).join(have, on="date", how="left", maintain_order="left")
    if rows.height < 2:
        raise CatalogError(f"There is no price after {last}, so that nothing can be earned; give prices of one more day.")
    inside = pl.col("status").is_null() & (pl.col("date") <= last)
    gaps = rows.filter(inside)["date"]
    if len(gaps) and missing == "error":
        raise CatalogError(
            f"{len(gaps)} trading days from {first} to {last} have no decision, the first is {gaps[0]}; decide on each, or let them hold."
        )
    return rows.with_columns(
        parsed=pl.when(inside).then(pl.lit("hold")).otherwise("parsed"),
        status=pl.when(inside).then(pl.lit("missing")).otherwise(pl.col("status").fill_null("end")),
    )


def _positions(days: pl.DataFrame, hold: str, unparsed: str, short: bool) -> list[int | None]:
    """The direction after each decision; null on the day after the last one."""
    position, book, found = 0, 0, []
    for action, status in zip(days["parsed"], days["status"]):
        if status == "end":
            found.append(None)
            continue
        book += DIRECTION.get(action, 0)
        if action is None:
            position = position if unparsed == "keep" else 0
        elif hold == "book":
            position = int(np.sign(book))
        elif action != "hold":
            position = DIRECTION[action] if short or action == "buy" else 0
        elif hold == "flat":
            position = 0
        found.append(position)
    return found


def _finmem(days: pl.DataFrame, positions: list[int | None]) -> pl.DataFrame:
    price = days["price"].to_numpy()
    held = np.array([position or 0 for position in positions])
    change = price[1:] / price[:-1]
    log, simple = held[:-1] * np.log(change), held[:-1] * (change - 1)
    traded = np.abs(np.diff(held, prepend=0))
    if positions[-1] is None:
        traded[-1] = 0  # the script ends with the last return; nothing is closed
    return days.select("date", "price", "action", "parsed", "status").with_columns(
        pl.Series("position", positions, dtype=pl.Int8),
        pl.Series("r", [*log, None], dtype=pl.Float64),
        pl.Series("r_log", [*log, None], dtype=pl.Float64),
        pl.Series("r_simple", [*simple, None], dtype=pl.Float64),
        pl.Series("shares", np.cumsum([DIRECTION.get(action, 0) for action in days["parsed"]]), dtype=pl.Float64),
        pl.lit(None, dtype=pl.Float64).alias("cash"),
        pl.lit(None, dtype=pl.Float64).alias("wealth"),
        pl.lit(0.0).alias("fee"),
        pl.Series("traded", traded, dtype=pl.Float64),
        pl.Series("fill", ["close" if many else None for many in traded], dtype=pl.String),
    )


def _account(days: pl.DataFrame, positions: list[int | None], fee: float, fill: str) -> pl.DataFrame:
    """A wealth of 1 in cash and shares. Trading to direction d at price p costs fee * |change of shares| * p, paid from the wealth W:

    the new exposure is y = d (W - cost), hence y = d (W + fee d x) / (1 + fee) with x the exposure before.
    """
    cash, shares, held, ruined = 1.0, 0.0, 0, False
    rows = []
    for place, (price, opened) in enumerate(zip(days["price"], days["open"])):
        wanted = positions[place - 1] if place else 0  # decided at the close before
        cost, traded, filled = 0.0, 0.0, None
        if not ruined and wanted != held:
            at, filled = (opened, "open") if fill == "open" and opened is not None else (price, "close")
            before, exposure = cash + shares * at, shares * at
            if before > 0:
                target = wanted * (before + fee * wanted * exposure) / (1 + fee)
                cost, traded = fee * abs(target - exposure), abs(target - exposure) / before
                cash, shares, held = before - cost - target, target / at, wanted
            else:
                cash = shares = 0.0
        wealth = cash + shares * price
        if wealth <= 0:
            cash, shares, wealth, filled, ruined = 0.0, 0.0, 0.0, None if ruined else "ruined", True
        rows.append((shares, cash, wealth, cost, traded, filled))
    account = pl.DataFrame(
        rows,
        schema={"shares": pl.Float64, "cash": pl.Float64, "wealth": pl.Float64, "fee": pl.Float64, "traded": pl.Float64, "fill": pl.String},
        orient="row",
    )
    wealth = account["wealth"].to_numpy()
    with np.errstate(divide="ignore", invalid="ignore"):
        simple = np.where(wealth[:-1] > 0, wealth[1:] / wealth[:-1] - 1, 0.0)
    log = [math.log1p(r) if r > -1 else None for r in simple]
    return days.select("date", "price", "action", "parsed", "status").with_columns(
        pl.Series("position", positions, dtype=pl.Int8),
        pl.Series("r", [*simple, None], dtype=pl.Float64),
        pl.Series("r_log", [*log, None], dtype=pl.Float64),
        pl.Series("r_simple", [*simple, None], dtype=pl.Float64),
        *account.get_columns(),
    )
