"""Is a synthetic table useful, and does it leak? Tables, results with intervals and baselines, and pictures. Runs no language model.

Results are one row for each table, method and metric: means over the method's releases (seeds). An interval of utility resamples test rows,
jointly for all classifiers and releases; that of a membership attack is DeLong's, averaged over releases; that of a share is Wilson's.
"""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import polars as pl
from threadpoolctl import threadpool_limits

from catalog.base.errors import run
from catalog.base.io import read_json, write_json
from catalog.base.params import ROOT, profile_params
from catalog.report.results import (
    describe_dataset,
    describe_model,
    folder,
    row,
    training_facts,
    wilson,
    write_descriptions,
    write_results,
    write_run,
    write_table,
)
from stages.harmonic import figures, predictions, tables, utility
from stages.harmonic.schema import COPY, HOLDOUT, Source, source
from stages.harmonic.settings import Evaluate, Params, Table

SYSTEM = "harmonic"
Tables = dict[str, pl.DataFrame]


def useful(name: str, found: dict[tuple[str, str, int], utility.Utility], model_of) -> list[dict]:
    """Means over classifiers and releases of MCC, macro F1 and accuracy, and the ratio of MCC to that of the real rows."""
    out = []
    reference = found["strict", "real", 0]
    regression = not reference.classes
    metrics = ("r2",) if regression else ("mcc", "macro_f1", "weighted_f1", "accuracy", "auc")
    for protocol, method in dict.fromkeys((protocol, method) for protocol, method, _ in found):
        releases = [scores for (p, m, _), scores in found.items() if (p, m) == (protocol, method)]
        for metric in metrics:
            if any(scores.rows[0].get(metric) is None for scores in releases):  # no AUC in the released form
                continue
            values = [predictions.mean(scores, metric) for scores in releases]
            if any(value is None for value in values):  # R² of a table without spread
                continue
            drawn = np.mean([predictions.draws(scores, metric) for scores in releases], 0)
            value, ends = float(np.mean(values)), np.nanquantile(drawn, [0.025, 0.975])
            ci = min(float(ends[0]), value), max(float(ends[1]), value)
            out.append((f"utility, {protocol}", name, model_of(method), method, metric, value, ci, len(releases[0].truth)))
    return out


def private(part: pl.DataFrame, people: int) -> list[tuple]:
    """(metric, value, interval, n) of the releases of one method; ``people`` are the real rows that an attack is tried on."""
    rows, mean = int(part["n"].sum()), {name: part[name].mean() for name, kind in part.schema.items() if kind.is_numeric()}
    closer, copies = round(mean["closer_to_train"] * rows), round(mean["copy_rate"] * rows)
    out = [
        ("membership_auc", mean["auc"], (mean["auc_low"], mean["auc_high"]), people),
        ("tpr_at_1", mean["tpr_at_1"], (None, None), people),
        ("dcr", mean["dcr_train"], (None, None), rows),
        ("dcr_ratio", mean["dcr_train"] / mean["yardstick"], (None, None), rows),
        ("closer_to_train", closer / rows, wilson(closer, rows), rows),
        ("copy_rate", copies / rows, wilson(copies, rows), rows),
        ("nrs", mean["nrs"], (None, None), rows),
    ]
    first = part.filter(pl.col("levatt_auc").is_not_null())
    if len(first):
        r = first.row(0, named=True)
        out.append(("levatt_auc", r["levatt_auc"], (r["levatt_low"], r["levatt_high"]), people))
        if r["dcr_paper"] is not None:
            out.append(("dcr_paper", r["dcr_paper"], (None, None), r["n"]))
        if r["disclosed"] is not None:
            out.append(("disclosure_advantage", r["disclosed"] - r["disclosed_baseline"], (None, None), people))
    return out


