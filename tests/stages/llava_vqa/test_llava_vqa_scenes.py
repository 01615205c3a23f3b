"""Composed scenes: where the objects are, what is asked, what the answers are, and that nothing leaks."""

import dataclasses
import io
from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image, ImageDraw
from test_llava_vqa_coco import write

from catalog.base.errors import CatalogError
from catalog.base.params import ROOT, profile_params
from stages.llava_vqa import coco, dataset, masks, pictures, questions, scenes
from stages.llava_vqa.leakage import any_object, leakage
from stages.llava_vqa.settings import Params

TOKENIZER = ROOT / "models/smollm2/base/tokenizer.json"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A project with a picture for every emoji: a disc that is darker below."""
    root = tmp_path_factory.mktemp("project")
    (root / dataset.EMOJI).mkdir(parents=True)
    picture = Image.new("RGBA", (64, 64))
    ImageDraw.Draw(picture).ellipse((4, 12, 59, 51), fill=(240, 240, 0, 255))
    ImageDraw.Draw(picture).chord((4, 12, 59, 51), 30, 150, fill=(90, 0, 0, 255))
    for known, held_out in pictures.EMOJI.values():
        for name in (*known, *held_out):
            picture.save(root / dataset.EMOJI / f"{name}.png")
    return root


@pytest.fixture(scope="module")
def settings():
    p = profile_params(Params, "llava_vqa", "small").data
    return dataclasses.replace(p, images={"train": 60, "valid": 4, "seen": 20, "unseen": 30})


@pytest.fixture(scope="module")
def tables(root, settings):
    return dataset.build(settings, root, seed=0)


def things(tables):
    """Image -> rows of its objects."""
    return {image: rows.sort("object").to_dicts() for (image,), rows in tables["objects"].group_by("image")}


def test_the_same_seed_gives_the_same_bytes_and_another_one_does_not(root, settings):
    few = dataclasses.replace(settings, images=dict.fromkeys(settings.images, 5))
    first, again, other = (dataset.build(few, root, seed) for seed in (0, 0, 1))
    for name in first:
        assert again[name].equals(first[name]) and not other[name].equals(first[name])


def test_masks_lie_in_their_quadrant_and_show_their_colour(tables):
    picture = {row["image"]: np.asarray(Image.open(io.BytesIO(row["png"]))).astype(int) for row in tables["images"].to_dicts()}
    for image, objects in things(tables).items():
        covered = np.zeros((224, 224), int)
        assert len({row["place"] for row in objects}) == len(objects)
        for row in objects:
            mask = masks.decode(row["mask"], 224, 224)
            covered += mask
            assert mask.sum() == row["area"] and masks.box(mask) == (row["x0"], row["y0"], row["x1"], row["y1"])
            left, top = 112 * row["place"].endswith("right"), 112 * row["place"].startswith("bottom")
            assert left <= row["x0"] and row["x1"] <= left + 112 and top <= row["y0"] and row["y1"] <= top + 112
            assert 50 <= max(row["x1"] - row["x0"], row["y1"] - row["y0"]) <= 96
            shades = picture[image][mask]
            away = {name: np.abs(shades - rgb).sum(1).min() for name, rgb in pictures.COLOURS.items()}
            assert away[row["colour"]] < 40, (image, row["kind"], row["colour"])
        assert covered.max() == 1


@pytest.mark.parametrize("variant", ["thin", "double"])
def test_a_mask_is_what_was_painted(settings, root, variant):
    """A ring on a plain tone: the hole is outside the mask, and what differs from the tone inside, but for half-painted pixels."""
    ring = scenes.Thing(pictures.Picture("ring", variant, "drawn"), "red", "top left")
    image, (mask,) = scenes.render([ring], settings, "plain", root / dataset.EMOJI, np.random.default_rng(0))
    pixels = np.asarray(image).astype(int)
    painted = (np.abs(pixels - pixels[-1, -1]) > 8).any(2)
    assert not (mask & ~painted).any() and (painted & ~mask).sum() < 0.25 * mask.sum()
    x0, y0, x1, y1 = masks.box(mask)
    assert not mask[int(y0 + y1) // 2, int(x0 + x1) // 2] and mask.sum() < 0.7 * (x1 - x0) * (y1 - y0)


def test_tint_keeps_the_order_of_shades():
    grey = np.array([10, 100, 100, 100, 200])[None, :, None].repeat(3, 2)
    pixels = np.dstack([grey, np.full((1, 5), 255)]).astype(np.uint8)
    found = pictures.tint(pixels, (200, 100, 0))
    assert found[0, 1:4, :3].tolist() == [[200, 100, 0]] * 3  # the median shade becomes the colour
    assert found[0, 0, :3].tolist() == [60, 30, 0]  # three tenths of it
    assert found[0, 4, :3].tolist() == [230, 185, 140]  # 0.55 of the way to white
    assert (found[..., 3] == 255).all()


def test_splits_share_no_scene(settings):
    """Of single objects there are about a thousand scenes, so that splits of hundreds would meet by chance."""
    single = dataclasses.replace(settings, objects=(1.0,), images={"train": 600, "valid": 100, "seen": 200, "unseen": 200})
    found = {split: {frozenset(things) for things in composed} for split, composed in dataset._compose(single, 0).items()}
    assert sum(map(len, found.values())) == len(set().union(*found.values()))
    assert [len(composed) for composed in dataset._compose(single, 0).values()] == [600, 100, 200, 200]


def test_unseen_shows_all_kinds_by_pictures_that_train_does_not_show(tables):
    shown = tables["objects"].join(tables["images"], on="image").select("split", "kind", "picture").unique()
    train, unseen = (set(shown.filter(split=split).select("kind", "picture").iter_rows()) for split in ("train", "unseen"))
    assert not train & unseen and {kind for kind, _ in unseen} == {kind for kind, _ in train} == set(pictures.KINDS)


def right_answer(row, objects):
    """The answer of a question, read from its words and the table of objects alone."""
    text, kinds = row["question"], [thing["kind"] for thing in objects]
    if text.startswith("How many"):
        return ("one", "two", "three", "four")[len(objects) - 1]
    if text.startswith("Is there a "):
        return "yes" if text[len("Is there a ") : -1] in kinds else "no"
    if text.startswith("Do the "):
        first, second = text[len("Do the ") : -len(" have the same colour?")].split(" and the ")
        (one,), (other,) = ([thing["colour"] for thing in objects if thing["kind"] == kind] for kind in (first, second))
        return "yes" if one == other else "no"
    for start, known, wanted in (
        ("What colour is the ", "kind", "colour"),
        ("Where is the ", "kind", "place"),
        ("What is ", "colour", "kind"),
    ):
        if text.startswith(start):
            fitting = [thing[wanted] for thing in objects if thing[known] == text[len(start) : -1]]
            assert len(fitting) == (row["type"] != "absent")
            return fitting[0] if fitting else None


def test_answers_follow_from_the_objects(tables):
    objects = things(tables)
    for row in tables["questions"].to_dicts():
        scene = objects[row["image"]]
        assert right_answer(row, scene) == row["answer"]
        assert row["answer"] in row["candidates"] or row["type"] == "absent" and row["answer"] is None
        if row["type"] in ("colour", "kind", "place"):
            (asked,) = row["asked"]
            assert scene[asked][row["type"]] == row["answer"]
            assert row["others"] == [thing[row["type"]] for thing in scene if thing["object"] != asked]
        assert all(f"The {thing['kind']} at the {thing['place']} is {thing['colour']}." in row["text"] for thing in scene)
    of = tables["questions"]
    assert set(of["type"]) == set(questions.TYPES)
    assert set(of.filter(type="absent")["split"]) == {"seen", "unseen"} and of["id"].n_unique() == of.height


@pytest.fixture(scope="module")
def whole():
    """The questions of profile small."""
    p = profile_params(Params, "llava_vqa", "small")
    rows = [row for split, composed in dataset._compose(p.data, p.seed).items() for row in asked(p.data, split, composed)]
    return pl.DataFrame(rows, schema=dataset.QUESTIONS)


def test_answers_are_balanced(whole):
    train = whole.filter(split="train")
    assert train.height >= 2400
    for type in set(questions.TYPES) - {"absent"}:
        counts = train.filter(type=type)["answer"].value_counts()["count"]
        assert len(counts) == len(questions.CANDIDATES[type]) and counts.max() - counts.min() <= 4, type
    of_text = (
        train.filter(type="place").group_by("question", "answer").len().group_by("question").agg(pl.col("len").max() - pl.col("len").min())
    )
    assert of_text.height == len(pictures.KINDS) and of_text["len"].max() <= 6


def test_the_words_do_not_tell_the_answer(whole):
    """On either test split; a set in which the words do tell is found out."""
    found = leakage(whole)
    assert found.height == 12 and (found["n"] >= 40).all()
    assert found.filter((pl.col("text_low") > pl.col("chance")) | (pl.col("text_high") < pl.col("chance"))).is_empty()
    assert found.filter(pl.col("any_object") > 0.6).is_empty()
    cup = pl.col("question").str.contains("cup")
    told = whole.filter(type="place").with_columns(answer=pl.when(cup).then(pl.lit("top left")).otherwise(pl.lit("top right")))
    assert (leakage(told)["text"] == 1).all()


def asked(p, split, composed):
    return dataset._questions(p, split, {f"{split}-{i}": scene for i, scene in enumerate(composed)}, seed=0)


def test_naming_any_object():
    table = pl.DataFrame({"answer": ["red", "red", "cup"], "others": [["red", "blue"], ["blue", "blue", "pink"], []]})
    assert any_object(table).tolist() == [2 / 3, 1 / 4, 1]


def scene(*words):
    """Objects from "red cup top left" and the like."""
    found = []
    for text in words:
        colour, kind, place = text.split(" ", 2)
        found.append(scenes.Thing(pictures.Picture(kind, "x", "drawn"), colour, place))
    return found


def test_a_description_fits_one_object():
    """A red cup, a blue cup and a red cat: neither "the cup" nor "red" names one of them."""
    of = scene("red cup top left", "blue cup top right", "red cat bottom left")
    texts = {type: [(q.text, q.answer, q.asked) for q in questions.possible(of, type)] for type in questions.TYPES}
    assert texts["colour"] == [("What colour is the cat?", "red", (2,))]
    assert texts["kind"] == [("What is blue?", "cup", (1,))]
    assert texts["place"] == [("Where is the cat?", "bottom left", (2,))]
    assert texts["same"] == []
    assert texts["count"] == [("How many objects are there?", "three", (0, 1, 2))]
    assert ("Is there a cup?", "yes", (0, 1)) in texts["presence"] and ("Is there a car?", "no", ()) in texts["presence"]
    assert len(texts["absent"]) == len(pictures.KINDS) - 2
    of[1] = scene("red car top right")[0]
    (one, *_) = questions.possible(of, "same")
    assert (one.text, one.answer, one.asked) == ("Do the car and the cat have the same colour?", "yes", (1, 2))


def test_kinds_and_colours_are_single_tokens():
    if not TOKENIZER.is_file():
        pytest.skip("needs `dvc repro model@smollm2`")
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(TOKENIZER))
    words = (*pictures.KINDS, *pictures.COLOURS, *questions.NUMBERS, *questions.YES_NO)
    assert {word: len(tokenizer.encode(f" {word}", add_special_tokens=False).ids) for word in words} == dict.fromkeys(words, 1)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"images": {"train": 1}}, "data.images"),
        ({"questions": {"size": 1.0}}, "names size"),
        ({"questions": {"colour": 1.5}}, "colour"),
        ({"objects": (0.5, 0.4)}, "sum to 1"),
        ({"sides": (56, 120)}, "1 to 106"),
    ],
)
def test_parameters_that_make_no_scene(settings, root, change, match):
    with pytest.raises(CatalogError, match=match):
        dataset.build(dataclasses.replace(settings, **change), root, 0)


def test_a_missing_emoji_is_named(settings, tmp_path):
    with pytest.raises(CatalogError, match="fetch@emoji"):
        dataset.build(settings, tmp_path, 0)


def test_photographs_of_the_users_own_become_a_split(settings, root, tmp_path):
    folder = root / dataset.OWN / "mine"
    folder.mkdir(parents=True)
    write(folder, {"segmentation": [[0, 0, 0, 6, 6, 6, 6, 0]], "attributes": {"color": "brown"}})
    few = dataclasses.replace(settings, images=dict.fromkeys(settings.images, 3), coco="mine")
    found = dataset.build(few, root, 0)
    assert found["images"].filter(split=coco.SPLIT)["image"].to_list() == ["coco-7"]
    rows = {row["type"]: row for row in found["questions"].filter(split=coco.SPLIT).to_dicts()}
    assert rows["colour"]["question"] == "What colour is the dog?" and rows["colour"]["candidates"] == ["brown"]
    assert rows["place"]["answer"] == "top left" and "absent" not in rows
    assert Counter(found["questions"]["split"])["train"] > 0 and Path(root).is_dir()
