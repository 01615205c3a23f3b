"""Charts show what their figures say, marks lie where their boxes say, questions are right and cannot be guessed from their words."""

import io
import random
from collections import Counter, defaultdict
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import polars as pl
import pytest
from matplotlib.colors import to_rgb
from PIL import Image
from vision_cases import FEW, P, built, content, people, prices

from catalog.base.errors import CatalogError
from stages.open_finllms import vision_charts, vision_content, vision_data, vision_questions
from stages.open_finllms.vision_charts import STYLES, draw

SIZE = 224


@pytest.fixture(scope="module")
def tables():
    return built()


def pixels(png):
    with Image.open(io.BytesIO(png)) as image:
        assert image.mode == "RGB" and image.size == (SIZE, SIZE)
        return np.asarray(image).astype(int)


def of_colour(image, style, colour):
    """Pixels of a named colour."""
    wanted = np.array(to_rgb(STYLES[style].palette[colour])) * 255
    return np.abs(image - wanted).max(-1) < 8


def inside(box):
    x0, y0, x1, y1 = box
    ys, xs = np.mgrid[:SIZE, :SIZE] + 0.5
    return (xs > x0 - 1) & (xs < x1 + 1) & (ys > y0 - 1) & (ys < y1 + 1)


CASES = {
    "line": content("line", [[3, 5, 4, 9]], ["red"]),
    "bar": content("bar", [[4, 9, 2]], ["red", "blue", "green"]),
    "grouped": content("grouped", [[4, 9, 2], [5, 3, 3]], ["purple", "green"], series=("X", "Y")),
    "pie": content("pie", [[10, 30, 60]], ["orange", "blue", "green"]),
    "table": content("table", [[1.5, -2.0], [-0.5, 3.0]], ["green", "pink"], series=("X", "Y")),
}


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("form", CASES)
def test_a_box_holds_the_pixels_of_its_mark(form, style):
    png, marks = draw(CASES[form], style, SIZE)
    image = pixels(png)
    shown = [mark for mark in marks if mark.colour and mark.kind != "peak"]
    for mark in shown:
        here, colour = inside(mark.box), of_colour(image, style, mark.colour)
        alike = [inside(other.box) for other in shown if other.colour == mark.colour]
        legend = np.zeros_like(here)
        if form == "grouped":
            legend[:70] = ~np.any(alike, axis=0)[:70]  # its patches have the colours of the bars
        assert not (colour & ~np.any(alike, axis=0) & ~legend).any()
        assert (colour & here).sum() > (0.55 * here.sum() if mark.kind in ("bar", "cell") else 30)
    if form == "line":
        (peak,) = [mark for mark in marks if mark.kind == "peak"]
        ys, xs = np.nonzero(of_colour(image, style, "red"))
        top = ys.argmin()
        assert peak.values == (9,) and peak.column == 3 and peak.box[0] <= xs[top] <= peak.box[2] and peak.box[1] <= ys[top] <= peak.box[3]


def test_bars_are_as_high_as_their_figures():
    _, marks = draw(CASES["bar"], "plain", SIZE)
    heights = [mark.box[3] - mark.box[1] for mark in marks]
    assert [mark.values for mark in marks] == [(4,), (9,), (2,)]
    assert heights[1] / heights[0] == pytest.approx(9 / 4, abs=0.03) and heights[1] / heights[2] == pytest.approx(9 / 2, abs=0.1)
    assert len({mark.box[3] for mark in marks}) == 1  # all stand on zero


def runs(image):
    """Separate pieces of ink from left to right in the strip of the title."""
    ink = (image[4:24].min(-1) < 128).any(0).astype(int)
    return int((np.diff(ink) == 1).sum() + ink[0])


@pytest.mark.parametrize("title", ["$ x $", "$$", "x $ ^2 $", r"a \$ b", "100% {x} \\frac"])
def test_text_is_shown_as_written(title):
    """matplotlib reads `$ x $` as a formula, shows x alone, and stops at `$$`."""
    shown = pixels(draw(replace(CASES["bar"], title=title), "plain", SIZE)[0])
    letters = {mark: runs(pixels(draw(replace(CASES["bar"], title=mark), "plain", SIZE)[0])) for mark in set(title) - {" "}}
    assert runs(shown) >= sum(letters[mark] for mark in title if mark != " ") - title.count("ra") - title.count(
        "fr"
    )  # neighbours may touch


