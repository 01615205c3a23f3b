"""Training rows and likelihoods of labels on a tiny model: what is learnt, what it weighs, and that neighbours do not matter."""

import numpy as np
import pytest
import torch

from catalog.base.errors import CatalogError
from catalog.models.inference import chat_ids
from catalog.training.branches import branch_collate
from catalog.training.losses import label_log_probs, tensors_of
from catalog.training.packing import IGNORE, pack
from stages.fmdllama import method
from stages.fmdllama.prompts import prompt


def claim(text, label, context, retrieved, group="c1", explanation="A rose."):
    row = {"task": "claim", "claim": text, "label": label, "context": context, "retrieved": retrieved}
    return row | {"context_id": group, "explanation": explanation, "id": f"{group}-{text}"}


CONTEXT = ["A B C in May.", "A rose by 1 %.", "B fell by 2 %."]
ITEMS = [
    claim("A rose in May.", "True", CONTEXT, [1]),
    claim("B rose in May.", "False", CONTEXT, [2]),
    claim("C rose.", "NEI", ["C in June."], [0], group="c2"),
]
NOTE = {
    "task": "article",
    "label": "Fake",
    "context": ["A rose by 1 %.", "A fell by 1 %."],
    "context_id": "a1",
    "claim": None,
    "explanation": None,
    "retrieved": None,
}


def text_of(tokenizer, ids):
    return "".join(tokenizer.convert_ids_to_tokens(ids))


def alone(tokenizer, items, setting, form, weight, explained):
    """The same examples with a row for each."""
    out = []
    for item, with_text in zip(items, explained):
        before = chat_ids(tokenizer, prompt(item, setting))
        text = method.ending(tokenizer, item, form, with_text, weight)
        out.append(
            {
                "input_ids": before + text["input_ids"],
                "labels": [IGNORE] * len(before) + text["labels"],
                "weight": [0.0] * len(before) + text["weight"],
            }
        )
    return out


@pytest.mark.parametrize(
    ("form", "explained", "written"),
    [
        ("label first", True, "Prediction: True.\nExplanation: A rose."),
        ("label first", False, "Prediction: True."),
        ("quote first", True, "Explanation: A rose.\nPrediction: True."),
    ],
)
def test_what_is_learnt_is_the_answer_and_its_label_weighs_most(tokenizer, form, explained, written):
    made = method.ending(tokenizer, ITEMS[0], form, explained, 0.25)
    assert text_of(tokenizer, made["input_ids"]) == f"{written}</s>"
    assert made["labels"] == made["input_ids"]
    heavy = [token for token, weight in zip(tokenizer.convert_ids_to_tokens(made["input_ids"]), made["weight"]) if weight == 1]
    assert heavy == [" True"] and set(made["weight"]) == {0.25, 1.0}


def test_an_article_has_no_explanation(tokenizer):
    assert text_of(tokenizer, method.ending(tokenizer, NOTE, "label first", True, 0.5)["input_ids"]) == "Prediction: Fake.</s>"


@pytest.mark.parametrize("setting", ["retrieved", "full"])
def test_a_row_of_claims_gives_the_loss_of_rows_of_their_own(tokenizer, model, setting):
    explained = [True, False, True]
    shared = branch_collate(method.examples(tokenizer, ITEMS, setting, "label first", 0.5, 4096, explained))
    apart = tensors_of(pack(alone(tokenizer, ITEMS, setting, "label first", 0.5, explained), 0))
    assert len(shared["input_ids"]) == 2 and len(apart["input_ids"]) == 3
    assert shared["input_ids"].shape[1] < sum((apart["example"] == i).sum() for i in range(2))  # the context stands there once
    assert method.weighted_loss(model, shared).item() == pytest.approx(method.weighted_loss(model, apart).item(), abs=1e-5)
    assert sorted(label_log_probs(model, shared)[0].tolist()) == pytest.approx(sorted(label_log_probs(model, apart)[0].tolist()), abs=1e-4)


def test_the_prompt_of_training_is_that_of_inference(tokenizer):
    row = method.examples(tokenizer, ITEMS[2:], "retrieved", "label first", 1.0, 4096, [False])[0]
    asked = chat_ids(tokenizer, prompt(ITEMS[2], "retrieved"))
    assert row["input_ids"][: len(asked)] == asked
    assert all(label == IGNORE for label in row["labels"][: len(asked)]) and all(label != IGNORE for label in row["labels"][len(asked) :])


def test_a_long_context_is_cut_and_the_answer_is_not(tokenizer):
    item = {**ITEMS[0], "context": ["A rose by 1 %."] * 500, "retrieved": list(range(500))}
    row = method.examples(tokenizer, [item], "full", "label first", 1.0, 120, [True])[0]
    text = text_of(tokenizer, row["input_ids"])
    assert len(row["input_ids"]) == 120
    assert text.endswith("\nClaim: A rose in May.<model>Prediction: True.\nExplanation: A rose.</s>")
    assert text.startswith("<user>Task: Decide") and text.count("A rose by 1 %.") >= 5
    with pytest.raises(CatalogError, match="beside its context"):
        method.examples(tokenizer, [item], "full", "label first", 1.0, 40, [True])


def test_likelihoods_of_labels_do_not_depend_on_neighbours_or_order(tokenizer, model):
    together = method.label_scores(model, tokenizer, ITEMS, "full", 4096)
    backwards = method.label_scores(model, tokenizer, ITEMS[::-1], "full", 4096, at_once=1)[::-1]
    by_one = np.concatenate([method.label_scores(model, tokenizer, [item], "full", 4096) for item in ITEMS])
    assert together.shape == (3, 3)
    np.testing.assert_allclose(together, backwards, atol=1e-4)
    np.testing.assert_allclose(together, by_one, atol=1e-4)


def test_likelihood_of_a_label_by_hand(tokenizer, model):
    """The distribution behind the prompt and "Prediction:", at the first tokens of the labels."""
    ids = chat_ids(tokenizer, prompt(NOTE, "full")) + tokenizer("Prediction:", add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        expected = model(torch.tensor([ids])).logits[0, -1].log_softmax(-1)[tokenizer.convert_tokens_to_ids([" True", " Fake"])]
    np.testing.assert_allclose(method.label_scores(model, tokenizer, [NOTE], "full", 4096)[0], expected, atol=1e-4)


def test_labels_that_begin_alike_are_refused(tokenizer, model, monkeypatch):
    monkeypatch.setitem(method.LABELS, "claim", ("True", "True that"))
    with pytest.raises(CatalogError, match="begins two of the labels True, True that"):
        method.label_scores(model, tokenizer, ITEMS[:1], "full", 4096)
