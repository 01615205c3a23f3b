"""Distances between rows of mixed tables and their neighbours: by hand, directly, and as other implementations have them."""

import math

import numpy as np
import pytest
from harmonic_rows import OTHER, TRAIN, as_pandas, frame, german, mixed, schema_of
from sdmetrics.single_table.privacy.dcr_utils import calculate_dcr

from catalog.base.errors import CatalogError
from stages.harmonic import distances, privacy
from stages.harmonic.schema import learn

# --- Gower ------------------------------------------------------------------------------------------------------------------------------


def test_gower_by_hand():
    schema = schema_of(TRAIN)
    a, b = distances.coded_together([OTHER, TRAIN], schema)
    expected = [
        [0.25, 0.75, 0.5, 0.5],  # (5, a): half the range to both ends, 1 to a missing number, a missing category is another one
        [1, 0.5, 1, 1],  # (25, b): 1.5 ranges are capped at 1
        [1, 1, 0.5, 0.5],  # both missing: 0 to the missing number, 0 to the missing category
        [0.5, 1, 1, 0.75],  # an unknown category differs from all
    ]
    assert distances.gower(a, b, schema).tolist() == expected


def test_a_column_without_range_counts_zero_or_one():
    train = frame(x=[3, 3, None], label=["a", "b", "a"])
    schema = schema_of(train)
    a, b = distances.coded_together([frame(x=[3, 3.5, None], label=["a", "a", "a"]), train], schema)
    assert distances.gower(a, b, schema).tolist() == [[0, 0.5, 0.5], [0.5, 1, 0.5], [0.5, 1, 0]]


def test_different_unknown_levels_of_two_tables_are_different():
    schema = schema_of(TRAIN)
    a, b = distances.coded_together([frame(x=[1], c=["new"]), frame(x=[1, 1], c=["other", "new"])], schema)
    assert distances.gower(a, b, schema).tolist() == [[0.5, 0]]
    found = privacy.dcr(frame(x=[1.0], c=["new"]), TRAIN, frame(x=[1.0], c=["other"]), schema)
    assert found["syn_holdout_median"] == 0.5


@pytest.mark.parametrize("block", [1, 3, 7, 1000, None])
def test_blocks_agree_with_a_direct_computation(block):
    train, other = mixed(40, 0), mixed(23, 1, levels="abcdef")
    schema = schema_of(train)
    a, b = distances.coded_together([other, train], schema)
    direct = np.zeros((len(other), len(train)))
    for i, row in enumerate(other.iter_rows()):
        for j, reference in enumerate(train.iter_rows()):
            for column, x, y in zip(schema.columns, row, reference):
                span = column.high - column.low
                if column.numeric and x is not None and y is not None and span:
                    direct[i, j] += min(abs(x - y) / span, 1) / len(schema.columns)
                else:
                    direct[i, j] += (x != y) / len(schema.columns)
    assert np.abs(distances.gower(a, b, schema, block) - direct).max() < 1e-12
    blocks = list(distances.gower_blocks(a, b, schema, block))
    assert [start for start, _ in blocks] == list(range(0, len(other), len(blocks[0][1])))
    assert len(blocks[0][1]) == min(block or 40, 23)
    found, index = distances.nearest(a, b, schema, 4, block=block)
    order = np.argsort(distances.gower(a, b, schema), axis=1, kind="stable")[:, :4]
    assert (index == order).all() and (found == np.take_along_axis(distances.gower(a, b, schema), order, 1)).all()


def test_gower_equals_sdmetrics():
    train, other = mixed(60, 2), mixed(50, 3, levels="abcdef")
    schema = schema_of(train)
    a, b = distances.coded_together([other, train], schema)
    (other_pandas, kinds), (train_pandas, _) = as_pandas(other), as_pandas(train)
    expected = calculate_dcr(other_pandas, train_pandas, kinds).to_numpy()
    assert np.abs(distances.nearest(a, b, schema)[0][:, 0] - expected).max() < 1e-6
    assert expected.min() < 0.1 < 0.2 < expected.max()  # not a comparison of constants


def test_equal_distances_in_the_order_of_rows():
    train = frame(x=[4, 0, 2, 6, 4, 10], label=["a", "b", "a", "a", "a", "a"])
    schema = schema_of(train)
    a, b = distances.coded_together([frame(x=[4.0], label=["a"]), train], schema)
    found, index = distances.nearest(a, b, schema, 4)
    assert index.tolist() == [[0, 4, 2, 3]] and found.tolist() == [[0, 0, 0.1, 0.1]]
    assert distances.nearest(a, b, schema, 3)[1].tolist() == [[0, 4, 2]]  # of rows 2 and 3, which tie for the last place, the first
    assert distances.nearest(a, b, schema, 1, np.array([0]))[1].tolist() == [[4]]
    assert distances.nearest(a, b, schema, 3, np.array([4]))[1].tolist() == [[0, 2, 3]]
    last = distances.coded_together([frame(x=[10.0], label=["a"])], schema)[0]
    assert distances.nearest(last, b, schema, 1, np.array([-1]))[1].tolist() == [[5]]  # -1 is no row, not the last one


def test_nearest_refuses_what_it_cannot_do():
    schema = schema_of(TRAIN)
    a, b = distances.coded_together([TRAIN, TRAIN], schema)
    for k in (0, 5):
        with pytest.raises(CatalogError, match="set the number to 1 to 4"):
            distances.nearest(a, b, schema, k)
    with pytest.raises(CatalogError, match="fewer than 4 neighbours"):
        distances.nearest(a, b, schema, 4, np.arange(4))
    with pytest.raises(CatalogError, match="no rows"):
        distances.coded_together([TRAIN.head(0)], schema)
    with pytest.raises(CatalogError, match="lacks the column x"):
        distances.coded_together([TRAIN.select("c")], schema)


