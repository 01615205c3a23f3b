"""The tables of answers and maps: comparators, truth and differences by hand, and what does not fit together."""

import dataclasses

import numpy as np
import polars as pl
import pytest

from catalog.base.errors import CatalogError
from catalog.base.params import profile_params
from stages.llava_vqa import comparators, map_tables, masks, mechanics, tables
from stages.llava_vqa.settings import Params

P = profile_params(Params, "llava_vqa", "small").evaluate


def question(split, image, type="colour", answer="red", **rest):
    own = {"id": f"{image}-{type}", "image": image, "split": split, "type": type, "question": "What colour is the cup?", "answer": answer}
    return own | {"candidates": ["red", "blue"], "asked": [0], "others": ["blue"]} | rest


SCENES = [question("train", f"t{number}", answer=answer) for number, answer in enumerate(["red", "red", "red", "blue"])]
SCENES += [
    question("seen", "a"),
    question("seen", "b", answer="blue", others=["red", "blue"]),
    question("seen", "a", "absent", None, asked=[]),
]
QUESTIONS = pl.DataFrame(SCENES, schema_overrides={"asked": pl.List(pl.Int64)})


def square(number, image, x, y):
    mask = np.zeros((4, 4), bool)
    mask[y : y + 2, x : x + 2] = True
    return {"image": image, "object": number, "mask": masks.encode(mask)}


OBJECTS = pl.DataFrame([square(0, "a", 0, 0), square(1, "a", 2, 2), square(0, "b", 2, 0)])
IMAGES = pl.DataFrame({"image": ["a", "b"], "height": [4, 4], "width": [4, 4]})


def test_comparators_by_hand():
    found = {
        (method, name): right
        for method, name, right in comparators.rates(QUESTIONS, ("seen",)).select("method", "question", "right").rows()
    }
    assert found["chance", "a-colour"] == 0.5
    assert (found["majority", "a-colour"], found["majority", "b-colour"]) == (1, 0)  # red is the usual answer
    assert (found["text classifier", "a-colour"], found["text classifier", "b-colour"]) == (1, 0)  # its words say nothing more
    assert found["any object of the scene", "a-colour"] == 0.5  # a red and a blue object
    assert found["any object of the scene", "b-colour"] == pytest.approx(2 / 3)  # two of three are blue
    assert ("chance", "a-absent") not in found


def test_answers_of_another_set_are_refused_and_absent_ones_are_neither_right_nor_wrong():
    test = tables.asked(QUESTIONS, OBJECTS)
    rows = [("llava_small", "image", name, "red", [-0.1, -3.0], name == "a-colour") for name in ("a-colour", "b-colour", "a-absent")]
    answers = pl.DataFrame(rows, schema=["model", "condition", "question", "answer", "logprob", "correct"], orient="row")
    said = tables.predictions(test, answers, QUESTIONS["id"].to_list()).rows_by_key("question", named=True, unique=True)
    assert [said[name]["right"] for name in ("a-colour", "b-colour", "a-absent")] == [True, False, None]
    assert said["a-colour"]["logprob"] == -0.1
    with pytest.raises(CatalogError, match="no question of scenes"):
        tables.predictions(test, answers.with_columns(question=pl.lit("old")), QUESTIONS["id"].to_list())


def mapped(question, method, values, forwards=1):
    return {"question": question, "method": method, "values": values, "forwards": forwards, "target": "red", "head": None}


