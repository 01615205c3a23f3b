"""What charts and tables show: real prices and the real German credit table, before anything is drawn.

A `Content` is figures with names and colours; `vision_charts` draws it and `vision_questions` asks about it. Which window of days is shown
is drawn at random until it has what a question needs (a rise, two shares that move apart, one day that stands out), in equal numbers, so
that no answer is commoner than another. The figures themselves are never changed.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import polars as pl

from catalog.base.errors import CatalogError

COLOURS = ("red", "orange", "green", "blue", "purple", "pink")
FORMS = ("line", "bar", "grouped", "pie", "table")
_TRIES = 2000
_STEEP = 0.5  # a line rises or falls if its ends differ by this share of its range
_APART = 2.0  # a bar stands out if it is so many times the next
ATTRIBUTES = {  # of the German credit table: attribute -> {value: as a chart names it}
    "housing": {"own": "own", "rent": "rent", "for free": "free"},
    "purpose": {
        "radio/tv": "radio/TV",
        "new car": "new car",
        "furniture/equipment": "furniture",
        "used car": "used car",
        "business": "business",
    },
    "job": {"unskilled resident": "unskilled", "skilled": "skilled", "high qualif/self emp/mgmt": "manager"},
    "savings_status": {"<100": "<$100", "100<=X<500": "$100+", "500<=X<1000": "$500+", ">=1000": "$1000+"},
    "credit_history": {
        "existing paid": "paid",
        "critical/other existing credit": "critical",
        "delayed previously": "delayed",
        "all paid": "all paid",
    },
}


@dataclass(frozen=True)
class Content:
    """Figures to draw.

    line: a row of values for each series. bar, pie: one row, a colour for each label. grouped: a row and a colour for each series, a column
    for each label. table: a row for each series, a column for each label; `colours` are those of its cells with a rise and with a fall, or
    empty.
    """

    form: str
    title: str
    series: tuple[str, ...]
    labels: tuple[str, ...]
    values: tuple[tuple[float, ...], ...]
    colours: tuple[str, ...]
    origin: str  # prices or german
    assets: tuple[str, ...] = ()
    first: date | None = None
    last: date | None = None


@dataclass(frozen=True)
class Market:
    """Adjusted closes of the shares of one split on the days of its span: days x shares."""

    assets: tuple[str, ...]
    days: tuple[date, ...]
    closes: np.ndarray

    @classmethod
    def of(cls, daily: pl.DataFrame, source: str, assets: Sequence[str], first: str, last: str) -> Market:
        """Those days on which all shares have a price."""
        span = pl.col("date").is_between(date.fromisoformat(first), date.fromisoformat(last))
        rows = daily.filter(pl.col("source") == source, pl.col("asset").is_in(list(assets)), span)
        absent = sorted(set(assets) - set(rows["asset"]))
        if absent:
            raise CatalogError(f"data/prices has no {absent[0]} of {source} from {first} to {last}; correct vision_data.shares or spans.")
        wide = rows.pivot("asset", index="date", values="adj_close").sort("date").drop_nulls()
        return cls(tuple(assets), tuple(wide["date"]), wide.select(assets).to_numpy())

    def window(self, rng: random.Random, days: int) -> slice:
        """So many days after one another."""
        if len(self.days) < days:
            raise CatalogError(f"Charts of {days} days need as many prices; {', '.join(self.assets)} have {len(self.days)} in common.")
        start = rng.randrange(len(self.days) - days + 1)
        return slice(start, start + days)

    def between(self, at: slice) -> dict:
        return {"origin": "prices", "first": self.days[at.start], "last": self.days[at.stop - 1]}


def found(make: Callable[[], Content | None], what: str) -> Content:
    """The first content that fits."""
    for _ in range(_TRIES):
        if (content := make()) is not None:
            return content
    raise CatalogError(f"{_TRIES} windows of prices hold no chart of {what}; widen vision_data.spans.")


def trend(values: Sequence[float]) -> str | None:
    """up or down, if the ends of a line differ by half its range; None between."""
    change = (values[-1] - values[0]) / (max(values) - min(values))
    return None if abs(change) < _STEEP else "up" if change > 0 else "down"


def together(one: Sequence[float], other: Sequence[float]) -> str | None:
    """yes from a correlation of .8, no to -.5; None between."""
    r = float(np.corrcoef(one, other)[0, 1])
    return "yes" if r >= 0.8 else "no" if r <= -0.5 else None


def outlier(values: Sequence[float]) -> int | None:
    """Place of the value that is twice the next one."""
    order = np.argsort(values)
    return int(order[-1]) if values[order[-1]] >= _APART * values[order[-2]] > 0 else None


def line(market: Market, rng: random.Random, at: int) -> Content:
    """One to three shares over some weeks; one alone in dollars, several as per cent of their first close."""
    count = (1, 1, 2, 2, 3)[at % 5]
    wanted = ("up", "down")[at // 5 % 2] if count == 1 else ("yes", "no")[at // 5 % 2]

    def make() -> Content | None:
        window = market.window(rng, rng.randint(20, 50))
        picked = sorted(rng.sample(range(len(market.assets)), count))
        closes = market.closes[window, picked].T
        rows = closes if count == 1 else 100 * closes / closes[:, :1]
        have = trend(rows[0]) if count == 1 else together(rows[0], rows[1]) if count == 2 else wanted
        if have != wanted:
            return None
        names = tuple(market.assets[place] for place in picked)
        days = market.days[window]
        title = f"{names[0]}: from ${rows[0][0]:.2f} to ${rows[0][-1]:.2f}" if count == 1 else f"Per cent of {days[0]:%-d %b %Y}"
        values = tuple(tuple(round(float(value), 2) for value in row) for row in rows)
        labels = tuple(f"{day:%-d %b}" for day in days)
        return Content("line", title, names, labels, values, tuple(rng.sample(COLOURS, count)), assets=names, **market.between(window))

    return found(make, f"{count} lines, {wanted}")


def ranges(market: Market, window: slice, place: int) -> float:
    """From the lowest to the highest close of a window, in per cent of the lowest."""
    closes = market.closes[window, place]
    return round(float(100 * (closes.max() / closes.min() - 1)), 1)


def bar(market: Market, rng: random.Random, at: int) -> Content:
    """A month's price ranges of several shares, a colour each; every third: one share's daily moves, one of which stands out."""
    if at % 3 == 2:
        return found(lambda: moves(market, rng, at // 3 % 3), "one daily move that stands out")
    count = min(2 + at // 3 % 5, len(market.assets))
    window = market.window(rng, 21)
    picked = rng.sample(range(len(market.assets)), count)
    names = tuple(market.assets[place] for place in picked)
    values = tuple(ranges(market, window, place) for place in picked)
    title = f"Price range in %, {market.days[window.start]:%b %Y}"
    return Content("bar", title, ("range",), names, (values,), tuple(rng.sample(COLOURS, count)), assets=names, **market.between(window))


def moves(market: Market, rng: random.Random, third: int) -> Content | None:
    """Nine days' moves in one colour; the one that stands out in the given third."""
    window = market.window(rng, 10)
    place = rng.randrange(len(market.assets))
    closes = market.closes[window, place]
    values = [round(float(value), 1) for value in 100 * np.abs(closes[1:] / closes[:-1] - 1)]
    peak = outlier(values)
    if peak is None or peak // 3 != third:
        return None
    days, asset = market.days[window][1:], market.assets[place]
    labels = tuple(f"{day:%-d}" for day in days)
    title = f"{asset}: daily moves in %, {days[0]:%b %Y}"
    return Content("bar", title, (asset,), labels, (tuple(values),), (rng.choice(COLOURS),) * 9, assets=(asset,), **market.between(window))


