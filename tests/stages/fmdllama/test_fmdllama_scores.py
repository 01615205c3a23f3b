"""Answers and scores by hand, and on the paper's conventions."""

import json
import os
from pathlib import Path

import pytest

from catalog.base.errors import CatalogError
from stages.fmdllama import scores
from stages.fmdllama.answers import parse
from stages.fmdllama.prompts import answer, cut_context, prompt


@pytest.mark.parametrize(
    ("text", "label", "explanation"),
    [
        ("Prediction: True.\nExplanation: Sales rose.", "True", "Sales rose."),
        ("Prediction: Mostly True", None, ""),
        ("Prediction:True", None, ""),
        ("I cannot say.", None, ""),
        ("It is false", None, ""),
        ("Human: Claim: x\nAssistant: Prediction: False.\nExplanation: No.", "False", "No."),
        # The defect that the name stands for: the context has the marker, so the "answer" begins inside it.
        ("Human: He said Assistant: Prediction: NEI later. Assistant: Prediction: True.", "NEI", ""),
    ],
)
def test_answers_as_the_papers_notebook_reads_them(text, label, explanation):
    found = parse(text, "paper")
    assert (found.label, found.explanation) == (label, explanation)


@pytest.mark.parametrize(
    ("text", "label", "explanation", "status"),
    [
        ("Prediction: True.\nExplanation: Sales rose.", "True", "Sales rose.", "ok"),
        ("prediction :  FALSE\n\nexplanation: It fell,\nand fell again.", "False", "It fell,\nand fell again.", "ok"),
        ("**Prediction:** [NEI]\n**Explanation:** nothing is said.", "NEI", "** nothing is said.", "ok"),
        ("Prediction: Not enough information (NEI).", "NEI", "", "ok"),
        ("Prediction: True. Explanation: Sales rose.", "True", "Sales rose.", "ok"),
        ("Prediction:True", "True", "", "ok"),
        ("Prediction: Mostly True", None, "", "unknown label"),
        ("Prediction: [True, False or NEI]", None, "", "unknown label"),
        ("Prediction: True or False", None, "", "unknown label"),
        ("Prediction: True\nPrediction: False", None, "", "several labels"),
        ("Prediction: True\nPrediction: True.", "True", "", "ok"),
        ("Prediction: Fake", None, "", "unknown label"),
        ("It would be wrong to call this true.", None, "", "no prediction"),
        ("Prediction: False.\nExplanation: It is not true that rates doubled.", "False", "It is not true that rates doubled.", "ok"),
        ("Explanation: I would say Prediction: True", None, "I would say Prediction: True", "no prediction"),
        ("Explanation: It fell,\nand fell.\nPrediction: False.", "False", "It fell,\nand fell.", "ok"),
        ("Explanation: It fell. Prediction: True\nPrediction: False.", "False", "It fell. Prediction: True", "ok"),
        ("Prediction: True.\nExplanation: It rose.\nPrediction: False.", None, "It rose.", "several labels"),
        ("Reason: It was up; the claim says up.\nPrediction: True.\nExplanation: It rose.", "True", "It rose.", "ok"),
        ("  \n", None, "", "empty"),
        ("", None, "", "empty"),
    ],
)
def test_answers_as_a_careful_reader_takes_them(text, label, explanation, status):
    assert parse(text) == (label, explanation, status)


def test_labels_of_the_two_way_task():
    assert parse("Prediction: 0. Fake", labels=("True", "Fake")).label == "Fake"
    assert parse("Prediction: False", labels=("True", "Fake")).status == "unknown label"


def test_what_is_written_is_read_back():
    for label in ("True", "False", "NEI"):
        item = {"task": "claim", "label": label, "reason": "It was up; the claim says down.", "explanation": "It rose: by 3 %."}
        assert parse(answer(item, "reason first", True)) == (label, "It rose: by 3 %.", "ok")
        assert parse(answer(item, explained=True)) == (label, "It rose: by 3 %.", "ok")
        assert parse(f"Assistant: {answer(item, explained=True)}", "paper") == (label, "It rose: by 3 %.", "ok")


def test_classification_scores_by_hand():
    gold = ["False", "False", "True", "True", "NEI", "NEI"]
    predicted = ["False", None, "True", "True", "False", None]
    found = scores.classification(gold, predicted, ("False", "True", "NEI"))
    expected = {
        "n": 6,
        "accuracy": 0.5,
        "micro_f1_union": 0.5,
        "micro_f1": 0.6,
        "macro_f1": 0.5,
        "macro_f1_union": 0.375,
        "unreadable": 2 / 6,
        "macro_precision": 0.5,
        "macro_recall": 0.5,
        "f1_False": 0.5,
        "f1_True": 1.0,
        "f1_NEI": 0.0,
    }
    assert found == pytest.approx(expected)


