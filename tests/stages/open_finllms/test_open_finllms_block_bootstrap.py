"""Circular block bootstrap: every day drawn equally often, length kept, pairs on the same days, and coverage."""

from itertools import product

import numpy as np
import pytest

from catalog.base.errors import CatalogError
from stages.open_finllms.block_bootstrap import block_length, difference, interval, resamples, sharpe, wrapped
from stages.open_finllms.trading_metrics import log_metrics, simple_metrics

ENDS = np.array([0.10, 0, 0, 0, 0.10])


def mean(r: np.ndarray) -> np.ndarray:
    return r.mean(axis=-1)


def test_blocks_wrap_so_that_every_day_is_drawn_equally_often():
    starts = np.array(list(product(range(5), repeat=2)))  # every choice of two blocks
    days = wrapped(starts, 3, 5)
    assert days.shape == (25, 5)  # two blocks of three make six days, cut to five
    assert np.bincount(days.ravel()).tolist() == [25] * 5
    assert ENDS[days].mean() == pytest.approx(0.04)
    # Blocks that do not wrap begin on three days only, weigh the days 1:2:3:2:1, and expect 2.22 %.
    moving = np.bincount(wrapped(np.arange(3)[:, None], 3, 3 + 2)[:, :3].ravel() % 5, minlength=5)
    assert moving.tolist() == [1, 2, 3, 2, 1] and ENDS @ moving / 9 == pytest.approx(0.0222, abs=5e-5)


def test_a_block_goes_on_at_the_beginning():
    assert wrapped(np.array([3, 1]), 3, 5).tolist() == [3, 4, 0, 1, 2]


@pytest.mark.parametrize("block", [1, 2, 3, 5])
def test_resamples_are_long_as_the_series_and_made_of_blocks(block):
    days = resamples(5, block, draws=4000)
    assert days.shape == (4000, 5)
    assert np.bincount(days.ravel()) / days.size == pytest.approx([0.2] * 5, abs=0.01)
    inner = [place for place in range(1, 5) if place % block]
    assert ((days[:, inner] - days[:, [place - 1 for place in inner]]) % 5 == 1).all()
    assert ENDS[days].mean() == pytest.approx(0.04, abs=0.002)


def test_a_seed_decides_everything():
    assert (resamples(50, seed=1) == resamples(50, seed=1)).all() and (resamples(50, seed=1) != resamples(50, seed=2)).any()
    r = np.random.default_rng(0).normal(0, 0.01, 100)
    assert interval(r, seed=3) == interval(r, seed=3) != interval(r, seed=4)


@pytest.mark.parametrize(("n", "block"), [(1, 1), (2, 2), (8, 2), (9, 3), (121, 5), (125, 5), (126, 6), (2520, 14)])
def test_default_block(n, block):
    assert block_length(n) == block


@pytest.mark.parametrize(("convention", "metric"), [("simple", simple_metrics), ("log", log_metrics)])
def test_the_statistic_is_the_metric(convention, metric):
    r = np.random.default_rng(0).normal(0.001, 0.01, (3, 40))
    got = sharpe(365, convention, rf=0.02)(r)
    assert got.tolist() == pytest.approx([metric(row, 365, 0.02)["SR"] for row in r])
    assert np.isnan(sharpe()(np.full((2, 5), 0.01))).all()


def test_vectorised_equals_one_resample_after_another():
    r = np.random.default_rng(1).normal(0, 0.01, 60)
    values = [simple_metrics(r[days])["SR"] for days in resamples(60, 4, draws=200, seed=7)]
    assert interval(r, block=4, draws=200, seed=7) == pytest.approx(tuple(np.quantile(values, [0.025, 0.975])))


def test_equal_series_do_not_differ_and_a_shift_does():
    r = np.random.default_rng(2).normal(0, 0.01, 250)
    assert difference(r, r) == (0, 0)
    low, high = difference(r + 0.001, r)
    assert low > 0 and high < 3
    apart = interval(r + 0.001), interval(r)
    assert apart[0][0] < apart[1][1]  # the two intervals overlap all the same
    assert difference(r, r + 0.001) == pytest.approx((-high, -low))


def test_longer_blocks_see_dependence():
    # A year of returns that last for ten days: independent draws make the interval of the mean too narrow.
    r = np.repeat(np.random.default_rng(3).normal(0, 0.01, 25), 10)
    short, long = (interval(r, mean, block=block) for block in (1, 20))
    assert long[1] - long[0] > 2 * (short[1] - short[0])


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(4)
    inside = [low <= 0 <= high for low, high in (interval(rng.normal(0, 0.01, 120), draws=400) for _ in range(200))]
    assert 0.86 <= np.mean(inside) <= 0.99


def test_too_few_defined_resamples_have_no_interval():
    assert interval(np.zeros(50)) == (None, None) and interval([0.1]) == (None, None) and difference([], []) == (None, None)
    assert difference(np.zeros(50), np.random.default_rng(0).normal(0, 0.01, 50)) == (None, None)


def test_what_does_not_fit_is_refused():
    for block in (0, 6):
        with pytest.raises(CatalogError, match="choose 1 to 5"):
            interval(ENDS, block=block)
    with pytest.raises(CatalogError, match="same days"):
        difference(ENDS, ENDS[:4])