def grouped(market: Market, rng: random.Random, at: int) -> Content:
    """Price ranges of two shares in three months."""
    window = market.window(rng, 63)
    picked = sorted(rng.sample(range(len(market.assets)), 2))
    months = [slice(window.start + 21 * month, window.start + 21 * (month + 1)) for month in range(3)]
    names = tuple(market.assets[place] for place in picked)
    values = tuple(tuple(ranges(market, month, place) for month in months) for place in picked)
    labels = tuple(f"{market.days[month.start]:%-d %b}" for month in months)
    title = f"Price range in % ({names[0]} & {names[1]})"
    return Content("grouped", title, names, labels, values, tuple(rng.sample(COLOURS, 2)), assets=names, **market.between(window))


def pie(market: Market, people: Sequence[dict[str, str]], rng: random.Random, at: int) -> Content:
    """A share's days by their move, or credit applicants by one of their attributes."""
    if at % 2:
        attribute = rng.choice(("housing", "purpose", "savings_status"))
        names = ATTRIBUTES[attribute]
        counts = Counter(row[attribute] for row in rng.sample(people, min(60, len(people))))
        kept = [value for value in names if counts[value]]
        values, labels = tuple(float(counts[value]) for value in kept), tuple(names[value] for value in kept)
        title, facts = f"Applicants by {attribute.replace('_', ' ')}", {"origin": "german"}
    else:
        window = market.window(rng, 64)
        place = rng.randrange(len(market.assets))
        closes = market.closes[window, place]
        change = 100 * (closes[1:] / closes[:-1] - 1)
        parts = {"> 1%": change > 1, "up": (change > 0) & (change <= 1), "down": (change <= 0) & (change >= -1), "< -1%": change < -1}
        kept = {name: float(days.sum()) for name, days in parts.items() if days.any()}
        values, labels = tuple(kept.values()), tuple(kept)
        title = f"{market.assets[place]}: 63 days by move"
        facts = {"assets": (market.assets[place],)} | market.between(window)
    order = rng.sample(range(len(values)), len(values))
    values, labels = tuple(values[i] for i in order), tuple(labels[i] for i in order)
    return Content("pie", title, ("parts",), labels, (values,), tuple(rng.sample(COLOURS, len(values))), **facts)


