"""Synthetic tables of every method, how probable the generators find real rows, and the LLM classifier trained on each table.

Writes ``data/harmonic_synthetic/<profile>/``: `<table>.parquet` with every synthetic row (method, seed, number, the ids of the real rows
that its prompt showed), `rejects.parquet`, `sampling.parquet`, `likelihoods.parquet`, `lle.parquet` and `same.parquet` (rows that come out
otherwise in batches of another size). What takes time is in ``<profile>.run.json`` beside it.

A sampler gives exactly the rows it is asked for, or the table `sampling` names the shortfall.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl

from catalog.base.errors import run
from catalog.base.io import atomic_dir, write_json, write_parquet
from catalog.base.params import ROOT, profile_params
from catalog.models.devices import peak_memory_mb
from catalog.models.lm import load_lm, require_full
from catalog.training.adapters import folded, saved_lora
from stages.harmonic.bench import Bench
from stages.harmonic.lle import classify, majority_answers
from stages.harmonic.sampling import check_samplers, repeated
from stages.harmonic.settings import Params
from stages.harmonic.train import MODEL

Frames = dict[str, list[pl.DataFrame]]  # releases by table
REJECTS = dict.fromkeys(("table", "method"), pl.String) | dict.fromkeys(("seed", "number", "attempt"), pl.Int64)
REJECTS |= dict.fromkeys(("reason", "text"), pl.String)


def adapter(profile: str, table: str, generator: str) -> Path:
    return ROOT / "models" / MODEL / profile / table / generator


@contextmanager
def adapted(model: Any, profile: str, table: str, generator: str) -> Iterator[Any]:
    """``model`` with a generator's adapter folded into its weights, as when it is served; put back afterwards."""
    with saved_lora(model, adapter(profile, table, generator)) as tuned, folded(tuned) as ready:
        yield ready


def releases(benches: dict[str, Bench], model: Any, phases: dict[str, float]) -> tuple[Frames, list, list, list, list]:
    """Releases by table, refused texts, counts, times and likelihoods of every generator; adds to ``phases`` the seconds they took."""
    begun = time.perf_counter()
    first = next(iter(benches.values()))
    params, profile, p = first.params, first.profile, first.params.measure
    frames = {name: bench.baselines(p.baseline_seeds) for name, bench in benches.items()}
    phases["baselines"] += time.perf_counter() - begun
    rejects, facts, times, likely = [], [], [], []
    for g in params.train.generators:
        bench, begun = benches[g.table], time.perf_counter()
        own = [s for s in p.samplers if (s.table, s.generator) == (g.table, g.name)]
        with adapted(model, profile, g.table, g.name) as ready:
            for s in own:
                tables, refused, counts, took = bench.sample(ready, s)
                frames[g.table] += tables
                rejects += refused
                facts += counts
                times += took
        phases["sampling"] += time.perf_counter() - begun
        begun = time.perf_counter()
        release = next((f for f in frames[g.table] if own and len(f) and f["method"][0] == own[0].method), None)
        base = bench.untuned(model, g, release)
        with adapted(model, profile, g.table, g.name) as ready:
            likely += bench.likelihoods(ready, g, base, release)
        phases["likelihoods"] += time.perf_counter() - begun
    return frames, rejects, facts, times, likely


def answers(
    benches: dict[str, Bench], frames: dict[str, list[pl.DataFrame]], model: Any, tokenizer: Any
) -> tuple[list[pl.DataFrame], list]:
    """LLE: answers of the classifiers trained on each method's rows, and how long they took."""
    read, trained = [], []
    for name, bench in benches.items():
        params, p = bench.params, bench.params.measure
        if name not in p.lle.tables or bench.schema.task != "classification":
            continue
        every = pl.concat(frames[name]).filter(pl.col("seed") == 0)
        test = bench.made.part("test").head(p.lle.test_rows)
        for method in p.lle.methods:
            table = bench.made.part("train") if method == "real" else every.filter(pl.col("method") == method)
            if table.is_empty():
                continue
            found, info = classify(model, tokenizer, table, test, bench.schema, p.lle, params.seed, f"{name}: LLE of {method}")
            found = found.with_columns(majority=pl.Series(majority_answers(bench.made.part("train"), test, bench.schema).tolist()))
            read.append(found.with_columns(table=pl.lit(name), method=pl.lit(method)))
            trained.append({"table": name, "method": method} | info)
    return read, trained


def repeats(benches: dict[str, Bench], model: Any) -> list[dict]:
    """How many rows come out the same one by one and among 64, in float32 and in the type the model runs in."""
    bench = next(iter(benches.values()))
    params, same = bench.params, []
    if params.measure.same_rows:
        s = repeated(params.measure)
        for dtype in dict.fromkeys(("float32", str(model.dtype).removeprefix("torch."))):
            other = model if str(model.dtype).endswith(dtype) else load_lm(params.train.model, dtype=dtype)[0]
            with adapted(other, bench.profile, s.table, s.generator) as ready:
                same.append(benches[s.table].same_rows(ready, s, dtype))
    return same


def main(profile: str) -> None:
    started = time.perf_counter()
    params = profile_params(Params, "harmonic", profile)
    check_samplers(params)
    if profile == "full":  # before any work
        require_full(params.train.model)
    model, tokenizer = load_lm(params.train.model)
    benches = {name: Bench(profile, name, params, tokenizer) for name in params.data.tables}
    phases = {"baselines": time.perf_counter() - started, "sampling": 0.0, "likelihoods": 0.0}
    frames, rejects, facts, times, likely = releases(benches, model, phases)
    begun = time.perf_counter()
    read, trained = answers(benches, frames, model, tokenizer)
    phases["lle"], begun = time.perf_counter() - begun, time.perf_counter()
    same = repeats(benches, model)
    phases["batch sizes"] = time.perf_counter() - begun
    with atomic_dir(ROOT / "data" / "harmonic_synthetic" / profile) as folder:
        for name, tables in frames.items():
            write_parquet(pl.concat(tables), folder / f"{name}.parquet")
        write_parquet(pl.concat(rejects) if rejects else pl.DataFrame(schema=REJECTS), folder / "rejects.parquet")
        write_parquet(pl.DataFrame(facts), folder / "sampling.parquet")
        write_parquet(pl.concat(likely), folder / "likelihoods.parquet")
        write_parquet(pl.concat(read) if read else pl.DataFrame(), folder / "lle.parquet")
        write_parquet(pl.DataFrame(same), folder / "same.parquet")
    took = {"seconds": round(time.perf_counter() - started, 1), "peak_memory_mb": peak_memory_mb(model.device)}
    took |= {"sampling": times, "lle": trained, "phases": {name: round(seconds, 1) for name, seconds in phases.items()}}
    write_json(took | {"dtype": str(model.dtype).removeprefix("torch.")}, ROOT / "data" / "harmonic_synthetic" / f"{profile}.run.json")


if __name__ == "__main__":
    run(main)
