"""Schema of a table, its splits, and its cells as numbers: what the stages know of a table once it is read.

A table is a polars frame with ``id`` (Int32, the row's number in the file), ``split`` and one column for each of the schema's columns:
String for a category, Float64 for a number; a missing cell is null. Everything a generator may know of the values (ranges, decimals,
levels) is learnt from the split ``train`` alone, so that no other split leaks through the schema.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import numpy as np
import polars as pl

from catalog.base.errors import CatalogError
from catalog.base.io import read_json
from catalog.base.params import ROOT

SPLITS = ("train", "validation", "test", "holdout")
COPY, HOLDOUT = "copy of train", "holdout rows"  # methods whose rows are real: the two ends of the privacy scale


@dataclass(frozen=True)
class Column:
    """What is known of one column from the training rows."""

    name: str
    alias: str  # its key in prompts
    numeric: bool
    levels: tuple[str, ...] = ()  # of a category: those seen, sorted
    low: float = 0.0  # of a number: range and decimals seen
    high: float = 0.0
    decimals: int = 0
    missing: float = 0.0  # share of missing cells

    def text(self, value: str | float) -> str:
        """A value as it is written: a number with at most the column's decimals and no trailing zeros."""
        return plain_number(value, self.decimals) if self.numeric else str(value)


@dataclass(frozen=True)
class Schema:
    """Columns of a table in order, the target last."""

    table: str
    target: str
    task: str  # classification or regression
    columns: tuple[Column, ...]

    @property
    def names(self) -> list[str]:
        return [column.name for column in self.columns]

    @property
    def numbers(self) -> list[Column]:
        return [column for column in self.columns if column.numeric]

    @property
    def categories(self) -> list[Column]:
        return [column for column in self.columns if not column.numeric]

    def __getitem__(self, name: str) -> Column:
        return next(column for column in self.columns if column.name == name)

    def to_dict(self) -> dict:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, found: dict) -> Schema:
        columns = tuple(Column(**{**c, "levels": tuple(c["levels"])}) for c in found["columns"])
        return cls(**{**found, "columns": columns})


def plain_number(value: float, decimals: int) -> str:
    """``value`` rounded to ``decimals``, without trailing zeros: 33.60 -> 33.6, 5.0 -> 5, -0.0 -> 0."""
    text = f"{value:.{decimals}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text in ("-0", "") else text


# --- splits and schema ----------------------------------------------------------------------------------------------------------------


def split(frame: pl.DataFrame, target: str, task: str, shares: dict[str, float], seed: int) -> pl.DataFrame:
    """Add the column ``split``: shares of `SPLITS`, stratified by the classes of ``target``; the rest of rounding goes to train.

    Rows of a second file (column ``file``) are the published test split and stay so; the others are then divided by the other shares.

    Raises:
        CatalogError: shares that do not add up to 1, or a split left empty.
    """
    if set(shares) != set(SPLITS) or abs(sum(shares.values()) - 1) > 1e-9 or min(shares.values()) <= 0:
        raise CatalogError(f"The shares of {', '.join(SPLITS)} must be above 0 and add up to 1, not {shares}.")
    rng = np.random.default_rng(seed)
    out = np.full(len(frame), "test", dtype=object)
    first = (frame["file"] == 0).to_numpy()
    parts = dict(shares)
    if not first.all():
        del parts["test"]
        total = sum(parts.values())
        parts = {name: share / total for name, share in parts.items()}
    classes = frame[target].to_numpy() if task == "classification" else np.zeros(len(frame))
    for value in sorted(set(classes[first].tolist())):
        rows = np.flatnonzero(first & (classes == value))
        rows = rows[rng.permutation(len(rows))]
        start = 0
        for name in [name for name in parts if name != "train"]:
            count = round(parts[name] * len(rows))
            out[rows[start : start + count]] = name
            start += count
        out[rows[start:]] = "train"
    missing = [name for name in SPLITS if name not in set(out)]
    if missing:
        raise CatalogError(f"The table has too few rows: split {missing[0]} would be empty.")
    order = [c for c in frame.columns if c not in ("id", "file")]
    return frame.with_columns(pl.Series("split", out.tolist(), dtype=pl.String)).select("id", "split", *order)


