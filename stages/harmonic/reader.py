"""Read a table from a file, ARFF or CSV, and give its target a type.

The result is a polars frame with ``id`` (Int32, the row's number in the file), ``file`` and one column for each of the table's: String for
a category, Float64 for a number; a missing cell is null. What cannot be read for certain is an error and not a guess, and what is certain
but may surprise is a note:

* The parameters `numeric` and `categorical` declare the types of columns. Those that neither names have the type that an ARFF file
  declares; in the other forms `column_types` judges them by their cells.
* The target is text, as it stands in the file, until `typed` knows the task.
"""

from __future__ import annotations

import sys
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path

import numpy as np
import polars as pl

from catalog.base.errors import CatalogError
from catalog.base.text import read_text
from stages.harmonic.arff import read_arff
from stages.harmonic.cells import CSV, CSV2, TSV, Rows, checked, records, shown, some
from stages.harmonic.column_types import check_points, is_number, numbers, plain, to_float

MISSING = ("", "?", "NA", "NaN", "nan", "null", "None")  # texts of a missing cell, unless they are quoted
DIALECTS = {"csv": CSV, "csv2": CSV2, "tsv": TSV}
RESERVED = ("id", "split", "file", "method", "seed", "number", "prompt_rows")  # columns that the stages put beside the table's own
WIDEST = 2000  # columns; a row must fit into a prompt, and no prompt has room for so many


def say(note: str) -> None:
    print(f"Note: {note}", file=sys.stderr, flush=True)


def read_table(
    files: list[Path],
    form: str,
    names: tuple[str, ...] | None,
    target: str,
    numeric: tuple[str, ...] | None,
    missing: tuple[str, ...] = MISSING,
    categorical: tuple[str, ...] = (),
    tell: Callable[[str], None] = say,
) -> pl.DataFrame:
    """Rows of one or more files as texts and numbers: ``id``, ``file`` (number of the file) and the columns, the target last.

    Args:
        form: ``arff`` (also KEEL's .dat), ``csv``, ``tsv`` (tabs), or ``csv2`` (semicolons, and a comma in numbers).
        names: of the columns of a CSV without a header line; None reads the header.
        target: name of the column to be predicted; always read as text.
        numeric, categorical: columns that are numbers, and that are categories, whatever their cells look like or the file declares.
        missing: what an unquoted missing cell reads.
        tell: is called with each note; prints it by default.

    Raises:
        CatalogError: no file, no rows, a row of another width, no such target, a name given twice, an unknown encoding, or a column that is
            not plainly one of numbers or a category.
    """
    if not files:
        raise CatalogError("The table has no files; name at least one under `files`.")
    if twice := [file for file, count in Counter(map(Path, files)).items() if count > 1]:
        raise CatalogError(f"{twice[0].name} is named twice under `files`, where a second file is the test split; name each file once.")
    parts, kinds = [], {}
    for number, path in enumerate(map(Path, files)):
        text = read_text(path, empty=True)  # a table without rows is said below
        header, rows, declared = read_arff(text, path.name, missing, tell) if form == "arff" else _csv(text, form, names, path.name)
        parts.append((number, header, rows))
        kinds |= declared
    header = parts[0][1]
    _check_header(header, [other for _, other, _ in parts], target)
    kinds |= _declared(header, numeric or (), categorical)
    cells = [row for _, _, rows in parts for row in rows]
    if not cells:
        raise CatalogError(f"The table {Path(files[0]).name} has no rows.")
    ends = list(accumulate(len(rows) for _, _, rows in parts))

    def place(i: int) -> str:
        file = bisect_right(ends, i)
        row = f"row {i + 1 - (ends[file - 1] if file else 0)}"
        return row if len(parts) == 1 else f"{row} of {Path(files[file]).name}"

    marks = {*missing, "?"} if form == "arff" else set(missing)
    columns = {}
    for i, name in enumerate(header):
        column = [None if cell.text in marks and not cell.quoted else cell.text for cell in (row[i] for row in cells)]
        if name == target:
            values = [cell if cell is None else plain(cell, form) for cell in column]
            if form == "csv2" and all(cell is None or is_number(cell) for cell in values):
                check_points(name, column, place)
        else:
            found = numbers(name, column, kinds.get(name), form, place, tell)
            values = column if found is None else found
        columns[name] = pl.Series(values, dtype=pl.String if values is column or name == target else pl.Float64)
    columns[target] = columns.pop(target)  # the last one
    frame = {"id": np.arange(len(cells), dtype=np.int32), "file": [number for number, _, rows in parts for _ in rows]} | columns
    return _published_labels(pl.DataFrame(frame).with_columns(pl.col("file").cast(pl.Int8)), target)


def _check_header(header: list[str], others: list[list[str]], target: str) -> None:
    if any(other != header for other in others):
        raise CatalogError(f"The files of one table differ in their columns: {'; '.join(map(some, others))}.")
    if len(header) > WIDEST:
        raise CatalogError(
            f"The table has {len(header):,} columns, and a row must fit into a prompt, which has room for far fewer than {WIDEST:,}; "
            "leave columns out of the table."
        )
    if len(set(header)) != len(header) or "" in header:
        raise CatalogError(f"A table needs one name for each column, each once; these are {some(header)}.")
    if target not in header:
        raise CatalogError(f"The table has no column {target!r} for its target; its columns are {some(header)}.")
    if taken := [name for name in header if name in RESERVED]:
        raise CatalogError(f"The column {taken[0]} is one of the project's own ({', '.join(RESERVED)}); rename it in the table.")


