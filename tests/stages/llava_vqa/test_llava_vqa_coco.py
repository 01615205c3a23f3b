"""Photographs in COCO's layout: outlines, frames of reference, and what is refused."""

import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from catalog.base.errors import CatalogError
from stages.llava_vqa import coco, masks, pictures, questions, scenes

FOLDER = os.environ.get("CATALOG_REAL_DATA")


def ring(low, high):
    return [low, low, low, high, high, high, high, low]


def write(tmp_path, annotation=None, image=None, picture=None, orientation=None, **changes):
    """A file of one annotation of one photograph, 20 pixels wide and 12 high unless told otherwise."""
    (tmp_path / "images").mkdir(exist_ok=True)
    picture = picture or Image.new("RGB", (20, 12), (200, 0, 0))
    exif = Image.Exif()
    if orientation:
        exif[coco.ORIENTATION] = orientation
    picture.save(tmp_path / "images" / "a.jpg", exif=exif)
    data = {
        "images": [{"id": 7, "file_name": "a.jpg", "width": 20, "height": 12} | (image or {})],
        "categories": [{"id": 3, "name": "dog"}],
        "annotations": [{"id": 1, "image_id": 7, "category_id": 3, "segmentation": [ring(0, 10)]} | (annotation or {})],
    }
    (tmp_path / "instances.json").write_text(json.dumps(data | changes))
    return coco.read(tmp_path / "instances.json", tmp_path / "images")


def pixels(images):
    return Image.open(io.BytesIO(images["png"][0]))


def test_an_object(tmp_path):
    images, objects = write(tmp_path, {"attributes": {"color": "brown"}})
    row = objects.to_dicts()[0]
    assert {key: row[key] for key in ("image", "object", "kind", "colour", "place", "picture", "source", "area")} == {
        "image": "coco-7",
        "object": 0,
        "kind": "dog",
        "colour": "brown",
        "place": None,  # ten rows of twelve
        "picture": "1",
        "source": "coco",
        "area": 100,
    }
    assert (row["x0"], row["y0"], row["x1"], row["y1"]) == (0, 0, 10, 10)
    assert masks.decode(row["mask"], 12, 20)[:10, :10].all()
    assert images.select("image", "split", "width", "height").row(0) == ("coco-7", "coco", 20, 12)


@pytest.mark.parametrize(
    ("at", "place"), [((1, 1), "top left"), ((15, 1), "top right"), ((1, 7), "bottom left"), ((15, 7), "bottom right")]
)
def test_the_place_is_the_quadrant_that_it_lies_in(tmp_path, at, place):
    (x, y), side = at, 4
    _, objects = write(tmp_path, {"segmentation": [[x, y, x, y + side, x + side, y + side, x + side, y]]})
    assert objects["place"][0] == place and objects["area"][0] == 16


def test_no_place_of_what_reaches_over_the_middle(tmp_path):
    """Seven columns of ten lie left of the middle, which is less than four fifths; eight are enough."""
    for left, place in ((3, None), (2, "top left")):
        _, objects = write(tmp_path, {"segmentation": [[left, 1, left, 5, left + 10, 5, left + 10, 1]]})
        assert objects["place"][0] == place and objects["area"][0] == 40
    colours = [("brown", None, "The dog is brown."), (None, "top left", "The dog is at the top left."), (None, None, "")]
    for colour, place, text in colours:
        assert questions.facts([scenes.Thing(pictures.Picture("dog", "1", "coco"), colour, place)]) == text


def test_more_than_eight_bits_are_not_cut(tmp_path):
    write(tmp_path)
    Image.fromarray(np.array([[0, 256, 65535]], np.uint16)).save(tmp_path / "images" / "a.png")
    with pytest.raises(CatalogError, match="more than eight bits"):
        coco.photograph({"id": 7, "file_name": "a.png", "width": 3, "height": 1}, tmp_path / "images")


def test_rings_are_united(tmp_path):
    _, objects = write(tmp_path, {"segmentation": [ring(0, 10), ring(2, 6)]})
    assert objects["area"][0] == 100  # filled by crossings it would be 84


@pytest.mark.parametrize("counts", [[12 * 4, 12 * 2, 12 * 14], "`1h0hN"])
def test_run_lengths_of_a_crowd(tmp_path, counts):
    """Columns 4 and 5, as a list and compressed: 48 is 16 and 32 times 1; 24 is 24 and 32 times 0; 168 is 8 and 32 times 5."""
    counts = "".join(("`1", "h0", "X5")) if isinstance(counts, str) else counts
    _, objects = write(tmp_path, {"segmentation": {"size": [12, 20], "counts": counts}, "iscrowd": 1})
    row = objects.to_dicts()[0]
    assert row["source"] == "coco crowd" and (row["x0"], row["y0"], row["x1"], row["y1"]) == (4, 0, 6, 12) and row["area"] == 24
    assert coco.scenes_of(*write(tmp_path, {"iscrowd": 1})) == {}


