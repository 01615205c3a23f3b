"""The page of maps: on made-up files, on none, and on wrong ones. Numbers are worked out by hand from `demo_maps.py`."""

import base64
import io
import re

import demo_maps
import polars as pl
import pytest
from app_helpers import replace_catalog, texts, visit
from PIL import Image

from app_lib import maps, overlay, strips
from catalog.base.errors import CatalogError

FIRST = {"image": "seen-1", "question": "seen-1-colour"}
MAPS = "models/demo_maps/small/maps.parquet"


@pytest.fixture
def mapped(shown):
    """The demo catalog with maps of one system."""
    demo_maps.add(shown)
    return shown.parent


def scores(app):
    return next(frame.value for frame in app.dataframe if "iou" in frame.value).set_index("method")


def address(app):
    """The query parameters, of which AppTest gives those that a page has set as text and others as a list."""
    return {name: value if isinstance(value, str) else value[0] for name, value in app.query_params.items()}


def drawn(app):
    """The pictures that a page shows."""
    found = [image.url for element in app.get("image") + app.get("imgs") for image in element.proto.imgs]
    return [Image.open(io.BytesIO(base64.b64decode(url.removeprefix("data:image/png;base64,")))) for url in found]


def test_a_question_with_its_answer_and_the_scores_of_the_map(mapped):
    app = visit("where", FIRST | {"method": "all heads"})
    assert not app.exception and not app.warning and not app.info and not app.error
    text = texts(app)
    assert "What colour is the box?" in text.replace("\\", "")
    # e^-0.1 of the answer to this image, not the one to swapped images
    assert "The model answers\\: red, probability 0\\.905" in text and "Right\\: the answer is red" in text
    table = scores(app)  # those of this profile and question, the shown method first
    assert table.index.tolist() == ["all heads", "attention", "head 3.1", "head 5.0"]
    assert (
        table["iou"].tolist()[:2] == [0.25, 0.2] and table["hit"].tolist()[:2] == [1, 0] and table["iou"].isna().tolist()[2:] == [True] * 2
    )
    app.selectbox(key="choose_method").set_value("attention").run()
    assert scores(app).index.tolist() == ["attention", "all heads", "head 3.1", "head 5.0"]
    assert "Layer and head\\: 5\\_2" in texts(app) and "Layer and head" not in text  # of the map alone that names one


def test_the_address_chooses_image_question_method_and_head(mapped):
    app = visit("where", {"image": "unseen-1", "question": "unseen-1-kind", "method": "each head", "head": "head 3.1"})
    assert {box.label: box.value for box in app.selectbox if box.key.startswith("choose")} == {
        "Image": "unseen-1",
        "Question": "unseen-1-kind",
        "Method": "each head",
        "Head": "head 3.1",
    }
    assert "Wrong\\: the answer is box" in texts(app)
    assert scores(app).index[0] == "head 3.1"
    app.selectbox(key="choose_method").set_value("attention").run()
    assert address(app) == {"image": "unseen-1", "question": "unseen-1-kind", "method": "attention", "head": "head 3.1"}
    assert "Head" not in [box.label for box in app.selectbox] and scores(app).index[0] == "attention"


def test_filters_and_the_next_image(mapped):
    app = visit("where", FIRST)
    next(button for button in app.button if button.label == "Next image").click().run()
    assert address(app) == {"image": "unseen-1"} and app.selectbox(key="choose_question").value == "unseen-1-kind"
    app.selectbox(key="where_type").set_value("absent").run()
    assert app.selectbox(key="choose_question").value == "seen-1-absent" and not app.warning
    assert "No answer is right" in texts(app) and "No scores of this question" in texts(app)
    app.selectbox(key="where_type").set_value("all").run()
    app.selectbox(key="where_answered").set_value("wrong").run()
    assert app.selectbox(key="choose_image").value == "unseen-1" and not app.warning
    assert address(app)["question"] == "unseen-1-kind"  # so that the address shows the same without the filter
    app.selectbox(key="where_split").set_value("seen").run()
    assert "No question fits" in texts(app) and not app.exception


def test_the_map_lies_where_the_patches_are(mapped):
    original, over = drawn(visit("where", FIRST | {"method": "all heads"}))
    assert original.size == over.size == (672, 672)  # 112 pixels six times
    red, green, blue = over.getpixel((int(8.5 % 7 * 96), 96 + 48))  # patch 8: second row, second column
    assert red > green > blue
    hatched = [over.getpixel((2 * 96 + 20 + place, 2 * 96 + 48)) for place in range(12)]  # patch 16: third row, third column
    assert all(blue >= red for red, _, blue in hatched) and len(set(hatched)) > 1


def test_untrusted_text_stays_text(mapped):
    text = texts(visit("where", {"image": "unseen-1"}))
    assert "\\<b\\>What\\</b\\> is \\!\\[it\\]\\(https" in text and "<b>" not in text.replace("\\<b\\>", "")


@pytest.mark.parametrize("query", [{"image": "no*e"}, FIRST | {"question": "no*e"}, FIRST | {"method": "no*e"}])
def test_an_unknown_name_is_said_so(mapped, query):
    app = visit("where", query)
    assert not app.exception and len(app.warning) == 1 and "no\\*e" in app.warning[0].value


def test_what_is_not_built_is_said_in_one_sentence(mapped):
    (mapped / "data/demo_scenes/small/images.parquet").unlink()
    app = visit("where")
    assert not app.exception and len(app.info) == 1 and "`make repro SYSTEM=demo_heads`" in app.info[0].value


