"""Scores of a map, by hand."""

import numpy as np
import pytest

from catalog.base.errors import CatalogError
from stages.llava_vqa import masks, pointing

SHOWN = np.array([True, True, False, False])


def test_a_patch_shows_what_covers_enough_of_it():
    """4 x 4 pixels in 2 x 2 patches: the object covers a whole patch, a quarter of the next and nothing of the others."""
    mask = np.array([[1, 1, 1, 0], [1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]], bool)
    assert pointing.coverage(mask, (2, 2)).tolist() == [[1.0, 0.25], [0.0, 0.0]]
    assert pointing.truth([masks.encode(mask)], 4, 4, (2, 2), 0.12).tolist() == [True, True, False, False]
    assert pointing.truth([masks.encode(mask)], 4, 4, (2, 2), 0.25).tolist() == [True, False, False, False]
    other = np.zeros((4, 4), bool)
    other[3, 3] = True
    both = pointing.truth([masks.encode(mask), masks.encode(other)], 4, 4, (2, 2), 0.12)
    assert both.tolist() == [True, True, False, True]
    with pytest.raises(CatalogError, match="4 x 4 pixels"):
        pointing.coverage(mask, (3, 3))


def test_hits_and_ties():
    assert pointing.hit(np.array([0.1, 0.9, 0.3, -1]), SHOWN) == 1
    assert pointing.hit(np.array([0.1, 0.2, 0.3, -1]), SHOWN) == 0
    assert pointing.hit(np.zeros(4), SHOWN) == 0.5  # a map that says nothing hits as a random patch does
    assert pointing.hit(np.array([0, 1, 1, 1.0]), SHOWN) == pytest.approx(1 / 3)


def test_iou_of_twenty_and_twenty_five_that_share_fifteen():
    values, shown = -np.arange(49.0), np.zeros(49, bool)
    shown[5:30] = True  # of the 20 highest, 0 to 19, fifteen are shown
    assert pointing.iou(values, shown, 20) == 0.5
    assert pointing.iou(np.zeros(49), shown, 20) == 0.5  # of equal ones the first come first


def test_inside_and_concentration():
    assert pointing.inside(np.array([3.0, -2, 1, 0]), SHOWN) == 0.75
    assert np.isnan(pointing.inside(np.array([-1.0, -2, 0, 0]), SHOWN))
    assert pointing.concentration(np.array([2.0, 0, -5, 0])) == 1
    assert pointing.concentration(np.ones(4)) == pytest.approx(0) == pointing.concentration(-np.ones(4))
    assert pointing.concentration(np.array([1.0, 1, 0, 0])) == pytest.approx(0.5)  # log 2 of log 4


def test_rank_correlation_and_area():
    assert pointing.correlation(np.array([1, 2, 30.0]), np.array([0, 5, 6.0])) == pytest.approx(1)
    assert pointing.correlation(np.array([1, 2, 3.0]), np.array([1, 3, 2.0])) == pytest.approx(0.5)
    assert np.isnan(pointing.correlation(np.ones(3), np.arange(3.0)))
    assert pointing.area(np.array([1.0, 0, 0.5]), np.array([0.0, 1, 0.2])) == pytest.approx((0.6 + 0.1) / 2)