def test_a_photograph_that_its_tag_turns(tmp_path):
    """Stored lying with the tag 6 (turn to the right): its left lower corner is the upright picture's upper left one."""
    stored = Image.new("RGB", (40, 24))
    stored.paste((255, 255, 255), (0, 16, 8, 24))
    images, objects = write(tmp_path, image={"width": 24, "height": 40}, picture=stored, orientation=6)
    assert pixels(images).size == (24, 40) and pixels(images).getpixel((3, 3))[0] > 200
    assert not pixels(images).getexif() and objects["area"][0] == 100
    # Annotated as stored: it stays lying.
    images, _ = write(tmp_path, image={"width": 40, "height": 24}, picture=stored, orientation=6)
    assert pixels(images).size == (40, 24) and pixels(images).getpixel((3, 20))[0] > 200


@pytest.mark.parametrize(
    ("told", "match"),
    [
        ({"image": {"width": 40, "height": 24}}, "20 x 12 pixels, but its annotations count in 40 x 24"),
        ({"image": {"width": 12, "height": 20}}, "20 x 12 pixels, but its annotations count in 12 x 20"),
        ({"image": {"width": 9, "height": 9}, "orientation": 6}, "20 x 12 or, turned by its tag, 12 x 20 pixels"),
        ({"orientation": 3}, "turns it to the same size"),
        ({"image": {"file_name": "b.jpg"}}, "There is no photograph"),
        ({"image": {"file_name": "../instances.json"}}, "leads out of the folder"),
        ({"image": {"file_name": None}}, "no file_name in image 7"),
        ({"annotation": {"segmentation": []}}, "no outline in annotation 1"),
        ({"annotation": {"segmentation": [[0, 0, 5, 5]]}}, "at least three points"),
        ({"annotation": {"segmentation": [[0, 0, 5, 5, float("1e999"), 3]]}}, "Infinity|three points"),
        ({"annotation": {"segmentation": [ring(0, 30)]}}, "reaches beyond its image of 20 x 12"),
        ({"annotation": {"segmentation": [ring(3, 3)]}}, "covers no pixel"),
        ({"annotation": {"segmentation": {"size": [20, 12], "counts": [240]}}}, "for .20, 12. rows and columns"),
        ({"annotation": {"segmentation": {"size": [12, 20], "counts": [1, 2]}}}, "sum to the 240 pixels"),
        ({"annotation": {"segmentation": {"size": [12, 20], "counts": "a b"}}}, "characters that none has"),
        ({"annotation": {"image_id": 8}}, "does not list"),
        ({"annotation": {"id": None}}, "The id None of an entry"),
        ({"categories": {}}, "lists images, annotations, categories"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, told, match):
    with pytest.raises(CatalogError, match=match):
        write(tmp_path, **told)


def test_a_file_that_is_no_image_is_named(tmp_path):
    write(tmp_path)
    (tmp_path / "images" / "a.jpg").write_bytes(b"\xff\xd8 no picture")
    with pytest.raises(CatalogError, match=r"a\.jpg cannot be read as an image"):
        coco.read(tmp_path / "instances.json", tmp_path / "images")


@pytest.mark.skipif(not FOLDER, reason="CATALOG_REAL_DATA names no folder with the published sets")
def test_real_photographs():
    folder = Path(FOLDER) / "coco_ccby"
    images, objects = coco.read(folder / "instances.json", folder / "images")
    assert (images.height, objects.height) == (21, 130)
    data = json.loads((folder / "instances.json").read_text())
    off = []
    for row, annotation in zip(objects.sort("picture").to_dicts(), sorted(data["annotations"], key=lambda entry: str(entry["id"]))):
        x, y, width, height = annotation["bbox"]
        published = np.array([x, y, x + width, y + height])
        off.append(np.abs(published - [row["x0"], row["y0"], row["x1"], row["y1"]]))
    # The published boxes hold every point of a polygon, also a spike that covers the middle of no pixel.
    assert np.mean(off) < 0.5 and np.mean(np.array(off) <= 2) > 0.98
    named = coco.answers(objects)
    assert named["colour"] == () and len(named["kind"]) == 40
    composed = coco.scenes_of(images, objects)
    asked = questions.choose(list(composed.values()), dict.fromkeys(questions.TYPES, 1.0), np.random.default_rng(0), named)
    assert {question.type for chosen in asked for question in chosen} == {"place", "presence"}
    giraffes = [
        question.answer for question in questions.possible(composed["coco-72"], "presence", named["kind"]) if "giraffe" in question.text
    ]
    assert giraffes == ["yes"] and not list(questions.possible(composed["coco-72"], "place"))  # two giraffes: neither is "the giraffe"