def results(profile: str, t: Tables, found: dict[str, dict], benches: dict[str, Source], model: str) -> list[dict]:
    """Every headline number; see the module."""
    out = []

    def model_of(method: str) -> str:
        return model if method.split(" ")[0] in figures.LLM else "none"

    def add(experiment: str, table: str, which: str, method: str, metric: str, value, ci=(None, None), n=None) -> None:
        out.append(row(SYSTEM, profile, experiment, table, which, method, metric, value, ci=ci, n=n))

    for name, these in found.items():
        for item in useful(name, these, model_of):
            add(*item)
    for (name, method), part in t["privacy"].group_by("table", "method", maintain_order=True):
        people = len(benches[name].part("train")) + len(benches[name].part("holdout"))
        for metric, value, ci, n in private(part, people):
            add("privacy", name, model_of(method), method, metric, value, ci, n)
    for r in t["dlt"].iter_rows(named=True):
        experiment = f"likelihood, {r['form']}"
        values = {
            "nll_gap": (r["nll_gap"], (r["nll_gap_low"], r["nll_gap_high"])),
            "dlt_gap": (r["dlt_gap"], (r["dlt_gap_low"], r["dlt_gap_high"])),
            "membership_auc": (r["auc"], (r["auc_low"], r["auc_high"])),
        }
        if r["dlt_paper"] is not None:
            values["dlt_paper"] = r["dlt_paper"], (None, None)
        for metric, (value, ci) in values.items():
            add(experiment, r["table"], model, r["generator"], metric, value, ci, 2 * r["n"])
    for r in t["sampling"].iter_rows(named=True):
        if r["seed"] == 0:
            ok = r["texts"] - r["refused"]
            add("sampling", r["table"], model, r["method"], "valid_share", ok / r["texts"], wilson(ok, r["texts"]), r["texts"])
    for r in t["fidelity"].iter_rows(named=True):
        for metric in ("column_shapes", "pair_trends", "detection_auc"):
            if r[metric] is not None:
                add("likeness", r["table"], model_of(r["method"]), r["method"], metric, r[metric])
    for r in t["lle"].iter_rows(named=True):
        if r["reading"] != "majority":
            add(f"LLE, {r['reading']}", r["table"], model, r["method"], "accuracy", r["accuracy"], (r["low"], r["high"]), r["n"])
    for (name,), part in t["lle"].filter(pl.col("reading") == "majority").group_by("table", maintain_order=True):
        r = part.row(0, named=True)
        add("LLE, strict", name, "none", "majority", "accuracy", r["accuracy"], (r["low"], r["high"]), r["n"])
    for r in t["same_rows"].iter_rows(named=True):
        share = r["same"] / r["rows"]
        add("batch size", r["table"], model, f"{r['method']}, {r['dtype']}", "agreement", share, wilson(r["same"], r["rows"]), r["rows"])
    return out


def instructions(benches: dict[str, Source], examples: pl.DataFrame) -> pl.DataFrame:
    """table, generator: train rows that became targets or were dropped, neighbours' share of the label, tokens."""
    rows = []
    for r in examples.iter_rows(named=True):
        near = benches[r["table"]].near
        rows.append(
            {
                "table": r["table"],
                "generator": r["generator"],
                "train_rows": len(near),
                "kept_by_filter": int(near["kept"].sum()),
                "same_label": float(near["same_label"].mean()),
                "examples": r["examples"],
                "tokens": r["tokens"],
                "answer_tokens": r["answer_tokens"],
            }  # fmt: skip
        )
    return pl.DataFrame(rows)


def counted(benches: dict[str, Source]) -> pl.DataFrame:
    """table, split: rows, columns, missing cells, and the rows of each class as text."""
    rows = []
    for name, made in benches.items():
        for (split,), part in made.rows.group_by("split", maintain_order=True):
            labels = part[made.schema.target].value_counts().sort(made.schema.target)
            said = ", ".join(f"{a}: {b}" for a, b in labels.iter_rows()) if made.schema.task == "classification" else None
            missing = sum(part[column].null_count() for column in made.schema.names)
            facts = {"table": name, "split": split, "rows": len(part), "columns": len(made.schema.columns), "missing": missing}
            rows.append(facts | {"classes": said})
    return pl.DataFrame(rows)


