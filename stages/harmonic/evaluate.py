"""Is a synthetic table useful, and does it leak? Tables, results with intervals and baselines, and pictures. Runs no language model.

Results are one row for each table (as ``split``), method and metric: means over the method's releases (seeds). An interval of utility
resamples test rows, jointly for all classifiers and releases; that of a membership attack is DeLong's, averaged over releases; that of a
share is Wilson's.
"""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

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
    write_tables,
)
from stages.harmonic import contrasts, figures, predictions, tables, utility
from stages.harmonic.schema import COPY, HOLDOUT, Source, half, source
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
        ("closer_to_train", closer / rows, wilson(closer, rows), rows),
        ("copy_rate", copies / rows, wilson(copies, rows), rows),
        ("nrs", mean["nrs"], (None, None), rows),
    ]
    if mean["yardstick"] > 0:  # 0 where most holdout rows have a twin among the training rows
        out.append(("dcr_ratio", mean["dcr_train"] / mean["yardstick"], (None, None), rows))
    first = part.filter(pl.col("levatt_auc").is_not_null())
    if len(first):
        r = first.row(0, named=True)
        out.append(("levatt_auc", r["levatt_auc"], (r["levatt_low"], r["levatt_high"]), people))
        if r["dcr_paper"] is not None:
            out.append(("dcr_paper", r["dcr_paper"], (None, None), r["n"]))
        if r["disclosed"] is not None:
            out.append(("disclosure_advantage", r["disclosed"] - r["disclosed_baseline"], (None, None), people))
    return out


def results(profile: str, t: Tables, found: dict[str, dict], benches: dict[str, Source], model: str, llm: set[str]) -> list[dict]:
    """Every headline number; see the module. ``llm`` are the methods whose rows ``model`` wrote."""
    out = []

    def model_of(method: str) -> str | None:
        return model if method in llm else None

    def add(experiment: str, table: str, which: str | None, method: str, metric: str, value, ci=(None, None), n=None) -> None:
        out.append(row(SYSTEM, profile, experiment, "harmonic_tables", which, method, metric, value, split=table, ci=ci, n=n))

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
        add("LLE, strict", name, None, "majority", "accuracy", r["accuracy"], (r["low"], r["high"]), r["n"])
    for r in t["same_rows"].iter_rows(named=True):
        share = r["same"] / r["rows"]
        add("batch size", r["table"], model, f"{r['method']}, {r['dtype']}", "same_rows", share, wilson(r["same"], r["rows"]), r["rows"])
    return out


def scored(bench: Source, synthetic: pl.DataFrame, declared: Table, p: Evaluate, name: str) -> tuple[Tables, dict, tables.Attacks]:
    """Own tables of every synthetic version of one table; the predictions and the scores of single rows that they are made of."""
    made: Tables = {}
    with threadpool_limits(1):  # the classifiers are too small to use more than one core; another table may have the other
        made["utility"], predicted = tables.utilities(bench, synthetic, p, name)
        made["privacy"], made["distances"], attacks = tables.privacies(bench, synthetic, declared, p, name)
        made["fidelity"] = tables.likeness(bench, synthetic, declared, p, name)
        made["synthetic"] = tables.published(bench, synthetic, p, name, (COPY, HOLDOUT))
        made["fitting"] = tables.fitting(bench, synthetic, name)
    return made, predicted, attacks


def measured(benches: dict[str, Source], params: Params, raw: Path) -> tuple[Tables, dict[str, dict], dict[str, tables.Attacks]]:
    """`scored` of all tables, a process a table; what comes back does not depend on the number of processes."""
    synthetic = [pl.read_parquet(raw / f"{name}.parquet") for name in benches]
    work = benches.values(), synthetic, params.data.tables.values(), [params.evaluate] * len(benches), benches
    workers = min(len(benches), os.cpu_count() or 1)
    if workers == 1:
        each = list(map(scored, *work))
    else:  # spawned, since polars' threads do not survive a fork; `map` gives the tables back in their order
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            each = list(pool.map(scored, *work))
    found = {name: predicted for name, (_, predicted, _) in zip(benches, each, strict=True)}
    attacks = {name: rows for name, (_, _, rows) in zip(benches, each, strict=True)}
    return {key: pl.concat([made[key] for made, *_ in each], how="diagonal_relaxed") for key in each[0][0]}, found, attacks


