"""News without a news feed: short texts about a share, made from its past prices alone.

Real news may not be passed on, and an agent needs something to read. So each trading day has a few notes on what the prices show (the move
of the day, a gap, unusual volume, a new high or low, a streak, …); a week and a month have a summary each, which stand for the quarterly
and yearly reports of the paper. Their layers are those of the memory: short, mid, long.

What a note may know: the closes, and where there are any the opens, highs, lows and volumes, up to the day ``until``, which is never later
than ``date``, the day from whose close on it can be read. The end of a week or month is known from the first trading day after it, so that
no calendar of the future is needed. No text gives a price, only changes: an adjusted price of 2003 carries the splits and dividends of all
years after it, and would tell of them. For the same reason volume is left out around a split.

Equal prices give equal texts. The wording of a note is chosen by a checksum of share, day and kind.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from datetime import date

import numpy as np
import polars as pl

from catalog.base.errors import CatalogError
from stages.open_finllms.wordings import MONTHS, WEEKDAYS, WORDINGS

SCHEMA = {"date": pl.Date, "until": pl.Date, "layer": pl.String, "kind": pl.String, "text": pl.String}
USUAL = 20  # days that say what is usual for the share
SPANS = (250, 60, 20)  # of a new high or low, the longest first
MOST = 4  # notes a day, the first of `_daily`
COLUMNS = ("open", "high", "low", "close", "volume", "split")


def notes(prices: pl.DataFrame, name: str, asset: str = "", first: date | None = None, last: date | None = None) -> pl.DataFrame:
    """All notes that can be read from ``first`` to ``last``: date, until, layer, kind, text, in order.

    Args:
        prices: one share, as `data/prices`: date, adj_close (or close), and open, high, low, close, volume, split where they are known.
        name: what the texts call the share.
        asset: chooses wordings; the name by default.
    """
    s = _Series(prices)
    rows = []
    for i, day in enumerate(s.dates):
        if (first and day < first) or (last and day > last):
            continue
        told = [*_summaries(s, i), *(("short", kind, day, values) for kind, values in list(_daily(s, i))[:MOST])]
        for layer, kind, until, values in told:
            forms = WORDINGS[kind]
            form = forms[zlib.crc32(f"{asset or name}|{day}|{kind}".encode()) % len(forms)]
            rows.append((day, until, layer, kind, form.format(name=name, **values)))
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


class _Series:
    """Columns as arrays; all but the dates and volumes are adjusted alike. What is unknown is NaN."""

    def __init__(self, prices: pl.DataFrame) -> None:
        price = "adj_close" if "adj_close" in prices.columns else "close"
        days = prices.sort("date").filter(pl.col(price).is_not_null() & pl.col(price).is_not_nan())
        if days["date"].is_duplicated().any():
            raise CatalogError("The prices have a day twice; keep one row a day, and give those of one share.")
        column = {
            name: days[name].cast(pl.Float64).fill_null(np.nan).to_numpy() if name in days.columns else np.full(days.height, np.nan)
            for name in COLUMNS
        }
        self.dates: list[date] = days["date"].to_list()
        self.price = days[price].cast(pl.Float64).to_numpy()
        factor = self.price / column["close"]
        self.open, self.high, self.low = (column[name] * factor for name in ("open", "high", "low"))
        self.volume, self.split = column["volume"], ~np.isnan(column["split"])
        self.change = np.full(days.height, np.nan)
        self.change[1:] = self.price[1:] / self.price[:-1] - 1


def _daily(s: _Series, i: int) -> Iterator[tuple[str, dict]]:
    """Kinds and values of what there is to say of day i, the most telling first."""
    if i == 0:
        return
    change, before = s.change[i], s.change[max(1, i - USUAL) : i]
    usual = float(np.median(np.abs(before))) if len(before) >= 10 else None
    times = abs(change) / usual if usual else 0.0
    way = "flat" if abs(change) < 0.0005 else "up" if change > 0 else "down"
    yield f"{'large ' if times >= 2.5 and way != 'flat' else ''}move {way}", {"size": _percent(change), "times": f"{times:.1f}"}
    for span in SPANS:
        past = s.price[max(0, i - span) : i]
        if len(past) == span and (s.price[i] > past.max() or s.price[i] < past.min()):
            yield "new high" if s.price[i] > past.max() else "new low", {"span": span}
            break
    gap = s.open[i] / s.price[i - 1] - 1
    if abs(gap) >= max(0.01, 1.5 * (usual or 0)):
        held = (s.price[i] - s.open[i]) * gap >= 0
        yield f"gap {'up' if gap > 0 else 'down'}, {'held' if held else 'faded'}", {"size": _percent(gap)}
    past = s.volume[max(0, i - USUAL) : i]
    if len(past) == USUAL and np.median(past) > 0 and not s.split[max(0, i - USUAL) : i + 1].any():
        ratio = s.volume[i] / np.median(past)
        if ratio >= 1.8 or ratio <= 0.5:
            yield "high volume" if ratio >= 1.8 else "low volume", {"times": f"{ratio:.1f}"}
    streak = _streak(s.change[1 : i + 1])
    if abs(streak) >= 3:
        yield "streak up" if streak > 0 else "streak down", {"days": abs(streak)}
    if i >= 50:
        now, then = s.price[i] - s.price[i - 49 : i + 1].mean(), s.price[i - 1] - s.price[i - 50 : i].mean()
        if now * then < 0:
            yield "above average" if now > 0 else "below average", {}
    if i >= 250:
        depth = [s.price[d] / s.price[d - 249 : d + 1].max() - 1 for d in (i - 1, i)]
        if depth[1] <= -0.2 < depth[0]:
            yield "deep fall", {"size": _percent(depth[1])}
    if usual and i >= 11:
        # About one and a half deviations of ten days; told on the day on which it becomes so.
        ten, then = (s.price[d] / s.price[d - 10] - 1 for d in (i, i - 1))
        if abs(ten) >= 7 * usual > abs(then):
            yield "momentum up" if ten > 0 else "momentum down", {"size": _percent(ten)}
    if i >= 71:
        now, then = (_swing(s, d) for d in (i, i - 1))
        if (now >= 1.6 > then) or (now <= 0.6 < then):
            yield "turbulent" if now > 1 else "calm", {}
    ranges = (s.high - s.low)[max(0, i - USUAL) : i + 1] / s.price[max(0, i - USUAL) : i + 1]
    if len(ranges) == USUAL + 1 and np.median(ranges[:-1]) > 0 and ranges[-1] >= 2 * np.median(ranges[:-1]):
        yield "wide range", {"size": _percent(ranges[-1])}


def _summaries(s: _Series, i: int) -> Iterator[tuple[str, str, date, dict]]:
    """The week and the month that ended on the day before, where a new one begins on day i."""
    if i == 0:
        return
    day, before = s.dates[i], s.dates[i - 1]
    for layer, kind, same in (
        ("long", "month", lambda d: (d.year, d.month)),
        ("mid", "week", lambda d: d.isocalendar()[:2]),
    ):
        if same(day) == same(before):
            continue
        begin = i - 1
        while begin > 0 and same(s.dates[begin - 1]) == same(before):
            begin -= 1
        if begin == 0:
            continue  # where the series begins within it, its change is unknown
        changes = s.change[begin:i]
        total = s.price[i - 1] / s.price[begin - 1] - 1
        best, worst = begin + int(np.argmax(changes)), begin + int(np.argmin(changes))
        extreme, other = (best, worst) if total >= 0 else (worst, best)
        top, high = s.price[max(0, i - 250) : i].max(), "yearly high" if i >= 250 else "high so far"
        values = {
            "size": _percent(total),
            "month": MONTHS[before.month - 1],
            "up": _count(int((changes > 0).sum())),
            "down": _count(int((changes < 0).sum())),
            "day": WEEKDAYS[s.dates[extreme].weekday()],
            "date": f"{s.dates[extreme].day} {MONTHS[s.dates[extreme].month - 1]}",
            "extreme": _percent(s.change[extreme], sign=True),
            "other": _percent(s.change[other], sign=True),
            "below": f"at its {high}" if s.price[i - 1] >= top else f"{_percent(s.price[i - 1] / top - 1)} below its {high}",
        }
        way = "flat" if abs(total) < 0.0005 else "up" if total > 0 else "down"
        yield layer, f"{kind} {way}", before, values


def _swing(s: _Series, i: int) -> float:
    """Deviation of the last ten changes over that of the sixty before them."""
    before = s.change[i - 69 : i - 9].std()
    return float(s.change[i - 9 : i + 1].std() / before) if before > 0 else 1.0


def _streak(changes: np.ndarray) -> int:
    """Days in a row that rose (positive) or fell (negative), up to the last one."""
    signs = np.sign(changes)
    if not len(signs) or signs[-1] == 0:
        return 0
    differs = np.flatnonzero(signs != signs[-1])
    return int(signs[-1]) * (len(signs) - (int(differs[-1]) + 1 if len(differs) else 0))


def _percent(part: float, sign: bool = False) -> str:
    return f"{part:+.1%}" if sign else f"{abs(part):.1%}"


def _count(days: int) -> str:
    return "one day" if days == 1 else f"{('no', '', 'two', 'three', 'four', 'five')[days] if days < 6 else days} days"
