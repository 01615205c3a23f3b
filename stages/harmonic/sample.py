"""Synthetic tables of every method, how probable the generators find real rows, and the LLM classifier trained on each table.

Writes ``data/harmonic_synthetic/<profile>/``: `<table>.parquet` with every synthetic row (method, seed, number, the ids of the real rows
that its prompt showed), `rejects.parquet`, `sampling.parquet`, `likelihoods.parquet`, `lle.parquet` and `same.parquet` (rows that come out
otherwise in batches of another size). What takes time is in ``<profile>.run.json`` beside it.

A sampler gives exactly the rows it is asked for, or the table `sampling` names the shortfall.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from catalog.base.errors import CatalogError, run
from catalog.base.io import atomic_dir, write_json, write_parquet
from catalog.base.params import ROOT, profile_params
from catalog.base.progress import progress
from catalog.models.devices import peak_memory_mb
from catalog.models.inference import generate
from catalog.models.lm import load_lm, require_full
from catalog.training.adapters import folded, saved_lora
from stages.harmonic.baselines import GENERATORS, holdout_rows
from stages.harmonic.decode import Request, sample_rows
from stages.harmonic.likelihood import nll, paper_pairs, paper_texts, strict_pairs
from stages.harmonic.lle import classify, majority_answers
from stages.harmonic.serialise import Instruction, Pieces, instruction, pieces, row_text, rows_of
from stages.harmonic.settings import Generator, Params, Sample, Sampler
from stages.harmonic.tables import HOLDOUT, Schema, Source, half, source
from stages.harmonic.train import MODEL, begin_token, column_order
from stages.harmonic.validate import check

PROMPTS = ("random", "neighbours", "perturbed")


def perturbed(cells: dict, schema: Schema, pool: pl.DataFrame, share: float, rng: np.random.Generator) -> dict:
    """A row with a share of its cells taken from other rows of ``pool``: what a prompt may show when no real row should leave the house."""
    out = dict(cells)
    for column in schema.columns:
        if rng.random() < share:
            out[column.name] = pool[column.name][int(rng.integers(len(pool)))]
    return out


def requests(
    s: Sampler,
    g: Generator,
    made: Source,
    parts: Pieces,
    ask: Instruction | None,
    tokenizer: Any,
    k: int,
    share: float,
    seed: int,
    count: int,
) -> tuple[list[Request], list[list[int]]]:
    """What to sample, and the ids of the train rows that each prompt shows."""
    schema, train = made.schema, made.part("train")
    ids, cells = train["id"].to_list(), rows_of(train, schema)
    place = {number: i for i, number in enumerate(ids)}
    near = dict(made.near.select("id", "neighbours").iter_rows())
    target = next(i for i, column in enumerate(schema.columns) if column.name == schema.target)
    out, shown = [], []
    for number in range(count):
        rng = np.random.default_rng([seed, 3, number])
        order = column_order(schema, g.permute, [seed, 4, number])
        fixed = {}
        if s.fix_target:
            order = [target, *(at for at in order if at != target)]
            fixed = {target: cells[int(rng.integers(len(cells)))][schema.target]}
        if ask is None:
            out.append(Request(number, [begin_token(tokenizer)], tuple(order), fixed))
            shown.append([])
            continue
        if s.prompts == "random":
            picked = [ids[i] for i in rng.choice(len(ids), size=k, replace=False)]
        else:
            picked = list(near[ids[int(rng.integers(len(ids)))]])
        rows = [cells[place[other]] for other in picked]
        if s.prompts == "perturbed":
            rows = [perturbed(row, schema, train, share, rng) for row in rows]
        out.append(Request(number, ask.prompt([parts.row(row, order)[:-1] for row in rows]), tuple(order), fixed))
        shown.append(picked)
    return out, shown


def free_rows(
    model: Any, tokenizer: Any, asked: list[Request], schema: Schema, p: Sample, real: set[str], tokens: int, seed: int, desc: str
) -> tuple[list[dict | None], list[dict]]:
    """Rows by ordinary generation: text is parsed and checked, what fails is tried again up to ``p.retries`` times. Returns a row or None
    for each request, and every refused text with its reason."""
    rows: list[dict | None] = [None] * len(asked)
    rejects = []
    for attempt in range(p.retries + 1):
        left = [i for i, row in enumerate(rows) if row is None]
        if not left:
            break
        texts = generate(
            model, tokenizer, [asked[i].prompt for i in left], tokens,
            temperature=p.temperature, seed=seed + 1000 * attempt, stop=("}",), desc=f"{desc}, try {attempt + 1}",
        )  # fmt: skip
        for i, text in zip(left, texts, strict=True):
            rows[i], reason = check(text + "}", schema, real)
            if reason:
                rejects.append({"number": asked[i].id, "attempt": attempt, "reason": reason, "text": text})
    return rows, rejects


class Bench:
    """One table with everything that is known of its generators."""

    def __init__(self, profile: str, name: str, params: Params, tokenizer: Any):
        self.name, self.params, self.profile = name, params, profile
        self.made = source(profile, name)
        self.schema = self.made.schema
        self.k = params.data.tables[name].neighbours
        self.tokenizer = tokenizer
        self.ask = instruction(tokenizer, self.schema, params.data.tables[name].description, self.k)
        self.parts = {form: pieces(tokenizer, self.schema, form) for form in ("json", "great")}
        train = self.made.part("train")
        self.real = {row_text(row, self.schema) for row in rows_of(train, self.schema)} if params.sample.reject_copies else set()
        self.longest = max(len(self.parts["json"].row(row)) for row in rows_of(train.head(200), self.schema))

    def generator(self, name: str) -> Generator:
        return next(g for g in self.params.train.generators if (g.table, g.name) == (self.name, name))

    def context(self, g: Generator) -> tuple[Pieces, Instruction | None]:
        return self.parts[g.form], self.ask if g.form == "json" else None

    def frame(self, rows: Sequence[dict], method: str, seed: int, shown: list[list[int]] | None) -> pl.DataFrame:
        """Rows with where they come from, in the table's types."""
        types = {column.name: pl.Float64 if column.numeric else pl.String for column in self.schema.columns}
        frame = pl.DataFrame([[row[name] for name in types] for row in rows], schema=types, orient="row")
        return self.labelled(frame, method, seed, shown)

    def labelled(self, frame: pl.DataFrame, method: str, seed: int, shown: list[list[int]] | None) -> pl.DataFrame:
        count = len(frame)
        prompt = pl.Series("prompt_rows", shown if shown is not None else [None] * count, dtype=pl.List(pl.Int32))
        return frame.select(self.schema.names).select(
            pl.lit(method).alias("method"),
            pl.lit(seed, pl.Int32).alias("seed"),
            pl.int_range(count, dtype=pl.Int32).alias("number"),
            prompt,
            *self.schema.names,
        )

    def baselines(self, seeds: Sequence[int]) -> list[pl.DataFrame]:
        """Tables of the generators without an LLM, and the two ends of the scale; as many rows as train has."""
        train, holdout = self.made.part("train"), self.made.part("holdout")
        out = []
        for seed in seeds:
            for method, make in GENERATORS.items():
                out.append(self.labelled(make(train, self.schema, len(train), seed), method, seed, None))
            released = half(holdout)[0]
            out.append(self.labelled(holdout_rows(released, self.schema, len(released), seed), HOLDOUT, seed, None))
        return out

    def sample(self, model: Any, s: Sampler) -> tuple[list[pl.DataFrame], list[pl.DataFrame], list[dict], list[dict]]:
        """Tables of one sampler (one a seed), refused texts, counts, and times."""
        p, g = self.params.sample, self.generator(s.generator)
        parts, ask = self.context(g)
        count = s.rows or len(self.made.part("train"))
        tables, rejects, facts, times = [], [], [], []
        for seed in s.seeds:
            asked, shown = requests(s, g, self.made, parts, ask, self.tokenizer, self.k, p.perturb, seed, count)
            desc = f"{self.name}: {s.method}, seed {seed}"
            start = time.perf_counter()
            if s.decoding == "constrained":
                with progress(count, desc, "row") as advance:
                    rows = sample_rows(model, parts, asked, temperature=p.temperature, seed=seed, batch=p.batch_size, advance=advance)
                refused = []
            else:
                rows, refused = free_rows(model, self.tokenizer, asked, self.schema, p, self.real, self.longest + 16, seed, desc)
            seconds = time.perf_counter() - start
            kept = [i for i, row in enumerate(rows) if row is not None]
            tables.append(self.frame([rows[i] for i in kept], s.method, seed, [shown[i] for i in kept]))
            label = {"table": self.name, "method": s.method, "seed": seed}
            if refused:
                rejects.append(pl.DataFrame([label | r for r in refused]))
            tried = count + sum(r["attempt"] < p.retries for r in refused)
            made = {"asked": count, "rows": len(kept), "texts": tried, "refused": len(refused), "shortfall": count - len(kept)}
            facts.append(label | made)
            times.append(label | {"seconds": round(seconds, 1), "rows_per_second": round(count / seconds, 2)})
        return tables, rejects, facts, times

    def likelihoods(self, model: Any, g: Generator, base: dict, synthetic: pl.DataFrame | None) -> list[pl.DataFrame]:
        """Rows a real or synthetic row and form of asking: nll and tokens under the generator, base_nll under the model it started from.

        ``base`` keeps what the untuned model says, which generators of one form share; call with the adapter in place and see `untuned`."""
        out = []
        for (part, form), (rows, pairs) in self.pairs(g, synthetic).items():
            total, tokens = nll(model, self.tokenizer, pairs, len(rows), f"{self.name}: {g.name}, {part} rows, {form}")
            out.append(
                pl.DataFrame({"id": rows, "nll": total, "tokens": tokens}).with_columns(
                    pl.Series("base_nll", base.get((part, form), [None] * len(rows)), dtype=pl.Float64),
                    table=pl.lit(self.name),
                    generator=pl.lit(g.name),
                    part=pl.lit(part),
                    form=pl.lit(form),
                )  # fmt: skip
            )
        return out

    def pairs(self, g: Generator, synthetic: pl.DataFrame | None) -> dict:
        """(part, form) -> (row numbers, token id pairs) of everything whose likelihood is asked."""
        p = self.params.sample
        train, holdout = self.made.part("train"), self.made.part("holdout")
        train = train if g.rows is None else train.head(g.rows)
        parts = {"train": train, "holdout": holdout}
        if synthetic is not None:
            parts["synthetic"] = synthetic.rename({"number": "id"})
        shortest = min(map(len, parts.values())) if p.likelihood_rows is None else p.likelihood_rows
        made = {}
        for part, frame in parts.items():
            frame = frame.head(min(shortest, len(frame)))
            own, ask = self.context(g)
            strict = strict_pairs(g, self.made, own, ask, self.tokenizer, frame, self.k, p.orders, self.params.seed)
            made[part, "strict"] = frame["id"].to_list(), strict
            if g.name in p.paper_likelihoods:
                made[part, "paper"] = frame["id"].to_list(), paper_pairs(self.tokenizer, paper_texts(frame, self.schema))
        return made

    def untuned(self, model: Any, g: Generator, synthetic: pl.DataFrame | None) -> dict:
        """(part, form) -> negative log-likelihoods of real rows under the model as it was, in the strict form."""
        return {
            key: nll(model, self.tokenizer, pairs, len(rows), f"{self.name}: untuned, {key[0]} rows, {key[1]}")[0]
            for key, (rows, pairs) in self.pairs(g, synthetic).items()
            if key[0] != "synthetic" and key[1] == "strict"
        }

    def same_rows(self, model: Any, s: Sampler, dtype: str) -> dict:
        """How many of the first rows of a sampler come out the same one by one and among 64 together."""
        p, g = self.params.sample, self.generator(s.generator)
        parts, ask = self.context(g)
        asked, _ = requests(s, g, self.made, parts, ask, self.tokenizer, self.k, p.perturb, s.seeds[0], 64)
        one, many = (
            sample_rows(model, parts, some, temperature=p.temperature, seed=s.seeds[0], batch=batch)
            for some, batch in ((asked[: p.same_rows], 1), (asked, 64))
        )
        same = sum(a == b for a, b in zip(one, many, strict=False))
        return {"table": self.name, "method": s.method, "dtype": dtype, "rows": len(one), "same": same}


