"""What an arm of the pre-training reads: blocks of equal length, the same finance in every arm, general text in its share."""

import polars as pl
import pytest

from catalog.base.errors import CatalogError
from stages.open_finllms import arms
from stages.open_finllms.arms import Block
from stages.open_finllms.settings import Arm


def letters(texts):
    """A token a character."""
    return [[ord(character) for character in text] for text in texts]


def corpus(*rows):
    return pl.DataFrame([(f"d{i}", part, text) for i, (part, text) in enumerate(rows)], schema=["id", "part", "text"], orient="row")


def pool(finance=60, general=30):
    return [Block("prices", [i] * 4) for i in range(finance)] + [Block("general", [100 + i] * 4) for i in range(general)]


def test_documents_of_a_part_are_laid_end_to_end_and_cut():
    """With an end (0) behind each: a b c 0 d 0 e f | g 0 left over, and x y z 0."""
    found = arms.cut(corpus(("prices", "abc"), ("general", "xyz"), ("prices", "d"), ("prices", "efg")), letters, 0, 4)
    a, b, c, d, e, f, x, y, z = letters(["abcdefxyz"])[0]
    assert sorted(found) == [Block("general", [x, y, z, 0]), Block("prices", [a, b, c, 0]), Block("prices", [d, 0, e, f])]


def test_a_part_that_fills_no_block_is_named():
    with pytest.raises(CatalogError, match="The part general has fewer tokens than a block of 4"):
        arms.cut(corpus(("prices", "abcd"), ("general", "x")), letters, 0, 4)
    with pytest.raises(CatalogError, match="block_tokens is 1 but must be at least 2"):
        arms.cut(corpus(("prices", "abcd")), letters, 0, 1)


def test_arms_have_the_same_finance_and_their_share_of_general_text():
    """26 blocks of finance and 9 of general text: 9 / 35 is the paper's 18 / 70."""
    none, replay = (arms.chosen(pool(), share, 26, 0) for share in (0.0, 0.2571))
    assert none == replay[:26] and {block.part for block in none} == {"prices"}
    assert [block.part for block in replay[26:]] == ["general"] * 9
    rows = list(arms.table("replay", replay))
    assert [(row["part"], row["blocks"], row["tokens"]) for row in rows] == [("general", 9, 36), ("prices", 26, 104)]
    assert rows[0]["share"] == pytest.approx(18 / 70)


def test_blocks_are_drawn_from_the_whole_corpus_without_repeats_and_by_the_seed():
    drawn = [block.ids[0] for block in arms.chosen(pool(), 0.5, 20, 0)]
    assert len(set(drawn)) == 40 and max(drawn[:20]) > 40 and drawn[:20] != sorted(drawn[:20])
    assert drawn == [block.ids[0] for block in arms.chosen(pool(), 0.5, 20, 0)]
    assert drawn != [block.ids[0] for block in arms.chosen(pool(), 0.5, 20, 1)]
    assert len(arms.chosen(pool(), 0.0, 0, 0)) == 60  # 0 takes all


@pytest.mark.parametrize(
    ("share", "finance", "said"),
    [(0.0, 61, "needs 61 blocks of finance and the corpus has 60"), (0.5, 40, "needs 40 blocks of general text and the corpus has 30")],
)
def test_too_small_a_corpus_is_said(share, finance, said):
    with pytest.raises(CatalogError, match=said):
        arms.chosen(pool(), share, finance, 0)


@pytest.mark.parametrize(
    ("made", "said"), [({}, "is empty"), ({"all": Arm(1.0, 0.1)}, "Arm all has the share 1"), ({"x": Arm(-0.1, 0.1)}, "the share -0.1")]
)
def test_shares_that_leave_no_finance(made, said):
    with pytest.raises(CatalogError, match=said):
        arms.check(made)
