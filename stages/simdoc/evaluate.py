"""What every system scores on the test documents: tables, results with intervals and trivial baselines, and pictures. Runs no model.

Intervals are percentile bootstraps over documents, the same draws for all systems of a pair of levels, so that differences of two systems
have intervals of their own. The reference is a row like any other: it is the ceiling of scores that do not reach their maximum.
"""

from __future__ import annotations

from collections.abc import Iterator

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
    write_table,
)
from stages.simdoc import figures, resample, tables
from stages.simdoc.settings import Params

SYSTEM = "simdoc"


# --- results ----------------------------------------------------------------------------------------------------------------------------


def results(profile: str, found: list[tables.Scored], t: dict[str, pl.DataFrame], trade: tuple, params: Params) -> Iterator[dict]:
    """Rows of headline numbers."""
    seed = params.seed
    for s in found:
        for metric, value in s.values.items():
            if np.isfinite(value):
                ci = resample.interval(s.draws[metric], value)
                key = ("simplification", s.pair, s.facts["model"], s.system, metric, value)
                yield row(SYSTEM, profile, *key, ci=ci, n=len(s.rows), seed=seed)
    for one in t["coherence"].iter_rows(named=True):
        model = "simdoc_coherence" if one["scorer"] == "model" else params.coherence.encoder
        for metric, prefix in (("shuffle_accuracy", "shuffle"), ("accuracy", "accuracy")):
            if one[metric] is not None:
                key = ("coherence", "simdoc_pairs", model, one["scorer"], metric, one[metric])
                ci = one[f"{prefix}_low"], one[f"{prefix}_high"]
                yield row(SYSTEM, profile, *key, ci=ci, n=one["comparisons" if prefix == "shuffle" else "documents"], seed=seed)
    for metric in ("shuffle_accuracy", "accuracy"):
        yield row(SYSTEM, profile, "coherence", "simdoc_pairs", "none", "chance", metric, 0.5, seed=seed)
    for one in t["readability"].iter_rows(named=True):
        model = "none" if one["reader"] in ("majority", "FKGL thresholds") else params.train.model
        for metric in ("accuracy", "macro_f1", "adjacent_accuracy"):
            ci = one[f"{metric}_low"], one[f"{metric}_high"]
            key = ("readability", "simdoc_pairs", model, one["reader"], metric, one[metric])
            yield row(SYSTEM, profile, *key, ci=ci, n=one["documents"], seed=seed)
    pair, value, ci, n = trade
    yield row(
        SYSTEM, profile, "trade-off", pair, "all", "grade against likeness to the source", "correlation", value, ci=ci, n=n, seed=seed
    )


def main(profile: str) -> None:
    params = profile_params(Params, SYSTEM, profile)
    p, order = params.evaluate, params.data.levels
    built, raw = ROOT / "data" / "simdoc_pairs" / profile, ROOT / "data" / "simdoc_outputs" / profile
    trained = {name: ROOT / "models" / f"simdoc_{name}" / profile for name in ("coherence", "simplifier")}
    outputs, documents = pl.read_parquet(raw / "outputs.parquet"), pl.read_parquet(built / "documents.parquet")
    main_system = next((s.name for s in params.generate.systems if s.setting == "fine-tuned"), params.generate.systems[0].name)
    judged = pl.read_parquet(trained["coherence"] / "scores.parquet")
    found = tables.scored(outputs, pl.read_parquet(built / "pairs.parquet"), params.train.model, p.draws, params.seed)
    t = {
        "main": tables.main_table(found, params.seed),
        "documents": tables.document_table(found),
        "operations": tables.operation_table(found),
    }
    t["differences"] = tables.differences(found)
    t["coherence"] = tables.coherence_table(judged, found, main_system, p.draws, params.seed)
    labels = pl.read_parquet(raw / "labels.parquet")
    t["readability"], t["confusion"] = tables.reading_tables(tables.readings(labels, documents, order), order, p.draws, params.seed)
    t["data_summary"] = tables.data_table(documents, pl.read_parquet(built / "notes.parquet"), order)
    models_alone = outputs.filter(pl.col("setting") != "trivial")
    t["predictions"] = models_alone.select(
        "system", pl.concat_str("source_level", pl.lit(" to "), "target_level").alias("pair"), "id", "output"
    )
    t["candidates"] = pl.read_parquet(raw / "candidates.parquet")
    t["training"] = pl.read_parquet(trained["simplifier"] / "examples.parquet")
    t["metric_settings"] = tables.setting_table()
    trade = tables.trade_off(found, (*tables.HUMAN, p.between or ""))
    write_results(results(profile, found, t, trade, params), SYSTEM, profile)
    keys = {
        "main": ["pair", "system"],
        "documents": ["pair", "system", "id"],
        "operations": ["pair", "system"],
        "differences": ["pair", "system", "against", "metric"],
        "coherence": ["scorer"],
        "readability": ["reader"],
        "confusion": ["reader", "level", "named"],
        "data_summary": ["level", "split"],
        "predictions": ["pair", "system", "id"],
        "candidates": ["system", "source_level", "target_level", "id", "candidate"],
        "training": ["triples"],
        "metric_settings": ["metric"],
    }
    for name, key in keys.items():
        write_table(t[name], SYSTEM, profile, name, key)
    for name, spec in figures.draw(t, judged, pl.read_parquet(trained["simplifier"] / "curves.parquet")).items():
        write_json(spec, folder(SYSTEM, profile) / "plots" / f"{name}.json")
    described = [
        describe_dataset(built / f"{name}.parquet", "simdoc_pairs", profile) for name in ("documents", "pairs", "shuffled", "notes")
    ]
    described += [describe_dataset(raw / f"{name}.parquet", "simdoc_outputs", profile) for name in ("outputs", "candidates", "labels")]
    models = [describe_model(trained[name], f"simdoc_{name}", profile) for name in trained]
    write_descriptions(SYSTEM, profile, described, models)
    times = read_json(ROOT / "models" / "simdoc_simplifier" / f"{profile}.run.json")
    written = read_json(ROOT / "data" / "simdoc_outputs" / f"{profile}.run.json")
    facts = training_facts(times["runs"], times["other"], written)
    write_run(SYSTEM, profile, facts | {"training": times["runs"], "coherence": times["coherence"], "generation": written})


if __name__ == "__main__":
    run(main)
