"""Sentences of claims, contexts and articles, from the authored wordings in ``data/fmdid/raw/wording.yaml``.

Each split has its own wordings, for claims as for contexts, so that none that was trained on is tested. A positive wording and its
negative twin stand in one entry; a claim's ``template`` names the group and the entry.
"""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import yaml

from catalog.base.errors import CatalogError

NUMBERED = ("change", "level", "streak", "drawdown")  # aspects whose sentence states a figure
ASPECTS = ("words", "volatility", *NUMBERED)
ORDINALS = ("first", "second", "third", "fourth")


def read(path: Path) -> dict[str, Any]:
    """The wordings: ``claims``, ``sentences``, ``lead`` and ``articles``, each by group and split.

    Raises:
        CatalogError: no such file, or a wording without its twin.
    """
    try:
        wordings = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CatalogError(f"There is no {path}; it is part of the project, so take it back from git.") from None
    for group, splits in wordings["claims"].items():
        if any(len(entry) != 2 for entries in splits.values() for entry in entries):
            raise CatalogError(f"A claim of {group} in {path.name} is not a pair of a positive and a negative wording; add the other.")
    return wordings


def month_name(month: datetime.date) -> str:
    """``March 2005``."""
    return f"{month_word(month)} {month.year}"


def month_word(month: datetime.date) -> str:
    """``March``, in English whatever the machine's language."""
    names = "January February March April May June July August September October November December".split()
    return names[month.month - 1]


def quarter(month: datetime.date) -> dict[str, Any]:
    """Fields ``q`` and ``year`` of a lead sentence."""
    return {"q": ORDINALS[(month.month - 1) // 3], "year": month.year}


def signed(number: float) -> str:
    """A change with its sign: ``+4.2``, ``-3.1``."""
    return f"{number:+.1f}"


def dollars(number: float) -> str:
    """A price with two decimals and commas at thousands: ``1,204.50``."""
    return f"{number:,.2f}"


def plain(number: float) -> str:
    """A threshold without a needless decimal: ``5``, ``5.5``, ``1,200``."""
    return f"{number:,.1f}".removesuffix(".0")


def sentence(wordings: dict[str, Any], split: str, aspect: str, number: int, share: str, fact: dict[str, Any]) -> str:
    """The sentence of a context about one aspect of a share's month, in wording ``number`` (modulo how many there are)."""
    entries = wordings["sentences"][aspect][split]
    entry = entries[number % len(entries)]
    month = month_name(fact["month"])
    if aspect in NUMBERED:
        figure = {
            "change": lambda: signed(fact["change"]),
            "level": lambda: dollars(fact["last"]),
            "streak": lambda: str(fact["streak"]),
            "drawdown": lambda: f"{fact['drawdown']:.1f}",
        }[aspect]()
        return entry.format(x=share, m=month, s=figure)
    positive = fact["change"] > 0 if aspect == "words" else fact["swing"] > fact["swing_before"]
    return entry[not positive].format(x=share, m=month)
