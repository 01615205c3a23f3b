"""Training rows and likelihoods of labels on a tiny model: what is learnt, what it weighs, and that neighbours do not matter."""

import numpy as np
import pytest
import torch

from catalog.base.errors import CatalogError
from catalog.models.inference import chat_ids
from catalog.training.losses import label_log_probs, tensors_of
from catalog.training.packing import IGNORE, pack
from stages.fmdllama import labelling, method
from stages.fmdllama.prompts import prompt


def claim(text, label, context, retrieved, group="c1", explanation="A rose."):
    row = {
        "task": "claim",
        "claim": text,
        "reason": "It was up; the claim says up.",
        "label": label,
        "context": context,
        "retrieved": retrieved,
    }
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
        before = chat_ids(tokenizer, prompt(item, setting, form, with_text))
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
        ("reason first", False, "Reason: It was up; the claim says up.\nPrediction: True."),
        ("reason first", True, "Reason: It was up; the claim says up.\nPrediction: True.\nExplanation: A rose."),
    ],
)
def test_what_is_learnt_is_the_answer_and_its_label_weighs_most(tokenizer, form, explained, written):
    made = method.ending(tokenizer, ITEMS[0], form, explained, (0.5, 0.25))
    assert text_of(tokenizer, made["input_ids"]) == f"{written}</s>"
    assert made["labels"] == made["input_ids"]
    tokens = list(zip(tokenizer.convert_ids_to_tokens(made["input_ids"]), made["weight"]))
    parts = ["".join(token for token, weight in tokens if weight == wanted) for wanted in (0.5, 1.0, 0.25)]
    assert parts == [written[: written.index(" True")], " True", written[written.index("True") + 4 :] + "</s>"]


def test_an_article_has_no_explanation(tokenizer):
    assert text_of(tokenizer, method.ending(tokenizer, NOTE, "label first", True, (0.5, 0.5))["input_ids"]) == "Prediction: Fake.</s>"


@pytest.mark.parametrize(("setting", "rows"), [("retrieved", 3), ("full", 2)])
def test_a_row_of_claims_gives_the_loss_of_rows_of_their_own(tokenizer, model, setting, rows):
    explained = [True, False, True]
    shared = method.collate(method.examples(tokenizer, ITEMS, setting, "reason first", (1.0, 0.5), 4096, explained))
    apart = tensors_of(pack(alone(tokenizer, ITEMS, setting, "reason first", (1.0, 0.5), explained), 0))
    assert len(shared["input_ids"]) == rows and len(apart["input_ids"]) == 3
    if setting == "full":  # the context stands there once
        assert shared["input_ids"].shape[1] < sum((apart["example"] == i).sum() for i in range(2))
    assert method.weighted_loss(model, shared).item() == pytest.approx(method.weighted_loss(model, apart).item(), abs=1e-5)
    assert sorted(label_log_probs(model, shared)[0].tolist()) == pytest.approx(sorted(label_log_probs(model, apart)[0].tolist()), abs=1e-4)


def test_the_prompt_of_training_is_that_of_inference(tokenizer):
    row = method.examples(tokenizer, ITEMS[2:], "retrieved", "label first", (1.0, 1.0), 4096, [False])[0]
    asked = chat_ids(tokenizer, prompt(ITEMS[2], "retrieved"))
    assert row["input_ids"][: len(asked)] == asked
    assert all(label == IGNORE for label in row["labels"][: len(asked)]) and all(label != IGNORE for label in row["labels"][len(asked) :])


def test_a_long_context_is_cut_and_the_answer_is_not(tokenizer):
    item = {**ITEMS[0], "context": ["A rose by 1 %."] * 500, "retrieved": list(range(500))}
    row = method.examples(tokenizer, [item], "full", "label first", (1.0, 1.0), 120, [True])[0]
    text = text_of(tokenizer, row["input_ids"])
    assert len(row["input_ids"]) == 120
    assert text.endswith("\nClaim: A rose in May.<model>Prediction: True.\nExplanation: A rose.</s>")
    assert text.startswith("<user>Is the claim True") and text.count("A rose by 1 %.") >= 5
    with pytest.raises(CatalogError, match="beside its context"):
        method.examples(tokenizer, [item], "full", "label first", (1.0, 1.0), 40, [True])


