"""Shares declared and realised."""

import itertools

import pytest

from catalog.base.errors import CatalogError
from stages.open_finllms.documents import Document
from stages.open_finllms.mixture import Mixed, mix, shares


def parts(**texts):
    """Documents of each part, by the lengths of their texts."""
    return {
        name: lambda name=name, lengths=lengths: (Document(f"{name}{i}", name, name, "x" * n) for i, n in enumerate(lengths))
        for name, lengths in texts.items()
    }


def length(document):
    return len(document.text)


def test_shares_of_the_paper():
    found = shares({"finance": 52, "general": 18})
    assert found["general"] == pytest.approx(0.2571, abs=5e-5) and sum(found.values()) == pytest.approx(1)
    assert shares({"prices": 1, "notes": 3, "general": 9}, general=0.2) == pytest.approx({"prices": 0.2, "notes": 0.6, "general": 0.2})
    assert shares({"prices": 1, "general": 0}, general=0) == {"prices": 1, "general": 0}
    assert shares({"prices": 1, "general": 1}, general=1) == {"prices": 0, "general": 1}


@pytest.mark.parametrize(
    ("weights", "fixed", "said"),
    [
        ({"a": -1, "b": 2}, {}, "share of a is -1"),
        ({"a": float("nan")}, {}, "share of a is nan"),
        ({"a": 0}, {}, "nothing else has a weight"),
        ({"a": 1, "b": 1}, {"b": 1.5}, "sum to 1.5"),
        ({"a": 1}, {"b": 0.5}, "there is no such part"),
    ],
)
def test_shares_that_do_not_fit(weights, fixed, said):
    with pytest.raises(CatalogError, match=said):
        shares(weights, **fixed)


def test_the_part_furthest_behind_is_next():
    found = Mixed({"a": 0.75, "b": 0.25})
    made = mix(parts(a=[2] * 9, b=[2] * 9), found.target, length, found, tokens=16)
    # Tokens over share: a 0, b 0 -> a; a 2.67, b 0 -> b; a 2.67, b 8 -> a, a; all 8 -> a.
    assert [document.id for document in made] == ["a0", "b0", "a1", "a2", "a3", "b1", "a4", "a5"]
    assert found.report().rows() == [("a", 6, 12, 1, 0.75, 0.75), ("b", 2, 4, 1, 0.25, 0.25)] and found.ended == "tokens"


def test_shares_are_right_within_a_document_at_every_point():
    target = shares({"prices": 13, "notes": 7, "general": 9}, general=0.2571)
    found = Mixed(target)
    made = mix(parts(prices=[30, 7] * 500, notes=[50] * 400, general=[1, 20, 3] * 300), target, length, found)
    for given, _ in enumerate(made, 1):
        total = sum(found.tokens.values())
        assert all(abs(found.tokens[name] - target[name] * total) <= 50 * 2 for name in target), given
    assert given > 500 and found.ended in target
    assert sum(found.report()["realised"]) == pytest.approx(1)


def test_a_part_that_runs_out():
    small = parts(a=[1] * 3, b=[1] * 100)
    half = {"a": 0.5, "b": 0.5}
    for when, n, passes, ended in (("stop", 7, 1, "a"), ("repeat", 40, 7, "tokens"), ("go on", 40, 1, "tokens")):
        found = Mixed(half)
        made = [document.part for document in mix(small, half, length, found, when_empty=when, tokens=40)]
        assert (len(made), found.passes["a"], found.ended) == (n - (when == "stop"), passes, ended), when
    found = Mixed(half)
    assert len(list(mix(small, half, length, found, when_empty="go on"))) == 103 and found.ended == "documents"
    assert found.report()["realised"].to_list() == pytest.approx([3 / 103, 100 / 103])


def test_parts_are_streams():
    endless = {"a": lambda: (Document(str(i), "a", "a", "x") for i in itertools.count())}
    found = Mixed({"a": 1.0})
    assert len(list(mix(endless, {"a": 1.0}, length, found, tokens=1000))) == 1000


def test_mixtures_that_cannot_be():
    for given, target, said in (
        (parts(a=[1]), {"a": 0.5}, "sum to 0.5"),
        (parts(a=[1]), {"b": 1.0}, "let those of a sum to 1"),
        (parts(a=[], b=[1]), {"a": 0.5, "b": 0.5}, "part a has no document"),
        (parts(a=[0]), {"a": 1.0}, "a0 has no token"),
    ):
        with pytest.raises(CatalogError, match=said):
            list(mix(given, target, length, Mixed(target)))
    with pytest.raises(CatalogError, match="when_empty is 'loop'"):
        list(mix(parts(a=[1]), {"a": 1.0}, length, Mixed({"a": 1.0}), when_empty="loop"))
