"""Scores of labels: values worked out by hand, scikit-learn as the other implementation, and what must not change a score."""

import random

import numpy as np
import pytest
from sklearn.metrics import f1_score, matthews_corrcoef

from catalog.base.errors import CatalogError
from stages.open_finllms.score_classes import confusion, mcc_of
from stages.open_finllms.scoring import score, table

SENTIMENTS = ["positive", "negative", "neutral"]


def run(scorer, choices, gold, answers, mode, options=None, **columns):
    rows = [
        {"id": at, "gold": label, "choices": choices} | {name: values[at] for name, values in columns.items()}
        for at, label in enumerate(gold)
    ]
    return score(scorer, rows, {str(at): answer for at, answer in enumerate(answers)}, mode, options)


@pytest.mark.parametrize("mode", ["paper", "strict"])
def test_f1_and_mcc_by_hand(mode):
    gold, answers = ["positive", "positive", "negative", "neutral"], ["Positive", "negative", "negative", "xyz"]
    found = run("classes", SENTIMENTS, gold, answers, mode, {"mcc": True})
    # F1 of positive and negative is 2/3, of neutral 0; missing is a class of its own: 4·2 - (2·1 + 1·2) = 4, both spreads 16 - 6 = 10.
    assert found["acc"].value == 0.5 and found["f1"].value == pytest.approx(0.5) and found["macro_f1"].value == pytest.approx(4 / 9)
    assert found["mcc"].value == pytest.approx(0.4) and found["mcc_50"].value == pytest.approx(70)
    assert {score.missing for score in found.scores} == {0.25} and {score.n for score in found.scores} == {4}
    # Always positive: accuracy 1/2, F1 of positive 2/3, so 1/3 weighted and 2/9 over three labels.
    assert [found[name].constant for name in ("acc", "f1", "macro_f1", "mcc", "mcc_50")] == pytest.approx([1 / 2, 1 / 3, 2 / 9, 0, 50])
    assert found.items["status"].to_list() == ["ok", "ok", "ok", "unparsable"]


def test_a_choice_that_no_item_has_falls_in_with_the_missing_in_paper_mode_only():
    gold, answers = ["positive", "positive", "negative"], ["neutral", "xyz", "negative"]
    # Covariance 3·1 - 1 = 2; gold's spread 9 - 5; predicted 9 - 5 with one class for two answers, 9 - 3 with two.
    assert run("classes", SENTIMENTS, gold, answers, "paper", {"mcc": True})["mcc"].value == pytest.approx(2 / 4)
    assert run("classes", SENTIMENTS, gold, answers, "strict", {"mcc": True})["mcc"].value == pytest.approx(2 / 24**0.5)


def test_a_constant_predictor_on_66_of_100_has_an_mcc_of_0_printed_as_50():
    found = run("credit", ["good", "bad"], ["good"] * 66 + ["bad"] * 34, ["good"] * 100, "strict")
    assert found["acc"].value == pytest.approx(0.66) == found["acc"].constant
    assert found["mcc"].value == 0 and found["mcc_50"].value == 50
    # Every draw has an MCC of 0; 100 answers without any skill lie up to 1.96 / 10 from it.
    assert (found["mcc"].low, found["mcc"].high) == pytest.approx((-0.196, 0.196))
    assert (found["mcc_50"].low, found["mcc_50"].high) == pytest.approx((40.2, 59.8))


def test_units_that_all_agree_leave_an_interval():
    gold = ["Rise", "Fall"] * 2
    none = run("stock", ["Rise", "Fall"], gold, ["hm"] * 4, "strict")["acc"]
    # None of 4 right: up to 1 - .025 ** (1 / 4) of all may be, the share with which 4 wrong answers in a row have a chance of 2.5 %.
    assert none.value == 0 and (none.low, none.high) == pytest.approx((0, 0.60236), abs=1e-4)
    every = run("stock", ["Rise", "Fall"], gold, gold, "strict")["acc"]
    assert every.value == 1 and (every.low, every.high) == pytest.approx((0.39764, 1), abs=1e-4)
    alone = run("stock", ["Rise", "Fall"], ["Rise"], ["Rise"], "strict")
    assert alone["acc"].low is None and alone["mcc"].low is None  # of one unit nothing can be said


def test_the_best_and_the_f1_of_a_constant_answer():
    found = run("credit", ["good", "bad"], ["good"] * 66 + ["bad"] * 34, ["good"] * 100, "strict")
    assert found["f1"].value == pytest.approx(found["f1"].constant) and found["macro_f1"].value == pytest.approx(found["macro_f1"].constant)


