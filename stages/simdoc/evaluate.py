"""What every system scores on the test documents: tables, results with intervals and trivial baselines, and pictures. Runs no model.

Intervals are percentile bootstraps over documents, the same draws for all systems of a pair of levels, so that differences of two systems
have intervals of their own. The reference is a row like any other: it is the ceiling of scores that do not reach their maximum.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl

from catalog.base.errors import run
from catalog.base.io import read_json, write_json
from catalog.base.params import ROOT, profile_params
from catalog.report.results import (
    describe_dataset,
    describe_model,
    folder,
    row,
    training_facts,
    write_descriptions,
    write_results,
    write_run,
    write_tables,
)
from stages.simdoc import figures, resample, systems, tables
from stages.simdoc.settings import GRADED, Data, Params, named
from stages.simdoc.systems import Scored

SYSTEM, PAIRS = "simdoc", "simdoc_pairs"
RULE_READERS = ("majority", "FKGL thresholds")


def results(profile: str, found: list[Scored], t: dict[str, pl.DataFrame], trade: tuple, params: Params) -> Iterator[dict]:
    """Rows of headline numbers. Where an experiment has several pairs of levels, the pair is the split, in words."""

    def one(experiment: str, model: str | None, method: str, metric: str, value: float, **more) -> dict:
        place = {"experiment": experiment, "dataset": PAIRS, "model": model, "method": method, "metric": metric, "value": value}
        return row(SYSTEM, profile, **place, seed=params.seed, **more)

    for s in found:
        for metric, value in s.values.items():
            if np.isfinite(value):
                more = {"ci": resample.interval(s.draws[metric], value), "n": len(s.rows), "split": named(s.pair)}
                yield one("simplification", s.facts["model"], s.system, metric, value, **more)
    for scorer in t["coherence"].iter_rows(named=True):
        model = "simdoc_coherence" if scorer["scorer"] == "model" else None
        for metric, prefix, count in (("shuffle_accuracy", "shuffle", "comparisons"), ("accuracy", "accuracy", "documents")):
            if scorer[metric] is not None:
                ci = scorer[f"{prefix}_low"], scorer[f"{prefix}_high"]
                yield one("coherence", model, scorer["scorer"], metric, scorer[metric], ci=ci, n=scorer[count])
    for metric in ("shuffle_accuracy", "accuracy"):
        yield one("coherence", None, "chance", metric, 0.5)
    for reader in t["readability"].iter_rows(named=True):
        model = None if reader["reader"] in RULE_READERS else params.train.model
        for metric in ("accuracy", "macro_f1", "adjacent_accuracy"):
            ci = reader[f"{metric}_low"], reader[f"{metric}_high"]
            yield one("readability", model, reader["reader"], metric, reader[metric], ci=ci, n=reader["documents"])
    pair, value, ci, n = trade
    yield one("trade-off", None, "grade against likeness to the source", "correlation", value, ci=ci, n=n, split=named(pair))


def read(profile: str) -> tables.Raw:
    """What the stages before wrote."""
    data, models = ROOT / "data", ROOT / "models"
    places = {data / PAIRS: ("documents", "pairs", "notes"), data / "simdoc_outputs": ("outputs", "candidates", "labels")}
    places[models / "simdoc_simplifier"] = ("examples", "levels", "curves")
    found = {name: pl.read_parquet(place / profile / f"{name}.parquet") for place, names in places.items() for name in names}
    return tables.Raw(judged=pl.read_parquet(models / "simdoc_coherence" / profile / "scores.parquet"), **found)


def data_files(profile: str, source: Data) -> list[tuple[Path, str]]:
    """Files to describe, each with its data set: the tables built, and the project's own documents where the profile is made of them."""
    parts = {PAIRS: ("documents", "pairs", "shuffled", "notes"), "simdoc_outputs": ("outputs", "candidates", "labels")}
    built = [(ROOT / "data" / name / profile / f"{part}.parquet", name) for name, all_parts in parts.items() for part in all_parts]
    own = source.corpus == "graded" and source.path is None
    return built + [(path, "graded_documents") for path in (sorted((ROOT / GRADED).glob("*.jsonl")) if own else ())]


def describe(profile: str, source: Data) -> None:
    """Write `datasets.json`, `models.json` and `run.json`."""
    data, models = ROOT / "data", ROOT / "models"
    described = [describe_dataset(path, name, profile) for path, name in data_files(profile, source)]
    trained = [describe_model(models / name / profile, name, profile) for name in ("simdoc_coherence", "simdoc_simplifier")]
    write_descriptions(SYSTEM, profile, described, trained)
    times = read_json(models / "simdoc_simplifier" / f"{profile}.run.json")
    written = read_json(data / "simdoc_outputs" / f"{profile}.run.json")
    facts = training_facts(times["runs"], times["other"], written)
    write_run(SYSTEM, profile, facts | {"training": times["runs"], "coherence": times["coherence"], "measuring": written})


def main(profile: str) -> None:
    params = profile_params(Params, SYSTEM, profile)
    raw = read(profile)
    found = systems.scored(raw.outputs, raw.pairs, params.train.model, params.evaluate.draws, params.seed)
    made = tables.build(raw, found, params)
    trade = systems.trade_off(found, (*systems.HUMAN, params.evaluate.between or ""))
    write_results(results(profile, found, made, trade, params), SYSTEM, profile)
    write_tables(made, SYSTEM, profile)
    for name, spec in figures.draw(made, raw.judged, raw.curves).items():
        write_json(spec, folder(SYSTEM, profile) / "plots" / f"{name}.json")
    describe(profile, params.data)


if __name__ == "__main__":
    run(main)
