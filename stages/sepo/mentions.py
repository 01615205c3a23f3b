"""Numbers and names in a text, by form and class: what a corruption may exchange for one another.

Recognition is by rules and lists, so that the same text always gives the same spans. It prefers to miss a name rather than to take a
common word for one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from stages.sepo import lexicon
from stages.sepo.lexicon import MONTHS, WEEKDAYS

_START = re.compile(r"(?:^|[.!?:\n]\s*[\"'“‘(]*|[\"“]|\s-\s)$")


def has_word(text: str, word: str) -> bool:
    """Whether `word`, which may be several, stands in `text` in any case and not as a part of a longer word."""
    return re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text, re.IGNORECASE) is not None


def once(text: str, word: str) -> bool:
    return len(re.findall(rf"(?<!\w){re.escape(word)}(?!\w)", text)) == 1


def starts_sentence(text: str, at: int) -> bool:
    return _START.search(text[max(0, at - 4) : at]) is not None


# --- numbers --------------------------------------------------------------------------------------------------------------------------

_NUMBER = re.compile(
    r"(?<![\w.,:/£$€–-])([£$€]?)(\d{1,3}(?:,\d{3})+|\d+)((?:\.\d+)?)(%|bn|m|k|km|mph|kg|cm|ft)?(?![\w/:–]|[.,:]\d|-\d|-man\b)"
)
_MONTH = rf"(?:{'|'.join(MONTHS)})"
LOWER_BOUND = re.compile(r"\b(?:more than|at least|over|exceeding|above) $", re.IGNORECASE)
UPPER_BOUND = re.compile(r"\b(?:up to|fewer than|less than|under|nearly|almost) $", re.IGNORECASE)
_ROUGH = re.compile(r"\b(?:about|around|roughly|some|nearly|almost|estimated) $", re.IGNORECASE)


@dataclass(frozen=True)
class Number:
    start: int
    end: int
    text: str
    value: float
    currency: str
    unit: str
    decimals: int
    role: str  # age, day, year or count

    @property
    def form(self) -> tuple:
        """Numbers of one form may stand for one another."""
        return self.currency, self.unit, self.decimals, self.role, len(self.text)


def numbers(text: str) -> list[Number]:
    """Numbers in digits, without those of names (Euro 2016, Windows 10), ranges and scores."""
    found = []
    for match in _NUMBER.finditer(text):
        currency, whole, decimals, unit = match[1], match[2], match[3][1:], match[4] or ""
        before, after = text[: match.start()], text[match.end() :]
        value = float(whole.replace(",", "") + match[3])
        word = re.search(r"([\w'’]+) $", before)
        named = word is not None and word[1][0].isupper() and word[1] not in MONTHS and not starts_sentence(text, word.start())
        ranged = re.match(r" (?:and|to|or|-) [£$€]?\d", after) or re.search(r"\d\w* (?:and|to|or|-) $", before)
        if named or ranged or re.search(r"\b(?:number|page|channel|chapter|top|class|grade) $", before):
            continue
        year = not currency and not decimals and not unit and len(whole) == 4 and 1900 <= value < 2100
        if re.match(r"-year-old|-year old", after) or re.search(r"\b(?:aged?|age of) $", before):
            role = "age"
        elif re.match(rf" {_MONTH}\b", after) or (re.search(rf"\b{_MONTH} $", before) and not year):
            role = "day"
        else:
            role = "year" if year else "count"
        scale = re.match(r" (?:million|billion|trillion|per cent)\b", after)
        found.append(Number(*match.span(), match[0], value, currency, unit + (scale[0] if scale else ""), len(decimals), role))
    return found


def differs(number: Number, other: float, before: str) -> bool:
    """Whether another value makes the sentence false: far enough away, and on the right side of "at least" and "up to"."""
    apart = {"count": 0.35 if _ROUGH.search(before) else 0.2}.get(number.role, 0.0) * number.value
    if other == number.value or abs(other - number.value) < apart or (other <= 1 and number.value > 1):
        return False
    if number.role == "age" and (number.value < 18) != (other < 18):
        return False
    if number.unit.endswith(("%", "per cent")) and other >= 100:
        return False
    return not (LOWER_BOUND.search(before) and other < number.value) and not (UPPER_BOUND.search(before) and other > number.value)


def neighbours(number: Number) -> list[float]:
    """Plausible other values, written as roundly as the true one."""
    if number.role == "year":
        return [number.value + step for step in (-4, -3, -2, -1, 1, 2, 3)]
    if number.role == "day":
        return [float(day) for day in range(2, 29)]
    if number.role == "age" or (number.decimals == 0 and number.value <= 12):
        return [number.value + step for step in range(-9, 10) if 1 < abs(step) and (number.role == "age" or abs(step) < 5)]
    digits = len(re.sub(r"\D", "", number.text).strip("0"))
    scaled = (float(f"{number.value * factor:.{digits - 1}e}") for factor in (0.4, 0.5, 0.6, 0.7, 1.3, 1.5, 1.8, 2.5))
    rounded = [round(value, number.decimals) for value in scaled]
    return [value for value in rounded if f"{value:.{number.decimals}f}"[-1] != "0" or number.text.rstrip("%bnmk")[-1] == "0"]


# --- names ----------------------------------------------------------------------------------------------------------------------------

_CAPITAL = r"[A-Z][\w&-]*(?:['’][A-Z]\w+)?"
_RUN = re.compile(rf"\b{_CAPITAL}(?: (?:of (?:the )?)?{_CAPITAL})*")
_PERSON = re.compile(r"(?:Mc|Mac|O['’]|Al-|De)?[A-Z][a-zé]+(?:-[A-Z]?[a-z]+)?")
_CLASSES: dict[str, list[str]] = {}  # name -> its classes
for _key, _members in lexicon.CLASSES.items():
    for _name in _members:
        _CLASSES.setdefault(_name, []).append(_key)
_NO_PERSON = frozenset(word for name in _CLASSES for word in name.split()) | lexicon.TITLES | lexicon.OPENERS | {*MONTHS, *WEEKDAYS}


def name_spans(text: str) -> Iterator[tuple[int, int]]:
    """Spans of capitalised words, without a common word that is capitalised because it begins a sentence."""
    for match in _RUN.finditer(text):
        start, end = match.span()
        opener = re.match(r"(\w+) (?:of (?:the )?)?", match[0])
        if opener and opener[1] in lexicon.OPENERS and starts_sentence(text, start):
            start += opener.end()
        yield start, end


def name_keys(text: str, start: int, end: int, document: str) -> list[tuple[str, str]]:
    """(class, name) of a capitalised span: listed ones, else a person, else a body, classed by its last word."""
    name, before = text[start:end], text[:start]
    found = _CLASSES.get(name, [])
    if len({key in lexicon.PLACES for key in found}) > 1:  # a place that gives a team its name: the word before decides
        place = re.search(r"\b(?:in|at|near|from|of|to|around|outside|across|between|for|and|north|south|east|west|mid) $", before, re.I)
        found = [key for key in found if (key in lexicon.PLACES) == (place is not None)]
    if found:
        return [(key, name) for key in found]
    person = _person(name, document)
    if person:
        return [("person", person)]
    parts = name.split(" ")
    if 2 <= len(parts) <= 5 and parts[-1] in lexicon.HEADS and parts[0] not in lexicon.TITLES and "of" not in parts:
        return [(f"body {parts[-1]}", name)]
    return []


def _person(span: str, document: str) -> str | None:
    """The name, if the span ends in a first and a last name and the document has the last one alone."""
    parts = span.split(" ")
    while len(parts) > 2 and parts[0] in _NO_PERSON:
        parts = parts[1:]
    if len(parts) not in (2, 3) or not all(_PERSON.fullmatch(part) for part in parts):
        return None
    if parts[-1] in lexicon.HEADS | lexicon.PLACE_ENDS or {*parts} & (_NO_PERSON - lexicon.GIVEN):
        return None
    titled, alone = r"\b(?:Mr|Mrs|Ms|Miss|Dr|Sir|Prof) ", r"(?<![A-Z]\w)[a-z,;:\"'(“] |\n|\. |^"
    before = f"{titled}|{alone}" if parts[0] in lexicon.GIVEN else titled
    return " ".join(parts) if re.search(rf"(?:{before}){re.escape(parts[-1])}\b(?! [A-Z])", document) else None


def alike(one: str, other: str) -> bool:
    """Whether two names may mean the same thing, or one a part of the other."""
    if any(one in names and other in names for names in lexicon.SAME):
        return True
    first, second = ({w[:4].casefold() for w in name.split() if w not in lexicon.HEADS and len(w) > 2} for name in (one, other))
    return bool(first & second)


def mentions(summary: str, name: str) -> bool:
    """Whether a word of the name, other than a common last word, stands in the summary."""
    words = [word for word in name.split() if word not in lexicon.HEADS and len(word) > 3]
    return has_word(summary, name) or any(has_word(summary, word) for word in words)
