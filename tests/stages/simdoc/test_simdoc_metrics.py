"""Metrics of simdoc: golden values, formulas by hand, and the edges: empty, short, identical, without overlap."""

import json
import math

import numpy as np
import pytest

from catalog.base.errors import CatalogError
from catalog.models.encoder import bertscore
from stages.simdoc import analysis, readability, similarity
from stages.simdoc.dsari import dsari, penalties
from stages.simdoc.sari import ratio, sari, statistics
from stages.simdoc.score import REFERENCE_SETTINGS
from stages.simdoc.text import tokens_13a, tokens_single_spaces, tokens_space

SOURCE = "the old house stood near the wide river . it was built by farmers ."
OUTPUT = "the house was near the river . farmers built it ."
REFERENCE = "the old house was near the river . farmers built it ."

# --- SARI -------------------------------------------------------------------------------------------------------------------------------

GOLDEN_SARI = [
    # source, output, reference: add, keep, delete F1, delete P
    ("a b c d", "a b e", "a b e f", 50, 50, 100, 100),
    ("a b a b a", "a b", "a b", 0, 50, 100, 100),
    (SOURCE, OUTPUT, REFERENCE, 66.1438, 40.5797, 93.1558, 87.6603),
    (SOURCE, SOURCE, REFERENCE, 0, 36.9048, 0, 0),
    (SOURCE, REFERENCE, REFERENCE, 75, 75, 100, 100),  # no 4-gram to keep, none to add
    ("a b c d e", "a b c d e", "a b c d e", 0, 100, 0, 0),  # nothing to add or delete
    ("a b c d e", "v w x y z", "a b c d e", 0, 0, 0, 0),
    ("a b c d e", "", "v w x y z", 0, 0, 100, 100),  # all four orders are deleted rightly
]


@pytest.mark.parametrize(("source", "output", "reference", "add", "keep", "delete_f1", "delete_p"), GOLDEN_SARI)
def test_sari_golden(source, output, reference, add, keep, delete_f1, delete_p):
    whole, each = sari([source], [output], [[reference]])
    assert each == [whole]
    assert (whole.add, whole.keep, whole.delete_f1, whole.delete_p) == pytest.approx((add, keep, delete_f1, delete_p), abs=1e-4)
    assert whole.f1 == pytest.approx((add + keep + delete_f1) / 3, abs=1e-4)
    assert whole.p == pytest.approx((add + keep + delete_p) / 3, abs=1e-4)


EASSE = (
    ["About 95 species are currently accepted.", "The cat perched on the mat."],
    ["About 95 you now get in.", "Cat on mat."],
    [
        ["About 95 species are currently known.", "About 95 species are now accepted.", "95 species are now accepted."],
        ["The cat sat on the mat.", "The cat is on the mat.", "The cat sat."],
    ],
)


def test_sari_of_a_corpus_with_several_references_is_that_of_easse():
    whole, each = sari(*EASSE)
    assert (whole.f1, whole.p) == pytest.approx((33.1747, 29.1273), abs=5e-5)
    assert (whole.add, whole.keep, whole.delete_f1, whole.delete_p) == pytest.approx((6.25, 24.673, 68.601, 56.458), abs=5e-4)
    assert whole.f1 != pytest.approx(sum(one.f1 for one in each) / 2, abs=0.1)  # sums first, then the ratio


def test_sari_with_precision_of_deletion_is_neither_easses_paper_version_nor_the_mean_of_documents():
    whole, each = sari(*EASSE)
    tokens = [[[tokens_13a(text) for text in texts] for texts in part] for part in ([EASSE[0], EASSE[1]], EASSE[2])]
    sums = sum(statistics(*row) for row in zip(tokens[0][0], tokens[0][1], tokens[1])).astype(float)
    precision, recall = (ratio(sums[..., 0], sums[..., place]).mean(axis=0) for place in (1, 2))
    f1 = 200 * precision * recall / (precision + recall)
    paper_version = (f1[0] + f1[1] + 100 * precision[2]) / 3  # precision and recall averaged over n before F1 is taken
    assert whole.p == pytest.approx(29.1273, abs=5e-5) and abs(paper_version - whole.p) > 0.1
    assert abs(sum(one.p for one in each) / 2 - whole.p) > 0.1  # Hugging Face: the mean of single texts
    assert "neither EASSE's paper version nor that of Hugging Face's evaluate" in REFERENCE_SETTINGS["SARI"]


