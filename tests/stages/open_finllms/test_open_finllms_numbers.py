"""Questions, conversations and sentiment scores, worked out by hand."""

import random
import time

import pytest

from catalog.base.errors import CatalogError
from stages.open_finllms.labels import strict_label
from stages.open_finllms.score_numbers import (
    as_number,
    by_turn,
    fill_turn,
    numbers,
    one_number,
    paper_sentiment,
    read_answer,
    strict_sentiment,
)
from stages.open_finllms.scoring import score, table


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("$ 1,452.4 and $1,496.5", [1452.4, 1496.5]),
        ("(1,204)", [-1204]),
        ("(5.2%) ( 3 )", [-5.2, -3]),
        ("-0.5, \u22120.5, +0.5, -$3, $-3", [-0.5, -0.5, 0.5, -3, -3]),
        ("0.2-0.5 in 2019\u20132020", [0.2, 0.5, 2019, 2020]),  # a dash between numbers is no minus
        ("EUR131m Q3 3M", []),  # parts of words
        ("1e-3 .5 5.", [0.001, 0.5, 5]),
        ("", []),
    ],
)
def test_numbers_of_a_text(text, found):
    assert numbers(text) == pytest.approx(found)


@pytest.mark.parametrize(
    ("output", "number", "status"),
    [
        ("5.2%", 5.2, "ok"),
        ("Sales were 5 and costs 3.", None, "several"),
        ("Sales were 5 and costs 3.\nTherefore, the answer is 2.", 2, "ok"),
        ("5 - 3 = 2", 2, "ok"),
        ("The answer is unclear, maybe 3 or 4", None, "several"),
        ("2 or, again, 2.0", 2, "ok"),
        ("none", None, "unparsable"),
        (" ", None, "empty"),
    ],
)
def test_the_number_of_an_answer(output, number, status):
    assert one_number(output) == (number, status)


@pytest.mark.parametrize(
    ("output", "gold", "paper", "strict"),
    [
        ("5.2%", "5.20", False, True),
        ("5.20", "5.20", True, True),
        (" 5.20\n", "5.20", True, True),
        ("1,204", "1204", False, True),
        ("(1,204)", "-1204", False, True),
        ("52%", "0.52", False, False),  # a fraction is no percentage
        ("2018", "2019", False, False),
        ("2018.6", "2019", False, True),  # rounds to it
        ("0.9333", "0.93333", False, True),
        ("0.934", "0.93333", False, False),
        ("5", "5.2", False, False),
        ("5.24", "5.2", False, True),
        ("", "0", False, False),
        ("Yes, it did.", "yes", False, True),
        ("unknown", "no", False, False),
        ("Net Sales.", "net  sales", False, True),
        ("Answer: net sales", "net sales", False, True),
        ("", "", True, False),  # nothing said is no answer
    ],
)
def test_right_answers(output, gold, paper, strict):
    assert read_answer(output, gold, "paper")[2] is paper
    assert read_answer(output, gold, "strict")[2] is strict


def test_a_long_senseless_answer_takes_no_time():
    begin = time.perf_counter()
    for text in (" " * 100_000, "(" * 100_000, "1," * 50_000, "answer " * 20_000, "9" * 100_000):
        read_answer(text, "5.20", "strict")
        strict_label(text, ("positive", "negative"))
    assert time.perf_counter() - begin < 5


def test_gold_numbers_and_their_decimals():
    assert as_number("5.20") == (5.2, 2) and as_number("(1,204)") == (-1204, 0) and as_number("-1e-05") == (-1e-5, 5)
    assert as_number("about 5") is None and as_number("2018 and 2019") is None and as_number("(5") is None


def test_exact_match_beside_the_commonest_answer():
    rows = [{"id": at, "gold": gold} for at, gold in enumerate(["1", "1", "2", "3.0"])]
    outputs = {"0": "1", "1": "one", "2": "2 or 3", "3": "3"}
    paper, strict = (score("questions", rows, outputs, mode) for mode in ("paper", "strict"))
    assert paper["acc"].value == 1 / 4 and paper["acc"].missing == 0 and paper["acc"].constant == 1 / 2
    assert strict["acc"].value == 2 / 4 and strict["acc"].missing == 2 / 4
    assert strict.items["status"].to_list() == ["ok", "unparsable", "several", "ok"]


def turns():
    return [
        {"id": "q3", "gold": "7", "dialogue_id": "b", "turn": 1},
        {"id": "q0", "gold": "5", "dialogue_id": "a", "turn": 0},
        {"id": "q2", "gold": "6", "dialogue_id": "b", "turn": 0},
        {"id": "q1", "gold": "8", "dialogue_id": "a", "turn": 1},
        {"id": "q4", "gold": "9", "dialogue_id": "b", "turn": 2},
    ]


