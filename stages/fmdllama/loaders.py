"""Published sets in the layout of the generated one: instruction JSON lines, Fin-Fact and FinGuard, from files of one's own.

The texts belong to Snopes, PolitiFact and news publishers and are not part of this project. A row that cannot be used is left out and
counted with its reason, never dropped in silence. The published contexts do not say which sentence decides, so ``deciding`` and
``retrieved`` are empty and only the setting ``full`` can show them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from catalog.base.errors import CatalogError
from catalog.base.text import read_text
from stages.fmdllama.answers import parse
from stages.fmdllama.dataset import SCHEMA
from stages.fmdllama.files import json_objects

LAYOUTS = ("instructions", "finfact", "finguard")
FACTS = {"true": "True", "false": "False", "neutral": "NEI", "nei": "NEI", "not enough information": "NEI"}
ARTICLES = {
    **dict.fromkeys(("1", "true", "1. true", "real"), "True"),
    **dict.fromkeys(("0", "fake", "0. fake", "false"), "Fake"),
}
_CLAIM = re.compile(r"(?:^|\n)\s*claim:(.*?)\n\s*(?:contextual information|context):(.*)", re.IGNORECASE | re.DOTALL)
_TEXT = re.compile(r"(?:^|\n)\s*text:(.*)", re.IGNORECASE | re.DOTALL)
_SENTENCE = re.compile(r"(?:(?<=[.!?])|(?<=[.!?][\"'”’)\]]))\s+(?=[\"'“‘(\[]?[A-Z0-9])")


class Loaded(NamedTuple):
    """Rows in the schema of `dataset.SCHEMA`, and how many were left out, by reason."""

    items: pl.DataFrame
    dropped: dict[str, int]


class Left(Exception):
    """A row that is left out; its text is the reason."""


def load(path: str | Path, layout: str, split: str = "test") -> Loaded:
    """Read a published file.

    Args:
        layout: ``instructions`` (the practice set and the challenge: `instruction`, `output`), ``finfact`` (`claim`, `justification`,
            `evidence`, `label`) or ``finguard`` (`text`, `label`).
        split: what the rows are called.

    Raises:
        CatalogError: an unknown layout, a file that cannot be read, or one without a usable row.
    """
    readers: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
        "instructions": _instruction,
        "finfact": _finfact,
        "finguard": _finguard,
    }
    if layout not in readers:
        raise CatalogError(f"The layout {layout!r} is unknown; use {', '.join(LAYOUTS)}.")
    name = Path(path).stem
    dropped: Counter[str] = Counter()
    rows, seen = [], set()
    for number, value in json_objects(read_text(path), str(path)):
        try:
            row = readers[layout](value)
            key = (row.get("claim"), *row["context"])
            if key in seen:
                raise Left("the same text as an earlier row")
        except Left as reason:
            dropped[str(reason)] += 1
            continue
        seen.add(key)
        place = f"{name}-{number:05d}"
        rows.append(dict.fromkeys(SCHEMA) | {"id": place, "context_id": place, "split": split, "template": layout, "kind": layout} | row)
    if not rows:
        reasons = ", ".join(f"{count} rows: {reason}" for reason, count in dropped.items()) or "no rows"
        raise CatalogError(f"{path} has no usable row in the layout {layout} ({reasons}); name its layout or take the file as published.")
    return Loaded(pl.DataFrame(rows, schema=SCHEMA), dict(sorted(dropped.items())))


def sentences(text: str) -> list[str]:
    """A text in sentences, by rule: at a full stop, question or exclamation mark before a capital letter or a digit, and at line ends."""
    return [part.strip() for line in text.split("\n") for part in _SENTENCE.split(line) if part.strip()]


def _instruction(value: Mapping[str, Any]) -> dict[str, Any]:
    asked, said = _text(value, "instruction"), _text(value, "output")
    if found := _CLAIM.search(asked):
        answer = parse(said)
        if answer.label is None:
            raise Left("no label in the output" if "output" in value else "no output")
        if not answer.explanation:
            raise Left("no explanation in the output")
        return _claim(found[1], found[2], answer.label, answer.explanation)
    if found := _TEXT.search(asked):
        return _article(found[1], said)
    raise Left("no claim with a context, and no text, in the instruction")


def _finfact(value: Mapping[str, Any]) -> dict[str, Any]:
    evidence = value.get("evidence")
    parts = [part.get("sentence") if isinstance(part, Mapping) else part for part in evidence] if isinstance(evidence, list) else [evidence]
    explanation = " ".join(part.strip() for part in parts if isinstance(part, str) and part.strip())
    if not explanation:
        raise Left("no evidence")
    label = FACTS.get(str(value.get("label", "")).strip().lower())
    if label is None:
        raise Left("no label" if "label" not in value else "unknown label")
    return _claim(_text(value, "claim"), _text(value, "justification"), label, explanation)


def _finguard(value: Mapping[str, Any]) -> dict[str, Any]:
    label = value.get("label")
    return _article(_text(value, "text"), "" if label is None else str(label))


def _claim(claim: str, context: str, label: str, explanation: str) -> dict[str, Any]:
    if not claim.strip():
        raise Left("no claim")
    if not (parts := sentences(context)):
        raise Left("no context")
    empty = {"deciding": [], "retrieved": []}
    return {"task": "claim", "claim": claim.strip(), "context": parts, "label": label, "explanation": explanation.strip()} | empty


def _article(text: str, label: str) -> dict[str, Any]:
    if not (parts := sentences(text)):
        raise Left("no text")
    found = ARTICLES.get(label.strip().rstrip(".").lower()) or parse(label, labels=("True", "Fake")).label
    if found is None:
        raise Left("unknown label" if label.strip() else "no label")
    return {"task": "article", "context": parts, "label": found}


def _text(value: Mapping[str, Any], key: str) -> str:
    """A field as a text; a missing or empty one is an empty text, which the caller refuses by its own name."""
    found = value.get(key)
    if found is not None and not isinstance(found, str):
        raise Left(f"{key} is no text")
    return found or ""