def test_sari_takes_the_tokens_it_is_given():
    untokenised, _ = sari(*EASSE, tokenise=tokens_space)
    assert abs(untokenised.f1 - sari(*EASSE)[0].f1) > 1
    # Full stops stick to their words: "mat." of the output is kept, "cat" is not known
    kept, _ = sari(["The cat. A mat."], ["cat mat."], [["cat. mat."]], tokenise=tokens_space)
    assert kept.keep == pytest.approx(100 * (2 / 3) / 4)  # of cat. and mat. one is kept; no bigram is


def test_sari_documents_may_differ_in_their_number_of_references():
    _, each = sari(["a b", "a b"], ["a c", "a c"], [["a c"], ["a c", "a b"]])
    assert each[0].delete_p == pytest.approx(50)  # b and "a b" of orders 1 and 2
    # k = 2: deleted b twice, of which the references delete it once; the same for "a b"
    assert each[1].delete_p == pytest.approx(25) and each[1].delete_f1 == pytest.approx(100 * 2 * (2 / 3) / 4)


@pytest.mark.parametrize("function", [sari, dsari])
def test_unequal_or_missing_documents_are_refused(function):
    for texts, match in [
        ((["a"], ["a", "b"], [["a"]]), "1 sources, 2 outputs and 1 lists"),
        (([], [], []), "no document"),
        ((["a"], ["a"], [[]]), "Document 1 has no list of references"),
        ((["a"], ["a"], ["a"]), "Document 1 has no list of references"),  # a bare text would be taken for a list of letters
    ]:
        with pytest.raises(CatalogError, match=match):
            function(*texts)


# --- D-SARI -----------------------------------------------------------------------------------------------------------------------------

GOLDEN_DSARI = [
    # source, output, reference: D-SARI, keep, delete, add in the released form
    ("a b c d", "a b e", "a b e f", 61.9422, 50, 100, 50 * math.exp(-1 / 3)),
    ("a b a b a", "a b", "a b", 39.5833, 50, 68.75, 0),  # the references are taken off twice
    (SOURCE, OUTPUT, REFERENCE, 62.8024, 40.3509, 87.6603, 60.3959),
    (SOURCE, SOURCE, REFERENCE, 4.46626, 13.39878, 0, 0),
    (SOURCE, REFERENCE, REFERENCE, 83.3333, 75, 100, 75),
    ("a b c d e", "", "a b", 100 / 3 * (5 / 5 * 3 / 5 + 3 / 4 + 1 + 1) / 4, 0, 100 * (3 / 5 + 3 / 4 + 1 + 1) / 4, 0),
]


@pytest.mark.parametrize(("source", "output", "reference", "score", "keep", "delete", "add"), GOLDEN_DSARI)
def test_dsari_released_golden(source, output, reference, score, keep, delete, add):
    mean, (one,) = dsari([source], [output], [[reference]])
    assert (one.score, one.keep, one.delete, one.add) == pytest.approx((score, keep, delete, add), abs=1e-4)
    assert mean["score"] == one.score and mean["slp"] == one.slp


def test_dsari_parts_of_the_golden_document():
    _, (one,) = dsari([SOURCE], [OUTPUT], [[REFERENCE]])
    assert (one.source_words, one.output_words, one.reference_words) == (15, 11, 12)
    assert (one.reference_sentences, one.output_sentences) == (2, 2)
    assert (one.lp1, one.lp2, one.slp) == pytest.approx((math.exp(-1 / 11), 1, 1))


def test_dsari_penalties_golden():
    assert penalties(200, 100, 80, 1, 1)[0] == pytest.approx(0.778801, abs=1e-6)
    assert penalties(150, 100, 120, 1, 1)[1] == pytest.approx(0.670320, abs=1e-6)
    assert penalties(1, 1, 1, 5, 8)[2] == pytest.approx(0.687289, abs=1e-6)
    assert penalties(15, 12, 15, 2, 2) == pytest.approx((1, math.exp(-1), 1))
    assert penalties(10, 10, 12, 0, 0) == pytest.approx((1, math.exp(-2), 1))  # a reference as long as the source: divided by 1
    assert penalties(10, 5, 0, 1, 0) == pytest.approx((0, 1, math.exp(-1)))  # an empty output adds nothing


