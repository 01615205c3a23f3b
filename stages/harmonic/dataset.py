"""Tables with a target, their splits and schemas, and the neighbours that HARMONIC's instructions show.

Writes, for each table, ``data/harmonic_tables/<profile>/<table>/``: `rows.parquet`, `schema.json` (learnt from the train rows alone) and
`neighbours.parquet`: for each train row its k nearest train rows, the share of them with its label, and whether it becomes a target. What
the reader noted (a column of codes, say) is printed and, if there is anything, kept in `notes.txt`.
Imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl

from catalog.base.deps import how_to_get, require_dep
from catalog.base.errors import CatalogError, run
from catalog.base.io import atomic_dir, write_json, write_parquet, write_text
from catalog.base.params import ROOT, profile_params
from stages.harmonic.cells import some
from stages.harmonic.distances import keep, neighbours
from stages.harmonic.reader import read_table, say, typed
from stages.harmonic.schema import Schema, learn, split
from stages.harmonic.settings import Data, Params, Table

SYSTEM = "harmonic"


def load(name: str, table: Table, root: Path, tell: Callable[[str], None] = say) -> pl.DataFrame:
    """Rows of a table with its target typed; ``tell`` is called with what the reader has to note.

    Raises:
        CatalogError: a file that is absent or no table; the sentence names the table.
    """
    folder = root / "data" / "assets" / table.asset if table.asset else root
    for file in table.files:
        require_dep(folder / file, root, own=None if table.asset else SYSTEM)
    if table.asset and not folder.is_dir():
        raise CatalogError(f"Table {name} needs the asset {table.asset}: {how_to_get(table.asset, root)}.")
    if table.asset and (absent := [file for file in table.files if not (folder / file).is_file()]):
        there = some(sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()))
        raise CatalogError(f"Table {name}: the asset {table.asset} has no file {absent[0]!r}; its files are {there}.")
    try:
        files = [folder / file for file in table.files]
        rows = read_table(files, table.form, table.columns, table.target, table.numeric, table.missing, table.categorical, tell)
        return typed(rows, table.target, table.task)
    except CatalogError as error:
        raise CatalogError(f"Table {name}: {error}") from None


def targets(train: pl.DataFrame, schema: Schema, table: Table, p: Data) -> pl.DataFrame:
    """id, neighbours (ids, nearest first), same_label (share of them), kept: one row a train row."""
    index = neighbours(train, schema, p.distance, table.neighbours, p.label_in_distance)
    ids, labels = train["id"].to_numpy(), train[schema.target].to_numpy()
    same = (labels[index] == labels[:, None]).mean(1)
    kept = keep(labels, labels[index], table.min_same_label) if schema.task == "classification" else np.ones(len(train), dtype=bool)
    return pl.DataFrame(
        {
            "id": ids,
            "neighbours": pl.Series(ids[index].tolist(), dtype=pl.List(pl.Int32)),
            "same_label": same,
            "kept": kept,
        }
    )


def build(
    name: str, table: Table, p: Data, seed: int, root: Path, tell: Callable[[str], None] = say
) -> tuple[pl.DataFrame, Schema, pl.DataFrame]:
    """Rows with their splits, schema and neighbours of one table."""
    rows = load(name, table, root, tell)
    try:
        rows = split(rows, table.target, table.task, table.shares, seed)
        train = rows.filter(pl.col("split") == "train")
        schema = learn(train, name, table.target, table.task, table.aliases)
        for column in (table.sensitive, *table.known):
            if column not in schema.names:
                raise CatalogError(f"There is no column {column!r}; correct sensitive and known in stages/harmonic/params.yaml.")
        return rows, schema, targets(train, schema, table, p)
    except CatalogError as error:
        raise CatalogError(f"Table {name}: {error}") from None


def main(profile: str) -> None:
    params = profile_params(Params, SYSTEM, profile)
    notes: dict[str, list[str]] = {name: [] for name in params.data.tables}

    def made(name: str, table: Table) -> tuple[pl.DataFrame, Schema, pl.DataFrame]:
        def tell(note: str) -> None:
            notes[name].append(note)
            say(f"Table {name}: {note}")

        return build(name, table, params.data, params.seed, ROOT, tell)

    tables = {name: made(name, table) for name, table in params.data.tables.items()}
    with atomic_dir(ROOT / "data" / "harmonic_tables" / profile) as folder:
        for name, (rows, schema, near) in tables.items():
            write_parquet(rows, folder / name / "rows.parquet")
            write_json(schema.to_dict(), folder / name / "schema.json")
            write_parquet(near, folder / name / "neighbours.parquet")
            if notes[name]:
                write_text("".join(f"{note}\n" for note in notes[name]), folder / name / "notes.txt")


if __name__ == "__main__":
    run(main)
