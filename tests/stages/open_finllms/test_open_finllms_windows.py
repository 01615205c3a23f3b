"""Windows that rules find, on an index short enough to read."""

from dataclasses import replace
from datetime import date

import polars as pl
import pytest
from trading_cases import weekdays

from catalog.base.errors import CatalogError
from stages.open_finllms import windows
from stages.open_finllms.settings import Execution, Series, Trading, Window

INDEX = [100.0, 90.0, 99.0, 108.0, 81.0, 90.0, 95.0, 96.0]
EVER = {"first": "2024-01-01", "last": "2024-12-31", "shares": ("both",)}
P = Trading(
    index=Series("SP", "a"),
    shares={"both": {"a": ("AB",), "b": ("CD",)}},
    windows={"w": Window(rule="fall", prices=3, **EVER)},
    executions={"finmem": Execution("finmem", 0, True)},
    periods=252,
    random=2,
    block=None,
    draws=50,
    equity_every=2,
)


def daily(opens: bool = False) -> pl.DataFrame:
    """The index, AB on the same days, and CD, which ends two days earlier."""
    days = weekdays(len(INDEX))
    rows = [(*key, day, value) for key, n in ((("SP", "a"), 8), (("AB", "a"), 8), (("CD", "b"), 6)) for day, value in zip(days[:n], INDEX)]
    frame = pl.DataFrame(rows, schema=["asset", "source", "date", "adj_close"], orient="row")
    frame = frame.with_columns(close="adj_close", open=pl.when(opens).then("adj_close"))
    return frame.with_columns(pl.col("open").cast(pl.Float64))


def found(**change) -> list[windows.Span]:
    return windows.spans(daily(), replace(P, windows={"w": replace(P.windows["w"], **change)}))


def test_the_days_of_the_largest_fall_and_rise():
    days = weekdays(8)
    # From the first to the third price: -1 %, +20 %, -18.2 %, -16.7 %, +17.3 %, +6.7 %.
    assert {(span.asset, span.first, span.last) for span in found()} == {("AB", days[2], days[4]), ("CD", days[2], days[4])}
    assert {(span.first, span.last) for span in found(rule="rise")} == {(days[1], days[3])}
    # Only days between the two dates count: from the fifth on, 81, 90, 95 rise most.
    only = replace(P, shares={"both": {"a": ("AB",)}}, windows={"w": replace(P.windows["w"], rule="rise", first=str(days[4]))})
    assert [(span.first, span.last) for span in windows.spans(daily(), only)] == [(days[4], days[6])]


def test_the_last_days_are_those_of_each_share():
    days = weekdays(8)
    assert [(span.asset, span.first, span.last) for span in found(rule="last")] == [("AB", days[5], days[7]), ("CD", days[3], days[5])]
    assert [(span.first, span.last) for span in found(rule="all", prices=None)] == [(days[0], days[7]), (days[0], days[5])]


@pytest.mark.parametrize(
    "change, said",
    [
        ({"rule": "best"}, "use fall, rise, last, all"),
        ({"rule": "all"}, "needs prices: null"),
        ({"prices": None}, "needs prices: a number"),
        ({"shares": ("none",)}, "the groups are both"),
        ({"prices": 9}, "the index has 8"),
        ({"rule": "last", "prices": 7}, "prices of CD from b"),
        ({"first": "1/2/2024"}, "write it as 2020-12-31"),
        ({"rule": "rise", "first": "2024-01-05"}, "prices of CD from b"),
    ],
)
def test_what_cannot_be_found_is_said(change, said):
    with pytest.raises(CatalogError, match=said):
        found(**change)


def test_a_series_that_is_not_there():
    with pytest.raises(CatalogError, match="has no XY from a"):
        windows.spans(daily(), replace(P, shares={"both": {"a": ("XY",)}}))


def test_table_says_how_share_and_index_went():
    table = windows.table(found(rule="last"), daily(), P)
    assert table["prices"].to_list() == [3, 3] and table["opens"].to_list() == [False, False]
    assert table["change"].to_list() == pytest.approx([96 / 90 - 1, 90 / 108 - 1])
    assert table["index_change"].to_list() == pytest.approx([96 / 90 - 1, 90 / 108 - 1])
    assert table["first"][0] == str(date(2024, 1, 8))
