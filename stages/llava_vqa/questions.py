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
TYPES = ("colour", "kind", "place", "count", "presence", "same", "absent")


def candidates(kinds: tuple[str, ...], colours: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Type of question -> all answers to it that are possible."""
    return dict(zip(TYPES, (colours, kinds, PLACES, NUMBERS, YES_NO, YES_NO, colours)))


CANDIDATES = candidates(KINDS, tuple(COLOURS))


@dataclass(frozen=True)
class Question:
    """One question about one scene."""

    type: str
    text: str
    answer: str | None
    asked: tuple[int, ...] = ()  # objects the answer is about
    others: tuple[str, ...] = ()  # what every other object of the scene would answer


def possible(things: list[Thing], type: str, among: tuple[str, ...] = KINDS) -> Iterator[Question]:
    """All questions of a type that a scene allows. A description fits exactly one object.

    Args:
        among: kinds that may be asked for, whether or not the scene has them.
    """
    kinds, colours = Counter(t.kind for t in things), Counter(t.colour for t in things)
    if type in ("colour", "place"):
        for i, thing in enumerate(things):
            if kinds[thing.kind] == 1 and getattr(thing, type):
                text = f"What colour is the {thing.kind}?" if type == "colour" else f"Where is the {thing.kind}?"
                yield Question(type, text, getattr(thing, type), (i,), _others(things, i, type))
    elif type == "kind":
        for i, thing in enumerate(things):
            if thing.colour and colours[thing.colour] == 1:
                yield Question(type, f"What is {thing.colour}?", thing.kind, (i,), _others(things, i, type))
    elif type == "count" and 0 < len(things) <= len(NUMBERS):
        yield Question(type, "How many objects are there?", NUMBERS[len(things) - 1], tuple(range(len(things))))
    elif type == "presence":
        for kind in among:
            asked = tuple(i for i, thing in enumerate(things) if thing.kind == kind)
            yield Question(type, f"Is there a {kind}?", YES_NO[not asked], asked)
    elif type == "same":
        single = sorted((among.index(thing.kind), i) for i, thing in enumerate(things) if kinds[thing.kind] == 1 and thing.colour)
        for at, (_, i) in enumerate(single):
            for _, j in single[at + 1 :]:
                text = f"Do the {things[i].kind} and the {things[j].kind} have the same colour?"
                yield Question(type, text, YES_NO[things[i].colour != things[j].colour], (i, j))
    elif type == "absent":
        for kind in among:
            if kind not in kinds:
                yield Question(type, f"What colour is the {kind}?", None, (), tuple(thing.colour for thing in things if thing.colour))


def _others(things: list[Thing], asked: int, property: str) -> tuple[str, ...]:
    return tuple(getattr(thing, property) for i, thing in enumerate(things) if i != asked and getattr(thing, property))


def choose(
    scenes: list[list[Thing]], shares: dict[str, float], rng: np.random.Generator, answers: dict[str, tuple[str, ...]] = CANDIDATES
) -> list[list[Question]]:
    """The questions of each scene of a split, balanced: what is asked tells nothing about the answer.

    Scenes are visited in a random order, and of the questions that a scene allows the one is taken whose answer was given least often,
    to the same text and in the type as a whole. Where even that answer is ahead of another one, the scene has to wait for the next round,
    which lets answers be one further ahead.

    Args:
        shares: type -> how many questions of it an image has in the mean, at most one each; fewer where too few scenes allow one.
        answers: type -> answers that are possible.
    """
    chosen: list[list[Question]] = [[] for _ in scenes]
    for type, share in shares.items():
        options = [list(possible(things, type, answers["kind"])) if answers[type] else [] for things in scenes]
        waiting = [int(at) for at in rng.permutation(len(scenes)) if options[at]]
        left, slack, given = min(round(share * len(scenes)), len(waiting)), 0, Given(answers[type])
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

    def __init__(self, candidates: tuple[str, ...]) -> None:
        self.candidates = candidates
        self.by_text: Counter = Counter()
        self.by_answer: Counter = Counter()
        self.texts: Counter = Counter()

    def ahead(self, question: Question) -> tuple[int, ...]:
        """By how much the answer is ahead of the rarest one, to this text and in the type; then how often the text occurred.

        A question about what is not there has no answer that could be ahead.
        """
        if question.answer is None:
            return 0, 0, self.texts[question.text]
        text = self.by_text[question.text, question.answer] - min(self.by_text[question.text, other] for other in self.candidates)
        whole = self.by_answer[question.answer] - min(self.by_answer[other] for other in self.candidates)
        return max(text, whole), text + whole, self.texts[question.text]

    def add(self, question: Question) -> None:
        """Count one more question."""
        self.by_text[question.text, question.answer] += 1
        self.by_answer[question.answer] += 1
        self.texts[question.text] += 1


def facts(things: list[Thing]) -> str:
    """The scene in words, an object a sentence; nothing about an object of which neither place nor colour is known."""
    said = []
    for thing in things:
        where = f"at the {thing.place}" if thing.place else ""
        if thing.colour:
            said.append(" ".join(f"The {thing.kind} {where} is {thing.colour}.".split()))
        elif where:
            said.append(f"The {thing.kind} is {where}.")
    return " ".join(said)
