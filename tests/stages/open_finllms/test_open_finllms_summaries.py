"""Summaries: ROUGE by hand, scripts other than Latin, and the extracts that the published scorer never makes."""

import numpy as np
import pytest

from catalog.base.errors import CatalogError
from stages.open_finllms.score_summaries import rouge
from stages.open_finllms.scoring import score, table


def test_rouge_by_hand():
    for mode in ("paper", "strict"):
        found = rouge("sales rose in May", "In May sales rose again", mode)
        # Words shared 4 of 4 and 5; pairs "sales rose", "in may" of 3 and 4; longest common subsequence 2.
        assert found["rouge1"] == pytest.approx(8 / 9) and found["rouge2"] == pytest.approx(4 / 7)
        assert found["rougeL"] == pytest.approx(4 / 9)


def test_line_ends_are_sentences_of_rouge_lsum():
    for mode in ("paper", "strict"):
        found = rouge("a b\nc d", "c d\na b", mode)
        assert found["rougeL"] == 0.5 and found["rougeLsum"] == 1
        assert rouge("a b c d", "c d a b", mode)["rougeLsum"] == 0.5  # joined, they would be lost


def test_chinese_is_read_by_characters_in_strict_mode():
    assert rouge("營收5", "虧損5", "paper")["rouge1"] == 1  # only the 5 is seen
    assert rouge("營收5", "虧損5", "strict")["rouge1"] == pytest.approx(1 / 3)
    assert rouge("營收成長", "營收成長", "paper")["rouge1"] == 0 and rouge("營收成長", "營收成長", "strict")["rouge1"] == 1


def test_a_reference_without_words_is_not_scored_in_strict_mode():
    rows = [{"id": 1, "gold": "sales rose"}, {"id": 2, "gold": "..."}]
    outputs = {"1": "sales rose", "2": "..."}
    strict = score("summaries", rows, outputs, "strict")
    assert strict["rouge1"].value == 1 and strict["rouge1"].n == 1 and strict.items["score"].to_list() == [1.0, None]
    assert score("summaries", rows, outputs, "paper")["rouge1"].n == 2
    empty = score("summaries", [{"id": 1, "gold": "..."}], {}, "strict")
    assert empty["rouge1"].value is None and empty["rouge1"].n == 0


def texts(n=30):
    words = "sales rose fell in May June by ten percent again".split()
    rng = np.random.default_rng(4)
    rows = [{"id": at, "gold": " ".join(rng.choice(words, 6))} for at in range(n)]
    return rows, {str(row["id"]): " ".join(rng.choice(words, 6)) for row in rows}


def test_the_mean_and_the_median_of_bootstrap_means():
    rows, outputs = texts()
    strict, paper = (score("summaries", rows, outputs, mode) for mode in ("strict", "paper"))
    assert strict["rougeL"].value == pytest.approx(strict.items["score"].mean())
    assert paper["rougeL"].value == pytest.approx(strict["rougeL"].value, abs=0.02) and paper["rougeL"].value != strict["rougeL"].value
    assert paper.items["score"].to_list() == strict.items["score"].to_list()  # English: each text the same
    assert strict["rougeL"].low < strict["rougeL"].value < strict["rougeL"].high


def test_order_company_new_row_and_the_global_seed():
    rows, outputs = texts()
    np.random.seed(123)
    state = np.random.get_state()[1].copy()
    for mode in ("paper", "strict"):
        whole = score("summaries", rows, outputs, mode)
        assert table(score("summaries", rows[::-1], outputs, mode)).equals(table(whole))
        assert score("summaries", rows[3:4], {"3": outputs["3"]}, mode).items.equals(whole.items[3])
        more = score("summaries", [*rows, {"id": "new", "gold": "a"}], outputs, mode)
        assert more.items.head(30).equals(whole.items) and more.items["status"][30] == "absent"
    assert (np.random.get_state()[1] == state).all()


def test_extracts_are_empty_in_the_published_scorer():
    row = {"id": 1, "gold": "", "text": "sales rose\nit rained\ncosts fell", "label": [1, 0, 1]}
    paper, strict = (score("extracts", [row], {"1": "1\n0\n1"}, mode) for mode in ("paper", "strict"))
    assert [paper[kind].value for kind in ("rouge1", "rouge2", "rougeL")] == [0, 0, 0]
    assert strict["rouge1"].value == 1 and strict.items["parsed"].to_list() == ["sales rose\ncosts fell"]
    assert strict.items["gold"].to_list() == ["sales rose\ncosts fell"]
    # "1" alone: the first of the two sentences, 2 of 2 and of 4 words.
    assert score("extracts", [row], {"1": "1"}, "strict")["rouge1"].value == pytest.approx(2 / 3)
    assert score("extracts", [row], {"1": "sales"}, "strict")["rouge1"].missing == 1
    with pytest.raises(CatalogError, match="numbers 0 and 1"):
        score("extracts", [row | {"label": ["1", "0", "1"]}], {}, "strict")