def _declared(header: list[str], numeric: tuple[str, ...], categorical: tuple[str, ...]) -> dict[str, bool]:
    """Whether a column is one of numbers, of those that the parameters declare."""
    for names, what in ((numeric, "a number"), (categorical, "a category")):
        if unknown := [name for name in names if name not in header]:
            raise CatalogError(f"The table has no column {unknown[0]!r} to be read as {what}; its columns are {some(header)}.")
    if both := [name for name in numeric if name in categorical]:
        raise CatalogError(f"The column {both[0]} is named under `numeric` and under `categorical`; take it out of one of them.")
    return dict.fromkeys(numeric, True) | dict.fromkeys(categorical, False)


# --- CSV --------------------------------------------------------------------------------------------------------------------------------


def _csv(text: str, form: str, names: tuple[str, ...] | None, where: str) -> tuple[list[str], Rows, dict[str, bool]]:
    """Columns and rows of a CSV file. Lines that begin with | in front of the table are comments, as in UCI's Adult."""
    if form not in DIALECTS:
        raise CatalogError(f"The form {form!r} of a table is unknown; use arff, {', '.join(DIALECTS)}.")
    if text[:4096].lstrip().lower().startswith(("@relation", "@attribute")):
        raise CatalogError(f"{where} is an ARFF file; set its form to arff.")
    rows = list(records(text, DIALECTS[form], where))
    while len(rows) > 1 and rows[0][0].text.startswith("|") and len(rows[0]) != len(rows[1]):
        rows = rows[1:]
    if not rows:
        raise CatalogError(f"{where} is empty; a CSV file needs a header line and rows.")
    if len(rows[0]) == 1:
        for other, mark, said in (("csv2", ";", "semicolons"), ("tsv", "\t", "tabs"), ("csv", ",", "commas")):
            if form != other and mark in rows[0][0].text:
                raise CatalogError(f"The cells of {where} are separated by {said}; set its form to {other}.")
    if names is None:
        header, rows = [cell.text for cell in rows[0]], rows[1:]
        return header, checked(rows, len(header), where), {}
    rows = checked(rows, len(names), where)
    words = rows and not any(is_number(plain(cell.text, form)) for cell in rows[0])
    if words and any(_heads([plain(row[i].text, form) for row in rows], name) for i, name in enumerate(names)):
        first = ", ".join(cell.text for cell in rows[0][:3])
        raise CatalogError(f"The first row of {where} ({first}, …) is a header and no row of the table; set columns to null.")
    return list(names), rows, {}


def _heads(column: list[str], name: str) -> bool:
    """Whether the first cell of a column is its name, or a word above nothing but numbers."""
    first, known = column[0], [cell for cell in column[1:] if cell not in MISSING]
    return first.lower() == name.lower() or (first not in MISSING and bool(known) and all(map(is_number, known)))


# --- target -----------------------------------------------------------------------------------------------------------------------------


def _published_labels(frame: pl.DataFrame, target: str) -> pl.DataFrame:
    """Labels of a published test split as the first file writes them: the full stop behind each in UCI's adult.test is taken off."""
    first = set(frame.filter(file=0)[target].drop_nulls())
    later = set(frame.filter(pl.col("file") > 0)[target].drop_nulls())
    unknown = later - first
    if not unknown or all(map(is_number, first | later)):  # numbers: a regression
        return frame
    if {label.removesuffix(".") for label in unknown} <= first:
        return frame.with_columns(pl.when(pl.col("file") > 0).then(pl.col(target).str.strip_suffix(".")).otherwise(target).alias(target))
    if unknown != later:  # a class that the training rows lack
        return frame
    labels = f"{sorted(later)[0]!r} and the like, not {sorted(first)[0]!r}"
    raise CatalogError(f"The test file has none of the labels of {target} that the first file has ({labels}); write them alike.")


def typed(frame: pl.DataFrame, target: str, task: str) -> pl.DataFrame:
    """``frame`` with its target as a category (classification, the texts of the file) or a number (regression).

    Raises:
        CatalogError: a missing target, a target with one value only, a regression on texts, an unknown task.
    """
    if task not in ("classification", "regression"):
        raise CatalogError(f"The task {task!r} is unknown; use classification or regression.")
    column = frame[target]
    if count := column.null_count():
        raise CatalogError(f"{count} rows have no {target}: remove them, or correct `missing`, which says what a missing cell reads.")
    if task == "regression":
        places = [f"row {row}{f' of file {file + 1}' if file else ''}" for file, row in _rows(frame)]
        if bad := [i for i, cell in enumerate(column) if not is_number(cell)]:
            raise CatalogError(f"{target} holds texts ({shown(column[bad[0]])} in {places[bad[0]]}), so the task cannot be regression.")
        column = pl.Series(target, [to_float(cell, target, at) for cell, at in zip(column, places)], dtype=pl.Float64)
    if column.n_unique() < 2:
        raise CatalogError(f"{target} has one value only ({column[0]!r}), so there is nothing to predict; choose another target.")
    return frame.with_columns(column)


def _rows(frame: pl.DataFrame) -> list[tuple[int, int]]:
    """File of each row, from 0, and its number in it, from 1."""
    return frame.select("file", pl.int_range(1, pl.len() + 1).over("file").alias("row")).rows()