def test_the_dollar_test_would_fail_with_formulas(monkeypatch):
    monkeypatch.setitem(vision_charts._RC, "text.parse_math", True)
    with pytest.raises(AssertionError):
        test_text_is_shown_as_written("$ x $")


def test_cells_and_labels_keep_their_dollars():
    case = content("table", [[1.0, 2.0]], [], series=("$5 to $9",), labels=("$$", "b"), origin="german")
    png, marks = draw(case, "plain", SIZE)
    assert {mark.text for mark in marks if mark.kind == "header"} == {"", "$5 to $9", "$$", "b"}
    assert png != draw(replace(case, labels=("", "b")), "plain", SIZE)[0]


def test_matplotlib_keeps_the_users_settings():
    before = dict(mpl.rcParams)
    draw(CASES["pie"], "dark", SIZE)
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize(
    ("form", "asked"),
    [
        ("line", {"trend": "up", "colour": "red", "peak": "right", "value": "$3.00"}),
        ("bar", {"extreme": {"blue", "green"}}),
        ("grouped", {"groups": "middle"}),
        ("pie", {"biggest": "green"}),
        ("table", {"count": "two"}),
    ],
)
def test_answers_of_known_figures(form, asked):
    found = defaultdict(set)
    for seed in range(30):
        marks = draw(CASES[form], "plain", SIZE)[1]
        for one in vision_questions.questions(CASES[form], marks, random.Random(seed)):
            found[one.kind].add(one.answer)
            if one.kind == "compare":
                pair = {CASES[form].colours.index(colour): colour for colour in one.choices}
                rows = [marks[at] for at in one.asked]
                assert one.answer == max(rows, key=lambda mark: mark.values).colour and {mark.colour for mark in rows} == set(pair.values())
            if one.kind == "quarter":
                share = marks[one.asked[0]].values[0]
                assert one.answer == ("yes" if share > 25 else "no") and marks[one.asked[0]].colour in one.text
            if one.kind == "name":
                assert marks[one.asked[0]].colour == one.answer
            if one.kind == "cell":
                (at,) = one.asked
                row, column = (vision_questions.ORDINALS.index(word.strip(",?")) for word in one.text.split()[-3::2])
                assert CASES[form].values[row][column] == marks[at].values[0]
                assert one.answer == CASES[form].colours[marks[at].values[0] < 0]
    for kind, answer in asked.items():
        assert found[kind] == (answer if isinstance(answer, set) else {answer})


def test_what_cannot_be_seen_is_not_asked():
    flat = content("line", [[5, 9, 1, 5]], ["red"])
    alike = content("bar", [[5, 5.2, 2]], ["red", "blue", "green"])
    quarter = content("pie", [[25, 75]], ["red", "blue"])
    for case, kind in ((flat, "trend"), (quarter, "quarter")):
        marks = draw(case, "plain", SIZE)[1]
        asked = [one for one in vision_questions.questions(case, marks, random.Random(0)) if one.kind == kind]
        assert [marks[at].colour for one in asked for at in one.asked] == (["blue"] if kind == "quarter" else [])
    marks = draw(alike, "plain", SIZE)[1]
    assert {one.answer for one in vision_questions.questions(alike, marks, random.Random(0)) if one.kind == "extreme"} == {"green"}


def test_trend_correlation_and_outlier_by_hand():
    assert vision_content.trend([0, 4, 1, 2]) == "up" and vision_content.trend([0, 4, 1, 1.9]) is None  # half of 4
    assert vision_content.trend([9, 1, 2]) == "down"
    assert vision_content.together([1, 2, 3], [2, 4, 6]) == "yes" and vision_content.together([1, 2, 3], [3, 2, 1]) == "no"
    assert vision_content.together([1, 2, 3, 4], [1, 3, 1, 3]) is None  # r = .45
    assert vision_content.outlier([1, 4, 2]) == 1 and vision_content.outlier([1, 3.9, 2]) is None and vision_content.outlier([0, 0]) is None


