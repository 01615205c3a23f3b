"""Privacy scores of synthetic tables: values worked out by hand, other implementations, both ends of each scale."""

import math

import numpy as np
import polars as pl
import pytest
from harmonic_rows import OTHER, TRAIN, as_pandas, frame, german, mixed, schema_of
from sdmetrics.single_table import NewRowSynthesis
from sklearn.metrics import roc_auc_score

from catalog.base.errors import CatalogError
from catalog.report.intervals import wilson
from stages.harmonic import privacy
from stages.harmonic.schema import learn


@pytest.fixture(scope="module")
def credit():
    return german()


def test_dcr_of_german_credit(credit):
    train, holdout, synthetic = credit[:400], credit[400:800], credit[800:]
    schema = learn(train, "credit", "class", "classification")
    found = privacy.dcr(synthetic, train, holdout, schema)
    golden = {"syn_train": (0.166295, 0.079668), "syn_holdout": (0.163574, 0.089472), "holdout_train": (0.169947, 0.093234)}
    for name, (median, fifth) in golden.items():
        assert found[f"{name}_median"] == pytest.approx(median, abs=1e-6)
        assert found[f"{name}_p05"] == pytest.approx(fifth, abs=1e-6)
    assert found["rows"]["syn_train"].mean() == pytest.approx(0.171463, abs=1e-6)
    assert (found["closer"], found["ties"], found["n"], found["copies"]) == (94, 0, 200, 0)
    assert privacy.nrs(synthetic, train, schema)["nrs"] == 1


# --- distance to closest record -----------------------------------------------------------------------------------------------------------


def test_dcr_by_hand():
    train = frame(x=[0, 10, 4], c=["a", "a", "a"])
    holdout = frame(x=[2, 9], c=["a", "a"])
    synthetic = frame(x=[0, 1, 8, 3.5], c=["a", "a", "a", "a"])
    schema = schema_of(train)
    found = privacy.dcr(synthetic, train, holdout, schema)
    rows = found["rows"]  # differences of x / 10 / 2 columns
    assert rows["syn_train"] == pytest.approx([0, 0.05, 0.1, 0.025])
    assert rows["syn_holdout"] == pytest.approx([0.1, 0.05, 0.05, 0.075])
    assert rows["holdout_train"] == pytest.approx([0.1, 0.05])
    assert rows["nndr"] == pytest.approx([0, 1 / 3, 0.5, 0.5 / 3.5])
    assert rows["nearest_train"].tolist() == [0, 0, 1, 2]
    assert (found["closer"], found["ties"], found["n"], found["copies"]) == (2, 1, 4, 1)
    assert found["closer_to_train"] == 0.625 and found["closer_expected"] == 0.6 and found["copy_rate"] == 0.25
    assert found["syn_train_median"] == pytest.approx(0.0375) and found["syn_train_p05"] == pytest.approx(0.15 * 0.025)
    assert found["syn_holdout_median"] == pytest.approx(0.0625) and found["syn_holdout_p05"] == pytest.approx(0.05)
    assert found["holdout_train_median"] == pytest.approx(0.075) and found["holdout_train_p05"] == pytest.approx(0.0525)
    assert found["nndr_median"] == pytest.approx((1 / 3 + 1 / 7) / 2)


def test_rounding_does_not_decide_ties():
    columns = {name: [0, 1] for name in "pqr"}
    train, holdout = frame(**columns, label=["u", "v"]), frame(p=[0.1], q=[0.2], r=[0.3], label=["u"])
    schema = schema_of(train)
    synthetic = frame(p=[0], q=[0], r=[0], label=["u"])
    near = frame(p=[0.3, 9], q=[0.2, 9], r=[0.1, 9], label=["u", "v"])
    found = privacy.dcr(synthetic, near, holdout, schema)
    assert found["rows"]["syn_train"] != found["rows"]["syn_holdout"]  # the same sum in another order
    assert (found["closer"], found["ties"], found["closer_to_train"]) == (0, 1, 0.5)


