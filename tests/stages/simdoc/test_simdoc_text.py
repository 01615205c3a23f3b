"""Texts of simdoc: sentences, words, syllables, numbers, normal form, encodings of files."""

import pytest

from catalog.base.errors import CatalogError
from catalog.base.text import json_rows
from stages.simdoc import files, text

SENTENCES = [
    (
        "Dr. Smith met J. K. Rowling in the U.S. He paid $3.5 million. Why?",
        ["Dr. Smith met J. K. Rowling in the U.S.", "He paid $3.5 million.", "Why?"],
    ),
    ('"Why?" he asked. "I don\'t know!" No. 5 is here.', ['"Why?" he asked.', '"I don\'t know!"', "No. 5 is here."]),
    ("Apple Inc. Tim ran it, e.g. The Mac. It is 5 p.m. on Jan. 5.", ["Apple Inc. Tim ran it, e.g. The Mac.", "It is 5 p.m. on Jan. 5."]),
    (
        "She said: “Go away.” Then he left (quickly). (He ran.) So do I. The end",
        ["She said: “Go away.”", "Then he left (quickly).", "(He ran.)", "So do I.", "The end"],
    ),
    ("it was built . by farmers . ''", ["it was built .", "by farmers . ''"]),  # no capital in the whole text
    ("1. Wash. 2. Eat the pie... or not. iPads cost more.", ["1. Wash.", "2. Eat the pie... or not.", "iPads cost more."]),
    ("A headline\nA first sentence. A second\n\none", ["A headline", "A first sentence.", "A second", "one"]),
    ("It went on,\nIvan said, and\non.", ["It went on, Ivan said, and on."]),
    ("The day ended.The cat slept!A dog did not.", ["The day ended.", "The cat slept!", "A dog did not."]),  # white space forgotten
    (
        "See Example.Com, www.the.Times.uk and read.Me/now. Use Node.Js.",
        ["See Example.Com, www.the.Times.uk and read.Me/now.", "Use Node.Js."],
    ),
    ("It is 3.Five vs.The rest, Inc.Tim and Inc.The end.", ["It is 3.Five vs.The rest, Inc.Tim and Inc.", "The end."]),
    ("", []),
    ("One", ["One"]),
]


@pytest.mark.parametrize(("whole", "parts"), SENTENCES)
def test_sentences(whole, parts):
    assert text.sentences(whole) == parts


def test_simple_sentences_break_at_marks_before_space_and_at_line_ends():
    assert text.simple_sentences("Dr. Who? 3.5 said.” He left\n\nSo  ") == ["Dr.", "Who?", "3.5 said.” He left", "So"]


def test_paragraphs_are_lines_unless_these_are_wrapped():
    wrapped = "The long history of the town began\nwhen Romans built a bridge. Later on\nPeople came to trade.\n\nNext"
    assert text.paragraphs(wrapped) == [
        "The long history of the town began when Romans built a bridge. Later on People came to trade.",
        "Next",
    ]
    assert text.paragraphs("Title\nA first line of some length\nEnd\n \nLast  one") == [
        "Title",
        "A first line of some length",
        "End",
        "Last one",
    ]
    assert text.paragraphs("small\nletters here\nall of it a b c d e f") == ["small", "letters here", "all of it a b c d e f"]


LISTS = [
    ["Ann", "Bob", "Eve"],
    ["Boil the rice", "Peel a carrot", "Chop an onion", "Fry all of it", "Salt it a bit"],  # of one length
    ["- Two eggs", "- One onion", "- Some rice"],
    ["1. Two eggs", "2. One onion", "3. Some rice"],
]


@pytest.mark.parametrize("items", LISTS)
@pytest.mark.parametrize("ending", ["", " and one more that is longer than all the others in the list"])
def test_the_items_of_a_list_are_sentences_whatever_their_lengths(items, ending):
    lines = [*items[:-1], items[-1] + ending]
    assert text.paragraphs("\n".join(lines)) == lines and text.sentences("\n".join(lines)) == lines
    assert text.paragraphs("\n".join([lines[-1], *lines[:-1]])) == [lines[-1], *lines[:-1]]


def test_letters_that_are_not_latin_are_told():
    for whole in ("The cat sat.", "Żółć, naïve café", "1990, 12 %", "", "Say 你好 to Ann"):
        assert text.is_latin(whole), whole
    for whole in ("猫坐在垫子上。", "جلست القطة على السجادة.", "बिल्ली चटाई पर बैठी।", "Кот сел.", "猫 sat 坐在垫子上"):
        assert not text.is_latin(whole), whole


def test_single_spaces_have_empty_tokens_between_them():
    assert text.tokens_single_spaces("A  mat.\n\nIt sat.") == ["a", "", "mat.", "it", "sat."]
    assert text.tokens_space("A  mat.\n\nIt sat.") == ["a", "mat.", "it", "sat."]


