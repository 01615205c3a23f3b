"""Scores of answers about charts, by hand: comparators that look at no picture or no word, means over kinds, paired differences."""

import io

import numpy as np
import polars as pl
import pytest
from PIL import Image

from stages.open_finllms import vision_scores
from stages.open_finllms.vision_answers import SCHEMA, chosen, swaps
from stages.open_finllms.vision_scores import BEST, BLIND, CONSTANT, EYE, MEAN, MODEL, PIXELS, WORDS


def png(shade):
    out = io.BytesIO()
    Image.fromarray(np.full((40, 40, 3), shade, dtype=np.uint8)).save(out, "PNG")
    return out.getvalue()


def question(name, image, kind, text, answer, candidates, letter="A", options=None):
    split = image.partition("-")[0]
    options = options or candidates
    gold = options["ABCD".index(letter)]
    asked = {"id": name, "image": image, "split": split, "category": "c", "kind": kind, "question": text, "answer": answer}
    return asked | {"candidates": candidates, "options": options, "letter": letter, "gold": gold, "asked": [0]}


WAYS, COLOURS = ["up", "down"], ["red", "blue", "green"]
ASKED = [
    question("r1", "train-1", "trend", "Up?", "up", WAYS),
    question("r2", "train-2", "trend", "Up?", "down", WAYS, "B"),
    question("r3", "train-3", "trend", "Up?", "up", WAYS),
    question("r4", "train-1", "colour", "Colour?", "green", COLOURS, "C"),
    question("t1", "test-1", "trend", "Up?", "up", WAYS),
    question("t2", "test-2", "trend", "Up?", "down", WAYS, "B"),
    question("t3", "test-2", "trend", "Rise?", "down", WAYS, "B"),
    question("t4", "test-1", "colour", "Colour?", "red", COLOURS),
]
SHADES = {"train-1": 0, "train-2": 200, "train-3": 90, "test-1": 10, "test-2": 210}
TABLES = {
    "questions": pl.DataFrame(ASKED),
    "images": pl.DataFrame(
        [{"image": name, "split": name.split("-")[0], "form": "line", "png": png(shade)} for name, shade in SHADES.items()]
    ),
}


def answers(**said):
    rows = []
    for condition, outputs in said.items():
        for (form, name), output in outputs.items():
            rows.append({"condition": condition.replace("_", " "), "form": form, "question": name, "output": output, "logprobs": None})
    return pl.DataFrame(rows, schema=SCHEMA)


OPEN = {("open", "t1"): "up", ("open", "t2"): "down", ("open", "t3"): "up", ("open", "t4"): "red"}
BLINDLY = {("open", "t1"): "up", ("open", "t2"): "up", ("open", "t3"): "up", ("open", "t4"): "blue"}
LETTERS = {("json", "t1"): '{"answer": "A"}', ("letter", "t1"): "C", ("steps", "t1"): "The answer is A.",
           ("json", "t2"): '{"answer": "A"}', ("letter", "t2"): "B", ("steps", "t2"): "The answer is B."}  # fmt: skip


def test_comparators_by_hand():
    said = vision_scores.predictions(TABLES, answers(image=OPEN))
    found = {(one["method"], one["question"]): one["answer"] for one in said.iter_rows(named=True)}
    assert [found[CONSTANT, name] for name in ("t1", "t2", "t3", "t4")] == ["down"] * 3 + ["red"]  # two of three
    assert [found[WORDS, name] for name in ("t1", "t2", "t3", "t4")] == ["up", "up", "up", "green"]  # Rise? has no text in training
    assert [found[PIXELS, name] for name in ("t1", "t2", "t3", "t4")] == ["up", "down", "down", "green"]


def test_a_constant_place_may_beat_a_constant_word():
    rows = [
        {"id": str(at), "kind": "compare", "answer": pair[0], "candidates": pair}
        for at, pair in enumerate((["red", "blue"], ["blue", "red"]))
    ]
    assert vision_scores.constant(rows) == {"0": "red", "1": "blue"}


def test_shares_means_and_differences():
    said = vision_scores.predictions(TABLES, answers(image=OPEN, no_image=BLINDLY))
    found = {
        (one["kind"], one["method"], one["less"]): one for one in vision_scores.scores(said, TABLES["questions"], 0).iter_rows(named=True)
    }
    assert found["trend", MODEL, None]["value"] == pytest.approx(2 / 3) and found["trend", MODEL, None]["n"] == 3
    assert found[EYE, MODEL, None]["value"] == pytest.approx((2 / 3 + 1) / 2)  # kinds weigh alike
    assert found[EYE, MODEL, BLIND]["value"] == pytest.approx((1 / 3 + 1) / 2)
    assert found["trend", MODEL, BLIND]["value"] == pytest.approx(1 / 3)
    assert found[EYE, MODEL, None]["chance"] == pytest.approx((1 / 2 + 1 / 3) / 2)
    for one in found.values():
        assert one["low"] <= one["value"] <= one["high"] and one["unreadable"] is None
    assert found["colour", MODEL, None]["low"] < 1  # one right answer of one is no certainty


def test_letters_by_prompt_mean_and_best():
    said = vision_scores.predictions(TABLES, answers(image=LETTERS, no_image=dict.fromkeys(LETTERS, "nothing")))
    found = {(one["form"], one["kind"], one["method"], one["less"]): one
             for one in vision_scores.scores(said, TABLES["questions"], 0).iter_rows(named=True)}  # fmt: skip
    every = vision_scores.EVERY
    by_prompt = {form: found[form, every, MODEL, None] for form in ("json", "letter", "steps")}
    assert {form: one["value"] for form, one in by_prompt.items()} == {"json": 0.5, "letter": 0.5, "steps": 1.0}
    assert by_prompt["letter"]["unreadable"] == 0.5  # C is no option of two
    assert found[MEAN, every, MODEL, None]["value"] == pytest.approx(2 / 3) and found[BEST, every, MODEL, None]["value"] == 1
    assert found[MEAN, every, BLIND, None]["unreadable"] == 1 and found[MEAN, every, MODEL, BLIND]["value"] == pytest.approx(2 / 3)
    assert found["letter", every, PIXELS, None]["value"] == 1  # the nearest pictures rise and fall alike


def test_swapped_pictures_and_the_choice_of_questions():
    images = pl.DataFrame({"image": ["a", "b", "c", "d"], "split": ["test"] * 4, "form": ["line", "bar", "line", "bar"]})
    assert swaps(images) == {"a": "c", "c": "a", "b": "d", "d": "b"}
    found = chosen(TABLES["questions"], 2)
    assert set(found["kind"]) == {"trend", "colour"} and set(found["split"]) == {"test"}
    assert len(chosen(TABLES["questions"], 0)) == 4
