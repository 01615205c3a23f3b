"""Strips: places worked out by hand, and nothing but numbers in the markup."""

import re

from app_lib import strips


def test_the_axis_takes_the_range_of_the_metric_where_the_numbers_use_it():
    assert strips.scale([0.5, 0.4, 0.1], 0.0, 1.0) == (0.0, 1.0)
    assert strips.scale([0.05, 0.04], 0.0, 1.0) == (0.0, 0.05)
    assert strips.scale([0.0], 0.0, 1.0) == (0.0, 1.0)
    assert strips.scale([-0.2, 0.1], 0.0, 1.0) == (-0.2, 0.1)  # outside the range: the numbers' own span


def test_marks_and_bars_stand_where_their_numbers_are():
    made = strips.values(1.0, (0.5, 0.25, 0.75), (0.0, None, None), 0.0, 1.0, "words")
    # 4 % + 92 % of the place on the axis from 0 to 1.
    assert re.findall(r"left:([\d.]+)%;top:14px", made) == ["4.00", "96.00", "50.00"]
    assert re.findall(r"left:([\d.]+)%;width:([\d.]+)%;top:11px.*?background:#4263eb", made) == [("27.00", "46.00")]


def test_a_reported_zero_is_a_number_and_none_is_not():
    assert strips.values(0.0, (0.5, None, None), None, None, None, "").count("top:14px") == 2
    assert strips.values(None, (0.5, None, None), None, None, None, "").count("top:14px") == 1


def test_zero_has_a_label_of_its_own_only_away_from_the_ends():
    assert strips.values(1.0, (0.5, -0.5, 0.75), None, None, None, "").count("top:27px") == 3
    assert strips.values(1.0, (0.5, -0.01, 0.75), None, None, None, "").count("top:27px") == 2


def test_a_bound_is_marked_and_the_verdict_gives_the_colour():
    made = strips.effect((0.5, 0.4, 0.6), [0.25], "undecided", "words")
    # The axis runs from .25 to .6 with a quarter of that on each side: .1625 to .6875.
    assert re.findall(r"left:([\d.]+)%;top:1px;height:26px;border-left:2px dashed", made) == ["19.33"]
    assert strips.VERDICT_COLORS["undecided"] in made and ">0.25</span>" in made


def test_words_cannot_leave_their_attribute():
    made = strips.values(1.0, None, None, None, None, 'a"><script>alert(1)</script>&')
    assert "<script>" not in made and 'aria-label="a&quot;>&lt;script>alert(1)&lt;/script>&amp;"' in made
