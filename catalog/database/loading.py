"""Load the Parquet files of `reports/` into the database: results, and the systems' own tables.

The evaluations wrote these files and checked what they wrote. They are checked again here, since a file may have been written by an older
version of a stage, or by hand: DuckDB would make 20 of 19.6 without a word where a column is declared as an integer.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import duckdb

from catalog.base.errors import CatalogError
from catalog.database.sql_text import first_line, name, text
from catalog.report import results

SQL_TYPES = {"string": "VARCHAR", "int": "BIGINT", "float": "DOUBLE", "bool": "BOOLEAN"}
SQL_TYPES |= {f"{kind}s": f"{sql}[]" for kind, sql in SQL_TYPES.items() if kind != "bool"}
_RESULTS = dict.fromkeys(results.KEY[:-1], "VARCHAR") | {"seed": "BIGINT", "value": "DOUBLE", "ci_low": "DOUBLE", "ci_high": "DOUBLE"}
_RESULTS |= {"n": "BIGINT"}


def results_of(con: duckdb.DuckDBPyConnection, system: str, profile: str, folder: Path, metrics: Iterable[str]) -> None:
    """Append one `results.parquet`, which must hold that system and profile only.

    Args:
        metrics: names of the metrics that the system may use.

    Raises:
        CatalogError: the file cannot be read, has other columns or types, no rows, rows of another system, two rows of one key, a number
            that is not finite, or a metric that is not declared.
    """
    where, again = f"reports/{system}/{profile}/results.parquet", f"run `dvc repro -f {system}`"
    source = f"read_parquet({text(str(folder / 'results.parquet'))})"
    listed = ", ".join(_RESULTS)
    try:
        _check_columns(con, source, _RESULTS, where, again)
        others = f"SELECT count(*) FROM {source} WHERE system IS DISTINCT FROM ? OR profile IS DISTINCT FROM ?"
        if con.execute(others, [system, profile]).fetchone()[0]:
            raise CatalogError(f"{where} has rows of another system or profile; {again}.")
        used = [found for (found,) in con.execute(f"SELECT DISTINCT metric FROM {source} ORDER BY 1").fetchall()]
        if not used:
            raise CatalogError(f"{where} has no rows; {again}.")
        for metric in used:
            if metric not in metrics:
                declare = f"declare it in stages/{system}/metrics.yaml"
                raise CatalogError(f"{where} has the metric {metric!r}, which no metrics.yaml declares; {declare} or {again}.")
        _check_rows(con, source, _RESULTS, results.KEY, where, again)
        con.execute(f"INSERT INTO results ({listed}) SELECT {listed} FROM {source}")
    except duckdb.Error as error:
        raise CatalogError(f"{where} cannot be read ({first_line(error)}); {again}.") from None


def own_tables(con: duckdb.DuckDBPyConnection, card: dict[str, Any], runs: list[tuple[str, str, Path]]) -> None:
    """Make the schema of a system and its declared tables, one profile's rows below the other's.

    Raises:
        CatalogError: a file is absent, or its columns, types, keys or numbers are not what `tables.yaml` declares.
    """
    system = card["name"]
    again = f"run `dvc repro -f {system}`"
    con.execute(f"CREATE SCHEMA {name(system)}")
    for title, table in card["tables"].items():
        place = f"{name(system)}.{name(title)}"
        types = {column: SQL_TYPES[kind] for column, (kind, _) in table.columns.items()}
        columns = ", ".join(f"{name(column)} {kind}" for column, kind in types.items())
        con.execute(f"CREATE TABLE {place} (profile VARCHAR NOT NULL, {columns})")
        for _, profile, folder in runs:
            where = f"reports/{system}/{profile}/tables/{title}.parquet"
            source = f"read_parquet({text(str(folder / 'tables' / f'{title}.parquet'))})"
            listed = ", ".join(map(name, table.columns))
            try:
                _check_columns(con, source, types, f"{where} does not fit stages/{system}/tables.yaml: it", again)
                _check_rows(con, source, types, table.key, where, again)
                con.execute(f"INSERT INTO {place} SELECT {text(profile)}, {listed} FROM {source}")
            except duckdb.Error as error:
                raise CatalogError(f"{where} does not fit stages/{system}/tables.yaml ({first_line(error)}); {again}.") from None
        con.execute(f"COMMENT ON TABLE {place} IS {text(table.description)}")
        con.execute(f"COMMENT ON COLUMN {place}.profile IS 'small or full.'")
        for column, (_, meaning) in table.columns.items():
            con.execute(f"COMMENT ON COLUMN {place}.{name(column)} IS {text(meaning)}")


def _check_columns(con: duckdb.DuckDBPyConnection, source: str, wanted: Mapping[str, str], where: str, again: str) -> None:
    """Check that a file has these columns, each of its SQL type, and no others."""
    found = {column: kind for column, kind, *_ in con.execute(f"DESCRIBE FROM {source}").fetchall()}
    for column, kind in wanted.items():
        if column not in found:
            raise CatalogError(f"{where} lacks the column {column}; {again}.")
        if found[column] != kind:
            raise CatalogError(f"{where} has the column {column} of type {found[column]}, which must be {kind}; {again}.")
    more = [column for column in found if column not in wanted]
    if more:
        raise CatalogError(f"{where} has the column {more[0]}, which is not declared; {again}.")


def _check_rows(con: duckdb.DuckDBPyConnection, source: str, types: Mapping[str, str], key: Iterable[str], where: str, again: str) -> None:
    """Check that numbers are finite and that no two rows have one key; NULL counts as a value."""
    for column, kind in types.items():
        test = {"DOUBLE": "NOT isfinite({0})", "DOUBLE[]": "len(list_filter({0}, lambda x: NOT isfinite(x))) > 0"}.get(kind)
        if test and con.execute(f"SELECT count(*) FROM {source} WHERE {test.format(name(column))}").fetchone()[0]:
            raise CatalogError(f"{where} has a NaN or infinite number in the column {column}; {again}.")
    listed = ", ".join(map(name, key))
    twice = con.execute(f"SELECT {listed} FROM {source} GROUP BY {listed} HAVING count(*) > 1 ORDER BY ALL LIMIT 1").fetchone()
    if twice:
        said = ", ".join(f"{column} {value}" for column, value in zip(key, twice))
        raise CatalogError(f"{where} has two rows with one key ({' '.join(said.split())}); {again}.")
