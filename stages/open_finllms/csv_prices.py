"""Daily prices of one share from text cells: every check that stands between a file and a return.

A wrong price ends in no error later, only in a wrong return, so whatever is unusual is either refused in one sentence with the line or day
and a remedy, or recorded as a note. Refused: a date or number that could mean two things, two rows of a day that differ, prices of its own
on a weekend, a negative price, a split in the only price there is. Recorded: rows left out, rows put in order, splits, large moves, gaps.

A day without a price is no trading day: its row is left out, so the return spans the gap and is never a zero that nobody measured.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import polars as pl

from catalog.base.errors import CatalogError
from stages.open_finllms.csv_cells import dates, numbers
from stages.open_finllms.csv_checks import gaps, in_order, in_range, one_a_day, positive, splits, trading_days
from stages.open_finllms.csv_table import LINE, NUMBERS, by_role, read_cells

DAYS = {"date": pl.Date} | dict.fromkeys(NUMBERS, pl.Float64) | {"split": pl.Float64}
NOTES = {"date": pl.Date, "kind": pl.String, "what": pl.String}


@dataclass(frozen=True)
class Series:
    """One share: `days` has the columns of `DAYS`, one row a trading day in order; `notes` those of `NOTES`, what was recorded."""

    days: pl.DataFrame
    notes: pl.DataFrame


def read_csv(
    path: str | Path,
    *,
    date_format: str | None = None,
    weekend_trading: bool = False,
    min_days: int = 2,
    tell: Callable[[str], None] | None = None,
) -> pl.DataFrame:
    """Read a user's CSV of one share: a date and a close or adjusted close at least; open, high, low and volume if they are there.

    Args:
        path: the file; `.csv` or `.csv.gz`.
        date_format: how dates are written (`%d/%m/%Y`), if not as 2020-12-31. It is never guessed.
        weekend_trading: True for a market that is open at weekends, such as a cryptocurrency.
        min_days: fewer days are refused; a return needs two.
        tell: is given a line for each kind of thing recorded; by default printed on standard error.

    Returns:
        date, open, high, low, close, adj_close, volume, split (shares for one, null on all other days), in order of date. Without an
        adjusted close the close stands in its place.

    Raises:
        CatalogError: whatever the module's first lines call refused.
    """
    series = read(path, date_format=date_format, weekend_trading=weekend_trading, min_days=min_days)
    for line in summary(series):
        if tell is None:
            print(f"{path}: {line}", file=sys.stderr)
        else:
            tell(line)
    return series.days


def read(path: str | Path, *, date_format: str | None = None, weekend_trading: bool = False, min_days: int = 2) -> Series:
    """Like `read_csv`, with the notes."""
    cells, said = read_cells(path)
    named, more = by_role(cells, path)
    series = clean(named, path, date_format=date_format, weekend_trading=weekend_trading, min_days=min_days)
    said = pl.DataFrame([(None, "file", what) for what in said + more], NOTES, orient="row")
    return Series(series.days, pl.concat([said, series.notes]))


def summary(series: Series) -> list[str]:
    """The notes in a line for each kind: how often, and the first day."""
    found = []
    for (kind, what), group in series.notes.group_by("kind", "what", maintain_order=True):
        day = group["date"].min()
        when = "" if day is None else f" ({day})" if len(group) == 1 else f" ({len(group)} rows, the first {day})"
        found.append(f"{kind}: {what}{when}")
    return found


def clean(
    cells: pl.DataFrame,
    where: str | Path,
    *,
    date_format: str | None = None,
    weekend_trading: bool = False,
    min_days: int = 2,
    adjusted: bool = False,
) -> Series:
    """Turn text columns of one share (`csv_table.by_role`) into a checked series.

    Args:
        where: the file, for messages.
        adjusted: it is known that the only price has no split in it, so that a jump is a move of the market.
    """
    present = [name for name in NUMBERS if name in cells.columns]
    price = "adj_close" if "adj_close" in present else "close"
    rows = cells.with_columns(dates(cells, where, date_format), *numbers(cells, present, where)).select(LINE, "date", *present)
    notes: list[tuple[date | None, str, str]] = []
    rows = positive(rows, present, price, where, notes)
    rows = in_order(rows, notes)
    rows = one_a_day(rows, present, where, notes)
    rows = trading_days(rows, present, price, where, weekend_trading, notes)
    if len(rows) < min_days:
        raise CatalogError(f"{where} has {len(rows)} days with a price, but at least {min_days} are needed; give a longer period.")
    in_range(rows, where, notes)
    days = rows.with_columns(pl.lit(None, pl.Float64).alias(name) for name in NUMBERS if name not in present)
    days = days.with_columns(adj_close=pl.col(price)).with_columns(split=splits(days, present, where, adjusted, notes))
    gaps(rows["date"], notes)
    return Series(days.select(pl.col(name).cast(kind) for name, kind in DAYS.items()), pl.DataFrame(notes, NOTES, orient="row"))