def test_tables_of_the_data_set(tables):
    images, marks, asked = tables["images"], tables["marks"], tables["questions"]
    assert images["image"].is_unique().all() and asked["id"].is_unique().all() and images.height == 4 * sum(FEW.values())
    assert set(asked["kind"]) == set(vision_questions.KINDS) and len(set(asked["category"])) == 7
    assert set(asked["image"]) <= set(images["image"])
    boxes = marks.select(((pl.col("x0") >= 0) & (pl.col("x0") < pl.col("x1")) & (pl.col("x1") <= SIZE)).all().alias("x"),
                         ((pl.col("y0") >= 0) & (pl.col("y0") <= pl.col("y1")) & (pl.col("y1") <= SIZE)).all().alias("y"))  # fmt: skip
    assert boxes.row(0) == (True, True)
    count = dict(marks.group_by("image").len().iter_rows())
    cells = marks.filter(pl.col("kind").is_in(["cell", "header"])).group_by("image").agg(pl.col("row").max(), pl.col("column").max())
    assert cells["row"].max() <= 9 and cells["column"].max() <= 9  # ten by ten with the headers
    for one in asked.iter_rows(named=True):
        assert one["options"][vision_questions.LETTERS.index(one["letter"])] == one["gold"]
        assert len(set(one["options"])) == len(one["options"]) and 2 <= len(one["options"]) <= 4
        assert one["asked"] and max(one["asked"]) < count[one["image"]]
        if one["answer"] is not None:
            assert one["answer"] == one["gold"] and one["answer"] in one["candidates"] and "{" not in one["question"]


def test_splits_share_nothing(tables):
    images = tables["images"]
    for key in ("assets", "first"):
        known = images.filter(pl.col("origin") == "prices").explode("assets") if key == "assets" else images.drop_nulls(key)
        by_split = {split: set(part[key]) for (split,), part in known.group_by("split")}
        assert (
            not by_split["train"] & by_split["test"]
            and not by_split["train"] & by_split["style"]
            and not by_split["valid"] & by_split["test"]
        )
    styles = {split: set(part["style"]) for (split,), part in images.group_by("split")}
    assert not styles["train"] & styles["style"]


def test_no_answer_can_be_guessed_from_the_words(tables):
    asked = tables["questions"].filter(pl.col("answer").is_not_null())
    fixed = asked.filter(pl.col("kind").is_in(["trend", "together", "peak", "quarter", "groups", "outlier", "count", "place"]))
    named = (
        pl.when(pl.col("kind").is_in(["trend", "quarter", "place"])).then(pl.lit("")).otherwise(pl.col("question"))
    )  # a colour is in the text
    for (_split, kind, _), part in fixed.group_by("split", "kind", named):
        counts = Counter(part["answer"])
        assert len(set(counts.values())) == 1 and len(counts) > 1, kind
    for (_split,), part in asked.filter(kind="compare").group_by("split"):
        first = [one["answer"] == one["candidates"][0] for one in part.iter_rows(named=True)]
        assert all(one["question"].index(f" {one['candidates'][0]} ") < one["question"].index(f" {one['candidates'][1]} ")
                   for one in part.iter_rows(named=True))  # fmt: skip
        assert abs(sum(first) - len(first) / 2) <= 2.5  # half of each of up to five wordings
    for (_split, _), part in tables["questions"].group_by("split", pl.col("options").list.len()):
        counts = Counter(part["letter"])
        assert max(counts.values()) - min(counts.values()) <= 1


def test_same_seed_same_bytes_and_another_seed_another_set(tables):
    few = dict.fromkeys(FEW, 2)
    one, again = built(few), built(few)
    assert all(one[name].equals(again[name]) for name in one)
    other = vision_data.build(prices(), people(), replace(P, images=dict.fromkeys(vision_data.SPLITS, few)), seed=1)
    assert not one["images"].equals(other["images"])


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"shares": P.shares | {"test": ("AAPL",)}}, "AAPL in train and in test"),
        ({"spans": P.spans | {"test": ("2009-01-01", "2012-01-01")}}, "train and test have days in common"),
        ({"styles": P.styles | {"style": ("plain",)}}, "plain in train and in style"),
        ({"styles": P.styles | {"test": ("fancy",)}}, "fancy, which there is not"),
        ({"images": {"train": FEW}}, "must have the splits train, valid, test, style"),
        ({"images": P.images | {"test": {"line": 3}}}, "must have the forms"),
    ],
)
def test_faults_of_the_parameters(changed, said):
    with pytest.raises(CatalogError, match=said):
        vision_data.check(replace(P, **changed))


def test_prices_that_are_not_there():
    with pytest.raises(CatalogError, match="has no KO of skfolio_sp500"):
        vision_content.Market.of(prices(), P.source, ("KO",), "1995-01-01", "1996-01-01")
    with pytest.raises(CatalogError, match="Charts of 21 days need as many prices"):
        vision_content.Market.of(prices(days=5), P.source, ("KO",), *P.spans["test"]).window(random.Random(0), 21)
