"""Label and explanation of a written answer, as the paper's notebook takes them and as a careful reader would.

``paper`` is the released evaluation (GitHub lzw108/FMD, commit a4bd36a): all white space of lines becomes spaces, the answer begins behind
the first ``Assistant:`` of the whole decoded text, and the label is the one word behind ``Prediction: ``. Its code 99 is no label here.
``strict`` reads only what was generated: one line that begins with ``Prediction:`` and has a label and nothing else, wherever it is. The
explanation ends where such a line begins, so that an answer may also give its reasons first.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from catalog.base.errors import CatalogError

MODES = ("strict", "paper")
STATUSES = ("ok", "empty", "no prediction", "unknown label", "several labels")
LABELS = ("True", "False", "NEI")
SPELLINGS = {"true": "True", "false": "False", "nei": "NEI", "not enough information": "NEI", "fake": "Fake"}
_EDGE = r"[\s\[\](){}\"'“”‘’*_`.,;:!<>-]*"
_LABEL = re.compile(rf"{_EDGE}(?:\d\s*[.)]\s*)?({'|'.join(SPELLINGS)})(?:\s*\(nei\))?{_EDGE}", re.IGNORECASE)
_LINE = re.compile(r"^[^\w\n]*predictions?[^\w\n:]*:(.*)$", re.IGNORECASE | re.MULTILINE)
_EXPLANATION = re.compile(r"explanation[^\w\n:]*:", re.IGNORECASE)


class Answer(NamedTuple):
    """``label`` is None where there is none; ``status`` says why."""

    label: str | None
    explanation: str
    status: str


def parse(text: str, mode: str = "strict", labels: tuple[str, ...] = LABELS) -> Answer:
    """Read an answer.

    Args:
        text: what a model wrote; with ``paper`` the whole decoded text, prompt and answer.
        labels: that the task knows; others are unknown. ``paper`` knows True, False and NEI alone.
    """
    if mode not in MODES:
        raise CatalogError(f"The mode {mode!r} of reading answers is unknown; use {' or '.join(MODES)}.")
    return _paper(text) if mode == "paper" else _strict(text, labels)


def _strict(text: str, labels: tuple[str, ...]) -> Answer:
    marker = _EXPLANATION.search(text)
    explanation = ""
    if marker:
        behind = _LINE.search(text, marker.end())
        explanation = text[marker.end() : behind.start() if behind else None].strip()
    if not text.strip():
        return Answer(None, "", "empty")
    lines = [_EXPLANATION.split(line)[0] for line in _LINE.findall(text)]
    if not lines:
        return Answer(None, explanation, "no prediction")
    found = [SPELLINGS[match[1].lower()] if (match := _LABEL.fullmatch(line)) else None for line in lines]
    if None in found or not set(found) <= set(labels):
        return Answer(None, explanation, "unknown label")
    return Answer(found[0], explanation, "ok") if len(set(found)) == 1 else Answer(None, explanation, "several labels")


def _paper(text: str) -> Answer:
    response = text.replace("\n", " ")
    if "Assistant:" in response:
        response = response.split("Assistant:", 1)[1]
    marker = re.search(r"Explanation:(.*)", response)
    explanation = marker[1].strip() if marker else ""
    if not response.strip():
        return Answer(None, explanation, "empty")
    if not any(word in response.lower() for word in ("true", "false", "nei")):
        return Answer(None, explanation, "no prediction")
    word = re.search(r"Prediction: (\w+)(?=[^\w]|$)", response)
    if word is None:
        return Answer(None, explanation, "no prediction")
    label = {"true": "True", "false": "False", "nei": "NEI"}.get(word[1].lower())
    return Answer(label, explanation, "ok" if label else "unknown label")
