"""Cleaning rules on texts whose right form is known, twice, and counted."""

from collections import Counter

import pytest

from stages.open_finllms.cleaning import RULES, clean, clean_all, report
from stages.open_finllms.documents import Document

CASES = [
    ("cafÃ© Â£5 itâ€™s ÃƒÂ©", "café £5 it's é", {"wrongly decoded characters": 6, "punctuation": 1}),
    ("Spaß“ à la NÃO Â", 'Spaß" à la NÃO Â', {"punctuation": 1}),  # letters that are meant
    ("e\u0301", "é", {"composed characters": 1}),
    ("10² mg, ½ and ①②", "10² mg, ½ and ①②", {}),  # a stronger normal form makes 102, 1/2 and 12 of them
    ("（Ａ）５％　ok", "(A)5% ok", {"punctuation": 6}),
    ("fell −5.2 % – “no”… yes—no", 'fell -5.2 % - "no"... yes - no', {"punctuation": 6}),
    ("a\u200bb\x07 \ufeffc", "ab c", {"invisible characters": 3}),
    ("half \ud83d of a pair", "half \ufffd of a pair", {"half of a surrogate pair": 1}),
    ("See (https://x.com/a?b=1). Or www.y.org, ok", "See (). Or , ok", {"URL": 2}),
    ('<a href="http://x.y/z">t</a>', '<a href="">t</a>', {"URL": 1}),
    ("to a.b@c.co.uk or @user, $5@10, x@y", "to or @user, $5@10, x@y", {"e-mail": 1, "white space": 1}),
    ("a \r\nb\t1\u00a0 2\n\n\n\n c", "a\nb\t1 2\n\nc", {"white space": 1}),  # lines and tabs stay
]


@pytest.mark.parametrize(("text", "right", "counts"), CASES)
def test_each_rule(text, right, counts):
    assert clean(text) == (right, Counter(counts))
    assert set(counts) <= set(RULES)


@pytest.mark.parametrize(
    "text", [case[0] for case in CASES] + ["https：／／ｘ．ｃｏｍ", "a@bhttp://x.c.de", "Ã\u200bƒÂ©", "\u00c3\u0083\u00c2\u00a9"]
)
def test_a_cleaned_text_is_clean(text):
    once, _ = clean(text)
    assert clean(once) == (once, Counter())


def test_nothing_is_lost_in_silence():
    texts = ["fine text", " \n", "a@b.com", "short", "see www.x.com now"]
    ledger = Counter()
    kept = list(clean_all([Document(str(i), "news", "s", text) for i, text in enumerate(texts)], ledger, min_characters=6))
    assert [(document.id, document.text) for document in kept] == [("0", "fine text"), ("4", "see now")]
    assert report(ledger).rows() == [
        ("news", "URL", "documents", 1),
        ("news", "URL", "places", 1),
        ("news", "documents", "in", 5),
        ("news", "documents", "out", 2),
        ("news", "e-mail", "documents", 1),
        ("news", "e-mail", "places", 1),
        ("news", "empty", "dropped", 1),
        ("news", "empty after cleaning", "dropped", 1),
        ("news", "too short", "dropped", 1),
        ("news", "white space", "documents", 1),
        ("news", "white space", "places", 1),
    ]
