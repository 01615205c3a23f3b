"""Build the DuckDB file from the cards, the pipeline and `reports/`, and open it for reading.

The file is built beside its target and moved into place, so a reader sees the old database or the new one. It is
written in the storage format of DuckDB 1.2, which older programs open too. Tables are filled in a fixed order by one
thread: the same inputs give the same content.
"""

import os
import re
from pathlib import Path
from typing import Any

import duckdb

from catalog.base import io, params
from catalog.base.errors import CatalogError
from catalog.database import cards, claims, gather
from catalog.database.sql_text import name, text
from catalog.report import results

STORAGE_VERSION = "v1.2.0"
FILE = "catalog.duckdb"
SCHEMA = Path(__file__).with_name("schema.sql")
_BLOCK_SIZE = 16384  # bytes; the smallest, since most tables are: a tenth of the file that the default makes
_BATCH = 500  # rows in one INSERT
SQL_TYPES = {"string": "VARCHAR", "int": "BIGINT", "float": "DOUBLE", "bool": "BOOLEAN"}
SQL_TYPES |= {f"{kind}s": f"{sql}[]" for kind, sql in SQL_TYPES.items() if kind != "bool"}


def build(root: Path | None = None, path: Path | None = None) -> Path:
    """Build the database and return its path.

    Args:
        root: the project's folder; this project's by default.
        path: the file to write; `catalog.duckdb` in `root` by default.

    Raises:
        CatalogError: a card, a parameter file, a report or a claim's SQL is wrong. The former database stays.
    """
    root = Path(root or params.ROOT)
    path = Path(path or root / FILE)
    loaded = cards.load_all(root)
    tables = gather.rows(root, loaded)
    with io.replacing(path) as temporary:
        temporary.unlink(missing_ok=True)
        try:
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
                    _insert_results(con, *run)
                _check_names(con, params.load_shared(root))
                for card in loaded["systems"]:
                    _insert_own_tables(con, card, [run for run in runs if run[0] == card["name"]])
                for table, rows in claims.evaluate(con, loaded["systems"], tables["stage_files"]).items():
                    _insert(con, table, rows)
                con.execute("COMMIT")
                con.execute("CHECKPOINT built")
                con.execute("USE memory")
                con.execute("DETACH built")
        finally:
            temporary.with_name(f"{temporary.name}.wal").unlink(missing_ok=True)
    return path


def connect(path: Path | None = None, read_only: bool = True) -> duckdb.DuckDBPyConnection:
    """Open the database.

    Args:
        path: the file; by default the one that the environment variable `CATALOG_DB` names, or else the project's.
        read_only: if true, SQL can neither change the database nor reach files, the network or the settings.

    Raises:
        CatalogError: there is no such file, it is no database or none of this catalog, or another program writes it.
    """
    path = Path(path or os.environ.get("CATALOG_DB") or params.ROOT / FILE)
    if not path.is_file():
        raise CatalogError(f"{path.name} does not exist; build it from the committed reports with `dvc repro -f -s catalog`.")
    # A query of anybody may take neither files nor all of the memory.
    guarded = {"enable_external_access": "false", "lock_configuration": "true", "memory_limit": "1GB"}
    config = guarded if read_only else {}
    try:
        con = duckdb.connect(str(path), read_only=read_only, config=config)
    except duckdb.Error as error:
        raise CatalogError(_why_closed(path, error)) from None
    here = {table for (table,) in con.execute("SELECT table_name FROM duckdb_tables() WHERE schema_name = 'main'").fetchall()}
    if not {"systems", "results", "claims"} <= here:
        con.close()
        remedy = "unset CATALOG_DB or let it name one" if os.environ.get("CATALOG_DB") else "build it again: `dvc repro -f -s catalog`"
        raise CatalogError(f"{path.name} is a DuckDB file but not one of this catalog; {remedy}.")
    return con


def _why_closed(path: Path, error: duckdb.Error) -> str:
    """Why DuckDB did not open the file, and what to do, from its message."""
    said = str(error)
    if "lock on file" in said:
        holder = re.search(r"held in (.+?)\. See", said, re.DOTALL)
        return f"{path.name} is open for writing in another program ({holder[1] if holder else 'its name is not known'}); close it there."
    if isinstance(error, duckdb.IOException) and "Cannot open file" in said:
        return f"{path.name} cannot be read ({_first_line(error)}); give yourself access to it."
    return f"{path.name} cannot be opened ({_first_line(error)}); build it again: `dvc repro -f -s catalog`."


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
        except duckdb.Error as error:
            raise CatalogError(f"Table {table} cannot be filled, correct the value: {_first_line(error)}") from None


def _insert_results(con: duckdb.DuckDBPyConnection, system: str, profile: str, folder: Path) -> None:
    """Append one `results.parquet`, which must hold that system and profile only."""
    file, again = str(folder / "results.parquet"), f"run `dvc repro -f {system}`"
    listed = ", ".join(results.SCHEMA)
    try:
        con.execute(f"INSERT INTO results ({listed}) SELECT {listed} FROM read_parquet(?)", [file])
        others = "SELECT count(*) FROM read_parquet(?) WHERE system <> ? OR profile <> ?"
        if con.execute(others, [file, system, profile]).fetchone()[0]:
            raise CatalogError(f"reports/{system}/{profile}/results.parquet has rows of another system or profile; {again}.")
    except duckdb.Error as error:
        what = f"reports/{system}/{profile}/results.parquet cannot be read ({_first_line(error)})"
        raise CatalogError(f"{what}; {again}.") from None


def _insert_own_tables(con: duckdb.DuckDBPyConnection, card: dict[str, Any], runs: list[tuple[str, str, Path]]) -> None:
    """Make the schema of a system and its declared tables, one profile's rows below the other's."""
    system = card["name"]
    con.execute(f"CREATE SCHEMA {name(system)}")
    for title, table in card["tables"].items():
        place = f"{name(system)}.{name(title)}"
        columns = ", ".join(f"{name(column)} {SQL_TYPES[kind]}" for column, (kind, _) in table.columns.items())
        con.execute(f"CREATE TABLE {place} (profile VARCHAR NOT NULL, {columns})")
        for _, profile, folder in runs:
            file = folder / "tables" / f"{title}.parquet"
            listed = ", ".join(map(name, table.columns))
            try:
                con.execute(f"INSERT INTO {place} SELECT {text(profile)}, {listed} FROM read_parquet({text(str(file))})")
            except duckdb.Error as error:
                what = f"reports/{system}/{profile}/tables/{title}.parquet does not fit stages/{system}/tables.yaml"
                raise CatalogError(f"{what} ({_first_line(error)}); run `dvc repro -f {system}`.") from None
        con.execute(f"COMMENT ON TABLE {place} IS {text(table.description)}")
        con.execute(f"COMMENT ON COLUMN {place}.profile IS 'small or full.'")
        for column, (_, meaning) in table.columns.items():
            con.execute(f"COMMENT ON COLUMN {place}.{name(column)} IS {text(meaning)}")


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


def _first_line(error: Exception) -> str:
    """The first line of DuckDB's message."""
    return str(error).splitlines()[0]
