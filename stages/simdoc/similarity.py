"""Similarity with references and between sentences: BLEU, ROUGE-L, cosines of neighbouring sentences.

Embeddings are made elsewhere and come as arrays; nothing here loads a model.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from catalog.base.errors import CatalogError
from catalog.base.vectors import unit_rows


@dataclass(frozen=True)
class Bleu:
    """BLEU, 0 to 100, and sacreBLEU's signature, without which the number cannot be compared."""

    score: float
    signature: str


def bleu(outputs: Sequence[str], references: Sequence[Sequence[str]]) -> Bleu:
    """Corpus BLEU by sacreBLEU (Post 2018): lower case, 13a tokens, one segment a document; documents may differ in their references.

    Raises:
        CatalogError: lists of different lengths, no document, or a document without a reference.
    """
    from sacrebleu.metrics import BLEU

    _check(outputs, references)
    metric = BLEU(lowercase=True)
    most = max(map(len, references))
    streams = [[_line(texts[place]) if place < len(texts) else None for texts in references] for place in range(most)]
    score = metric.corpus_score([_line(text) for text in outputs], streams).score
    return Bleu(float(score), str(metric.get_signature()))


def document_bleu(outputs: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
    """BLEU of each document by itself, 0 to 100: orders for which it is too short do not count, missing matches are smoothed."""
    from sacrebleu.metrics import BLEU

    _check(outputs, references)
    metric = BLEU(lowercase=True, effective_order=True)
    return [float(metric.sentence_score(_line(text), [_line(other) for other in texts]).score) for text, texts in zip(outputs, references)]


def rouge_l(output: str, references: Sequence[str]) -> float:
    """ROUGE-L (Lin 2004): F1, 0 to 100, of the longest common subsequence with the closest reference; 0 if one of the texts is empty.

    Tokens are runs of a-z and 0-9 in lower case and are not stemmed, as in rouge-score 0.1.2, which gives the same numbers.
    """
    from rapidfuzz.distance import LCSseq

    ours, best = _rouge_tokens(output), 0.0
    for text in references:
        theirs = _rouge_tokens(text)
        if ours and theirs:
            best = max(best, 200 * LCSseq.similarity(ours, theirs) / (len(ours) + len(theirs)))  # 2PR / (P + R)
    return best


def consecutive_cosine(sentence_embeddings: np.ndarray, step: int = 1) -> float | None:
    """Mean cosine of sentences that are ``step`` apart: 1 is first-order, 2 second-order coherence (Foltz, Kintsch and Landauer 1998).

    Args:
        sentence_embeddings: (S, d), in the order of the document.

    Returns:
        None for a document of ``step`` sentences or fewer.

    Raises:
        CatalogError: a step below 1, or not a matrix.
    """
    if step < 1:
        raise CatalogError(f"Sentences cannot be {step} apart; use a step of 1 or 2.")
    if len(sentence_embeddings) <= step:
        return None
    unit = unit_rows(sentence_embeddings)
    return float(np.einsum("sd,sd->s", unit[:-step], unit[step:]).mean())


def _rouge_tokens(text: str) -> list[str]:
    return re.findall("[a-z0-9]+", text.lower())


def _line(text: str) -> str:
    return " ".join(text.split())


def _check(outputs: Sequence[str], references: Sequence[Sequence[str]]) -> None:
    if len(outputs) != len(references) or not len(outputs) or not all(len(texts) and not isinstance(texts, str) for texts in references):
        raise CatalogError(f"There are {len(outputs)} outputs and {len(references)} lists of references; give each output at least one.")
