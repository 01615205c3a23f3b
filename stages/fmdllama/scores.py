"""Scores of labels and explanations, with the paper's conventions beside plain ones, and the names that tell them apart.

An answer without a label is wrong everywhere; its rate stands beside every score. Macro scores are taken over the labels of the gold
answers, and over the union with the class of unreadable answers, as the released notebook does: F1 is then 3/4 of the former.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from rouge_score.rouge_scorer import RougeScorer
from sklearn.metrics import precision_recall_fscore_support

from catalog.base.errors import CatalogError

UNREADABLE = "unreadable"
ROUGE = ("rouge1", "rouge2", "rougeL")


def classification(gold: Sequence[str], predicted: Sequence[str | None], labels: Sequence[str]) -> dict[str, float]:
    """Scores of labels; ``predicted`` is None where an answer has no label.

    Returns:
        ``n``, ``accuracy``; ``micro_f1`` over the gold labels, and ``micro_f1_union`` with unreadable answers as a class, which is accuracy
        and what the paper's notebook prints as F1; ``macro_precision``, ``macro_recall``, ``macro_f1`` over the gold labels;
        ``macro_f1_union``, over all classes that occur; ``unreadable``, the share without a label; ``f1_<label>`` of each.

    Raises:
        CatalogError: no answer, another number of gold labels, or a gold label that is none of ``labels``.
    """
    if not gold or len(gold) != len(predicted):
        raise CatalogError(f"There are {len(gold)} gold labels and {len(predicted)} answers; they must be as many, at least one.")
    if unknown := sorted(set(gold) - set(labels)):
        raise CatalogError(f"The gold label {unknown[0]!r} is none of {', '.join(labels)}.")
    answers = [UNREADABLE if label is None else label for label in predicted]
    union = sorted(set(gold) | set(answers))
    micro = precision_recall_fscore_support(gold, answers, labels=list(labels), average="micro", zero_division=0)
    each = precision_recall_fscore_support(gold, answers, labels=list(labels), average=None, zero_division=0)
    whole = precision_recall_fscore_support(gold, answers, labels=union, average="macro", zero_division=0)
    right = float(np.mean([one == other for one, other in zip(gold, answers)]))
    return {
        "n": len(gold),
        "accuracy": right,
        "micro_f1": float(micro[2]),
        "micro_f1_union": right,
        "macro_precision": float(each[0].mean()),
        "macro_recall": float(each[1].mean()),
        "macro_f1": float(each[2].mean()),
        "macro_f1_union": float(whole[2]),
        "unreadable": answers.count(UNREADABLE) / len(answers),
        **{f"f1_{label}": float(value) for label, value in zip(labels, each[2])},
    }


class _Unicode:
    """Words of any script in small letters; Chinese, Japanese and Thai characters, which no space parts, one by one."""

    def tokenize(self, text: str) -> list[str]:
        return re.findall(
            r"[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\W_\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+",
            text.lower(),
        )


def needs_unicode(texts: Sequence[str]) -> bool:
    """Whether the tokens of the published ROUGE, which are of a-z and 0-9 alone, leave out letters or digits of a text."""
    return any(character.isalnum() and not character.isascii() for text in texts for character in text)


def rouge(references: Sequence[str], candidates: Sequence[str], unicode: bool = False) -> list[dict[str, float] | None]:
    """ROUGE-1, -2 and -L (F1, no stemming) of each candidate, in the order given; None where the reference has no token to be found.

    Args:
        unicode: take words of every script as tokens, not only a-z and 0-9. Then it is not the published metric, and needs another name.

    Raises:
        CatalogError: not as many candidates as references.
    """
    if len(references) != len(candidates):
        raise CatalogError(f"There are {len(references)} reference explanations and {len(candidates)} answers; they must be as many.")
    scorer = RougeScorer(list(ROUGE), use_stemmer=False, **({"tokenizer": _Unicode()} if unicode else {}))
    scores: list[dict[str, float] | None] = []
    for reference, candidate in zip(references, candidates):
        if not scorer._tokenizer.tokenize(reference):
            scores.append(None)
            continue
        found = scorer.score(reference, candidate)
        scores.append({name: float(found[name].fmeasure) for name in ROUGE})
    return scores


def mean_rouge(scores: Sequence[dict[str, float] | None]) -> dict[str, Any]:
    """Arithmetic means of the scores that there are, and ``n``, how many; an empty dict without any."""
    known = [score for score in scores if score is not None]
    return {"n": len(known), **{name: float(np.mean([score[name] for score in known])) for name in ROUGE}} if known else {}


def challenge(micro_f1: float, rouge1: float) -> float:
    """Final score of the COLING 2025 challenge: the mean of micro-F1 (all classes that occur) and ROUGE-1."""
    return (micro_f1 + rouge1) / 2
