"""Small tables with missing cells and unknown levels for the tests of distances and privacy, and the published German table."""

from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest

from stages.harmonic.reader import read_table, typed
from stages.harmonic.schema import learn

CREDIT = Path(__file__).parents[3] / "data/assets/german_credit/credit-g.arff"


def frame(**columns) -> pl.DataFrame:
    """Columns of texts or numbers; None is a missing cell."""
    kinds = {name: pl.String if any(isinstance(v, str) for v in cells) else pl.Float64 for name, cells in columns.items()}
    return pl.DataFrame({name: pl.Series(cells, dtype=kinds[name], strict=False) for name, cells in columns.items()})


def schema_of(table: pl.DataFrame, task: str = "classification"):
    return learn(table, "small", table.columns[-1], task)


def mixed(n: int, seed: int, gaps: bool = True, levels: str = "abcd") -> pl.DataFrame:
    """Random rows: two numbers (one whole), a constant number, two categories; a tenth of the cells but the target's missing."""
    rng = np.random.default_rng(seed)

    def cells(values) -> list:
        return [None if gaps and rng.random() < 0.1 else v for v in values.tolist()]

    return frame(
        x=cells(rng.normal(size=n)),
        whole=cells(rng.integers(0, 5, n).astype(float)),
        same=cells(np.full(n, 3.0)),
        letter=cells(rng.choice(list(levels), n)),
        label=rng.choice(["no", "yes"], n).tolist(),
    )


def as_pandas(table: pl.DataFrame) -> tuple[pd.DataFrame, dict]:
    kinds = {name: {"sdtype": "numerical" if kind == pl.Float64 else "categorical"} for name, kind in table.schema.items()}
    return pd.DataFrame(table.to_dict(as_series=False)), {"columns": kinds}


TRAIN = frame(x=[0, 10, None, 5], c=["a", "b", "a", None])  # range 10
OTHER = frame(x=[5, 25, None, 0], c=["a", "b", None, "z"])


def german() -> pl.DataFrame:
    """The published German credit table, typed; skips the test where it has not been fetched."""
    if not CREDIT.exists():
        pytest.skip("the table credit-g.arff has not been fetched")
    return typed(read_table([CREDIT], "arff", None, "class", None), "class", "classification").drop("file")