def learn(train: pl.DataFrame, table: str, target: str, task: str, aliases: dict[str, str] | None = None) -> Schema:
    """Schema of the training rows.

    Raises:
        CatalogError: a column without a single value, two columns with one alias, an alias of no column.
    """
    aliases = aliases or {}
    names = [name for name in train.columns if name not in ("id", "split")]
    if unknown := [name for name in aliases if name not in names]:
        raise CatalogError(f"aliases names {unknown[0]!r}, which is no column of {table}; its columns are {', '.join(names)}.")
    columns = []
    for name in names:
        cells = train[name]
        known = cells.drop_nulls()
        if known.is_empty():
            raise CatalogError(f"Column {name} of {table} has no value in the training rows; leave the column out of the table.")
        facts = {"name": name, "alias": aliases.get(name, name), "missing": cells.null_count() / len(cells)}
        if cells.dtype == pl.Float64:
            decimals = max(decimals_of(value) for value in known.unique())
            columns.append(Column(**facts, numeric=True, low=known.min(), high=known.max(), decimals=decimals))
        else:
            columns.append(Column(**facts, numeric=False, levels=tuple(sorted(known.unique()))))
    keys = [column.alias for column in columns]
    if len(set(keys)) != len(keys):
        raise CatalogError(f"Two columns of {table} have one alias; the aliases are {', '.join(keys)}.")
    return Schema(table, target, task, tuple(columns))


def decimals_of(value: float) -> int:
    exponent = Decimal(repr(float(value))).normalize().as_tuple().exponent
    return max(0, -int(exponent))


@dataclass(frozen=True)
class Source:
    """One table as the data stage wrote it: rows with their splits, schema, and the neighbours of the train rows."""

    rows: pl.DataFrame
    schema: Schema
    near: pl.DataFrame

    def part(self, split: str) -> pl.DataFrame:
        return self.rows.filter(pl.col("split") == split)


def source(profile: str, table: str, root: Path = ROOT) -> Source:
    """Read a table of the data stage."""
    folder = root / "data" / "harmonic_tables" / profile / table
    rows = pl.read_parquet(folder / "rows.parquet")
    return Source(rows, Schema.from_dict(read_json(folder / "schema.json")), pl.read_parquet(folder / "neighbours.parquet"))


def half(holdout: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows that are released as "holdout rows", and those that are not: its non-members must not be among what is released."""
    middle = len(holdout) // 2
    return holdout.head(middle), holdout.tail(len(holdout) - middle)


# --- numbers for distances and classifiers -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Coded:
    """A table as arrays: ``numbers`` (n, p) float64 with NaN for missing; ``codes`` (n, q) int64, the place of a level in the schema,
    ``len(levels)`` for missing and beyond it for a level that the training rows do not have."""

    numbers: np.ndarray
    codes: np.ndarray


def coded(frame: pl.DataFrame, schema: Schema) -> Coded:
    """Cells of ``frame`` as numbers and codes, columns in the schema's order."""
    numbers = [frame[c.name].cast(pl.Float64).fill_null(np.nan).to_numpy() for c in schema.numbers]
    codes = []
    for column in schema.categories:
        place = {level: i for i, level in enumerate(column.levels)}
        extra = {v: len(place) + 1 + i for i, v in enumerate(sorted(set(frame[column.name].drop_nulls()) - set(place)))}
        known = place | extra
        codes.append(np.array([len(place) if v is None else known[v] for v in frame[column.name]], dtype=np.int64))
    n = len(frame)
    return Coded(
        np.stack(numbers, 1) if numbers else np.zeros((n, 0)),
        np.stack(codes, 1) if codes else np.zeros((n, 0), dtype=np.int64),
    )


def scale(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centre and spread (columns,) that standardise the columns of ``values`` (rows, columns): their mean and standard deviation.

    A column whose largest value equals its smallest is constant: its centre is that value and its spread 1. The standard deviation does
    not tell, since sums are rounded: that of 700 times 0.1 is 2.8e-17, and cells divided by it would reach 1e15.
    """
    low, constant = values.min(axis=0), values.max(axis=0) == values.min(axis=0)
    return np.where(constant, low, values.mean(axis=0)), np.where(constant, 1.0, values.std(axis=0))
