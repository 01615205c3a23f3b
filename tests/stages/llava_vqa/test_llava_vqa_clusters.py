"""Intervals over images, by hand."""

import numpy as np
import pytest

from catalog.report.intervals import clustered_share
from stages.llava_vqa import clusters

TWO = np.array([0, 0, 1, 1])  # two images of two questions
NAN = np.nan


def test_whole_images_are_resampled():
    """One image all right, one all wrong: resamples have 0, 1/2 and 1, a quarter of them each end."""
    assert clusters.mean(TWO, np.array([1.0, 1, 0, 0])) == (0.5, 0.0, 1.0)
    assert clusters.mean(TWO, np.array([1.0, 0, 1, 0])) == (0.5, 0.5, 0.5)


def test_missing_numbers_do_not_count():
    assert clusters.mean(TWO, np.array([1.0, NAN, 0, NAN])) == clusters.mean(np.array([0, 1]), np.array([1.0, 0]))
    assert clusters.mean(TWO, np.full(4, NAN)) is None


def test_a_share_without_exception_has_an_interval_and_one_image_tells_nothing_of_others():
    assert clusters.mean(TWO, np.ones(4)) == (1.0, *clustered_share([2, 2], [2, 2]))
    assert clusters.mean(TWO, np.zeros(4)) == (0.0, *clustered_share([0, 0], [2, 2]))
    assert clusters.mean(np.zeros(2, int), np.array([1.0, 0])) == (0.5, 0.0, 1.0)
    assert clusters.mean(np.zeros(2, int), np.array([0.3, 0.4])) is None


def test_a_difference_is_paired():
    """One has one right answer more in each image: the difference does not vary, though both shares do."""
    one, other = np.array([1.0, 1, 1, 0]), np.array([1.0, 0, 0, 0])
    assert clusters.mean(TWO, one)[1:] == (0.5, 1.0)
    assert clusters.difference(TWO, one, other) == (0.5, 0.5, 0.5)
    assert clusters.difference(TWO, one, np.array([NAN, NAN, 0, 0])) is None  # one image is left


def test_methods_that_agree_everywhere_differ_by_nothing_as_far_as_the_images_tell():
    low, _ = clustered_share([2, 2], [2, 2])
    assert clusters.difference(TWO, np.ones(4), np.ones(4)) == (0.0, low - 1, 1 - low)
    assert clusters.difference(TWO, np.ones(4), np.zeros(4)) == (1.0, low, 1.0)
    assert clusters.difference(TWO, np.zeros(4), np.ones(4)) == (-1.0, -1.0, -low)
    assert clusters.difference(TWO, np.full(4, 0.5), np.full(4, 0.2)) == pytest.approx((0.3, 0.3, 0.3))  # numbers that are no shares


def test_an_interval_of_a_higher_level_is_wider_and_covers_what_independent_items_have():
    rng = np.random.default_rng(3)
    image, right = np.arange(400), rng.integers(0, 2, 400).astype(float)
    plain, wide = clusters.mean(image, right), clusters.mean(image, right, 0.995)
    assert wide[1] < plain[1] < plain[0] < plain[2] < wide[2]
    assert plain[2] - plain[1] == pytest.approx(2 * 1.96 * np.sqrt(right.var() / 400), rel=0.1)


def test_auroc_by_hand():
    """Scores .9, .5 where the object is there, .5, .1 where not: of four pairs three are won and one is a tie."""
    there = np.array([True, True, False, False])
    value, low, high = clusters.auroc(np.arange(4), there, np.array([0.9, 0.5, 0.5, 0.1]))
    assert value == 0.875 and low <= value <= high == 1.0 and low == 0.5  # a resample may draw the tie alone
    assert clusters.auroc(np.arange(4), there, np.array([0.9, 0.5, NAN, NAN])) is None


def test_the_difference_of_two_aurocs_is_over_the_same_resamples():
    rng = np.random.default_rng(0)
    there, score = np.arange(60) % 2 == 0, rng.normal(size=60)
    assert clusters.auroc_difference(np.arange(60), there, score, score) == (0.0, 0.0, 0.0)
    value, low, high = clusters.auroc_difference(np.arange(60), there, there.astype(float), score)
    assert value == pytest.approx(1 - clusters.auroc(np.arange(60), there, score)[0]) and 0 < low < value < high
