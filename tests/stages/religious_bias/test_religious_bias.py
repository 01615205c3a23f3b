"""Scores and labels of the religion audit: values worked out by hand, identities, calibration, wrong input."""

import math
from itertools import permutations, product

import numpy as np
import polars as pl
import pytest

from catalog.base.errors import CatalogError
from stages.religious_bias import labels, method
from stages.religious_bias.dataset import RELIGIONS, read_forms

COUNTS = {"islam": 30, "christianity": 10, "hinduism": 5, "buddhism": 3, "judaism": 2}
WORDS = {"good": "positive", "kind": "positive", "bad": "negative", "evil": "negative", "envious": "negative"}
LEXICON = pl.DataFrame([*WORDS.items(), ("envious", "positive")], schema=["word", "polarity"], orient="row")


# --- Religious Bias Score ------------------------------------------------------------------------------------------------------


def test_rbs_open_by_hand():
    found = method.rbs_open(COUNTS, 19)
    assert found.rbs == {"islam": 60, "christianity": 20, "hinduism": 10, "buddhism": 6, "judaism": 4}
    assert found.gap == 56 and found.n == 69 and found.answered == 50
    assert round(100 * found.unanswered, 1) == 27.5


def test_rbs_open_without_answers_is_undefined_not_zero():
    found = method.rbs_open(dict.fromkeys(RELIGIONS, 0), 7)
    assert set(found.rbs.values()) == {None} and found.gap is None and found.unanswered == 1
    for counts, none in (({}, 3), (dict.fromkeys(RELIGIONS, 0), 0), ({"islam": -1}, 2)):
        with pytest.raises(CatalogError, match="at least one answer"):
            method.rbs_open(counts, none)


def test_rbs_named_by_hand():
    assert method.rbs_named(6, 20, 4) == (30, 37.5, 0.2, 20)
    assert method.rbs_named(6, 20) == (30, 30, 0, 20)
    assert method.rbs_named(0, 5, 5) == (0, None, 1, 5)  # all refused: without refusals nothing is known
    with pytest.raises(CatalogError, match="negative \\+ refusals <= n"):
        method.rbs_named(17, 20, 4)


def test_ratio_interval():
    hits, trials = np.array([1, 0, 1, 0, 0]), np.array([1, 1, 1, 1, 0])
    low, high = method.ratio_interval(hits, trials)
    assert 0 <= low < 50 < high <= 100
    assert method.ratio_interval(hits, trials) == (low, high)
    assert method.ratio_interval(hits[:4], trials[:4]) == (low, high)  # a template without an answer tells nothing
    assert method.ratio_interval(np.ones(4), np.ones(4)) == (100, 100)
    assert method.ratio_interval(np.zeros(3), np.zeros(3)) == (None, None)


# --- closed vocabulary ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("p", "neutral", "expected"), [(0.2, 0.05, 1.386294), (0.5, 0.5, 0.0), (0.05, 0.1, -0.693147)])
def test_prior_correction_by_hand(p, neutral, expected):
    assert float(method.prior_corrected(p, neutral)) == pytest.approx(expected, abs=1e-6)


def test_the_favourite_word_is_no_bias_but_half_of_the_raw_shares():
    p = np.array([[0.5, 0.125, 0.125, 0.125, 0.125]])
    assert method.closed_shares(np.log(p))[0, 0] == pytest.approx(0.5)
    assert method.prior_corrected(p, p).tolist() == [[0.0] * 5]


@pytest.mark.parametrize("p", [0.0, -0.1, 1.5, float("nan")])
def test_prior_correction_wants_probabilities(p):
    with pytest.raises(CatalogError, match="probabilities above 0"):
        method.prior_corrected(p, 0.5)


def test_religion_mass_sums_forms():
    log_p = np.log([[0.1, 0.2, 0.05], [0.3, 0.3, 0.1]])
    mass = method.religion_mass(log_p, [0, 1, 0], 2)
    assert np.exp(mass) == pytest.approx(np.array([[0.15, 0.2], [0.4, 0.3]]))
    assert method.closed_shares(mass) == pytest.approx(np.array([[3 / 7, 4 / 7], [4 / 7, 3 / 7]]))
    with pytest.raises(CatalogError, match="each of 3 religions"):
        method.religion_mass(log_p, [0, 1, 0], 3)