def check_samplers(params: Params) -> None:
    """Stop on samplers that cannot be run.

    Raises:
        CatalogError: an unknown generator, table, decoding, kind of prompt or same_method, or a method given twice for one table.
    """
    known = {(g.table, g.name): g for g in params.train.generators}
    seen = set()
    for s in params.sample.samplers:
        if (s.table, s.generator) not in known:
            raise CatalogError(f"Sampler {s.method} wants generator {s.generator} of {s.table}, which train.generators does not make.")
        if s.decoding not in ("constrained", "free") or s.prompts not in PROMPTS:
            raise CatalogError(
                f"Sampler {s.method}: decoding is constrained or free and prompts are one of {', '.join(PROMPTS)}, "
                f"not {s.decoding} and {s.prompts}."
            )
        if s.decoding == "free" and known[s.table, s.generator].form != "json":
            raise CatalogError(f"Sampler {s.method}: only rows in JSON can be read from free text; use decoding constrained.")
        if (s.table, s.method) in seen:
            raise CatalogError(f"Two samplers of {s.table} are named {s.method}; give each its own name.")
        seen.add((s.table, s.method))
    if params.sample.same_rows and repeated(params.sample) is None:
        raise CatalogError(f"sample.same_method {params.sample.same_method!r} is no constrained sampler; name one of sample.samplers.")


