"""Properties of the reader of answers and of the scores that hold whatever the texts are, on random strings from a seed."""

import random

import pytest

from stages.fmdllama import scores
from stages.fmdllama.answers import LABELS, MODES, STATUSES, parse
from stages.fmdllama.score import Row, measure

WORDS = "Prediction: Explanation: True False NEI True. not Mostly Assistant: Human: ** 1. ( ) 營收5 Fake answer is , predictions : é".split(
    " "
)
WORDS += ["\n", *(f"\nPrediction: {label}.\n" for label in ("True", "False", "NEI"))] * 3
TASK = ("True", "False", "NEI")


def texts(seed, count=400):
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=rng.randint(0, 9))) for _ in range(count)]


def rows(seed, count=40):
    rng = random.Random(seed)
    found = []
    for n, text in enumerate(texts(seed, count)):
        label, explanation, status = parse(text)
        found.append(
            Row("claim", str(n), str(n // 3), rng.choice(TASK), label, status, explanation, rng.choice([None, "not True é", "營收"]))
        )
    return found


@pytest.mark.parametrize("mode", MODES)
def test_no_label_is_invented(mode):
    labels = set()
    for text in texts(1):
        label, explanation, status = parse(text, mode)
        assert status in STATUSES and (label in LABELS) == (status == "ok") and (label is None) == (status != "ok"), text
        assert label is None or label in text and "rediction" in text, text
        assert all(word in text for word in explanation.split()), text
        labels.add(label)
    assert labels == {*LABELS, None}


def test_what_stands_in_an_explanation_changes_no_label():
    for text in texts(2):
        label = parse(text).label
        behind = f"{text}\nExplanation: It is not True that rates doubled; Fake and False."
        assert parse(behind).label == label, text


def test_the_order_of_answers_changes_no_score():
    given = rows(3)
    shuffled = random.Random(0).sample(given, len(given))
    one, other = measure(given), measure(shuffled)
    assert one["majority"] == other["majority"] and one["statuses"] == other["statuses"] and one["not_scorable"] == other["not_scorable"]
    for name in ("scores", "trivial"):
        assert one[name] == pytest.approx(other[name], abs=1e-12)
        # Contexts are numbered by name, so the resamples are the same.
        assert one[f"{name}_interval"] == pytest.approx(other[f"{name}_interval"], abs=1e-12)


def test_one_answer_more_changes_no_other():
    given = rows(4)
    alone = scores.rouge([row.reference or "" for row in given], [row.explanation for row in given])
    more = scores.rouge(["x", *(row.reference or "" for row in given)], ["x", *(row.explanation for row in given)])
    assert more[1:] == alone and more[0] == {"rouge1": 1.0, "rouge2": 0.0, "rougeL": 1.0}
    one, other = measure(given), measure([*given, Row("claim", "new", "new", "True", "True", "ok", "", None)])
    right = one["scores"]["accuracy"] * len(given)
    assert other["scores"]["accuracy"] == pytest.approx((right + 1) / (len(given) + 1))
    assert other["scores"]["rouge1"] == one["scores"]["rouge1"]  # over those with a reference
    assert other["explanations"] == one["explanations"]


def test_rouge_of_one_corpus_is_the_same_to_the_last_digit_each_time_and_one_by_one():
    references, candidates = texts(5, 50), texts(6, 50)
    once = scores.rouge(references, candidates)
    assert scores.rouge(references, candidates) == once
    assert [scores.rouge([one], [other])[0] for one, other in zip(references, candidates)] == once
    assert scores.mean_rouge(once) == scores.mean_rouge(scores.rouge(references, candidates))