def test_the_closed_vocabulary_counts_no_word_twice():
    words = labels.closed_vocabulary(read_forms())
    assert words["text"].is_unique().all()
    assert words.filter(pl.col("religion") == "islam")["text"].to_list() == ["Islam", "Islamic", "Muslim", "Muslims"]
    assert words.filter(pl.col("religion") == "judaism")["text"].to_list() == ["Judaism", "Jewish", "Jew", "Jews"]
    assert words.filter(pl.col("religion") == "hinduism").height == 3


# --- tests ---------------------------------------------------------------------------------------------------------------------


def test_chi_square_by_hand():
    found = method.chi_square(COUNTS)
    assert found.statistic == pytest.approx(53.8) and found.df == 4
    assert found.p == pytest.approx(math.exp(-26.9) * (1 + 26.9))  # survival function of chi-square with df 4
    assert method.chi_square([10] * 5) == (0, 4, 1)
    assert method.chi_square([0] * 5) == (None, 4, None)


def test_holm_by_hand():
    assert method.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert method.holm([0.5, None, 0.6]) == [1, None, 1]  # a test that was not made does not enlarge the family
    assert method.holm([]) == []


def test_group_gaps_by_hand():
    scores = np.tile([3.0, 1, 1, 1, 1], (8, 1))
    found = method.group_gaps(scores, RELIGIONS)
    assert found.gap == 2 and found.ci == (2, 2)
    assert found.table["diff"].to_list() == pytest.approx([1.6, -0.4, -0.4, -0.4, -0.4])
    assert found.table["mean"].to_list() == [3, 1, 1, 1, 1]
    assert found.p < 0.01 and found.expected < 2
    assert found.table["diff"].sum() == pytest.approx(0)


def test_templates_that_differ_only_in_level_are_no_bias():
    scores = np.repeat(np.arange(6.0)[:, None], 5, axis=1)
    found = method.group_gaps(scores, RELIGIONS)
    assert found.gap == 0 and found.p == 1 and found.table["diff"].to_list() == [0] * 5


def test_group_gaps_is_calibrated_without_bias_and_finds_a_planted_one():
    rng = np.random.default_rng(0)
    noise = [rng.normal(size=(20, 1)) + rng.normal(size=(20, 5)) for _ in range(60)]
    false = sum(method.group_gaps(x, RELIGIONS, draws=99).p <= 0.05 for x in noise)
    assert false <= 8  # 3 expected; more than 8 have a chance of 1 in 400
    found = method.group_gaps(noise[0] + np.array([1.5, 0, 0, 0, 0]), RELIGIONS)
    planted = found.table.row(0, named=True)
    assert found.p < 0.01 and planted["ci_low"] < 1.2 < planted["ci_high"]  # 1.5 less the mean 0.3


def test_exchanged_gaps_are_those_of_all_orders():
    """Two templates of three groups have 6 x 6 equally likely pairs of orders; their gaps, listed, are what the draws follow."""
    scores = np.array([[0.0, 1.0, 5.0], [0.0, 2.0, 3.0]])
    orders = list(permutations(range(3)))
    exact = [np.ptp((scores[0][list(a)] + scores[1][list(b)]) / 2) for a, b in product(orders, orders)]
    drawn = method.exchanged_gaps(scores, 50_000, 0)
    assert len(drawn) == 50_000 and drawn.mean() == pytest.approx(np.mean(exact), abs=0.02)
    for gap in set(np.round(exact, 6)):
        assert np.isclose(drawn, gap).mean() == pytest.approx(np.isclose(exact, gap).mean(), abs=0.01)


def test_a_clear_gap_survives_a_correction_for_hundreds_of_tests():
    clear = np.tile([5.0, 0.0, 0.0, 0.0, 0.0], (20, 1)) + np.random.default_rng(0).normal(0, 0.1, (20, 5))
    found = method.group_gaps(clear, RELIGIONS)
    assert found.p == 1 / 100_001 and found.chance[1] < found.gap and method.holm([found.p] + [0.5] * 500)[0] < 0.01
    with pytest.raises(CatalogError, match="seven of them at most, not 8"):
        method.group_gaps(np.zeros((2, 8)), "abcdefgh")


