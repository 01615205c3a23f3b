"""Read a table from a file, ARFF or CSV, and give its target a type.

The result is a polars frame with ``id`` (Int32, the row's number in the file), ``file`` and one column for each of the table's: String for
a category, Float64 for a number; a missing cell is null. What cannot be read for certain is an error and not a guess:

* A column is of numbers if every cell is one and can be written back as it was read: `00501` is a code, and so is a whole number of more
  digits than a float holds. Columns that an ARFF file declares have the declared type, and those that ``numeric`` names are numbers.
* A column of numbers with a few cells that are none (`N/A`, `12%`, `1,234`, `inf`) is refused, since it would be a category of thousands.
* The target is text, as it stands in the file, until `typed` knows the task.
"""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from pathlib import Path

import numpy as np
import polars as pl

from catalog.base.errors import CatalogError
from stages.harmonic.cells import ARFF, CSV, CSV2, TSV, Cell, records

MISSING = ("", "?", "NA", "NaN", "nan", "null", "None")  # texts of a missing cell, unless they are quoted
DIALECTS = {"csv": CSV, "csv2": CSV2, "tsv": TSV}
RESERVED = ("id", "split", "file", "method", "seed", "number", "prompt_rows")  # columns that the stages put beside the table's own
STRANGE, LEVELS = 0.05, 20  # a column of numbers: so many cells are none at most, and so many different ones at least
Rows = list[list[Cell]]


def read_table(
    files: list[Path],
    form: str,
    names: tuple[str, ...] | None,
    target: str,
    numeric: tuple[str, ...] | None,
    missing: tuple[str, ...] = MISSING,
) -> pl.DataFrame:
    """Rows of one or more files as texts and numbers: ``id``, ``file`` (number of the file) and the columns, the target last.

    Args:
        form: ``arff`` (also KEEL's .dat), ``csv``, ``tsv`` (tabs), or ``csv2`` (semicolons, and a comma in numbers).
        names: of the columns of a CSV without a header line; None reads the header.
        target: name of the column to be predicted; always read as text.
        numeric: columns that are numbers; None: see the module.
        missing: what an unquoted missing cell reads.

    Raises:
        CatalogError: no file, no rows, a row of another width, no such target, a name given twice, an unknown encoding, or a column that is
            nearly one of numbers.
    """
    parts, kinds = [], {}
    for number, path in enumerate(files):
        header, rows, declared = (_arff if form == "arff" else _csv)(_text(Path(path)), form, names, Path(path).name)
        parts.append((number, header, rows))
        kinds |= declared
    header = parts[0][1]
    _check_header(header, [other for _, other, _ in parts], target)
    if numeric is not None and (unknown := [name for name in numeric if name not in header]):
        raise CatalogError(f"The table has no column {unknown[0]!r} to be read as a number; its columns are {', '.join(header)}.")
    cells = [row for _, _, rows in parts for row in rows]
    if not cells:
        raise CatalogError(f"The table {Path(files[0]).name} has no rows.")
    frame = {"id": np.arange(len(cells), dtype=np.int32), "file": [number for number, _, rows in parts for _ in rows]}
    for name in [name for name in header if name != target] + [target]:
        i = header.index(name)
        column = [None if cell.text in missing and not cell.quoted else cell.text for cell in (row[i] for row in cells)]
        read = [cell if cell is None else _plain(cell, form) for cell in column]
        as_number = name != target and _numbers(name, read, name in numeric if numeric is not None else kinds.get(name))
        values = [None if cell is None else float(cell) for cell in read] if as_number else read if name == target else column
        frame[name] = pl.Series(values, dtype=pl.Float64 if as_number else pl.String)
    return _published_labels(pl.DataFrame(frame).with_columns(pl.col("file").cast(pl.Int8)), target)


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise CatalogError(f"There is no table {path}; give the path of a file, or run the stage that fetches it.") from None
    except UnicodeDecodeError as error:
        raise CatalogError(f"{path.name} is not UTF-8 (byte {error.start}); save it as UTF-8.") from None


def _check_header(header: list[str], others: list[list[str]], target: str) -> None:
    if any(other != header for other in others):
        raise CatalogError(f"The files of one table differ in their columns: {others}.")
    if len(set(header)) != len(header) or "" in header:
        raise CatalogError(f"A table needs one name for each column, each once; these are {header}.")
    if target not in header:
        raise CatalogError(f"The table has no column {target!r} for its target; its columns are {', '.join(header)}.")
    if taken := [name for name in header if name in RESERVED]:
        raise CatalogError(f"The column {taken[0]} is one of the project's own ({', '.join(RESERVED)}); rename it in the table.")


# --- numbers ----------------------------------------------------------------------------------------------------------------------------


def _plain(cell: str, form: str) -> str:
    """A number with a decimal point where the form has a comma; other cells as they are."""
    other = cell.replace(",", ".")
    return other if form == "csv2" and "." not in cell and _is_number(other) else cell


def _is_number(cell: str) -> bool:
    try:
        return Decimal(cell).is_finite() and "_" not in cell
    except InvalidOperation:
        return False


