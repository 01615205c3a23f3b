"""What is asked of a generator, row by row: prompts of real, near or perturbed rows, and free generation with its refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from catalog.base.errors import CatalogError
from catalog.models.inference import generate
from stages.harmonic.decode import Request
from stages.harmonic.schema import Schema, Source
from stages.harmonic.serialise import Instruction, Pieces, rows_of
from stages.harmonic.settings import Generator, Measure, Params, Sampler
from stages.harmonic.train import begin_token, column_order
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
    model: Any, tokenizer: Any, asked: list[Request], schema: Schema, p: Measure, real: set[str], tokens: int, seed: int, desc: str
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


def check_samplers(params: Params) -> None:
    """Stop on samplers that cannot be run.

    Raises:
        CatalogError: an unknown generator, table, decoding, kind of prompt or same_method, or a method given twice for one table.
    """
    known = {(g.table, g.name): g for g in params.train.generators}
    seen = set()
    for s in params.measure.samplers:
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
    if params.measure.same_rows and repeated(params.measure) is None:
        raise CatalogError(f"measure.same_method {params.measure.same_method!r} is no constrained sampler; name one of measure.samplers.")


def repeated(p: Measure) -> Sampler | None:
    """The sampler whose rows are sampled again in batches of other sizes."""
    return next((s for s in p.samplers if s.method == p.same_method and s.decoding == "constrained"), None)
