"""Entities, token labels and relations, worked out by hand."""

import random

import pytest

from catalog.base.errors import CatalogError
from stages.open_finllms.score_spans import paper_tags, spans, strict_spans, token_labels
from stages.open_finllms.scoring import score, table

LABELS = ["O", "B-PER", "I-PER", "B-ORG", "I-ORG"]


@pytest.mark.parametrize(
    ("tags", "found"),
    [
        ("O B-PER I-PER O B-ORG", {("PER", 1, 2), ("ORG", 4, 4)}),
        ("B-PER B-PER", {("PER", 0, 0), ("PER", 1, 1)}),
        ("I-PER I-PER O", {("PER", 0, 1)}),  # an I after O begins a span, as in conlleval
        ("B-PER I-ORG I-ORG", {("PER", 0, 0), ("ORG", 1, 2)}),  # so does a change of type
        ("S-PER I-PER E-PER I-PER", {("PER", 0, 0), ("PER", 1, 2), ("PER", 3, 3)}),
        ("O I-", {("_", 1, 1)}),  # a tag without a type
        ("", set()),
    ],
)
def test_spans_of_tags(tags, found):
    assert spans(tags.split()) == found


def test_the_paper_finds_strings_and_not_words():
    assert paper_tags("Acme Inc, ORG", "Acme Inc rose .") == ["B-ORG", "I-ORG", "O", "O"]
    assert paper_tags("Roe, PER", "Roe met Roe .") == ["B-PER", "O", "B-PER", "O"]  # every place
    assert paper_tags("Roe, PER", "met Jane Roe") == ["O", "O", "O"]  # never at the end of the text
    assert paper_tags("Inc, ORG", "Incorporated by us .") == ["B-ORG", "O", "O", "O"]  # the beginning of a word
    assert paper_tags("art, ORG", "Smart talk now") == ["O", "B-ORG", "O"]  # inside a word: the next one is tagged
    assert paper_tags("Roe, Jane, PER\nnothing\n, ORG", "Roe, Jane came") == ["B-PER", "I-PER", "O"]  # the last ", " separates


def test_strict_finds_whole_tokens_also_the_last():
    assert strict_spans("Roe, PER", "met Jane Roe") == ({("PER", 2, 2)}, "ok")
    assert strict_spans("Inc , org", "Incorporated by Inc .") == ({("ORG", 2, 2)}, "ok")
    assert strict_spans("Nobody, PER", "met Jane Roe") == ({("PER", -1, -1)}, "ok")
    assert strict_spans("There are none.", "met Jane Roe") == (set(), "unparsable")
    assert strict_spans("", "met Jane Roe") == (set(), "empty")


def entity_rows():
    return [
        {"id": "a", "gold": "", "text": "Acme Inc hired Jane Roe .", "label": ["B-ORG", "I-ORG", "O", "B-PER", "I-PER", "O"]},
        {"id": "b", "gold": "", "text": "It met Roe", "label": ["O", "O", "B-PER"]},
    ]


def test_entity_f1():
    outputs = {"a": "Jane Roe, PER\nAcme, ORG", "b": "Roe, PER\nBob, PER"}
    # Paper: of three gold spans one is found, two are named (Roe at the end is not tagged, Bob costs nothing).
    paper = score("entities", entity_rows(), outputs, "paper")
    assert paper["precision"].value == 1 / 2 and paper["recall"].value == 1 / 3 and paper["entity_f1"].value == pytest.approx(2 / 5)
    # Strict: two of three found, four named.
    strict = score("entities", entity_rows(), outputs, "strict")
    assert strict["precision"].value == 2 / 4 and strict["recall"].value == 2 / 3 and strict["entity_f1"].value == pytest.approx(4 / 7)
    assert strict.items["score"].to_list() == pytest.approx([1 / 2, 2 / 3])
    assert score("entities", entity_rows(), {}, "strict")["entity_f1"].missing == 1
    with pytest.raises(CatalogError, match="3 labels for 2 words"):
        score("entities", [{"id": 1, "gold": "", "text": "a b", "label": ["O"] * 3}], {}, "paper")


