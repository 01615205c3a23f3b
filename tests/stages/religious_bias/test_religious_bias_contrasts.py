"""Intervals of religious_bias worked out by hand: differences of twins, extremes of several means, Student's t for a few frames."""

import numpy as np
import polars as pl
import pytest

from stages.religious_bias import contrasts, image_tables, tables
from stages.religious_bias.dataset import RELIGIONS


def test_bridge_interval_by_hand():
    """Sizes 1, 1, 2, 4 fall to 1, 0, 1, 2: by half. What is left over half, .5, -.5, 0, 0, has a standard deviation of sqrt(1 / 6)."""
    rows = [("none", i, a, b) for i, (a, b) in enumerate([(1.0, 1.0), (1.0, 0.0), (2.0, 1.0), (4.0, 2.0)])]
    signals_ = pl.DataFrame(
        [("m", method, 0, None, "neutral", f"f{i}", d) for _, i, a, b in rows for method, d in (("none", a), ("edit", b))],
        schema=["model", "method", "half", "neurons", "stem", "frame", "d"], orient="row", schema_overrides={"neurons": pl.Int32},
    )  # fmt: skip
    text = pl.DataFrame({"model": ["m"], "method": ["edit"], "nll": [0.0], "tokens": [1]})
    (found,) = image_tables.bridge(signals_, text).filter(method="edit").to_dicts()
    half = 3.182 * (1 / 6) ** 0.5 / 4**0.5 / 2  # standard error over the mean before, which is 2
    assert (found["drop"], found["drop_low"], found["drop_high"]) == pytest.approx((0.5, 0.5 - half, 0.5 + half), abs=1e-3)
    assert found["ci_low"] == 0  # Student's interval of 1, 0, 1, 2 goes below 0, where no mean of sizes is


def test_twins_of_one_frame_are_averaged():
    """Frame a has two twins, b one: their means are 2 and 4 for Islam, and not (1 + 3 + 4) / 3."""
    rows = [("a", "a1", "islam", 1.0), ("a", "a2", "islam", 3.0), ("b", "b1", "islam", 4.0), ("a", "a1", "judaism", 5.0)]
    scores = pl.DataFrame(rows, schema=["frame", "template", "religion", "value"], orient="row")
    found = tables.by_frame(
        scores.with_columns(model=pl.lit("m"), task=pl.lit("cross"), score=pl.lit("polarity"), condition=pl.lit("none"))
    )
    values = {(r["template"], r["religion"]): r["value"] for r in found.iter_rows(named=True)}
    assert values == {("a", "islam"): 2.0, ("b", "islam"): 4.0, ("a", "judaism"): 5.0}


def test_student_interval_by_hand():
    """Mean 1, standard deviation 2 / sqrt(3), so a standard error of 1 / sqrt(3); the quantile of t with 3 degrees of freedom is 3.182."""
    values = np.array([0.0, 0.0, 2.0, 2.0])
    assert tables.t_interval(values) == pytest.approx((1 - 3.182 / 3**0.5, 1 + 3.182 / 3**0.5), abs=1e-3)
    assert tables.t_interval(values[:1]) == (None, None)


def test_the_interval_of_an_extreme_is_simultaneous():
    """Two columns: t of 3 degrees of freedom at the level .975 is 4.177. The largest mean is 1; the largest low end is the constant."""
    values = np.array([[0.0, 0.5], [0.0, 0.5], [2.0, 0.5], [2.0, 0.5]])
    value, low, high = contrasts.extreme(values, max)
    assert (value, low) == (1, 0.5) and high == pytest.approx(1 + 4.177 / 3**0.5, abs=1e-3)
    assert contrasts.extreme(values, min) == pytest.approx((0.5, 1 - 4.177 / 3**0.5, 0.5), abs=1e-3)


def test_the_largest_of_equal_means_is_seldom_called_above_zero():
    """Six columns of noise: their largest mean, taken anew in every resample, has its low end above 0 in a quarter of such worlds."""
    rng = np.random.default_rng(0)
    false = [contrasts.extreme(rng.normal(size=(40, 6)), max)[1] > 0 for _ in range(300)]
    assert np.mean(false) < 0.05


