"""Documents of a corpus: what they are, and how they are read from files one by one.

A large file is read in slices, so that several processes can share it: a slice of a JSONL file owns the lines that begin in its range of
bytes, a slice of a Parquet file some of its row groups. The slices of a file do not depend on how many processes there are, and together
give each document once. No more than a batch of documents is in memory at any time.
"""

from __future__ import annotations

import codecs
import gzip
import json
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import pyarrow.parquet as pq

from catalog.base.errors import CatalogError
from catalog.base.text import read_text

KINDS = (".jsonl", ".jsonl.gz", ".parquet", ".txt")


class Document(NamedTuple):
    """A text with where it is from."""

    id: str  # its place: of a file, name and line or row
    part: str  # of the mixture, such as prices or general
    source: str
    text: str


class Slice(NamedTuple):
    """A part of a file: bytes `start` to `stop` of a JSONL file, or row groups of a Parquet file; (0, 0) is a file read whole."""

    path: Path
    start: int
    stop: int


def kind(path: Path) -> str:
    """The ending of `path` among `KINDS`.

    Raises:
        CatalogError: another ending.
    """
    found = next((ending for ending in KINDS if path.name.endswith(ending)), None)
    if found is None:
        raise CatalogError(f"{path} cannot be read as documents; give files that end in {', '.join(KINDS)}.")
    return found


def slices(paths: Sequence[Path], size: int) -> list[Slice]:
    """The files cut into slices of about `size` bytes, in the order given. A compressed JSONL file cannot be cut.

    Raises:
        CatalogError: a file that is absent or of an unknown kind.
    """
    out = []
    for path in paths:
        if not path.is_file():
            raise CatalogError(f"There is no file {path}; correct the path.")
        ending = kind(path)
        if ending == ".jsonl":
            total = path.stat().st_size
            out += [Slice(path, start, min(start + size, total)) for start in range(0, total, size)]
        elif ending == ".parquet":
            out += _groups(path, size)
        else:
            out.append(Slice(path, 0, 0))
    return out


def _groups(path: Path, size: int) -> list[Slice]:
    """Row groups of a Parquet file, gathered until they hold `size` bytes."""
    meta = _parquet(path).metadata
    out, start, held = [], 0, 0
    for group in range(meta.num_row_groups):
        held += meta.row_group(group).total_byte_size
        if held >= size or group == meta.num_row_groups - 1:
            out.append(Slice(path, start, group + 1))
            start, held = group + 1, 0
    return out


def read(part: Slice, text: str = "text", source: str | None = None, name: str = "", batch: int = 256) -> Iterator[Document]:
    """The documents of a slice.

    Args:
        text: field or column with the text.
        source: field or column that names the source; by default the file's name is the source.
        name: part of the mixture that they are of.
        batch: rows of a Parquet file to read at once.

    Raises:
        CatalogError: a line that is no JSON object, a field that is absent, or a text that is none.
    """
    path = part.path
    stem = path.name.removesuffix(kind(path))
    if kind(path) == ".txt":
        rows: Iterator[tuple[str, dict]] = iter([(path.name, {text: read_text(path, empty=True), source: stem})])
    else:
        rows = _records(part, [text, *([source] if source else [])], batch) if kind(path) == ".parquet" else _lines(part)
    for where, record in rows:
        for field in (text, source):
            if field is not None and not isinstance(record.get(field), str):
                there = "has no" if field not in record else f"has {type(record[field]).__name__} instead of a string as"
                raise CatalogError(f"{path}, {where}, {there} {field!r}; its fields are {', '.join(sorted(record)) or 'none'}.")
        yield Document(f"{stem}:{where}", name, record[source] if source else stem, record[text])


def _lines(part: Slice) -> Iterator[tuple[str, dict]]:
    """Records of the lines that begin in the slice, with the byte that each begins at; empty lines are left out."""
    compressed = kind(part.path) == ".jsonl.gz"
    with gzip.open(part.path) if compressed else part.path.open("rb") as file:
        if part.start:  # the line that is running there began in the slice before
            file.seek(part.start - 1)
            file.readline()
        yield from _decoded(file, part, None if compressed else part.stop)


class Twice(ValueError):
    """A field that an object has twice; one of its values would be lost."""


def _fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise Twice(repr(next(name for name in names if names.count(name) > 1)))
    return found


def _decoded(file: BinaryIO, part: Slice, stop: int | None) -> Iterator[tuple[str, dict]]:
    position = file.tell()
    while stop is None or position < stop:
        try:
            line = file.readline()
        except (EOFError, gzip.BadGzipFile, zlib.error):
            raise CatalogError(f"{part.path} is damaged or cut off after byte {position} of its text; fetch it again.") from None
        if not line:
            return
        where = f"byte {position}"
        if not line.removeprefix(codecs.BOM_UTF8 if not position else b"").strip():
            position += len(line)
            continue
        position += len(line)
        try:
            record = json.loads(line, object_pairs_hook=_fields)  # UTF-8, with or without a byte order mark
        except (ValueError, RecursionError) as error:
            if b"\0" in line:
                raise CatalogError(f"{part.path} holds zero bytes, as UTF-16 and binary files do; save it as UTF-8.") from None
            if isinstance(error, Twice):
                raise CatalogError(f"{part.path}, {where}, has the field {error} twice; leave one.") from None
            raise CatalogError(f"{part.path}, {where}, is not a line of JSON in UTF-8; correct or remove the line.") from None
        if not isinstance(record, dict):
            raise CatalogError(f"{part.path}, {where}, is not a JSON object; write one object a line.")
        yield where, record


def _records(part: Slice, columns: list[str], batch: int) -> Iterator[tuple[str, dict]]:
    file = _parquet(part.path)
    lacking = [column for column in columns if column not in file.schema_arrow.names]
    if lacking:
        raise CatalogError(f"{part.path} has no column {lacking[0]!r}; its columns are {', '.join(file.schema_arrow.names)}.")
    row = sum(file.metadata.row_group(group).num_rows for group in range(part.start))
    found = file.iter_batches(batch, row_groups=list(range(part.start, part.stop)), columns=columns)
    while True:
        try:
            records = next(found).to_pylist()
        except StopIteration:
            return
        except (OSError, ValueError) as error:
            raise CatalogError(f"{part.path} is damaged after row {row} ({str(error).splitlines()[0]}); fetch it again.") from None
        for record in records:
            yield f"row {row}", record
            row += 1


def _parquet(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (OSError, ValueError) as error:  # pyarrow's own errors are of these two kinds
        raise CatalogError(f"{path} is not a Parquet file ({str(error).splitlines()[0]}); give another one.") from None