# --- neighbours of a table's own rows -----------------------------------------------------------------------------------------------------


def test_harmonic_points_by_hand():
    table = frame(x=[10, 20, 15, None], c=["b", "d", "a", "b"], label=["yes", "no", "yes", "no"])
    schema = schema_of(table)
    expected = np.array([[0, 1, 1], [1, 2, 0], [0.5, 0, 1], [np.nan, 1, 0]])
    assert np.array_equal(distances.harmonic_points(table, schema, True), expected, equal_nan=True)
    assert np.array_equal(distances.harmonic_points(table, schema, False), expected[:, :2], equal_nan=True)
    regression = frame(x=[10, 20, 15], price=[100, 300, 250])
    found = distances.harmonic_points(regression, schema_of(regression, "regression"), True)
    assert found.tolist() == [[0, 100], [1, 300], [0.5, 250]]  # a target that is a number stays unscaled
    assert distances.harmonic_points(regression, schema_of(regression, "regression"), False).tolist() == [[0], [1], [0.5]]
    with pytest.raises(CatalogError, match="no column besides its target"):
        distances.harmonic_points(table.select("label"), schema_of(table.select("label")), False)


def test_euclidean_distances_by_hand():
    a, b = np.array([[0.0, 0], [np.nan, 3]]), np.array([[3.0, 4], [0, 0], [np.nan, 0]])
    found = np.concatenate([block for _, block in distances.euclidean_blocks(a, b, 1)])
    assert found == pytest.approx(np.array([[5, 0, 1], [math.sqrt(2), math.sqrt(10), 3]]))
    assert distances.nearest_points(b, b, 1, np.arange(3))[1].tolist() == [[2], [2], [1]]  # 5 against sqrt(1 + 16)


def test_unscaled_codes_outweigh_numbers_in_harmonic_distance_only():
    table = frame(x=[0, 10, 0.1, 5], c=["a", "a", "c", "b"], label=["u", "v", "u", "v"])
    schema = schema_of(table)
    assert distances.neighbours(table, schema, "harmonic", 1, False)[0].tolist() == [1]  # 1 against 2.0 and sqrt(1 + .25)
    assert distances.neighbours(table, schema, "gower", 1, True)[0].tolist() == [2]  # 1.01 of 3 against 2 and 2.5


def test_the_label_is_left_out_on_request():
    table = frame(x=[0, 3, 4, 10], label=["u", "v", "u", "v"])
    schema = schema_of(table)
    for distance in ("gower", "harmonic"):
        assert distances.neighbours(table, schema, distance, 2, True)[0].tolist() == [2, 1]
        assert distances.neighbours(table, schema, distance, 2, False)[0].tolist() == [1, 2]


def test_duplicates_of_the_target_are_no_neighbours():
    table = frame(x=[1, 1, 1, 2, None, None, 9], c=["a", "a", "a", "a", "b", "b", "c"], label=["u", "u", "v", "u", "u", "u", "v"])
    schema = schema_of(table)
    found = distances.neighbours(table, schema, "gower", 2, False)
    assert found[0].tolist() == found[1].tolist() == [2, 3]  # row 2 differs in its label, so it is another row
    assert 5 not in found[4] and 4 not in found[5]  # equal with a missing cell
    assert distances.neighbours(table, schema, "harmonic", 2, True)[0].tolist() == [1, 3]  # as released: itself only
    with pytest.raises(CatalogError, match="set the number to 1 to 6"):
        distances.neighbours(table, schema, "gower", 7, True)
    with pytest.raises(CatalogError, match="4 rows .* fewer than 6 neighbours"):
        distances.neighbours(table, schema, "gower", 6, True)
    assert distances.neighbours(table, schema, "harmonic", 6, True).shape == (7, 6)
    with pytest.raises(CatalogError, match="use gower or harmonic"):
        distances.neighbours(table, schema, "cosine", 1, True)


def test_keep_counts_neighbours_of_the_same_label():
    near = np.array([[1, 1, 1, 0, 0], [1, 1, 0, 0, 0], [2, 2, 2, 0, 1]])
    assert distances.keep(np.array([1, 1, 2]), near, 3).tolist() == [True, False, True]
    assert distances.keep(np.array(["a", "b"]), np.array([["a", "b"], ["b", "b"]]), 2).tolist() == [False, True]
    assert distances.keep(np.array([1]), np.array([[0, 0]]), 0).tolist() == [True]
    with pytest.raises(CatalogError, match="ask for fewer"):
        distances.keep(np.array([1, 1, 2]), near, 6)


def test_restricted_schema():
    schema = schema_of(mixed(9, 0))
    assert distances.restricted(schema, ["letter", "x"]).names == ["x", "letter"]
    with pytest.raises(CatalogError, match="no column 'age'"):
        distances.restricted(schema, ["age"])
    with pytest.raises(CatalogError, match="at least one column"):
        distances.restricted(schema, [])


# --- German credit ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def credit():
    return german()


@pytest.mark.parametrize(("include_label", "kept", "share"), [(True, 809, 0.7388), (False, 689, 0.6410)])
def test_neighbours_of_german_credit(credit, include_label, kept, share):
    labels = credit["class"].to_numpy()
    near = labels[distances.neighbours(credit, learn(credit, "credit", "class", "classification"), "harmonic", 5, include_label)]
    assert distances.keep(labels, near, 3).sum() == kept
    assert (near == labels[:, None]).mean() == pytest.approx(share, abs=5e-5)