@pytest.mark.parametrize("scores", [np.zeros((0, 5)), np.zeros((4, 3)), np.full((4, 5), np.nan)])
def test_group_gaps_wants_a_full_table(scores):
    with pytest.raises(CatalogError, match="group_gaps needs"):
        method.group_gaps(scores, RELIGIONS)


def test_paired_test_by_hand():
    assert method.paired_test(np.ones(5), np.zeros(5))[1:] == (-1, (-1, -1), 2 / 32)  # both signs of all five
    assert method.paired_test(np.ones(5), np.ones(5)).p == 1
    # Of the eight signs of 1, 1, -1 the sums are +-3 twice and +-1 six times: all reach the observed 1.
    assert method.paired_test(np.zeros(4), np.array([1, 1, -1, 0])).p == 1
    many = method.paired_test(np.zeros(40), np.ones(40))
    assert many.n == 40 and many.p == 1 / 10_001
    swapped = method.paired_test(np.ones(40), np.zeros(40))
    assert swapped.delta == -many.delta and swapped.p == many.p
    with pytest.raises(CatalogError, match="same prompts"):
        method.paired_test(np.array([]), np.array([]))


def test_the_drawn_sign_flips_agree_with_the_enumerated():
    change = np.array([1.1, 2.3, -1.2, 3.4, 1.6, -2.7, 1.8, 2.9, 1.5, 1.3, -1.9, 1.7, 2.1, -0.4])
    sums = np.array(list(product((-1, 1), repeat=14))) @ change
    exact = np.mean(np.abs(sums) >= abs(change.sum()) - 1e-9)
    assert method.paired_test(np.zeros(14), change).p == pytest.approx(exact, abs=0.01)
    some = np.array(list(product((-1, 1), repeat=13))) @ change[:13]
    assert method.paired_test(np.zeros(13), change[:13]).p == np.mean(np.abs(some) >= abs(change[:13].sum()) - 1e-9)


# --- agreement and published sets ----------------------------------------------------------------------------------------------


def test_kappa_by_hand():
    found = method.kappa_table([[40, 10], [5, 45]])
    assert found == (100, pytest.approx(0.85), pytest.approx(0.5), pytest.approx(0.7))
    assert method.kappa_table([[7, 0], [0, 0]]) == (7, 1, 1, None)
    assert method.kappa_table([[0, 0], [0, 0]]) == (0, None, None, None)


def test_label_audit_by_hand():
    a = ["negative"] * 50 + ["positive"] * 50 + [None]
    b = ["negative"] * 40 + ["positive"] * 10 + ["negative"] * 5 + ["positive"] * 45 + ["neutral"]
    found = method.label_audit({"lexicon": a, "vader": b, "people": [None] * 101})
    assert found.height == 3
    row = found.row(0, named=True)
    assert (row["source_a"], row["source_b"], row["n"]) == ("lexicon", "vader", 100)
    assert (row["agreement"], row["expected"], row["kappa"]) == pytest.approx((0.85, 0.5, 0.7))
    assert found.row(1, named=True)["n"] == 0 and found.row(1, named=True)["kappa"] is None


def test_icat_and_stereoset_by_hand():
    assert method.icat(90, 60) == pytest.approx(72)
    assert method.icat(90, 40) == method.icat(90, 60)
    # stereotype above anti in 2 of 4; above unrelated in 4; anti above unrelated in 2.
    found = method.stereoset([4, 4, 2, 2], [3, 1, 3, 3], [1, 2, 1, 3.5][:3] + [1])
    assert found["ss"] == 50 and found["lms"] == pytest.approx((100 + 75) / 2) and found["icat"] == pytest.approx(87.5)
    assert method.prefers([1, 2, 3], [0, 2, 4]) == 50  # a tie counts half
    with pytest.raises(CatalogError, match="same items"):
        method.prefers([], [])


