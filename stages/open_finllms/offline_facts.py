"""Facts that the authored tasks are made of: what real shares did on real days, and where their companies sit.

Splits share no share and no day.

Prices are adjusted closes. Labels follow from figures as they are printed (closes to two decimals, changes to one), so that a reader can
work them out again from the text.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import polars as pl

from catalog.base.errors import CatalogError
from stages.open_finllms.offline_wordings import SPLITS
from stages.open_finllms.settings import Tasks

# Seat and trade of each company in the days of its split, from common knowledge; texts state them, so that nothing has to be known.
COMPANIES: dict[str, tuple[str, str]] = {
    "AAPL": ("Cupertino", "computers"),
    "AMD": ("Sunnyvale", "processors"),
    "BAC": ("Charlotte", "banking"),
    "BBY": ("Richfield", "electronics retail"),
    "CVX": ("San Ramon", "petroleum"),
    "GE": ("Fairfield", "engines"),
    "JNJ": ("New Brunswick", "health care"),
    "MRK": ("Whitehouse Station", "medicines"),
    "MSFT": ("Redmond", "software"),
    "PEP": ("Purchase", "snacks"),
    "PG": ("Cincinnati", "household goods"),
    "RRC": ("Fort Worth", "natural gas"),
    "UNH": ("Minnetonka", "health insurance"),
    "HD": ("Atlanta", "home improvement"),
    "JPM": ("New York", "investment banking"),
    "KO": ("Atlanta", "soft drinks"),
    "LLY": ("Indianapolis", "insulin"),
    "PFE": ("New York", "vaccines"),
    "WMT": ("Bentonville", "retail"),
    "XOM": ("Irving", "oil"),
    "NVDA": ("Santa Clara", "graphics chips"),
    "AMZN": ("Seattle", "online retail"),
    "NFLX": ("Los Gatos", "streaming"),
}


@dataclass(frozen=True)
class Day:
    """A share on a day, as printed."""

    asset: str
    name: str
    at: date
    prev: float  # two decimals
    close: float
    change: float  # per cent, one decimal, of the two printed closes

    @property
    def direction(self) -> str | None:
        """up from 1 %, down from -1 %, flat within 0.2 %; None between, where one could argue."""
        return "up" if self.change >= 1 else "down" if self.change <= -1 else "flat" if abs(self.change) <= 0.2 else None

    @property
    def fields(self) -> dict[str, str]:
        """What wordings have in braces."""
        return {
            "name": self.name,
            "asset": self.asset,
            "date": spoken(self.at),
            "prev": f"{self.prev:.2f}",
            "close": f"{self.close:.2f}",
            "size": f"{abs(self.change):.1f}%",
            "signed": f"{self.change:+.1f}%",
        }


def spoken(day: date) -> str:
    """3 May 2014."""
    return f"{day.day} {day:%B %Y}"


class Facts:
    """Daily closes of the shares of each split in its days."""

    def __init__(self, daily: pl.DataFrame, listings: pl.DataFrame, p: Tasks) -> None:
        check(p)
        names = {(asset, source): name for asset, source, name in listings.select("asset", "source", "name").iter_rows()}
        self.names: dict[str, str] = {}
        self.series: dict[str, dict[str, tuple[list[date], list[float]]]] = {split: {} for split in SPLITS}
        for split, by_source in p.shares.items():
            first, last = map(date.fromisoformat, p.spans[split])
            for source, assets in by_source.items():
                for asset in assets:
                    if (asset, source) not in names:
                        raise CatalogError(f"tasks.shares names {asset} of {source}, of which data/prices has no series; correct it.")
                    rows = daily.filter(
                        (pl.col("asset") == asset) & (pl.col("source") == source) & pl.col("date").is_between(first, last)
                    ).sort("date")
                    if len(rows) < 2 * p.window:
                        raise CatalogError(
                            f"{asset} of {source} has {len(rows)} days from {first} to {last}, too few for the split {split}."
                        )
                    self.names[asset] = names[asset, source]
                    self.series[split][asset] = (rows["date"].to_list(), rows["adj_close"].to_list())

    def shares(self, split: str) -> list[str]:
        """Tickers of a split."""
        return sorted(self.series[split])

    def day(self, split: str, asset: str, place: int) -> Day:
        """The day at a place (from 1) of a share's series."""
        days, closes = self.series[split][asset]
        prev, close = round(closes[place - 1], 2), round(closes[place], 2)
        return Day(asset, self.names[asset], days[place], prev, close, round(100 * (close / prev - 1), 1) + 0.0)

    def drawn(self, split: str, rng: random.Random) -> Iterator[Day]:
        """Endless random days of random shares, of closes of at least 1, where a printed change says something."""
        while True:
            asset = rng.choice(self.shares(split))
            days, closes = self.series[split][asset]
            place = rng.randrange(1, len(days))
            if closes[place - 1] >= 1:
                yield self.day(split, asset, place)

    def on(self, split: str, asset: str, at: date) -> Day | None:
        """Another share on the same day, if it has one."""
        days, _ = self.series[split][asset]
        place = days.index(at) if at in days else 0
        return self.day(split, asset, place) if place else None

    def window(self, split: str, rng: random.Random, length: int) -> tuple[str, list[date], list[float]]:
        """So many days in a row of a random share."""
        asset = rng.choice(self.shares(split))
        days, closes = self.series[split][asset]
        first = rng.randrange(0, len(days) - length)
        return asset, days[first : first + length], closes[first : first + length]


def check(p: Tasks) -> None:
    """Splits share no share and no day."""
    for what, given in (("shares", p.shares), ("spans", p.spans)):
        if set(given) != set(SPLITS):
            raise CatalogError(f"tasks.{what} names the splits {', '.join(sorted(given)) or 'none'}; it must name {', '.join(SPLITS)}.")
    seen: dict[str, str] = {}
    for split in SPLITS:
        for asset in _assets(p.shares[split]):
            if asset in seen:
                raise CatalogError(
                    f"tasks.shares has {asset} in {seen[asset]} and in {split}; leave it in one, or training tells the test."
                )
            if asset not in COMPANIES:
                raise CatalogError(f"tasks.shares has {asset}, of which stages/open_finllms/offline_facts.py knows no seat; add it there.")
            seen[asset] = split
    spans = sorted((p.spans[split], split) for split in SPLITS)
    for ((_, last), one), ((first, _), other) in zip(spans, spans[1:]):
        if last >= first:
            raise CatalogError(f"tasks.spans of {one} and {other} share days; let {one} end before {first}.")


def _assets(by_source: Mapping[str, Sequence[str]]) -> list[str]:
    return [asset for assets in by_source.values() for asset in assets]
