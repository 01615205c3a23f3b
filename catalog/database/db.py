"""Build the DuckDB file from the cards, the pipeline and `reports/`, and open it for reading.

The file is built beside its target and moved into place, so a reader sees the old database or the new one. It is
written in the storage format of DuckDB 1.2, which older programs open too. Tables are filled in a fixed order by one
thread: the same inputs give the same content.
"""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb

from catalog.base import io, params
from catalog.base.errors import CatalogError
from catalog.database import cards, claims, gather, loading
from catalog.database.sql_text import first_line, name, text

STORAGE_VERSION = "v1.2.0"
FILE = "catalog.duckdb"
BUILD = "dvc repro -f -s catalog"
SCHEMA = Path(__file__).with_name("schema.sql")
_BLOCK_SIZE = 16384  # bytes; the smallest, since most tables are: a tenth of the file that the default makes
_BATCH = 500  # rows in one INSERT


def build(root: Path | None = None, path: Path | None = None) -> Path:
    """Build the database and return its path.

    Args:
        root: the project's folder; this project's by default.
        path: the file to write; `catalog.duckdb` in `root` by default.

    Raises:
        CatalogError: a card, a parameter file, a report or a claim's SQL is wrong, or `path` is a folder. The former database stays.
    """
    root = Path(root or params.ROOT)
    path = Path(path or root / FILE)
    if path.is_dir():
        raise CatalogError(f"{path} is a folder, so the database cannot be written there; give the name of a file.")
    loaded = cards.load_all(root)
    declared_metrics = {card["name"]: card["metrics"] for card in loaded["systems"]}
    tables = gather.rows(root, loaded)
    with io.replacing(path) as temporary:
        with duckdb.connect(":memory:", config={"threads": 1}) as con:
            # Compressed segments keep bytes of memory that nothing has set, so that two builds would differ.
            con.execute("SET force_compression = 'uncompressed'")
            options = f"STORAGE_VERSION {text(STORAGE_VERSION)}, BLOCK_SIZE {_BLOCK_SIZE}"
            con.execute(f"ATTACH {text(str(temporary))} AS built ({options})")
            con.execute("USE built")
            con.execute("BEGIN")
            con.execute(SCHEMA.read_text(encoding="utf-8"))
            for table, rows in tables.items():
                _insert(con, table, rows)
            runs = gather.reports(root, [card["name"] for card in loaded["systems"]])
            for run in runs:
                loading.results_of(con, *run, declared_metrics[run[0]])
            _check_names(con, params.load_shared(root))
            for card in loaded["systems"]:
                loading.own_tables(con, card, [run for run in runs if run[0] == card["name"]])
            for table, rows in claims.evaluate(con, loaded["systems"], tables["stage_files"]).items():
                _insert(con, table, rows)
            con.execute("COMMIT")
            con.execute("CHECKPOINT built")
            con.execute("USE memory")
            con.execute("DETACH built")
    return path


def connect(path: Path | None = None, read_only: bool = True) -> duckdb.DuckDBPyConnection:
    """Open the database.

    Args:
        path: the file; by default the one that the environment variable `CATALOG_DB` names, or else the project's.
        read_only: if true, SQL can neither change the database nor reach files, the network or the settings.

    Raises:
        CatalogError: there is no such file, it is no database or none of this catalog, or another program writes it.
    """
    named = None if path else os.environ.get("CATALOG_DB")
    path = Path(path or named or params.ROOT / FILE)
    shown = f"{path}, which CATALOG_DB names," if named else path.name
    if path.is_dir():
        raise CatalogError(f"{shown} is a folder and no database; {_remedy(named, 'give the name of a file')}.")
    if not path.is_file():
        raise CatalogError(f"{shown} does not exist; {_remedy(named, f'build it from the committed reports with `{BUILD}`')}.")
    # A query of anybody may take neither files nor all of the memory.
    guarded = {"enable_external_access": "false", "lock_configuration": "true", "memory_limit": "1GB"}
    config = guarded if read_only else {}
    try:
        con = duckdb.connect(str(path), read_only=read_only, config=config)
    except duckdb.Error as error:
        raise CatalogError(_why_closed(shown, error, _remedy(named, f"build it again: `{BUILD}`"))) from None
    here = {table for (table,) in con.execute("SELECT table_name FROM duckdb_tables() WHERE schema_name = 'main'").fetchall()}
    if not {"systems", "results", "claims"} <= here:
        con.close()
        raise CatalogError(f"{shown} is a DuckDB file but not one of this catalog; {_remedy(named, f'build it again: `{BUILD}`')}.")
    return con


