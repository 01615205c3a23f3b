"""Parameters of the system, as `params.yaml` beside it gives them: one group a stage, so that a change re-runs no more than it must."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Data:
    """Lines to generate."""

    train: int  # lines
    test: int  # lines
    words: int  # words in a line


@dataclass(frozen=True)
class Params:
    """A profile of the file."""

    data: Data
    smoothing: float  # pseudo-count added to every symbol in every context
    seed: int  # the project's, from the project's params.yaml
