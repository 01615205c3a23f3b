"""Contexts on a grid of three shares by three months, and claims in triples of True, False and NEI.

A context has one sentence for each share and month of a quarter, about one aspect of what happened, in random order. So the claim's share
and its month are both named in several sentences, and only one sentence (two or three for comparisons) is about both.

**Nothing but the facts tells the labels apart.** Claims come in triples: True, False and NEI (not enough information) of one context, one
kind, one polarity and the same words, month and threshold, about three different shares: two whose sentence settles the claim, one way and
the other, and one whose sentence is about something else. Only `extreme` compares months of a share instead, with places in the quarter
drawn at random. Every context therefore supports as many True as False as NEI claims of each kind, and a claim's words fit all three.

**NEI never follows by inference**: the sentence of an NEI claim's share and month is about an aspect that leaves the claim open (`OPEN`),
and no share has two price levels in a context, from which a change would follow.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from catalog.base.errors import CatalogError

EVIDENCE = {  # kind of claim -> aspects of the sentences that settle it; one is drawn for a triple
    "direction": ("words",),
    "sign": ("change",),
    "compare-by-sign": ("words", "change"),
    "threshold": ("change",),
    "level": ("level",),
    "compare-by-number": ("change",),
    "extreme": ("change",),
    "volatility": ("volatility",),
    "streak": ("streak",),
    "drawdown": ("drawdown",),
}
OPEN = {  # kind of claim -> aspects that leave it open; a fall of 9 % settles "gained more than 5 %", so no change there
    **dict.fromkeys(
        ("direction", "sign", "compare-by-sign", "threshold", "compare-by-number", "extreme"), ("level", "volatility", "streak", "drawdown")
    ),
    "level": ("words", "change", "volatility", "streak", "drawdown"),
    "volatility": ("words", "change", "level", "streak", "drawdown"),
    "streak": ("words", "change", "level", "volatility", "drawdown"),
    "drawdown": ("level", "volatility", "streak"),
}
GROUP = {
    "direction": "move",
    "sign": "move",
    "compare-by-sign": "compare",
    "compare-by-number": "compare",
}  # wordings; else the kind's own name
BESIDE_EXTREME = ("sign", "compare-by-sign", "compare-by-number", "threshold")  # kinds that the months of an extreme can serve as well
CLEAR = 0.5  # percent: a change that counts as one
GAP, NEAR = 0.6, 4.0  # percent: least and most distance of a figure from the threshold
LOUDER = 1.15  # ratio of daily swings of two months that counts as wilder or calmer
TRIES = 20000  # draws of a quarter and its shares for one context


@dataclass(frozen=True)
class Claim:
    """A claim on a context: positions of shares (0 to 2) and of the month (0 to 2)."""

    label: str
    kind: str
    positive: bool
    shares: tuple[int, ...]  # one, or the two that are compared
    month: int
    threshold: float | None
    deciding: tuple[tuple[int, int], ...]  # (share, month) of the sentences that settle it; none for NEI
    about: tuple[tuple[int, int], ...]  # (share, month) of the sentences on what the claim names


@dataclass
class Context:
    """A grid: for each share and month its facts and the aspect that its sentence is about; and the triples of claims on it."""

    shares: tuple[str, ...]
    months: tuple[datetime.date, ...]
    facts: list[list[dict[str, Any]]]  # share x month
    aspects: dict[tuple[int, int], str] = field(default_factory=dict)
    claims: list[Claim] = field(default_factory=list)


class Facts:
    """Facts of the months of some shares, by share and month, and the quarters in which at least three shares have all months."""

    def __init__(self, monthly: pl.DataFrame) -> None:
        self.by = {(row["asset"], row["month"]): row for row in monthly.iter_rows(named=True)}
        quarters: dict[tuple[datetime.date, ...], list[str]] = {}
        for asset, month in sorted(self.by):
            months = tuple(datetime.date(month.year, month.month + i, 1) for i in range(3)) if month.month % 3 == 1 else ()
            if months and all((asset, other) in self.by for other in months):
                quarters.setdefault(months, []).append(asset)
        self.quarters = [(months, shares) for months, shares in sorted(quarters.items()) if len(shares) >= 3]

    def draw(self, rng: np.random.Generator) -> Context:
        """A quarter and three shares of it, in random order."""
        months, shares = self.quarters[rng.integers(len(self.quarters))]
        chosen = tuple(shares[i] for i in rng.permutation(len(shares))[:3])
        return Context(chosen, months, [[self.by[share, month] for month in months] for share in chosen])


def contexts(facts: Facts, kinds: Sequence[str], rng: np.random.Generator) -> list[Context]:
    """Contexts whose triples are of the given kinds, each kind as often as it is named (three triples a context).

    Raises:
        CatalogError: too few shares or months for a kind.
    """
    if not facts.quarters:
        raise CatalogError("No quarter has three shares with a price on most days of its months; give more shares or years.")
    waiting = [kind for kind in rng.permutation(list(kinds)) if kind != "extreme"]
    extremes, made = list(kinds).count("extreme"), []
    while extremes or waiting:
        if extremes:
            beside = [kind for kind in waiting if kind in BESIDE_EXTREME][:2]
            asked, extremes = ["extreme", *beside], extremes - 1
        else:
            # One row of price levels a context: a second would give a share two of them.
            first = waiting[0]
            rest = [kind for kind in waiting[1:] if kind != "level" or first != "level"]
            asked = [first]
            for kind in rest:
                if len(asked) < 3 and not (kind == "level" and "level" in asked):
                    asked.append(kind)
        for kind in asked:
            if kind != "extreme":
                waiting.remove(kind)
        made.append(_context(facts, asked, rng))
    return made


def _context(facts: Facts, kinds: list[str], rng: np.random.Generator) -> Context:
    # Drawn once, not with each try: what the facts allow more often must not be claimed more often.
    rows = [int(month) for month in rng.permutation(3)]
    polarity = [bool(rng.integers(2)) for _ in kinds]
    for _ in range(TRIES):
        context = facts.draw(rng)
        asked, months = list(zip(kinds, polarity)), rows
        if kinds[0] == "extreme":
            if not (months := _extreme(context, polarity[0], rows, rng)):
                continue
            asked = asked[1:]
        if all(_triple(context, kind, positive, month, rng) for (kind, positive), month in zip(asked, months)):
            _fill(context, rng)
            return context
    raise CatalogError(f"No three shares and quarter were found for claims of the kinds {', '.join(kinds)}; give more shares or years.")


def _triple(context: Context, kind: str, positive: bool, month: int, rng: np.random.Generator) -> bool:
    """Add a triple of one kind and polarity in one month to a context if its facts allow; False if they do not."""
    aspect = EVIDENCE[kind][rng.integers(len(EVIDENCE[kind]))]
    order = [int(share) for share in rng.permutation(3)]
    for one, two, other in (order, [order[1], order[0], order[2]]):
        taken = [(share, context.aspects.get((share, month))) for share in (one, two, other)]
        if any(there not in (None, aspect) for _, there in taken[:2]) or not (taken[2][1] is None or taken[2][1] in OPEN[kind]):
            continue
        true, false = (context.facts[share][month] for share in (one, two))
        fits, threshold = _tells_apart(kind, true, false, positive)
        if not fits or (aspect == "level" and _levels(context)):
            continue
        left = taken[2][1] or _open_aspect(context, kind, rng)
        context.aspects |= {(one, month): aspect, (two, month): aspect, (other, month): left}
        where = tuple((share, month) for share in (one, two))
        if kind.startswith("compare"):
            pair = [other, one if rng.integers(2) else two]
            pair = pair if rng.integers(2) else pair[::-1]
            asked = {"True": ((one, two), where), "False": ((two, one), where), "NEI": (tuple(pair), ())}
        else:
            asked = {"True": ((one,), where[:1]), "False": ((two,), where[1:]), "NEI": ((other,), ())}
        for label, (shares, deciding) in asked.items():
            about = tuple((share, month) for share in shares)
            context.claims.append(Claim(label, kind, positive, shares, month, threshold, deciding, about))
        return True
    return False


def _tells_apart(kind: str, true: dict[str, Any], false: dict[str, Any], positive: bool) -> tuple[bool, float | None]:
    """Whether a claim of this kind and polarity is true of the first month's facts and false of the second's, and its threshold."""
    sign = 1 if positive else -1
    if kind in ("direction", "sign", "compare-by-sign"):
        return sign * true["change"] >= CLEAR and sign * false["change"] <= -CLEAR, None
    if kind == "compare-by-number":
        alike = true["change"] * false["change"] > 0
        return alike and GAP <= sign * (true["change"] - false["change"]) <= 2 * NEAR, None
    if kind == "volatility":
        ratios = [fact["swing"] / fact["swing_before"] for fact in (true, false)]
        return ratios[0] ** sign >= LOUDER and ratios[1] ** sign <= 1 / LOUDER, None
    if kind == "streak":  # "at least t" is positive; "never t" is true of the shorter run
        high, low = (true["streak"], false["streak"]) if positive else (false["streak"], true["streak"])
        return high > low >= 1 and high - low <= 3, float(high)
    if kind == "threshold":
        high, low = sign * true["change"], sign * false["change"]
    else:
        key = {"level": "last", "drawdown": "drawdown"}[kind]
        high, low = (true[key], false[key]) if positive else (false[key], true[key])
    if kind != "level":
        threshold = round(high + low) / 2  # the middle, to half a percent
        return threshold >= 1 and GAP <= high - threshold <= NEAR and GAP <= threshold - low <= NEAR, threshold
    threshold = float(round((high + low) / 2))
    return low >= 5 and high > low and min(high / threshold - 1, 1 - low / threshold) >= 0.01 and high / low <= 1.3, threshold


def _extreme(context: Context, positive: bool, places: list[int], rng: np.random.Generator) -> list[int]:
    """Give a context the triple of `extreme`; returns the months, in random order, where other kinds may stand: none if it cannot be had.

    A share with all three changes has a best (or worst) month, which makes True, and others, which make False. Of another share one
    change is missing, so that neither its missing month nor the best of the known ones can be called the best: NEI. The months of the
    three claims are the given places in the quarter, one each.
    """
    known, partly = (int(share) for share in rng.permutation(3)[:2])
    best, worse, third = places
    sign = 1 if positive else -1
    changes = [sign * fact["change"] for fact in context.facts[known]]
    if any(changes[best] - changes[month] < GAP for month in (worse, third)):
        return []
    missing = int(rng.integers(3))
    left = [month for month in range(3) if month != missing]
    partial = [sign * fact["change"] for fact in context.facts[partly]]
    leader = max(left, key=lambda month: partial[month])
    if abs(partial[left[0]] - partial[left[1]]) < GAP:
        return []
    if third not in (missing, leader):
        return []
    context.aspects |= {(known, month): "change" for month in range(3)}
    context.aspects |= {(partly, month): "change" for month in left}
    context.aspects[partly, missing] = _open_aspect(context, "extreme", rng)
    whole, part = (tuple((share, month) for month in range(3)) for share in (known, partly))
    context.claims += [
        Claim("True", "extreme", positive, (known,), best, None, whole, whole),
        Claim("False", "extreme", positive, (known,), worse, None, whole, whole),
        Claim("NEI", "extreme", positive, (partly,), third, None, (), part),
    ]
    return [int(month) for month in rng.permutation(left)]


def _levels(context: Context) -> bool:
    """Whether any sentence states a price: with two of one share, or one and a change, another price or change could be worked out."""
    return "level" in context.aspects.values()


def _open_aspect(context: Context, kind: str, rng: np.random.Generator) -> str:
    """An aspect that leaves a claim of this kind open, drawn at random."""
    allowed = [aspect for aspect in OPEN[kind] if aspect != "level" or not _levels(context)]
    return allowed[rng.integers(len(allowed))]


def _fill(context: Context, rng: np.random.Generator) -> None:
    """Give the cells that no claim is about an aspect that settles no claim and adds no level."""
    for share in range(3):
        for month in range(3):
            if (share, month) not in context.aspects:
                context.aspects[share, month] = ("volatility", "streak", "drawdown")[rng.integers(3)]
