"""The parameters of `llava_vqa`, a dataclass for each stage."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Data:
    """Composed images and questions about them."""


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