def test_conversations_are_paired_by_id_and_scored_by_turn():
    # Rows and answers in different orders: pairing by position would get four of these wrong.
    outputs = {"q0": "5", "q1": "0", "q2": "6", "q3": "7", "q4": "0"}
    found = score("conversations", turns(), outputs, "paper")
    assert found["acc"].value == 3 / 5 and found["acc"].units == 2
    assert found["acc_turn_0"].value == 1 and found["acc_turn_1"].value == 1 / 2 and found["acc_turn_2"].value == 0
    assert found["acc_last_turn"].value == 0 and found["acc_last_turn"].n == 2
    # Conversations (right, asked): a (1, 2), b (2, 3): a resample is one of 1/2, 3/5, 2/3.
    assert (found["acc"].low, found["acc"].high) == pytest.approx((1 / 2, 2 / 3))
    with pytest.raises(CatalogError, match="turn 0 twice"):
        score("conversations", [*turns(), {"id": "q5", "gold": "1", "dialogue_id": "a", "turn": 0}], {}, "paper")


def test_turns_in_order_with_the_answers_before():
    assert [[row["id"] for row in some] for some in by_turn(turns())] == [["q0", "q2"], ["q3", "q1"], ["q4"]]
    with pytest.raises(CatalogError, match="without a gap"):
        by_turn([row for row in turns() if row["id"] != "q3"])
    assert fill_turn("After {answer0} and {answer1}: {x} {{y}} {0}", ["5", "{answer1}"]) == "After 5 and {answer1}: {x} {{y}} {0}"
    assert fill_turn("{answer0.__class__}", ["5"]) == "{answer0.__class__}"  # data is never evaluated
    with pytest.raises(CatalogError, match="only 1 answers"):
        fill_turn("{answer1}", ["5"])


def test_sentiment_with_and_without_its_sign():
    assert paper_sentiment("-0.5") == 0.5 and strict_sentiment("-0.5") == (-0.5, "ok")
    assert paper_sentiment("none") is None and strict_sentiment("none") == (None, "unparsable")
    assert paper_sentiment("7") == 1 and strict_sentiment("7") == (None, "unparsable")
    assert paper_sentiment("none\n0.5") is None and strict_sentiment("none\n0.5") == (0.5, "ok")  # first line only


def test_root_mean_squared_error():
    rows = [{"id": at, "gold": gold} for at, gold in enumerate(["-0.5", "0.5", "0.1"])]
    outputs = {"0": "-0.5", "1": "none", "2": "0.1"}
    paper, strict = (score("sentiment", rows, outputs, mode) for mode in ("paper", "strict"))
    assert paper["rmse"].value == pytest.approx((1 / 2) ** 0.5)  # errors 1.0 and 0; the item without a number is gone
    assert paper["rmse"].n == 2 and paper["rmse"].missing == pytest.approx(1 / 3)
    assert strict["rmse_answered"].value == 0 and strict["rmse_answered"].n == 2
    assert strict["rmse"].value == pytest.approx((1.5**2 / 3) ** 0.5) and strict["rmse"].n == 3
    # The mean of gold, 0.1/3, answered always: its error is gold's standard deviation.
    assert strict["rmse"].constant == pytest.approx(((0.25 + 0.25 + 0.01) / 3 - (0.1 / 3) ** 2) ** 0.5)
    nothing = score("sentiment", rows, {"0": "none"}, "paper")
    assert nothing["rmse"].value is None and nothing["rmse"].n == 0 and nothing["rmse"].missing == 1
    with pytest.raises(CatalogError, match="from -1 to 1"):
        score("sentiment", [{"id": 1, "gold": "2"}], {}, "paper")


@pytest.mark.parametrize("scorer", ["questions", "sentiment"])
@pytest.mark.parametrize("mode", ["paper", "strict"])
def test_order_company_and_a_new_row(scorer, mode):
    rng = random.Random(2)
    rows = [{"id": at, "gold": rng.choice(["-0.5", "0.25", "0.5"])} for at in range(50)]
    outputs = {str(row["id"]): rng.choice([row["gold"], "0.5", "-0.5 or 0.5", "", "I say 0.25"]) for row in rows}
    whole = score(scorer, rows, outputs, mode)
    assert table(score(scorer, rows[::-1], outputs, mode)).equals(table(whole))
    assert whole.scores[0].low < whole.scores[0].value < whole.scores[0].high
    for at in range(0, 50, 9):
        assert score(scorer, [rows[at]], {str(at): outputs[str(at)]}, mode).items.equals(whole.items[at])
    more = score(scorer, [*rows, {"id": "new", "gold": "0.5"}], outputs | {"new": "0.5"}, mode)
    assert more.items.head(50).equals(whole.items)
