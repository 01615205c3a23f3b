"""Run one reading statement in DuckDB and make its rows such that a table of a page and its CSV can hold them.

Numbers of at most 64 bits, decimals and texts stay what they are. Every other type becomes its text in SQL: times may
be infinite or beyond the year 9999, and there are unions, maps, bits, intervals and what later versions bring. Long
texts are cut with a mark, names of columns made to differ.

`answer` runs in the process of `sql_worker`; hence only DuckDB and Arrow are imported.
"""

import re
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

MAX_COLUMNS = 1_000
MAX_CELL = 100_000  # characters; the longest text of the catalog, a card, has a third of it
MAX_NAME = 200  # characters of a column's name, which may be a whole expression
_BATCH = 1_024  # rows

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_READING = {duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN, duckdb.StatementType.PRAGMA}
_INTEGERS = {f"{sign}{size}" for sign in ("", "u") for size in ("tinyint", "smallint", "integer", "bigint")}
_NUMBERS = _INTEGERS | {"boolean", "float", "double", "decimal"}
_WIDE = {"hugeint", "uhugeint"}  # the type of sum() over integers: numbers where 64 bits hold all of them


class Refused(Exception):
    """A statement that is not run or not answered; the text is the sentence that the user reads."""


def one_line(error: Exception) -> str:
    """Return a DuckDB error as one line, without the excerpt of the query that follows it."""
    text = " ".join(str(error).split("\n\nLINE ")[0].split("\nLINE ")[0].split())
    return text if len(text) <= 500 else f"{text[:500]} …"


def cannot_open(error: Exception, name: str) -> str:
    """Return the sentence for a catalog that DuckDB cannot open."""
    if isinstance(error, BlockingIOError) or "Could not set lock" in str(error):
        return f"{name} is open for writing in another program: close it there, then try again."
    if isinstance(error, PermissionError) or "Permission denied" in str(error):
        return f"{name} may not be read by the user who runs the app: change its permissions."
    if isinstance(error, FileNotFoundError):
        return f"{name} does not exist: build it with `dvc repro -f -s catalog`."
    what = f"{name} is no database that DuckDB {duckdb.__version__} can read"
    return f"{what}: build it again with `dvc repro -f -s catalog`."


def answer(con: duckdb.DuckDBPyConnection, sql: str, max_rows: int, max_bytes: int) -> tuple[dict[str, Any], pa.Table]:
    """Run one reading statement.

    Returns:
        names (of the columns, each one once), capped (there are more rows), cut (there are longer texts); the rows.

    Raises:
        Refused: not one reading statement, or an answer too big to show.
        duckdb.Error: SQL that is wrong, or that the settings forbid.
    """
    statements = con.extract_statements(sql)
    if len(statements) != 1:
        raise Refused("Write one statement at a time." if statements else "Write one statement: there is none here.")
    if statements[0].named_parameters:
        names = ", ".join(f"${name}" for name in sorted(statements[0].named_parameters))
        raise Refused(f"The statement has parameters without a value ({names}): write a value in place of each.")
    if statements[0].type not in _READING:
        raise Refused("Write a SELECT, DESCRIBE, SUMMARIZE, SHOW or EXPLAIN statement: the catalog is read only.")
    rows = con.sql(sql)
    if rows is None:
        raise Refused("This statement has no rows to show: write a SELECT.")
    if len(rows.columns) > MAX_COLUMNS:
        width = f"{len(rows.columns):,} columns and a page shows at most {MAX_COLUMNS:,}"
        raise Refused(f"The answer has {width}: name those you need.")
    kinds = [kind.id for kind in rows.types]
    shown = rows.project(", ".join(f"{_plain(place, str(kind))} AS c{place}" for place, kind in enumerate(rows.types)))
    shown = shown.project(", ".join(_short(place, kind) for place, kind in enumerate(kinds))).limit(max_rows + 1)
    batches, size = [], 0
    reader = shown.to_arrow_reader(_BATCH)
    for batch in reader:
        size += batch.nbytes
        if size > max_bytes:
            raise Refused(f"The answer is over {max_bytes / 1e6:g} MB: select fewer columns or add a LIMIT.")
        batches.append(batch)
    table = pa.Table.from_batches(batches, reader.schema)
    texts = [table.column(place) for place, kind in enumerate(kinds) if kind not in _NUMBERS]
    # The longest length is compared in Python: comparing within Arrow imports pandas, a fifth of a second.
    was_cut = any((pc.max(pc.utf8_length(text)).as_py() or 0) > MAX_CELL for text in texts)
    for place, kind in enumerate(kinds):
        if kind in _WIDE:
            table = table.set_column(place, f"c{place}", _as_integers(table.column(place)))
    header = {"names": _names(rows.columns), "capped": table.num_rows > max_rows, "cut": was_cut}
    return header, table.slice(0, max_rows)


def _plain(place: int, kind: str) -> str:
    """The SQL of a column: numbers and texts as they are, every other type as its text in SQL.

    Dates and times too: they may be infinite or beyond the year 9999, which neither the page nor its CSV can hold.
    """
    shown_as_it_is = kind == "VARCHAR" or kind.split("(")[0].lower() in _NUMBERS
    return f"#{place + 1}" if shown_as_it_is else f"CAST(#{place + 1} AS VARCHAR)"


def _short(place: int, kind: str) -> str:
    """The SQL of a column without what a cell cannot show of a long text."""
    name = f"c{place}"
    if kind in _NUMBERS:
        return name
    mark = f"' … (cut here; the text has ' || length({name}) || ' characters)'"
    return f"CASE WHEN length({name}) > {MAX_CELL} THEN left({name}, {MAX_CELL}) || {mark} ELSE {name} END AS {name}"


def _as_integers(column: pa.ChunkedArray) -> pa.ChunkedArray:
    try:
        return column.cast(pa.int64())
    except pa.ArrowInvalid:
        return column


def _names(columns: list[str]) -> list[str]:
    """Return names that can be shown and differ, which those of a SELECT need not: a, a becomes a, a_1."""
    names: list[str] = []
    taken: set[str] = set()
    for place, column in enumerate(columns):
        visible = _CONTROL.sub(" ", column).strip() or f"column {place + 1}"
        first = name = visible if len(visible) <= MAX_NAME else f"{visible[:MAX_NAME]} …"
        repeat = 0
        while name in taken:
            repeat += 1
            name = f"{first}_{repeat}"
        names.append(name)
        taken.add(name)
    return names
