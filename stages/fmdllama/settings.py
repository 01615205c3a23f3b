"""Parameters of the system, as `params.yaml` beside this module gives them: one group a stage."""

from __future__ import annotations

from dataclasses import dataclass

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class Part:
    """One split of the generated set: its own shares, years and wordings."""

    shares: tuple[str, ...]  # tickers; no share is in two splits
    years: tuple[int, int]  # first and last; no year is in two splits
    contexts: int  # each with three triples of claims: nine items
    notes: int  # true notes of the two-way task, each with a fake twin


@dataclass(frozen=True)
class Data:
    """The generated set."""

    sources: dict[str, str]  # ticker -> source of its prices; every other share is read from `source`
    source: str
    kinds: dict[str, int]  # kind of claim -> weight
    splits: dict[str, Part]


@dataclass(frozen=True)
class DataParams:
    """What the data stage reads of a profile."""

    data: Data
    seed: int
