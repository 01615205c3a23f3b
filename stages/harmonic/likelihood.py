"""How probable a generator finds real rows: negative log-likelihoods of whole rows, the raw signal of DLT and of the membership attack.

``strict``: a row is scored in the form the generator was trained on, with the same tokens. Of form json the prompt shows rows of the split
validation, which neither train nor holdout rows have met, so that both are asked under the same conditions. Columns stand in the schema's
order, or, for a generator that was trained on many orders, in several drawn from the row's id, over which the sums are averaged.

``paper``: as the released code has it: "name value, … ." with a full stop, the list of columns shuffled again for each row by a seed of
400 + row number, categories as integers coded for each file by itself, no prompt and no begin token.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import polars as pl

from catalog.models.inference import log_likelihood
from stages.harmonic.schema import Schema, Source
from stages.harmonic.serialise import Instruction, Pieces, rows_of
from stages.harmonic.settings import Generator
from stages.harmonic.train import begin_token, column_order

MAX_TOKENS = 2048  # of a forward pass: rows that follow one prompt stand behind it in one sequence
PROMPTS = 4  # different ones: rows that share a prompt share its forward pass


def strict_pairs(
    g: Generator, made: Source, parts: Pieces, ask: Instruction | None, tokenizer: Any, frame: pl.DataFrame, k: int, orders: int, seed: int
) -> list[tuple[list[int], list[int]]]:
    """(context, row) token ids, ``orders`` pairs a row of ``frame`` one after another (one if the generator knows one order only)."""
    shown = rows_of(made.part("validation"), made.schema)
    rng = np.random.default_rng([seed, 1])
    prompts = [[shown[i] for i in rng.choice(len(shown), size=min(k, len(shown)), replace=False)] for _ in range(PROMPTS)]
    out = []
    for number, row in zip(frame["id"], rows_of(frame, made.schema), strict=True):
        picked = prompts[number % len(prompts)]
        for turn in range(orders if g.permute else 1):
            order = column_order(made.schema, g.permute, [seed, 2, number, turn])
            context = [begin_token(tokenizer)] if ask is None else ask.prompt([parts.row(other, order)[:-1] for other in picked])
            out.append((context, parts.row(row, order)))
    return out


def nll(model: Any, tokenizer: Any, pairs: list[tuple[list[int], list[int]]], rows: int, desc: str) -> tuple[np.ndarray, np.ndarray]:
    """Negative log-likelihood (nats) of each row, (rows,), averaged over its pairs, and its number of tokens (rows,)."""
    found = log_likelihood(model, tokenizer, pairs, max_tokens=MAX_TOKENS, desc=desc)
    tokens = np.array([len(values) for values in found.tokens]).reshape(rows, -1).mean(1)
    return -found.total.numpy().astype(np.float64).reshape(rows, -1).mean(1), tokens


def paper_texts(frame: pl.DataFrame, schema: Schema) -> list[str]:
    """Rows of one file in the released form; see the module. A missing cell, which the release does not know, is left out."""
    codes = {column.name: {v: i for i, v in enumerate(sorted(set(frame[column.name].drop_nulls())))} for column in schema.categories}
    out, columns = [], list(schema.columns)
    for number, row in enumerate(rows_of(frame, schema)):
        random.Random(400 + number).shuffle(columns)  # the list itself, as released: each order is a shuffle of the one before
        cells = [(column, row[column.name]) for column in columns if row[column.name] is not None]
        said = [f"{column.alias} {column.text(value) if column.numeric else codes[column.name][value]}" for column, value in cells]
        out.append(", ".join(said) + ".")
    return out


def paper_pairs(tokenizer: Any, texts: list[str]) -> list[tuple[list[int], list[int]]]:
    """(first token, rest) of each text: without a begin token nothing predicts the first."""
    ids = tokenizer(texts, add_special_tokens=False)["input_ids"]
    return [(row[:1], row[1:]) for row in ids]
