"""Texts of CSV and ARFF files as cells that know whether they were quoted.

Python's csv module forgets the quotes, but `NA` is a missing cell and `"NA"` is Namibia. It also must not be given single lines: a quoted
cell may hold line breaks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from catalog.base.errors import CatalogError

LINE, END = re.compile(r"[^\r\n]*"), re.compile(r"\r\n|\r|\n|\Z")


@dataclass(frozen=True, slots=True)
class Cell:
    text: str
    quoted: bool


Rows = list[list[Cell]]


@dataclass(frozen=True)
class Dialect:
    """How a file is written."""

    separators: str = ","
    quotes: str = '"'
    backslash: bool = False  # escapes a character inside quotes, as in ARFF; a doubled quote stands for one in any case
    comment: str = ""  # begins a line that is no record


CSV, CSV2, TSV = Dialect(), Dialect(";"), Dialect("\t")
ARFF = Dialect(",\t", "'\"", True, "%")


@cache
def _patterns(d: Dialect) -> tuple[re.Pattern[str], ...]:
    """Of a quoted cell, an opened quote, a plain cell and a separator, each with the blanks around it."""
    blank = "[ ]*" if d.separators == "\t" else "[ \t]*"
    escaped, barred = (r"\\.|", r"\\") if d.backslash else ("", "")
    inside = [f"{q}((?:{q}{q}|{escaped}[^{q}{barred}])*){q}" for q in d.quotes]
    quoted = re.compile(f"{blank}(?:{'|'.join(inside)})[ ]*", re.DOTALL)
    opened = re.compile(f"{blank}[{d.quotes}]")
    plain = re.compile(f"{blank}([^{d.separators}\r\n]*)")
    # A tab separates cells of an ARFF file, and so does a comma with tabs around it.
    separator = re.compile("|".join(blank + re.escape(s) for s in d.separators))
    return quoted, opened, plain, separator


def records(text: str, dialect: Dialect, where: str) -> Iterator[list[Cell]]:
    """The records of a file, blank lines and comments left out. Unquoted cells lose the blanks around them, quoted ones keep all.

    Raises:
        CatalogError: a quote that is not closed, or text behind a closed one.
    """
    quoted, opened, plain, separator = _patterns(dialect)
    at, number = 0, 0
    while at < len(text):
        line = LINE.match(text, at)
        if not line.group().strip() or (dialect.comment and line.group().lstrip().startswith(dialect.comment)):
            at = END.match(text, line.end()).end()
            continue
        number += 1
        record: list[Cell] = []
        while True:
            match = quoted.match(text, at)
            if match:
                body = next(part for part in match.groups() if part is not None)
                record.append(Cell(_unescaped(body, dialect, match.group().strip()[0]), True))
            elif opened.match(text, at):
                raise CatalogError(f"Row {number} of {where} opens a quote that is not closed; close it.")
            else:
                match = plain.match(text, at)
                record.append(Cell(match.group(1).strip(), False))
            at = match.end()
            if stop := END.match(text, at):
                at = stop.end()
                break
            if not (between := separator.match(text, at)):
                raise CatalogError(f"Row {number} of {where} has text behind the quoted cell {record[-1].text!r}; correct its quotes.")
            at = between.end()
        yield record


def _unescaped(body: str, dialect: Dialect, quote: str) -> str:
    body = body.replace(quote * 2, quote)
    if not dialect.backslash:
        return body
    return re.sub(r"\\(.)", lambda found: {"n": "\n", "t": "\t"}.get(found.group(1), found.group(1)), body, flags=re.DOTALL)


def checked(rows: Rows, width: int, where: str) -> Rows:
    """The rows, if each has a cell for every column."""
    for number, row in enumerate(rows, 1):
        if len(row) != width:
            raise CatalogError(f"Row {number} of {where} has {len(row)} cells and the table {width} columns; correct the row.")
    return rows


# --- in messages ------------------------------------------------------------------------------------------------------------------------


def shown(text: str, most: int = 40) -> str:
    """A cell in a message, a long one cut."""
    return repr(text) if len(text) <= most else f"{text[:most]!r}… ({len(text)} characters)"


def some(names: list[str], most: int = 20) -> str:
    """Names in a message, the first of many."""
    return ", ".join(names) if len(names) <= most else f"{', '.join(names[:most])} and {len(names) - most} more"
