"""The coherence model of simdoc and the embeddings it reads, on documents made up for it and a tiny random encoder."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from tiny_text import encoder

from catalog.base.errors import CatalogError
from catalog.models import encoder as embed
from stages.simdoc import coherence
from stages.simdoc.settings import Coherence

C = Coherence("none", hidden=4, pooling="last", dropout=0.0, batch_size=4, learning_rate=0.05, weight_decay=0.0, epochs=30, patience=10)


# --- coherence --------------------------------------------------------------------------------------------------------------------------


def ordered(count, seed=0):
    """Documents whose sentences lie on a line, first to last."""
    rng = np.random.default_rng(seed)
    return [np.linspace(-1, 1, n)[:, None].astype(np.float32) * np.ones((1, 3), np.float32) for n in rng.integers(4, 8, count)]


@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_the_coherence_model_learns_an_order_that_there_is(pooling):
    p = dataclasses.replace(C, pooling=pooling)
    held = ordered(12, 1)
    mixed = coherence.reordered(held, np.random.default_rng(2))
    model, history = coherence.fit(ordered(40), ([*held, *mixed], [1] * 12 + [0] * 12), p, 0)
    right, wrong = coherence.scores(model, held), coherence.scores(model, mixed)
    assert np.mean([a > b for a, b in zip(right, wrong)]) > 0.9 and history[-1]["validation"] < history[0]["validation"]
    again, _ = coherence.fit(ordered(40), ([*held, *mixed], [1] * 12 + [0] * 12), p, 0)
    assert coherence.scores(again, held) == right


def test_training_stops_early_and_keeps_the_best_epoch():
    noise = [np.random.default_rng(i).normal(size=(5, 3)).astype(np.float32) for i in range(24)]
    p = dataclasses.replace(C, patience=2, epochs=40)
    held, labels = noise[12:], [1, 0] * 6
    model, history = coherence.fit(noise[:12], (held, labels), p, 0)
    best = min(history, key=lambda row: row["validation"])
    assert len(history) < 40 and history[-1]["epoch"] - best["epoch"] == 2
    with torch.no_grad():
        value = float(coherence.balanced_loss(model(*coherence.padded(held)), torch.tensor(labels, dtype=torch.float32)))
    assert value == pytest.approx(best["validation"], rel=1e-5)


@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_a_score_does_not_depend_on_the_batch(pooling):
    model = coherence.CoherenceModel(3, 4, pooling).eval()
    documents = ordered(5)
    one = [coherence.scores(model, [rows])[0] for rows in documents]
    assert coherence.scores(model, documents) == pytest.approx(one, abs=1e-6)


def test_documents_without_an_order_have_no_score():
    model = coherence.CoherenceModel(3, 4, "mean")
    rows = ordered(1)[0]
    assert coherence.scores(model, [rows[:0], rows[:1], rows[:2]])[:2] == [None, None]
    assert 0 < coherence.scores(model, [rows[:2]])[0] < 1
    assert coherence.document_scores(model_of_width(16), encoder(), ["", "the cat sat .", "The cat sat. The dog ran."])[:2] == [None, None]
    with pytest.raises(CatalogError, match="documents of two and more sentences"):
        coherence.fit([rows[:1]], ([rows], [1]), C, 0)
    assert coherence.reordered([rows[:1]], np.random.default_rng(0)) == []


def model_of_width(width):
    return coherence.CoherenceModel(width, 4, "last").eval()


def test_classes_weigh_the_same_by_hand():
    logits, labels = torch.tensor([0.0, 0.0, 0.0, math.log(3)]), torch.tensor([0.0, 0.0, 0.0, 1.0])
    # log 2 for each shuffle, log(4/3) for the original at c = 3/4
    assert float(coherence.balanced_loss(logits, labels)) == pytest.approx((math.log(2) + math.log(4 / 3)) / 2)


def test_a_saved_coherence_model_is_the_same(tmp_path):
    model = model_of_width(3)
    coherence.save(model, tmp_path)
    assert coherence.scores(coherence.load(tmp_path), ordered(3)) == coherence.scores(model, ordered(3))
    (tmp_path / coherence.WEIGHTS).unlink()
    with pytest.raises(CatalogError, match="run the stage simdoc_train"):
        coherence.load(tmp_path)


def test_unknown_pooling_is_refused():
    with pytest.raises(CatalogError, match="use mean or last"):
        coherence.CoherenceModel(3, 4, "max")


# --- embeddings -------------------------------------------------------------------------------------------------------------------------


def test_a_sentence_is_the_mean_of_its_tokens_at_length_one():
    model, tokenizer = encoder()
    rows = embed.sentence_embeddings((model, tokenizer), ["the cat sat", "rain fell on the house", "the cat sat"])
    assert rows.shape == (3, 16) and np.array_equal(rows[0], rows[2]) and np.linalg.norm(rows, axis=1) == pytest.approx(np.ones(3))
    with torch.no_grad():
        mean = model(**tokenizer("the cat sat", return_tensors="pt")).last_hidden_state[0].mean(0)
    assert rows[0] == pytest.approx((mean / mean.norm()).numpy(), abs=1e-5)
    documents = embed.by_document((model, tokenizer), [["the cat sat"], [], ["rain fell", "the cat sat"]])
    assert [len(part) for part in documents] == [1, 0, 2] and np.array_equal(documents[2][1], rows[0])


def test_tokens_of_a_text_longer_than_the_encoder_are_all_there():
    model, tokenizer = encoder()
    long = " ".join(["the cat sat on a mat"] * 4)  # 24 tokens, 10 fit
    found = embed.token_embeddings((model, tokenizer), [long, "", "the cat"])
    assert [part.shape for part in found] == [(24, 16), (0, 16), (2, 16)]
    with torch.no_grad():
        states = model(**tokenizer("the cat", return_tensors="pt")).last_hidden_state[0, 1:-1]
    assert found[2] == pytest.approx(states.numpy(), abs=1e-5)


def test_a_missing_encoder_is_named():
    with pytest.raises(CatalogError, match="dvc repro fetch@none_such"):
        embed.load_encoder("none_such")
