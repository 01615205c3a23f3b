"""The measuring stage of harmonic from end to end, on a tiny random model: every file of the raw signals, and the same bytes twice."""

import contextlib
import dataclasses

import polars as pl
import pytest
from harmonic_tiny import SCHEMA, TABLE, made

from catalog.base.io import read_json
from catalog.base.params import profile_params
from stages.harmonic import bench, measure
from stages.harmonic.settings import Generator, Params, Sampler


def parameters() -> Params:
    """Two generators of a toy table; one sampler decodes freely, one gives two releases."""
    real = profile_params(Params, "harmonic", "small")
    generators = (Generator("harmonic", "toy", "json", 1, None, False), Generator("great", "toy", "great", 1, 6, True))
    samplers = (
        Sampler("harmonic", "harmonic", "toy", "constrained", "random", False, 5, (0, 1)),
        Sampler("harmonic free", "harmonic", "toy", "free", "neighbours", False, 3, (0,)),
        Sampler("great", "great", "toy", "constrained", "random", True, None, (0,)),
    )
    lle = dataclasses.replace(real.measure.lle, tables=("toy",), methods=("real", "smote", "nobody"), rows=8, epochs=1, test_rows=4)
    changed = {"samplers": samplers, "lle": lle, "baseline_seeds": (0, 1), "likelihood_rows": 3, "same_rows": 2}
    return dataclasses.replace(
        real,
        data=dataclasses.replace(real.data, tables={"toy": TABLE}),
        train=dataclasses.replace(real.train, generators=generators),
        measure=dataclasses.replace(real.measure, **changed),
    )


@pytest.fixture(scope="module")
def written(model, tokenizer, tmp_path_factory):
    """Folder of the signals, and the bytes of a second run."""
    roots = [tmp_path_factory.mktemp(name) for name in ("first", "second")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure, "load_lm", lambda *_, **__: (model, tokenizer))
        patch.setattr(measure, "adapted", lambda ready, *_: contextlib.nullcontext(ready))
        patch.setattr(measure, "profile_params", lambda *_: parameters())
        patch.setattr(bench, "source", lambda *_: made(48))
        for root in roots:
            patch.setattr(measure, "ROOT", root)
            measure.main("small")
    folders = [root / "data" / "harmonic_synthetic" / "small" for root in roots]
    return folders[0], {path.name: path.read_bytes() for path in folders[1].iterdir()}


def test_every_signal_is_written_and_a_second_run_gives_the_same_bytes(written):
    folder, again = written
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == again
    names = {"toy", "rejects", "sampling", "likelihoods", "lle", "same"}
    assert {path.stem for path in folder.iterdir()} == names
    facts = read_json(folder.with_name("small.run.json"))
    assert set(facts["phases"]) == {"baselines", "sampling", "likelihoods", "lle", "batch sizes"} and facts["dtype"] == "float32"


def test_releases_and_their_prompts(written):
    rows = pl.read_parquet(written[0] / "toy.parquet")
    counts = {key: len(part) for key, part in rows.group_by("method", "seed")}
    free = 3 - pl.read_parquet(written[0] / "sampling.parquet").filter(method="harmonic free")["shortfall"].item()
    classical = {(name, seed): 24 for name in ("marginals", "smote", "cart", "copula", "copy of train") for seed in (0, 1)}
    others = {("holdout rows", 0): 4, ("holdout rows", 1): 4, ("harmonic", 0): 5, ("harmonic", 1): 5, ("great", 0): 24}
    assert {key: count for key, count in counts.items() if key[0] != "harmonic free"} == classical | others
    assert counts.get(("harmonic free", 0), 0) == free
    assert rows.columns == ["method", "seed", "number", "prompt_rows", *SCHEMA.names]
    shown = {method: part["prompt_rows"].to_list() for (method,), part in rows.group_by("method")}
    assert all(len(ids) == 2 for ids in shown["harmonic"]) and set(map(str, shown["great"])) == {"[]"} and set(shown["smote"]) == {None}


def test_what_sampling_cost_adds_up(written):
    counts = {(r["method"], r["seed"]): r for r in pl.read_parquet(written[0] / "sampling.parquet").iter_rows(named=True)}
    assert set(counts) == {("harmonic", 0), ("harmonic", 1), ("harmonic free", 0), ("great", 0)}
    for row in counts.values():
        assert row["rows"] + row["shortfall"] == row["asked"] and row["texts"] - row["refused"] == row["rows"]
    rejects = pl.read_parquet(written[0] / "rejects.parquet")
    assert len(rejects) == counts["harmonic free", 0]["refused"] > 0 and set(rejects["method"]) == {"harmonic free"}


def test_likelihoods_answers_and_repeats(written):
    likely = pl.read_parquet(written[0] / "likelihoods.parquet")
    asked = {key: len(part) for key, part in likely.group_by("generator", "form", "part")}
    parts = ("train", "holdout", "synthetic")
    assert asked == {(name, form, part): 3 for name in ("harmonic", "great") for form in ("strict", "paper") for part in parts}
    known = likely.filter(form="strict").filter(pl.col("part") != "synthetic")
    assert known["nll"].to_list() == pytest.approx(known["base_nll"].to_list())  # the adapter of this test changes nothing
    assert likely.filter(pl.col("base_nll").is_null()).height == 36 - 12
    read = pl.read_parquet(written[0] / "lle.parquet")
    assert set(read["method"]) == {"real", "smote"} and len(read) == 8  # nobody has no rows
    same = pl.read_parquet(written[0] / "same.parquet")
    assert same.to_dicts() == [{"table": "toy", "method": "great", "dtype": "float32", "rows": 2, "same": 2}]
