"""Readability of simdoc: syllables, sentences and grades by hand and by golden values."""

import pytest

from catalog.base.errors import CatalogError
from stages.simdoc import readability
from stages.simdoc.readability import Counts
from stages.simdoc.score import SETTINGS
from stages.simdoc.text import tokens_13a


def test_readability_formulas_by_hand():
    assert readability.fkgl(Counts(sentences=2, words=15, syllables=24)) == pytest.approx(6.215)
    c = Counts(sentences=2, words=20, syllables=30, characters=90, polysyllables=3, complex_words=2)
    assert readability.fkgl(c) == pytest.approx(0.39 * 10 + 11.8 * 1.5 - 15.59)
    assert readability.reading_ease(c) == pytest.approx(69.785)
    assert readability.gunning_fog(c) == pytest.approx(8.0)
    assert readability.smog(c) == pytest.approx(1.0430 * 45**0.5 + 3.1291)
    assert readability.coleman_liau(c) == pytest.approx(7.7)
    assert readability.ari(c) == pytest.approx(4.765)


def test_punctuation_is_no_word_here_as_it_is_in_easse():
    whole = "Yes, he did (well, almost)."
    own, theirs = readability.counts(whole), tokens_13a(whole)
    assert (own.sentences, own.words, len(theirs)) == (1, 5, 10)
    # with ten "words" the grade of EASSE's kind would be 0.39 * 10 + 11.8 * 6 / 10 - 15.59
    assert readability.fkgl(own) == pytest.approx(0.39 * 5 + 11.8 * 6 / 5 - 15.59)
    assert "EASSE counts punctuation as words" in SETTINGS["readability"]


def test_texts_in_other_letters_have_no_grade():
    whole, each = readability.readability(["The cat sat on the mat.", "Кот сел. Он спит."])
    assert each[1]["fkgl"] is None and each[1]["smog"] is None and whole["fkgl"] == each[0]["fkgl"] == pytest.approx(-1.45)


def test_a_list_is_graded_alike_whatever_the_length_of_its_last_item():
    items = ["Boil the rice", "Peel a carrot", "Chop an onion", "Fry all of it", "Salt it a bit"]
    # 16 words of 19 syllables in 5 sentences; two words of a syllable each more
    assert readability.counts("\n".join(items)) == readability.counts(". ".join(items) + ".")
    assert readability.counts("\n".join(items) + " at last").sentences == readability.counts("\n".join(items)).sentences == 5


def test_readability_of_a_simple_sentence():
    whole, (one,) = readability.readability(["The cat sat on the mat."])
    assert one == whole and tuple(one) == readability.METRICS
    assert one["fkgl"] == pytest.approx(-1.45) and one["fkgl_clamped"] == 0
    assert one["sentence_length"] == 6 and one["type_token_ratio"] == pytest.approx(5 / 6)


def test_counts_by_hand():
    found = readability.counts("Mr. Kowalski interested nobody. We visited Alexandria in 1990!\n—\nHello", tokenise=str.split)
    # Kowalski 3, interested 4, nobody 3; visited 3, Alexandria 4: names within a sentence and visit + ed are not complex
    syllables = 1 + 3 + 4 + 3 + 1 + 3 + 4 + 1 + 1 + 2
    assert found == Counts(sentences=3, words=10, syllables=syllables, characters=26 + 25 + 5, polysyllables=5, complex_words=2)


def test_readability_of_a_corpus_sums_counts_and_the_empty_document_has_none():
    texts = ["The cat sat on the mat.", "Cats sit."]
    whole, each = readability.readability(texts)
    assert whole["fkgl"] == pytest.approx(0.39 * 8 / 2 + 11.8 - 15.59)
    assert whole["fkgl"] == pytest.approx(readability.fkgl(sum(map(readability.counts, texts), start=Counts(0, 0))))
    assert whole["type_token_ratio"] == pytest.approx((5 / 6 + 1) / 2)
    assert readability.readability([""]) == (dict.fromkeys(readability.METRICS), [dict.fromkeys(readability.METRICS)])
    assert readability.readability(["", texts[1]])[0]["fkgl"] == each[1]["fkgl"]


def test_dale_chall_by_hand():
    easy = {"the", "cat", "run", "city", "name"}
    assert readability.dale_chall("The cat perched quietly.", easy) == pytest.approx(0.1579 * 50 + 0.0496 * 4 + 3.6365)
    # endings, doubled letters, names within a sentence, numbers and compounds of easy words
    assert readability.dale_chall("Cats running 20 cities named Paris, the cat-run.", easy) == pytest.approx(0.0496 * 8)
    assert readability.dale_chall("", easy) is None


def test_easy_words_are_found_without_a_download_or_asked_for(monkeypatch, tmp_path):
    package = tmp_path / "textstat"
    (package / "resources" / "en").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(CatalogError, match="pip install textstat"):
        readability.easy_words()
    (package / "resources" / "en" / "easy_words.txt").write_text("able\nAbout\n")
    assert readability.easy_words() == {"able", "about"}
