"""Authored texts on real prices: sentiment of a note, yes-no questions on headlines, named entities, relations.

Every label follows by rule from the printed figures and the wording: positive from +1 %, negative from -1 %, neutral within 0.2 %; other
days are not used. Labels are balanced by drawing as many of each.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

from stages.open_finllms.offline_facts import COMPANIES, Day, Facts
from stages.open_finllms.offline_wordings import ENTITY_TEXTS, HEADLINE_QUESTIONS, HEADLINES, INSTRUCTIONS, NOTES, RELATION_TEXTS, TWO_WAY

Row = dict[str, Any]
SENTIMENTS = {"up": "positive", "down": "negative", "flat": "neutral"}
ANY = 0.4  # share of the texts whose wording names no direction


def instruction(task: str, split: str, rng: random.Random) -> str:
    """A wording of what is asked."""
    return rng.choice(INSTRUCTIONS[task][split])


def _of(facts: Facts, split: str, rng: random.Random, direction: str) -> Day:
    return next(day for day in facts.drawn(split, rng) if day.direction == direction)


def sentiment(facts: Facts, split: str, rng: random.Random) -> Iterator[Row]:
    """Notes on a day, positive, negative and neutral in turn."""
    while True:
        for direction in TWO_WAY:
            day = _of(facts, split, rng, direction)
            wording = rng.choice(NOTES[split]["any" if rng.random() < ANY else direction])
            yield {
                "instruction": instruction("sentiment", split, rng),
                "context": wording.format(**day.fields),
                "choices": list(SENTIMENTS.values()),
                "gold": SENTIMENTS[direction],
                "type": "sentiment",
                "template": wording,
                "asset": day.asset,
                "date": str(day.at),
            }


def headlines(facts: Facts, split: str, rng: random.Random) -> Iterator[Row]:
    """Two questions on each headline, one with the answer Yes and one with No; of the kinds asked so far the rarest comes next."""
    asked: Counter[tuple[str, bool]] = Counter()
    number = 0
    while True:
        direction = rng.choice(TWO_WAY)
        day = _of(facts, split, rng, direction)
        other = facts.names[rng.choice([asset for asset in facts.shares(split) if asset != day.asset])]
        wording = rng.choice(HEADLINES[split]["any" if rng.random() < ANY else direction])
        true = {kind: kind == direction for kind in TWO_WAY} | {"past": "{prev}" in wording, "compare": "{other}" in wording}
        number += 1
        pair = []
        for answer in (True, False):
            kinds = sorted((asked[kind, answer], rng.random(), kind) for kind, holds in true.items() if holds == answer)
            kind = kinds[0][2]
            asked[kind, answer] += 1
            pair.append((kind, answer))
        rng.shuffle(pair)
        for kind, answer in pair:
            yield {
                "instruction": instruction("headlines", split, rng),
                "context": wording.format(other=other, **day.fields),
                "question": rng.choice(HEADLINE_QUESTIONS[kind][split]),
                "choices": ["Yes", "No"],
                "gold": "Yes" if answer else "No",
                "label_type": kind,
                "type": "headline",
                "unit": f"headline {number}",
                "template": wording,
                "asset": day.asset,
                "date": str(day.at),
            }


def _pair(facts: Facts, split: str, rng: random.Random) -> tuple[Day, Day]:
    """Two shares on one day whose printed changes differ."""
    for day in facts.drawn(split, rng):
        other = facts.on(split, rng.choice([asset for asset in facts.shares(split) if asset != day.asset]), day.at)
        if other is not None and other.change != day.change:
            return day, other
    raise AssertionError("drawn never ends")


def _filled(wording: str, a: Day, b: Day) -> str:
    city, industry = COMPANIES[a.asset]
    changes = {"pa": f"{a.change:+.1f} %", "pb": f"{b.change:+.1f} %"}
    return wording.format(
        a=a.name, b=b.name, city=city, industry=industry, **changes, **{k: v for k, v in a.fields.items() if k in ("close", "date")}
    )


def tags(text: str, names: dict[str, str]) -> list[str]:
    """A tag a word: B- and I- of each name's type at every place where its words stand."""
    words = text.split()
    found = ["O"] * len(words)
    for name, kind in names.items():
        parts = name.split()
        for at in range(len(words) - len(parts) + 1):
            if words[at : at + len(parts)] == parts:
                found[at : at + len(parts)] = [f"B-{kind}"] + [f"I-{kind}"] * (len(parts) - 1)
    return found


def ner(facts: Facts, split: str, rng: random.Random) -> Iterator[Row]:
    """Companies (ORG) and their seats (LOC), one to three a text; the answer has them in the order of the text."""
    while True:
        a, b = _pair(facts, split, rng)
        wording = rng.choice(ENTITY_TEXTS[split])
        text = _filled(wording, a, b)
        kinds = {"{a}": (a.name, "ORG"), "{b}": (b.name, "ORG"), "{city}": (COMPANIES[a.asset][0], "LOC")}
        there = sorted((wording.index(mark), *what) for mark, what in kinds.items() if mark in wording)
        names = {name: kind for _, name, kind in there}
        yield {
            "instruction": instruction("ner", split, rng),
            "context": text,
            "gold": "\n".join(f"{name}, {kind}" for name, kind in names.items()),
            "text": text,
            "label": tags(text, names),
            "type": "named entities",
            "template": wording,
            "asset": a.asset,
            "date": str(a.at),
        }


def relations(facts: Facts, split: str, rng: random.Random) -> Iterator[Row]:
    """The relations that a text states: headquarters, industry, and which of two shares did better by the printed changes."""
    while True:
        a, b = _pair(facts, split, rng)
        wording = rng.choice(RELATION_TEXTS[split])
        if "gained" in wording and a.change <= 0:
            continue
        city, industry = COMPANIES[a.asset]
        better, worse = (a, b) if a.change > b.change else (b, a)
        found = [f"headquarters: {a.name}, {city}"] if "{city}" in wording else []
        found += [f"industry: {a.name}, {industry}"] if "{industry}" in wording else []
        found += [f"outperformed: {better.name}, {worse.name}"] if "{pb}" in wording else []
        yield {
            "instruction": instruction("relations", split, rng),
            "context": _filled(wording, a, b),
            "gold": "\n".join(found),
            "label": found,
            "type": "relations",
            "template": wording,
            "asset": a.asset,
            "date": str(a.at),
        }