@contextlib.contextmanager
def reading(path: Path | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
    """`connect` for a block of code whose SQL is this project's own: where it does not run, the database is of another version.

    Raises:
        CatalogError: as `connect`; a table or column that the SQL names is not there.
    """
    named = None if path else os.environ.get("CATALOG_DB")
    with contextlib.closing(connect(path)) as con:
        try:
            yield con
        except (duckdb.BinderException, duckdb.CatalogException) as error:
            shown = f"{named}, which CATALOG_DB names," if named else Path(path or FILE).name
            remedy = _remedy(named, f"build it again: `{BUILD}`")
            raise CatalogError(f"{shown} was built by another version of this project ({first_line(error)}); {remedy}.") from None


def _remedy(named: str | None, otherwise: str) -> str:
    """What to do about a database that cannot be used: to build the project's own does not mend one that `CATALOG_DB` names."""
    return "unset CATALOG_DB or let it name a database of this catalog" if named else otherwise


def _why_closed(shown: str, error: duckdb.Error, remedy: str) -> str:
    """Why DuckDB did not open the file, and what to do, from its message."""
    said = str(error)
    if "lock on file" in said:
        holder = re.search(r"held in (.+?)\. See", said, re.DOTALL)
        return f"{shown} is open for writing in another program ({holder[1] if holder else 'its name is not known'}); close it there."
    if isinstance(error, duckdb.IOException) and "Cannot open file" in said:
        return f"{shown} cannot be read ({first_line(error)}); give yourself access to it."
    return f"{shown} cannot be opened ({first_line(error)}); {remedy}."


def _insert(con: duckdb.DuckDBPyConnection, table: str, rows: list[dict[str, Any]]) -> None:
    """Insert rows by column name; a column that a row lacks is NULL."""
    columns = [name for (name,) in con.execute("SELECT name FROM pragma_table_info(?)", [table]).fetchall()]
    listed = ", ".join(name(column) for column in columns)
    one = f"({', '.join('?' * len(columns))})"
    for start in range(0, len(rows), _BATCH):
        batch = rows[start : start + _BATCH]
        values = [row.get(column) for row in batch for column in columns]
        try:
            con.execute(f"INSERT INTO {name(table)} ({listed}) VALUES {', '.join([one] * len(batch))}", values)
        except (duckdb.Error, TypeError, ValueError, OverflowError) as error:  # Python's own: a value that has no type of SQL
            raise CatalogError(f"Table {table} cannot be filled, correct the value: {first_line(error)}") from None


def _check_names(con: duckdb.DuckDBPyConnection, declared: dict[str, Any]) -> None:
    """Check that data sets and models of results are names of cards, or models that params.yaml declares.

    Raises:
        CatalogError: another name.
    """
    others = {key for kind in ("hub_models", "optional_models") for key in declared.get(kind) or {}}
    for kind, more in (("dataset", set()), ("model", others)):
        known = {found for (found,) in con.execute(f"SELECT {kind} FROM {kind}s").fetchall()} | more
        for system, found in con.execute(f"SELECT DISTINCT system, {kind} FROM results WHERE {kind} IS NOT NULL ORDER BY ALL").fetchall():
            if found not in known:
                raise CatalogError(
                    f"A result of {system} has the {kind} {found!r}, which has no card; write the card's name, or leave it out "
                    "and say in method, split or experiment what it is."
                )
