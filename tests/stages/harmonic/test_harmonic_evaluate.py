"""The evaluation of harmonic on a small table: every table of the card is written, and the two ends of the scale are told apart."""

import dataclasses
import json

import numpy as np
import polars as pl
import pytest
from ruamel.yaml import YAML

from catalog.base import io, params
from catalog.base.io import write_safetensors
from stages.harmonic import evaluate, tables
from stages.harmonic.baselines import cart, copy_of_train, holdout_rows, marginals
from stages.harmonic.schema import COPY, HOLDOUT, Source, half, learn
from stages.harmonic.settings import Params, Table

SHARES = {"train": 0.4, "validation": 0.1, "test": 0.2, "holdout": 0.3}
OWN = Table(None, ("own.csv",), "csv", None, "label", "classification", None, {}, "things", 2, 1, "colour", ("size", "weight"), SHARES)
FACTS = {"device": "cpu", "dtype": "float32", "seconds": 2.0, "tokens": 100, "peak_memory_mb": 7}


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


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Folder of the reports of an evaluation."""
    root, made = tmp_path_factory.mktemp("project"), own()
    real = params.profile_params(Params, "harmonic", "small")
    given = dataclasses.replace(
        real,
        data=dataclasses.replace(real.data, tables={"own": OWN}),
        evaluate=dataclasses.replace(real.evaluate, paper_methods=("real", "harmonic"), paper_rows=30),
    )
    data, model = root / "data", root / "models" / "harmonic_generator"
    table = data / "harmonic_tables" / "small" / "own"
    io.write_parquet(made.rows, table / "rows.parquet")
    io.write_parquet(made.near, table / "neighbours.parquet")
    io.write_json(made.schema.to_dict(), table / "schema.json")
    raw = data / "harmonic_synthetic"
    io.write_parquet(releases(made), raw / "small" / "own.parquet")
    for name, frame in signals().items():
        io.write_parquet(frame, raw / "small" / f"{name}.parquet")
    io.write_json(FACTS, raw / "small.run.json")
    examples = {"table": "own", "generator": ["harmonic"], "examples": 60, "tokens": 9, "answer_tokens": 3}
    io.write_parquet(pl.DataFrame(examples), model / "small" / "examples.parquet")
    curves = {"table": "own", "generator": "harmonic", "step": [1, 2], "loss": [2.0, 1.0]}
    io.write_parquet(pl.DataFrame(curves), model / "small" / "curves.parquet")
    import torch

    write_safetensors({"w": torch.zeros(2)}, model / "small" / "own" / "harmonic" / "adapter_model.safetensors")
    io.write_json({"runs": [FACTS]}, model / "small.run.json")
    with pytest.MonkeyPatch.context() as patch:
        for module in (params, evaluate):
            patch.setattr(module, "ROOT", root)
        patch.setattr(evaluate, "source", lambda profile, name: made)
        patch.setattr(evaluate, "profile_params", lambda *_: given)
        evaluate.main("small")
    return root / "reports" / "harmonic" / "small"


def test_the_declared_tables_are_written(published):
    card = YAML(typ="safe").load((params.ROOT / "stages" / "harmonic" / "README.md").read_text().split("---\n")[1])
    for name, declared in card["tables"].items():
        table = pl.read_parquet(published / f"{name}.parquet")
        assert set(table.columns) == set(declared["columns"]), name
        assert len(table), name
    found = pl.read_parquet(published / "results.parquet")
    wanted = {"utility, strict", "utility, paper", "privacy", "likelihood, strict", "sampling", "likeness", "LLE, strict", "batch size"}
    assert wanted <= set(found["experiment"])
    for path in (published / "plots").glob("*.json"):
        assert json.loads(path.read_text())["title"], path.name


def test_the_two_ends_of_the_scale_are_told_apart(published):
    table = pl.read_parquet(published / "privacy.parquet")
    at = {r["method"]: r for r in table.iter_rows(named=True)}
    copy, other = at[COPY], at[HOLDOUT]
    assert copy["copy_rate"] == 1 and copy["dcr_train"] == 0 and copy["nrs"] == 0 and copy["auc"] == 1 and copy["levatt_auc"] == 1
    assert copy["auc_low"] > 0.5 and copy["closer_low"] > 0.5
    assert other["copy_rate"] == 0 and other["auc_low"] <= 0.5 and other["closer_low"] <= 0.5 and other["n"] == 30
    assert at["harmonic"]["prompt_distance"] is not None and copy["prompt_distance"] is None
    synthetic = pl.read_parquet(published / "synthetic.parquet")
    assert set(synthetic["method"]) == {"marginals", "harmonic"}  # no real rows
    useful = pl.read_parquet(published / "utility.parquet").filter(protocol="strict").group_by("method").agg(pl.col("mcc").mean())
    by = dict(useful.iter_rows())
    assert by[COPY] == pytest.approx(by["real"], abs=0.1) and by["real"] > 0.4 > abs(by["marginals"]) and by["majority"] == 0


def test_memorising_is_found_where_it_is(published):
    table = pl.read_parquet(published / "dlt.parquet").filter(form="strict")
    at = {r["generator"]: r for r in table.iter_rows(named=True)}
    assert at["overtrained"]["nll_gap"] == pytest.approx(20 / 50, abs=0.1) and at["overtrained"]["nll_gap_low"] > 0
    assert at["overtrained"]["auc_low"] > 0.9 and at["harmonic"]["auc_low"] < 0.5 < at["harmonic"]["auc_high"]
    read = pl.read_parquet(published / "lle.parquet")
    right = {r["reading"]: (r["accuracy"], r["missing"]) for r in read.iter_rows(named=True)}
    assert right == {"strict": (1.0, 0.0), "paper": (0.5, 0.0), "word": (7 / 20, 0.25), "majority": (0.5, 0.0)} or right["word"][1] == 0.25


def test_distances_to_the_rows_of_the_own_prompt():
    made = own()
    train = made.part("train")
    part = train.head(4).with_columns(prompt_rows=pl.Series([[0, 5], [1, 6], [2, 7], [3, 8]], dtype=pl.List(pl.Int32)))
    found = tables._prompts(part, train, made)
    assert found["prompt_distance"] == 0 and found["prompt_copies"] == 1 and found["other_distance"] > 0
