"""Wrappers of harmonic over sdmetrics: the same number twice, in silence, and as worked out by hand."""

import numpy as np
import polars as pl
import pytest
from harmonic_frames import SCHEMA, TEST, TRAIN, mixed, table

from catalog.base.errors import CatalogError
from stages.harmonic import baselines, fidelity
from stages.harmonic.schema import learn

# --- fidelity ---------------------------------------------------------------------------------------------------------------------------

CALLS = {
    "quality": lambda s: fidelity.quality(TRAIN, TEST, SCHEMA, s),
    "diagnostic": lambda s: fidelity.diagnostic(TRAIN, TEST, SCHEMA, s),
    "detection": lambda s: fidelity.detection(TRAIN, TEST, SCHEMA, s),
    "disclosure": lambda s: fidelity.disclosure(TRAIN, TEST, SCHEMA, ["age", "town"], ["job"], s),
    "baseline": lambda s: fidelity.dcr_baseline_protection(TRAIN, TEST, SCHEMA, s, 60),
    "overfitting": lambda s: fidelity.dcr_overfitting_protection(TRAIN, TEST, TEST, SCHEMA, s, 60),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_call_gives_the_same_twice_in_silence_and_leaves_the_generator_alone(name, capfd):
    np.random.seed(5)
    first = CALLS[name](1)
    np.random.seed(99)
    before = np.random.get_state()[1].copy()
    assert CALLS[name](1) == first
    assert (np.random.get_state()[1] == before).all()
    assert capfd.readouterr() == ("", "")
    assert all(value is None or 0 <= value <= 1 for key, value in first.items() if key != "pairs")
    if name in ("detection", "baseline"):
        assert CALLS[name](2) != first


def test_quality_by_hand():
    real = table(c=["a"] * 6 + ["b"] * 4, x=[float(i) for i in range(10)], y=["p"] * 5 + ["q"] * 5)
    schema = learn(real, "t", "y", "classification")
    assert fidelity.quality(real, real, schema)["overall"] == 1
    synthetic = table(c=["a"] * 9 + ["b"], x=[float(i) for i in range(5, 15)], y=["p"] * 5 + ["q"] * 5)
    found = fidelity.quality(real, synthetic, schema)
    assert found["column_shapes"] == pytest.approx((0.7 + 0.5 + 1) / 3)  # total variation 0.3, KS 0.5, none
    assert found["overall"] == pytest.approx((found["column_shapes"] + found["pair_trends"]) / 2)
    assert found["pairs"] == 3
    apart = table(c=["a", "b"] * 50, y=["p", "p", "q", "q"] * 25)
    assert fidelity.quality(apart, apart, learn(apart, "t", "y", "classification")) == {
        "column_shapes": 1,
        "pair_trends": None,  # no pair is related in the real table
        "overall": 1,
        "pairs": 0,
    }


def test_diagnostic_by_hand():
    real = table(x=[0.0, 1, 2, 3], y=["p", "q", "p", "q"])
    schema = learn(real, "t", "y", "classification")
    assert fidelity.diagnostic(real, real, schema) == {"validity": 1, "structure": 1, "overall": 1}
    odd = table(x=[0.0, 9, 9, 9], y=["p", "q", "p", "z"])
    assert fidelity.diagnostic(real, odd, schema) == {"validity": (0.25 + 0.75) / 2, "structure": 1, "overall": 0.75}


def test_detection():
    same = fidelity.detection(TRAIN, mixed(400, 7), SCHEMA)
    assert same["score"] > 0.8 and 0.5 <= same["auc"] < 0.6
    far = TRAIN.with_columns(pl.col("age") + 100)
    assert fidelity.detection(TRAIN, far, SCHEMA) == {"score": pytest.approx(0, abs=1e-9), "auc": pytest.approx(1)}
    unseen = TRAIN.with_columns(pl.lit("baker").alias("job"))  # sdmetrics alone stops here
    assert fidelity.detection(TRAIN, unseen, SCHEMA)["auc"] > 0.95
    with pytest.raises(CatalogError, match="at least three rows"):
        fidelity.detection(TRAIN, TRAIN[:2], SCHEMA)


def test_detection_is_that_of_sdmetrics():
    from sdmetrics.single_table import LogisticDetection

    lost = baselines.marginals(TRAIN, SCHEMA, 400, 0).with_columns(pl.col("age") + 9)
    frames = [fidelity._pandas(rows, SCHEMA) for rows in (TRAIN, lost)]
    with fidelity._quiet(4):
        expected = LogisticDetection.compute(*frames, metadata=fidelity._metadata(SCHEMA), table_name="table")
    assert fidelity.detection(TRAIN, lost, SCHEMA, 4)["score"] == pytest.approx(expected, abs=0.02)
    assert expected < 0.9


def test_disclosure_by_hand():
    real = table(k=["a", "a", "b", "c"], s=["u", "v", "u", "u"], y=["p", "q", "p", "q"])
    synthetic = table(k=["a", "a", "a", "b"], s=["u", "u", "v", "v"], y=["p", "q", "p", "q"])
    schema = learn(real, "t", "y", "classification")
    found = fidelity.disclosure(real, synthetic, schema, ["k"], ["s"])
    # the right guess: 2/3, 1/3 and 0; c has no row. Two levels: a random guess leaves 1/2.
    assert found["cap_protection"] == pytest.approx(2 / 3) and found["baseline_protection"] == 0.5 and found["score"] == 1
    assert fidelity.disclosure(real, synthetic.with_columns(pl.lit("z").alias("k")), schema, ["k"], ["s"])["score"] is None
    copied = fidelity.disclosure(real.head(1), real.head(1), schema, ["k"], ["s"])
    assert copied["cap_protection"] == 0
    for known, sensitive in (([], ["s"]), (["k"], []), (["k"], ["k"])):
        with pytest.raises(CatalogError, match="at least one of each"):
            fidelity.disclosure(real, synthetic, schema, known, sensitive)
    with pytest.raises(CatalogError, match="no column 'age'"):
        fidelity.disclosure(real, synthetic, schema, ["age"], ["s"])


def test_disclosure_of_large_tables_is_estimated(monkeypatch, capfd):
    args = TRAIN[:60], TEST[:60], SCHEMA, ["age", "town"], ["job"]
    exact = fidelity.disclosure(*args)
    monkeypatch.setattr(fidelity, "EXACT_ROWS", 59)
    assert fidelity.disclosure(*args) == pytest.approx(exact)  # samples of 1,000 rows are the whole tables here
    assert capfd.readouterr() == ("", "")


def test_the_ends_of_the_privacy_scale():
    copies = baselines.copy_of_train(TRAIN, SCHEMA, 80, 0)
    assert fidelity.dcr_baseline_protection(TRAIN, copies, SCHEMA)["score"] == 0
    few, other = (rows.drop_nulls("income")[:100] for rows in (TRAIN, TEST))  # no row of both
    assert fidelity.dcr_overfitting_protection(few, other, few[:50], SCHEMA) == {"score": 0, "closer_to_train": 1}
    assert fidelity.dcr_overfitting_protection(other, few, few[:50], SCHEMA)["score"] == 1
    fresh = fidelity.dcr_baseline_protection(TRAIN[:100], TEST[:80], SCHEMA)
    assert fresh["score"] == pytest.approx(fresh["synthetic"] / fresh["random"]) and 0.01 < fresh["score"] < 1


def test_the_random_baseline_of_whole_numbers_is_whole():
    rows = table(x=[0.0, 1] * 10, y=["p", "q"] * 10)
    schema = learn(rows, "t", "y", "classification")
    assert fidelity.dcr_baseline_protection(rows, rows, schema)["random"] in (0.0, 0.5)
    assert fidelity._whole([rows], schema) == ["x"] and fidelity._whole([rows, rows.with_columns(pl.col("x") / 2)], schema) == []
    assert fidelity._whole([TRAIN, TEST], SCHEMA) == ["age"]


def test_distances_of_a_part():
    few = fidelity._few(TRAIN, 60, 0)
    assert len(few) == 60 and few.is_unique().sum() >= 55 and not few.equals(fidelity._few(TRAIN, 60, 1))
    assert fidelity._few(TRAIN, 400, 0) is TRAIN
    found = fidelity.dcr_baseline_protection(TRAIN, TEST, SCHEMA, 0, 60)
    assert found == fidelity.dcr_baseline_protection(few, fidelity._few(TEST, 60, 0), SCHEMA, 0)


def test_fidelity_refuses_other_tables():
    with pytest.raises(CatalogError, match="no column 'town'"):
        fidelity.quality(TRAIN, TEST.drop("town"), SCHEMA)
    with pytest.raises(CatalogError, match="make rows first"):
        fidelity.diagnostic(TRAIN, TEST[:0], SCHEMA)