def test_majority_of_the_published_test_set():
    gold = ["False"] * 594 + ["True"] * 455 + ["NEI"] * 255
    found = scores.classification(gold, ["False"] * 1304, ("True", "False", "NEI"))
    assert found["accuracy"] == pytest.approx(0.455521, abs=5e-7)
    assert found["macro_f1"] == pytest.approx(0.208641, abs=5e-7)


def test_rouge_by_hand():
    reference, candidate = "the stock rose five percent in march", "the stock fell five percent"
    assert scores.rouge([reference], [candidate]) == [pytest.approx({"rouge1": 2 / 3, "rouge2": 0.4, "rougeL": 2 / 3})]
    assert scores.rouge([reference], [""]) == [{"rouge1": 0.0, "rouge2": 0.0, "rougeL": 0.0}]


def test_rouge_of_texts_that_its_published_tokens_do_not_hold():
    """Characters outside a-z and 0-9 are no tokens there: identical Chinese texts would have 0, mixed ones a score of what is left."""
    assert scores.rouge(["營收"], ["營收"]) == [None]
    assert scores.rouge(["營收5"], ["虧損5"])[0]["rouge1"] == 1.0  # the published metric
    assert scores.needs_unicode(["營收5"]) and not scores.needs_unicode(["$5, 3 % – “x”"])
    assert scores.rouge(["營收5"], ["虧損5"], unicode=True)[0]["rouge1"] == pytest.approx(1 / 3)
    assert scores.rouge(["營收"], ["營收"], unicode=True)[0]["rouge1"] == 1.0
    assert scores.rouge(["—"], ["—"], unicode=True) == [None]
    assert scores.mean_rouge([None, {"rouge1": 1.0, "rouge2": 0.0, "rougeL": 0.5}]) == {"n": 1, "rouge1": 1.0, "rouge2": 0.0, "rougeL": 0.5}


def test_score_of_the_challenge():
    assert scores.challenge(0.7182, 0.4502) == pytest.approx(0.5842)


def test_gold_labels_and_answers_must_fit():
    with pytest.raises(CatalogError, match="2 gold labels and 1 answers"):
        scores.classification(["True", "True"], ["True"], ("True",))
    with pytest.raises(CatalogError, match="'Half' is none of"):
        scores.classification(["Half"], ["True"], ("True", "False"))


ITEM = {"task": "claim", "claim": "A rose.", "context": ["Lead.", "A: +1 %.", "B: -1 %."], "retrieved": [1]}


def test_prompts_of_both_settings():
    assert prompt(ITEM, "retrieved")[1]["content"].endswith("Context: A: +1 %.\nClaim: A rose.")
    assert prompt(ITEM, "full")[1]["content"].endswith("Context: Lead. A: +1 %. B: -1 %.\nClaim: A rose.")
    with pytest.raises(CatalogError, match="'half' is unknown"):
        prompt(ITEM, "half")


def test_the_context_is_cut_and_nothing_else():
    before, context, behind = list(range(10)), list(range(100, 10100)), list(range(20, 25))
    cut = cut_context(before + context + behind, len(before), len(behind), 300, 4096)
    assert len(cut) + 300 == 4096
    assert cut[:10] == before and cut[-5:] == behind and cut[10:-5] == context[: 4096 - 315]
    whole = before + context[:5] + behind
    assert cut_context(whole, 10, 5, 10, 4096) == whole
    with pytest.raises(CatalogError, match="15 tokens beside its context"):
        cut_context(whole, 10, 5, 10, 20)


def test_the_papers_stored_scores_fit_together():
    """Macro-F1 over four classes of which one is never right is three quarters of that over three."""
    assert 0.3458 * 4 / 3 == pytest.approx(0.4611, abs=5e-5)


@pytest.mark.skipif("CATALOG_REAL_DATA" not in os.environ, reason="CATALOG_REAL_DATA names no folder with the published practice set")
def test_targets_of_the_published_practice_set_are_read_whole():
    folder = Path(os.environ["CATALOG_REAL_DATA"]) / "fmd_practice"
    rows = [json.loads(line) for name in ("train", "val", "test") for line in (folder / f"FMD_{name}.json").open(encoding="utf-8")]
    for mode in ("paper", "strict"):
        found = [parse(row["output"], mode) for row in rows]
        counts = {label: sum(item.label == label for item in found) for label in ("False", "True", "NEI")}
        assert counts == {"False": 271, "True": 212, "NEI": 117}
        assert all(item.explanation for item in found)
