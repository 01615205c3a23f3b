"""Cells of a price file as text, under the names of what they hold. Nothing is converted here.

Programs that save prices agree on little: the order of the columns, their names, the separator, even the number of header lines. So
columns are found by name and never by position, and a layout that is not known is refused with the names that it has.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import zlib
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from catalog.base.errors import CatalogError

csv.field_size_limit(1 << 30)  # the answer of a model is a cell, too, and may be longer than the library's 128 KB
LINE = "_line"  # number of the line in the file, for messages
NUMBERS = ("open", "high", "low", "close", "adj_close", "volume")
# Letters of a header cell, in small letters -> what the column holds. "1. open", "Close/Last" and "Adj Close*" are then found too.
ALIASES = {
    "date": ("date", "datetime", "timestamp", "day", "tradedate", "tradingday"),
    "open": ("open", "openprice", "openingprice"),
    "high": ("high", "highprice", "dayhigh"),
    "low": ("low", "lowprice", "daylow"),
    "close": ("close", "closeprice", "closingprice", "closelast", "last", "price"),
    "adj_close": ("adjclose", "adjustedclose", "closeadj", "closeadjusted"),
    "volume": ("volume", "vol"),
    "symbol": ("symbol", "ticker"),
}
ROLES = {alias: role for role, aliases in ALIASES.items() for alias in aliases}


def read_cells(path: str | Path) -> tuple[pl.DataFrame, list[str]]:
    """Read a CSV, also `.gz`, into text columns under the file's own names, and say what was unusual about its form.

    The separator is the one that the header has: comma, semicolon or tab. The three header lines of a saved yfinance download
    (`Price`, `Ticker`, `Date`) become one. The column `_line` numbers the lines.

    Raises:
        CatalogError: an absent or empty file, no UTF-8, a repeated column name, a line with more or fewer cells than the header.
    """
    path = Path(path)
    text, said = _text(path), []
    first = re.split(r"[\r\n]", text.lstrip("\r\n"), maxsplit=1)[0]
    separator = max(",;\t", key=first.count)
    if separator != ",":
        said.append(f"cells are separated by {'semicolons' if separator == ';' else 'tabs'}")
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
        lines = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]
    except csv.Error as error:
        raise CatalogError(f"{path} is no CSV ({error}); save it as comma-separated text.") from None
    lines = [(number, cells) for number, cells in lines if any(cells)]
    if not lines:
        raise CatalogError(f"{path} is empty; it needs a line of column names and a line for each day.")
    header, lines = _header(lines, path, said)
    header = [name or f"unnamed {i}" for i, name in enumerate(header, 1)]
    for name in header:
        if header.count(name) > 1:
            raise CatalogError(f"{path} has two columns {name}; leave one.")
    for number, cells in lines:
        if len(cells) != len(header):
            raise CatalogError(f"{path}, line {number} has {len(cells)} cells but the header has {len(header)}; correct the line.")
    columns = {name: [cells[i] for _, cells in lines] for i, name in enumerate(header)}
    return pl.DataFrame({LINE: [number for number, _ in lines], **columns}, {LINE: pl.Int64, **dict.fromkeys(header, pl.String)}), said


def by_role(cells: pl.DataFrame, where: str | Path) -> tuple[pl.DataFrame, list[str]]:
    """Rename the columns to `date`, `open` … `volume` and `symbol`, and leave out what is not known, with a word about it.

    Raises:
        CatalogError: no date, neither a close nor an adjusted close, two columns of the same meaning, or several shares.
    """
    names = [name for name in cells.columns if name != LINE]
    found: dict[str, str] = {}
    for name in names:
        role = role_of(name)
        if role in found:
            raise CatalogError(f"{where} has two columns that may be the {role}, {found[role]} and {name}; leave one.")
        if role:
            found[role] = name
    columns = f"its columns are {', '.join(names)}"
    if "date" not in found:
        raise CatalogError(f"{where} has no column Date; {columns}.")
    if "close" not in found and "adj_close" not in found:
        raise CatalogError(f"{where} has no column Close; {columns}; give one share a file, with the columns Date and Close at least.")
    symbols = cells[found["symbol"]].unique().sort().to_list() if "symbol" in found else []
    if len(symbols) > 1:
        raise CatalogError(f"{where} holds {len(symbols)} shares ({', '.join(symbols[:5])}); save each in a file of its own.")
    unknown = [name for name in names if name not in found.values()]
    said = [f"columns not read: {', '.join(unknown)}"] if unknown else []
    return cells.select(LINE, **{role: pl.col(name) for role, name in found.items()}), said


def role_of(name: str) -> str | None:
    """What a column of this name holds; None if that is not known."""
    return ROLES.get(re.sub("[^a-z]", "", name.lower()))


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
        data = gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data
        if b"\0" in data:
            raise CatalogError(f"{path} holds zero bytes, as UTF-16 and binary files do; save it as CSV in UTF-8.")
        return data.decode("utf-8-sig")
    except FileNotFoundError:
        raise CatalogError(f"{path} does not exist; give the path of a CSV file with prices.") from None
    except IsADirectoryError:
        raise CatalogError(f"{path} is a folder; give the path of a CSV file with prices.") from None
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise CatalogError(f"{path} is a damaged gzip file; get it again.") from None
    except UnicodeDecodeError as error:
        raise CatalogError(f"{path} is no UTF-8 text (byte {error.start}); save it as CSV in UTF-8.") from None


def _header(lines: Sequence[tuple[int, list[str]]], path: Path, said: list[str]) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The column names and the lines below them; lines `Price` and `Ticker` (in any order) and `Date` are one header."""
    titles = [cells[0].lower() for _, cells in lines[:3]]
    if sorted(titles[:2]) != ["price", "ticker"] or titles[2:] != ["date"]:
        return lines[0][1], list(lines[1:])
    prices, tickers = (lines[titles.index(title)][1] for title in ("price", "ticker"))
    symbols = sorted(set(tickers[1:]) - {""})
    if len(symbols) > 1:
        raise CatalogError(f"{path} holds several shares ({', '.join(symbols)}); save each in a file of its own.")
    said.append(f"three header lines taken as one{', of ' + symbols[0] if symbols else ''}")
    return ["Date", *prices[1:]], list(lines[3:])