def test_dsari_averages_references_downwards_and_documents_evenly():
    mean, each = dsari(["a b c d", "a b"], ["a b", "a b"], [["a b c", "a b. C d"], ["a b", "a b"]])
    assert each[0].reference_words == 3 and each[0].reference_sentences == 1  # of 3 and 4 words, 1 and 2 sentences
    assert mean["score"] == pytest.approx((each[0].score + each[1].score) / 2)
    assert mean["source_words"] == 3


@pytest.mark.parametrize(
    ("source", "reference"),
    [("a b a b a", "a b"), (SOURCE, REFERENCE), ("a", "b"), ("a", "a"), ("A b c. D e f g. H i.", "A b c, e. Now d. H i.")],
)
def test_dsari_robust_gives_a_perfect_document_100(source, reference):
    assert dsari([source], [reference], [[reference]], form="robust")[1][0].score == pytest.approx(100)


def test_dsari_robust_leaves_out_what_there_is_nothing_of():
    mean, (one,) = dsari(["a b c d"], ["a b"], [["a b"]], form="robust")
    assert one.add is None and (one.keep, one.delete, one.score) == (100, 100, 100) and mean["add"] is None
    _, (same,) = dsari(["a b c d"], ["a b c d"], [["a b"]], form="robust")
    # kept: 2 of 4 words and 1 of 3 bigrams with recall 1, so F1 2/3 and 1/2; 3- and 4-grams were kept and should not have been
    assert same.keep == pytest.approx(100 * (2 / 3 + 1 / 2) / 4 * math.exp(-1)) and same.delete == 0
    assert same.score == pytest.approx(same.keep / 2)


def test_dsari_robust_counts_a_deletion_once():
    # Four of five a stay in the reference and three in the output: of two deleted one is right, in each order.
    # Taken off twice, 4, 3, 2 and 1 of the references leave 0, 0, 0 and 1 of the two.
    texts = (["a a a a a x"], ["a a a x"], [["a a a a x"]])
    wrong, right = dsari(*texts)[1][0].delete, dsari(*texts, form="robust")[1][0].delete
    assert right == pytest.approx(50) and wrong == pytest.approx(50 / 4)


def test_dsari_takes_two_spaces_for_one_unless_told_to_cut_as_the_script_does():
    texts = (["a  b c d"], ["a b e"], [["a b e f"]])
    _, (own,) = dsari(*texts)
    assert own.score == pytest.approx(61.9422, abs=1e-4) and own.source_words == 4  # as without the second space
    _, (script,) = dsari(*texts, tokenise=tokens_single_spaces)
    # The empty word is one more of the source and deleted rightly; "a b" is no bigram of the source any longer, so it is added rightly.
    assert script.source_words == 5 and script.delete == pytest.approx(100)
    assert script.keep == pytest.approx(25) and script.add > own.add  # of four orders only the words are kept
    assert "the script: at every single space" in REFERENCE_SETTINGS["D-SARI released"]


def test_dsari_forms_differ_in_their_sentences():
    texts = (["Dr. Who came. He left."], ["Dr. Who came. He left."], [["Dr. Who came. He left."]])
    assert dsari(*texts)[1][0].output_sentences == 3
    assert dsari(*texts, form="robust")[1][0].output_sentences == 2
    assert dsari(*texts, split=lambda text: [text])[1][0].output_sentences == 1
    with pytest.raises(CatalogError, match="no form 'other'"):
        dsari(*texts, form="other")


# --- similarity -------------------------------------------------------------------------------------------------------------------------


def test_bleu_by_hand_and_with_its_signature():
    found = similarity.bleu(["The cat sat on\nthe mat"], [["the cat sat on a mat"]])
    # 5 of 6 words, 3 of 5 bigrams, 2 of 4 trigrams, 1 of 3 4-grams; no brevity penalty
    assert found.score == pytest.approx(100 * (5 / 6 * 3 / 5 * 2 / 4 * 1 / 3) ** 0.25)
    assert found.signature.startswith("nrefs:1|case:lc|eff:no|tok:13a|smooth:exp|version:")
    several = similarity.bleu(["a b c d", "w x y z"], [["a b c d", "e"], ["w x y z"]])
    assert several.score == pytest.approx(100) and several.signature.startswith("nrefs:var")
    assert similarity.document_bleu(["a b", ""], [["a b"], ["a"]]) == pytest.approx([100, 0])  # too short for 4-grams
    with pytest.raises(CatalogError, match="2 outputs and 1 lists"):
        similarity.bleu(["a", "b"], [["a"]])
    with pytest.raises(CatalogError, match="at least one"):
        similarity.bleu(["a"], ["a"])


