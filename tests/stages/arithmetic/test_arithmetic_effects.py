"""Differences that the claims of arithmetic rest on: intervals and pairs by hand, on signals of the shape that the stages write."""

import numpy as np
import polars as pl
import pytest
from arithmetic_signals import LAYERS, MODEL, signals

from catalog.base.params import profile_params
from stages.arithmetic import effects
from stages.arithmetic.settings import Params

SMALL = profile_params(Params, "arithmetic", "small")


def found(rows, **label):
    """The one row with these labels."""
    (row,) = [row for row in rows if label.items() <= row.items()]
    return row


# --- intervals -----------------------------------------------------------------------------------------------------------------


def test_adjusted_wald_by_hand():
    # nothing lost or won in eight: (0 + 1) / 10 on both sides, 1.96 sqrt(.2 / 10)
    assert effects.adjusted_wald(0, 0, 8) == pytest.approx((-0.277181, 0.277181), abs=1e-6)
    # seven of eight: .8 - .1, 1.96 sqrt((.9 - .49) / 10); the upper end is cut
    assert effects.adjusted_wald(7, 0, 8) == pytest.approx((0.303137, 1.0), abs=1e-6)
    low, high = effects.adjusted_wald(0, 0, 8, 0.975)
    assert high == pytest.approx(2.241403 * 0.02**0.5, abs=1e-6) and low == -high


def test_a_difference_of_lost_and_kept_never_has_an_interval_of_no_width():
    assert effects.difference([1, 0, 0, -1]) == pytest.approx((0.0, *effects.adjusted_wald(1, 1, 4)))
    value, low, high = effects.difference(np.ones(5))
    assert (value, high) == (1.0, 1.0) and low < 0.5
    value, low, high = effects.difference([0.5, -0.25, 0.0, 0.75])  # means of several heads: a bootstrap, within the items
    assert value == 0.25 and -0.25 <= low < value < high <= 0.75


def test_student_by_hand():
    assert effects.student(np.array([1.0, 2.0, 3.0])) == pytest.approx((2.0, 2 - 2.484138, 2 + 2.484138), abs=1e-5)  # 4.302653 / sqrt(3)
    assert effects.student(np.array([1.0])) is None


def test_relative_fall_by_hand():
    value, low, high = effects.relative(np.array([2, 1, 1]), np.array([1, 1, 0]))
    assert value == 0.5 and 0.0 <= low < 0.5 < high <= 1.0
    assert effects.relative(np.zeros(3), np.zeros(3)) is None
    assert effects.relative(np.ones(3), np.ones(3)) is None  # no resample differs


# --- pairs ---------------------------------------------------------------------------------------------------------------------


def test_the_best_head_is_the_scans_and_heads_of_operations_are_measured_apart():
    rows = effects.of_heads(signals()[0], 2)
    best = found(rows, experiment="head_scan", metric="accuracy_drop_abs")
    # of the scan's two best the second (3, 1) costs more over all; it takes every second answer of two operations, a random head none
    assert (best["difference"], best["n"]) == (0.25, 16)
    assert (best["low"], best["high"]) == pytest.approx(effects.adjusted_wald(4, 0, 16))
    nats = found(rows, experiment="head_scan", metric="logprob_drop")
    assert nats["difference"] == pytest.approx((2.0 + 0.05) / 2 - 0.5 / 6)
    for op in "+-*/":
        own = found(rows, experiment="head_study", split=op)
        assert (own["difference"], own["n"], own["level"]) == (0.5, 6, 0.9875)
        assert own["low"] == pytest.approx(effects.adjusted_wald(3, 0, 6, 0.9875)[0])


def test_digits_are_resampled_by_problem():
    raw = signals()[0]
    rows = effects.of_digits(raw)
    assert found(rows, split="+", method="memorise")["difference"] == pytest.approx(1 / 3)
    assert not [row for row in rows if row["metric"] == "accuracy_drop_rel"]  # both kinds fall together in every resample
    lost = (pl.col("operation") == "+") & (pl.col("type") == "change-one") & (pl.col("id") == 1)
    raw["memorise"] = raw["memorise"].with_columns(after=pl.when(lost).then(False).otherwise("after"))
    apart = found(effects.of_digits(raw), split="+", metric="accuracy_drop_rel")
    assert apart["difference"] == pytest.approx(1 / 3 - 2 / 3) and apart["n"] == 3
    assert (apart["low"], apart["high"]) == pytest.approx((-1.0, 0.0))  # the second problem drawn three times, or never


def test_neurons_and_their_controls_meet_by_case():
    raw = signals()[0]
    rows = effects.of_neurons(raw)
    expected = {"mask": 0.5, "keep": 0.5, "coef": -0.2, "lowest": -0.1}
    assert {p: found(rows, method=f"{p} top 99")["difference"] for p in expected} == pytest.approx(expected)
    assert found(rows, method="mask top 99")["n"] == 8
    for m, level in enumerate((0.95, 0.95, 0.975, 0.975)):
        assert (found(rows, method=f"count > {m}")["difference"], found(rows, method=f"count > {m}")["level"]) == (0.5, level)
    raw["verify"] = raw["verify"].sort("control", "case", descending=[True, True])  # the order of rows says nothing
    assert found(effects.of_neurons(raw), method="coef top 99")["difference"] == pytest.approx(-0.2)


def test_loras_and_pruned_models_meet_by_problem():
    _, tuned, coefficients, _ = signals()
    rows = effects.of_loras(tuned, coefficients, MODEL, LAYERS) + effects.of_pruning(
        tuned.sample(fraction=1, shuffle=True, seed=1), MODEL, 1
    )
    assert found(rows, experiment="lora", against="none")["difference"] == 0.75
    assert found(rows, experiment="lora", against="LoRA on deep layers")["difference"] == 0.375
    raised = found(rows, experiment="lora_cna", split="top 50")
    assert (raised["difference"], raised["low"]) == pytest.approx((0.4, 0.4 - 0.248414), abs=1e-5)
    pruned = found(rows, experiment="prune", metric="accuracy")
    assert (pruned["difference"], pruned["low"]) == pytest.approx((0.375, effects.adjusted_wald(3, 0, 8)[0]))
    assert found(rows, experiment="prune", metric="accuracy_drop_rel")["difference"] == pytest.approx(1 / 6)


def test_same_head_is_true_in_all_resamples_or_in_none():
    rows = effects.by_prompt(signals()[0], 2)
    (row,) = effects.same_head(rows)
    assert (row["share"], row["n"]) == (1.0, 16)
    swapped = rows.with_columns(head=pl.when(pl.col("operation") == "-").then(1 - pl.col("head")).otherwise("head"))
    swapped = swapped.with_columns(layer=pl.when(pl.col("operation") == "-").then(5 - pl.col("layer")).otherwise("layer"))
    assert effects.same_head(swapped)[0]["share"] == 0.0  # subtraction rests on (3, 1) then, addition on (2, 0)
