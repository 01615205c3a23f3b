"""Cleaning rules for texts (§3, "drop e-mails and URLs, fix unicode, normalise punctuation and white space"), each counted.

The rules run in the order of `RULES`. They change what carries no meaning and nothing else: numbers keep their signs, raised digits and
fractions stay what they are (10² is not 102, so no NFKC), line breaks and tabs stay, since tables and summaries need them. Cleaning a
text twice is cleaning it once. A text is dropped for a reason of `DROPS` alone, and each drop is counted.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

import polars as pl

from stages.open_finllms.documents import Document

DROPS = ("empty", "empty after cleaning", "too short")

# UTF-8 that was read as Windows-1252: é as Ã©, ’ as â€™. Only the three first bytes of Western letters, signs and punctuation are
# looked for, each with what must follow it, so that a text that really has an Ã is left alone.
_HIGH = "".join(bytes([byte]).decode("cp1252", "replace").replace("\ufffd", chr(byte)) for byte in range(0x80, 0xC0))
_BYTES = {character: byte for byte, character in enumerate(_HIGH, 0x80)} | {chr(byte): byte for byte in range(0x80, 0x100)}
MOJIBAKE = re.compile(f"[ÂÃ][{re.escape(_HIGH)}\x80-\x9f]|â[{re.escape(_HIGH)}\x80-\x9f]{{2}}")

LONE = re.compile("[\ud800-\udfff]")
INVISIBLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]")
URL = re.compile(r"(?:https?://|ftp://|\bwww\.)[^\s<>\"'“”‘’（）【】，。；、]+", re.IGNORECASE)
URL_END = ".,;:!?)]}*"  # of the sentence around it
EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]+@(?:[\w-]+\.)+[A-Za-z]{2,}(?![\w-])", re.ASCII)
PUNCTUATION = {
    **dict.fromkeys("“”„‟«»〝〞＂", '"'),
    **dict.fromkeys("‘’‚‛´＇", "'"),
    **dict.fromkeys("‐‑‒–−", "-"),  # with the minus sign
    "—": " - ",
    "―": " - ",
    "…": "...",
    "\u3000": " ",
    **{chr(code): chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F) if chr(code) not in "＂＇"},  # full width
}
PUNCTUATION_RE = re.compile("[" + re.escape("".join(PUNCTUATION)) + "]")
BREAKS = re.compile("\r\n?|[\x85\u2028\u2029]")
SPACES = re.compile("[ \u00a0\u1680\u2000-\u200a\u202f\u205f]+")
AROUND = re.compile("(?: *\n *)+")
LINES = re.compile("\n{3,}")

Rule = Callable[[str], tuple[str, int]]  # text -> (cleaned text, how many places changed)


def _mojibake(text: str) -> tuple[str, int]:
    changed = 0

    def mended(match: re.Match) -> str:
        nonlocal changed
        try:
            found = bytes(_BYTES[c] for c in match[0]).decode("utf-8")
        except UnicodeDecodeError:
            return match[0]
        changed += 1
        return found

    return MOJIBAKE.sub(mended, text), changed


def _composed(text: str) -> tuple[str, int]:
    found = unicodedata.normalize("NFC", text)
    return found, int(found != text)


def _url(text: str) -> tuple[str, int]:
    return URL.subn(lambda match: match[0][len(match[0].rstrip(URL_END)) :], text)


def _punctuation(text: str) -> tuple[str, int]:
    return PUNCTUATION_RE.subn(lambda match: PUNCTUATION[match[0]], text)


def _space(text: str) -> tuple[str, int]:
    found = BREAKS.sub("\n", text)
    found = SPACES.sub(" ", found)
    found = AROUND.sub(lambda match: "\n" * match[0].count("\n"), found)
    found = LINES.sub("\n\n", found).strip(" \n")
    return found, int(found != text)


RULES: dict[str, Rule] = {
    "half of a surrogate pair": lambda text: LONE.subn("\ufffd", text),
    "wrongly decoded characters": _mojibake,
    "composed characters": _composed,
    "invisible characters": lambda text: INVISIBLE.subn("", text),
    "URL": _url,
    "e-mail": lambda text: EMAIL.subn("", text),
    "punctuation": _punctuation,
    "white space": _space,
}


def clean(text: str) -> tuple[str, Counter[str]]:
    """The text by all rules, and how many places each rule changed (for `composed characters` and `white space`: 1 for a text).

    The rules are applied until none changes anything: what was decoded wrongly twice is mended twice, and taking something out may join
    what stood around it.
    """
    counts: Counter[str] = Counter()
    while True:
        before = text
        for name, rule in RULES.items():
            text, n = rule(text)
            counts[name] += n
        if text == before:
            return text, +counts


def clean_all(documents: Iterable[Document], ledger: Counter[tuple[str, str, str]], min_characters: int = 1) -> Iterator[Document]:
    """Cleaned documents as they come; those that are left out are counted.

    Args:
        ledger: counts by (part, what, measure), with the measures `in`, `out`, `dropped`, `documents` and `places`.
        min_characters: a shorter text is dropped.
    """
    for document in documents:
        ledger[document.part, "documents", "in"] += 1
        if not document.text.strip():
            ledger[document.part, "empty", "dropped"] += 1
            continue
        text, counts = clean(document.text)
        for name, n in counts.items():
            ledger[document.part, name, "documents"] += 1
            ledger[document.part, name, "places"] += n
        if len(text) < max(min_characters, 1):
            ledger[document.part, "too short" if text else "empty after cleaning", "dropped"] += 1
            continue
        ledger[document.part, "documents", "out"] += 1
        yield document._replace(text=text)


def report(ledger: Counter[tuple[str, str, str]]) -> pl.DataFrame:
    """The ledger as a table: part, what (a rule, or a reason to drop), measure, n."""
    rows = [(*key, n) for key, n in sorted(ledger.items()) if n]
    return pl.DataFrame(rows, schema={"part": pl.String, "what": pl.String, "measure": pl.String, "n": pl.Int64}, orient="row")
