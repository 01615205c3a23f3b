"""Duplicates, exact and near, of texts long and short, English and Chinese."""

from collections import Counter

import pytest

from stages.open_finllms.dedup import Instruction, Seen, Twin, distinct, key, merge_instructions, pair_table, shingles
from stages.open_finllms.documents import Document


def documents(*texts, source="s"):
    return [Document(f"{source}{i}", "p", source, text) for i, text in enumerate(texts)]


def kept(*texts, near=True, seen=None):
    pairs = Counter()
    found = list(distinct(documents(*texts), seen or Seen(), pairs, near))
    return [document.text for document in found], pairs


def test_shingles():
    assert shingles("A b c", 2) == {"a b", "b c"}
    assert shingles("Net loss.", 5) == {"net loss ."} and shingles("", 5) == {""}
    assert shingles("營收 up5％", 2) == {"營 收", "收 up", "up 5", "5 ％"}
    assert shingles("fell -5 of 1,204.5", 9) == {"fell - 5 of 1,204.5"}
    assert shingles("fell 5", 9) != shingles("fell -5", 9)


def test_short_texts_are_not_all_alike():
    assert kept("Net loss.", "Net gain.", "Net loss.") == (["Net loss.", "Net gain."], {("exact", "s", "s"): 1})
    assert kept("公司今年虧損五億元", "公司今年獲利五億元", "公司今年虧損五億元")[0] == ["公司今年虧損五億元", "公司今年獲利五億元"]


def test_case_and_spacing_do_not_tell_texts_apart_but_signs_do():
    assert key("Net  Loss\n") == key("net loss") and key("e\u0301") == key("é")
    assert len({key(text) for text in ("10² mg", "102 mg", "5 %", "-5 %", "½", "1⁄2")}) == 6


def test_near_duplicates_of_long_texts():
    words = [f"w{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(200)]
    base = " ".join(words)
    one = " ".join([*words[:100], "other", *words[101:]])  # 5 of 196 5-grams differ: 191 / 201 = .95
    many = " ".join(["other" if i % 10 == 0 else word for i, word in enumerate(words)])  # half of them differ
    chinese = "".join(chr(0x4E00 + i) for i in range(200))
    texts = [base, one, many, chinese, chinese[:-1]]  # the last is short of one 5-gram: 195 / 196
    assert kept(*texts) == ([base, many, chinese], {("near", "s", "s"): 2})
    assert kept(*texts, near=False) == (texts, {})


def test_the_most_similar_earlier_text_is_named():
    words = [f"w{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(200)]
    far = " ".join([*(f"x{word}" for word in words[:60]), *words[60:]])  # shares 136 of 256 5-grams with the whole: .53
    close = " ".join([*words[:170], *(f"x{word}" for word in words[170:])])  # 166 of 226: .73; with far 106 of 286: .37
    for order in ("far", "close"), ("close", "far"):
        seen = Seen(threshold=0.45)
        for name, text in [*zip(order, (far, close) if order[0] == "far" else (close, far)), ("other", "nothing of this")]:
            assert seen.twin(Document(name, "p", f"of {name}", text)) is None
        assert seen.twin(Document("whole", "p", "z", " ".join(words))) == Twin("near", "close", "of close")
        assert seen.twin(Document("again", "p", "z", far.upper())) == Twin("exact", "far", "of far")


def test_sources_that_share_what_was_seen():
    seen, pairs = Seen(), Counter()
    first, second = documents("one two", "three", source="a"), documents("ONE two", "four", "three", source="b")
    assert [d.id for d in distinct(first, seen, pairs)] == ["a0", "a1"]
    assert [d.id for d in distinct(second, seen, pairs)] == ["b1"]
    assert pair_table(pairs).rows() == [("exact", "a", "b", 2)]


def test_merged_instructions():
    ask = "What is the sentiment?"
    made = merge_instructions(
        {
            "flare": [Instruction(ask, "Net loss.", "negative"), Instruction(ask, "Net gain.", "positive")],
            "sujet": [
                Instruction("what is  the sentiment?", "net loss.", "Negative"),
                Instruction(ask, "Net gain.", "neutral"),
                Instruction(ask, "Flat.", "neutral"),
                Instruction(ask, "Flat.", "neutral"),
                Instruction(ask + " Flat.", "", "neutral"),  # the same words, but asked about nothing
            ],
        }
    )
    assert made.sources.rows() == [("flare", 2, 2), ("sujet", 5, 3)]
    assert made.pairs.rows() == [
        ("another answer", "flare", "sujet", 1),
        ("exact", "flare", "sujet", 1),
        ("exact", "sujet", "sujet", 1),
    ]
    assert made.items.rows() == [
        ("flare", ask, "Net loss.", "negative"),
        ("flare", ask, "Net gain.", "positive"),
        ("sujet", ask, "Net gain.", "neutral"),
        ("sujet", ask, "Flat.", "neutral"),
        ("sujet", ask + " Flat.", "", "neutral"),
    ]


@pytest.mark.parametrize("threshold", [0.6, 0.9])
def test_the_order_of_other_texts_changes_nothing(threshold):
    texts = [f"text {i} " * 8 for i in range(30)]
    forward, _ = kept(*texts, seen=Seen(threshold=threshold))
    assert sorted(kept(*reversed(texts), seen=Seen(threshold=threshold))[0]) == sorted(forward) == sorted(texts)
