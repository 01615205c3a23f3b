"""The checks of a series of prices, one after another in this order; `csv_prices.clean` calls them.

Each takes and gives back rows, and appends what it does to `notes`: (date or None, kind, what). What cannot be right is refused.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from catalog.base.errors import CatalogError
from stages.open_finllms.csv_table import LINE

JUMP = 0.4  # share of a price; a larger move in a day, in the only price column, is taken for a split
LARGE = 0.25  # a move noted for the reader
SPLIT = 1.2  # times that close / adj_close changes in a day; below it a dividend, from it on a split (3 for 2 is 1.5)
OUTSIDE = 0.001  # share of a price by which open and close may leave the range from low to high: rounding
WEEK = 5  # weekdays; a longer gap is noted (in September 2001 New York was closed for four)


def _drop(rows: pl.DataFrame, gone: pl.Expr, why: str, notes: list) -> pl.DataFrame:
    """The rows without those of `gone`, each of which gets a note."""
    notes += [(day, "dropped", why) for day in rows.filter(gone)["date"]]
    return rows.filter(~gone)


def positive(rows: pl.DataFrame, present: list[str], price: str, where: str | Path, notes: list) -> pl.DataFrame:
    """Negative numbers are refused, rows without a price (missing or 0) left out, other prices of 0 taken as missing."""
    for name in present:
        for line, day, value in rows.filter(pl.col(name) < 0).select(LINE, "date", name).iter_rows():
            raise CatalogError(f"{where}, line {line}: the {name} of {day} is {value:g}, below 0; correct it, or leave the day out.")
    rows = _drop(rows, pl.col(price).is_null(), "no price", notes)
    rows = _drop(rows, pl.col(price) == 0, "price of 0", notes)
    for name in present:
        zero = rows.filter(pl.col(name) == 0)["date"]
        if name == "volume" and len(zero) < len(rows):
            continue  # a day without trade, or with a volume too small to show
        notes += [(day, "missing", f"{name} of 0 taken as unknown") for day in zero]
        rows = rows.with_columns(pl.when(pl.col(name) != 0).then(pl.col(name)))
    return rows


def in_order(rows: pl.DataFrame, notes: list) -> pl.DataFrame:
    """The rows by date; those of a day in the order of the file."""
    if rows["date"].is_sorted():
        return rows
    newest_first = rows["date"].is_sorted(descending=True)
    notes.append((None, "file", f"rows put in order of date; {'the newest came first' if newest_first else 'they were mixed'}"))
    return rows.sort("date", LINE)


def one_a_day(rows: pl.DataFrame, present: list[str], where: str | Path, notes: list) -> pl.DataFrame:
    """The first of several rows of a day, if they say the same."""
    again = pl.col("date") == pl.col("date").shift(1)
    differs = pl.any_horizontal(pl.col(name).ne_missing(pl.col(name).shift(1)) for name in present)
    lines = rows.select("date", pl.col(LINE).shift(1).alias("first"), LINE)
    for day, first, second in lines.filter(_of(rows, again & differs)).iter_rows():
        raise CatalogError(f"{where} has different prices for {day} in the lines {first} and {second}; leave one row a day.")
    return _drop(rows, again.fill_null(False), "same row again", notes)


def trading_days(rows: pl.DataFrame, present: list[str], price: str, where: str | Path, weekend_trading: bool, notes: list) -> pl.DataFrame:
    """Leave out days on which nothing was traded: weekends, repeated rows, and a repeated price at a volume of 0."""
    if not weekend_trading:
        weekend = pl.col("date").dt.weekday() > 5
        own = weekend & pl.col(price).ne_missing(pl.col(price).shift(1))
        for day in rows.filter(_of(rows, own))["date"]:
            raise CatalogError(
                f"{where} has a price of its own on {day:%A}, {day}: leave the row out; if many days are so, the dates may be shifted "
                "by one, or the market trades at weekends, which must be declared (weekend_trading)."
            )
        rows = _drop(rows, weekend, "weekend", notes)
    if "volume" not in present:
        return rows  # two equal closes are then two days
    same = pl.all_horizontal(pl.col(name).eq_missing(pl.col(name).shift(1)) for name in present) & pl.col("volume").is_not_null()
    same = _of(rows, same & (pl.int_range(pl.len()) > 0))
    still = _of(rows, (pl.col("volume") == 0) & (pl.col(price) == pl.col(price).shift(1)))
    notes += [(day, "dropped", "no trade: volume of 0, price of the day before") for day in rows.filter(still)["date"]]
    notes += [(day, "dropped", "repeats the day before") for day in rows.filter(same & ~still)["date"]]
    return rows.filter(~(same | still))


def _of(rows: pl.DataFrame, condition: pl.Expr) -> pl.Series:
    """Where a condition on `rows` is true; where it is unknown it is not."""
    return rows.select(condition.fill_null(False).alias("is"))["is"]


def in_range(rows: pl.DataFrame, where: str | Path, notes: list) -> None:
    """A high below the low, or many opens and closes outside their range, mean columns that do not belong together."""
    if not {"high", "low"} <= set(rows.columns):
        return
    for day in rows.filter(pl.col("high") < pl.col("low"))["date"]:
        raise CatalogError(f"{where}: the high of {day} is below its low; the two columns may be exchanged, correct their names.")
    inner = [name for name in ("open", "close") if name in rows.columns]
    below = (pl.col(name) < pl.col("low") * (1 - OUTSIDE) for name in inner)
    above = (pl.col(name) > pl.col("high") * (1 + OUTSIDE) for name in inner)
    outside = rows.filter(pl.any_horizontal(*below, *above))["date"]
    if len(outside) > len(rows) / 20:
        raise CatalogError(
            f"{where}: open or close lies outside the range from low to high on {len(outside)} of {len(rows)} days, first on {outside[0]}; "
            "the columns may be of different adjustment, which cannot be mixed."
        )
    notes += [(day, "range", "open or close outside the range from low to high") for day in outside]


def splits(days: pl.DataFrame, present: list[str], where: str | Path, adjusted: bool, notes: list) -> pl.Series:
    """Shares for one on the days of a split, else null; large moves are noted.

    On the day of a split the close jumps and the adjusted close does not, so that their ratio changes at once. A dividend changes it too,
    by its share of the price. With one price only a split looks like a loss or a gain.
    """
    price = "adj_close" if "adj_close" in present else "close"
    move = days[price] / days[price].shift(1)
    split = pl.Series("split", [None] * len(days), pl.Float64)
    if {"close", "adj_close"} <= set(present):
        raw = days["close"] / days["close"].shift(1)
        factor = (days["adj_close"] / days["close"]).fill_null(strategy="forward")
        ratio = (factor / factor.shift(1)).fill_null(1.0)
        jumps = (ratio >= SPLIT) | (ratio <= 1 / SPLIT)
        wrong = (jumps & (move.log().abs() > raw.log().abs())).fill_null(False)
        for day, part, whole in zip(days["date"].filter(wrong), move.filter(wrong), raw.filter(wrong)):
            raise CatalogError(
                f"{where}: on {day} the adjusted close moves by {part - 1:+.0%} but the close by {whole - 1:+.0%}; correct the adjusted "
                "close (it may have too few digits), or leave its column out."
            )
        split = split.zip_with(~jumps, ratio.round(4))
        notes += [(day, "split", f"{shares:g} for 1") for day, shares in zip(days["date"].filter(jumps), split.filter(jumps))]
    elif not adjusted and "close" in present:
        for day, part in zip(days["date"], move):
            if part is not None and abs(part - 1) > JUMP:
                raise CatalogError(
                    f"{where}: the close moves by {part - 1:+.0%} on {day}, which is probably a split; add a column Adj Close with prices "
                    "adjusted for splits, or, if the share really moved so, one that repeats the close."
                )
    large = ((move - 1).abs() > LARGE).fill_null(False)
    notes += [(day, "move", f"{part - 1:+.1%} in a day") for day, part in zip(days["date"].filter(large), move.filter(large))]
    if "adj_close" not in present:
        notes.append((None, "file", "no adjusted close; the close is used as it is, without dividends"))
    elif "close" not in present:
        notes.append((None, "file", "no close as traded, only the adjusted one"))
    return split


def gaps(days: pl.Series, notes: list) -> None:
    """Note how many weekdays between the first and the last day have no row, holidays among them, and each gap of more than a week."""
    before = pl.select(pl.business_day_count(days.shift(1), days) - 1).to_series().fill_null(0).clip(0)
    if before.sum() > 0:
        notes.append((None, "gap", f"{before.sum()} weekdays without a row between {days[0]} and {days[-1]}, holidays among them"))
    notes += [(day, "gap", f"{n} weekdays without a row before it") for day, n in zip(days, before) if n > WEEK]
