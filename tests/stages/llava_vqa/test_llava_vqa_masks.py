"""Run lengths, outlines and boxes, worked out by hand."""

import numpy as np
import pytest

from stages.llava_vqa import masks


def test_runs_go_down_the_columns_and_begin_outside():
    mask = np.array([[0, 1, 1], [1, 1, 0]], bool)  # columns: 0 1 | 1 1 | 1 0
    assert masks.encode(mask) == [1, 4, 1]
    assert masks.encode(~mask) == [0, 1, 4, 1]
    assert masks.encode(np.zeros((2, 3), bool)) == [6]
    assert masks.box(mask) == (0.0, 0.0, 3.0, 2.0)
    assert masks.box(np.array([[0, 0, 0], [0, 1, 0]], bool)) == (1.0, 1.0, 2.0, 2.0)


def test_runs_give_the_mask_back():
    masks_of = np.random.default_rng(0).random((20, 7, 5)) > 0.6
    for mask in masks_of:
        assert (masks.decode(masks.encode(mask), 7, 5) == mask).all()


@pytest.mark.parametrize(
    ("text", "runs"),
    [
        ("13", [1, 3]),
        ("8`0", [8, 16]),  # 16 in five bits would be a negative number, so another group follows
        ("T33", [100, 3]),  # 100 is 3 times 32 and 4: "0" + 32 + 4 is T, "0" + 3 is 3
        ("1322", [1, 3, 2, 5]),  # the fourth is written as its difference to the second
        ("132N", [1, 3, 2, 1]),  # -2 is 30 in five bits, the highest of which is the sign
    ],
)
def test_compressed_runs(text, runs):
    assert masks.decompress(text) == runs


def square(low, high):
    return np.array([[low, low], [low, high], [high, high], [high, low]], float)


def test_a_square_covers_its_pixels():
    mask = masks.polygon(square(2, 6), 10, 12)
    assert mask.sum() == 16 and masks.box(mask) == (2.0, 2.0, 6.0, 6.0)
    assert masks.polygon(square(0, 10), 10, 10).all()


def test_a_triangle_covers_the_pixels_whose_middle_is_inside():
    # Below the line x + y = 4.4: at the middle of column x, x + 0.5, it reaches down to 3.9 - x, past the middle of row 3 - x.
    mask = masks.polygon(np.array([[0, 0], [4.4, 0], [0, 4.4]]), 5, 5)
    assert mask.sum(0).tolist() == [4, 3, 2, 1, 0]
    assert (mask == np.tri(5, k=-1)[::-1].astype(bool)).all()


def test_a_bow_tie_is_filled_by_crossings():
    # The two lines cross in the middle: left and right triangles are inside, top and bottom ones outside.
    mask = masks.polygon(np.array([[0, 0], [8, 8], [8, 0], [0, 8]], float), 8, 8)
    assert mask[4, 0] and mask[4, 7] and not mask[0, 4] and not mask[7, 4]
