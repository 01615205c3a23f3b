"""Dates and numbers out of text cells. Only what can be read in one way is read; the rest is refused with its line and a remedy."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path

import polars as pl

from catalog.base.errors import CatalogError
from stages.open_finllms.csv_table import LINE

# 2020-12-31, perhaps with a time of day and a time zone: the day is then the one that is written.
ISO = re.compile(r"(\d{4}-\d{2}-\d{2})([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?\s?(Z|[+-]\d{2}:?\d{2})?)?")
MISSING = ("", "nan", "null", "none", "na", "n/a", "#n/a", "-", "--")
NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"  # not \d, which has the digits of all scripts
GROUPED = r"^[+-]?[0-9]{1,3}(,[0-9]{3})+(\.[0-9]*)?$"  # 1,234.5
POINT = r"(\.([0-9]{1,2}|[0-9]{4,})|,[0-9]{3}\.[0-9]+)$"  # a point that can only stand before decimals: 10.5 and 1,234.567 but not 1.234


def dates(cells: pl.DataFrame, where: str | Path, date_format: str | None = None) -> pl.Series:
    """The column `date` as days.

    31/12/2020 and 12/31/2020 differ in the order of day and month, and 01/02/2020 does not tell which it is; so any other form than
    2020-12-31 must be declared.

    Raises:
        CatalogError: a date of another form, or one that does not exist; a declared form that leaves the year, month or day open.
    """
    if date_format:
        _check_format(date_format)
    found = []
    for line, text in cells.select(LINE, "date").iter_rows():
        try:
            found.append(_date(text, date_format))
        except ValueError:
            if date_format:
                remedy = f"which does not fit the declared date_format {date_format}; correct one of them"
            elif ISO.fullmatch(text):
                remedy = "which is no day of the calendar; correct it"
            else:
                remedy = (
                    "which is not of the form 2020-12-31; write it so, or declare date_format: %d/%m/%Y day first, %m/%d/%Y month first"
                )
            raise CatalogError(f"{where}, line {line}: the date is {text!r}, {remedy}.") from None
    return pl.Series("date", found, pl.Date)


def _check_format(date_format: str) -> None:
    """A form without the year would put all dates in 1900, and one without the day on the first."""
    day = date(2013, 11, 28)  # no two of its parts are alike
    try:
        whole = datetime.strptime(day.strftime(date_format), date_format).date() == day
    except ValueError:
        whole = False
    if not whole:
        raise CatalogError(f"The date_format {date_format} does not give year, month and day; write one such as %d/%m/%Y or %Y%m%d.")


def _date(text: str, date_format: str | None) -> date:
    if date_format:
        return datetime.strptime(text, date_format).date()
    match = ISO.fullmatch(text)
    if match is None:
        raise ValueError
    return date.fromisoformat(match[1])


def numbers(cells: pl.DataFrame, names: Sequence[str], where: str | Path) -> list[pl.Series]:
    """The columns `names` as floats, null where a cell says that it is missing.

    A comma may separate thousands or decimals. It is taken for the thousands where some cell of the file has a point that can only
    stand before decimals, and the digits are grouped by three; 1,234 in a file without such a point is refused.

    Raises:
        CatalogError: a cell that is no number, or one with a comma that could be either.
    """
    texts = {name: cells[name].str.strip_chars() for name in names}
    points = any(text.str.contains(POINT).any() for text in texts.values())
    return [_numbers(name, text, cells[LINE], points, where) for name, text in texts.items()]


def _numbers(name: str, text: pl.Series, lines: pl.Series, points: bool, where: str | Path) -> pl.Series:
    commas = text.str.contains(",", literal=True)
    for line, cell in zip(lines.filter(commas), text.filter(commas)):
        if not (points and re.match(GROUPED, cell)):
            remedy = "in which the comma may stand for decimals or thousands; write 1234.5, without commas"
            raise CatalogError(f"{where}, line {line}: the {name} is {cell!r}, {remedy}.")
    plain = text.str.replace_all(",", "", literal=True)
    plain = plain.zip_with(~plain.str.to_lowercase().is_in(MISSING), pl.Series([None], dtype=pl.String))
    found = plain.str.contains(NUMBER).fill_null(True)
    found &= ~plain.cast(pl.Float64, strict=False).is_infinite().fill_null(False)  # 1e999
    wrong = ~found
    for line, cell in zip(lines.filter(wrong), text.filter(wrong)):
        raise CatalogError(f"{where}, line {line}: the {name} is {cell!r}, which is no number; write it like 1234.5, or leave it empty.")
    return plain.cast(pl.Float64).alias(name)
