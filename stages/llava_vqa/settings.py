"""The parameters of `llava_vqa`, a dataclass for each stage."""

from __future__ import annotations

from dataclasses import dataclass

SPLITS = ("train", "valid", "seen", "unseen")


@dataclass(frozen=True)
class Data:
    """Composed images and questions about them."""

    images: dict[str, int]  # split -> images
    size: int  # pixels of a side
    objects: tuple[float, ...]  # probability of one object, of two, of three, of four
    sides: tuple[int, int]  # pixels of an object's longer side, least and most
    same_colour: float  # probability that an object takes the colour of an earlier one
    same_kind: float  # probability that it takes the kind of an earlier one
    questions: dict[str, float]  # type -> questions of it an image, at most 1; absent is not asked in train and valid
    coco: str  # folder in data/own/llava_vqa with instances.json and images/, whose photographs become the split coco; empty for none


@dataclass(frozen=True)
class Train:
    """The small LLaVA."""


@dataclass(frozen=True)
class Answers:
    """Answers to all questions, and controls."""


@dataclass(frozen=True)
class Mechanism:
    """Analyses of heads and projections."""


@dataclass(frozen=True)
class Maps:
    """Where the model looks, by every method."""


@dataclass(frozen=True)
class Evaluate:
    """What the evaluation compares."""


@dataclass(frozen=True)
class Params:
    """All groups, as in `params.yaml`."""

    seed: int
    data: Data
    train: Train
    answers: Answers
    mechanism: Mechanism
    maps: Maps
    evaluate: Evaluate