@pytest.mark.parametrize(
    ("scorer", "choices", "answer", "paper", "strict"),
    [
        ("classes", SENTIMENTS, "neutral, not positive", "positive", "neutral"),
        ("classes", ["yes", "no"], "unknown", "no", None),
        ("stock", ["Rise", "Fall"], "", "fall", None),
        ("stock", ["Rise", "Fall"], "unknown", "fall", None),  # by its "no"
        ("stock", ["Rise", "Fall"], "Positive.", "rise", "rise"),
        ("stock", ["Rise", "Fall"], "neutral", "fall", None),
        ("stock", ["Rise", "Fall"], "fall, yes", "rise", None),
        ("credit", ["good", "bad"], "", "good", None),
        ("credit", ["good", "bad"], "cannot say", "bad", None),  # by its "no"
        ("credit", ["good", "bad"], "neutral", "bad", None),
        ("credit", ["good", "bad"], "Bad", "bad", "bad"),
    ],
)
def test_readings(scorer, choices, answer, paper, strict):
    for mode, label in (("paper", paper), ("strict", strict)):
        found = run(scorer, choices, [choices[0]], [answer], mode)
        assert found.items["parsed"].to_list() == [label]
        assert found["acc"].missing == float(label is None)


def test_what_the_paper_never_counts_as_missing_is_counted_as_defaulted():
    found = run("stock", ["rise", "fall"], ["rise", "fall", "fall"], ["rise", "", "?"], "paper")
    assert found["acc"].value == 1 and found["acc"].missing == 0 and found["defaulted"].value == pytest.approx(2 / 3)
    strict = run("stock", ["rise", "fall"], ["rise", "fall", "fall"], ["rise", "", "?"], "strict")
    assert strict["acc"].value == pytest.approx(1 / 3) and strict["acc"].missing == pytest.approx(2 / 3)


def test_headlines_by_kind():
    gold, kinds = ["Yes", "No", "Yes", "No"], ["up", "up", "down", "down"]
    found = run("headlines", ["Yes", "No"], gold, ["Yes", "no", "yes", "No"], "paper", label_type=kinds)
    # up: both right, 1. down: "yes" is not "Yes", hence No: F1 of Yes 0, of No 2/3; weighted 1/3.
    assert found["avg_f1"].value == pytest.approx((1 + 1 / 3) / 2)
    assert found["defaulted"].value == 0.5
    assert run("headlines", ["Yes", "No"], gold, ["Yes", "no", "yes", "No"], "strict", label_type=kinds)["avg_f1"].value == 1
    # Always Yes: F1 2/3 of one of two equal labels, hence 1/3 in each kind.
    assert found["avg_f1"].constant == pytest.approx(1 / 3)
    with pytest.raises(CatalogError, match="in this order"):
        run("headlines", ["No", "Yes"], gold, ["Yes"] * 4, "paper", label_type=kinds)


def corpus(n=150, seed=3):
    rng = random.Random(seed)
    gold = [rng.choice(["positive", "positive", "negative", "neutral"]) for _ in range(n)]
    return gold, [rng.choice([label, label, "negative", "no idea", "Positive", ""]) for label in gold]


@pytest.mark.parametrize("mode", ["paper", "strict"])
def test_scikit_learn_gives_the_same(mode):
    gold, answers = corpus()
    found = run("classes", SENTIMENTS, gold, answers, mode, {"mcc": True})
    predicted = [label or "missing" for label in found.items["parsed"]]
    assert found["f1"].value == pytest.approx(f1_score(gold, predicted, average="weighted", labels=SENTIMENTS, zero_division=0))
    assert found["macro_f1"].value == pytest.approx(f1_score(gold, predicted, average="macro", labels=SENTIMENTS, zero_division=0))
    cells, _, _ = confusion(gold, predicted)
    assert mcc_of(cells.sum(0, keepdims=True))[0] == pytest.approx(matthews_corrcoef(gold, predicted)) == found["mcc"].value
    for metric in ("acc", "f1", "macro_f1", "mcc", "mcc_50"):
        assert found[metric].low < found[metric].value < found[metric].high


def test_the_interval_is_that_of_resampled_items():
    gold, answers = corpus(60)
    found = run("classes", SENTIMENTS, gold, answers, "strict")
    predicted = np.array([label or "missing" for label in found.items["parsed"]])
    order = np.argsort([str(at) for at in range(60)], kind="stable")  # units by name
    golds, predicted = np.array(gold)[order], predicted[order]
    rng = np.random.default_rng(0)
    draws = [
        f1_score(golds[some], predicted[some], average="weighted", labels=SENTIMENTS, zero_division=0)
        for some in rng.integers(0, 60, (2000, 60))
    ]
    assert (found["f1"].low, found["f1"].high) == pytest.approx(tuple(np.quantile(draws, [0.025, 0.975])))