def repeated(p: Sample) -> Sampler | None:
    """The sampler whose rows are sampled again in batches of other sizes."""
    return next((s for s in p.samplers if s.method == p.same_method and s.decoding == "constrained"), None)


def adapter(profile: str, table: str, generator: str) -> Path:
    return ROOT / "models" / MODEL / profile / table / generator


def main(profile: str) -> None:
    started = time.perf_counter()
    params = profile_params(Params, "harmonic", profile)
    p = params.sample
    check_samplers(params)
    if profile == "full":  # before any work
        require_full(params.train.model)
    model, tokenizer = load_lm(params.train.model)
    benches = {name: Bench(profile, name, params, tokenizer) for name in params.data.tables}
    frames: dict[str, list[pl.DataFrame]] = {name: bench.baselines(p.baseline_seeds) for name, bench in benches.items()}
    rejects, facts, times, likely, same, read, trained = [], [], [], [], [], [], []
    phases = {"baselines": time.perf_counter() - started, "sampling": 0.0, "likelihoods": 0.0}
    for g in params.train.generators:
        bench, begun = benches[g.table], time.perf_counter()
        with saved_lora(model, adapter(profile, g.table, g.name)) as tuned, folded(tuned) as adapted:
            for s in (s for s in p.samplers if (s.table, s.generator) == (g.table, g.name)):
                tables, refused, counts, took = bench.sample(adapted, s)
                frames[g.table] += tables
                rejects += refused
                facts += counts
                times += took
        own = [s for s in p.samplers if (s.table, s.generator) == (g.table, g.name)]
        phases["sampling"] += time.perf_counter() - begun
        begun = time.perf_counter()
        first = next((f for f in frames[g.table] if own and f["method"][0] == own[0].method), None)
        base = bench.untuned(model, g, first)
        with saved_lora(model, adapter(profile, g.table, g.name)) as tuned, folded(tuned) as adapted:
            likely += bench.likelihoods(adapted, g, base, first)
        phases["likelihoods"] += time.perf_counter() - begun
    begun = time.perf_counter()
    for name, bench in benches.items():
        if name not in p.lle.tables or bench.schema.task != "classification":
            continue
        every = pl.concat(frames[name]).filter(pl.col("seed") == 0)
        test = bench.made.part("test").head(p.lle.test_rows)
        for method in p.lle.methods:
            table = bench.made.part("train") if method == "real" else every.filter(pl.col("method") == method)
            if table.is_empty():
                continue
            answers, info = classify(model, tokenizer, table, test, bench.schema, p.lle, params.seed, f"{name}: LLE of {method}")
            answers = answers.with_columns(majority=pl.Series(majority_answers(bench.made.part("train"), test, bench.schema).tolist()))
            read.append(answers.with_columns(table=pl.lit(name), method=pl.lit(method)))
            trained.append({"table": name, "method": method} | info)
    phases["lle"], begun = time.perf_counter() - begun, time.perf_counter()
    if p.same_rows:
        s = repeated(p)
        for dtype in dict.fromkeys(("float32", str(model.dtype).removeprefix("torch."))):
            other = model if str(model.dtype).endswith(dtype) else load_lm(params.train.model, dtype=dtype)[0]
            with saved_lora(other, adapter(profile, s.table, s.generator)) as tuned, folded(tuned) as adapted:
                same.append(benches[s.table].same_rows(adapted, s, dtype))
    phases["batch sizes"] = time.perf_counter() - begun
    with atomic_dir(ROOT / "data" / "harmonic_synthetic" / profile) as folder:
        for name, tables in frames.items():
            write_parquet(pl.concat(tables), folder / f"{name}.parquet")
        schema = dict.fromkeys(("table", "method"), pl.String) | dict.fromkeys(("seed", "number", "attempt"), pl.Int64)
        schema |= dict.fromkeys(("reason", "text"), pl.String)
        write_parquet(pl.concat(rejects) if rejects else pl.DataFrame(schema=schema), folder / "rejects.parquet")
        write_parquet(pl.DataFrame(facts), folder / "sampling.parquet")
        write_parquet(pl.concat(likely), folder / "likelihoods.parquet")
        write_parquet(pl.concat(read) if read else pl.DataFrame(), folder / "lle.parquet")
        write_parquet(pl.DataFrame(same), folder / "same.parquet")
    facts = {"seconds": round(time.perf_counter() - started, 1), "peak_memory_mb": peak_memory_mb(model.device)}
    facts |= {"sampling": times, "lle": trained}
    facts["phases"] = {name: round(seconds, 1) for name, seconds in phases.items()}
    write_json(facts | {"dtype": str(model.dtype).removeprefix("torch.")}, ROOT / "data" / "harmonic_synthetic" / f"{profile}.run.json")


if __name__ == "__main__":
    run(main)
