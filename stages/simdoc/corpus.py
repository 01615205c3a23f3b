"""The one form of a corpus: documents at several levels, pairs of them, and notes of what was done; and checks that loaders share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

import polars as pl

from catalog.base.errors import CatalogError
from catalog.base.text import read_text
from stages.simdoc.text import words


@dataclass(frozen=True)
class Corpus:
    """Documents and pairs of one corpus, ordered by id, and what was done to it.

    documents: id, level, topic (or null), text. pairs: id, source_level, target_level, source, target. notes: step, id (or null), what.
    splits: id -> train, validation or test where the corpus is published with them, else empty.
    """

    documents: pl.DataFrame
    pairs: pl.DataFrame
    notes: pl.DataFrame
    splits: dict[str, str] = field(default_factory=dict)


def gathered(
    rows: list[tuple],
    notes: list[tuple],
    order: Sequence[str],
    splits: dict[str, str] | None = None,
    pairs: list[tuple] | None = None,
) -> Corpus:
    """A corpus of rows (id, level, topic, text) whose levels, hardest first, are ``order``; pairs go from each level to simpler ones.

    An id with a text that stands under an earlier id is left out, so that no text can be in two splits.
    """
    if not rows:
        raise CatalogError("The corpus has no documents; check its path.")
    texts, owner, dropped = {}, {}, {}
    for name, level, _, text in rows:
        if not words(text):
            raise CatalogError(f"The document {name!r} has no words at the level {level}; remove it or fill it.")
        if (name, level) in texts:
            raise CatalogError(f"The id {name!r} has two documents of the level {level}; give each its own id.")
        texts[name, level] = text
        if owner.setdefault(text, name) != name:
            dropped.setdefault(name, owner[text])
    notes = notes + [("duplicate", name, f"a text of {other} as well; left out") for name, other in dropped.items()]
    rank = {level: number for number, level in enumerate(order)}
    rows = sorted((row for row in rows if row[0] not in dropped), key=lambda row: (row[0], rank[row[1]]))
    if pairs is None:
        levels: dict[str, list[str]] = {}
        for name, level, *_ in rows:
            levels.setdefault(name, []).append(level)
        pairs = [(n, a, b, texts[n, a], texts[n, b]) for n, found in levels.items() for a, b in combinations(found, 2)]
    else:
        pairs = sorted(pair for pair in pairs if pair[0] not in dropped)
    notes += [("unchanged", name, f"{a} and {b} are the same text; kept") for name, a, b, source, target in pairs if source == target]
    return Corpus(
        _frame(rows, ("id", "level", "topic", "text")),
        _frame(pairs, ("id", "source_level", "target_level", "source", "target")),
        _frame(notes, ("step", "id", "what")),
        {name: split for name, split in (splits or {}).items() if name not in dropped},
    )


def _frame(rows: list[tuple], columns: Sequence[str]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=dict.fromkeys(columns, pl.String), orient="row")


def need(found: object, keys: Sequence[str], where: str) -> None:
    """Check that ``found`` has a text for each key."""
    for key in keys:
        if not isinstance(found, dict) or not isinstance(found.get(key), str) or not found[key].strip():
            raise CatalogError(f"{where} has no text for {key!r}; each needs {', '.join(keys)}.")


def parallel(first: Path, second: Path) -> tuple[list[str], list[str]]:
    """Lines of two files that go together; only line feeds part lines, since texts may hold other separators."""
    lines = [read_text(path).rstrip("\n").split("\n") for path in (first, second)]
    if len(lines[0]) != len(lines[1]):
        raise CatalogError(f"{first.name} has {len(lines[0])} lines and {second.name} {len(lines[1])}; they must be parallel.")
    for path, part in zip((first, second), lines):
        empty = next((number for number, line in enumerate(part, 1) if not line.strip()), None)
        if empty:
            raise CatalogError(f"{path.name}, line {empty} is empty; remove that line from both {first.name} and {second.name}.")
    return lines[0], lines[1]
