"""The calibration experiment of gender_bias: its grammar, its interval, and a small run of it."""

import dataclasses
import math

import numpy as np
import polars as pl
import pytest
import torch

from stages.gender_bias import calibration
from stages.gender_bias.calibration import Sizes

Z = Sizes(seeds=1, words_each=2, definitional=2, objects=6, sentences=500, steps=130, draws=2, edited=6)


def test_the_grammar_has_pairs_of_kinds_and_unseen_frames():
    words = calibration.grammar(Z)
    assert dict(words.group_by("kind").len().iter_rows()) == {"biased": 12, "free": 6, "definitional": 4, "object": 6}
    assert words["word"].is_unique().all()
    halves = words.filter(kind="biased").group_by("split").agg(pl.col("p_man").sort())
    leans = dict(halves.iter_rows())
    assert leans["locate"] == leans["evaluate"] == sorted(calibration.LEANS)  # both halves lean alike
    table = calibration.frames()
    seen, unseen = table.filter("trained"), table.filter(~pl.col("trained"))
    assert len(seen) == 20 and len(unseen) == 5
    assert set(seen["opening"]) == set(unseen["opening"]) and set(seen["copula"]) == set(unseen["copula"])
    prompts = calibration.prompt_table(words)
    assert len(prompts) == len(prompts.unique(["word", "template", "split"]))
    trained = prompts.join(table, on="template")
    assert (trained["trained"] == (trained["split"] == "locate")).all()
    neutral = calibration.neutral_table(words)
    assert not set(neutral.filter(split="locate")["text"]) & set(neutral.filter(split="evaluate")["text"])
    assert "the o0 is a tool" in neutral["text"]


def test_the_corpus_counts_every_sentence():
    words = calibration.grammar(Z)
    tokenizer = calibration.tokenizer_of(words)
    table, ids, counts = calibration.sample(words, tokenizer, Z, 5)
    assert ids.shape == (len(table), 4) and (table.group_by("word").agg(pl.col("n").sum())["n"] == Z.sentences).all()
    assert counts.sum(1).tolist() == table["n"].to_list()
    man, woman = (tokenizer(word)["input_ids"][0] for word in ("man", "woman"))
    gendered = torch.tensor(table["p_man"].is_not_null().to_list())
    assert counts[gendered, man].tolist() == table["man"].drop_nulls().to_list()
    assert (counts[gendered, man] + counts[gendered, woman]).tolist() == table.filter(pl.col("p_man").is_not_null())["n"].to_list()
    assert not counts[~gendered, man].any()
    share = table.group_by("kind", "p_man").agg(pl.col("man").sum() / pl.col("n").sum()).drop_nulls()
    assert (share["man"] - share["p_man"]).abs().max() < 0.05
    assert not set(table["prefix"]) & set(calibration.prompt_table(words).filter(pl.col("split") == "evaluate")["text"])


def test_the_interval_adds_both_errors_in_squares(monkeypatch):
    """A word of 100 sentences whose d is 0 at two frames and 1 at two: by hand."""

    class Read:
        words = pl.DataFrame({"category": "biased", "word": "b0", "p_man": [0.7] * 4})
        factual = words.clear()
        on_words, on_factual = "words", "factual"

        def odds(self, p):
            return pl.DataFrame({"d": [0.0, 0.0, 1.0, 1.0] if p == "words" else []}, schema={"d": pl.Float64})

    monkeypatch.setattr(calibration, "bootstrap", lambda d: (0.2, 0.9))
    r = calibration.word_rows(Read(), pl.DataFrame({"word": ["b0"] * 2, "n": [40, 60], "man": [30, 40]})).row(0, named=True)
    assert (r["measured"], r["planted"], r["corpus"]) == pytest.approx((0.5, math.log(7 / 3), math.log(70.5 / 30.5)))
    q, z = 1 / (1 + math.exp(-0.5)), 1.959964
    middle, half = q + z**2 / 200, z * math.sqrt(q * (1 - q) / 100 + z**2 / 40000)
    low, high = ((middle + sign * half) / (1 + z**2 / 100) for sign in (-1, 1))
    assert r["ci_low"] == pytest.approx(0.5 - math.hypot(math.log(low / (1 - low)) - 0.5, 0.3), abs=1e-5)
    assert r["ci_high"] == pytest.approx(0.5 + math.hypot(math.log(high / (1 - high)) - 0.5, 0.4), abs=1e-5)
    assert r["inside"] and not r["called_biased"]


@pytest.fixture(scope="module")
def made():
    return calibration.calibrate(3, Z)


def test_the_planted_bias_is_recovered(made):
    table = made["calibration"]
    assert table.columns == ["seed", "kind", "word", "planted", "corpus", "measured", "ci_low", "ci_high", "inside", "called_biased"]
    assert len(table) == 12 + 6 + 4
    shares = dict(table.group_by("kind").agg(pl.col("inside").mean()).iter_rows())
    assert shares["biased"] >= 0.8 and shares["free"] >= 0.8 and shares["definitional"] >= 0.75
    called = dict(table.group_by("kind").agg(pl.col("called_biased").mean()).iter_rows())
    assert called["biased"] == called["definitional"] == 1 and called["free"] <= 0.2
    assert np.corrcoef(table["measured"], table["corpus"])[0, 1] > 0.99


def test_the_edit_of_the_planted_bias(made):
    table = made["calibration_edit"]
    assert table.columns == ["seed", "method", "n", "abs_d_biased", "abs_d_free", "factual", "neutral_kl"]
    rows = {r["method"]: r for r in table.iter_rows(named=True)}
    assert rows["none"]["n"] == 0 and rows["none"]["neutral_kl"] == pytest.approx(0, abs=1e-6)
    assert rows["combined"]["n"] == rows["random"]["n"] == rows["general"]["n"] == rows["logit"]["n"] > 0
    assert rows["combined"]["abs_d_biased"] < rows["random"]["abs_d_biased"] - 0.1
    assert rows["combined"]["abs_d_biased"] < rows["none"]["abs_d_biased"] - 0.1
    assert rows["general"]["neutral_kl"] > 3 * rows["combined"]["neutral_kl"]
    assert rows["none"]["factual"] > rows["combined"]["factual"] > 1


def test_same_seed_same_tables(monkeypatch):
    full = calibration.settings_of
    few = {"refits": 0, "logit_candidates": 6, "causal_candidates": 6, "query_candidates": 4}
    monkeypatch.setattr(calibration, "settings_of", lambda z: dataclasses.replace(full(z), **few))
    short = dataclasses.replace(Z, seeds=2, steps=6, draws=1, words_each=2, objects=3)
    one, two = calibration.calibrate(1, short), calibration.calibrate(2, dataclasses.replace(short, seeds=1))
    assert all(one[name].filter(seed=2).equals(two[name]) for name in one) and one["calibration"]["seed"].unique().to_list() == [1, 2]
    assert not one["calibration"].filter(seed=1)["corpus"].equals(one["calibration"].filter(seed=2)["corpus"])