def table(market: Market, people: Sequence[dict[str, str]], rng: random.Random, at: int) -> Content:
    """Price changes by share and week, their cells shaded by sign; or applicants counted by two attributes."""
    if at % 3 == 2:
        first, second = rng.sample(sorted(ATTRIBUTES), 2)
        counts = Counter((row[first], row[second]) for row in rng.sample(people, min(100, len(people))))
        rows, columns = ATTRIBUTES[first], ATTRIBUTES[second]
        values = tuple(tuple(float(counts[one, other]) for other in columns) for one in rows)
        title = f"Applicants: {first.replace('_', ' ')} x {second.replace('_', ' ')}"
        return Content("table", title, tuple(rows.values()), tuple(columns.values()), values, (), origin="german")
    rows = min((2, 3, 4, 5, 6, 9)[at // 3 % 6], len(market.assets))
    columns = rng.choice((2, 3, 4, 5) if rows < 9 else (9,))
    window = market.window(rng, 5 * columns + 1)
    picked = sorted(rng.sample(range(len(market.assets)), rows))
    weekly = market.closes[window][::5, picked]
    changes = (100 * (weekly[1:] / weekly[:-1] - 1)).T
    values = tuple(tuple(round(float(value), 1) for value in row) for row in changes)
    names = tuple(market.assets[place] for place in picked)
    labels = tuple(f"{day:%-d %b}" for day in market.days[window][5::5])
    shades = rng.choice((("green", "red"), ("blue", "orange"), ("green", "pink")))
    made = Content("table", "Change in %, week to", names, labels, values, shades, assets=names, **market.between(window))
    return made if at % 3 == 0 else replace(made, colours=())


def content(form: str, market: Market, people: Sequence[dict[str, str]], rng: random.Random, at: int) -> Content:
    """The content number `at` of a form; the number decides what its question needs, so that all cases come in turn."""
    if form in ("pie", "table"):
        return {"pie": pie, "table": table}[form](market, people, rng, at)
    return {"line": line, "bar": bar, "grouped": grouped}[form](market, rng, at)
