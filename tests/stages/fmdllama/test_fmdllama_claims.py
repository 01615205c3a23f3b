"""The claims: they hold for an invented good model, fail for a bad one, and notice a broken set."""

import dataclasses
import json

import numpy as np
import polars as pl
import pytest
from judging import verdicts
from test_fmdllama_data import DAILY, NAMES, PARAMS, WORDINGS

from catalog.base.params import profile_params
from stages.fmdllama import dataset, evaluate, measure, tables
from stages.fmdllama.answers import parse
from stages.fmdllama.prompts import LABELS, answer
from stages.fmdllama.reader import Reader
from stages.fmdllama.settings import Params

# The whole evaluation, and its claims


@pytest.fixture(scope="module")
def items():
    return dataset.build(PARAMS, DAILY, NAMES, WORDINGS, seed=3)


def invented(items, skill, explained):
    """Answers of a variant that knows a share of the labels, beside a model that always says True, in the measuring stage's form."""
    rng = np.random.default_rng(1)
    rows, texts = [], []
    for method in ("untuned", "few-shot", "labelled", "reasoned"):
        for setting in ("retrieved", "full"):
            for item in items.filter(split="test").iter_rows(named=True):
                if (method == "few-shot" and item["task"] == "article") or (method == "labelled" and setting == "full"):
                    continue
                labels = LABELS[item["task"]]
                wrong = [label for label in labels if label != item["label"]]
                knows = rng.random() < {"reasoned": skill, "labelled": 0.4 + 0.4 * skill}.get(method, 0.4)
                label = item["label"] if knows else wrong[rng.integers(len(wrong))]
                key = {"method": method, "model": "smollm2", "setting": setting, "task": item["task"], "id": item["id"]}
                rows.append(key | {"label": label, "scores": [-1.0] * len(labels), "reason": ""})
                if item["task"] == "claim" and method in ("untuned", "reasoned"):
                    good = explained if method == "reasoned" else not explained
                    text = answer(item | {"label": label}, "label first", True) if good else "A price."
                    found = parse(text)
                    texts.append(key | {"text": text, "label": found.label, "status": found.status, "explanation": found.explanation})
    raw = {"items": items, "likelihoods": pl.DataFrame(rows, schema=measure.LIKELIHOODS)}
    raw["answers"] = pl.DataFrame([text | {"bertscore": 0.5} for text in texts], schema=measure.ANSWERS)
    variant = {"model": "smollm2", "setting": "retrieved", "items": 1, "contexts": 1, "tokens": 1, "labelled": 1}
    forms = {"reasoned": "reason first", "labelled": "label first"}
    raw["variants"] = pl.DataFrame([{"variant": name, "form": form} | variant for name, form in forms.items()])
    return raw | {"curves": pl.DataFrame({"variant": ["reasoned"] * 2, "step": [1, 2], "loss": [2.0, 1.0], "lr": [0.1, 0.1]})}


def about(main):
    """Parameters of profile small, with claims about these variants."""
    params = profile_params(Params, "fmdllama", "small")
    return dataclasses.replace(params, evaluate=dataclasses.replace(params.evaluate, main=main))


def judged(raw, tmp_path):
    """Verdict of each claim on the reports that the evaluation writes of ``raw``."""
    params = about(dict.fromkeys(("retrieved", "full", "article"), "reasoned"))
    t = evaluate.own_tables(raw, Reader(WORDINGS, NAMES.values()), params)
    (tmp_path / "stages").symlink_to(evaluate.ROOT / "stages")
    evaluate.write_tables(t, "fmdllama", "small", root=tmp_path)
    evaluate.write_results(evaluate.result_rows(t["scores"], t["leakage"], "small"), "fmdllama", "small", root=tmp_path)
    json.dumps(evaluate.figures.draw(t), allow_nan=False)
    return verdicts("fmdllama", tmp_path, "fmdllama")


