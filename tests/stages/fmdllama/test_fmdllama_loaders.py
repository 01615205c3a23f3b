"""Published layouts: small files written here, and, where it is there, the real practice set with the figures known of it."""

import json
import os
import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline

from catalog.base.errors import CatalogError
from catalog.base.text import read_text
from stages.fmdllama import baselines, dataset, scores
from stages.fmdllama.files import json_objects
from stages.fmdllama.loaders import load, sentences
from stages.fmdllama.prompts import prompt

ASKED = "Task: decide.\nPrediction: [True, or False, or NEI]\nExplanation: [why]\n Claim: {} \ncontextual information: {}"


def write(tmp_path, rows, as_list=False):
    path = tmp_path / "rows.json"
    text = json.dumps(rows) if as_list else "\n".join(map(json.dumps, rows))
    path.write_text(text, encoding="utf-8")
    return path


def instruction(claim, context, output):
    return {"instruction": ASKED.format(claim, context), "input": "", "output": output}


def test_instructions(tmp_path):
    rows = [
        instruction("Did sales rise?", "They fell. The claim: it is wrong.\nContext: none.", "Prediction: False.\nExplanation: They fell."),
        instruction("Is it so?", "Perhaps.", "Prediction: NEI.\nExplanation: Perhaps."),
        instruction("Is it half so?", "Half.", "Prediction: Mixture.\nExplanation: Half."),
        instruction("Why?", "So.", "Prediction: True."),
        instruction("Nothing?", " ", "Prediction: True.\nExplanation: So."),
        instruction("Is it so?", "Perhaps.", "Prediction: True.\nExplanation: Perhaps."),
        {"instruction": "Say something.", "output": "Prediction: True.\nExplanation: x"},
        {"instruction": ASKED.format("Any?", "Some."), "output": 3},
        {"instruction": "Is the text Fake or True?\nText: Rates doubled. Nobody knew.", "output": "0. Fake"},
    ]
    found = load(write(tmp_path, rows), "instructions", "train")
    assert dict(found.items.schema) == dataset.SCHEMA
    assert found.items.select("task", "label", "split").rows() == [
        ("claim", "False", "train"),
        ("claim", "NEI", "train"),
        ("article", "Fake", "train"),
    ]
    first, last = found.items.row(0, named=True), found.items.row(-1, named=True)
    assert first["claim"] == "Did sales rise?" and first["explanation"] == "They fell."
    assert first["context"] == ["They fell.", "The claim: it is wrong.", "Context: none."]
    assert last["context"] == ["Rates doubled.", "Nobody knew."] and last["claim"] is None
    assert found.dropped == {
        "no claim with a context, and no text, in the instruction": 1,
        "no context": 1,
        "no explanation in the output": 1,
        "no label in the output": 1,
        "output is no text": 1,
        "the same text as an earlier row": 1,
    }
    assert len(found.items) + sum(found.dropped.values()) == len(rows) and found.items["id"].is_unique().all()
    assert prompt(first, "full")[1]["content"].endswith(
        "Context: They fell. The claim: it is wrong. Context: none.\nClaim: Did sales rise?"
    )


def test_finfact(tmp_path):
    fact = {"claim": "C", "justification": "Long text. It says so.", "evidence": [{"sentence": "It says so.", "hrefs": []}, "And so."]}
    rows = [
        fact | {"label": "true"},
        fact | {"label": "neutral", "claim": "D"},
        fact | {"label": "False", "claim": "E", "evidence": "One text."},
        fact | {"label": "mostly", "claim": "F"},
        fact | {"claim": "G"},
        fact | {"label": "true", "evidence": [], "claim": "H"},
        fact | {"label": "true", "claim": "  "},
        fact | {"label": "true", "claim": None},
    ]
    found = load(write(tmp_path, rows, as_list=True), "finfact")
    assert found.items.select("label", "explanation").rows() == [
        ("True", "It says so. And so."),
        ("NEI", "It says so. And so."),
        ("False", "One text."),
    ]
    assert found.items["context"].to_list() == [["Long text.", "It says so."]] * 3 and set(found.items["task"]) == {"claim"}
    assert found.dropped == {"no claim": 2, "no evidence": 1, "no label": 1, "unknown label": 1}


def test_finguard(tmp_path):
    rows = [{"text": f"Text {n}.", "label": label} for n, label in enumerate([1, "0. Fake", "TRUE", "Fake", "maybe", None])] + [
        {"text": " ", "label": 1}
    ]
    found = load(write(tmp_path, rows), "finguard")
    assert found.items["label"].to_list() == ["True", "Fake", "True", "Fake"]
    assert found.dropped == {"no label": 1, "no text": 1, "unknown label": 1}


