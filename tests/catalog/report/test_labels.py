"""Names of points in a picture do not cover each other, and their places are those of the scales they come with."""

import numpy as np
import polars as pl
import pytest

from catalog.report.labels import LETTER, placed, words

NAMES = ["first", "second", "third", "fourth", "far"]
CLOSE = pl.DataFrame({"x": [1.0, 1.01, 1.02, 1.03, 5.0], "y": [2.0, 2.0, 2.01, 2.02, 9.0], "name": NAMES})


def boxes(data, scales, reverse, size=9, width=400, height=300):
    """(N, 4) left, top, right, bottom in pixels, from the coordinates as Vega-Lite reads them."""
    at = np.column_stack([(data[f"label_{axis}"] - scale["domain"][0]) / np.ptp(scale["domain"]) for axis, scale in zip("xy", scales)])
    left, top = (1 - at[:, 0] if reverse else at[:, 0]) * width, (1 - at[:, 1]) * height
    wide = LETTER * size * data["name"].str.len_chars().to_numpy()
    return np.column_stack([left, top - size / 2, left + wide, top + size / 2])


@pytest.mark.parametrize("reverse", [False, True])
def test_names_of_close_points_do_not_cover_each_other_nor_leave_the_picture(reverse):
    data, *scales = placed(CLOSE, "x", "y", "name", width=400, height=300, reverse=reverse)
    found = boxes(data, scales, reverse)
    for i, one in enumerate(found):
        for other in found[:i]:
            assert min(one[2], other[2]) <= max(one[0], other[0]) + 1e-6 or min(one[3], other[3]) <= max(one[1], other[1]) + 1e-6
    assert (found[:, :2] >= -1e-6).all() and (found[:, 2] <= 400).all() and (found[:, 3] <= 300).all()
    assert data.drop("label_x", "label_y").equals(CLOSE) and scales[0].get("reverse", False) is reverse


def test_a_point_alone_has_its_name_at_its_right():
    data, *scales = placed(CLOSE.tail(1), "x", "y", "name", width=120, height=120)
    # One value, 5: a twelfth of it on either side, so that it lies in the middle, pixel 60; the name begins 8 pixels on.
    assert scales[0]["domain"] == pytest.approx([5 - 5 / 12, 5 + 5 / 12], abs=1e-6)
    assert boxes(data, scales, False, width=120, height=120)[0].tolist() == pytest.approx([68, 55.5, 68 + 3 * 9 * LETTER, 64.5], abs=1e-3)
    assert placed(CLOSE, "x", "y", "name", width=400, height=300, also=0.0)[1]["domain"][0] == pytest.approx(-5 / 12, abs=1e-6)
    layer = words("name", {axis: {"field": axis, "scale": scale, "title": "t"} for axis, scale in zip("xy", scales)})
    assert layer["encoding"]["y"] == {"field": "label_y", "scale": scales[1], "title": "t"}
    assert layer["encoding"]["x"]["scale"] == scales[0] and layer["encoding"]["text"]["field"] == "name"
