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
        single = sorted((KINDS.index(thing.kind), i) for i, thing in enumerate(things) if kinds[thing.kind] == 1)
        for at, (_, i) in enumerate(single):
            for _, j in single[at + 1 :]:
                text = f"Do the {things[i].kind} and the {things[j].kind} have the same colour?"
                yield Question(type, text, YES_NO[things[i].colour != things[j].colour], (i, j))
    else:
        for kind in KINDS:
            if kind not in kinds:
                yield Question(type, f"What colour is the {kind}?", None, (), tuple(thing.colour for thing in things))


def _others(things: list[Thing], asked: int, property: str) -> tuple[str, ...]:
    return tuple(getattr(thing, property) for i, thing in enumerate(things) if i != asked)


def choose(scenes: list[list[Thing]], shares: dict[str, float], rng: np.random.Generator) -> list[list[Question]]:
    """The questions of each scene of a split, balanced: what is asked tells nothing about the answer.

    Scenes are visited in a random order, and of the questions that a scene allows the one is taken whose answer was given least often,
    to the same text and in the type as a whole. Where even that answer is ahead of another one, the scene has to wait for the next round,
    which lets answers be one further ahead.

    Args:
        shares: type -> how many questions of it an image has in the mean, at most one each; fewer where too few scenes allow one.
    """
    chosen: list[list[Question]] = [[] for _ in scenes]
    for type, share in shares.items():
        options = [list(possible(things, type)) for things in scenes]
        waiting = [int(at) for at in rng.permutation(len(scenes)) if options[at]]
        left, slack, given = min(round(share * len(scenes)), len(waiting)), 0, Given(type)
        while left:
            later = []
            for at in waiting:
                best = min(options[at], key=lambda question: (given.ahead(question), rng.random()))  # noqa: B023
                if not left or given.ahead(best)[0] > slack:
                    later.append(at)
                    continue
                given.add(best)
                chosen[at].append(best)
                left -= 1
            waiting, slack = later, slack + 1
    return chosen


class Given:
    """How often each answer was given so far to the questions of one type."""

    def __init__(self, type: str) -> None:
        self.candidates = CANDIDATES[type]
        self.by_text: Counter = Counter()
        self.by_answer: Counter = Counter()
        self.texts: Counter = Counter()

    def ahead(self, question: Question) -> tuple[int, ...]:
        """By how much the answer is ahead of the rarest one, to this text and in the type; then how often the text occurred."""
        text = self.by_text[question.text, question.answer] - min(self.by_text[question.text, other] for other in self.candidates)
        whole = self.by_answer[question.answer] - min(self.by_answer[other] for other in self.candidates)
        return max(text, whole), text + whole, self.texts[question.text]

    def add(self, question: Question) -> None:
        """Count one more question."""
        self.by_text[question.text, question.answer] += 1
        self.by_answer[question.answer] += 1
        self.texts[question.text] += 1


def facts(things: list[Thing]) -> str:
    """The scene in words, an object a sentence."""
    return " ".join(f"The {thing.kind} at the {thing.place} is {thing.colour}." for thing in things)
