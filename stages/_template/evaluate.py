"""Held-out loss of the letter models, line by line: the table `lines`, results with intervals, one picture.

Methods: `bigram` knows the letter before, `unigram` does not (what the claim compares with), `uniform` guesses among all symbols. All are
measured on the same lines, so two methods are compared by their difference on each line: its interval is narrower than those of the two
losses, and its sign is the claim. That several methods are in a certain order is told by the share of resamples in which they are.
Resamples are of lines, which are independent of one another; letters within a line are not.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from catalog.base.errors import run
from catalog.base.io import write_json
from catalog.base.params import ROOT, profile_params
from catalog.report.results import (
    bootstrap,
    describe_dataset,
    folder,
    row,
    write_descriptions,
    write_results,
    write_run,
    write_tables,
)
from stages._template.method import ALPHABET, encode, fit, line_loss
from stages._template.settings import Params

SYSTEM = "_template"


def losses(lines: pl.DataFrame, smoothing: float) -> pl.DataFrame:
    """Loss of each test line under each method: method, id, loss (nats a symbol)."""
    train, test = (lines.filter(pl.col("split") == split) for split in ("train", "test"))
    fitted = [encode(text) for text in train["text"]]
    tables = {
        "bigram": fit(fitted, 2, smoothing),
        "unigram": fit(fitted, 1, smoothing),
        "uniform": np.full((len(ALPHABET), len(ALPHABET)), -np.log(len(ALPHABET))),
    }
    rows = [
        {"method": method, "id": number, "loss": line_loss(encode(text), table)}
        for method, table in tables.items()
        for number, text in test.select("id", "text").iter_rows()
    ]
    return pl.DataFrame(rows, schema={"method": pl.String, "id": pl.Int32, "loss": pl.Float64})


def share_in_order(losses: np.ndarray, resamples: int = 2000) -> float:
    """Share of the resamples of lines in which the mean losses of the methods rise from left to right; losses: (lines, methods)."""
    drawn = np.random.default_rng(0).integers(len(losses), size=(resamples, len(losses)))
    means = losses[drawn].mean(1)
    return float((np.diff(means) > 0).all(1).mean())


def results(profile: str, table: pl.DataFrame) -> list[dict]:
    """One row a method: mean loss over lines with its interval; the paired difference of two methods; the share of the order of all."""
    rows = []
    place = (SYSTEM, profile, "letters", SYSTEM, None)
    for (method,), part in table.group_by("method", maintain_order=True):
        values = part["loss"].to_numpy()
        rows.append(row(*place, method, "loss", float(values.mean()), ci=bootstrap(values), n=len(values)))
    wide = table.pivot("method", index="id", values="loss")
    change = (wide["bigram"] - wide["unigram"]).to_numpy()
    rows.append(row(*place, "bigram less unigram", "loss_change", float(change.mean()), ci=bootstrap(change), n=len(change)))
    share = share_in_order(wide.select("bigram", "unigram", "uniform").to_numpy())
    rows.append(row(*place, "bigram < unigram < uniform", "share", share, n=len(wide)))
    return rows


def picture(table: pl.DataFrame) -> dict:
    """Vega-Lite specification of the losses' distribution, with its data."""
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "title": "Loss of each test line",
        "description": "One mark a line and method; further left is better",
        "data": {"values": table.with_columns(pl.col("loss").round(6)).to_dicts()},
        "mark": {"type": "tick"},
        "encoding": {
            "x": {"field": "loss", "type": "quantitative", "title": "nats a symbol", "scale": {"zero": False}},
            "y": {"field": "method", "type": "nominal", "title": None, "sort": "x"},
        },
    }


def main(profile: str) -> None:
    """Write ``reports/_template/<profile>/``."""
    params = profile_params(Params, SYSTEM, profile)
    path = ROOT / "data" / SYSTEM / profile / "lines.parquet"
    table = losses(pl.read_parquet(path), params.smoothing)
    write_results(results(profile, table), SYSTEM, profile)
    write_tables({"lines": table}, SYSTEM, profile)
    write_json(picture(table), folder(SYSTEM, profile) / "plots" / "losses.json")
    write_descriptions(SYSTEM, profile, [describe_dataset(path, SYSTEM, profile)], [])
    write_run(SYSTEM, profile, {})  # last: it records which results it belongs to


if __name__ == "__main__":
    run(main)