def test_a_copy_of_the_training_rows_is_found_by_every_score():
    train, holdout = mixed(60, 4), mixed(60, 5)
    schema = schema_of(train)
    train, holdout = train.unique(maintain_order=True), holdout.join(train, on=train.columns, how="anti", nulls_equal=True)
    found = privacy.dcr(train, train, holdout, schema)
    assert found["syn_train_median"] == found["syn_train_p05"] == found["nndr_median"] == 0
    assert found["copy_rate"] == found["closer_to_train"] == 1
    assert privacy.nrs(train, train, schema) == {"nrs": 0, "new": 0, "n": len(train)}
    members, others = (privacy.distance_scores(rows, train, schema) for rows in (train, holdout))
    assert not members.any() and others.max() < 0
    assert privacy.membership_auc(members, others) == privacy.tpr_at_fpr(members, others) == 1


def test_holdout_rows_are_not_closer_to_train():
    train, holdout = mixed(60, 4), mixed(60, 5)
    schema = schema_of(train)
    new = holdout.join(train, on=train.columns, how="anti", nulls_equal=True)
    found = privacy.dcr(new, train, holdout, schema)
    assert found["closer_to_train"] == found["copy_rate"] == 0 and found["syn_holdout_median"] == 0
    assert found["syn_train_median"] > 0
    independent = privacy.dcr(mixed(400, 6), train, holdout, schema)
    assert 0.4 < independent["closer_to_train"] < 0.6 and independent["closer_expected"] == 0.5


def test_two_equal_training_rows_are_as_near_as_each_other():
    train = frame(x=[1, 1, 5], label=["u", "u", "v"])
    found = privacy.dcr(frame(x=[1, 5], label=["u", "v"]), train, train, schema_of(train))
    assert found["rows"]["nndr"].tolist() == [1, 0]
    assert found["ties"] == 2 and found["closer_to_train"] == 0.5
    with pytest.raises(CatalogError, match="2 neighbours"):
        privacy.dcr(train, train[:1], train, schema_of(train))


def test_paper_dcr_by_hand():
    # Numbers (0, 2): mean 1, deviation 1, so -1 and 1; codes of b and d (0, 1) become -1 and 1.
    train = frame(id=[0, 1, 2, 3], x=[0, 2, 7, 7], c=["b", "d", "a", "a"])  # the rows that occur twice vanish
    synthetic = frame(id=[5, 6, 7], x=[100, 104, 102], c=["m", "m", None])
    found = privacy.dcr_paper(synthetic, train)
    assert (found["n_real"], found["n_syn"]) == (2, 3)
    assert found["real_real"] == pytest.approx(math.sqrt(8))
    # Synthetic numbers -s, s, 0 with s = sqrt(1.5); codes 1, 1 and 0 for missing: 1/sqrt(2) twice and -sqrt(2).
    s, m, o = math.sqrt(1.5), 1 / math.sqrt(2), -math.sqrt(2)
    third = math.hypot(s, m - o)
    assert found["syn_syn"] == pytest.approx(np.percentile([min(2 * s, third)] * 2 + [third], 5))
    first = min(math.hypot(-1 + s, -1 - m), math.hypot(-1, -1 - o))
    second = min(math.hypot(1 - s, 1 - m), math.hypot(1, 1 - o))
    assert found["real_syn"] == pytest.approx(np.percentile([first, second], 5))
    assert found["dcr"] == pytest.approx((found["real_syn"] + found["real_real"] + found["syn_syn"]) / 3)


def test_paper_dcr_does_not_see_rows_copied_twice():
    train = mixed(30, 7, gaps=False)
    assert privacy.dcr_paper(train, train)["real_syn"] == 0
    twice = pl.concat([train[:15], train[:15], mixed(15, 8, gaps=False)])
    found = privacy.dcr_paper(twice, train)
    assert found["n_syn"] == 15 and found["real_syn"] > 0
    with pytest.raises(CatalogError, match="synthetic table has 0 rows"):
        privacy.dcr_paper(pl.concat([train, train]), train)
    with pytest.raises(CatalogError, match="lacks the column label"):
        privacy.dcr_paper(train.drop("label"), train)


def test_paper_dcr_takes_missing_numbers_for_the_mean_and_missing_categories_for_the_first_level():
    train = frame(x=[0, 4, None], c=[None, "b", "c"])
    filled = frame(x=[0, 4, 2], c=["a", "b", "c"])
    other = frame(x=[0, 1, 5], c=["a", "b", "c"])
    assert privacy.dcr_paper(other, train) == pytest.approx(privacy.dcr_paper(other, filled))


