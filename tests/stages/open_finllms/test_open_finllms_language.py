"""Perplexities and their changes from log-likelihoods of documents, by hand."""

import math

import numpy as np
import polars as pl
import pytest

from stages.open_finllms import language, language_figures


def document(arm, part, place, tokens, logprob, digits=0, digits_logprob=0.0):
    named = {"arm": arm, "part": part, "source": "s", "id": f"{part}:{place}"}
    return named | {"tokens": tokens, "logprob": logprob, "digits": digits, "digits_logprob": digits_logprob}


def likelihoods(**by_arm):
    """part -> [(tokens, logprob, …)] of each arm."""
    return pl.DataFrame(
        [document(arm, part, i, *row) for arm, parts in by_arm.items() for part, rows in parts.items() for i, row in enumerate(rows)]
    )


def row(table, **named):
    found = table.filter(**named)
    assert len(found) == 1
    return found.to_dicts()[0]


LONG = likelihoods(
    before={"prices": [(1, -1.0, 1, -1.0)], "indicators": [(3, -9.0, 0, 0.0)], "general": [(2, -2.0), (6, -6.0)]},
    none={"prices": [(1, -1.0, 1, -2.0)], "indicators": [(3, -3.0, 0, 0.0)], "general": [(2, -3.0), (6, -9.0)]},
    replay={"prices": [(1, -1.0, 1, -0.5)], "indicators": [(3, -5.0, 0, 0.0)], "general": [(2, -2.0), (6, -6.0)]},
)


def test_tokens_weigh_alike_whatever_document_they_stand_in():
    """finance before: 10 nats on 4 tokens, e^2.5; the mean of the documents' own means would be e^2."""
    found = row(language.levels(LONG), arm="before", part="finance", counted="all")
    assert found["perplexity"] == pytest.approx(math.exp(2.5)) and (found["documents"], found["tokens"]) == (2, 4)
    assert found["change"] is None and found["low"] <= found["perplexity"] <= found["high"]


def test_changes_are_of_the_same_documents():
    """general: 1 nat a token before and with replay, 1.5 without, in every document alike: no resample differs."""
    levels, changes = language.levels(LONG), language.changes(LONG)
    found = row(levels, arm="none", part="general", counted="all")
    for name in ("change", "change_low", "change_high"):
        assert found[name] == pytest.approx(math.exp(0.5) - 1)
    assert row(changes, arm="replay", other="before", part="general", counted="all")["value"] == 0
    back = row(changes, arm="replay", other="none", part="general", counted="all")
    assert back["value"] == back["low"] == back["high"] == pytest.approx(math.exp(-0.5) - 1)
    assert {tuple(pair) for pair in changes.select("arm", "other").rows()} == {("none", "before"), ("replay", "before"), ("replay", "none")}


def test_digits_are_counted_by_themselves_and_documents_without_any_left_out():
    found = row(language.changes(LONG), arm="replay", other="none", part="finance", counted="digits")
    assert found["documents"] == 1 and found["value"] == pytest.approx(math.exp(-1.5) - 1)
    assert language.levels(LONG).filter(part="general", counted="digits").is_empty()


def test_pairing_finds_what_the_perplexities_alone_hide():
    """Documents between 1 and 4 nats a token, each .02 nats worse without replay give or take .01: the intervals of the two perplexities
    overlap and that of their change lies above 0."""
    rng = np.random.default_rng(0)
    hard, worse = rng.uniform(1, 4, 80), rng.normal(0.02, 0.01, 80)
    table = likelihoods(
        before={"general": [(100, -100 * h) for h in hard]}, none={"general": [(100, -100 * (h + w)) for h, w in zip(hard, worse)]}
    )
    levels = language.levels(table)
    before, after = (row(levels, arm=arm, part="general", counted="all") for arm in ("before", "none"))
    assert after["low"] < before["high"]
    assert after["change"] == pytest.approx(math.expm1(worse.mean()))
    assert 0 < after["change_low"] < after["change"] < after["change_high"] < 0.03


def test_rows_of_results_name_the_model_and_the_arm():
    t = {"perplexity": language.levels(LONG)}
    rows = list(language.results("small", "smollm2", t))
    assert {(one["model"], one["method"]) for one in rows} == {
        ("smollm2", "before"), ("finllama", "pre-trained, none"), ("finllama", "pre-trained, replay"),
    }  # fmt: skip
    assert len(rows) == 4 * 3 + 4 * 2 and {one["split"] for one in rows} == {
        f"held out, {p}" for p in ("finance", "prices", "indicators", "general")
    }


def test_pictures_hold_every_arm_and_part_and_rates_have_views_of_their_own():
    levels = language.levels(LONG)
    curves = pl.DataFrame(
        {
            "run": ["pre-training, none", "pre-training, replay", "instructions"],
            "step": 1,
            "tokens": 768,
            "loss": 0.5,
            "rate": [1e-4, 1e-3, 0.1],
        }
    )
    views = language_figures.draw({"perplexity": levels, "training_curves": curves})["perplexity"]["vconcat"]
    shown = [(view["title"], {(one["arm"], one["part"]) for one in view["data"]["values"]}) for view in views]
    parts = ("tables of prices", "tables of indicators", "news")
    assert shown == [("learning rate 0.0001", {("none", p) for p in parts}), ("learning rate 0.001", {("replay", p) for p in parts})]
