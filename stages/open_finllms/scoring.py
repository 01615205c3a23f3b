"""Scores of a task's answers: the entry to the scorers of text tasks.

    score("classes", rows, outputs, mode="strict")

Answers are paired with questions by id, never by position. `paper` gives what the published code of the benchmark (PIXIU, FLARE)
gives, also where that is plainly a slip; `strict` is how one would score. The modules `score_*.py` say where the two differ.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from catalog.base.errors import CatalogError
from stages.open_finllms import score_classes, score_numbers, score_spans, score_summaries
from stages.open_finllms.score_common import MODES, Item, Scored

_ROUGE = score_summaries.KINDS


@dataclass(frozen=True)
class Scorer:
    """A scorer, the columns it reads beside the templates, the metrics it gives first, and the options that a task may set."""

    run: Callable[..., Scored]
    metrics: tuple[str, ...]
    columns: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    needed: tuple[str, ...] = ()  # options without which it does not run
    choices: bool = False


SCORERS = {
    "classes": Scorer(score_classes.classes, ("acc", "f1", "macro_f1", "mcc", "mcc_50"), options=("also", "mcc"), choices=True),
    "stock": Scorer(score_classes.stock, ("acc", "f1", "macro_f1", "mcc", "mcc_50"), choices=True),
    "credit": Scorer(score_classes.credit, ("acc", "f1", "macro_f1", "mcc", "mcc_50"), choices=True),
    "headlines": Scorer(score_classes.headlines, ("avg_f1", "acc"), ("label_type",), choices=True),
    "entities": Scorer(score_spans.entities, ("entity_f1", "precision", "recall"), ("text", "label")),
    "tagging": Scorer(score_spans.tagging, ("entity_f1", "f1", "tokens_answered"), ("token", "label"), ("labels",), ("labels",)),
    "relations": Scorer(score_spans.relations, ("f1", "precision", "recall"), ("label",)),
    "questions": Scorer(score_numbers.questions, ("acc",)),
    "conversations": Scorer(score_numbers.conversations, ("acc", "acc_last_turn"), ("dialogue_id", "turn")),
    "sentiment": Scorer(score_numbers.sentiment, ("rmse", "rmse_answered")),
    "summaries": Scorer(score_summaries.summaries, _ROUGE),
    "extracts": Scorer(score_summaries.extracts, _ROUGE, ("text", "label")),
}


def score(
    scorer: str, rows: Sequence[Mapping[str, Any]], outputs: Mapping[str, str], mode: str, options: Mapping[str, Any] | None = None
) -> Scored:
    """Score answers.

    Args:
        scorer: a name of `SCORERS`.
        rows: one a question: id, gold (text), where there are choices choices (list), where questions share a document unit (its name), and
            the published columns that the scorer reads.
        outputs: id -> the model's answer. A question without one counts as unanswered and is marked absent.
        mode: paper or strict.

    Raises:
        CatalogError: unknown scorer or mode, no rows, an id twice, an answer to a question that is not there.
    """
    if scorer not in SCORERS:
        raise CatalogError(f"There is no scorer {scorer}; there are {', '.join(SCORERS)}.")
    if mode not in MODES:
        raise CatalogError(f"There is no mode {mode}; there are {' and '.join(MODES)}.")
    return SCORERS[scorer].run(paired(rows, outputs), mode, **(options or {}))


def paired(rows: Sequence[Mapping[str, Any]], outputs: Mapping[str, str]) -> list[Item]:
    """Questions with their answers, by id."""
    if not rows:
        raise CatalogError("There is no question to score; check the file and the split of the task.")
    outputs = {str(name): text for name, text in outputs.items()}
    items: dict[str, Item] = {}
    for row in rows:
        name = str(row["id"])
        if name in items:
            raise CatalogError(
                f"The id {name} occurs twice, so answers cannot be paired with questions; give each question an id of its own."
            )
        output, choices = outputs.get(name), tuple(map(str, row.get("choices") or ()))
        if output is not None and not isinstance(output, str):
            raise CatalogError(f"The answer to {name} is {type(output).__name__}, but an answer is a text.")
        items[name] = Item(name, output or "", str(row["gold"]), row, choices, str(row.get("unit") or name), output is None)
    unknown = sorted(outputs.keys() - items.keys())
    if unknown:
        raise CatalogError(f"There are answers to {len(unknown)} questions that the task does not have, such as {unknown[0]}.")
    return list(items.values())


def table(scored: Scored, **names: str) -> pl.DataFrame:
    """Scores as a table, one row a metric, with columns `names` in front."""
    columns = ("metric", "value", "low", "high", "n", "missing", "units", "unit", "constant")
    kinds = {"metric": pl.String, "n": pl.Int64, "units": pl.Int64, "unit": pl.String}
    data = {column: [getattr(score, column) for score in scored.scores] for column in columns}
    frame = pl.DataFrame(data, schema={column: kinds.get(column, pl.Float64) for column in columns})
    return frame.select([pl.lit(value).alias(name) for name, value in names.items()] + list(columns))
