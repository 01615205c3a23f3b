"""Trivial simplifiers of simdoc, rule by rule."""

import polars as pl
import pytest
from graded_tables import tables

from catalog.base.errors import CatalogError
from stages.simdoc import baselines


def test_first_share_rounds_down_and_keeps_paragraphs():
    text = "A one. B two.\n\nC three. D four.\n\nE five. F six."
    assert baselines.first_share(text) == "A one. B two.\n\nC three."  # 0.65 * 6 is 3.9
    assert baselines.first_share(text, 0.4) == "A one. B two."
    assert baselines.first_share("Only one.", 0.1) == "Only one."
    assert baselines.first_share(text, 1) == baselines.identity(text) == text
    hundred = " ".join(f"Number {number} is here." for number in range(100))
    assert baselines.first_share(hundred, 0.29).count("Number") == 29  # 0.29 * 100 is 28.999999999999996
    with pytest.raises(CatalogError, match="above 0 and at most 1"):
        baselines.first_share(text, 0)


@pytest.mark.parametrize(
    ("sentence", "shorter"),
    [
        ("The house (built in 1900) is still very old.", "The house is still very old."),
        ("The river, which pays 1,000 dollars, flows to the sea.", "The river flows to the sea."),
        ("They met the old queen, who had ruled for years.", "They met the old queen."),
        ("It was sold to boys, whose fathers paid, and girls.", "It was sold to boys, whose fathers paid, and girls."),
        ("Paris, the capital of France, is a big city.", "Paris is a big city."),
        ("We saw a cat, a dog, a cow and a pig.", "We saw a cat, a dog, a cow and a pig."),
        ("When it rains for 1,000 days, the small river floods.", "The small river floods."),
        ("If it rains, we go.", "If it rains, we go."),  # too little would be left
        ("Unfortunately, the old man slowly walked home.", "The old man walked home."),
        ("The sum, unfortunately, is the same today.", "The sum is the same today."),
        ("The only family went more quickly than others.", "The only family went more quickly than others."),
        ("moray ( in scotland ) is usually very cold .", "moray is usually very cold ."),
        ("moray ( in scotland ) is cold and usually wet .", "moray is cold and usually wet ."),
        ("moray ( in scotland ) is cold , usually by night .", "moray is cold , by night ."),
    ],
)
def test_compression_by_hand(sentence, shorter):
    assert baselines.compress(sentence) == shorter


@pytest.mark.parametrize(
    ("sentence", "parts"),
    [
        ("The sun had gone down, and the birds were quiet.", "The sun had gone down. The birds were quiet."),
        ("The sun had gone down, but it was still warm.", "The sun had gone down. But it was still warm."),
        ("He sold the old house, which was a great pity.", "He sold the old house. This was a great pity."),
        ("He sold the old houses, which were in the way.", "He sold the old houses. These were in the way."),
        ("She came home very late; nobody had waited for her.", "She came home very late. Nobody had waited for her."),
        ("Salt, pepper, and oil.", "Salt, pepper, and oil."),
        ("It fell, and nobody saw how it fell.", "It fell, and nobody saw how it fell."),  # two words on the left
        ("the sun had gone down , and the birds were quiet .", "the sun had gone down . the birds were quiet ."),
        ("a b c d, and e f g h, but i j k l.", "a b c d. e f g h. but i j k l."),
    ],
)
def test_splitting_by_hand(sentence, parts):
    assert baselines.split_long(sentence) == parts


def test_outputs_of_all_trivial_systems():
    made = baselines.outputs(tables()["pairs"], tables()["documents"], "intermediate")
    assert made.group_by("system", maintain_order=True).len().rows() == [
        ("identity", 132),
        ("first 65 %", 132),
        ("first sentence", 132),
        ("compression", 132),
        ("sentence splitting", 132),
        ("intermediate", 66),  # not where it is the source
        ("reference", 132),
    ]
    key = (pl.col("id") == "health-antibiotics") & (pl.col("target_level") == "elementary") & (pl.col("source_level") == "advanced")
    one = dict(made.filter(key).select("system", "output").iter_rows())
    source, target = tables()["pairs"].filter(key).select("source", "target").row(0)
    middle = tables()["documents"].filter((pl.col("id") == "health-antibiotics") & (pl.col("level") == "intermediate"))["text"].item()
    assert one["identity"] == source and one["reference"] == target and one["intermediate"] == middle
    assert source.startswith(one["first 65 %"]) and len(one["compression"]) < len(source) and one["sentence splitting"] != source