def test_rouge_l_is_that_of_rouge_score():
    golden = [
        ("Cat on mat.", "The cat sat on the mat.", 200 / 3),
        ("It is not 1000 km, she says: Elodie!", "It isn't 1,000 km² – says Élodie.", 37.5),
        ("f e d c b a", "a b c d e f", 100 / 6),
    ]
    for output, reference, value in golden:
        assert similarity.rouge_l(output, [reference]) == pytest.approx(value)
    assert similarity.rouge_l("a b", ["c", "a x", "a b"]) == 100  # the closest reference
    assert similarity.rouge_l("", ["a"]) == similarity.rouge_l("…", ["…"]) == 0


def test_bertscore_by_hand():
    precision, recall, f1 = bertscore(np.array([[1.0, 0], [0, 2]]), np.array([[3.0, 4]]))
    assert (precision, recall, f1) == pytest.approx((0.7, 0.8, 2 * 0.56 / 1.5))
    same = np.random.default_rng(0).normal(size=(7, 5))
    assert bertscore(same, same[::-1] * 3) == pytest.approx((1, 1, 1))
    assert bertscore(np.array([[1.0, 0]]), np.array([[-1.0, 0]])) == (-1, -1, 0)
    with pytest.raises(CatalogError, match=r"\(0, 5\) and \(7, 5\)"):
        bertscore(same[:0], same)
    with pytest.raises(CatalogError, match="cannot be matched"):
        bertscore(same[:, :2], same)


def test_consecutive_cosine_by_hand():
    vectors = np.array([[1.0, 0], [3, 4], [0, 2], [0, 0]])
    assert similarity.consecutive_cosine(vectors) == pytest.approx((0.6 + 0.8 + 0) / 3)
    assert similarity.consecutive_cosine(vectors, step=2) == pytest.approx(0)
    assert similarity.consecutive_cosine(vectors[:3], step=2) == 0 and similarity.consecutive_cosine(vectors[[0, 1, 0]], step=2) == 1
    assert similarity.consecutive_cosine(vectors[:1]) is None and similarity.consecutive_cosine(vectors[:2], step=2) is None
    with pytest.raises(CatalogError, match="0 apart"):
        similarity.consecutive_cosine(vectors, step=0)
    with pytest.raises(CatalogError, match="matrix"):
        similarity.consecutive_cosine(np.ones(4))


# --- what was done to a document --------------------------------------------------------------------------------------------------------

MUSEUM = (
    "The old museum in Paris opened in 1950. It attracts 1,000 visitors every day and sells tickets online. Guards watch the paintings. "
    "The garden is small. Cats sleep in the garden."
)
SIMPLER = (
    "The old museum in Paris opened in 1950. It attracts a thousand visitors every day. It sells tickets online. "
    "The garden is small, and cats sleep in it. Bob Miller paid 20 dollars."
)


def test_operations_by_hand():
    found = analysis.operations(MUSEUM, SIMPLER)
    assert (found["sentences_source"], found["sentences_output"]) == (5, 5)
    assert {name: found[name] for name in analysis.OPERATIONS} == pytest.approx(
        {"deleted": 0.2, "copied": 0.2, "split": 0.2, "merged": 0.4, "rewritten": 0}
    )
    assert found["new"] == pytest.approx(0.2)
    rewritten = analysis.operations("Guards watch old paintings. Cats sleep.", "The guards watch the paintings. Cats sleep!")
    assert (rewritten["rewritten"], rewritten["copied"], rewritten["new"]) == (0.5, 0.5, 0)  # punctuation does not matter


def test_operations_of_repeated_sentences_count_each_once():
    found = analysis.operations("Cats sleep. Cats sleep. Dogs bark.", "Cats sleep. Dogs bark. Dogs bark.")
    assert found["copied"] == pytest.approx(2 / 3) and found["deleted"] == pytest.approx(1 / 3)