def test_the_largest_difference_of_two_columns_by_hand():
    """Differences of the three pairs: -1 each time (no spread), -3, 1, 1, -3 (mean -1, standard deviation 4 / sqrt 3), and -2, 2, 2, -2.
    The largest size is 1, with the low end of the pair without spread and the high end of the second: t of 3 at 1 - .05 / 3 is 4.857."""
    values = np.array([[0.0, 1.0, 3.0], [0.0, 1.0, -1.0], [0.0, 1.0, -1.0], [0.0, 1.0, 3.0]])
    value, low, high = contrasts.largest_difference(values)
    assert (value, low) == (1, 1) and high == pytest.approx(1 + 4.857 * (4 / 3**0.5) / 2, abs=1e-2)


def test_the_largest_of_no_differences_is_seldom_called_above_zero():
    """Five columns of noise in four frames: the mean of the largest difference is above 0, its low end seldom is."""
    rng = np.random.default_rng(0)
    found = np.array([contrasts.largest_difference(rng.normal(size=(4, 5))) for _ in range(300)])
    assert found[:, 0].min() > 0 and np.mean(found[:, 1] > 0) <= 0.05 and found[:, 2].min() > 0


def test_cross_domain_differences_are_paired_by_frame():
    """Islam is 2 above the others in each of four frames, whatever the frame adds; prompts with a mitigation take no part."""
    frame = pl.DataFrame({"frame": list("abcd"), "level": [0.0, 5.0, -3.0, 1.0]})
    scores = frame.join(pl.DataFrame({"religion": RELIGIONS}), how="cross").with_columns(
        model=pl.lit("m"), task=pl.lit("cross"), score=pl.lit("polarity"), template=pl.col("frame"),
        value=pl.col("level") + pl.when(pl.col("religion") == "islam").then(2.0).otherwise(0.0),
    )  # fmt: skip
    asked = scores.with_columns(condition=pl.lit("none"))
    other = scores.with_columns(condition=pl.lit("instruction"), value=pl.lit(100.0))
    ((model, _, *numbers, n),) = contrasts.crossed(pl.concat([asked, other]))
    assert model == "m" and numbers == pytest.approx([2, 2, 2]) and n == 4


def test_the_least_favourable_of_several_is_taken():
    each = pl.DataFrame({"frame": list("abcdef")}).join(pl.DataFrame({"religion": RELIGIONS}), how="cross")
    each = each.join(pl.DataFrame({"stem": ["negative", "positive"]}), how="cross").with_columns(condition=pl.lit("none"))
    raised = (pl.col("stem") == "negative") & (pl.col("religion") == "islam")
    masks = pl.concat([each.with_columns(model=pl.lit(m), logp=raised * pl.lit(up) - 1.0) for m, up in (("one", 2.0), ("two", -0.5))])
    found = {name: value for _, name, value, *_ in contrasts.every_masked(masks, ["one", "two"])}
    assert list(found.values()) == pytest.approx([-0.5, 0.0, 0.0])  # and another religion has 0 at most; never the largest under both
    found = {name: value for _, name, value, *_ in contrasts.every_masked(masks, ["one"])}
    assert list(found.values()) == pytest.approx([2.0, 0.0, 1.0])
    scores = pl.DataFrame(
        [
            ("m", "completion", "negative share", condition, "neutral", religion, f"t{i}", False, 0.5 - fall)
            for condition, fall in (("none", 0.0), ("positive_term", 0.3), ("instruction", 0.1)) for i in range(4) for religion in RELIGIONS
        ],
        schema=["model", "task", "score", "condition", "stem", "religion", "template", "twin", "value"], orient="row",
    ).with_columns(utility=pl.lit(1.0))  # fmt: skip
    mean, least = contrasts.mitigated(scores)
    assert mean[1] == "completion, mean change over both prompts" and mean[2:] == pytest.approx((-0.2, -0.2, -0.2, 4))
    assert least[2:] == pytest.approx((-0.1, -0.1, -0.1, 4))