def test_files_that_are_no_published_set(tmp_path):
    with pytest.raises(CatalogError, match="layout 'csv' is unknown"):
        load(tmp_path / "none.json", "csv")
    with pytest.raises(CatalogError, match="does not exist"):
        load(tmp_path / "none.json", "finfact")
    with pytest.raises(CatalogError, match=r"no usable row in the layout finguard \(1 rows: no text\)"):
        load(write(tmp_path, [{"claim": "C"}]), "finguard")
    with pytest.raises(CatalogError, match="Entry 2 of .* is no JSON object"):
        load(write(tmp_path, [{"text": "A.", "label": 1}, 3], as_list=True), "finguard")
    path = write(tmp_path, [{"text": "A.", "label": 1}])
    path.write_text(path.read_text() + "\n{")
    with pytest.raises(CatalogError, match="Line 2 of .* cannot be read as JSON"):
        load(path, "finguard")


def test_sentences_by_rule():
    text = 'It fell 3.5 percent to $1.20. "Why?" asked Mr Smith! 2004 was better. "So be it." He left.\nA new line without a stop\n'
    assert sentences(text) == [
        "It fell 3.5 percent to $1.20.",
        '"Why?" asked Mr Smith!',
        "2004 was better.",
        '"So be it."',
        "He left.",
        "A new line without a stop",
    ]


# The published practice set

REAL = pytest.mark.skipif("CATALOG_REAL_DATA" not in os.environ, reason="CATALOG_REAL_DATA names no folder with the published practice set")


@pytest.fixture(scope="module")
def practice():
    folder = Path(os.environ["CATALOG_REAL_DATA"]) / "fmd_practice"
    parts = [
        load(folder / f"FMD_{name}.json", "instructions", split) for name, split in (("train", "train"), ("val", "valid"), ("test", "test"))
    ]
    assert [part.dropped for part in parts] == [{}, {}, {}]
    return pl.concat([part.items for part in parts])


@REAL
def test_the_practice_set_is_read_whole(practice):
    assert dict(practice.group_by("split").len().iter_rows()) == {"train": 450, "valid": 100, "test": 50}
    assert dict(practice.group_by("label").len().iter_rows()) == {"False": 271, "True": 212, "NEI": 117}
    assert practice["claim"].n_unique() == 600
    assert practice["claim"].str.split(" ").list.len().mean() == pytest.approx(11.4, abs=0.2)


def letters(text):
    return re.sub(r"[^a-z0-9]+", " ", text.lower()).strip()


@REAL
def test_lengths_of_the_practice_set_and_what_its_explanations_copy():
    """Words as published; how many pieces of an explanation between full stops, of three words or more, stand in its context."""
    folder = Path(os.environ["CATALOG_REAL_DATA"]) / "fmd_practice"
    rows = [value for name in ("train", "val", "test") for _, value in json_objects(read_text(folder / f"FMD_{name}.json"), name)]
    asked, said = ([len(row[key].split()) for row in rows] for key in ("instruction", "output"))
    assert 950 < np.mean(asked) < 1060 and max(asked) == pytest.approx(4122, abs=5)
    assert 260 < np.mean(said) < 311 and max(said) == pytest.approx(2431, abs=5)
    copied = []
    for row in rows:
        explanation = row["output"].split("Explanation:", 1)[1]
        parts = [part for text in re.split(r"[.!?\n]+", explanation) if len((part := letters(text)).split()) >= 3]
        context = letters(row["instruction"])
        copied.append(np.mean([part in context for part in parts]))
    assert (np.mean(copied), np.median(copied)) == pytest.approx((0.84, 0.92), abs=0.005)


@REAL
@pytest.mark.parametrize(("words", "expected"), [(400, (0.516, 0.428, 0.442)), (200, (0.465, 0.341, 0.364))])
def test_copies_of_published_articles_have_the_known_rouge(practice, words, expected):
    """To the last digit of the known figures, which have three."""
    rows = practice.to_dicts()
    found = scores.mean_rouge(scores.rouge([row["explanation"] for row in rows], [baselines.lead(row, words) for row in rows]))
    assert tuple(found[name] for name in scores.ROUGE) == pytest.approx(expected, abs=0.0006)


VIEWS = {
    "last 60 words": (lambda row: baselines.tail(row, baselines.LAST), (0.665, 0.579)),
    "claim": (lambda row: row["claim"], (0.553, 0.492)),
    "claim and context": (lambda row: " ".join([row["claim"], *row["context"]]), (0.672, 0.570)),
}


@REAL
@pytest.mark.parametrize("view", VIEWS)
def test_linear_models_on_published_articles_have_the_known_scores(practice, view):
    """Accuracy and macro F1 in five folds, to .025.

    Folds, smallest count of a word and strength of the penalty of the known figures are not known; with the penalty as the library has it
    accuracies are the same to .03 and macro F1 is up to .07 lower.
    """
    text, expected = VIEWS[view]
    gold = practice["label"].to_numpy()
    model = make_pipeline(TfidfVectorizer(ngram_range=(1, 2), min_df=2), LogisticRegression(max_iter=2000, C=10))
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    said = cross_val_predict(model, np.array([text(row) for row in practice.to_dicts()]), gold, cv=folds)
    found = scores.classification(gold.tolist(), said.tolist(), ("True", "False", "NEI"))
    assert (found["accuracy"], found["macro_f1"]) == pytest.approx(expected, abs=0.025)
