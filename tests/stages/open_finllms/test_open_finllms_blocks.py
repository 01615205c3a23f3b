"""HTML tables read with their spans, and written as blocks that lose nothing."""

from datetime import date

import polars as pl
import pytest

from catalog.base.errors import CatalogError
from stages.open_finllms.blocks import blocks, frame_rows, indicator_table, joined, price_table, reblocked
from stages.open_finllms.html_table import Table, head_html, number, read_tables

HEADER = ["Day", "A & B"]
HEAD = "<table>\n<thead>\n<tr><th>Day</th><th>A &amp; B</th></tr>\n</thead>\n<tbody>\n"
TAIL = "</tbody>\n</table>"


def characters(texts):
    return [len(text) for text in texts]


def test_spans_shift_cells_to_the_right():
    text = '<tr><th rowspan=2>Item<th colspan="2;">2023<tr><th>Q1<th>Q2<tr><td>Sales<td>(1,204)<td>310'
    [table] = read_tables(f"<table>{text}</table>")
    assert table == Table(["Item", "2023 Q1", "2023 Q2"], [["Sales", "(1,204)", "310"]])
    assert [number(cell) for cell in table.rows[0]] == [None, -1204, 310]


@pytest.mark.parametrize(
    ("text", "header", "rows"),
    [
        # A span of rows in the body repeats its cell, and what follows stands further right.
        ("<tr><th>a<th>b<tr><td rowspan=2>x<td>1<tr><td>2", ["a", "b"], [["x", "1"], ["x", "2"]]),
        # Rowspan 0 reaches to the end of its row group, 9 no further.
        (
            "<thead><tr><th>a<th>b<tbody><tr><td rowspan=0>x<td>1<tr><td>2<tbody><tr><td>y<td>3",
            ["a", "b"],
            [["x", "1"], ["x", "2"], ["y", "3"]],
        ),
        ("<thead><tr><th rowspan=9>a<th>b</thead><tr><td>1<td>2", ["a", "b"], [["1", "2"]]),
        ("<tr><td colspan=0>1<td colspan=x>2", ["1", "2"], [["1", "2"]]),
        # A header that spans a row of no cells of its own.
        ("<tr><th rowspan=2>a<th rowspan=2>b<tr></tr><tr><td>1<td>2", ["a", "b"], [["1", "2"]]),
        ("<tr><td>1<td>2<tr><td>3", ["1", "2"], [["1", "2"], ["3", None]]),
        ("<tr><th>a<tr><th>x &lt; y<br>z", ["a x < y z"], []),
        ("<tr><th>k<th>v<tr><th>x<td>1", ["k", "v"], [["x", "1"]]),  # a th in the body is no header
    ],
)
def test_grid_of_cells(text, header, rows):
    assert read_tables(f"<p>before<table>{text}</table>after") == [Table(header, rows)]


def test_a_table_in_a_table_is_its_own():
    outer, inner = read_tables("<table><tr><td>a<table><tr><td>1<td>2</table>b<td>c</table><table></table>")
    assert outer.rows == [["ab", "c"]] and inner.rows == [["1", "2"]]


@pytest.mark.parametrize(
    ("cell", "value"),
    [("1,204.5", 1204.5), ("$(3)", -3), ("(5%)", -0.05), ("(5)%", -0.05), ("−2", -2), ("-$7", -7), (".5", 0.5)]
    + [(cell, None) for cell in ("1,5", "1.204,50", "(-3)", "2023 Q1", "", None, "-", "١")],
)  # fmt: skip
def test_numbers_of_statements(cell, value):
    assert number(cell) == (None if value is None else pytest.approx(value))


def test_blocks_begin_with_the_header_and_join_to_the_table():
    rows = [[f"{i}", f"<{i}>" if i % 3 else None] for i in range(20)]
    # Around the rows are 73 + 17 characters. The row of 0 has 29, that of 1 has 38 ("&lt;1&gt;" has 9), from 10 on they have 30 or 40.
    assert (len(HEAD), len(TAIL)) == (73, 17) and head_html(HEADER) == HEAD
    made = list(blocks(HEADER, rows, characters, limit=73 + 17 + 29 + 38 + 38))
    assert (
        made[0]
        == HEAD + ("<tr><td>0</td><td></td></tr>\n<tr><td>1</td><td>&lt;1&gt;</td></tr>\n<tr><td>2</td><td>&lt;2&gt;</td></tr>\n") + TAIL
    )
    assert [block.count("<td>") // 2 for block in made] == [3, 3, 3, 2, 2, 2, 2, 2, 1]
    assert all(block.startswith(HEAD) and block.endswith(TAIL) and len(block) <= 195 for block in made)
    assert joined(made) == Table(HEADER, [[day, value or ""] for day, value in rows])
    assert list(reblocked("".join(made[:1]), characters, 195)) == made[:1]


def test_tables_of_no_row_and_of_one_and_a_row_too_long():
    assert list(blocks(HEADER, [], characters, 200)) == []
    assert joined(blocks(HEADER, [["1", "2"]], characters, 91)).rows == [["1", "2"]]
    long = [["1", "2"], ["x" * 500, "3"], ["4", "5"]]
    made = list(blocks(HEADER, long, characters, 200))
    assert len(made) == 3 and joined(made).rows == long
    with pytest.raises(CatalogError, match="has 90 tokens of the 90 of a block"):
        list(blocks(HEADER, long, characters, 90))
    with pytest.raises(CatalogError, match="Row 1 of a table has 1 cells under 2 columns"):
        list(blocks(HEADER, [["1", "2"], ["3"]], characters, 200))
    with pytest.raises(CatalogError, match="different headers"):
        joined([*blocks(["a"], [["1"]], characters), *blocks(["b"], [["1"]], characters)])


def days(*prices, first=date(2024, 1, 29)):
    """Weekdays from Monday 29 January 2024."""
    found = pl.date_range(first, date(2025, 1, 1), eager=True)
    found = found.filter(found.dt.weekday() <= 5)[: len(prices)]
    return pl.DataFrame({"date": found, "adj_close": prices}).with_columns(
        pl.lit(None, pl.Float64).alias(name) for name in ("open", "high", "low", "close", "volume")
    )


def test_price_table_has_the_columns_that_there_are():
    table = price_table(days(10.0, 10.25).with_columns(volume=pl.lit(1e6)), "Zed (ZZ)")
    assert table.columns == ["Zed (ZZ)", "adj close", "volume"]
    assert list(frame_rows(table)) == [["2024-01-29", "10", "1000000"], ["2024-01-30", "10.25", "1000000"]]


def test_indicators_of_a_month_use_no_later_day():
    january, february = [100.0, 110.0, 99.0], [99.0] * 19 + [108.9, 108.9]
    whole = indicator_table(days(*january, *february, 1.0), "Zed")
    # January's log returns .0953 and -.1054 are two only; February's are 19 of 0 and one of ln 1.1 but for the first, 0: deviation .0208.
    assert whole.rows() == [
        ("2024-01", 99.0, 99.0, 110.0, None, None, -10.0),
        ("2024-02", 108.9, 99.0, 108.9, 10.0, 33.02, -1.0),
    ]
    assert indicator_table(days(*january, *february), "Zed").equals(whole)  # Thursday 29 February: the next weekday is in March
    assert indicator_table(days(*january, *february[:-1]), "Zed").rows() == whole.rows()[:1]
    changed = indicator_table(days(*january, *(2 * x for x in february), 1.0), "Zed")
    assert changed.rows()[0] == whole.rows()[0] and changed.rows()[1] != whole.rows()[1]
