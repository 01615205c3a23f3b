"""What the small LLaVA learns from, on two scenes worked out by hand."""

import dataclasses

import polars as pl
import pytest

from catalog.base.errors import CatalogError
from catalog.base.params import profile_params
from stages.llava_vqa import lessons, scenes
from stages.llava_vqa.masks import encode
from stages.llava_vqa.settings import Params, trained

KNOWN = {"cat": 1, "cup": 2, "red": 3, "blue": 4, "top": 5, "bottom": 6, "left": 7, "right": 8}


@pytest.fixture
def tables():
    """Images of 4 x 4 pixels, a grid of 2 x 2: a red cat at the top left, a blue cup that fills the bottom right; the second is empty."""
    import numpy as np

    masks = np.zeros((2, 4, 4), bool)
    masks[0, :2, :3] = True  # four pixels of the first place, two of the second
    masks[1, 2:, 2:] = True
    things = [("cat", "red", "top left"), ("cup", "blue", "bottom right")]
    images = pl.DataFrame(
        [{"image": name, "split": "train", "width": 4, "height": 4, "background": "plain", "png": b""} for name in "ab"], scenes.IMAGES
    )
    objects = pl.DataFrame(
        [
            dict.fromkeys(("x0", "y0", "x1", "y1"), 0.0)
            | {"image": "a", "object": n, "kind": kind, "colour": colour, "place": place, "picture": kind, "source": "drawn"}
            | {"mask": encode(masks[n]), "area": int(masks[n].sum())}
            for n, (kind, colour, place) in enumerate(things)
        ],
        scenes.OBJECTS,
    )
    questions = pl.DataFrame(
        {"image": ["a", "a", "b"], "question": ["Is there a cup?", "What colour is the hat?", "How many?"], "answer": ["yes", None, "one"]}
    )
    return images, objects, questions


def test_what_is_at_a_place_and_its_words(tables):
    images, objects, _ = tables
    found = lessons.there(images, objects, 2)
    assert found.tolist() == [[0, 0, -1, 1], [-1] * 4]
    assert lessons.coverage(objects["mask"].to_list(), 4, 2).tolist() == [[1, 0.5, 0, 0], [0, 0, 0, 1]]
    assert set(lessons.vocabulary(objects)) == set(KNOWN)
    cat, nothing, cup = [1, 3, 5, 7], [-1] * 4, [2, 4, 6, 8]
    assert lessons.words(images.head(1), objects, found[:1], KNOWN).tolist() == [[cat, cat, nothing, cup]]
    with pytest.raises(CatalogError, match="multiple of 3"):
        lessons.there(images, objects, 3)


def test_an_image_without_objects_has_no_words(tables):
    images, objects, _ = tables
    assert (lessons.words(images, objects, lessons.there(images, objects, 2), KNOWN)[1] == -1).all()


def test_own_questions_come_first_and_others_fill_up(tables):
    own = lessons.conversations(*tables, most=1, seed=0)
    assert own == [
        (0, [("USER: <image>\nIs there a cup?\nASSISTANT:", " yes")]),
        (1, [("USER: <image>\nHow many?\nASSISTANT:", " one")]),
    ]
    (_, filled), _ = lessons.conversations(*tables, most=7, seed=0)
    answers = {prompt.split("\n")[1]: answer for prompt, answer in filled}
    assert answers == {
        "Is there a cup?": " yes",
        "What colour is the cat?": " red",
        "What colour is the cup?": " blue",
        "What is red?": " cat",
        "What is blue?": " cup",
        "Where is the cat?": " top left",
        "Where is the cup?": " bottom right",
    }
    assert len(lessons.conversations(*tables, most=4, seed=0)[0][1]) == 4


def test_which_model_the_other_stages_load():
    p = {profile: profile_params(Params, "llava_vqa", profile).train for profile in ("small", "full")}
    assert trained(p["small"], "small") == "models/llava_small/small/model"
    assert trained(p["full"], "full") == "llava_15_7b"
    assert trained(dataclasses.replace(p["full"], steps=1), "full") == "models/llava_small/full/model"
