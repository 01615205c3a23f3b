"""A small table with releases of four methods and the raw signals of two generators, as the measuring stage writes them."""

import numpy as np
import polars as pl

from stages.harmonic.baselines import cart, copy_of_train, holdout_rows, marginals
from stages.harmonic.schema import COPY, HOLDOUT, Source, half, learn
from stages.harmonic.settings import Table

SHARES = {"train": 0.4, "validation": 0.1, "test": 0.2, "holdout": 0.3}
COLUMNS = "colour", ("size", "weight")  # sensitive, known
OWN = Table(None, ("own.csv",), "csv", ("", "?"), None, "label", "classification", None, (), {}, "things", 2, 1, *COLUMNS, SHARES)


def own(count=200, seed=0):
    """A table whose label follows from its numbers and its colour, with its splits."""
    rng = np.random.default_rng(seed)
    size, weight = rng.normal(50, 12, count).round(1), rng.normal(5, 2, count).round(2)
    colour = rng.choice(["red", "green", "blue"], count)
    score = (size - 50) / 12 + (weight - 5) / 2 + np.where(colour == "red", 1.5, 0) + rng.normal(0, 0.5, count)
    rows = pl.DataFrame({"size": size, "weight": weight, "colour": colour, "label": np.where(score > 0.5, "yes", "no")})
    rows = rows.with_row_index("id").with_columns(pl.col("id").cast(pl.Int32))
    splits = np.repeat(["train", "validation", "test", "holdout"], [60, 20, 60, 60])
    rows = rows.with_columns(split=pl.Series(splits)).select("id", "split", "size", "weight", "colour", "label")
    train = rows.filter(pl.col("split") == "train")
    schema = learn(train, "own", "label", "classification")
    near = pl.DataFrame({"id": train["id"], "neighbours": [[0, 1]] * 60, "same_label": 0.5, "kept": True})
    return Source(rows, schema, near.with_columns(pl.col("neighbours").cast(pl.List(pl.Int32))))


def releases(made):
    """Four methods, the LLM's rows being those of CART with prompts."""
    train, holdout = made.part("train"), made.part("holdout")
    out = []
    for method, frame in (
        (COPY, copy_of_train(train, made.schema, 60, 0)),
        (HOLDOUT, holdout_rows(half(holdout)[0], made.schema, 30, 0)),
        ("marginals", marginals(train, made.schema, 60, 0)),
        ("harmonic", cart(train, made.schema, 60, 0)),
    ):
        shown = [[i, i + 1] for i in range(58)] + [[0, 1]] * 2 if method == "harmonic" else [None] * len(frame)
        labels = {"method": pl.lit(method), "seed": pl.lit(0, pl.Int32), "number": pl.int_range(len(frame), dtype=pl.Int32)}
        frame = frame.with_columns(**labels, prompt_rows=pl.Series(shown, dtype=pl.List(pl.Int32)))
        out.append(frame.select("method", "seed", "number", "prompt_rows", *made.schema.names))
    return pl.concat(out)


def signals():
    """Likelihoods of a generator that knows its training rows and of one that does not; answers, counts."""
    rng = np.random.default_rng(0)
    likely = []
    for name, gain in (("overtrained", 20.0), ("harmonic", 0.0)):
        for form in ("strict", "paper"):
            for part in ("train", "holdout", "synthetic"):
                base = rng.normal(100, 5, 40)
                own = base - 30 - (gain if part == "train" else 0) + rng.normal(0, 2, 40)
                base = base if part != "synthetic" and form == "strict" else [None] * 40
                columns = {"id": range(40), "nll": own, "tokens": 50.0, "base_nll": pl.Series(base, dtype=pl.Float64)}
                likely.append(pl.DataFrame({**columns, "table": "own", "generator": name, "part": part, "form": form}))
    gold = pl.Series(["yes", "no"] * 10)
    answers = {"strict": gold, "paper": pl.Series(["yes"] * 20), "word": [None] * 5 + ["yes"] * 15, "majority": ["no"] * 20}
    read = pl.DataFrame({"id": range(20), "gold": gold, **answers, "table": "own", "method": "harmonic"})
    row = {"table": "own", "method": "harmonic", "seed": 0}
    sampling = pl.DataFrame([row | {"asked": 60, "rows": 60, "texts": 60, "refused": 0, "shortfall": 0}])
    rejects = pl.DataFrame([row | {"number": 1, "attempt": 0, "reason": "no JSON", "text": "well"}])
    same = pl.DataFrame([{"table": "own", "method": "harmonic", "dtype": "float32", "rows": 8, "same": 8}])
    return {"likelihoods": pl.concat(likely), "lle": read, "sampling": sampling, "rejects": rejects, "same": same}
