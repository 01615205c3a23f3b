"""Texts that are there twice: the same but for case and spacing, or nearly the same by MinHash (library datasketch).

Two texts are near duplicates if the Jaccard similarity of their sets of n-grams is at least a threshold. It is estimated from 128 minima
of hashes, with a standard error of at most .045, and candidates are found by locality-sensitive hashing; so pairs close to the threshold
may fall on either side, with the same result in each run. Words, numbers, Chinese characters and signs are tokens of their own: Chinese is
compared by characters, and -5 is not 5. A text shorter than n tokens is one n-gram: `Net loss.` and `Net gain.` share nothing.

Documents are looked at once, in order; the first of each kind is kept. What is remembered grows with the documents kept, not with their
length: about 300 bytes for each, and 4,700 where near duplicates are looked for (measured). So a machine with 16 GB remembers some 50
million documents exactly, and some 3 million nearly.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from hashlib import blake2b
from typing import NamedTuple

import polars as pl
from datasketch import LeanMinHash, MinHash, MinHashLSH

from stages.open_finllms.documents import Document

CHINESE = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
TOKEN = re.compile(rf"[{CHINESE}]|\d+(?:[.,]\d+)*|[^\W\d{CHINESE}]+|[^\w\s]|_")


class Twin(NamedTuple):
    """The document that another repeats."""

    kind: str  # exact or near
    id: str
    source: str


def normalised(text: str) -> str:
    """The text without what does not tell texts apart: case, spacing, and how accents are composed. 10² stays apart from 102."""
    return " ".join(unicodedata.normalize("NFC", text).casefold().split())


def key(text: str) -> bytes:
    """Hash of the normalised text, 16 bytes."""
    return blake2b(normalised(text).encode("utf-8", "replace"), digest_size=16).digest()


def shingles(text: str, n: int = 5) -> set[str]:
    """The n-grams of the tokens of a text; of a text with fewer than n tokens, all of it as one."""
    tokens = TOKEN.findall(normalised(text))
    return {" ".join(tokens[i : i + n]) for i in range(max(len(tokens) - n + 1, 1))}


class Seen:
    """The documents so far. `twin` says what a document repeats; one that repeats none is remembered."""

    def __init__(self, n: int = 5, threshold: float = 0.8, hashes: int = 128):
        self.n, self.threshold = n, threshold
        self.exact: dict[bytes, int] = {}
        self.kept: list[tuple[str, str]] = []
        self.blank = MinHash(hashes)
        self.index = MinHashLSH(threshold, hashes)
        self.signatures: dict[int, LeanMinHash] = {}

    def twin(self, document: Document, near: bool = True) -> Twin | None:
        """What the document repeats: an earlier one with the same text, else the most similar one above the threshold.

        Args:
            near: look for near duplicates too. Tables differ in numbers alone and are not to be compared so.
        """
        same = key(document.text)
        if same in self.exact:
            return Twin("exact", *self.kept[self.exact[same]])
        number = len(self.kept)
        if near:
            made = self.blank.copy()
            made.update_batch([shingle.encode() for shingle in sorted(shingles(document.text, self.n))])
            signature = LeanMinHash(made)
            found = [(signature.jaccard(self.signatures[i]), -i) for i in self.index.query(signature)]
            best = max(found, default=(0.0, 0))
            if best[0] >= self.threshold:
                return Twin("near", *self.kept[-best[1]])
            self.index.insert(number, signature, check_duplication=False)
            self.signatures[number] = signature
        self.exact[same] = number
        self.kept.append((document.id, document.source))
        return None


def distinct(documents: Iterable[Document], seen: Seen, pairs: Counter[tuple[str, str, str]], near: bool = True) -> Iterator[Document]:
    """The documents that repeat none before them, as they come.

    Args:
        seen: shared by all streams that must not repeat one another.
        pairs: duplicates are counted by (kind, source that was kept, source that was left out).
    """
    for document in documents:
        twin = seen.twin(document, near)
        if twin is None:
            yield document
        else:
            pairs[twin.kind, twin.source, document.source] += 1


class Instruction(NamedTuple):
    """A task, what it is about (often empty), and the answer."""

    instruction: str
    input: str
    output: str


class Merged(NamedTuple):
    """Instructions of all sources without repeats: `items` (source, instruction, input, output); `sources` (source, before, after);
    `pairs` (kind, kept, other, n)."""

    items: pl.DataFrame
    sources: pl.DataFrame
    pairs: pl.DataFrame


def merge_instructions(sources: Mapping[str, Iterable[Instruction]]) -> Merged:
    """Instructions of several sources, each once, in the order of the sources; the first source that has one keeps it.

    An instruction is repeated if task, input and answer are the same when normalised. The same task and input with another answer is kept,
    since nothing says which is right, and counted as `another answer` for the pair of sources.
    """
    whole: dict[bytes, str] = {}
    asked: dict[bytes, str] = {}
    before, pairs = Counter(), Counter()
    items: list[tuple[str, ...]] = []
    for source, given in sources.items():
        for item in given:
            before[source] += 1
            question, answer = "\0".join(map(normalised, item[:2])), normalised(item.output)
            both, alone = key(f"{question}\0{answer}"), key(question)
            if both in whole:
                pairs["exact", whole[both], source] += 1
                continue
            if alone in asked:
                pairs["another answer", asked[alone], source] += 1
            whole[both] = source
            asked.setdefault(alone, source)
            items.append((source, *item))
    kept = Counter(item[0] for item in items)
    return Merged(
        pl.DataFrame(items, schema=dict.fromkeys(("source", *Instruction._fields), pl.String), orient="row"),
        pl.DataFrame(
            [(source, before[source], kept[source]) for source in sources],
            schema={"source": pl.String, "before": pl.Int64, "after": pl.Int64},
            orient="row",
        ),
        pair_table(pairs),
    )


def pair_table(pairs: Counter[tuple[str, str, str]]) -> pl.DataFrame:
    """Counts by pair of sources: kind, kept, other, n."""
    rows = [(*names, n) for names, n in sorted(pairs.items())]
    return pl.DataFrame(rows, schema={"kind": pl.String, "kept": pl.String, "other": pl.String, "n": pl.Int64}, orient="row")
