"""HTML tables to a grid of cells and back.

A cell that spans rows or columns takes the place of several, so what follows it in the source stands further right or lower in the table
than its position in the source says. `read_tables` lays cells out as HTML's own algorithm does: each goes to the first free column of its
row, and the cells of a span repeat its text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from html.parser import HTMLParser

MAX_COLUMNS, MAX_ROWS = 1000, 65534  # of a span, as HTML limits them
NUMBER = re.compile(
    r"(?P<minus>[-+\u2212]?)\s?[$€£¥]?\s?(?P<digits>\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)\s?(?P<percent>%?)", re.ASCII
)


@dataclass
class Table:
    """The cells of a table: `header`, a name for each column, and `rows`, each as long as the header. None: there is no cell."""

    header: list[str]
    rows: list[list[str | None]]


@dataclass
class _Cell:
    rows: int
    columns: int
    head: bool
    text: list[str] = field(default_factory=list)


@dataclass
class _Raw:
    """A table while it is read: its rows with, for each, the row group that it is in."""

    rows: list[tuple[int, bool, list[_Cell]]] = field(default_factory=list)  # row group, whether that is a thead, cells
    group: int = 0
    head: bool = False
    cell: _Cell | None = None


def span(value: str | None, most: int, zero: bool = False) -> int:
    """A span as browsers read it: leading digits count ("2;" is 2), what is no number is 1, and 0 is kept only if `zero`."""
    match = re.match(r"\s*\+?([0-9]+)", value or "")
    found = min(int(match[1]), most) if match else 1
    return found if found or zero else 1


class _Reader(HTMLParser):
    """Collects tables; end tags that HTML lets one leave out may be left out."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[_Raw] = []
        self.found: list[_Raw] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "table":
            self.open.append(_Raw())
            self.found.append(self.open[-1])
        if not self.open:
            return
        table = self.open[-1]
        if tag in ("thead", "tbody", "tfoot"):
            table.cell, table.head = None, tag == "thead"
            table.group += 1
        elif tag == "tr":
            table.cell = None
            table.rows.append((table.group, table.head, []))
        elif tag in ("td", "th"):
            if not table.rows or table.rows[-1][0] != table.group:
                table.rows.append((table.group, table.head, []))
            given = dict(attrs)
            table.cell = _Cell(span(given.get("rowspan"), MAX_ROWS, zero=True), span(given.get("colspan"), MAX_COLUMNS), tag == "th")
            table.rows[-1][2].append(table.cell)
        elif tag in ("br", "p", "div", "li") and table.cell:
            table.cell.text.append(" ")

    def handle_endtag(self, tag: str) -> None:
        if not self.open:
            return
        table = self.open[-1]
        if tag == "table":
            self.open.pop()
        elif tag in ("td", "th", "tr"):
            table.cell = None
        elif tag in ("thead", "tbody", "tfoot"):
            table.cell, table.head = None, False
            table.group += 1

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1].cell:
            self.open[-1].cell.text.append(data)


def read_tables(text: str) -> list[Table]:
    """The tables of an HTML text in the order in which they begin; the cells of a table inside another are not the outer's.

    The header is the thead, or else the rows at the top that have th cells alone. Of several rows of header the names above one another
    are joined: 2023 over Q1 is "2023 Q1". A table without a header gets the names "1", "2", ...
    """
    reader = _Reader()
    reader.feed(text)
    reader.close()
    return [_table(raw) for raw in reader.found if raw.rows]


def _table(raw: _Raw) -> Table:
    grid = _grid(raw)
    width = max(map(len, grid), default=0)
    grid = [[*row, *[None] * (width - len(row))] for row in grid]
    heads = [i for i, (_, head, _) in enumerate(raw.rows) if head] or list(range(_top(raw)))
    names = []
    for column in range(width):
        parts = list(dict.fromkeys(part for i in heads if (part := grid[i][column])))
        names.append(" ".join(parts) if heads else str(column + 1))
    return Table(names, [row for i, row in enumerate(grid) if i not in heads])


def _top(raw: _Raw) -> int:
    """Rows at the top that have th cells alone, and rows without cells that these span."""
    heads = deepest = 0
    for i, (_, _, cells) in enumerate(raw.rows):
        if not (all(cell.head for cell in cells) if cells else i < deepest):
            break
        heads, deepest = i + 1, max([deepest, *(i + cell.rows for cell in cells)])
    return heads


def _grid(raw: _Raw) -> list[list[str | None]]:
    """Cells by row and column; a span that runs out of its row group ends with it."""
    last = {group: i for i, (group, _, _) in enumerate(raw.rows)}
    places: list[dict[int, str]] = [{} for _ in raw.rows]
    for i, (group, _, cells) in enumerate(raw.rows):
        column = 0
        for cell in cells:
            while column in places[i]:
                column += 1
            stop = last[group] + 1
            for row in range(i, min(i + cell.rows, stop) if cell.rows else stop):
                for place in range(column, column + cell.columns):
                    places[row].setdefault(place, " ".join("".join(cell.text).split()))
            column += cell.columns
    return [[row.get(place) for place in range(max(row, default=-1) + 1)] for row in places]


def number(cell: str | None) -> float | None:
    """The number that a cell of an English statement says: (1,204) is -1204, 5.2% is 0.052; None for anything else.

    1,5 and 1.204,50 are not guessed at: a comma separates thousands or the cell is text.
    """
    text = (cell or "").strip()
    inside = re.fullmatch(r"([$€£¥]?)\s?\((.*)\)\s?(%?)", text)
    match = NUMBER.fullmatch((inside[2] + inside[3]).strip() if inside else text)
    if match is None or (inside and match["minus"]):
        return None
    value = float(match["digits"].replace(",", "")) / (100 if match["percent"] else 1)
    return -value if inside or match["minus"] in ("-", "\u2212") else value


def row_html(cells: Iterable[str | None], tag: str = "td") -> str:
    """A row; markup in cells is written as text, and None as an empty cell."""
    return "<tr>" + "".join(f"<{tag}>{escape(cell or '', quote=False)}</{tag}>" for cell in cells) + "</tr>"


def head_html(header: Sequence[str]) -> str:
    return f"<table>\n<thead>\n{row_html(header, 'th')}\n</thead>\n<tbody>\n"


TAIL = "</tbody>\n</table>"