def test_a_text_without_entities_of_which_none_are_named_is_no_missing_answer():
    row = {"id": 1, "gold": "", "text": "It rose .", "label": ["O"] * 3}
    found = score("entities", [row], {"1": "None."}, "strict")
    assert found.items.select("status", "score").row(0) == ("ok", 1.0)


def test_labels_of_tokens():
    tokens = ["Roe", "at", "9:30", "x"]
    output = "Roe:B-PER\nat : O\n9:30:O\nx:WRONG\nmore:O"
    assert token_labels(output, tokens, LABELS, "paper") == ["B-PER", None, None, None]
    assert token_labels(output, tokens, LABELS, "strict") == ["B-PER", "O", "O", None]
    assert token_labels("at:O\nRoe:B-PER", tokens, LABELS, "strict") == [None] * 4  # at its own line or not at all


def test_scores_of_token_labels():
    rows = [{"id": 1, "gold": "", "token": ["Roe", "met", "Acme"], "label": ["B-PER", "O", "B-ORG"]}]
    found = score("tagging", rows, {"1": "Roe:B-PER\nmet:B-ORG\nAcme"}, "paper", {"labels": LABELS})
    # Spans: one of two found, two named. Tokens: B-PER 1, O 0, B-ORG 0 with one gold token each.
    assert found["entity_f1"].value == 1 / 2 and found["f1"].value == pytest.approx(1 / 3)
    assert found["tokens_answered"].value == pytest.approx(2 / 3)
    with pytest.raises(CatalogError, match="one label a token"):
        score("tagging", [rows[0] | {"label": ["B-LOC", "O", "O"]}], {}, "paper", {"labels": LABELS})


def test_relations_of_all_texts_and_of_each():
    rows = [{"id": "d1", "gold": "", "label": ["x"]}, {"id": "d2", "gold": "", "label": ["y"]}]
    swapped = {"d1": "y", "d2": "x"}
    assert score("relations", rows, swapped, "paper")["f1"].value == 1
    assert score("relations", rows, swapped, "strict")["f1"].value == 0
    half = score("relations", rows, {"d1": "x\n x \nz", "d2": ""}, "strict")
    assert half["precision"].value == 1 / 2 and half["recall"].value == 1 / 2 and half["f1"].missing == 1 / 2
    # Paper: {x, " x ", z, ""} against {x, y}.
    assert score("relations", rows, {"d1": "x\n x \nz", "d2": ""}, "paper")["precision"].value == 1 / 4
    assert score("relations", rows, swapped, "paper")["f1"].low is None
    with pytest.raises(CatalogError, match="recall is not defined"):
        score("relations", [{"id": 1, "gold": "", "label": []}], {}, "paper")
    with pytest.raises(CatalogError, match="a list"):
        score("relations", [{"id": 1, "gold": "", "label": "x"}], {}, "paper")


def many(n=40):
    rng, rows, outputs = random.Random(5), [], {}
    for at in range(n):
        words = [rng.choice(["Ann", "Bob", "Acme", "met", "the"]) for _ in range(6)]
        rows.append(
            {"id": at, "gold": "", "text": " ".join(words), "label": [rng.choice(["O", "O", "B-PER", "I-PER", "B-ORG"]) for _ in words]}
        )
        outputs[str(at)] = "\n".join(rng.choice(["Ann, PER", "Bob, PER", "Acme, ORG", "the Ann, ORG", "none"]) for _ in range(2))
    return rows, outputs


@pytest.mark.parametrize("mode", ["paper", "strict"])
def test_order_company_and_a_new_row(mode):
    rows, outputs = many()
    whole = score("entities", rows, outputs, mode)
    assert whole["entity_f1"].low < whole["entity_f1"].value < whole["entity_f1"].high
    assert table(score("entities", rows[::-1], outputs, mode)).equals(table(whole))
    for at in range(0, 40, 7):
        assert score("entities", [rows[at]], {str(at): outputs[str(at)]}, mode).items.equals(whole.items[at])
    more = score("entities", [*rows, entity_rows()[0]], outputs | {"a": "Jane Roe, PER"}, mode)
    assert more.items.head(40).equals(whole.items)
