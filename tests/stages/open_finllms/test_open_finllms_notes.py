"""Notes from past prices: what they say, by hand, and that they never look ahead."""

from datetime import date

import polars as pl
import pytest
from trading_cases import GOOG, prices, walk

from catalog.base.errors import CatalogError
from stages.open_finllms.leak import changed_future
from stages.open_finllms.notes import MOST, notes
from stages.open_finllms.wordings import WORDINGS

SAW = [100.0, 101.0] * 15  # every day moves by one per cent, up and down


def of(table, day, kind=None):
    """The notes that can first be read on a day."""
    found = notes(table, "Acme").filter(pl.col("date") == day)
    return found if kind is None else found.filter(pl.col("kind") == kind)


def test_a_jump_by_hand():
    # After 28 moves of one per cent (alternately 1.0 and 0.99 %) a rise from 101 to 106.05: 5.0 % and five times the usual.
    table = prices([*SAW[1:], 106.05])
    found = of(table, table["date"][29])
    assert found["kind"].to_list() == ["large move up", "new high"] and found["layer"].to_list() == ["short"] * 2
    assert "5.0%" in found["text"][0] and "5.0 times" in found["text"][0] and "20" in found["text"][1]
    assert of(table, table["date"][28])["kind"].to_list() == ["move up"]  # an ordinary day
    assert of(table, table["date"][0]).is_empty()  # nothing is known on the first day


def test_a_streak_and_a_flat_day():
    table = prices([100.0, 101, 102, 103, 103.01, 102])
    assert [of(table, day)["kind"].to_list() for day in table["date"][1:]] == [
        ["move up"],
        ["move up"],
        ["move up", "streak up"],
        ["move flat", "streak up"],  # one hundredth of a per cent
        ["move down"],
    ]
    assert "3" in of(table, table["date"][3], "streak up")["text"][0]


def test_gaps_and_volume_by_hand():
    table = prices([*SAW, 104, 103, 104], [*SAW, 103.02, 100.88, 104]).with_columns(
        volume=pl.Series([1000.0] * 30 + [2500, 400, 1000]), high=pl.lit(None, dtype=pl.Float64)
    )
    first, second, third = table["date"][30:]
    assert "2.0%" in of(table, first, "gap up, held")["text"][0]  # 103.02 / 101, closed above
    assert "2.5 times" in of(table, first, "high volume")["text"][0]
    assert "3.0%" in of(table, second, "gap down, faded")["text"][0]  # 100.88 / 104, closed above its open
    assert "0.4 times" in of(table, second, "low volume")["text"][0]
    assert "gap" not in " ".join(of(table, third)["kind"])
    # Around a split the number of shares traded means something else.
    split = table.with_columns(split=pl.Series([None] * 25 + [2.0] + [None] * 7, dtype=pl.Float64))
    assert "high volume" not in of(split, first)["kind"] and "gap up, held" in of(split, first)["kind"]


def test_a_week_and_a_month_by_hand():
    # 1 January 2024 is a Monday. Week two: 100 -> 99, 101, 103, 102, 110; January ends on Wednesday 31, at 121.
    closes = [100] * 5 + [99, 101, 103, 102, 110] + [110] * 5 + [110] * 5 + [110, 110, 121] + [121, 121, 120]
    table = prices(closes)
    week = of(table, date(2024, 1, 15), "week up")
    assert week.select("until", "layer").row(0) == (date(2024, 1, 12), "mid") and "10.0%" in week["text"][0]
    assert of(table, date(2024, 1, 12)).filter(pl.col("layer") != "short").is_empty()  # on Friday nobody knows that the week is over
    assert of(table, date(2024, 1, 8)).filter(pl.col("layer") != "short").is_empty()  # the first week has no close before it
    extended = prices([*closes, *[120] * 18, 130])
    assert extended["date"][-2] == date(2024, 2, 29)
    month = of(extended, date(2024, 3, 1), "month down")
    # January's last close is 121, February's 120: a loss of 0.8 %; one day down, on 5 February.
    assert month["layer"][0] == "long" and month["until"][0] == date(2024, 2, 29) and "0.8%" in month["text"][0]
    assert "month" not in " ".join(of(extended, date(2024, 2, 1))["kind"])  # the series begins within January