def test_align_links_splits_in_a_row_and_merges_in_a_column():
    source = ["Old museums attract visitors and sell tickets.", "Guards watch.", "Gardens grow.", "He was there."]
    output = ["Museums attract visitors.", "They sell tickets.", "Guards watch gardens grow.", "There he was."]
    expected = np.zeros((4, 4), dtype=bool)
    expected[0, :2] = expected[1:3, 2] = expected[3, 3] = True  # the last two have no content words: all words count
    assert (analysis.align(source, output) == expected).all()
    assert analysis.align([], output).shape == (0, 4) and not analysis.align(["Trees."], ["Stones."]).any()


def test_align_finds_merges_and_takes_equals_by_their_place():
    assert (analysis.align(["Red apples.", "Red apples grow."], ["Apples grow red here."]) == [[True], [True]]).all()
    # a partner with content words goes before one that shares function words
    source = ["He was there with them in it, and cats.", "Cats and dogs.", "There he was with them in it."]
    expected = [[True, False], [True, False], [False, True]]
    assert analysis.align(source, ["Cats, dogs.", "There he was with them in it."]).tolist() == expected
    assert np.array_equal(analysis.align(["Cats sleep."] * 3, ["Cats sleep."] * 3), np.eye(3, dtype=bool))


def test_copying_by_hand():
    assert analysis.copying("a a b", "a a a x")["copy_rate"] == pytest.approx(2 / 4)
    found = analysis.copying("a b c d e f", "a b c x a b c x")
    assert (found["words_source"], found["words_output"], found["compression"]) == (6, 8, pytest.approx(8 / 6))
    assert found["copy_rate"] == pytest.approx(3 / 8)  # each as often as in the source
    assert found["novel_1"] == pytest.approx(1 / 4) and found["novel_2"] == pytest.approx(2 / 4)  # of ab, bc, cx, xa
    assert found["novel_3"] == pytest.approx(3 / 4) and found["novel_4"] == 1
    assert found["repetition"] == pytest.approx(1 / 5)  # abcx stands twice


def test_faithfulness_by_hand():
    found = analysis.faithfulness(MUSEUM, SIMPLER)
    assert (found["numbers_source"], found["numbers_kept"], found["numbers_lost"], found["numbers_new"]) == (2, 2, 0, 1)
    # 17 content words, of which guards, watch and paintings are gone; new: thousand, bob, miller, paid, dollars
    assert found["content_kept"] == pytest.approx(14 / 17) and found["content_new"] == pytest.approx(5 / 19)
    assert found["names_new"] == 1
    assert analysis.new_numbers(MUSEUM, "In 1950 or 1951, 3 to 1,000, or 3.") == ["1951", "3"]
    assert analysis.faithfulness("Two of 30.", "Only 2.")["numbers_lost"] == 1


def test_new_names_are_capitals_within_sentences():
    source = "The paris museum of Ann."
    output = "Tourists love Paris. Soon NASA's Bob, “Please” Ann's friend and I'm told Bob, said: Then Rome won. IBM too."
    assert analysis.new_names(source, output) == ["NASA", "Bob", "Rome", "IBM"]


@pytest.mark.parametrize(("source", "output"), [("One.", ""), ("", "One."), ("", ""), ("Hi.", "Hi.")])
def test_short_and_empty_documents_have_undefined_shares(source, output):
    found = analysis.document(source, output)
    assert all(value is None or math.isfinite(value) for value in found.values())
    assert found["repetition"] is None and found["novel_4"] is None
    assert (found["compression"] is None) == (source == "")
    assert found["new"] == (None if not output else 0 if source else 1)
    if source:
        assert sum(found[name] for name in analysis.OPERATIONS) == 1
    assert set(analysis.corpus([found])) == set(found)


def test_analysis_of_a_corpus_takes_means_and_the_ratio_of_all_words():
    rows = [analysis.document("a b c d", "a b"), analysis.document("a b", "")]
    found = analysis.corpus(rows)
    assert found["words_source"] == 3 and found["compression"] == pytest.approx(2 / 6) and found["copy_rate"] == 1
    assert analysis.corpus([]) == {}


def test_metrics_can_be_written_as_json():
    values = [analysis.document(MUSEUM, SIMPLER), readability.readability([MUSEUM])[0], dsari(*EASSE)[0]]
    assert json.loads(json.dumps(values, allow_nan=False)) == values
