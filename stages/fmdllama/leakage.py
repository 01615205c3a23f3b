"""The leakage report: can a linear model tell the labels from what must not give them away?

Each probe is fitted on the training claims and asked about the test claims. It sees the claim alone, the context alone, the last words of
the context (where the verdicts of published fact checks stand), the context without the sentences that decide, or a note with its figures
masked. Labels are equally frequent, so that a probe that finds nothing is right by chance: one in three, or one in two.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import polars as pl

from stages.fmdllama import baselines, clusters
from stages.fmdllama.rivals import split_of

CLAIM_PROBES = ("claim", "context", "last words", "without what decides", "claim, without what decides")
MASKED = "note, figures masked"
CHANCE = {"claim": 1 / 3, "article": 1 / 2}
NUMBERS = ("chance", "accuracy", "low", "high", "joint_low", "joint_high")
SCHEMA = {**dict.fromkeys(("probe", "analyzer", "task"), pl.String), "n": pl.Int64, "contexts": pl.Int64}
SCHEMA |= dict.fromkeys(NUMBERS, pl.Float64)


def masked(item: Mapping[str, Any]) -> str:
    """A note with every figure replaced by one word."""
    return re.sub(r"[-+]?\d[\d,.]*\d|[-+]?\d", "figure", " ".join(item["context"]))


def probes(items: pl.DataFrame) -> list[tuple[str, str, str, Callable[[Mapping[str, Any]], str]]]:
    """(task, probe, analyzer, what it sees). Characters are tried beside words, since some words of the test wordings are new."""
    views = baselines.views(items.filter(task="claim"))
    seen = [*(("claim", name, views[name]) for name in CLAIM_PROBES), ("article", MASKED, masked)]
    return [(task, name, analyzer, view) for task, name, view in seen for analyzer in ("word", "char_wb")]


def table(items: pl.DataFrame) -> pl.DataFrame:
    """Accuracy of every probe with two intervals: of 95 % each (``low``, ``high``), and of 95 % for all probes of the task together."""
    rows = []
    every = probes(items)
    for task, name, analyzer, view in every:
        train, test = (split_of(items, task, split) for split in ("train", "test"))
        answers = baselines.linear(
            [view(item) for item in train], [item["label"] for item in train], [view(item) for item in test], analyzer
        )
        right = np.array([answer == item["label"] for answer, item in zip(answers, test, strict=True)], dtype=np.float64)
        context = np.unique([item["context_id"] for item in test], return_inverse=True)[1]
        one = np.ones(len(right))
        count = sum(other[0] == task for other in every)
        value, low, high = clusters.ratio(context, right, one)
        _, joint_low, joint_high = clusters.ratio(context, right, one, 1 - 0.05 / count)
        counts = (len(right), int(context.max()) + 1)
        rows.append((name, analyzer, task, *counts, CHANCE[task], value, low, high, joint_low, joint_high))
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")