def test_no_note_looks_ahead():
    table = walk()
    known = notes(table, "Acme")
    assert (known["until"] <= known["date"]).all()
    for place in (90, 321, 640):
        day = table["date"][place]
        past = known.filter(pl.col("date") <= day)
        assert notes(changed_future(table, day, place), "Acme").filter(pl.col("date") <= day).equals(past)
        assert notes(table[: place + 1], "Acme").equals(past)  # the days after it need not exist
        assert not notes(changed_future(table, day, place), "Acme").equals(known)
    assert notes(table, "Acme", first=table["date"][200], last=table["date"][300]).equals(
        known.filter(pl.col("date").is_between(table["date"][200], table["date"][300]))
    )
    assert notes(table.reverse(), "Acme").equals(known)


def test_an_adjustment_of_the_past_does_not_show():
    # A later split or dividend scales every adjusted price before it.
    table = walk()
    scaled = table.with_columns(pl.col("adj_close") / 4)
    assert notes(scaled, "Acme").equals(notes(table, "Acme"))
    split_later = table.with_columns(pl.col("open", "high", "low", "close", "adj_close") / 8)
    assert notes(split_later, "Acme").equals(notes(table, "Acme"))


def test_every_kind_occurs_and_every_form_can_be_filled():
    found = pl.concat([notes(walk(2500, seed, scale), "Acme", str(seed)) for seed, scale in ((1, 0.012), (2, 0.03), (3, 0.001))])
    assert set(WORDINGS) - {"week flat", "month flat"} <= set(found["kind"])
    assert not found["text"].str.contains(r"[{}]|nan|inf").any()
    assert found["text"].str.contains("Acme").all()
    for kind, forms in WORDINGS.items():
        assert len(set(forms)) == len(forms) >= 4
        used = found.filter(pl.col("kind") == kind)["text"].str.replace_all(r"[\d.,]+", "#").n_unique()
        assert used >= 3 or kind in ("week flat", "month flat")
    assert found.filter(pl.col("layer") == "short").group_by("date").len()["len"].max() <= 3 * MOST


def test_what_is_unknown_is_not_told():
    table = walk()
    bare = table.select("date", adj_close="adj_close")
    nulls = table.with_columns(pl.lit(None, dtype=pl.Float64).alias(name) for name in ("open", "high", "low", "close", "volume"))
    nans = nulls.with_columns(pl.lit(float("nan")).alias(name) for name in ("open", "volume"))
    told = notes(bare, "Acme")
    assert notes(nulls, "Acme").equals(told) and notes(nans, "Acme").equals(told)
    assert not set(told["kind"]) & {"high volume", "low volume", "wide range", "gap up, held", "gap down, held"}
    # A day without a price is no trading day: the next move spans it.
    gap = prices([100, 101, 102, 103]).with_columns(adj_close=pl.Series([100.0, None, 102.0, float("nan")]))
    without = prices([100, 102]).with_columns(date=gap["date"][::2])
    assert notes(gap, "Acme")["text"].to_list() == notes(without, "Acme")["text"].to_list() != []
    assert notes(prices([100, 101])[:1], "Acme").is_empty()
    with pytest.raises(CatalogError, match="have a day twice"):
        notes(pl.concat([table, table[:1]]), "Acme")


def test_the_share_chooses_the_wording():
    table = prices(GOOG)
    assert notes(table, "Acme", "A").equals(notes(table, "Acme", "A")) and not notes(table, "Acme", "A").equals(notes(table, "Acme", "B"))
    assert notes(table, "Acme", "A")["kind"].equals(notes(table, "Acme", "B")["kind"])
