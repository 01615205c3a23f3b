"""The evaluation of harmonic on a small table: every table of the card is written, and the two ends of the scale are told apart."""

import dataclasses
import json

import polars as pl
import pytest
from harmonic_release import OWN, own, releases, signals
from ruamel.yaml import YAML

from catalog.base import io, params
from catalog.base.io import write_safetensors
from stages.harmonic import evaluate, tables
from stages.harmonic.schema import COPY, HOLDOUT
from stages.harmonic.settings import Params, Sampler

FACTS = {"device": "cpu", "dtype": "float32", "seconds": 2.0, "tokens": 100, "peak_memory_mb": 7}


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Folder of the reports of an evaluation."""
    root, made = tmp_path_factory.mktemp("project"), own()
    for name in ("metrics.yaml", "tables.yaml"):
        io.write_text((params.ROOT / "stages" / "harmonic" / name).read_text(), root / "stages" / "harmonic" / name)
    real = params.profile_params(Params, "harmonic", "small")
    sampler = Sampler("harmonic", "harmonic", "own", "constrained", "random", False, None, (0,))
    given = dataclasses.replace(
        real,
        measure=dataclasses.replace(real.measure, samplers=(sampler,)),
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
    declared = YAML(typ="safe").load(params.ROOT / "stages" / "harmonic" / "tables.yaml")
    assert {path.stem for path in (published / "tables").iterdir()} == set(declared)
    for name, given in declared.items():
        table = pl.read_parquet(published / "tables" / f"{name}.parquet")
        assert table.columns == list(given["columns"]) and len(table), name
    found = pl.read_parquet(published / "results.parquet")
    wanted = {"utility, strict", "utility, paper", "privacy", "likelihood, strict", "sampling", "likeness", "LLE, strict", "batch size"}
    assert wanted <= set(found["experiment"])
    assert set(found["dataset"]) == {"harmonic_tables"} and set(found["split"]) == {"own"} and set(found["model"]) == {"smollm2", None}
    written = dict(found.filter(experiment="privacy", metric="membership_auc").select("method", "model").iter_rows())
    assert written == {COPY: None, HOLDOUT: None, "marginals": None, "harmonic": "smollm2"}
    for path in (published / "plots").glob("*.json"):
        assert json.loads(path.read_text())["title"], path.name


def test_rows_of_a_release_are_checked_against_the_table(published):
    table = pl.read_parquet(published / "tables" / "sampling.parquet").row(0, named=True)
    assert (table["decoding"], table["prompts"], table["asked"], table["fitting"]) == ("constrained", "random", 60, 60)
    made = own()
    rows = made.part("train").select(made.schema.names).head(5)
    rows = rows.with_columns(
        size=pl.Series([rows["size"][0], 999.0, rows["size"][2] + 0.01, rows["size"][3], rows["size"][4]]),  # too large; too many decimals
        colour=pl.Series([*rows["colour"][:3], "mauve", rows["colour"][4]]),  # no level
        prompt_rows=pl.Series([[0, 1]] * 5, dtype=pl.List(pl.Int32)), method=pl.lit("harmonic"), seed=pl.lit(0, pl.Int32),
    )  # fmt: skip
    assert tables.fitting(made, rows, "own").to_dicts() == [{"table": "own", "method": "harmonic", "seed": 0, "fitting": 2}]


def test_the_two_ends_of_the_scale_are_told_apart(published):
    table = pl.read_parquet(published / "tables" / "privacy.parquet")
    at = {r["method"]: r for r in table.iter_rows(named=True)}
    copy, other = at[COPY], at[HOLDOUT]
    assert copy["copy_rate"] == 1 and copy["dcr_train"] == 0 and copy["nrs"] == 0 and copy["auc"] == 1 and copy["levatt_auc"] == 1
    assert copy["auc_low"] > 0.5 and copy["closer_low"] > 0.5
    assert other["copy_rate"] == 0 and other["auc_low"] <= 0.5 and other["closer_low"] <= 0.5 and other["n"] == 30
    assert at["harmonic"]["prompt_distance"] is not None and copy["prompt_distance"] is None
    synthetic = pl.read_parquet(published / "tables" / "synthetic.parquet")
    assert set(synthetic["method"]) == {"marginals", "harmonic"}  # no real rows
    useful = (
        pl.read_parquet(published / "tables" / "utility.parquet").filter(protocol="strict").group_by("method").agg(pl.col("mcc").mean())
    )
    by = dict(useful.iter_rows())
    assert by[COPY] == pytest.approx(by["real"], abs=0.1) and by["real"] > 0.4 > abs(by["marginals"]) and by["majority"] == 0


def test_memorising_is_found_where_it_is(published):
    table = pl.read_parquet(published / "tables" / "dlt.parquet").filter(form="strict")
    at = {r["generator"]: r for r in table.iter_rows(named=True)}
    assert at["overtrained"]["nll_gap"] == pytest.approx(20 / 50, abs=0.1) and at["overtrained"]["nll_gap_low"] > 0
    assert at["overtrained"]["auc_low"] > 0.9 and at["harmonic"]["auc_low"] < 0.5 < at["harmonic"]["auc_high"]
    read = pl.read_parquet(published / "tables" / "lle.parquet")
    right = {r["reading"]: (r["accuracy"], r["missing"]) for r in read.iter_rows(named=True)}
    assert right == {"strict": (1.0, 0.0), "paper": (0.5, 0.0), "word": (7 / 20, 0.25), "majority": (0.5, 0.0)} or right["word"][1] == 0.25


def test_distances_to_the_rows_of_the_own_prompt():
    made = own()
    train = made.part("train")
    part = train.head(4).with_columns(prompt_rows=pl.Series([[0, 5], [1, 6], [2, 7], [3, 8]], dtype=pl.List(pl.Int32)))
    own_prompt, next_prompt = tables._prompts(part, train, made)
    assert own_prompt.tolist() == [0] * 4 and (next_prompt > 0).all()