@pytest.mark.parametrize("mode", ["paper", "strict"])
def test_the_order_of_items_and_of_answers_changes_nothing(mode):
    gold, answers = corpus()
    rows = [{"id": at, "gold": label, "choices": SENTIMENTS} for at, label in enumerate(gold)]
    outputs = {str(at): answer for at, answer in enumerate(answers)}
    mixed = random.Random(1).sample(rows, len(rows))
    one, other = score("classes", rows, outputs, mode), score("classes", mixed, dict(reversed(outputs.items())), mode)
    assert table(one).equals(table(other))
    assert one.items.sort("id").equals(other.items.sort("id"))
    # Answers by number or by text: the same id.
    assert table(score("classes", rows, {int(name): text for name, text in outputs.items()}, mode)).equals(table(one))


@pytest.mark.parametrize("mode", ["paper", "strict"])
def test_one_by_one_and_all_at_once_read_the_same(mode):
    gold, answers = corpus(40)
    whole = run("classes", SENTIMENTS, gold, answers, mode).items
    for at, (label, answer) in enumerate(zip(gold, answers)):
        single = run("classes", SENTIMENTS, [label], [answer], mode).items
        assert single.select("parsed", "status", "score").row(0) == whole.select("parsed", "status", "score").row(at)


def test_a_new_row_changes_no_other():
    gold, answers = corpus(40)
    before = run("classes", SENTIMENTS, gold, answers, "strict")
    after = run("classes", SENTIMENTS, [*gold, "neutral"], [*answers, "neutral"], "strict")
    assert after.items.head(40).equals(before.items)
    assert after["acc"].value == pytest.approx((before["acc"].value * 40 + 1) / 41)


def test_questions_of_a_document_are_resampled_together():
    gold = ["positive", "negative"] * 50
    answers = ["positive", "negative"] * 25 + ["neutral", "neutral"] * 25
    rows = [{"id": at, "gold": label, "choices": SENTIMENTS, "unit": f"d{at // 10}"} for at, label in enumerate(gold)]
    outputs = {str(at): answer for at, answer in enumerate(answers)}
    clustered, single = score("classes", rows, outputs, "strict"), score("classes", [row | {"unit": ""} for row in rows], outputs, "strict")
    assert clustered["acc"].units == 10 and single["acc"].units == 100 and clustered["acc"].value == single["acc"].value
    # Ten documents, all right or all wrong: about sqrt(10) times as wide.
    assert clustered["acc"].high - clustered["acc"].low > 2 * (single["acc"].high - single["acc"].low)


def test_a_question_without_an_answer_stays_in_the_denominator():
    rows = [{"id": at, "gold": "positive", "choices": SENTIMENTS} for at in range(4)]
    for mode in ("paper", "strict"):
        found = score("classes", rows, {"0": "positive", "1": "positive"}, mode)
        assert found["acc"].value == 0.5 and found["acc"].n == 4 and found["acc"].missing == 0.5
        assert found.items["status"].to_list() == ["ok", "ok", "absent", "absent"] and found.items["output"].null_count() == 2


@pytest.mark.parametrize(
    ("rows", "outputs", "mode", "scorer", "said"),
    [
        ([], {}, "paper", "classes", "no question"),
        ([{"id": 1, "gold": "yes", "choices": ["yes", "no"]}] * 2, {}, "paper", "classes", "occurs twice"),
        ([{"id": 1, "gold": "yes", "choices": ["yes", "no"]}], {"2": "yes"}, "paper", "classes", "does not have, such as 2"),
        ([{"id": 1, "gold": "yes", "choices": ["yes", "no"]}], {"1": 3}, "paper", "classes", "is int"),
        ([{"id": 1, "gold": "maybe", "choices": ["yes", "no"]}], {}, "strict", "classes", "'maybe', which is not one of"),
        ([{"id": 1, "gold": "yes", "choices": ["yes", "no"]}], {}, "strict", "stock", "knows rise and fall only"),
        ([{"id": 1, "gold": "yes", "choices": ["yes", "no"]}], {}, "lenient", "classes", "no mode lenient"),
        ([{"id": 1, "gold": "yes", "choices": ["yes", "no"]}], {}, "paper", "f1", "no scorer f1"),
    ],
)
def test_refusals(rows, outputs, mode, scorer, said):
    with pytest.raises(CatalogError, match=said) as caught:
        score(scorer, rows, outputs, mode)
    assert "\n" not in str(caught.value)
