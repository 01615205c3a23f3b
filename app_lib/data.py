"""The app's one read-only connection to the catalog, shared by all sessions and replaced when the file is rebuilt.

DuckDB keeps one instance a process and file: a new connection to a rebuilt file shows the old rows until every older
connection and cursor is closed. So `_snapshot` drops its connection as soon as the file's identity changes, and first
ends the cursors still in use.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import streamlit as st

from app_lib.sql_answer import cannot_open
from catalog.base.errors import CatalogError
from catalog.base.params import ROOT
from catalog.database import content
from catalog.database.db import BUILD as BUILD_COMMAND
from catalog.database.db import connect


@dataclass
class Snapshot:
    """One connection, the state of the file it was opened on, and the cursors in use."""

    con: duckdb.DuckDBPyConnection
    path: Path
    stamp: tuple[int, int, int]
    cursors: set[duckdb.DuckDBPyConnection] = field(default_factory=set)
    released: bool = False
    idle: threading.Condition = field(default_factory=threading.Condition)


def root() -> Path:
    """Return the folder that holds `reports/`; the environment variable `CATALOG_ROOT` overrides the project's own."""
    return Path(os.environ.get("CATALOG_ROOT") or ROOT)


def catalog_path() -> Path:
    """Return the DuckDB file to show; the environment variable `CATALOG_DB` overrides `<root>/catalog.duckdb`."""
    return Path(os.environ.get("CATALOG_DB") or root() / "catalog.duckdb")


@st.cache_data(ttl=20, show_spinner=False)
def outdated() -> str | None:
    """Return a sentence if the project's own database is older than its reports; nothing of one that `CATALOG_DB` names."""
    return None if os.environ.get("CATALOG_DB") else content.outdated(root())


def stamp(path: Path) -> tuple[int, int, int] | None:
    """Return what changes whenever the file at `path` is written or replaced, or None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _release(snapshot: Snapshot) -> None:
    """End the queries in progress and close the connection, so that the next one sees the rebuilt file."""
    with snapshot.idle:
        snapshot.released = True
        for cursor in snapshot.cursors:
            cursor.interrupt()
        snapshot.idle.wait_for(lambda: not snapshot.cursors, timeout=5)
    snapshot.con.close()


def _is_current(snapshot: Snapshot) -> bool:
    """Tell whether the file is still the one that was opened; Streamlit drops a stale entry without `on_release`."""
    if not snapshot.released and snapshot.stamp != stamp(snapshot.path):
        _release(snapshot)
    return not snapshot.released


@st.cache_resource(validate=_is_current, on_release=_release, show_spinner=False)
def _snapshot(path: str) -> Snapshot:
    found = stamp(Path(path))
    if found is None:
        raise CatalogError(f"There is no catalog yet: run `make app`, or `{BUILD_COMMAND}` and reload this page.")
    try:
        return Snapshot(connect(Path(path)), Path(path), found)
    except CatalogError as error:
        if isinstance(error.__context__, duckdb.Error):  # what DuckDB said, from which the true cause can be told
            raise CatalogError(cannot_open(error.__context__, Path(path).name)) from None
        raise


def version() -> tuple[int, int, int]:
    """Return what changes whenever the catalog is rebuilt; a key for caches.

    Raises:
        CatalogError: there is no catalog, or it cannot be read.
    """
    return _snapshot(str(catalog_path())).stamp


@contextmanager
def cursor() -> Iterator[duckdb.DuckDBPyConnection]:
    """Give a cursor of the shared connection for one query, then close it.

    Raises:
        CatalogError: there is no catalog, or it cannot be read.
    """
    while True:
        snapshot = _snapshot(str(catalog_path()))
        with snapshot.idle:
            if snapshot.released:
                continue
            own = snapshot.con.cursor()
            snapshot.cursors.add(own)
        break
    try:
        yield own
    except duckdb.InterruptException:
        if snapshot.released:
            raise CatalogError("The catalog was rebuilt while this page was read: reload the page.") from None
        raise
    finally:
        own.close()
        with snapshot.idle:
            snapshot.cursors.discard(own)
            snapshot.idle.notify_all()


def table(sql: str, params: dict[str, Any] | None = None) -> pl.DataFrame:
    """Run one of the app's own queries and return all its rows.

    Args:
        sql: one SELECT; names that come from outside are passed in `params`, or quoted with `quote`.
        params: values of the `$name` parameters.

    Raises:
        CatalogError: no catalog, or one built by another version of the project.
    """
    try:
        with cursor() as own:
            return own.sql(sql, params=params).pl()
    except (duckdb.CatalogException, duckdb.BinderException):
        raise CatalogError(f"This catalog lacks a table or a column that the app reads: build it again with `{BUILD_COMMAND}`.") from None


def records(sql: str, params: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """Like `table`, as a list of rows, each a dict from column to value."""
    return table(sql, params).to_dicts()


def one(sql: str, params: dict[str, Any] | None = None) -> Any:
    """Return the first value of the first row, or None where there is no row."""
    frame = table(sql, params)
    return frame.item(0, 0) if frame.height else None


def quote(name: str) -> str:
    """Return `name` as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def column_help(schema: str, name: str) -> dict[str, str]:
    """Return the comment of each column of a table or view: column -> comment."""
    rows = records(
        "SELECT column_name, comment FROM duckdb_columns() WHERE schema_name = $schema AND table_name = $name AND comment IS NOT NULL",
        {"schema": schema, "name": name},
    )
    return {row["column_name"]: row["comment"] for row in rows}