def test_words_and_tokens():
    assert text.words("U.S. isn't well-known; 1,000.5% of 'rock’n’roll' — a_b") == [
        "U.S.",
        "isn't",
        "well-known",
        "1,000.5",
        "of",
        "rock’n’roll",
        "a",
        "b",
    ]
    assert text.tokens_13a("Cat on mat. It's\n$1,000.50 &quot;x&quot;") == ["cat", "on", "mat", ".", "it's", "$", "1,000.50", '"', "x", '"']
    assert text.tokens_space(" A  mat. ") == ["a", "mat."]
    assert text.ngrams(["a", "b", "a", "b"], 2) == {("a", "b"): 2, ("b", "a"): 1} and not text.ngrams(["a"], 2)
    assert text.content_words("The dog's owners didn't go to the U.S. in 2010; they’re well-known.") == [
        "dog",
        "owners",
        "u.s.",
        "well-known",
    ]


def test_syllables():
    known = "cat 1 house 1 table 2 whole 1 tree 1 the 1 café 2 simple 2 rhythm 1 simplification 5 Queue 1 house, 1 l'eau 1 2018 1 é 1 age 1"
    pairs = known.split()
    assert {word: text.syllables(word) for word in pairs[::2]} == {word: int(count) for word, count in zip(pairs[::2], pairs[1::2])}


NUMBERS = [
    ("1,000, 1000.0 and a thousand", ["1000", "1000", "1000"]),
    ("$2.5m, £3 million, 3bn, 5m", ["2500000", "3000000", "3000000000", "5"]),
    ("twenty-one, two hundred and five, 3.5 million", ["21", "205", "3500000"]),
    ("one of us, one hundred, five and six; two, three", ["100", "5", "6", "2", "3"]),
    ("two million five hundred thousand", ["2500000"]),
    ("B2B G20 1990s 21st 10% 10:30 3-4 COVID-19 0.50 12,34", ["1990", "21", "10", "10", "30", "3", "4", "19", "0.5", "12", "34"]),
    ("in 2010 20 came", ["2010", "20"]),
    ("none", []),
]


@pytest.mark.parametrize(("whole", "found"), NUMBERS)
def test_numbers(whole, found):
    assert text.numbers(whole) == found


def test_numbers_in_words_can_be_left_out():
    assert text.numbers("two of 1,200 and 3.5 million", spelled=False) == ["1200", "3.5"]


NORMALISED = [
    ("\ufeffa\r\nb\rc", "a\nb\nc"),
    ("a\u00a0b\u2009 c \t\n\n\n\n d ", "a b c\n\nd"),
    ("â€œHiâ€\x9d itâ€™s Â£5 cafÃ© â‚¬1", "“Hi” it’s £5 café €1"),
    ("â€œHiâ€ there", "“Hi” there"),  # the last byte was lost
    ("â\x80\x99 \x93q\x94", "’ “q”"),  # read as Latin-1
    ("Ã¢â‚¬â„¢", "’"),  # twice
    ("cafe\u0301 so\u00adft zero\u200bwidth", "café soft zerowidth"),
    ("Âge, Ã and â stay: naïve café – “ok”", "Âge, Ã and â stay: naïve café – “ok”"),
    ("a\u2028b\u2029c", "a\nb\n\nc"),
]


@pytest.mark.parametrize(("raw", "clean"), NORMALISED)
def test_normalise(raw, clean):
    assert files.normalise(raw) == clean
    assert files.normalise(clean) == clean


def test_json_lines_are_objects_that_can_be_written_again():
    whole = '{"a": "\\ud83d\\ude00"}\n\n{"b": 1}\n'
    assert json_rows(whole, "x.jsonl") == [(1, {"a": "😀"}), (3, {"b": 1})]
    for line, why in [
        ('{"a": ["\\ud83d"]}', r"\\ud83d is half a character"),
        ('{"a": 1, "b": 2, "a": 1}', "the key 'a' occurs twice in one object"),
        ('{"a": ' + "[" * 100_000, "nested more than [0-9]+ levels deep"),
        ('{"a": ' + "[" * 300 + "]" * 300 + "}", "nested more than [0-9]+ levels deep"),
        ("{", "at column 2"),
    ]:
        with pytest.raises(CatalogError, match=f"^Line 2 of x.jsonl cannot be read as JSON: .*{why}; write one whole object a line.$"):
            json_rows('{"a": "b"}\n' + line, "x.jsonl")
    assert files.json_object('{"a": 1, "a": 2}') and not files.json_object("[1]") and not files.json_object("Text.")
    assert files.json_object('{"a": ' * 100_000) and not files.json_object("[" * 100_000) and files.is_json_value("[" * 100_000)
    assert [files.is_json_value(one) for one in ('[{"text": "a"}]', '{\n"text": "a"}\n', '["a",\n"b"]')] == [True] * 3
    assert [files.is_json_value(one) for one in ('{"text": "a"}\n', '{"text": "a"}\n{"text": "b"}\n', "[1] A note.", "Text.")] == [
        False
    ] * 4


def test_texts_and_whole_numbers_are_ids():
    assert [files.id_text(value, "Line 1") for value in ("a", "01", 7, 0)] == ["a", "01", "7", "0"]
    for value, shown in [("", '""'), (" ", '" "'), (True, "true"), ([1], r"\[1\]"), ({"a": "é"}, '{"a": "é"}'), (1.5, "1.5")]:
        with pytest.raises(CatalogError, match=f"^Line 1 has the id {shown}; an id must be a text"):
            files.id_text(value, "Line 1")