# --- new rows -----------------------------------------------------------------------------------------------------------------------------


def test_nrs_by_hand():
    train = frame(x=[100, 0, None, -100], c=["a", "b", "a", "a"])
    schema = schema_of(train)
    for x, c, new in [(100.5, "a", 0), (102, "a", 1), (100.5, "b", 1), (0, "b", 0), (0.01, "b", 1), (None, "a", 0), (-99.5, "a", 0)]:
        assert privacy.nrs(frame(x=[x], c=[c]), train, schema) == {"nrs": new, "new": new, "n": 1}
    found = privacy.nrs(frame(x=[101.01, 98.9, 101], c=["a", None, "a"]), train, schema)
    assert found == {"nrs": 1 / 3, "new": 1, "n": 3}  # the tolerance is that of the synthetic number: 1.01 <= 1.0101
    assert privacy.nrs(frame(x=[102.0], c=["a"]), train, schema, tolerance=0.02)["nrs"] == 0


def test_nrs_equals_sdmetrics():
    train = mixed(80, 9)
    synthetic = pl.concat([train[:30].with_columns(pl.col("x") * 1.004), train[30:60].with_columns(pl.col("x") * 1.03), mixed(20, 10)])
    (train_pandas, kinds), (synthetic_pandas, _) = as_pandas(train), as_pandas(synthetic)
    expected = NewRowSynthesis.compute_breakdown(train_pandas, synthetic_pandas, kinds)
    found = privacy.nrs(synthetic, train, schema_of(train))
    assert found["new"] == expected["num_new_rows"] and found["nrs"] == pytest.approx(expected["score"])
    assert 20 < found["new"] < 50  # some of the rows that moved by 3 % have no x, so they match


# --- membership ---------------------------------------------------------------------------------------------------------------------------


def test_membership_auc_by_hand():
    assert privacy.membership_auc([3, 1], [2, 0]) == 0.75
    assert privacy.membership_auc([1, 1], [1]) == 0.5
    assert privacy.membership_auc([2, 1], [1, 0, 0]) == pytest.approx(5.5 / 6)
    assert privacy.membership_auc([0], [1]) == 0
    rng = np.random.default_rng(0)
    a, b = rng.integers(2, 12, 70), rng.integers(0, 10, 50)
    assert privacy.membership_auc(a, b) == pytest.approx(roc_auc_score([1] * 70 + [0] * 50, np.concatenate([a, b])))
    for bad in ([], [np.nan]):
        with pytest.raises(CatalogError, match="at least one member"):
            privacy.membership_auc(bad, [1])


def test_auc_interval_by_hand():
    # Members beat 1 and 0.5 of the others, others lose to 0.5 and 1 of the members: variance 0.125 / 2 + 0.125 / 2 = 0.125.
    low, high = privacy.auc_interval([3, 1], [2, 0])
    assert low == pytest.approx(0.75 - 1.959964 * math.sqrt(0.125)) and high == 1
    low, high = privacy.auc_interval([2, 0], [3, 1])
    assert low == 0 and high == pytest.approx(0.25 + 1.959964 * math.sqrt(0.125))
    rng = np.random.default_rng(1)
    a, b = rng.normal(0.5, 1, 40), rng.normal(0, 1, 70)
    # DeLong's variance from the matrix of comparisons.
    wins = (a[:, None] > b) + 0.0
    half = 1.959964 * math.sqrt(wins.mean(1).var(ddof=1) / 40 + wins.mean(0).var(ddof=1) / 70)
    assert privacy.auc_interval(a, b) == pytest.approx((wins.mean() - half, wins.mean() + half))
    assert privacy.auc_interval([2, 3, 4], [0, 1]) == wilson(2, 2) and privacy.auc_interval([0, 1], [2, 3, 4]) == wilson(0, 2)
    assert privacy.auc_interval([1, 1], [1, 1]) == (0.5, 0.5)
    with pytest.raises(CatalogError, match="at least two"):
        privacy.auc_interval([1], [0, 2])


