"""LLE: an LLM fine-tuned on verbalised rows of a table and tested on real ones (arXiv 2408.02927, evaluation "LLE").

A row becomes "The checking is <0, …" and the question for its label. ``strict`` answers with the label of the highest log-likelihood;
``paper`` generates greedily and takes the first label that occurs in the lower-cased text as a substring; ``word`` wants it as a whole
word. Without a label the answer is missing and counts as wrong.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import polars as pl
import torch

from catalog.models.answers import inner_ids
from catalog.models.inference import generate, log_likelihood
from catalog.training.adapters import folded, lora, settings_of
from catalog.training.packing import encode
from catalog.training.settings import Settings
from catalog.training.tail import lower_once
from catalog.training.train import train
from stages.harmonic.schema import Schema
from stages.harmonic.serialise import question, rows_of
from stages.harmonic.settings import Lle


def first_label(text: str, labels: list[str], whole_words: bool) -> str | None:
    """The label that occurs first in a generated text; the longer one where two begin at the same place; None without any."""
    text = text.lower()
    found = []
    for label in labels:
        pattern = re.escape(label.lower())
        match = re.search(rf"(?<!\w){pattern}(?!\w)" if whole_words else pattern, text)
        if match:
            found.append((match.start(), -len(label), label))
    return min(found)[2] if found else None


def settings(p: Lle, n_layers: int, seed: int) -> Settings:
    """LoRA settings of the classifier, on the upper layers of ``n_layers``."""
    # Rows of one question each: they are of like length, so little is padded, and attention needs no mask.
    return settings_of(p, n_layers=n_layers, schedule="cosine", row_tokens=0, log_steps=1, seed=seed)


def answers(model: Any, tokenizer: Any, asked: list[str], labels: list[str], desc: str) -> pl.DataFrame:
    """strict, paper, word: the label each reading gives for each question, null for a missing one."""
    pairs = [(text, f" {label}") for text in asked for label in labels]
    scores = log_likelihood(model, tokenizer, pairs, desc=desc).total.view(len(asked), len(labels))
    # Labels of several tokens are compared by their sum, as a choice among whole answers.
    chosen = [labels[i] for i in scores.argmax(1).tolist()]
    longest = max(map(len, inner_ids(tokenizer, [f" {label}" for label in labels])))
    texts = generate(model, tokenizer, asked, longest + 2)
    return pl.DataFrame(
        {
            "strict": chosen,
            "paper": [first_label(text, labels, False) for text in texts],
            "word": [first_label(text, labels, True) for text in texts],
        },
        schema={"strict": pl.String, "paper": pl.String, "word": pl.String},
    )


def classify(
    fresh: Any, tokenizer: Any, table: pl.DataFrame, test: pl.DataFrame, schema: Schema, p: Lle, seed: int, desc: str
) -> tuple[pl.DataFrame, dict]:
    """Fine-tune on the first rows of ``table`` and answer the rows of ``test``: id, gold, strict, paper, word; and training figures.

    ``fresh`` is the loaded model; it is left as it was.
    """
    labels = list(schema[schema.target].levels)
    rows = rows_of(table.head(p.rows), schema)
    examples = encode(tokenizer, [(question(row, schema), f" {row[schema.target]}") for row in rows])
    s = settings(p, fresh.config.num_hidden_layers, seed)
    torch.manual_seed(seed)
    examples = lower_once(fresh, examples, s.lora_layers)
    with lora(fresh, s) as adapted:
        done = train(adapted, examples, s, desc=desc)
        asked = [question(row, schema) for row in rows_of(test, schema)]
        with folded(adapted.eval()):
            read = answers(adapted, tokenizer, asked, labels, desc)
    gold = test.select("id", pl.col(schema.target).alias("gold"))
    return pl.concat([gold, read], how="horizontal"), {"seconds": done.info["seconds"], "rows": len(rows)}


def majority_answers(table: pl.DataFrame, test: pl.DataFrame, schema: Schema) -> np.ndarray:
    """The most frequent label of ``table`` for every row of ``test``."""
    counts = table[schema.target].value_counts().sort(["count", schema.target], descending=[True, False])
    return np.repeat(counts[schema.target][0], len(test))
