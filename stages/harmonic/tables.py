"""Tables: read a file, learn a schema from its training rows, split, and check rows against the schema.

A table is a polars frame with ``id`` (Int32, the row's number in the file), ``split`` and one column for each of the schema's columns:
String for a category, Float64 for a number; a missing cell is null. Everything a generator may know of the values (ranges, decimals,
levels) is learnt from the split ``train`` alone, so that no other split leaks through the schema.
"""

from __future__ import annotations

import csv
import dataclasses
import io
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path

import numpy as np
import polars as pl

from catalog.base.errors import CatalogError
from catalog.base.io import read_json
from catalog.base.params import ROOT

SPLITS = ("train", "validation", "test", "holdout")
COPY, HOLDOUT = "copy of train", "holdout rows"  # methods whose rows are real: the two ends of the privacy scale
MISSING = ("", "?", "NA", "NaN", "nan", "null", "None")  # texts of a missing cell


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


# --- reading ------------------------------------------------------------------------------------------------------------------------


def read_table(files: list[Path], form: str, names: tuple[str, ...] | None, target: str, numeric: tuple[str, ...] | None) -> pl.DataFrame:
    """Rows of one or more files as texts and numbers: ``id``, ``file`` (number of the file) and the columns, the target last.

    Args:
        form: ``arff`` (also KEEL's .dat) or ``csv``.
        names: of the columns of a CSV without a header line; None reads the header.
        target: name of the column to be predicted.
        numeric: columns that are numbers; None: those whose every cell is one. The target of a classification is a category all the same:
            see `typed`.

    Raises:
        CatalogError: no file, no rows, a row of another width, no such target, a name given twice, an unknown encoding.
    """
    parts = []
    for number, path in enumerate(files):
        try:
            text = Path(path).read_text(encoding="utf-8-sig")
        except FileNotFoundError:
            raise CatalogError(f"There is no table {path}; give the path of a file, or run the stage that fetches it.") from None
        except UnicodeDecodeError as error:
            raise CatalogError(f"{Path(path).name} is not UTF-8 (byte {error.start}); save it as UTF-8.") from None
        header, rows = (_arff if form == "arff" else _csv)(text, names, Path(path).name)
        parts.append((number, header, rows))
    header = parts[0][1]
    if any(other != header for _, other, _ in parts):
        raise CatalogError(f"The files of one table differ in their columns: {[other for _, other, _ in parts]}.")
    if len(set(header)) != len(header) or "" in header:
        raise CatalogError(f"A table needs one name for each column, each once; these are {header}.")
    if target not in header:
        raise CatalogError(f"The table has no column {target!r} for its target; its columns are {', '.join(header)}.")
    if {"id", "split", "file"} & set(header):
        raise CatalogError("The columns id, split and file are the project's own; rename them in the table.")
    cells = [row for _, _, rows in parts for row in rows]
    if not cells:
        raise CatalogError(f"The table {Path(files[0]).name} has no rows.")
    data = {name: [None if row[i] in MISSING else row[i] for row in cells] for i, name in enumerate(header)}
    if numeric is not None and (unknown := [name for name in numeric if name not in header]):
        raise CatalogError(f"The table has no column {unknown[0]!r} to be read as a number; its columns are {', '.join(header)}.")
    frame = {"id": np.arange(len(cells), dtype=np.int32), "file": [number for number, _, rows in parts for _ in rows]}
    order = [name for name in header if name != target] + [target]
    for name in order:
        as_number = name in numeric if numeric is not None else all(_is_number(cell) for cell in data[name] if cell is not None)
        if as_number:
            bad = next((cell for cell in data[name] if cell is not None and not _is_number(cell)), None)
            if bad is not None:
                raise CatalogError(f"Column {name} should hold numbers but has {bad!r}; correct the table or leave it out of `numeric`.")
            frame[name] = pl.Series([None if cell is None else float(cell) for cell in data[name]], dtype=pl.Float64)
        else:
            frame[name] = pl.Series(data[name], dtype=pl.String)
    return pl.DataFrame(frame).with_columns(pl.col("file").cast(pl.Int8))