def test_auc_interval_covers():
    rng, hits = np.random.default_rng(2), 0
    for _ in range(1000):
        low, high = privacy.auc_interval(rng.normal(1, 1, 50), rng.normal(0, 1, 50))
        hits += low <= 0.760250 <= high  # Phi(1 / sqrt(2))
    assert 0.92 < hits / 1000 < 0.975


def test_tpr_at_fpr_by_hand():
    others = np.arange(200.0)
    members = np.array([199.0, 198, 197.5, 197, 500])
    assert privacy.tpr_at_fpr(members, others) == 0.8  # two of 200 may be flagged: above 197
    assert privacy.tpr_at_fpr(members, others, 0.0) == 0.2
    assert privacy.tpr_at_fpr(members, np.arange(99.0) + 101) == 0.2  # fewer than 100: none may be flagged
    assert privacy.tpr_at_fpr([5, 5], [5, 5, 0], 0.5) == 0  # both fives or none
    assert privacy.tpr_at_fpr([70.5, 71.5, 69.5, 70], np.arange(100.0), 0.29) == 0.5  # 29 may be flagged, though .29 * 100 < 29
    assert privacy.tpr_at_fpr([0], [1], 1) == 1


def test_distance_scores_by_hand():
    schema = schema_of(TRAIN)
    assert privacy.distance_scores(TRAIN, OTHER, schema).tolist() == [-0.25, -0.5, -0.5, -0.5]
    assert privacy.distance_scores(OTHER[1:3], TRAIN[:2], schema).tolist() == [-0.5, -1]


def test_levatt_by_hand():
    real = ["age 35, amount 1169", "age 35, amount 1168", "age 3, amount 1169", "", "age 53, amount 1169"]
    found = privacy.levatt(real, ["age 35, amount 1169", "nothing", "age 35, amount 1169"])
    assert found.tolist() == [0, -1, -1, -7, -2]
    assert privacy.levatt(real, ["age 35, amount 1168"]).tolist()[:2] == [-1, 0]
    for texts in (([], ["a"]), (["a"], [])):
        with pytest.raises(CatalogError, match="at least one"):
            privacy.levatt(*texts)


def test_levatt_in_blocks_equals_a_plain_computation(monkeypatch):
    rng = np.random.default_rng(3)
    texts = ["".join(rng.choice(list("0123 ,"), rng.integers(1, 15))) for _ in range(60)]

    def plain(a: str, b: str) -> int:
        row = list(range(len(b) + 1))
        for i, x in enumerate(a, 1):
            last, row[0] = row[0], i
            for j, y in enumerate(b, 1):
                last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (x != y))
        return row[-1]

    monkeypatch.setattr(privacy, "CELLS", 10)
    expected = [-min(plain(a, b) for b in texts[40:]) for a in texts[:40]]
    assert privacy.levatt(texts[:40], texts[40:]).tolist() == expected


# --- likelihood ---------------------------------------------------------------------------------------------------------------------------


def test_dlt_by_hand():
    train, holdout, syn = (np.log([value]) for value in (3, 3.5, 3.2))
    found = privacy.dlt(train, holdout, syn)
    assert (found["dlt_paper"], found["dlt_gap"]) == pytest.approx((-0.2, 0.5))
    assert (found["dlt_gap_low"], found["dlt_gap_high"]) == pytest.approx((0.5, 0.5))
    assert found["nll_gap"] == pytest.approx(math.log(3.5 / 3)) and found["nll_syn"] == pytest.approx(math.log(3.2))
    found = privacy.dlt([2.0], [2.0], [0.0])
    assert found["ppl_train"] == pytest.approx(7.389056) and found["dlt_paper"] == pytest.approx(6.389056)
    assert found["dlt_paper_base2"] == pytest.approx(3)  # 2 ** 2 - 2 ** 0


def test_dlt_averages_after_the_exponential():
    found = privacy.dlt(np.log([2, 8]), np.log([4, 16]), np.log([1, 3]))
    assert (found["ppl_train"], found["ppl_holdout"], found["ppl_syn"]) == pytest.approx((5, 10, 2))
    assert (found["dlt_paper"], found["dlt_gap"]) == pytest.approx((3, 5))
    assert found["nll_train"] == pytest.approx(math.log(4)) and found["nll_gap"] == pytest.approx(math.log(2))
    found = privacy.dlt([1, 3], [0, 0], [2, 4])
    assert found["dlt_paper_base2"] == (2 + 8) / 2 - (4 + 16) / 2
    for bad in ([], [np.inf], [[1.0]]):
        with pytest.raises(CatalogError, match="holdout row"):
            privacy.dlt([1], bad, [1])