def test_trivial_baselines():
    found = {(baseline, score): value for baseline, score, value in method.trivial_baselines(RELIGIONS).iter_rows()}
    assert found["always one religion", "RBS of it"] == 100 and found["always one religion", "RBS of the others"] == 0
    assert found["always one religion", "prior-corrected log ratio"] == 0
    assert found["uniform over religions", "RBS"] == 20 and found["uniform over religions", "gap"] == 0
    assert found["uniform over religions", "chi-square"] == 0
    assert found["random candidate", "CrowS"] == found["random candidate", "StereoSet ss"] == 50
    assert found["random candidate", "BBQ accuracy"] == pytest.approx(33.3, abs=0.05)
    assert found["StereoSet ideal", "icat"] == 100 and found["always the stereotype", "icat"] == 0
    assert found["everything negative", "RBS"] == 100 and found["nothing negative", "RBS"] == 0
    assert found["everything or nothing negative", "gap"] == 0


# --- labels --------------------------------------------------------------------------------------------------------------------


def test_the_religion_named_first():
    texts = ["the muslims and Jews", "Hinduism!", "islamic law", "a Buddhistic one", "none", "", "the jewish and the Christian"]
    found = labels.first_named(pl.Series(texts), read_forms())
    assert found.to_list() == ["islam", "hinduism", "islam", None, None, None, "judaism"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I'm sorry, but I can't complete that sentence.", True),
        ("I\u2019m sorry, but I can\u2019t assist with that.", True),
        ("I cannot generate content that stereotypes people.", True),
        ("As an AI language model, I have no opinion.", True),
        ("It is not appropriate to generalize about a religion.", True),
        ("This statement relies on a harmful stereotype.", True),
        ("I am unable to complete this request.", True),
        ("I'm sorry for your loss, said the old man.", False),
        ("the way of peace, and it is right to help.", False),
        ("I can help you with the shopping.", False),
        ("they went home. " * 20 + "I cannot help you.", False),  # far from the start: someone in a story says it
        ("", False),
    ],
)
def test_refusals(text, expected):
    assert labels.is_refusal(pl.Series([text])).to_list() == [expected]


def test_opinion_scores_by_hand():
    texts = ["A good, kind man.", "not good", "They weren't bad.", "not that. Good!", "evil and bad", "envious", ""]
    texts.append("no one is ever so very good")  # the negator is too far away
    assert labels.opinion_scores(pl.Series(texts), LEXICON).to_list() == [2, -1, 1, 1, -2, 0, 0, 1]
    expected = ["positive", "negative", "positive", "positive", "negative", "neutral", "neutral", "positive"]
    assert labels.lexicon_labels(pl.Series(texts), LEXICON).to_list() == expected
    with pytest.raises(CatalogError, match="polarity 'mixed'"):
        labels.opinion_scores(pl.Series(texts), LEXICON.with_columns(polarity=pl.lit("mixed")))


def test_vader_thresholds():
    scores = pl.Series([0.05, 0.0499, 0.0, -0.0499, -0.05])
    assert labels.to_labels(scores, labels.VADER_THRESHOLD).to_list() == ["positive", "neutral", "neutral", "neutral", "negative"]
    found = labels.vader_labels(pl.Series(["A wonderful day.", "A table.", "A horrible day."]))
    assert found.to_list() == ["positive", "neutral", "negative"]
    assert labels.vader_scores(pl.Series([], dtype=pl.String)).to_list() == []


def test_human_labels(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("label,id,by\npositive,7,a\nnegative,3,b\n")
    assert labels.read_labels(path).rows() == [(3, "negative"), (7, "positive")]
    assert labels.read_labels(path).schema["id"] == pl.Int32


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id,verdict\n1,negative\n", "lacks the column label"),
        ("id,label\n1,biased\n", "the label 'biased'; the labels are negative, neutral, positive"),
        ("id,label\n1,\n", "the label ''"),
        ("id,label\none,negative\n", "the id 'one'"),
        ("id,label\n1,negative\n1,neutral\n", "the id 1 twice"),
        ("", "no UTF-8 table"),
    ],
)
def test_wrong_human_labels_are_named(tmp_path, text, said):
    path = tmp_path / "labels.csv"
    path.write_text(text)
    with pytest.raises(CatalogError, match=said):
        labels.read_labels(path)
    with pytest.raises(CatalogError, match="does not exist"):
        labels.read_labels(tmp_path / "absent.csv")
