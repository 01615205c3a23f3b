"""On which days is traded: windows that are found by a rule, before anything is traded.

A window chosen by hand can be made to favour any method. So each is the outcome of a rule that looks at the closes of an index, or at
where a series ends, and the parameters hold the rule, not the dates:

* ``fall``, ``rise``: of all runs of so many consecutive trading days of the index between two dates, the one over which it loses or gains
  most, from first close to last; the same days for every share.
* ``last``: the last so many days of each share between the two dates.
* ``all``: all days between the two dates.

A fall and a rise of the index are known only afterwards, so buy and hold is bad in one and good in the other by construction; what a rule
or an agent does there says how it behaves in such a market, not what it would have earned.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import polars as pl

from catalog.base.errors import CatalogError
from stages.open_finllms.settings import Trading, Window

RULES = ("fall", "rise", "last", "all")


@dataclass(frozen=True)
class Span:
    """One share in one window: the prices from ``first`` to ``last``, both included."""

    window: str
    asset: str
    source: str
    first: date
    last: date


def spans(daily: pl.DataFrame, p: Trading) -> list[Span]:
    """Every share of every window, in the order of the parameters.

    Raises:
        CatalogError: an unknown rule or group of shares, dates that are none, a series without the days of its window.
    """
    found = []
    for name, window in p.windows.items():
        if window.rule not in RULES:
            raise CatalogError(f"The window {name} has the rule {window.rule!r}; use {', '.join(RULES)}.")
        if (window.rule == "all") != (window.prices is None):
            raise CatalogError(f"The window {name} with the rule {window.rule} needs prices: {'null' if window.prices else 'a number'}.")
        if unknown := [group for group in window.shares if group not in p.shares]:
            raise CatalogError(f"The window {name} names the shares {unknown[0]!r}; the groups are {', '.join(p.shares)}.")
        days = None if window.rule == "last" else _days(name, window, closes(daily, p.index.asset, p.index.source))
        for group in window.shares:
            for source, assets in p.shares[group].items():
                found += [_span(name, window, asset, source, days, daily) for asset in assets]
    return found


def closes(daily: pl.DataFrame, asset: str, source: str) -> pl.DataFrame:
    """date and adj_close of one series, in order."""
    series = daily.filter((pl.col("asset") == asset) & (pl.col("source") == source)).select("date", "adj_close").sort("date")
    if not series.height:
        raise CatalogError(f"data/prices has no {asset} from {source}; name a series that listings.parquet has.")
    return series


def _days(name: str, window: Window, index: pl.DataFrame) -> tuple[date, date]:
    """First and last day; those of the rule `all` are dates of the calendar, on which the market may have been closed."""
    first, last = (_date(name, text) for text in (window.first, window.last))
    if window.rule == "all":
        return first, last
    inside = index.filter(pl.col("date").is_between(first, last))
    steps = window.prices - 1
    if steps < 1 or inside.height <= steps:
        raise CatalogError(f"The window {name} has {window.prices} prices, but the index has {inside.height} from {first} to {last}.")
    change = inside["adj_close"][steps:] / inside["adj_close"][:-steps]
    start = change.arg_min() if window.rule == "fall" else change.arg_max()
    return inside["date"][start], inside["date"][start + steps]


def _span(name: str, window: Window, asset: str, source: str, days: tuple[date, date] | None, daily: pl.DataFrame) -> Span:
    series = closes(daily, asset, source)["date"]
    first, last = days or (_date(name, window.first), _date(name, window.last))
    inside = series.filter(series.is_between(first, last))
    inside = inside if window.prices is None else inside.tail(window.prices)
    if len(inside) < (window.prices or 3):
        raise CatalogError(
            f"The window {name} needs {window.prices or 'at least 3'} prices of {asset} from {source} between {first} and {last}, "
            f"which has {len(inside)}."
        )
    return Span(name, asset, source, inside[0], inside[-1])


def _date(name: str, text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise CatalogError(f"The window {name} has the date {text!r}; write it as 2020-12-31.") from None


def table(found: list[Span], daily: pl.DataFrame, p: Trading) -> pl.DataFrame:
    """The own table `windows` (its column is `period`, as WINDOW is a word of SQL): what each rule found, and how index and share went."""
    index = closes(daily, p.index.asset, p.index.source)
    rows = []
    for span in found:
        parts = [one.filter(pl.col("date").is_between(span.first, span.last)) for one in (closes(daily, span.asset, span.source), index)]
        opens = daily.filter((pl.col("asset") == span.asset) & (pl.col("source") == span.source))["open"].null_count() == 0
        change, index_change = (part["adj_close"][-1] / part["adj_close"][0] - 1 if part.height > 1 else None for part in parts)
        rows.append(
            {"period": span.window, "asset": span.asset, "source": span.source, "rule": p.windows[span.window].rule}
            | {"first": str(span.first), "last": str(span.last), "prices": parts[0].height, "opens": opens}
            | {"change": change, "index_change": index_change if parts[1].height == parts[0].height else None}
        )
    return pl.DataFrame(rows)
