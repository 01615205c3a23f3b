"""Cleaning that every level of a corpus goes through alike, so that no form of writing tells the level.

A byte order mark, curly quotes, ligatures or spaces at line ends that only some files have would let a classifier name the level without
any reading. `clean` is for all corpora, the others for the defects of one.
"""

from __future__ import annotations

import re
import unicodedata

from stages.simdoc.files import normalise
from stages.simdoc.text import paragraphs

_DOMAINS = frozenset("com org net edu gov int io tv uk us html htm php pdf jpg".split())
_QUOTES_DASHES = str.maketrans(
    {**dict.fromkeys("“”„‟", '"'), **dict.fromkeys("‘’‚‛", "'"), **dict.fromkeys("‐‑‒–−", "-"), "…": "..."}
    | {ligature: unicodedata.normalize("NFKC", ligature) for ligature in "ﬀﬁﬂﬃﬄ"}
)
_STROKED = str.maketrans("łŁđĐħĦıŧŦ", "lLdDhHitT")  # letters that do not decompose


def clean(text: str) -> str:
    """``text`` normalised, with straight quotes, hyphens for dashes, no ligatures, and an empty line between paragraphs."""
    text = re.sub(r"[^\S\n]*—[^\S\n]*", " - ", normalise(text).replace("``", '"').replace("''", '"'))
    # Composed again: an accent behind a ligature has a letter to go on now.
    return "\n\n".join(paragraphs(unicodedata.normalize("NFC", text.translate(_QUOTES_DASHES))))


def unglue(text: str) -> tuple[str, int]:
    """Full stops between two words of a tokenised text set free ("highland.between" -> "highland . between"), and how many there were.

    Abbreviations of single letters ("u.s"), numbers, addresses and file names stay.
    """
    count = 0

    def free(match: re.Match) -> str:
        nonlocal count
        left, right = match[1] or "", match[2]
        if right in _DOMAINS or (len(right) == 1 and right not in "ai") or left == "www":
            return match[0]
        count += 1
        return f"{left} . {right}" if left else f". {right}"

    return re.sub(r"(?<!\S)([^\s./]{2,})?\.([a-z][^\s./]*)(?!\S)", free, text), count


def join_ligatures(text: str, known: set[str]) -> tuple[str, int]:
    """Words that a ligature broke ("fi rst", "ri fl e", "bene fits") joined where the whole is in ``known``, and how many there were."""
    count = 0

    def join(match: re.Match) -> str:
        nonlocal count
        before, left, right = match[1] or "", match[2], match[3]
        whole = left + right
        if left in ("fi", "fl") and (before + whole).lower() in known:
            before, whole = "", before + whole
        elif whole.lower() not in known:
            return match[0]
        count += 1
        return f"{before} {whole}" if before else whole

    def join_left(match: re.Match) -> str:
        nonlocal count
        whole = match[1] + match[2]
        if match[1].lower() in known or whole.lower() not in known:
            return match[0]
        count += 1
        return whole

    text = re.sub(r"(?:\b([A-Za-z]+) )?\b([A-Za-z]*f[il]) ([a-z]+)", join, text)
    return re.sub(r"\b([A-Za-z]+) (f[il][a-z]+)", join_left, text), count


def latin(text: str) -> str:
    """``text`` with base letters for those that Latin-1 has not, such as an l with a stroke or a c with a caron."""

    def base(letter: str) -> str:
        plain = unicodedata.normalize("NFD", letter.translate(_STROKED))
        return "".join(part for part in plain if not unicodedata.combining(part))

    return "".join(base(letter) if ord(letter) > 255 and letter.isalpha() else letter for letter in text)
