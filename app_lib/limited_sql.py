"""Free SQL with limits: one reading statement, at most so many rows, at most so many seconds."""

import threading
import time
from dataclasses import dataclass

import duckdb
import polars as pl
import pyarrow as pa

from app_lib import data
from catalog.base.errors import CatalogError

MAX_ROWS = 5_000
MAX_SECONDS = 10.0
MAX_BYTES = 50_000_000

_READING = {duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN, duckdb.StatementType.PRAGMA}


@dataclass(frozen=True)
class Answer:
    """Rows of a query, whether the row cap cut them, and the seconds it took."""

    frame: pl.DataFrame
    capped: bool
    seconds: float


def ask(sql: str, max_rows: int = MAX_ROWS, max_seconds: float = MAX_SECONDS) -> Answer:
    """Run one SELECT typed by a user on the read-only catalog.

    Args:
        sql: one statement; `;` at its end is allowed.
        max_rows: rows beyond this are not fetched.
        max_seconds: wall-clock limit, after which the query is interrupted.

    Raises:
        CatalogError: not one SELECT, refused or wrong SQL, over the time limit, or an answer too big to show.
    """
    try:
        kinds = [statement.type for statement in duckdb.extract_statements(sql)]
    except duckdb.Error as error:
        raise CatalogError(one_line(error)) from None
    if len(kinds) != 1:
        raise CatalogError("Write one statement: there is none here." if not kinds else "Write one statement at a time.")
    if kinds[0] not in _READING:
        raise CatalogError("Write a SELECT, DESCRIBE, SUMMARIZE, SHOW or EXPLAIN statement: the catalog is read only.")
    started = time.perf_counter()
    with data.cursor() as cursor:
        timer = threading.Timer(max_seconds, cursor.interrupt)
        timer.start()
        try:
            rows = cursor.sql(sql).limit(max_rows + 1).to_arrow_table()
        except duckdb.InterruptException:
            if time.perf_counter() - started < max_seconds:
                raise
            raise CatalogError(f"The query was stopped after {max_seconds:g} seconds: ask for less at once.") from None
        except duckdb.Error as error:
            raise CatalogError(one_line(error)) from None
        finally:
            timer.cancel()
    if rows.nbytes > MAX_BYTES:
        raise CatalogError(f"The answer is over {MAX_BYTES // 10**6} MB: select fewer columns or add a LIMIT.")
    return Answer(_frame(rows.slice(0, max_rows)), rows.num_rows > max_rows, time.perf_counter() - started)


def one_line(error: Exception) -> str:
    """Return a DuckDB error as one line, without the excerpt of the query that follows it."""
    text = str(error).split("\n\nLINE ")[0].split("\nLINE ")[0]
    return " ".join(text.split())


def _frame(rows: pa.Table) -> pl.DataFrame:
    """Return `rows` with values as text where a table of the page cannot show their type (intervals, bytes)."""
    columns = []
    for name, column in zip(rows.column_names, rows.columns, strict=True):
        if pa.types.is_interval(column.type) or pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
            values = [None if value is None else str(value) for value in column.to_pylist()]
            columns.append(pl.Series(name, values, pl.String))
        else:
            columns.append(pl.Series(name, pl.from_arrow(column)))
    return pl.DataFrame(columns)
