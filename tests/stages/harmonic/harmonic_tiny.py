"""A toy table with splits and neighbours for the tests of harmonic's generators."""

import numpy as np
import polars as pl

from stages.harmonic.schema import Column, Schema, Source
from stages.harmonic.settings import Table

TABLE = Table(None, ("x.csv",), "csv", ("", "?"), None, "class", "classification", None, (), {}, "people", 2, 1, "job", ("age",), {})
SCHEMA = Schema(
    "toy",
    "class",
    "classification",
    (
        Column("age", "age", True, low=18, high=71, decimals=0),
        Column("job", "job", False, levels=("clerk", "cleric", "no job"), missing=0.25),
        Column("score", "s", True, low=-1.5, high=12.25, decimals=2, missing=0.1),
        Column("class", "class", False, levels=("no", "yes")),
    ),
)


def made(count=24, seed=0):
    """Rows of SCHEMA with their splits, and their neighbours."""
    rng = np.random.default_rng(seed)
    frame = pl.DataFrame(
        {
            "id": pl.Series(range(count), dtype=pl.Int32),
            "split": ["train", "train", "train", "validation", "test", "holdout"] * (count // 6),
            "age": rng.integers(18, 72, count).astype(float),
            "job": rng.choice(["clerk", "cleric", "no job"], count),
            "score": np.round(rng.uniform(-1.5, 12.25, count), 2),
            "class": rng.choice(["no", "yes"], count),
        }
    )
    frame = frame.with_columns(job=pl.when(pl.col("id") % 8 == 0).then(None).otherwise("job"))
    ids = frame.filter(pl.col("split") == "train")["id"].to_list()
    near = pl.DataFrame(
        {
            "id": pl.Series(ids, dtype=pl.Int32),
            "neighbours": pl.Series([[ids[(i + 1) % len(ids)], ids[(i + 2) % len(ids)]] for i in range(len(ids))], dtype=pl.List(pl.Int32)),
            "same_label": 0.5,
            "kept": [i % 3 != 0 for i in range(len(ids))],
        }
    )
    return Source(frame, SCHEMA, near)
