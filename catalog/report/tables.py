"""A system's own tables: declared once in `stages/<system>/tables.yaml`, written whole into one folder.

The declaration gives each table a description, a key that tells its rows apart and orders them, and its columns with type and meaning. What
an evaluation writes must be just that, so the database and the documents can describe every column.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from catalog.base import io, params
from catalog.base.errors import CatalogError
from catalog.report.names import NAME, entries, folder, is_text

FILE = "tables.yaml"
TYPES = {"string": pl.String, "int": pl.Int64, "float": pl.Float64, "bool": pl.Boolean}
TYPES |= {f"{name}s": pl.List(kind) for name, kind in TYPES.items() if name != "bool"}


@dataclass(frozen=True)
class Table:
    """One declared table: what it holds, its key, and column -> (type, meaning) in order."""

    description: str
    key: tuple[str, ...]
    columns: dict[str, tuple[str, str]]


def declared(system: str, root: Path | None = None) -> dict[str, Table]:
    """The tables of `stages/<system>/tables.yaml`, in its order; none where there is no such file.

    Raises:
        CatalogError: not YAML, an unknown or missing key, a type that is none of `TYPES`, a key that is no column, a name SQL cannot take
            or does not tell from another.
    """
    where = f"stages/{system}/{FILE}"
    path = Path(root or params.ROOT) / where
    if not path.is_file():
        return {}
    return {name: _table(name, entry, f"{where}: {name}") for name, entry in entries(path, where).items()}


def _table(name: Any, entry: Any, where: str) -> Table:
    """One entry of the file, checked."""
    if not isinstance(name, str) or not NAME.match(name) or name == "results":
        raise CatalogError(f"{where} cannot name a table; use lower-case letters, digits and _, and not `results`.")
    if not isinstance(entry, Mapping) or set(entry) != {"description", "key", "columns"}:
        raise CatalogError(f"{where} must have exactly the keys description, key and columns.")
    if not is_text(entry["description"]):
        raise CatalogError(f"{where}.description must be a text that says what the table holds.")
    if not isinstance(entry["columns"], Mapping) or not entry["columns"]:
        raise CatalogError(f"{where}.columns must map each column's name to its `type: meaning`.")
    columns: dict[str, tuple[str, str]] = {}
    lower: dict[str, str] = {}
    for column, meaning in entry["columns"].items():
        if not is_text(column):
            raise CatalogError(f"{where}.columns has the name {column!r}; a column's name is a text that is not empty.")
        # SQL does not tell capital letters in names from small ones.
        if lower.setdefault(column.lower(), column) != column:
            raise CatalogError(f"{where}.columns has {lower[column.lower()]} and {column}, which are one name in SQL; rename one of them.")
        if column.lower() == "profile":
            raise CatalogError(f"{where} has a column `{column}`, which the database adds; drop it.")
        if not isinstance(meaning, Mapping) or len(meaning) != 1 or not is_text(next(iter(meaning.values()))):
            raise CatalogError(f"{where}.columns.{column} must be `type: meaning`, for instance `float: Share of right answers.`")
        ((kind, text),) = meaning.items()
        if kind not in TYPES:
            raise CatalogError(f"{where}.columns.{column} has the type {kind!r} but must have one of {', '.join(TYPES)}.")
        columns[column] = (kind, text)
    key = entry["key"]
    if not isinstance(key, list) or not key or not all(isinstance(column, str) and column in columns for column in key):
        raise CatalogError(f"{where}.key must name columns of the table that tell its rows apart, as a list such as [id].")
    if len(set(key)) < len(key):
        raise CatalogError(f"{where}.key names a column twice; name each once.")
    return Table(entry["description"], tuple(key), columns)


def write_tables(frames: Mapping[str, pl.DataFrame], system: str, profile: str, *, root: Path | None = None) -> None:
    """Write every declared table as `tables/<name>.parquet` of the system's reports, in place of what the folder held.

    Rows are sorted by the key (nulls first), columns come in the declared order and type, so the same rows give the same bytes.

    Args:
        frames: declared table -> its rows; extra, missing or differently typed columns are errors, and so is a table too many or too few.

    Raises:
        CatalogError: the frames are not what `tables.yaml` declares, a float is NaN or infinite, a number does not fit its type, or two
            rows have one key.
    """
    wanted = declared(system, root)
    for name in frames:
        if name not in wanted:
            raise CatalogError(f"The table {name} is not declared; describe it in stages/{system}/{FILE}.")
    for name in wanted:
        if name not in frames:
            raise CatalogError(f"stages/{system}/{FILE} declares the table {name}, which was not written; write it or delete its entry.")
    for name, frame in frames.items():
        if not isinstance(frame, pl.DataFrame):
            raise CatalogError(
                f"The table {name} of {system} is a {type(frame).__name__}; give a polars DataFrame (`collect()` a LazyFrame)."
            )
    ready = {name: _fitted(frames[name], table, f"Table {name} of {system}") for name, table in wanted.items()}
    with io.atomic_dir(folder(system, profile, root) / "tables") as target:
        for name, frame in ready.items():
            io.write_parquet(frame, target / f"{name}.parquet")


def _fitted(frame: pl.DataFrame, table: Table, label: str) -> pl.DataFrame:
    """The rows in the declared columns, types and order."""
    missing, extra = [c for c in table.columns if c not in frame.columns], [c for c in frame.columns if c not in table.columns]
    if missing or extra:
        said = [f"lacks the column {', '.join(missing)}"] if missing else []
        said += [f"has the undeclared column {', '.join(extra)}"] if extra else []
        raise CatalogError(f"{label} {' and '.join(said)}; correct the table or its declaration in {FILE}.")
    for column, (kind, _) in table.columns.items():
        if not _fits(frame.schema[column], TYPES[kind]):
            raise CatalogError(f"{label}: column {column} is {frame.schema[column]} but is declared as {kind}.")
        _check_numbers(frame[column], kind, f"{label}: column {column}")
    cast = frame.select(pl.col(column).cast(TYPES[kind]) for column, (kind, _) in table.columns.items())
    keys = cast.select(table.key)
    if keys.is_duplicated().any():
        twice = keys.filter(keys.is_duplicated()).row(0)
        raise CatalogError(f"{label} has two rows with the key {dict(zip(table.key, twice))}; add a column that tells them apart.")
    return cast.sort(table.key, maintain_order=True)


def _check_numbers(values: pl.Series, kind: str, label: str) -> None:
    """Raise `CatalogError` if a number, alone or in a list, is not finite or would be another one in the declared type."""
    while isinstance(values.dtype, pl.List):
        values = values.explode()
    if not values.dtype.is_numeric():
        return
    wanted = pl.Float64 if kind.startswith("float") else pl.Int64
    cast = values.cast(wanted, strict=False)  # null where there is no such number
    if wanted == pl.Float64 and not cast.is_finite().all():
        raise CatalogError(f"{label} holds a NaN or infinite number; leave it empty where it is not defined.")
    changed = values.filter(cast.cast(values.dtype, strict=False).ne_missing(values))
    if len(changed):
        raise CatalogError(f"{label} holds {changed[0]}, which {kind} cannot hold exactly; round it or declare another type.")


def _fits(given: pl.DataType, wanted: Any) -> bool:
    """Whether values of one type are values of the other without a change."""
    if given == pl.Null:
        return True
    if isinstance(wanted, pl.List):
        return isinstance(given, pl.List) and _fits(given.inner, wanted.inner)
    if wanted == pl.Float64:
        return given.is_numeric()
    if wanted == pl.Int64:
        return given.is_integer()
    return given == wanted or (wanted == pl.String and isinstance(given, (pl.Categorical, pl.Enum)))
