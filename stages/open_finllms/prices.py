"""Daily prices of shares and indices from the files of several sources, in one table.

Writes `data/prices/<profile>/`: `daily.parquet`, key [asset, source, date]; `listings.parquet`, key [asset, source]: what each series is
and what was done to it; `notes.parquet`: every row left out, split, large move, gap and missing day. Two systems read it. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from catalog.base.deps import OWN, require_dep
from catalog.base.errors import CatalogError, run
from catalog.base.io import atomic_dir, write_parquet
from catalog.base.params import ROOT, profile_params
from stages.open_finllms.csv_prices import Series, clean
from stages.open_finllms.csv_prices import read_csv as read_csv  # the reader of a user's file, for other modules
from stages.open_finllms.csv_table import LINE, by_role, read_cells, role_of
from stages.open_finllms.settings import Params, PriceFile, Prices

SYSTEM = "open_finllms"
KEY = ["asset", "source"]


def series(file: PriceFile, root: Path, min_days: int = 2) -> Iterator[tuple[str, Series]]:
    """Each share of a file with its series.

    Raises:
        CatalogError: an unknown layout, a share that the file has not, or a fault of the file.
    """
    folder = root / OWN / SYSTEM if file.source == "own" else root / "data" / "assets" / file.source
    path = folder / file.file
    require_dep(path, root, own=SYSTEM if file.source == "own" else None)
    if not path.is_file():
        remedy = (
            f"put it there, or remove its entry from stages/{SYSTEM}/params.yaml" if file.source == "own" else "run `dvc repro` to fetch it"
        )
        raise CatalogError(f"The prices of {', '.join(file.names)} are read from {path.relative_to(root)}, which is absent; {remedy}.")
    cells, _ = read_cells(path)
    for asset in file.names:
        rows = _share(cells, asset, file, path)
        named, _ = by_role(rows, path)
        try:
            yield asset, clean(named, path, date_format=file.date_format, min_days=min_days, adjusted=file.layout == "wide")
        except CatalogError as error:
            raise CatalogError(f"Prices of {asset}: {error}") from None


def _share(cells: pl.DataFrame, asset: str, file: PriceFile, path: Path) -> pl.DataFrame:
    """The rows and columns of one share, with the headers of a file of one share."""
    if file.layout == "one":
        if len(file.names) != 1:
            raise CatalogError(f"{path} has the layout one but {len(file.names)} names; correct stages/{SYSTEM}/params.yaml.")
        return cells
    roles = {role_of(name): name for name in cells.columns if name != LINE}
    if "date" not in roles:
        raise CatalogError(f"{path} has no column Date; its columns are {', '.join(roles.values())}.")
    if file.layout == "wide":
        there = [name for name in cells.columns if name not in (LINE, roles.get("date"))]
        rows = cells.select(LINE, pl.col(roles["date"]).alias("Date"), pl.col(asset).alias("Adj Close")) if asset in there else None
    elif file.layout == "long":
        there = sorted(cells[roles["symbol"]].unique()) if "symbol" in roles else []
        rows = cells.filter(pl.col(roles["symbol"]) == asset).drop(roles["symbol"]) if asset in there else None
    else:
        raise CatalogError(f"{path} has the layout {file.layout!r} but it must be one, long or wide; correct stages/{SYSTEM}/params.yaml.")
    if rows is None:
        raise CatalogError(f"{path} has no share {asset}; it has {', '.join(there) or 'no column Ticker'}.")
    return rows


def build(p: Prices, root: Path = ROOT) -> dict[str, pl.DataFrame]:
    """The tables `daily`, `listings` and `notes`."""
    daily, notes, listings = [], [], []
    for file in p.files:
        for asset, found in series(file, root, p.min_days):
            if (asset, file.source) in [(row["asset"], row["source"]) for row in listings]:
                raise CatalogError(f"The source {file.source} gives {asset} twice; leave one in stages/{SYSTEM}/params.yaml.")
            listings.append(_listing(asset, file, found))
            daily.append(_with_key(found.days, asset, file.source))
            notes.append(_with_key(found.notes, asset, file.source))
    days = pl.concat(daily)
    notes.append(missing(days, p.present))
    table = pl.concat(notes).sort(*KEY, "date", "kind", "what", nulls_last=False)
    counts = table.filter(pl.col("kind") == "missing day").group_by(KEY).agg(pl.len().cast(pl.Int32).alias("missing"))
    listed = pl.DataFrame(listings).with_columns(pl.col("days", "dropped", "splits").cast(pl.Int32))
    listed = listed.join(counts, on=KEY, how="left").with_columns(pl.col("missing").fill_null(0))
    return {"daily": days.sort(*KEY, "date"), "listings": listed.sort(KEY), "notes": table}


def _with_key(frame: pl.DataFrame, asset: str, source: str) -> pl.DataFrame:
    return frame.select(pl.lit(asset).alias("asset"), pl.lit(source).alias("source"), pl.all())


def _listing(asset: str, file: PriceFile, found: Series) -> dict:
    dropped = (
        found.notes.filter(pl.col("kind") == "dropped")["what"].value_counts(sort=True).sort("count", "what", descending=[True, False])
    )
    return {
        "asset": asset,
        "source": file.source,
        "name": file.names[asset],
        "kind": file.kind,
        "first": found.days["date"][0],
        "last": found.days["date"][-1],
        "days": len(found.days),
        "has_open": found.days["open"].is_not_null().any(),
        "quoted": file.quoted,
        "adjusted": file.adjusted,
        "splits": found.days["split"].count(),
        "dropped": dropped["count"].sum(),
        "dropped_why": ", ".join(f"{count} {what}" for what, count in dropped.iter_rows()),
    }


def missing(daily: pl.DataFrame, present: float) -> pl.DataFrame:
    """Days on which a series has no price, although more than the share `present` of the others around it has one.

    No calendar of holidays is needed: a day is one of trading if the other series say so. Counted for a series are those others that have
    begun and not yet ended; where there are none, nothing can be said.
    """
    spans = daily.group_by(KEY).agg(first=pl.col("date").min(), last=pl.col("date").max())
    calendar = daily.group_by("date").agg(there=pl.len())
    around = calendar.join(spans, how="cross").filter(pl.col("date").is_between("first", "last"))
    around = around.with_columns(running=pl.len().over("date"))
    absent = around.join(daily.select(*KEY, "date"), on=[*KEY, "date"], how="anti")
    absent = absent.filter(pl.col("there") > present * (pl.col("running") - 1))
    what = pl.format("{} of {} other series have a price", "there", pl.col("running") - 1)
    return absent.select(*KEY, "date", kind=pl.lit("missing day"), what=what)


def main(profile: str) -> None:
    tables = build(profile_params(Params, SYSTEM, profile).prices)
    with atomic_dir(ROOT / "data" / "prices" / profile) as folder:
        for name, table in tables.items():
            write_parquet(table, folder / f"{name}.parquet")


if __name__ == "__main__":
    run(main)
