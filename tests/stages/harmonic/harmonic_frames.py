"""Small tables of mixed columns for the tests of harmonic, with planted relations and missing cells."""

import numpy as np
import polars as pl

from stages.harmonic.schema import learn

SMALL_GRIDS = {
    "lr": {"C": [0.1, 10]},
    "svm": {"C": [1], "kernel": ["linear", "rbf"]},
    "rf": {"n_estimators": [5, 10], "max_depth": [None, 2]},
    "xgb": {"n_estimators": [3, 10]},
}


def mixed(n: int, seed: int) -> pl.DataFrame:
    """Three classes behind two numbers and two categories, cells missing in one of each."""
    rng = np.random.default_rng(seed)
    risk = rng.standard_normal(n)
    age = np.clip(np.round(45 + 12 * risk + 5 * rng.standard_normal(n)), 18, 90)
    income = np.round(np.exp(7 + 0.5 * risk + 0.2 * rng.standard_normal(n)), 2)
    job = np.array(["clerk", "nurse", "smith"], dtype=object)[np.digitize(risk + 0.3 * rng.standard_normal(n), [-0.4, 0.6])]
    town = np.array(["north", "south"], dtype=object)[rng.integers(0, 2, n)]
    label = np.array(["bad", "fair", "good"], dtype=object)[np.digitize(risk + 0.3 * rng.standard_normal(n), [-0.8, 0.3])]
    job[rng.random(n) < 0.08] = None
    income[(rng.random(n) < 0.5) & (town == "north")] = np.nan  # missing in the north only
    columns = {"age": age, "income": income, "job": job.tolist(), "town": town.tolist(), "label": label.tolist()}
    return pl.DataFrame(columns).with_columns(pl.col("income").fill_nan(None))


TRAIN, TEST = mixed(400, 0), mixed(300, 1)
SCHEMA = learn(TRAIN, "mixed", "label", "classification")


def numbers_only(n: int, seed: int) -> pl.DataFrame:
    """A regression: y = 3 a - b + noise."""
    a, b, noise = np.random.default_rng(seed).standard_normal((3, n))
    return pl.DataFrame({"a": np.round(a, 3), "b": np.round(b, 3), "y": np.round(3 * a - b + 0.3 * noise, 2) * 1000 + 20_000})


LINE = numbers_only(200, 0)
LINE_SCHEMA = learn(LINE, "line", "y", "regression")


def table(**columns) -> pl.DataFrame:
    return pl.DataFrame(columns)


def correlation(rows: pl.DataFrame, a: str, b: str) -> float:
    """Of the rows that have both."""
    known = rows.select(a, b).drop_nulls()
    return float(np.corrcoef(known[a].to_numpy(), known[b].to_numpy())[0, 1])


def rated(rows: pl.DataFrame) -> pl.DataFrame:
    """Categories as numbers, to correlate them; gap says that the income is missing."""
    return rows.with_columns(
        (pl.col("label") == "good").cast(float).alias("good"),
        (pl.col("town") == "north").cast(float).alias("north"),
        (pl.col("job") == "smith").cast(float).alias("smith"),
        pl.col("income").is_null().cast(float).alias("gap"),
    )
