"""A reader that is a rule: what the labels should be, worked out from the texts of a claim and its context alone.

It recognises every sentence by the wordings of ``data/fmdid/raw/wording.yaml``, keeps those about the claim's shares and month, and
compares. It was written with the wordings in sight, so its score says that the labels follow from the text, and how well an answer can be
that reads everything; it says nothing about reading text in other words.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from typing import Any

from stages.fmdllama.articles import consistent

NUMBER, MONTH = r"[-+]?\d[\d,]*(?:\.\d+)?", r"[A-Z][a-z]+ \d{4}"
Read = tuple[str, int, dict[str, str]]  # group or aspect, polarity (0 positive, 1 negative), fields


class Reader:
    """Patterns of all wordings; ``names`` are the shares' names, which sentences may hold."""

    def __init__(self, wordings: dict[str, Any], names: Iterable[str]) -> None:
        share = "|".join(sorted(map(re.escape, names), key=len, reverse=True))
        numbers = dict.fromkeys(("s", "t", "p0", "p1", "hi", "lo", "n", "up", "dn"), NUMBER)
        self.fields = {"x": share, "y": share, "m": MONTH, **numbers}
        self.claims = [(group, i, self._pattern(text)) for group, splits in wordings["claims"].items() for i, text in _texts(splits)]
        self.sentences = [
            (aspect, i, self._pattern(text)) for aspect, splits in wordings["sentences"].items() for i, text in _texts(splits)
        ]
        self.notes = [self._pattern(" ".join(note)) for notes in wordings["articles"].values() for note in notes]
        self.read = cache(lambda text: _match(self.sentences, text))

    def _pattern(self, wording: str) -> re.Pattern[str]:
        parts, seen = re.split(r"\{(\w+)\}", wording), set()
        pattern = ""
        for position, part in enumerate(parts):
            if position % 2 == 0:
                pattern += re.escape(part)
            else:
                pattern += f"(?P={part})" if part in seen else f"(?P<{part}>{self.fields[part]})"
                seen.add(part)
        return re.compile(pattern)

    def label(self, claim: str, context: Iterable[str]) -> str:
        """True, False or NEI; NEI also where the claim has no known wording."""
        found = _match(self.claims, claim)
        if found is None:
            return "NEI"
        group, polarity, fields = found
        verdict = _judge(group, polarity == 0, fields, [read for read in map(self.read, context) if read])
        return "NEI" if verdict is None else str(verdict)

    def note_label(self, sentences: Iterable[str]) -> str:
        """True or Fake of a note of the two-way task: whether its figures agree."""
        text = " ".join(sentences)
        found = next(filter(None, (pattern.fullmatch(text) for pattern in self.notes)), None)
        if found is None:
            return "Fake"
        keys = {"before": "p0", "last": "p1", "change": "s", "high": "hi", "low": "lo", "days": "n", "up": "up", "down": "dn"}
        return "True" if consistent({key: _number(found[field]) for key, field in keys.items()}) else "Fake"


def _texts(splits: dict[str, list[Any]]) -> Iterable[tuple[int, str]]:
    for entries in splits.values():
        for entry in entries:
            yield from enumerate([entry] if isinstance(entry, str) else entry)


def _match(patterns: list[tuple[str, int, re.Pattern[str]]], text: str) -> Read | None:
    for group, polarity, pattern in patterns:
        if found := pattern.fullmatch(text):
            return group, polarity, found.groupdict()
    return None


def _number(text: str) -> float:
    return float(text.replace(",", ""))


def _judge(group: str, positive: bool, fields: dict[str, str], known: list[Read]) -> bool | None:
    """Whether a claim is true of the known sentences; None where they do not settle it."""
    share, month = fields["x"], fields["m"]
    figures = {(aspect, read["x"], read["m"]): _number(read["s"]) for aspect, _, read in known if "s" in read}
    ups = {(aspect, read["x"], read["m"]): polarity == 0 for aspect, polarity, read in known if "s" not in read}
    if group == "move":
        up = _up(figures, ups, share, month)
        return None if up is None else up == positive
    if group == "volatility":
        up = ups.get(("volatility", share, month))
        return None if up is None else up == positive
    if group == "compare":
        pair = [figures.get(("change", name, month)) for name in (share, fields["y"])]
        if None in pair:
            pair = [_up(figures, ups, name, month) for name in (share, fields["y"])]
        return None if None in pair or pair[0] == pair[1] else (pair[0] > pair[1]) == positive
    if group == "extreme":
        changes = {other: change for (aspect, name, other), change in figures.items() if aspect == "change" and name == share}
        return None if len(changes) < 3 else changes[month] == (max if positive else min)(changes.values())
    value, threshold = figures.get(({"threshold": "change"}.get(group, group), share, month)), _number(fields["t"])
    if value is None:
        return None
    if group == "streak":
        return (value >= threshold) == positive
    return value > threshold if positive else value < (-threshold if group == "threshold" else threshold)


def _up(figures: dict, ups: dict, share: str, month: str) -> bool | None:
    change = figures.get(("change", share, month))
    return ups.get(("words", share, month)) if change is None else change > 0
