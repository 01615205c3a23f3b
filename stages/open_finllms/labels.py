"""Which label an answer gives: as the benchmark's published code reads it, and strictly.

`paper` looks for the choices, in their order, as substrings of the whole answer in lower case. "neutral, not positive" is positive if
positive comes first among the choices, and "unknown" is no, because it contains it.

`strict` looks at whole words. An answer that is announced ("Answer: ...", "Prediction: ...") counts, the last one if there are several;
otherwise the last line that names a label. A label that is negated ("not positive") is not named, and a line with two different labels
is no answer: it says "several", never the first that was found. What nobody answered stays unanswered.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

_CJK = "\u2e80-\u9fff"
_BEFORE, _AFTER = rf"(?<![^\W{_CJK}])(?<!\d\.)", rf"(?![^\W{_CJK}])(?!\.\d)"  # no letter or digit beside it; Chinese has no spaces
_ANNOUNCED = re.compile(r"(?:\b(?:answer|prediction|label)\s*(?:\bis\b|\bwas\b|[:：=])|答案\s*(?:是|為|为|[:：=]))[ \t]*", re.IGNORECASE)
_REASONS = re.compile(r"^\s*(?:explanation|reasons?|reasoning|rationale|because|note)\b\s*[:：,-]?", re.IGNORECASE)
_CLAUSE = re.compile(r"[.,;:!?，。；：！？]")
_NEGATORS = frozenset("not no never neither nor cannot without wrong incorrect hardly isn aren wasn".split())
_NEGATED_ZH = re.compile(r"(?:不選|不选|不是|並非|并非|非)\s*[(（]?\s*$")
_DENIED = re.compile(r"\s*(?:[\"'”’]\s*)?(?:is|would be|seems|was)\s+(?:not|wrong|incorrect)\b", re.IGNORECASE)
_SMALL = re.compile(r"\s+[a-z]")
_REACH = 5  # words before a label in which a negation is looked for


def paper_label(output: str, choices: Sequence[str], also: Mapping[str, Sequence[str]] | None = None) -> str | None:
    """The first of the choices that is a substring of the answer, in lower case; `also` has other words for each (lower case)."""
    text = output.strip().lower()
    for choice in choices:
        name = choice.lower()
        if name in text or any(word in text for word in (also or {}).get(name, ())):
            return name
    return None


def strict_label(output: str, choices: Sequence[str], also: Mapping[str, Sequence[str]] | None = None) -> tuple[str | None, str]:
    """The label that an answer gives, in lower case, and a status: ok, several, unparsable, empty."""
    if not output.strip():
        return None, "empty"
    names = {choice.lower(): choice.lower() for choice in choices}
    for name, words in (also or {}).items():
        names |= {word.lower(): name.lower() for word in words}
    letters = {choice.upper() for choice in choices} if all(len(choice) == 1 and choice.isalpha() for choice in choices) else None
    announced = announced_part(output)
    lines = [announced] if announced is not None else list(reversed(_answer_lines(output)))
    for line in lines:
        found = _letters(line, letters) if letters else _words(line, names)
        if len(found) > 1:
            return None, "several"
        if found:
            return found.pop().lower(), "ok"
    return None, "unparsable"


def announced_part(output: str) -> str | None:
    """What follows the last "Answer:" up to the end of its line, or the next line if there is nothing; None if nothing is announced."""
    marks = list(_ANNOUNCED.finditer(output))
    if not marks:
        return None
    return next((line for line in output[marks[-1].end() :].split("\n") if line.strip()), "")


def _answer_lines(output: str) -> list[str]:
    """Lines with something on them, up to the reasons that are given after the answer."""
    lines = [line for line in output.split("\n") if line.strip()]
    for at, line in enumerate(lines):
        if at and _REASONS.match(line):
            return lines[:at]
    return lines


def _words(line: str, names: Mapping[str, str]) -> set[str]:
    longest_first = sorted(names, key=len, reverse=True)
    pattern = re.compile(_BEFORE + "(" + "|".join(map(re.escape, longest_first)) + ")" + _AFTER, re.IGNORECASE)
    return {names[match[1].lower()] for match in pattern.finditer(line) if not _negated(line, match)}


def _letters(line: str, letters: set[str]) -> set[str]:
    """Options given by letter. "C. A patient" begins with its option; an A before a small letter is an article."""
    first = re.match(r"\s*[(（\[]?([A-Z])[)）\].:：](?!\w)", line)
    if first and first[1] in letters:
        return {first[1]}
    pattern = re.compile(_BEFORE + "([A-Z])" + _AFTER + r"(?!['’]\w)")
    return {
        match[1]
        for match in pattern.finditer(line)
        if match[1] in letters and not _SMALL.match(line, match.end()) and not _negated(line, match)
    }


def _negated(line: str, match: re.Match) -> bool:
    before = line[max(0, match.start() - 1000) : match.start()]  # enough for five words, and bounded for a label said thousands of times
    if _NEGATED_ZH.search(before) or _DENIED.match(line, match.end()):
        return True
    clause = _CLAUSE.split(before)[-1].lower().replace("rather than", "not").replace("instead of", "not")
    words = re.findall(r"[a-z]+(?=n['’]t\b)|[a-z]+", clause.replace("n't", "n not").replace("n’t", "n not"))
    return any(word in _NEGATORS for word in words[-_REACH:])