def scored(model, tokenizer, items, form, setting="full", most=8, before=(), members=None):
    prompts = [method.prompt_ids(tokenizer, item, setting, form, 20, 4096, before=before) for item in items]
    return labelling.label_scores(model, tokenizer, items, form, prompts, members or method.groups(items, 9), most)


@pytest.mark.parametrize("form", ["label first", "reason first"])
def test_likelihoods_of_labels_do_not_depend_on_neighbours_or_order(tokenizer, model, form, monkeypatch):
    together = scored(model, tokenizer, ITEMS, form)
    backwards = scored(model, tokenizer, ITEMS[::-1], form)
    apart = scored(model, tokenizer, ITEMS, form, members=[[0], [1], [2]])
    monkeypatch.setattr(labelling, "AT_ONCE", 1)
    by_one = scored(model, tokenizer, ITEMS, form)
    assert together.scores.shape == (3, 3)
    for other in (backwards.scores[::-1], apart.scores, by_one.scores):
        np.testing.assert_allclose(together.scores, other, atol=1e-4)
    assert together.reasons == backwards.reasons[::-1] == apart.reasons == by_one.reasons
    assert (form == "label first") == (together.reasons == [""] * 3)


@pytest.mark.parametrize("most", [0, 1, 8])
def test_a_label_behind_a_reason_by_hand(tokenizer, model, most):
    """Token by token without a cache: the likeliest ones to the end of the line, then the label's distribution behind "Prediction:"."""
    ids = chat_ids(tokenizer, prompt(ITEMS[0], "full", "reason first")) + tokenizer("Reason:", add_special_tokens=False)["input_ids"]
    written = []
    with torch.no_grad():
        while len(written) < most:
            token = int(model(torch.tensor([ids + written])).logits[0, -1].argmax())
            if token == tokenizer.eos_token_id or tokenizer.decode([token]) == "\n":
                break
            written.append(token)
        ids += written + tokenizer("\nPrediction:", add_special_tokens=False)["input_ids"]
        expected = model(torch.tensor([ids])).logits[0, -1].log_softmax(-1)[tokenizer.convert_tokens_to_ids([" True", " False", " NEI"])]
    found = scored(model, tokenizer, ITEMS[:1], "reason first", most=most)
    np.testing.assert_allclose(found.scores[0], expected, atol=1e-4)
    assert found.reasons == [tokenizer.decode(written).strip()]


def test_likelihood_of_a_label_by_hand(tokenizer, model):
    """The distribution behind the prompt and "Prediction:", at the first tokens of the labels."""
    ids = chat_ids(tokenizer, prompt(NOTE, "full")) + tokenizer("Prediction:", add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        expected = model(torch.tensor([ids])).logits[0, -1].log_softmax(-1)[tokenizer.convert_tokens_to_ids([" True", " Fake"])]
    np.testing.assert_allclose(scored(model, tokenizer, [NOTE], "reason first").scores[0], expected, atol=1e-4)


def test_labels_that_begin_alike_are_refused(tokenizer, model, monkeypatch):
    monkeypatch.setitem(labelling.LABELS, "claim", ("True", "True that"))
    with pytest.raises(CatalogError, match="begins two of the labels True, True that"):
        scored(model, tokenizer, ITEMS[:1], "label first")


def test_values_at_even_distances():
    assert method.spread([0, 1, 2, 3, 4, 5], 3) == [0, 2, 4]
    assert method.spread([0, 1], 0) == [0, 1] == method.spread([0, 1], 5)
