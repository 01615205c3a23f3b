"""SARI: n-grams added, kept and deleted, compared with source and references (Xu et al. 2016, section 4).

For each order n = 1..4, with counts S of the source, O of the output and R summed over the k references:

    add     O minus S, as sets,  against  R minus S
    keep    min(kS, kO)          against  min(kS, R)
    delete  (kS - kO)+           against  (kS - R)+

Precision is the shared part over the first, recall over the second, F1 their harmonic mean; each is 0 where undefined. In the corpus form
the three sums run over all documents before they are divided, so long documents weigh more. An operation's score is the mean over n, and
SARI the mean of the three operations, all from 0 to 100.

Two deletion modes are in use, some points apart, so both are given: ``f1`` (the corpus form of EASSE, Alva-Manchego et al. 2019) and ``p``,
precision alone (as the original paper defines deletion). ``p`` is a corpus form too, so it is neither what the paper's own script gives,
which Hugging Face's `evaluate` follows (the mean of single sentences), nor EASSE's "paper version" (precision and recall are averaged over
n before F1 is taken). A perfect output that has no n-grams of some order scores 0 for that order in either.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from catalog.base.errors import CatalogError
from stages.simdoc.text import ngrams, tokens_13a

ORDERS = 4
Tokens = Sequence[str]
Tokenise = Callable[[str], list[str]]


@dataclass(frozen=True)
class Sari:
    """SARI of a document or a corpus, 0 to 100."""

    add: float  # F1
    keep: float  # F1
    delete_f1: float
    delete_p: float

    @property
    def f1(self) -> float:
        """SARI with F1 of deletion."""
        return (self.add + self.keep + self.delete_f1) / 3

    @property
    def p(self) -> float:
        """SARI with precision of deletion."""
        return (self.add + self.keep + self.delete_p) / 3


@dataclass(frozen=True)
class Overlap:
    """What happened to the n-grams of one order in one document; T is the number of different ones in the source."""

    source: np.ndarray  # (T,) int64 counts kS
    kept: np.ndarray  # (T,) min(kS, kO)
    keepable: np.ndarray  # (T,) min(kS, R)
    references: np.ndarray  # (T,) R
    added: int  # n-grams in the output and not in the source
    addable: int  # n-grams in a reference and not in the source
    added_well: int  # in both


def sari(
    sources: Sequence[str], outputs: Sequence[str], references: Sequence[Sequence[str]], tokenise: Tokenise = tokens_13a
) -> tuple[Sari, list[Sari]]:
    """SARI over the corpus, and of each document by itself.

    Args:
        sources, outputs: one text a document.
        references: the references of each document, any number of them.
        tokenise: cuts all three kinds of text.

    Raises:
        CatalogError: no document, lists of different lengths, or a document without a reference.
    """
    check(sources, outputs, references)
    found = np.stack(
        [
            statistics(tokenise(source), tokenise(output), [tokenise(text) for text in texts])
            for source, output, texts in zip(sources, outputs, references)
        ]
    )
    return scores(found.sum(axis=0)), [scores(part) for part in found]


def overlap(source: Tokens, output: Tokens, references: Sequence[Tokens], n: int) -> Overlap:
    """The n-grams of one document: what SARI and D-SARI are made of."""
    before, after = ngrams(source, n), ngrams(output, n)
    wanted = sum((ngrams(tokens, n) for tokens in references), start=ngrams([], n))
    k, size = len(references), len(before)
    counts = k * np.fromiter(before.values(), np.int64, size)
    r = np.fromiter((wanted[gram] for gram in before), np.int64, size)
    kept = np.minimum(counts, k * np.fromiter((after[gram] for gram in before), np.int64, size))
    added, addable = after.keys() - before.keys(), wanted.keys() - before.keys()
    return Overlap(counts, kept, np.minimum(counts, r), r, len(added), len(addable), len(added & addable))


def statistics(source: Tokens, output: Tokens, references: Sequence[Tokens]) -> np.ndarray:
    """Sums (ORDERS, 3, 3) of one document that add up over a corpus: add, keep, delete by shared part, output's part, references' part."""
    found = np.zeros((ORDERS, 3, 3), dtype=np.int64)
    for n in range(1, ORDERS + 1):
        o = overlap(source, output, references, n)
        deleted, deletable = o.source - o.kept, o.source - o.keepable
        found[n - 1] = [
            (o.added_well, o.added, o.addable),
            (np.minimum(o.kept, o.keepable).sum(), o.kept.sum(), o.keepable.sum()),
            (np.minimum(deleted, deletable).sum(), deleted.sum(), deletable.sum()),
        ]
    return found


def scores(found: np.ndarray) -> Sari:
    """`Sari` of `statistics`, of one document or summed over several."""
    shared, ours, theirs = np.moveaxis(found.astype(np.float64), -1, 0)  # each (ORDERS, 3)
    f1 = 100 * ratio(2 * shared, ours + theirs).mean(axis=0)  # 2PR / (P + R) written without P and R
    return Sari(*f1.tolist(), delete_p=float(100 * ratio(shared, ours)[:, 2].mean()))


def ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """``part`` / ``whole``, 0 where there is nothing."""
    return np.divide(part, whole, out=np.zeros(np.shape(whole)), where=np.asarray(whole) > 0)


def check(sources: Sequence[str], outputs: Sequence[str], references: Sequence[Sequence[str]]) -> None:
    """Raise a CatalogError unless there are as many sources as outputs and lists of references, and at least one of each."""
    if not len(sources) == len(outputs) == len(references):
        counts = f"{len(sources)} sources, {len(outputs)} outputs and {len(references)} lists of references"
        raise CatalogError(f"There are {counts}; give one of each for every document.")
    if not len(sources):
        raise CatalogError("There is no document to score; give at least one.")
    if bare := [i for i, texts in enumerate(references, 1) if isinstance(texts, str) or not len(texts)]:
        raise CatalogError(f"Document {bare[0]} has no list of references; give at least one reference in a list.")