def _is_number(cell: str) -> bool:
    try:
        return Decimal(cell).is_finite()
    except InvalidOperation:
        return False


def _arff(text: str, names: tuple[str, ...] | None, where: str) -> tuple[list[str], list[list[str]]]:
    """Columns and rows of an ARFF or KEEL file."""
    header, lines, data = [], text.splitlines(), None
    for number, line in enumerate(lines):
        line = line.strip()
        if line.lower().startswith("@attribute"):
            rest = line[len("@attribute") :].strip()
            quote = rest[0] if rest[:1] in ("'", '"') else None
            header.append(rest[1 : rest.index(quote, 1)] if quote else rest.split("{")[0].split()[0])
        elif line.lower().startswith("@data"):
            data = lines[number + 1 :]
            break
    if data is None or not header:
        raise CatalogError(f"{where} has no @attribute or no @data line, so it is no ARFF file; set its form to csv.")
    kept = [line for line in data if line.strip() and not line.lstrip().startswith("%")]
    return header, _rows(kept, len(header), where, "'")


def _csv(text: str, names: tuple[str, ...] | None, where: str) -> tuple[list[str], list[list[str]]]:
    """Columns and rows of a CSV file; lines that begin with | are comments, as in UCI's Adult."""
    kept = [line for line in text.splitlines() if line.strip() and not line.startswith("|")]
    if names is None:
        if not kept:
            raise CatalogError(f"{where} is empty; a CSV file needs a header line and rows.")
        header = [cell.strip() for cell in next(csv.reader(kept[:1], skipinitialspace=True))]
        kept = kept[1:]
    else:
        header = list(names)
    return header, _rows(kept, len(header), where, '"')


def _rows(lines: list[str], width: int, where: str, quote: str) -> list[list[str]]:
    rows = []
    try:
        for number, row in enumerate(csv.reader(io.StringIO("\n".join(lines)), quotechar=quote, skipinitialspace=True, strict=True), 1):
            if len(row) != width:
                raise CatalogError(f"Row {number} of {where} has {len(row)} cells and the table {width} columns; correct the row.")
            rows.append([cell.strip() for cell in row])
    except csv.Error as error:
        raise CatalogError(f"{where} is no regular table ({error}); correct its quotes.") from None
    return rows


# --- splits and schema ----------------------------------------------------------------------------------------------------------------


def typed(frame: pl.DataFrame, target: str, task: str) -> pl.DataFrame:
    """``frame`` with its target as a category (classification) or a number (regression); rows without a target are an error.

    Raises:
        CatalogError: a missing target, a target with one value only, a regression on texts, an unknown task.
    """
    if task not in ("classification", "regression"):
        raise CatalogError(f"The task {task!r} is unknown; use classification or regression.")
    column = frame[target]
    if column.null_count():
        raise CatalogError(f"{column.null_count()} rows have no {target}; remove them, a target must be known.")
    if task == "classification" and column.dtype == pl.Float64:
        digits = max((_decimals(v) for v in column.unique()), default=0)
        column = pl.Series(target, [plain_number(v, digits) for v in column])
    if task == "regression" and column.dtype != pl.Float64:
        raise CatalogError(f"{target} holds texts, so the task cannot be regression.")
    if column.n_unique() < 2:
        raise CatalogError(f"{target} has one value only ({column[0]!r}), so there is nothing to predict; choose another target.")
    return frame.with_columns(column)


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
            decimals = max(_decimals(value) for value in known.unique())
            columns.append(Column(**facts, numeric=True, low=known.min(), high=known.max(), decimals=decimals))
        else:
            columns.append(Column(**facts, numeric=False, levels=tuple(sorted(known.unique()))))
    keys = [column.alias for column in columns]
    if len(set(keys)) != len(keys):
        raise CatalogError(f"Two columns of {table} have one alias; the aliases are {', '.join(keys)}.")
    return Schema(table, target, task, tuple(columns))


def _decimals(value: float) -> int:
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