ABOUT_A_MODEL = (
    *(
        "tuning-helps",
        "better-than-prompting",
        "better-than-a-classifier",
        "explains-better",
        "explains-better-than-a-copy",
        "two-way-task",
    ),
    *("bar-accuracy", "bar-nei", "true-against-false", "beyond-the-topic", "finds-the-sentence", "readable"),
    *("reasoning-first", "reasoning-first-on-signs"),
)


def test_claims_about_a_model_hold_for_a_good_one(items, tmp_path):
    found = judged(invented(items, 1.0, True), tmp_path)
    assert {name: found[name] for name in ABOUT_A_MODEL} == dict.fromkeys(ABOUT_A_MODEL, "holds")
    assert found["splits-apart"] == found["no-leak-in-notes"] == "holds"
    assert "fails" not in found.values() and "not measured" not in found.values()


def test_claims_about_a_model_fail_for_a_bad_one(items, tmp_path):
    found = judged(invented(items, 0.02, False), tmp_path)
    assert {name: found[name] for name in ABOUT_A_MODEL} == dict.fromkeys(ABOUT_A_MODEL, "fails")
    assert set(found) - set(ABOUT_A_MODEL) == {"labels-follow-from-the-text", "no-leak", "no-leak-in-notes", "splits-apart"}


def test_claims_about_the_set_fail_where_it_is_broken(items, tmp_path):
    """Labels that the context names and that do not follow from it, and an item that stands in two splits."""
    raw = invented(items, 0.5, True)
    named = pl.concat_list(pl.col("context"), pl.format("Tell {}.", "label"))
    turned = pl.when(task="claim").then(pl.col("label").replace({"True": "False", "False": "True"})).otherwise("label")
    claimed = items.with_columns(context=pl.when(task="claim").then(named).otherwise("context"), label=turned)
    notes = items.filter(task="article", split="train").with_columns(
        context=pl.concat_list(pl.col("context"), pl.format("So {}.", "label"))
    )
    tested = items.filter(task="article", split="test").with_columns(
        context=pl.concat_list(pl.col("context"), pl.format("So {}.", "label"))
    )
    twice = claimed.filter(task="claim", split="test").head(1).with_columns(split=pl.lit("train"), id=pl.lit("twice-True"))
    kept = claimed.filter((pl.col("task") == "claim") | (pl.col("split") == "valid"))
    raw["items"] = pl.concat([kept, notes, tested, twice.with_columns(label=pl.lit("True"))])
    found = judged(raw, tmp_path)
    assert found["labels-follow-from-the-text"] == found["no-leak"] == found["no-leak-in-notes"] == found["splits-apart"] == "fails"


def test_names_of_the_methods_are_those_of_the_measuring_stage():
    assert (tables.UNTUNED, tables.FEW_SHOT) == (measure.UNTUNED, measure.FEW_SHOT)


def test_the_evaluation_is_the_same_twice(items):
    raw = invented(items, 0.6, True)
    params = about({"retrieved": "reasoned", "full": None, "article": None})
    one, two = (evaluate.own_tables(raw, Reader(WORDINGS, NAMES.values()), params) for _ in range(2))
    assert all(one[name].equals(two[name]) for name in one)
    rows = evaluate.result_rows(one["scores"], one["leakage"], "small")
    assert evaluate.result_rows(two["scores"], two["leakage"], "small") == rows
    told = one["scores"].filter(method="reasoned", setting="full", decoding="likelihood", kind="all", task="claim").row(0, named=True)
    (row,) = (
        row
        for row in rows
        if (row["experiment"], row["method"], row["split"]) == ("claim, full", "reasoned", "test") and "false" in row["metric"]
    )
    assert (row["value"], row["n"]) == (told["true_false"], told["true_false_n"]) and row["n"] < told["n"]
    assert one["scores"].filter(role="reader", kind="all")["accuracy"].to_list() == [1.0] * 3  # both settings, and the notes
