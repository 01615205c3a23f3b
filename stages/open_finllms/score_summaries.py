"""Scores of summaries: ROUGE-1, -2, -L and -Lsum as F1 of word n-grams and longest common subsequences (Lin 2004).

| | paper | strict |
|---|---|---|
| words | runs of a-z and 0-9: of 營收5 only the 5 is left | runs of letters and digits of any script, each Chinese character a word |
| over the texts | median of 1,000 bootstrap means, as the package `evaluate` gives it (its seed is free; ours is fixed) | plain mean |
| a reference without a word | scores 0 | cannot be scored: left out and counted |
| extractive | each line of the answer is compared with the *number* 1, so no sentence is ever chosen | compared with the text 1 |

On English texts both modes give each text the same numbers. Line ends are kept: ROUGE-Lsum reads them as ends of sentences.
The published code also prints BERTScore and BARTScore, which need a model and are no part of this module.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from rouge_score.rouge_scorer import RougeScorer
from rouge_score.scoring import BootstrapAggregator
from rouge_score.scoring import Score as RougeScore
from rouge_score.tokenizers import Tokenizer

from catalog.base.errors import CatalogError
from stages.open_finllms.score_common import Item, Score, Scored, column, frame, mean_score, missing_rate

KINDS = ("rouge1", "rouge2", "rougeL", "rougeLsum")
_WORD = re.compile(r"[\u2e80-\u9fff\uac00-\ud7a3]|[^\W_\u2e80-\u9fff\uac00-\ud7a3]+")


class Words(Tokenizer):
    """Lower-case runs of letters and digits in any script; Chinese, Japanese and Korean character by character."""

    def tokenize(self, text: str) -> list[str]:
        return _WORD.findall(text.lower())


def rouge(reference: str, output: str, mode: str) -> dict[str, float]:
    """F1 of each kind for one text."""
    scorer = RougeScorer(list(KINDS), tokenizer=Words() if mode == "strict" else None)
    return {kind: score.fmeasure for kind, score in scorer.score(reference, output).items()}


def summaries(items: Sequence[Item], mode: str) -> Scored:
    """Free summaries."""
    return _scored(items, [item.gold for item in items], [item.output for item in items], mode)


def extracts(items: Sequence[Item], mode: str) -> Scored:
    """Summaries by choosing sentences: text has one a line, label a 0 or 1 for each, the answer a 0 or 1 a line."""
    references, outputs = [], []
    for item in items:
        lines, label = column(item, "text").split("\n"), list(column(item, "label"))
        if set(label) - {0, 1}:
            raise CatalogError(f"Item {item.id} has a label other than the numbers 0 and 1, so its sentences cannot be chosen.")
        references.append("\n".join(line for line, chosen in zip(lines, label) if chosen == 1))
        marks = item.output.split("\n") if mode == "paper" else [line.strip() for line in item.output.split("\n")]
        outputs.append("\n".join(line for line, mark in zip(lines, marks) if mark == (1 if mode == "paper" else "1")))
    return _scored(items, references, outputs, mode)


def _scored(items: Sequence[Item], references: list[str], outputs: list[str], mode: str) -> Scored:
    statuses = ["ok" if output.strip() else "unparsable" if item.output.strip() else "empty" for item, output in zip(items, outputs)]
    each = [rouge(reference, output, mode) for reference, output in zip(references, outputs)]
    words = Words().tokenize
    of = [at for at, reference in enumerate(references) if mode == "paper" or words(reference)]
    missing = missing_rate(statuses)
    scores = []
    for kind in KINDS:
        score = mean_score(kind, [items[at] for at in of], [each[at][kind] for at in of], missing)
        if mode == "paper":
            value = _bootstrap_median([one[kind] for one in each])
            score = Score(kind, value, score.low, score.high, score.n, missing, score.units)
        scores.append(score)
    per_item = [each[at]["rougeL"] if at in set(of) else None for at in range(len(items))]
    return Scored(tuple(scores), frame(items, outputs, statuses, per_item, references))


def _bootstrap_median(values: Sequence[float]) -> float:
    """What `evaluate` prints for ROUGE. Sorted first, so that it does not depend on the order of the texts; the global seed is put back."""
    state = np.random.get_state()
    np.random.seed(0)
    try:
        aggregator = BootstrapAggregator()
        for value in sorted(values):
            aggregator.add_scores({"f": RougeScore(value, value, value)})
        return float(aggregator.aggregate()["f"].mid.fmeasure)
    finally:
        np.random.set_state(state)
