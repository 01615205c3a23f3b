"""Texts as users have them, read and printed: encodings are never guessed, JSON lines are checked, a reader may stop early."""

from __future__ import annotations

import codecs
import os
import sys
from pathlib import Path

from catalog.base.errors import CatalogError
from catalog.base.io import parse_json

_NO_TEXT = {  # first bytes -> what a file is that begins with them, and what to do
    b"\x1f\x8b": "packed by gzip; unpack it with gunzip first",
    b"PK\x03\x04": "a ZIP archive, perhaps a document or table of an office program, and binary; save it as plain text in UTF-8",
    b"PAR1\x15": "a Parquet table, which is binary; write its texts as JSON lines",
    b"%PDF-": "a PDF file, which is binary; give plain text",
}
_BINARY = (
    "holds zero bytes or many control characters, as binary files do, and UTF-16 or UTF-32 without the mark of UTF-16; save it as UTF-8."
)


def read_text(path: str | Path, empty: bool = False) -> str:
    """The text of a file in UTF-8, with or without a byte order mark, or in UTF-16 with one.

    No other encoding is guessed: nearly any bytes can be read as Windows-1252, those of Cyrillic and Japanese texts and of a file that was
    cut within a character, too. Nothing but the byte order mark is removed.

    Args:
        empty: whether a file without text is one, too.

    Raises:
        CatalogError: the file is absent, a folder, empty, packed, a table, binary, or in another encoding.
    """
    data = read_bytes(path)
    if known := next((what for start, what in _NO_TEXT.items() if data.startswith(start)), None):
        raise CatalogError(f"{path} is {known}.")
    try:
        text = data.decode("utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise CatalogError(_wrong_byte(path, data, error)) from None
    if _is_binary(text):
        raise CatalogError(f"{path} {_BINARY}")
    if not text.strip() and not empty:
        raise CatalogError(f"{path} is empty; give a file with text.")
    return text


def read_bytes(path: str | Path) -> bytes:
    """The content of a file.

    Raises:
        CatalogError: the file is absent, a folder or not readable.
    """
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise CatalogError(f"{path} does not exist; give the path of a text file.") from None
    except IsADirectoryError:
        raise CatalogError(f"{path} is a folder; give the path of a text file.") from None
    except (OSError, ValueError) as error:  # ValueError: a path that no file can have
        said = getattr(error, "strerror", None) or error
        raise CatalogError(f"{path} cannot be read ({said}); give yourself access to it, or the path of a text file.") from None


def _is_binary(text: str) -> bool:
    controls = sum(text.count(chr(code)) for code in (*range(1, 9), *range(14, 32), 127))
    return "\x00" in text or controls > len(text) / 100


def _wrong_byte(path: str | Path, data: bytes, error: UnicodeDecodeError) -> str:
    """What is wrong with a file that is not in its encoding, and what to do."""
    start = error.start + len(data) - len(error.object)  # the decoder takes a byte order mark off first
    at, line = f"{start + 1:,}", data.count(b"\n", 0, start) + 1
    if error.encoding.startswith("utf-16"):
        return f"{path} begins like UTF-16 but is not from byte {at} on; save it as UTF-8."
    if _is_binary(data.decode("latin-1")):
        return f"{path} {_BINARY}"
    where = f"byte {at} (0x{data[start]:02x}, in line {line:,})"
    if error.reason == "unexpected end of data":
        return f"{path} ends within a character of UTF-8, which begins at {where}; take the whole file, or save it as UTF-8."
    return f"{path} is not UTF-8 at {where}; convert it from the encoding it has: iconv -f ENCODING -t UTF-8 {Path(path).name} > NEW."


def json_rows(content: str, name: str) -> list[tuple[int, object]]:
    """Number and value of each line of ``content`` that is not blank; ``name`` is the file's, for messages.

    Only line feeds part lines, since strings of JSON may hold other line separators.

    Raises:
        CatalogError: a line that `parse_json` refuses: it is no JSON, has a key twice, half of a character, or thousands of brackets.
    """
    found = []
    for number, line in enumerate(content.split("\n"), 1):
        if line.strip():
            try:
                found.append((number, parse_json(line)))
            except CatalogError as error:
                raise CatalogError(f"Line {number} of {name} cannot be read as JSON: {error}; write one whole object a line.") from None
    return found


def print_out(text: str) -> None:
    """Print the result of a command; a reader such as `head` may stop before its end."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
