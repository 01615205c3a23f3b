"""Tables of the system arithmetic, by hand, and all of them from signals of the shape that the stages write."""

import polars as pl
import pytest
from arithmetic_signals import LORA_LAYERS, signals
from ruamel.yaml import YAML

from catalog.base.params import ROOT, profile_params
from stages.arithmetic import effects, tables
from stages.arithmetic.settings import Params

SMALL = profile_params(Params, "arithmetic", "small")


def test_verify_table_by_hand():
    rows = pl.DataFrame(
        {
            "model": "m",
            "operation": "+",
            "case": ["1+2", "3+4", "1+2", "3+4"],
            "size": 10,
            "protocol": "mask",
            "control": [False, False, True, True],
            "correct": [False, True, True, True],
            "coef_drop": [None] * 4,
        },
        schema_overrides={"coef_drop": pl.Float64},
    )
    found = tables.verify(rows).filter(pl.col("operation") == "+").row(0, named=True)
    assert (found["cases"], found["rel"], found["random_rel"]) == (2, 0.5, 0.0)


def test_lora_sets_by_hand():
    rows = pl.DataFrame(
        {
            "model": "m",
            "set": "lora",
            "lora_layer": 2,
            "rate": 0.1,
            "case": 0,
            "rank": [1, 2, 11, 60],
            "layer": 5,
            "index": [1, 2, 3, 4],
            "coef_base": [2.0, -2.0, 4.0, 100.0],
            "coef_tuned": [3.0, -3.0, 2.0, 0.0],
        }
    )
    found = dict(tables.lora_sets(rows).select("size", "increase").iter_rows())
    assert found == {10: pytest.approx(0.5), 20: pytest.approx(0.0), 30: pytest.approx(0.0), 50: pytest.approx(0.0)}


def test_prune_table_by_hand():
    rows = [
        (variant, layer, correct)
        for variant, layer, right in [
            ("base", None, 1),
            ("lora", 8, 3),
            ("lora", 2, 0),
            ("pruned", None, 0),
            ("pruned", 8, 2),
            ("random-pruned", None, 0),
            ("random-pruned", 8, 1),
        ]
        for correct in [True] * right + [False] * (4 - right)
    ]
    table = pl.DataFrame(rows, schema=["variant", "layer", "correct"], orient="row")
    table = table.with_columns(model=pl.lit("m"), rate=pl.when(pl.col("layer").is_not_null()).then(0.1))
    other = table.filter(pl.col("variant") == "lora").with_columns(rate=pl.lit(0.5), correct=pl.lit(False))  # of the sweep, not of pruning
    table = pl.concat([table, other])
    found = tables.prune_table(table, {"kept": [[9, 1], [9, 2]], "total": 40, "lora_layer": 8}, "m")
    assert found.select("variant", "neurons_kept", "share", "acc_before", "acc_after").rows() == [
        ("whole", 40, 1.0, 0.25, 0.75),
        ("pruned", 2, 0.05, 0.0, 0.5),
        ("random-pruned", 2, 0.05, 0.0, 0.25),
    ]


@pytest.mark.parametrize(
    ("n_layers", "shallow", "middle", "deep"),
    [(32, range(1, 10), range(10, 17), range(17, 31)), (24, range(1, 8), range(8, 13), range(13, 23))],
)
def test_ranges_of_layers_are_the_papers(n_layers, shallow, middle, deep):
    found = [tables.depth_range(layer, n_layers) for layer in range(n_layers)]
    expected = {"shallow": shallow, "middle": middle, "deep": deep}
    assert {name: [i for i, x in enumerate(found) if x == name] for name in expected} == {k: list(v) for k, v in expected.items()}
    assert found[0] is None and found[-1] is None


def test_controls_are_all_but_the_best_of_the_scan():
    raw = signals()[0]
    found = tables.controls(raw["heads"], tables.scan_effect(raw), 2)
    assert dict(found.group_by("control").len().iter_rows()) == {False: 2, True: 1}
    assert found.filter("control").select("layer", "head").rows() == [(5, 1)]


def test_every_declared_table_has_its_columns_and_key():
    raw, tuned, coefficients, kept = signals()
    built = tables.build(raw, tuned, coefficients, kept, SMALL) | effects.build(raw, tuned, coefficients, kept, SMALL)
    declared = YAML(typ="safe").load(ROOT / "stages" / "arithmetic" / "tables.yaml")
    assert set(built) == set(declared)
    for name, table in declared.items():
        assert set(built[name].columns) == set(table["columns"]), name
        assert not built[name].select(table["key"]).is_duplicated().any(), name
    assert built["lora"].filter(pl.col("layer") >= 0).sort("layer").select("layer", "depth").rows() == list(
        zip(LORA_LAYERS, ("shallow", "deep"), strict=True)
    )
