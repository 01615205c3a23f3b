"""Check the built database: `python -m catalog.database.check` fails with a sentence for each thing that is missing.

Every system that has parameters has results, every named query runs, and every table and column has a comment.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb

from catalog.base import params
from catalog.base.errors import CatalogError, run
from catalog.database import content, db


def problems(con: duckdb.DuckDBPyConnection, root: Path | None = None) -> list[str]:
    """Return a sentence for each fault of the database, none if it is whole.

    Args:
        con: the database.
        root: folder of the project whose systems it must hold.
    """
    found = []
    measured = {name for (name,) in con.execute("SELECT DISTINCT system FROM results").fetchall()}
    known = {name for (name,) in con.execute("SELECT system FROM systems").fetchall()}
    for name in declared_systems(params.load(root or params.ROOT)):
        if name not in known:
            found.append(f"{name} has parameters but no card: write stages/{name}/README.md.")
        elif name not in measured:
            found.append(f"{name} has no results: run `make repro SYSTEM={name}`.")
    for name, sql in con.execute("SELECT name, sql FROM queries ORDER BY name").fetchall():
        try:
            con.execute(sql).fetchall()
        except duckdb.Error as error:
            found.append(f"The query {name} does not run, correct it: {str(error).splitlines()[0]}")
    bare = con.execute(
        """
        SELECT schema_name || '.' || table_name, column_name FROM duckdb_columns()
        WHERE NOT internal AND coalesce(comment, '') = '' ORDER BY ALL
        """
    ).fetchall()
    for table, column in bare:
        found.append(f"Column {column} of {table} is not described: add it to tables.yaml of the system.")
    return found


def declared_systems(declared: Mapping[str, Any]) -> list[str]:
    """The systems among what `params.load` returned: the blocks that have a profile, in its order."""
    profiles = set(params.PROFILES)
    return [name for name, block in declared.items() if isinstance(block, Mapping) and profiles & set(block)]


def main() -> None:
    """Print that all is well, or raise `CatalogError` with every problem."""
    content.require_current()
    with db.reading() as con:
        found = problems(con)
        if found:
            raise CatalogError("\n".join(found))
        systems, queries = con.execute("SELECT (SELECT count(*) FROM systems), (SELECT count(*) FROM queries)").fetchone()
    print(f"The catalog holds {systems} systems, and its {queries} named queries run.")


if __name__ == "__main__":
    run(main)
