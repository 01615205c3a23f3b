"""Tables as text: HTML blocks of about 2,048 tokens, each with the header (§3: "split by rows … header repeated").

A block is a whole minimal table (thead, tbody), so a model that sees one block alone still knows what its columns are:

    <table>
    <thead>
    <tr><th>Apple (AAPL)</th><th>close</th></tr>
    </thead>
    <tbody>
    <tr><td>2012-09-04</td><td>96.42</td></tr>
    ...

The rows of the blocks, one after another, are the rows of the table. Numbers are written as they are; the paper names no normalisation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date

import polars as pl

from catalog.base.errors import CatalogError
from stages.open_finllms.html_table import TAIL, Table, head_html, read_tables, row_html

TOKENS = 2048
Count = Callable[[Sequence[str]], list[int]]  # texts -> tokens of each
AT_ONCE = 512  # rows to count the tokens of


def blocks(header: Sequence[str], rows: Iterable[Sequence[str | None]], count: Count, limit: int = TOKENS) -> Iterator[str]:
    """HTML blocks of at most `limit` tokens, as they come. A table without rows gives none.

    The tokens of a block are the sum of those of its parts, each with its line break. Where a tokenizer never joins characters across
    a line break, as those of GPT-2's kind, that is exact. A row that is too long for any block has one of its own.

    Args:
        rows: cells as text, each as long as `header`.
        count: tokens of each text.

    Raises:
        CatalogError: a header that leaves no room for rows, or a row of another length.
    """
    head = head_html(header)
    around = sum(count([head, TAIL]))
    if around >= limit:
        raise CatalogError(f"The header of a table has {around} tokens of the {limit} of a block; shorten its names or raise the limit.")
    held, used = [], around
    for text, tokens in _counted(header, rows, count):
        if held and used + tokens > limit:
            yield head + "".join(held) + TAIL
            held, used = [], around
        held.append(text)
        used += tokens
    if held:
        yield head + "".join(held) + TAIL


def _counted(header: Sequence[str], rows: Iterable[Sequence[str | None]], count: Count) -> Iterator[tuple[str, int]]:
    held: list[str] = []
    for number, row in enumerate(rows):
        if len(row) != len(header):
            raise CatalogError(f"Row {number} of a table has {len(row)} cells under {len(header)} columns; correct the table.")
        held.append(row_html(row) + "\n")
        if len(held) == AT_ONCE:
            yield from zip(held, count(held), strict=True)
            held = []
    if held:
        yield from zip(held, count(held), strict=True)


def frame_rows(frame: pl.DataFrame) -> Iterator[list[str | None]]:
    """The rows of a table as text: floats in their shortest form, whole ones without a point, days as 2020-12-31."""
    return ([_text(value) for value in row] for row in frame.iter_rows())


def _text(value: object) -> str | None:
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    return value.isoformat() if isinstance(value, date) else None if value is None else str(value)


def reblocked(html: str, count: Count, limit: int = TOKENS) -> Iterator[str]:
    """Tables of a user's own as blocks: spans are laid out, all other markup and whatever is around the tables is left out."""
    for table in read_tables(html):
        yield from blocks(table.header, table.rows, count, limit)


def joined(parts: Iterable[str]) -> Table:
    """The table that blocks are of.

    Raises:
        CatalogError: blocks with different headers.
    """
    tables = [table for part in parts for table in read_tables(part)]
    if any(table.header != tables[0].header for table in tables):
        raise CatalogError("The blocks are of tables with different headers; join those of one table.")
    return Table(tables[0].header if tables else [], [row for table in tables for row in table.rows])


def price_table(daily: pl.DataFrame, name: str) -> pl.DataFrame:
    """Daily prices of one series: the day, under the name of the share, and those of open to volume that the series has."""
    there = [column for column in ("open", "high", "low", "close", "adj_close", "volume") if daily[column].count()]
    return daily.sort("date").select(pl.col("date").alias(name), *there).rename(lambda column: column.replace("_", " "))


def indicator_table(daily: pl.DataFrame, name: str) -> pl.DataFrame:
    """A row for each month that has ended by the last day of the series: level, range, change and risk of the adjusted close.

    A month's row uses prices up to its last day alone. `change` and `drawdown` (from the highest close so far) are per cent, `volatility`
    is the deviation of the month's daily log returns times the root of 252, also per cent; null where a month has fewer than three.
    """
    days = daily.sort("date").select(
        "date", price=pl.col("adj_close"), r=pl.col("adj_close").log().diff(), top=pl.col("adj_close").cum_max()
    )
    month = pl.col("date").dt.strftime("%Y-%m").alias(name)
    table = days.group_by(month, maintain_order=True).agg(
        close=pl.col("price").last(),
        low=pl.col("price").min(),
        high=pl.col("price").max(),
        volatility=pl.when(pl.col("r").count() >= 3).then(100 * pl.col("r").std() * 252**0.5),
        drawdown=100 * (pl.col("price").last() / pl.col("top").last() - 1),
        last=pl.col("date").last(),
    )
    change = 100 * (pl.col("close") / pl.col("close").shift(1) - 1)
    table = table.with_columns(change=change).select(name, "close", "low", "high", "change", "volatility", "drawdown", "last")
    # The last month may be running still: it has ended if the next weekday is in another.
    ended = pl.col("last").dt.add_business_days(1, roll="backward").dt.month() != pl.col("last").dt.month()
    table = table.filter(ended | (pl.int_range(pl.len()) < pl.len() - 1)).drop("last")
    return table.with_columns(pl.col("close", "low", "high", "change", "volatility", "drawdown").round(2))
