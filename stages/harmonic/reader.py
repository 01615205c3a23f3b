"""Read a table from a file, ARFF or CSV, and give its target a type.

The result is a polars frame with ``id`` (Int32, the row's number in the file), ``file`` and one column for each of the table's: String for
a category, Float64 for a number; a missing cell is null.
"""

from __future__ import annotations

import csv
import io
from decimal import Decimal, InvalidOperation
from pathlib import Path

import numpy as np
import polars as pl

from catalog.base.errors import CatalogError
from stages.harmonic.schema import decimals_of, plain_number

MISSING = ("", "?", "NA", "NaN", "nan", "null", "None")  # texts of a missing cell


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


# --- types -------------------------------------------------------------------------------------------------------------------------


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
        digits = max((decimals_of(v) for v in column.unique()), default=0)
        column = pl.Series(target, [plain_number(v, digits) for v in column])
    if task == "regression" and column.dtype != pl.Float64:
        raise CatalogError(f"{target} holds texts, so the task cannot be regression.")
    if column.n_unique() < 2:
        raise CatalogError(f"{target} has one value only ({column[0]!r}), so there is nothing to predict; choose another target.")
    return frame.with_columns(column)