def compared(
    benches: dict[str, Source], found: dict[str, dict], attacks: dict[str, tables.Attacks], likely: pl.DataFrame, read: pl.DataFrame
) -> pl.DataFrame:
    """The table `contrasts`: what the claims rest on. Each table is resampled by a seed of its own."""
    signals: dict[str, dict[str, contrasts.Methods]] = {}
    for place, (name, bench) in enumerate(benches.items()):
        own = contrasts.membership(attacks[name].people, len(half(bench.part("holdout"))[1]), [place, 0])
        own |= contrasts.likelihoods(likely.filter(table=name), [place, 1]) | {"accuracy": {}}
        own["prompt_ratio"] = contrasts.prompts(attacks[name].prompts, [place, 2])
        own |= {metric: contrasts.useful(found[name], metric, place) for metric in ("mcc", "macro_f1")}
        if len(read):
            own["accuracy"] = contrasts.answers(read.filter(table=name), [place, 3])
        for measure, methods in own.items():
            signals.setdefault(measure, {})[name] = methods
    return contrasts.contrasts(signals)


def describe(profile: str, benches: dict[str, Source], raw: Path, trained: Path) -> None:
    """What the data and models of the run are, and what making them took."""
    real = ROOT / "data" / "harmonic_tables" / profile
    described = [describe_dataset(real / name / "rows.parquet", "harmonic_tables", profile) for name in benches]
    described += [describe_dataset(raw / f"{name}.parquet", "harmonic_synthetic", profile) for name in benches]
    write_descriptions(SYSTEM, profile, described, [describe_model(trained, "harmonic_generator", profile)])
    runs = read_json(trained.with_name(f"{profile}.run.json"))["runs"]
    sampled = read_json(raw.with_name(f"{profile}.run.json"))
    write_run(SYSTEM, profile, training_facts(runs, sampled) | {"sampling": sampled, "training": runs})


def main(profile: str) -> None:
    params = profile_params(Params, SYSTEM, profile)
    raw, trained = ROOT / "data" / "harmonic_synthetic" / profile, ROOT / "models" / "harmonic_generator" / profile
    benches = {name: source(profile, name) for name in params.data.tables}
    t, found, attacks = measured(benches, params, raw)
    likely, read = pl.read_parquet(raw / "likelihoods.parquet"), pl.read_parquet(raw / "lle.parquet")
    t["contrasts"] = compared(benches, found, attacks, likely, read)
    t["dlt"], t["lle"] = tables.leakage(likely), tables.llm_accuracy(read)
    t["sampling"] = tables.sampled(pl.read_parquet(raw / "sampling.parquet"), t.pop("fitting"), params.measure.samplers)
    t["rejects"], t["same_rows"] = pl.read_parquet(raw / "rejects.parquet"), pl.read_parquet(raw / "same.parquet")
    t["instructions"] = tables.instructions(benches, pl.read_parquet(trained / "examples.parquet"))
    t["splits"], t["classes"] = tables.counted(benches)
    llm = {s.method for s in params.measure.samplers}
    write_results(results(profile, t, found, benches, params.train.model, llm), SYSTEM, profile)
    write_tables(t, SYSTEM, profile)
    for name, spec in figures.draw(t, likely, pl.read_parquet(trained / "curves.parquet"), llm).items():
        write_json(spec, folder(SYSTEM, profile) / "plots" / f"{name}.json")
    describe(profile, benches, raw, trained)


if __name__ == "__main__":
    run(main)