def scored(bench: Source, synthetic: pl.DataFrame, declared: Table, p: Evaluate, name: str) -> tuple[dict[str, pl.DataFrame], dict]:
    """Utility, privacy, distances, likeness and published rows of every synthetic version of one table; and its predictions."""
    made: dict[str, pl.DataFrame] = {}
    with threadpool_limits(1):  # the classifiers are too small to use more than one core; another table may have the other
        made["utility"], predictions = tables.utilities(bench, synthetic, p, name)
        made["privacy"], made["distances"] = tables.privacies(bench, synthetic, declared, p, name)
        made["fidelity"] = tables.likeness(bench, synthetic, declared, p, name)
        made["synthetic"] = tables.published(bench, synthetic, p, name, (COPY, HOLDOUT))
    return made, predictions


def main(profile: str) -> None:
    params = profile_params(Params, SYSTEM, profile)
    raw, trained = ROOT / "data" / "harmonic_synthetic" / profile, ROOT / "models" / "harmonic_generator" / profile
    benches = {name: source(profile, name) for name in params.data.tables}
    synthetic = [pl.read_parquet(raw / f"{name}.parquet") for name in benches]
    work = benches.values(), synthetic, params.data.tables.values(), [params.evaluate] * len(benches), benches
    workers = min(len(benches), os.cpu_count() or 1)
    if workers == 1:
        each = list(map(scored, *work))
    else:  # a process a table, spawned, since polars' threads do not survive a fork
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            each = list(pool.map(scored, *work))
    found = {name: predictions for name, (_, predictions) in zip(benches, each, strict=True)}
    t = {key: pl.concat([tables[key] for tables, _ in each], how="diagonal_relaxed") for key in each[0][0]}
    likely = pl.read_parquet(raw / "likelihoods.parquet")
    t["dlt"] = tables.leakage(likely)
    t["lle"] = tables.llm_accuracy(pl.read_parquet(raw / "lle.parquet"))
    t["sampling"] = pl.read_parquet(raw / "sampling.parquet")
    t["rejects"] = pl.read_parquet(raw / "rejects.parquet")
    t["same_rows"] = pl.read_parquet(raw / "same.parquet")
    t["instructions"] = instructions(benches, pl.read_parquet(trained / "examples.parquet"))
    t["splits"] = counted(benches)
    write_results(results(profile, t, found, benches, params.train.model), SYSTEM, profile)
    keys = {
        "splits": ["table", "split"],
        "instructions": ["table", "generator"],
        "sampling": ["table", "method", "seed"],
        "rejects": ["table", "method", "seed", "attempt", "number"],
        "synthetic": ["table", "method", "seed", "number"],
        "utility": ["table", "protocol", "method", "seed", "classifier"],
        "privacy": ["table", "method", "seed"],
        "distances": ["table", "method", "number"],
        "fidelity": ["table", "method", "seed"],
        "dlt": ["table", "generator", "form"],
        "lle": ["table", "method", "reading"],
        "same_rows": ["table", "method", "dtype"],
    }
    for name, key in keys.items():
        write_table(t[name], SYSTEM, profile, name, key)
    for name, spec in figures.draw(t, likely, pl.read_parquet(trained / "curves.parquet")).items():
        write_json(spec, folder(SYSTEM, profile) / "plots" / f"{name}.json")
    real = ROOT / "data" / "harmonic_tables" / profile
    described = [describe_dataset(real / name / "rows.parquet", "harmonic_tables", profile) for name in benches]
    described += [describe_dataset(raw / f"{name}.parquet", "harmonic_synthetic", profile) for name in benches]
    write_descriptions(SYSTEM, profile, described, [describe_model(trained, "harmonic_generator", profile)])
    runs = read_json(ROOT / "models" / "harmonic_generator" / f"{profile}.run.json")["runs"]
    sampled = read_json(ROOT / "data" / "harmonic_synthetic" / f"{profile}.run.json")
    write_run(SYSTEM, profile, training_facts(runs, sampled) | {"sampling": sampled, "training": runs})


if __name__ == "__main__":
    run(main)
