"""Which label an answer gives. Inputs that broke other people's parsers, with the reading that is right."""

import time

import pytest

from stages.open_finllms.labels import paper_label, strict_label

SENTIMENTS = ("positive", "negative", "neutral")
LETTERS = ("A", "B", "C", "D")


def test_the_paper_takes_the_first_choice_that_is_a_substring():
    assert paper_label("neutral, not positive", SENTIMENTS) == "positive"
    assert paper_label("unknown", ("yes", "no")) == "no"
    assert paper_label("  POSITIVE ", ("Positive", "Negative")) == "positive"
    assert paper_label("nothing", ("good", "bad")) is None
    assert paper_label("a yes", ("fall", "rise"), {"rise": ["yes"], "fall": ["no"]}) == "rise"


@pytest.mark.parametrize(
    ("output", "choices", "label", "status"),
    [
        ("neutral, not positive", SENTIMENTS, "neutral", "ok"),
        ("unknown", ("yes", "no"), None, "unparsable"),
        ("", SENTIMENTS, None, "empty"),
        (" \n ", SENTIMENTS, None, "empty"),
        ("positive or negative", SENTIMENTS, None, "several"),
        ("Positive at first.\nIn the end: negative", SENTIMENTS, "negative", "ok"),  # the last line that names one
        ("positive\nAnswer: negative", SENTIMENTS, "negative", "ok"),
        ("Answer: positive\nAnswer: negative", SENTIMENTS, "negative", "ok"),  # the last that is announced
        ("Answer:\n\nnegative", SENTIMENTS, "negative", "ok"),
        ("Answer: that depends\n", SENTIMENTS, None, "unparsable"),  # announced, so nothing else is searched
        ("It isn't positive", SENTIMENTS, None, "unparsable"),
        ("positive is wrong", SENTIMENTS, None, "unparsable"),
        ("The tone is **Positive**.", SENTIMENTS, "positive", "ok"),
        ("unpositive", SENTIMENTS, None, "unparsable"),
        ("Prediction: False.\nExplanation: It is not true that rates doubled.", ("True", "False", "NEI"), "false", "ok"),
        ("False.\nExplanation: It is true that rates rose, but not that they doubled.", ("True", "False", "NEI"), "false", "ok"),
        ("It would be wrong to call this true.", ("True", "False", "NEI"), None, "unparsable"),
        ("1", ("0", "1", "2"), "1", "ok"),
        ("0.5", ("0", "1", "2"), None, "unparsable"),
        ("10", ("0", "1", "2"), None, "unparsable"),
        ("not relevant", ("relevant", "not relevant"), "not relevant", "ok"),  # the longer label is the one meant
        ("rate hike", ("rate", "rate hike"), "rate hike", "ok"),
        ("disagree", ("agree", "disagree"), "disagree", "ok"),
    ],
)
def test_strict_reads_words(output, choices, label, status):
    assert strict_label(output, choices) == (label, status)


@pytest.mark.parametrize(
    ("output", "label"),
    [
        ("C. A patient with fever", "c"),
        ("選項 (B) 2.2 MeV", "b"),
        ("ANSWER: Don't know", None),
        ("ANSWER: (B)\nLet me know.", "b"),
        ("答案：A、C", None),
        ("我選擇 B", "b"),
        ("不選 A，選 C", "c"),
        ("A patient with fever has it", None),
        ("E", None),
    ],
)
def test_letters_of_words_are_no_options(output, label):
    assert strict_label(output, LETTERS)[0] == label


def test_a_long_senseless_answer_takes_no_time():
    begin = time.perf_counter()
    for word, label in (("true ", "true"), ("not true ", None)):
        assert strict_label(word * 10_000, ("true", "false"))[0] == label
    assert strict_label("(A) " * 10_000, ("A", "B"))[0] == "a"
    assert time.perf_counter() - begin < 20  # an hour, where each is looked at behind all the others


def test_other_words_for_a_label():
    also = {"0": ["true"], "1": ["false"], "2": ["not enough information"]}
    assert strict_label("1 False", ("0", "1", "2"), also) == ("1", "ok")
    assert strict_label("not enough information", ("0", "1", "2"), also) == ("2", "ok")
    assert strict_label("0 False", ("0", "1", "2"), also) == (None, "several")
