"""The claims: they hold for an invented model that sees and looks, fail for one that does not, and notice a broken set."""

import json

import invented_vision as invented
import numpy as np
import polars as pl
import pytest
from judging import verdicts

from catalog.report import results
from stages.llava_vqa import evaluate

GOOD = {"image": 0.93, "swapped": 0.15, "no image": 0.15, "untrained": 0.2, "text": 0.95}
BAD = {"image": 0.15, "swapped": 0.4, "no image": 0.4, "untrained": 0.5, "text": 0.2}
LOOKS = {"best head": 0.97, "direct": 0.95, "attention": 0.5, "rollout": 0.4, "grad-cam": 0.5, "causal": 0.9, "centre": 0.0, "random": 0.0}
BLIND = LOOKS | {"best head": 0.0, "direct": 0.2, "attention": 0.6, "rollout": 0.5, "random": 0.3, "centre": 0.3}


@pytest.fixture(scope="module")
def scenes():
    return invented.scenes()


def signals(scenes, right, points, spread, rng=None):
    """All raw signals of one invented model."""
    rng = rng or np.random.default_rng(1)
    raw = scenes | {"llava_answers.answers": invented.answers(scenes, right, rng)}
    raw["llava_maps.maps"], raw["llava_maps.curves"] = invented.maps(scenes, points, spread, rng)
    return raw | invented.mechanism(scenes, spread, rng) | {"llava_small.curves": invented.CURVES}


def judged(raw, root, queries="llava"):
    """Verdict of each claim on the reports that the evaluation writes of ``raw``; the named queries that begin so must find rows."""
    t = evaluate.own_tables(raw, invented.PARAMS.evaluate)
    (root / "stages").symlink_to(evaluate.ROOT / "stages")
    results.write_tables(t, "llava_vqa", "small", root=root)
    results.write_results(evaluate.result_rows(t, "small"), "llava_vqa", "small", root=root)
    json.dumps(evaluate.figures.draw(t), allow_nan=False)
    return verdicts("llava_vqa", root, queries)


def test_every_claim_holds_for_a_good_model(scenes, tmp_path):
    found = judged(signals(scenes, GOOD, LOOKS, True), tmp_path)
    assert len(found) == 23 and found == dict.fromkeys(found, "holds")


def test_every_claim_fails_for_a_bad_one(scenes, tmp_path):
    """Answers are better without the image, maps point elsewhere, all take 50 forward passes, and heads carry less than their control."""
    raw = signals(scenes, BAD, BLIND, False)
    raw["llava_maps.maps"] = raw["llava_maps.maps"].with_columns(forwards=pl.lit(50))
    found = judged(raw, tmp_path)
    assert found == dict.fromkeys(found, "fails")


def test_words_that_tell_the_answer_are_noticed(scenes, tmp_path):
    told = pl.when(pl.col("answer").is_not_null()).then(pl.format("{} {}", "question", "answer")).otherwise("question")
    leaking = scenes | {"scenes.questions": scenes["scenes.questions"].with_columns(question=told)}
    assert judged(signals(leaking, GOOD, LOOKS, True), tmp_path)["no-leak"] == "fails"


def test_what_was_not_mapped_is_not_measured(scenes, tmp_path):
    """Without maps of absent objects nothing is said about them, and without curves nothing about masking."""
    raw = signals(scenes, GOOD, LOOKS, True)
    absent = raw["scenes.questions"].filter(type="absent")["id"].implode()
    raw["llava_maps.maps"] = raw["llava_maps.maps"].filter(~pl.col("question").is_in(absent))
    raw["llava_maps.curves"] = raw["llava_maps.curves"].clear()
    found = judged(raw, tmp_path, queries="none")
    assert {name for name, verdict in found.items() if verdict == "not measured"} == {
        "tells-what-is-absent",
        "more-than-its-own-doubt",
        "faithful",
    }
