"""Questions about a scene, with the answer, what other objects of the scene would answer, and the same facts as text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from stages.llava_vqa.pictures import COLOURS, KINDS
from stages.llava_vqa.scenes import PLACES, Thing

NUMBERS = ("one", "two", "three", "four")
YES_NO = ("yes", "no")
CANDIDATES = {
    "colour": tuple(COLOURS),
    "kind": KINDS,
    "place": PLACES,
    "count": NUMBERS,
    "presence": YES_NO,
    "same": YES_NO,
    "absent": tuple(COLOURS),
}
TYPES = tuple(CANDIDATES)


@dataclass(frozen=True)
class Question:
    """One question about one scene."""

    type: str
    text: str
    answer: str | None
    asked: tuple[int, ...] = ()  # objects the answer is about
    others: tuple[str, ...] = ()  # what every other object of the scene would answer


def possible(things: list[Thing], type: str) -> Iterator[Question]:
    """All questions of a type that a scene allows. A description fits exactly one object."""
    kinds, colours = Counter(t.kind for t in things), Counter(t.colour for t in things)
    if type in ("colour", "place"):
        for i, thing in enumerate(things):
            if kinds[thing.kind] == 1:
                text = f"What colour is the {thing.kind}?" if type == "colour" else f"Where is the {thing.kind}?"
                yield Question(type, text, getattr(thing, type), (i,), _others(things, i, type))
    elif type == "kind":
        for i, thing in enumerate(things):
            if colours[thing.colour] == 1:
                yield Question(type, f"What is {thing.colour}?", thing.kind, (i,), _others(things, i, type))
    elif type == "count":
        yield Question(type, "How many objects are there?", NUMBERS[len(things) - 1], tuple(range(len(things))))
    elif type == "presence":
        for kind in KINDS:
            asked = tuple(i for i, thing in enumerate(things) if thing.kind == kind)
            yield Question(type, f"Is there a {kind}?", YES_NO[not asked], asked)
    elif type == "same":
        single = [i for i, thing in enumerate(things) if kinds[thing.kind] == 1]
        for i in single:
            for j in single:
                if i != j:
                    text = f"Do the {things[i].kind} and the {things[j].kind} have the same colour?"
                    yield Question(type, text, YES_NO[things[i].colour != things[j].colour], (i, j))
    else:
        for kind in KINDS:
            if kind not in kinds:
                yield Question(type, f"What colour is the {kind}?", None, (), tuple(thing.colour for thing in things))


def _others(things: list[Thing], asked: int, property: str) -> tuple[str, ...]:
    return tuple(getattr(thing, property) for i, thing in enumerate(things) if i != asked)


def choose(scenes: list[list[Thing]], shares: dict[str, float], rng: np.random.Generator) -> list[list[Question]]:
    """The questions of each scene of a split, balanced.

    Of the questions a scene allows, the one is taken whose answer was given least often to the same text so far, then the one whose answer
    was given least often within the type. So what is asked tells nothing about the answer.

    Args:
        shares: type -> how many questions of it an image has in the mean, at most one each. Where too few scenes allow one, there are fewer.
    """
    by_text: Counter = Counter()
    by_answer: Counter = Counter()
    asked: Counter = Counter()
    chosen: list[list[Question]] = [[] for _ in scenes]
    for type, share in shares.items():
        left = round(share * len(scenes))
        for at in rng.permutation(len(scenes)):
            options = list(possible(scenes[at], type))
            if not left or not options:
                continue
            ties = rng.random(len(options))

            def rarity(i: int) -> tuple[float, ...]:
                text, answer = options[i].text, options[i].answer
                ahead = by_text[text, answer] - min(by_text[text, other] for other in CANDIDATES[type])
                return ahead, by_answer[type, answer], asked[text], ties[i]

            question = options[min(range(len(options)), key=rarity)]
            by_text[question.text, question.answer] += 1
            by_answer[type, question.answer] += 1
            asked[question.text] += 1
            chosen[at].append(question)
            left -= 1
    return chosen


def facts(things: list[Thing]) -> str:
    """The scene in words, an object a sentence."""
    return " ".join(f"The {thing.kind} at the {thing.place} is {thing.colour}." for thing in things)
