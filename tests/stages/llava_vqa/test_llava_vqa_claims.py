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


def judged(raw, root):
    """Verdict of each claim on the reports that the evaluation writes of ``raw``."""
    t = evaluate.own_tables(raw, invented.PARAMS.evaluate)
    (root / "stages").symlink_to(evaluate.ROOT / "stages")
    results.write_tables(t, "llava_vqa", "small", root=root)
    results.write_results(evaluate.result_rows(t, "small"), "llava_vqa", "small", root=root)
    json.dumps(evaluate.figures.draw(t), allow_nan=False)
    return verdicts("llava_vqa", root, "llava")


def test_every_claim_holds_for_a_good_model(scenes, tmp_path):
    found = judged(signals(scenes, GOOD, LOOKS, True), tmp_path)
    assert found == dict.fromkeys(found, "holds")


def test_every_claim_about_a_model_fails_for_a_bad_one(scenes, tmp_path):
    raw = signals(scenes, BAD, BLIND, False)
    raw["llava_maps.maps"] = raw["llava_maps.maps"].with_columns(forwards=pl.lit(50))
    found = judged(raw, tmp_path)
    assert found == dict.fromkeys(found, "fails")
