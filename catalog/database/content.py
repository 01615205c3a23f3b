"""What the database holds and what it was built from, in a small file beside it: `catalog.json`, the output that DVC watches.

Two builds from the same inputs hold the same rows but not the same bytes: DuckDB writes a block of 16 KiB whole, and where a
column's long texts end before the block does, its last bytes are whatever the memory held. So the file's own hash says nothing, and
the leaf's recorded output is the hash of every table instead. The same file answers whether the database is older than
the reports.
"""

import hashlib
import os
from pathlib import Path

import duckdb

from catalog.base import io, params
from catalog.base.errors import CatalogError
from catalog.database import db, pipeline, sql_text

FILE = "catalog.json"
RENEW = "dvc repro -s catalog"

_TABLES = """
SELECT schema_name, table_name FROM duckdb_tables() WHERE NOT internal AND NOT temporary ORDER BY ALL
"""
_DECLARED = """
SELECT 'table', schema_name, table_name, sql, comment FROM duckdb_tables() WHERE NOT internal AND NOT temporary
UNION ALL SELECT 'view', schema_name, view_name, sql, comment FROM duckdb_views() WHERE NOT internal AND NOT temporary
UNION ALL
SELECT 'column', schema_name, table_name || '.' || column_name, data_type, comment FROM duckdb_columns() WHERE NOT internal
ORDER BY ALL
"""


def tables(con: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """Return table -> number of rows and hash of the rows whatever their order; `declared` -> hash of names, types, views and comments."""
    found = {"declared": _sha256(repr(con.execute(_DECLARED).fetchall()))}
    for schema, table in con.execute(_TABLES).fetchall():
        place = f"{sql_text.name(schema)}.{sql_text.name(table)}"
        # The hash of each row first, so that no table becomes one text in memory.
        rows, digest = con.execute(
            f"SELECT count(*), sha256(coalesce(string_agg(row_hash, '' ORDER BY row_hash), '')) "
            f"FROM (SELECT sha256(whole::VARCHAR) AS row_hash FROM {place} AS whole)"
        ).fetchone()
        found[f"{schema}.{table}"] = f"{rows} rows, {digest}"
    return found


def inputs(root: Path | None = None) -> dict[str, str]:
    """Return the deps of the stage `catalog` -> hash of what the database takes from them; of code, that of this room alone.

    Raises:
        CatalogError: `dvc.yaml` has no stage of that name.
    """
    root = Path(root or params.ROOT)
    deps = next((stage["deps"] for stage in pipeline.stages(root) if stage["stage"] == "catalog"), None)
    if deps is None:
        raise CatalogError("dvc.yaml has no stage `catalog`, which builds the database; add it.")
    return {path: _hash(root / path) for path in deps}


def write(con: duckdb.DuckDBPyConnection, root: Path | None = None) -> None:
    """Write `catalog.json` for the open database, built just now."""
    io.write_json({"inputs": inputs(root), "tables": tables(con)}, Path(root or params.ROOT) / FILE)


def outdated(root: Path | None = None) -> str | None:
    """Return a sentence if the project's database is absent or not built from the files that are there now, else None."""
    root = Path(root or params.ROOT)
    if not (root / db.FILE).is_file():
        return f"{db.FILE} does not exist; build it from the committed reports with `dvc repro -f -s catalog`."
    if not (root / FILE).exists():  # the leaf did not come to its end
        return f"{FILE}, which says what {db.FILE} was built from, does not exist; renew both with `{RENEW}`."
    if (root / FILE).is_dir():
        return f"{FILE} is a folder; delete it and renew the database with `{RENEW}`."
    written = io.read_json(root / FILE)
    recorded, now = written.get("inputs") if isinstance(written, dict) else None, inputs(root)
    if not isinstance(recorded, dict):
        return f"{FILE} does not say what {db.FILE} was built from; delete it and renew both with `{RENEW}`."
    changed = sorted(path for path in now.keys() | recorded.keys() if now.get(path) != recorded.get(path))
    if not changed:
        return None
    more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
    return f"{db.FILE} was built from another state of {changed[0]}{more}; renew it with `{RENEW}`."


def require_current(root: Path | None = None) -> None:
    """Raise `CatalogError` if the project's own database is outdated. One that `CATALOG_DB` names is taken as it is."""
    if os.environ.get("CATALOG_DB"):
        return
    sentence = outdated(root)
    if sentence:
        raise CatalogError(sentence)


def _hash(path: Path) -> str:
    """Hash of a file or of a folder's files and their names; `absent` if there is none."""
    if path.is_file():
        return io.sha256(path)
    if not path.is_dir():
        return "absent"
    files = sorted(file for file in path.rglob("*") if file.is_file() and _counts(file.relative_to(path), path))
    return _sha256("".join(f"{file.relative_to(path).as_posix()} {io.sha256(file)}\n" for file in files))


def _counts(place: Path, folder: Path) -> bool:
    """Whether a file of a folder can change the database: no temporary file, and no code but that which builds it."""
    if any(part.startswith(".") or part == "__pycache__" for part in place.parts):
        return False
    if place.suffix == ".py":
        return folder.name == "catalog" and place.parts[0] == "database"
    return place.suffix not in (".pyc", ".pyo")


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
