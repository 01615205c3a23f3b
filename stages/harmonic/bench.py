"""One table with its generators: releases of every method, likelihoods of real rows, rows that are sampled twice."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import polars as pl

from catalog.base.progress import progress
from stages.harmonic.baselines import GENERATORS, holdout_rows
from stages.harmonic.decode import sample_rows
from stages.harmonic.likelihood import nll, paper_pairs, paper_texts, strict_pairs
from stages.harmonic.sampling import free_rows, requests
from stages.harmonic.schema import HOLDOUT, half, source
from stages.harmonic.serialise import Instruction, Pieces, instruction, pieces, row_text, rows_of
from stages.harmonic.settings import Generator, Params, Sampler


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
        self.real = {row_text(row, self.schema) for row in rows_of(train, self.schema)} if params.measure.reject_copies else set()
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
        p, g = self.params.measure, self.generator(s.generator)
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
        p = self.params.measure
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
        p, g = self.params.measure, self.generator(s.generator)
        parts, ask = self.context(g)
        asked, _ = requests(s, g, self.made, parts, ask, self.tokenizer, self.k, p.perturb, s.seeds[0], 64)
        one, many = (
            sample_rows(model, parts, some, temperature=p.temperature, seed=s.seeds[0], batch=batch)
            for some, batch in ((asked[: p.same_rows], 1), (asked, 64))
        )
        same = sum(a == b for a, b in zip(one, many, strict=False))
        return {"table": self.name, "method": s.method, "dtype": dtype, "rows": len(one), "same": same}