def test_the_page_of_a_system_links_to_its_maps(mapped):
    def links(system):
        return [link for link in visit("system", {"system": system}).get("page_link") if link.proto.label == "Where it looks"]

    (link,) = links("demo_heads")
    assert link.proto.query_string == "system=demo_heads" and not links("demo_text")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: rows.drop("values"), "values"),
        (lambda rows: rows.with_columns(values=pl.lit([1.0, 2.0])), "fill no square"),
        (lambda rows: rows.with_columns(values=pl.lit([float("nan")] * 49)), "no finite numbers"),
    ],
)
def test_wrong_maps_are_one_sentence(mapped, change, said):
    change(pl.read_parquet(mapped / MAPS)).write_parquet(mapped / MAPS)
    app = visit("where", FIRST)
    assert not app.exception and len(app.warning) == 1 and said in app.warning[0].value.replace("\\", "")


def test_files_that_are_damaged_are_one_sentence(mapped):
    (mapped / MAPS).write_bytes(b"no table")
    app = visit("where", FIRST)
    assert not app.exception and len(app.warning) == 1 and "cannot be read" in app.warning[0].value
    demo_maps.write(mapped)
    images = mapped / "data/demo_scenes/small/images.parquet"
    pl.read_parquet(images).with_columns(png=pl.lit(b"no picture")).write_parquet(images)
    app = visit("where", FIRST)
    assert not app.exception and len(app.warning) == 1 and "cannot be decoded" in app.warning[0].value


def test_answers_are_those_that_the_maps_share_out_where_none_are_built(mapped):
    (mapped / "models/demo_answers/small/answers.parquet").unlink()
    app = visit("where", {"image": "unseen-1"})
    assert not app.exception and "The model answers\\: red, probability 0\\.905" in texts(app)


def test_a_catalog_without_maps_says_so(shown):
    app = visit("where")
    assert not app.exception and len(app.info) == 1 and "`make repro`" in app.info[0].value


def test_two_systems_with_maps_are_a_choice(mapped):
    sql = demo_maps.STAGES.partition("CREATE")[0].replace("demo_heads", "demo_text")
    replace_catalog(mapped / "catalog.duckdb", sql)
    app = visit("where", {"system": "demo_text", **FIRST})
    assert not app.exception and not app.warning
    assert app.selectbox(key="choose_system").value == "demo_text" and app.selectbox(key="choose_question").value == "seen-1-colour"


# The parts


def test_boxes_of_patches_cover_the_region_row_by_row():
    # A picture of 640 x 480 cut to its middle square, 24 patches a side of 20 pixels: the last ends at (560, 480).
    found = overlay.patches(24, 24, (80, 0, 560, 480))
    assert found[0] == (80, 0, 100, 20) and found[1] == (100, 0, 120, 20) and found[-1] == (540, 460, 560, 480) and len(found) == 576


def test_a_map_of_one_value_has_no_strongest_patch_and_changes_nothing():
    blank = Image.new("RGB", (64, 32), (200, 10, 10))
    plain = overlay.draw(blank, [[0.0, 0.0]], (0, 0, 64, 32))
    assert plain.size == (640, 320) and len(plain.getcolors()) == 1
    assert len(overlay.draw(blank, [[0.0, 1.0]], (0, 0, 64, 32)).getcolors(1000)) > 2


def test_only_the_region_is_coloured():
    over = overlay.draw(Image.new("RGB", (640, 480), "white"), [[1.0, 1.0], [1.0, 1.0]], region=(80, 0, 560, 480))
    assert over.getpixel((79, 240)) == (255, 255, 255) == over.getpixel((560, 240)) and over.getpixel((80, 240)) != (255, 255, 255)


def test_the_legend_has_one_half_for_values_of_one_sign():
    both, one = (strips.signed(least, 2.0, "#0000ff", "#ff8800", "words") for least in (-1.0, 0.0))
    assert re.findall(r">([-\d.]+)</span>", both) == ["0", "-2", "2"] and "#0000ff" in both
    assert re.findall(r">([-\d.]+)</span>", one) == ["0", "2"] and "#0000ff" not in one and "repeating" not in one


@pytest.mark.parametrize("values", [[], [1.0, None, 0.0, 0.0], [1.0] * 6])
def test_values_that_are_no_map(values):
    with pytest.raises(CatalogError):
        maps.grid(values)


def test_the_part_of_the_picture_that_a_map_covers():
    assert maps.region({"method": "x"}, (112, 112)) == (0, 0, 112, 112)
    assert maps.region({"x0": 80, "y0": 0, "x1": 560, "y1": 480}, (640, 480)) == (80, 0, 560, 480)
    with pytest.raises(CatalogError, match="640 x 480"):
        maps.region({"method": "x"}, (640, 480))


def test_a_map_of_a_part_is_drawn_there(mapped):
    rows = pl.read_parquet(mapped / MAPS).with_columns(x0=pl.lit(56.0), y0=pl.lit(56.0), x1=pl.lit(112.0), y1=pl.lit(112.0))
    rows.write_parquet(mapped / MAPS)
    original, over = drawn(visit("where", FIRST | {"method": "all heads"}))
    assert over.getpixel((100, 300)) == (255, 255, 255)  # left of the part, of a white ground
    red, green, blue = over.getpixel((336 + 48 + 24, 336 + 48 + 24))  # patch 8 of 7 x 7 in the lower right quarter, 48 pixels a side
    assert red > green > blue


def test_maps_of_single_heads_are_one_method():
    assert maps.methods(["attention", "head 3.1", "head 10.2"]) == {"attention": ["attention"], "each head": ["head 3.1", "head 10.2"]}