def test_maps_are_scored_against_the_object_that_was_asked_about():
    """Image a: the asked object is patch 0 of 2 x 2, another one patch 3."""
    test = tables.asked(QUESTIONS, OBJECTS)
    maps = [mapped("a-colour", "best head", [5.0, 1, 0, 4]), mapped("a-colour", "direct", [1.0, 0, 0, 9])]
    maps += [mapped("a-colour", "attention", [1.0, 1, 1, 1]), mapped("a-colour", "causal", [4.0, 1, 2, 3], 5)]
    maps += [mapped("a-absent", "best head", [0.0, 0, 1, 0])]
    maps = pl.DataFrame(maps)
    role = map_tables.roles(maps, P)
    curves = pl.DataFrame({"question": ["a-colour"] * 2, "method": ["direct"] * 2, "kind": ["deletion"] * 2, "share": [0.0, 1.0]})
    areas = map_tables.areas(curves.with_columns(probability=pl.Series([0.8, 0.2])))
    truth = map_tables.Truth(test, IMAGES, OBJECTS, 0.12)
    scores = map_tables.score_table(maps, areas, truth, dataclasses.replace(P, top=1), role)
    found = scores.filter(question="a-colour").rows_by_key("method", named=True, unique=True)
    assert {name: row["hit"] for name, row in found.items()} == {
        **{"best head": 1, "direct": 0, "attention": 0.25, "causal": 1},
        **{"random patch": 0.25, "random patch of any object": 0.5},
    }
    assert (found["best head"]["iou"], found["direct"]["iou"], found["best head"]["inside"]) == (1, 0, 0.5)
    assert found["best head"]["correlation"] == pytest.approx(0.8)  # ranks 4 2 1 3 and 4 1 2 3
    assert found["attention"]["correlation"] is None and found["causal"]["correlation"] is None
    assert found["direct"]["deletion"] == pytest.approx(0.5) and found["direct"]["insertion"] is None
    (absent,) = scores.filter(question="a-absent").to_dicts()
    assert absent["hit"] is None and absent["concentration"] == 1 and absent["peak"] == 1


def test_methods_need_a_role():
    maps = pl.DataFrame([mapped("a-colour", name, [0.0]) for name in ("best head", "direct", "attention", "causal")])
    assert map_tables.roles(maps, P)["causal"] == "causal"
    with pytest.raises(CatalogError, match="says nothing of the maps by guess"):
        map_tables.roles(pl.concat([maps, pl.DataFrame([mapped("a-colour", "guess", [0.0])])]), P)
    with pytest.raises(CatalogError, match="role paper to exactly one"):
        map_tables.roles(maps.filter(pl.col("method") != "best head"), P)
    with pytest.raises(CatalogError, match="has the role winner"):
        map_tables.roles(maps, dataclasses.replace(P, roles=P.roles | {"direct": "winner"}))
    with pytest.raises(CatalogError, match="no square grid"):
        map_tables.grid_of(8)


def test_the_best_of_several_is_corrected_for_their_number():
    """Roles that a claim may pick the best of have wider joint intervals; that of a single one is the plain one."""
    rng = np.random.default_rng(0)
    test = tables.Asked(np.arange(80), np.arange(80) // 2, np.full(80, "seen"), {"located": np.ones(80, bool)})
    values = {name: rng.integers(0, 2, 80).astype(float) for name in ("own", "one", "two", "control")}
    found = tables.contrasts(test, {"hit": values}, ["own"], {"one": "rival", "two": "rival", "control": "random", "own": "paper"})
    rows = found.rows_by_key("other", named=True, unique=True)
    assert (rows["one"]["comparisons"], rows["control"]["comparisons"]) == (2, 1)
    assert rows["one"]["joint_low"] < rows["one"]["low"] < rows["one"]["value"] < rows["one"]["high"] < rows["one"]["joint_high"]
    assert (rows["control"]["joint_low"], rows["control"]["joint_high"]) == (rows["control"]["low"], rows["control"]["high"])
    assert rows["one"]["value"] == pytest.approx(values["own"].mean() - values["one"].mean()) and rows["one"]["images"] == 40


def test_quantities_are_compared_with_their_control_and_with_the_text():
    rows = [("logit difference", condition, name, value, 1.0) for condition, name, value in (
        ("llava-tqa", "a-colour", 2.0), ("llava-tqa", "b-colour", 4.0), ("llava-vqa", "a-colour", 3.0), ("llava-vqa", "b-colour", 7.0),
    )]  # fmt: skip
    measured = pl.DataFrame(rows, schema=["quantity", "condition", "question", "value", "control"], orient="row")
    found = mechanics.mechanism(measured, QUESTIONS).rows_by_key("condition", named=True, unique=True)
    assert (found["llava-vqa"]["value"], found["llava-vqa"]["gain"], found["llava-vqa"]["beyond_told"]) == (5, 4, 2)
    assert (found["llava-vqa"]["beyond_told_low"], found["llava-vqa"]["beyond_told_high"]) == (1, 3)
    assert (found["llava-tqa"]["value"], found["llava-tqa"]["beyond_told"], found["llava-tqa"]["n"]) == (3, None, 2)
    assert mechanics.metric("logit difference") == "logit_difference"
    with pytest.raises(CatalogError, match="no metric is named"):
        mechanics.metric("warmth")
