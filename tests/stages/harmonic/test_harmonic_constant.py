"""A constant column counts for nothing, whatever number it holds.

The mean of 700 times 0.1 is not 0.1 in floating point, so the column's standard deviation is 2.8e-17 and not 0. Every number below must
be what it is where the column holds 5.0, whose mean and deviation are exact, or where there is no such column.
"""

import numpy as np
import polars as pl
import pytest
from harmonic_frames import SMALL_GRIDS, mixed

from stages.harmonic import baselines, fidelity, predictions, privacy, utility
from stages.harmonic.distances import neighbours
from stages.harmonic.schema import learn, scale

ROWS, NEW, TEST = mixed(700, 0), mixed(700, 1), mixed(300, 2)


def with_constant(rows: pl.DataFrame, value: float) -> pl.DataFrame:
    return rows.select(pl.lit(value).alias("same"), *rows.columns)


def test_a_column_is_constant_when_its_largest_value_is_its_smallest():
    tenths = np.full(700, 0.1)
    assert 0 < tenths.std() < 1e-16  # what makes the difference
    centre, spread = scale(np.stack([tenths, np.r_[0.1, np.full(699, 0.3)], [1.0, 3.0] * 350], axis=1))
    assert (centre[0], spread[0]) == (0.1, 1.0) and (centre[2], spread[2]) == (2.0, 1.0)
    assert spread[1] == pytest.approx(0.2 * 699**0.5 / 700)  # one other value among 700 is no constant


def test_the_released_dcr_of_a_table_with_a_constant():
    found = [privacy.dcr_paper(with_constant(NEW, k), with_constant(ROWS, k)) for k in (0.1, 5.0)]
    assert found[0] == pytest.approx(found[1]) and found[0] == pytest.approx(privacy.dcr_paper(NEW, ROWS))
    gap = pl.when(pl.int_range(pl.len()) % 3 == 0).then(None).otherwise("same")  # filled with the mean, which is 0.1 as well
    gaps = [privacy.dcr_paper(*(with_constant(rows, k).with_columns(same=gap) for rows in (NEW, ROWS))) for k in (0.1, 5.0)]
    assert gaps[0] == pytest.approx(gaps[1])


def test_classifiers_do_not_see_a_constant():
    tables = [[with_constant(rows, k) for rows in (ROWS, NEW, TEST)] for k in (0.1, 5.0)]
    schemas = [learn(frames[0], "t", "label", "classification") for frames in tables]
    encoded = [utility.encode(frames[0], schema)(frames[2]) for frames, schema in zip(tables, schemas)]
    assert (encoded[0][:, 0] == 0).all() and np.abs(encoded[0]).max() < 10 and encoded[0] == pytest.approx(encoded[1])
    tenths, fives = (utility.strict(*frames, schema) for frames, schema in zip(tables, schemas))
    for kind in utility.CLASSIFIERS:
        assert predictions.mean(tenths, "mcc", [kind]) == pytest.approx(predictions.mean(fives, "mcc", [kind]), abs=0.02)
        assert predictions.mean(tenths, "mcc", [kind]) > 0.5
    released = [utility.paper(frames[1], frames[2], schema, grids=SMALL_GRIDS) for frames, schema in zip(tables, schemas)]
    assert predictions.mean(released[0], "mcc", ["rf", "xgb"]) == predictions.mean(released[1], "mcc", ["rf", "xgb"])


def test_a_regression_on_a_constant_target_is_that_constant():
    rows = pl.DataFrame({"x": np.arange(700.0), "y": np.full(700, 0.1)})
    found = utility.strict(rows, rows, rows, learn(rows, "t", "y", "regression"))
    for kind in utility.REGRESSORS:
        assert found.predictions[kind].predicted == pytest.approx(0.1)


@pytest.mark.parametrize("make", [baselines.smote, baselines.copula, baselines.cart, baselines.marginals])
def test_generators_repeat_a_constant_and_make_the_rest_as_without_it(make):
    tables = [with_constant(ROWS.head(200), k) for k in (0.1, 5.0)]
    tenths, fives = (make(rows, learn(rows, "t", "label", "classification"), 100, 0) for rows in tables)
    assert (tenths["same"] == 0.1).all() and (fives["same"] == 5.0).all()
    assert tenths.drop("same").equals(fives.drop("same"))


def test_distances_and_likeness_with_a_constant():
    found = []
    for k in (0.1, 5.0):
        rows, new = with_constant(ROWS.head(150), k), with_constant(NEW.head(150), k)
        schema = learn(rows, "t", "label", "classification")
        near = neighbours(rows, schema, "harmonic", 3, True).tolist()
        like = fidelity.quality(rows, new, schema)
        found.append((near, like["column_shapes"], like["pair_trends"], fidelity.detection(rows, new, schema)["auc"]))
    assert found[0][0] == found[1][0] and found[0][1:] == pytest.approx(found[1][1:])
