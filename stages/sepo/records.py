"""Rows of a file: JSON lines, perhaps packed by gzip, or Parquet. What a file is, its first bytes say; names may end as they like."""

from __future__ import annotations

import codecs
import gzip
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from catalog.base.errors import CatalogError
from catalog.base.io import parse_json

_GZIP, _PARQUET = b"\x1f\x8b", b"PAR1"


def records(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(file and line for messages, row) of a file; empty lines are no rows.

    Raises:
        CatalogError: the file is absent, damaged, not what its name says, or not UTF-8; a line is no JSON object (`parse_json`).
    """
    path = Path(path)
    if not path.is_file():
        raise CatalogError(f"There is no file {path}; correct its name in params.yaml, or fetch its asset with `dvc repro fetch`.")
    with path.open("rb") as file:
        start = file.read(4)
    suffix = path.suffix.lower()
    if start == _PARQUET or suffix == ".parquet":
        yield from _parquet(path)
    elif start[:2] == _GZIP or suffix == ".gz":
        try:
            with gzip.open(path, "rb") as lines:
                yield from _lines(lines, path.name)
        except (gzip.BadGzipFile, EOFError, zlib.error):
            raise CatalogError(f"{path.name} is damaged or no gzip file; fetch it again.") from None
    else:
        with path.open("rb") as lines:
            yield from _lines(lines, path.name)


def text_of(record: Mapping[str, Any], key: str, where: str) -> str:
    """The text of one key of a row.

    Raises:
        CatalogError: it is absent or no text.
    """
    if not isinstance(record.get(key), str):
        raise CatalogError(
            f"{where}: {key!r} must be a text but is {_short(record.get(key))}; correct the row or the layout in params.yaml."
        )
    return record[key]


def row_id(value: Any, where: str) -> str:
    """An id as a text: texts and whole numbers can be ids.

    Raises:
        CatalogError: an empty text, or a value of another kind.
    """
    if (isinstance(value, str) and value.strip()) or (isinstance(value, int) and not isinstance(value, bool)):
        return str(value)
    raise CatalogError(f"{where}: the id is {_short(value)}, but must be a text that is not empty, or a whole number; correct the row.")


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:59]}…"


def _parquet(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        rows = pl.read_parquet(path).iter_rows(named=True)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise CatalogError(f"{path.name} is no Parquet file; fetch it again ({str(error).splitlines()[0]}).") from None
    yield from ((f"{path.name}, row {number}", row) for number, row in enumerate(rows, 1))


def _lines(lines: Any, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of an open file of JSON lines, read as bytes, so that a wrong one can be named."""
    for number, line in enumerate(lines, 1):
        where = f"{name}, line {number}"
        line = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
        if number == 1 and line.startswith((_GZIP, _PARQUET)):
            raise CatalogError(f"{name} is a packed file or Parquet within gzip; unpack it once with gunzip.")
        if line.strip():
            yield where, _object(line, where)


def _object(line: bytes, where: str) -> dict[str, Any]:
    try:
        record = parse_json(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        byte = f"byte {error.start + 1:,} (0x{line[error.start]:02x})"
        raise CatalogError(f"{where} is not UTF-8 at its {byte}; save the file as UTF-8: iconv -f ENCODING -t UTF-8 FILE > NEW.") from None
    except CatalogError as error:
        raise CatalogError(f"{where} cannot be read as JSON: {error}; correct the row.") from None
    if not isinstance(record, dict):
        raise CatalogError(f"{where} is no JSON object with keys; correct the row or the layout in params.yaml.")
    return record