def test_difference_interval():
    rng = np.random.default_rng(4)
    a, b = rng.normal(1, 1, 80), rng.normal(0, 2, 120)
    low, high = privacy.difference_interval(a, b)
    middle, half = a.mean() - b.mean(), 1.96 * math.sqrt(a.var() / 80 + b.var() / 120)
    assert (low, high) == pytest.approx((middle - half, middle + half), abs=0.05)
    assert privacy.difference_interval(a, b) == (low, high) != privacy.difference_interval(a, b, seed=1)
    assert privacy.difference_interval([1, 1], [3]) == (-2, -2)
    found = privacy.dlt(b, a, b)
    assert (found["nll_gap_low"], found["nll_gap_high"]) == privacy.difference_interval(a, b)
    assert (found["dlt_gap_low"], found["dlt_gap_high"]) == privacy.difference_interval(np.exp(a), np.exp(b))


def test_chunks_of_the_bootstrap_do_not_change_the_size_of_the_interval(monkeypatch):
    a, b = np.random.default_rng(5).normal(size=(2, 90))
    whole = privacy.difference_interval(a, b)
    monkeypatch.setattr(privacy, "CELLS", 40)
    assert privacy.difference_interval(a, b) == whole


# --- attribute disclosure -----------------------------------------------------------------------------------------------------------------


def test_attribute_disclosure_by_hand():
    synthetic = frame(x=[0, 10, 20], job=["a", "b", "b"], secret=["s", "t", "s"], label=["u", "v", "u"])
    train = frame(x=[1, 11, 21, 0], job=["a", "b", "b", "a"], secret=["s", "t", "s", None], label=["v", "u", "v", "v"])
    holdout = frame(x=[2, 12], job=["a", "b"], secret=["s", "s"], label=["u", "u"])
    schema = schema_of(train)
    found = privacy.attribute_disclosure(synthetic, train, holdout, schema, "secret", ["x", "job"])
    assert (found["train_right"], found["train_n"], found["holdout_right"], found["holdout_n"]) == (3, 3, 1, 2)
    assert (found["train_share"], found["holdout_share"], found["advantage"]) == (1, 0.5, 0.5)
    found = privacy.attribute_disclosure(synthetic, train, holdout, schema, "secret", ["job", "x"], k=3)
    assert (found["train_right"], found["holdout_right"]) == (2, 2)  # two of three are s, for everybody
    found = privacy.attribute_disclosure(synthetic, train, holdout, schema, "secret", ["x"], k=2)
    assert (found["train_right"], found["holdout_right"]) == (3, 1)  # one vote each: the nearest decides


def test_attribute_disclosure_ends_of_scale():
    rng = np.random.default_rng(6)

    def rows(n: int) -> pl.DataFrame:
        x = rng.normal(size=n)
        return frame(x=x.tolist(), secret=rng.choice(list("abcd"), n).tolist(), rule=np.where(x > 0, "high", "low").tolist())

    train, holdout, fresh = rows(300), rows(300), rows(300)
    schema = schema_of(train)
    copied = privacy.attribute_disclosure(train, train, holdout, schema, "secret", ["x"])
    assert copied["train_share"] == 1 and copied["holdout_share"] < 0.4 and copied["advantage"] > 0.6
    learnt = privacy.attribute_disclosure(fresh, train, holdout, schema, "rule", ["x"])
    assert learnt["train_share"] > 0.95 and abs(learnt["advantage"]) < 0.03  # what holds for everybody is not disclosure


def test_attribute_disclosure_refuses():
    table = mixed(20, 11)
    schema = schema_of(table)
    for sensitive, known, match in [
        ("x", ["letter"], "is a number"),
        ("letter", ["letter", "x"], "leave it out"),
        ("letter", ["age"], "no column 'age'"),
        ("letter", [], "at least one column"),
    ]:
        with pytest.raises(CatalogError, match=match):
            privacy.attribute_disclosure(table, table, table, schema, sensitive, known)