def _written_back(cell: str) -> bool:
    """Whether a number is the same when it is written again: no leading zeros, and no more digits of a whole number than a float holds."""
    whole = cell.lstrip("+-")
    return not re.match(r"0\d", whole) and (not whole.isdigit() or int(float(cell)) == int(cell))


def _numbers(name: str, cells: list[str | None], declared: bool | None) -> bool:
    """Whether a column is one of numbers; ``declared`` by the file or the parameters, None: by its cells."""
    known = [cell for cell in cells if cell is not None]
    strange = [cell for cell in known if not _is_number(cell)]
    if declared is None:
        different = len({cell for cell in known if _is_number(cell)})
        if strange and len(strange) <= STRANGE * len(known) and different >= LEVELS:
            row = cells.index(strange[0]) + 1
            raise CatalogError(
                f"Column {name} is one of numbers but for {len(strange)} cells, the first {strange[0]!r} in row {row}: correct them, name "
                "them under `missing`, or name the columns that are numbers under `numeric`."
            )
        return not strange and all(map(_written_back, known))
    if declared and strange:
        raise CatalogError(f"Column {name} should hold numbers but has {strange[0]!r}; correct the table or leave it out of `numeric`.")
    return declared


# --- forms ------------------------------------------------------------------------------------------------------------------------------


def _arff(text: str, form: str, names: tuple[str, ...] | None, where: str) -> tuple[list[str], Rows, dict[str, bool]]:
    """Columns, rows, and whether a column is declared as one of numbers, of an ARFF or KEEL file."""
    head = re.search(r"^[ \t]*@data\b[^\r\n]*", text, re.IGNORECASE | re.MULTILINE)
    name = r"'((?:\\.|[^'\\])*)'|\"((?:\\.|[^\"\\])*)\"|([^\s{'\"]+)"
    attribute = re.compile(rf"^[ \t]*@attribute\s+(?:{name})[ \t]*([^\r\n]*)", re.IGNORECASE | re.MULTILINE)
    found = attribute.findall(text[: head.start()] if head else "")
    if not found:
        raise CatalogError(f"{where} has no @attribute or no @data line, so it is no ARFF file; set its form to csv.")
    header = [re.sub(r"\\(.)", r"\1", one or two or three) for one, two, three, _ in found]
    numbers = {column: kind.lower().startswith(("numeric", "real", "integer")) for column, (*_, kind) in zip(header, found)}
    rows = list(records(text[head.end() :], ARFF, where))
    if rows and rows[0][0].text.startswith("{") and not rows[0][0].quoted:
        raise CatalogError(f"{where} is a sparse ARFF file, whose rows leave zeros out; save it in full (Weka's SparseToNonSparse).")
    return header, _checked(rows, len(header), where), numbers


def _csv(text: str, form: str, names: tuple[str, ...] | None, where: str) -> tuple[list[str], Rows, dict[str, bool]]:
    """Columns and rows of a CSV file. Lines that begin with | in front of the table are comments, as in UCI's Adult."""
    if form not in DIALECTS:
        raise CatalogError(f"The form {form!r} of a table is unknown; use arff, {', '.join(DIALECTS)}.")
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
        return header, _checked(rows, len(header), where), {}
    rows = _checked(rows, len(names), where)
    words = rows and not any(_is_number(_plain(cell.text, form)) for cell in rows[0])
    if words and any(_heads([_plain(row[i].text, form) for row in rows], name) for i, name in enumerate(names)):
        first = ", ".join(cell.text for cell in rows[0][:3])
        raise CatalogError(f"The first row of {where} ({first}, …) is a header and no row of the table; set columns to null.")
    return list(names), rows, {}


def _heads(column: list[str], name: str) -> bool:
    """Whether the first cell of a column is its name, or a word above nothing but numbers."""
    first, known = column[0], [cell for cell in column[1:] if cell not in MISSING]
    return first.lower() == name.lower() or (first not in MISSING and bool(known) and all(map(_is_number, known)))


def _checked(rows: Rows, width: int, where: str) -> Rows:
    for number, row in enumerate(rows, 1):
        if len(row) != width:
            raise CatalogError(f"Row {number} of {where} has {len(row)} cells and the table {width} columns; correct the row.")
    return rows


# --- target -----------------------------------------------------------------------------------------------------------------------------


def _published_labels(frame: pl.DataFrame, target: str) -> pl.DataFrame:
    """Labels of a published test split as the first file writes them: the full stop behind each in UCI's adult.test is taken off."""
    first = set(frame.filter(file=0)[target].drop_nulls())
    later = set(frame.filter(pl.col("file") > 0)[target].drop_nulls())
    unknown = later - first
    if not unknown or all(map(_is_number, first | later)):  # numbers: a regression
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
        if bad := [cell for cell in column if not _is_number(cell)]:
            raise CatalogError(f"{target} holds texts ({bad[0]!r}), so the task cannot be regression.")
        column = pl.Series(target, [float(cell) for cell in column], dtype=pl.Float64)
    if column.n_unique() < 2:
        raise CatalogError(f"{target} has one value only ({column[0]!r}), so there is nothing to predict; choose another target.")
    return frame.with_columns(column)
