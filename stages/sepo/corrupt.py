"""One factual corruption of a one-sentence summary: preference pairs of which the deciding tokens are known.

Preference data seldom say which tokens make a response the better one, though that is what a selector of tokens claims to find. Here the
rejected response y_l is the chosen summary y_w with one span exchanged,

    y_l = y_w[:s] + r + y_w[e:],   so the deciding characters are [s, e) of y_w and [s, s + |r|) of y_l.

Both spans are whole words, neither is empty, and they begin with the first word in which the texts differ: an added "not" is
"been" -> "not been". The construction is this project's own and no part of SePO (arXiv 2408.13518).

============  ========================================================================================================================
``number``    another number of the document in the same form, or a plausible neighbour (another year, age or amount)
``entity``    a person, team, company, party or body exchanged for another of its class in the document
``place``     a country, nationality, city or county, likewise
``date``      a weekday or month, of the document if it has another, or a unit of time
``negation``  "not" added to or taken from a verb
``antonym``   a word or phrase of an authored list exchanged for its opposite (`stages.sepo.lexicon`)
============  ========================================================================================================================

No name is put into a summary that speaks of crime, death or blame, so that no corruption accuses a person or body of the document.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from stages.sepo import lexicon
from stages.sepo.lexicon import MONTHS, NUMBER_WORDS, WEEKDAYS
from stages.sepo.mentions import (
    LOWER_BOUND,
    UPPER_BOUND,
    alike,
    differs,
    has_word,
    mentions,
    name_keys,
    name_spans,
    neighbours,
    numbers,
    once,
    starts_sentence,
)

KINDS = ("number", "entity", "place", "date", "negation", "antonym")
NOTHING, NO_DOCUMENT, NO_SUMMARY = "no rule applies", "no document", "no summary"  # why a summary gives no pair


@dataclass(frozen=True)
class Change:
    """One corruption: characters [start, end) of a summary become ``replacement``."""

    kind: str
    start: int
    end: int
    replacement: str
    rule: str  # what was exchanged; draws keep the rules of a kind even

    def apply(self, summary: str) -> str:
        return summary[: self.start] + self.replacement + summary[self.end :]


def changes(summary: str, document: str, rng: np.random.Generator) -> list[Change]:
    """Every corruption the rules allow, in the order of `RULES` and of the text; `rng` draws among equal replacements."""
    found = (_with_article(_trimmed(change, summary), summary) for rule in RULES for change in rule(summary, document, rng))
    return [change for change in found if change.apply(summary).casefold() != summary.casefold()]


def draw(items: Iterable[tuple[str, str, str]], per_document: int, kinds: Iterable[str], seed: int) -> dict[str, list[Change] | str]:
    """Choose up to `per_document` corruptions of different kinds for each summary, so that kinds are as even as the data allow.

    Documents are visited in a seeded order. Each time the kind with the fewest pairs so far is taken, and within it the rule used least.

    Args:
        items: (id, document, summary), ids distinct.

    Returns:
        id -> corruptions in the order of the text, or the reason why there is none; in the order of `items`.
    """
    items, kinds = list(items), frozenset(kinds)
    made: dict[str, list[Change] | str] = {}
    used: Counter[tuple[str, ...]] = Counter()
    for at in np.random.default_rng([seed, 1]).permutation(len(items)):
        name, document, summary = items[at]
        if not summary.strip() or not document.strip():
            made[name] = NO_DOCUMENT if summary.strip() else NO_SUMMARY
            continue
        rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
        left = [change for change in changes(summary, document, rng) if change.kind in kinds]
        left = [left[place] for place in rng.permutation(len(left))]
        taken: list[Change] = []
        while left and len(taken) < per_document:
            best = min(left, key=lambda change: (used[change.kind,], used[change.kind, change.rule]))
            used.update([(best.kind,), (best.kind, best.rule)])
            taken.append(best)
            left = [change for change in left if change.kind != best.kind]
        made[name] = sorted(taken, key=lambda change: (change.start, change.kind)) or NOTHING
    return {name: made[name] for name, _, _ in items}


# --- words ----------------------------------------------------------------------------------------------------------------------------


def _like_case(word: str, model: str) -> str:
    return word[0].upper() + word[1:] if model[0].isupper() else word


def _takes_an(word: str) -> bool:
    if re.match(r"[A-Z]{2}", word):
        return re.match(r"[AEFHILMNORSX]", word) is not None
    return re.match(r"8|11\b|18\b|hon(?:est|our)|hour|heir|(?!eu|one\b)[aeio]|u(?!n[iu]|s|t[ei])", word, re.IGNORECASE) is not None


def _trimmed(change: Change, summary: str) -> Change:
    """Without the first and last words that both sides share, unless a side would be left empty."""
    old, new, start = summary[change.start : change.end].split(" "), change.replacement.split(" "), change.start
    while len(old) > 1 < len(new) and old[0] == new[0]:
        start += len(old[0]) + 1
        old, new = old[1:], new[1:]
    while len(old) > 1 < len(new) and old[-1] == new[-1]:
        old, new = old[:-1], new[:-1]
    return replace(change, start=start, end=start + len(" ".join(old)), replacement=" ".join(new))


def _with_article(change: Change, summary: str) -> Change:
    """Take "a" or "an" before the span into it where the replacement needs the other."""
    article = re.search(r"\b([Aa])n? $", summary[: change.start])
    if article is None or _takes_an(summary[change.start :]) == _takes_an(change.replacement):
        return change
    new = f"{article[1]}{'n' * _takes_an(change.replacement)} {change.replacement}"
    return replace(change, start=article.start(), replacement=new)


# --- numbers --------------------------------------------------------------------------------------------------------------------------

_WORD = re.compile(
    rf"(?<![\w-])(?:{'|'.join(NUMBER_WORDS)})(?![\w’']|-(?!(?:year|month|week|day|hour|mile|bedroom|storey|time|match|game|Test)\b)"
    r"| (?:thirds|quarters|fifths|of a kind|hundred|and|or|to|halves|times)\b)",
    re.IGNORECASE,
)
_FIXED = frozenset(("0", "1", "24", "100%", "999", "911", "101"))  # 24 hours, the number of the police


def _number(summary: str, document: str, rng: np.random.Generator) -> Iterator[Change]:
    there, elsewhere = numbers(summary), numbers(document)
    values = {number.value for number in there}
    for number in there:
        if number.text in _FIXED:
            continue
        before = summary[: number.start]
        told = {o.text: o.value for o in elsewhere if o.form == number.form and o.value not in values and differs(number, o.value, before)}
        near = [value for value in neighbours(number) if value not in values and differs(number, value, before)]
        if told:
            text = sorted(told)[rng.integers(len(told))]
        elif near:
            comma = "," if "," in number.text else ""
            text = f"{number.currency}{near[rng.integers(len(near))]:{comma}.{number.decimals}f}{number.unit.split(' ')[0]}"
        else:
            continue
        yield Change("number", number.start, number.end, text, f"{number.role} {'told' if told else 'near'}")
    for match in _WORD.finditer(summary):
        before = summary[: match.start()]
        named = match[0][0].isupper() and not starts_sentence(summary, match.start())
        if named or re.search(r"\b(?:or|to|the other|both) $", before, re.IGNORECASE):
            continue
        place = NUMBER_WORDS.index(match[0].lower())
        low, high = (1 if LOWER_BOUND.search(before) else -3), (-1 if UPPER_BOUND.search(before) else 3)
        choices = [word for word in NUMBER_WORDS[max(0, place + low) : place + high + 1] if not has_word(summary, word)]
        told_words = [word for word in choices if has_word(document, word)]
        if choices:
            text = (told_words or choices)[rng.integers(len(told_words or choices))]
            yield Change("number", *match.span(), _like_case(text, match[0]), f"word {'told' if told_words else 'near'}")


# --- names ----------------------------------------------------------------------------------------------------------------------------


def _named(summary: str, document: str, rng: np.random.Generator) -> Iterator[Change]:
    """Names exchanged for others of their class in the document."""
    others: dict[str, set[str]] = {}
    for start, end in name_spans(document):
        for key, name in name_keys(document, start, end, document):
            others.setdefault(key, set()).add(name)
    accuses = lexicon.ACCUSES.search(summary) is not None
    for start, end in name_spans(summary):
        for key, name in name_keys(summary, start, end, document):
            kind, at = "place" if key in lexicon.PLACES else "entity", end - len(name)
            if (kind == "entity" and accuses) or not once(summary, name) or re.match(r" (?:19|20)\d\d\b", summary[end:]):
                continue  # London 2012 is an event
            if "-" in (summary[end : end + 1], summary[max(0, at - 1) : at]):
                continue
            choices = sorted(other for other in others.get(key, ()) if not alike(name, other) and not mentions(summary, other))
            if not choices:
                continue
            new, stop = choices[rng.integers(len(choices))], end
            if re.match(r"['’]s\b", summary[end:]) and new.endswith("s"):
                new, stop = new + summary[end], end + 2
            elif re.match(r"['’](?!\w)", summary[end:]) and not new.endswith("s"):
                continue
            yield Change(kind, at, stop, new, key)


# --- dates ----------------------------------------------------------------------------------------------------------------------------

_UNIT = re.compile(
    rf"(?<![\w-])(?<!months of )(?:{'|'.join(sorted(lexicon.UNITS, key=len, reverse=True))})"
    r"(?![\w'’-]| of the year|, \d)",
    re.IGNORECASE,
)
_AMOUNT = re.compile(rf"\b(more than |over |at least )?(?:\d+|one|{'|'.join(NUMBER_WORDS)}|few|several) $", re.IGNORECASE)
_DATED = re.compile(r"(?:\b(?:in|on|by|until|since|of|last|next|from|early|late|mid|between|before|after|for|this)|\d) $", re.IGNORECASE)


def _date(summary: str, document: str, rng: np.random.Generator) -> Iterator[Change]:
    for key, names in (("weekday", WEEKDAYS), ("month", MONTHS)):
        for match in re.finditer(rf"\b(?:{'|'.join(names)})\b", summary):
            before, after = summary[: match.start()], summary[match.end() :]
            if re.match(r" [A-Z]|-", after) or re.search(r"[A-Z]\w+ $|-$", before) or not once(summary, match[0]):
                continue
            if match[0] in lexicon.ALSO_WORDS and not _DATED.search(before) and not re.match(r" \d", after):
                continue
            day = re.search(r"\b(\d+) $", before) or re.match(r" (\d+)\b(?!,?\d)", after)
            long = day is not None and 28 < int(day[1]) < 32
            choices = [name for name in names if not has_word(summary, name) and not (long and name not in lexicon.LONG_MONTHS)]
            told = [name for name in choices if name not in lexicon.ALSO_WORDS and re.search(rf"\b{name}\b", document)]
            yield Change("date", *match.span(), (told or choices)[rng.integers(len(told or choices))], key)
    for match in _UNIT.finditer(summary):
        new = lexicon.UNITS[match[0].lower()]
        amount = _AMOUNT.search(summary[: match.start()])
        if match[0].endswith("s") and (amount is None or amount[1]):
            continue  # "for years" is true of decades, "more than five months" of five years
        if not has_word(summary, new) and not (match[0][0].isupper() and match.start()):
            yield Change("date", *match.span(), _like_case(new, match[0]), f"unit {match[0].lower()}")


# --- negation -------------------------------------------------------------------------------------------------------------------------

_PART = rf"(?:[a-z]+ed|{'|'.join(lexicon.PARTICIPLES)})"
_PLAIN = re.compile(
    rf"\b(?:(?:has|have|had) (?={_PART}\b)|(?:is|are|was|were) (?=(?:{_PART}|[a-z]+ing|to|due|set|expected|a|an|the|in|under|being)\b)"
    r"|(?:will|would|can|could|should|must|may|might) (?=[a-z]))([a-z]+)"
)
_NEGATED = re.compile(r"\b((?:is|are|was|were|has|have|had|will|would|could|should|may|might|must|be) )not ((?!only\b|just\b)[a-z]+)")
_NEGATIVE = re.compile(r"\b(?:no|not|never|nor|neither|nobody|nothing|without|cannot|any|yet|either|ever)\b|n['’]t\b", re.IGNORECASE)
_QUESTION = re.compile(r"\b(?:what|who|how|why|where|whose|his|her|their|its|free|than|as) $", re.IGNORECASE)
_ASIDE = frozenset("also only never he she it they we you there this that denied".split())


def _negation(summary: str, document: str, rng: np.random.Generator) -> Iterator[Change]:
    if summary.rstrip("\"'”’").endswith("?"):
        return
    if _NEGATIVE.search(summary) is None:
        for match in _PLAIN.finditer(summary):
            before, last = summary[: match.start()], re.fullmatch(r"\W*", summary[match.end() :]) is not None
            asked = starts_sentence(summary, match.start()) or _QUESTION.search(before)
            if not asked and not (last and "," in before) and match[1] not in _ASIDE:  # "…, a court has heard." is no claim
                yield Change("negation", *match.span(1), f"not {match[1]}", f"not after {match[0].split(' ')[0]}")
    elif not lexicon.ACCUSES.search(summary):
        for match in _NEGATED.finditer(summary):
            yield Change("negation", match.end(1), match.end(), match[2], "not removed")
        for short, full in lexicon.CONTRACTIONS.items():
            for match in re.finditer(rf"\b{short.replace(chr(39), '[’' + chr(39) + ']')}\b", summary, re.IGNORECASE):
                if not re.search(r"\b(?:any|yet|either|ever)\b", summary[match.end() :]):
                    yield Change("negation", *match.span(), _like_case(full, match[0]), f"{short} removed")
        for match in re.finditer(r"\b(no) ([a-z]+[a-rt-z]s)\b", summary, re.IGNORECASE):
            yield Change("negation", *match.span(), _like_case(match[2], match[1]), "no removed")


# --- antonyms -------------------------------------------------------------------------------------------------------------------------

_OPPOSITES: dict[str, list[str]] = {}
for _left, _right in lexicon.ANTONYMS:
    _OPPOSITES.setdefault(_left, []).append(_right)
_ANTONYM = re.compile(rf"(?<![\w'’-])(?:{'|'.join(sorted(map(re.escape, _OPPOSITES), key=len, reverse=True))})(?![\w-])", re.IGNORECASE)


def _antonym(summary: str, document: str, rng: np.random.Generator) -> Iterator[Change]:
    gendered = re.search(r"\b(?:he|she|his|her|him|himself|herself|pregnan\w+|birth)\b", summary, re.IGNORECASE) is not None
    accuses = lexicon.ACCUSES.search(summary) is not None
    for match in _ANTONYM.finditer(summary):
        left = match[0][0].lower() + match[0][1:]
        if left not in _OPPOSITES or (match[0] != left and not starts_sentence(summary, match.start())):
            continue
        if (left in lexicon.GENDER and gendered) or (left == "denied" and accuses):
            continue
        before, after = lexicon.BARRED.get(left, ("", ""))
        if (before and re.search(before, summary[: match.start()], re.IGNORECASE)) or (after and re.match(after, summary[match.end() :])):
            continue
        choices = [right for right in _OPPOSITES[left] if not has_word(summary, right)]
        if choices and len(re.findall(rf"(?<![\w-]){left}(?![\w-])", summary, re.IGNORECASE)) == 1:
            right = choices[rng.integers(len(choices))]
            yield Change("antonym", *match.span(), _like_case(right, match[0]), f"{left} > {right}")


RULES: tuple[Callable[[str, str, np.random.Generator], Iterator[Change]], ...] = (_number, _named, _date, _negation, _antonym)
