"""The table `data`: what the set holds, split by split, and whether the splits have items in common."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import polars as pl
from scipy import sparse

from stages.fmdllama.prompts import LABELS, shown

NEAR = 0.8  # Jaccard similarity of two items' words from which they are near duplicates
ROWS = 2000  # of a block of the similarity matrix: bounds its memory


def text(item: dict[str, Any]) -> str:
    """What tells one item from another: the claim and the sentences on what it names, or the note."""
    return " ".join([item["claim"] or "", *shown(item, "retrieved")])


def tokens(words: str) -> list[str]:
    """Words and numbers in small letters, without marks."""
    return re.findall(r"[^\W_]+(?:[.,]\d+)*", words.lower())


def near_pairs(one: list[list[str]], other: list[list[str]], least: float = NEAR) -> int:
    """How many pairs of an item of one list and one of the other have sets of tokens with a Jaccard similarity of ``least`` or more.

    Counted exactly: the sizes of all intersections are products of sparse matrices, in blocks of `ROWS`.
    """
    known = {token: place for place, token in enumerate(sorted({token for words in (*one, *other) for token in words}))}

    def matrix(texts: list[list[str]]) -> sparse.csr_matrix:
        sets = [sorted({known[token] for token in words}) for words in texts]
        places = [place for row in sets for place in row]
        return sparse.csr_matrix((np.ones(len(places), np.int32), places, np.cumsum([0, *map(len, sets)])), (len(sets), len(known)))

    a, b = matrix(one), matrix(other)
    sizes_a, sizes_b = (np.asarray(m.sum(1)).ravel() for m in (a, b))
    count = 0
    for start in range(0, len(one), ROWS):
        shared = (a[start : start + ROWS] @ b.T).tocoo()
        union = sizes_a[start + shared.row] + sizes_b[shared.col] - shared.data
        count += int((shared.data >= least * union).sum())
    return count


def table(items: pl.DataFrame) -> pl.DataFrame:
    """A row for each task and split; pairs are of one of its items and one of another split's."""
    rows = []
    for (task,), part in items.group_by("task", maintain_order=True):
        texts = {split: [text(item) for item in own.to_dicts()] for (split,), own in part.group_by("split", maintain_order=True)}
        words = {split: [tokens(one) for one in own] for split, own in texts.items()}
        near = {frozenset((a, b)): near_pairs(words[a], words[b]) for a in words for b in words if a < b}
        for (split,), own in part.group_by("split", maintain_order=True):
            elsewhere = {" ".join(one) for other, all_ in words.items() if other != split for one in all_}
            row = {"task": task, "split": split, "rows": len(own), "contexts": own["context_id"].n_unique()}
            labels = own["label"].value_counts()
            row |= {name.lower(): None for name in ("True", "False", "NEI", "Fake")}
            row |= {name.lower(): 0 for name in LABELS[task]} | {name.lower(): count for name, count in labels.iter_rows()}
            for name, column in (
                ("claim", own["claim"]),
                ("context", own["context"].list.join(" ")),
                ("target", own["explanation"]),
            ):
                lengths = column.str.count_matches(r"\S+")
                row |= {f"{name}_words": lengths.mean(), f"{name}_words_max": lengths.max()}
            row |= {"wordings": own["template"].n_unique(), "shares": own["assets"].explode().n_unique()}
            row |= {"first_month": own["month"].min(), "last_month": own["month"].max()}
            row["same_elsewhere"] = sum(" ".join(one) in elsewhere for one in words[split])
            row["near_elsewhere"] = sum(count for pair, count in near.items() if split in pair)
            rows.append(row)
    schema = {"task": pl.String, "split": pl.String, "first_month": pl.String, "last_month": pl.String}
    return pl.DataFrame(rows, infer_schema_length=None).with_columns(pl.col(name).cast(kind) for name, kind in schema.items())
