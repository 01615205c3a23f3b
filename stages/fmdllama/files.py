"""Files as users have them: UTF-8 text, and JSON in the layouts in which data sets are published."""

from __future__ import annotations

import codecs
from pathlib import Path
from typing import Any

from catalog.base.errors import CatalogError
from catalog.base.io import parse_json


def read_text(path: str | Path) -> str:
    """The text of a file in UTF-8, with or without a byte order mark, or in UTF-16 with one.

    Raises:
        CatalogError: the file is absent, a folder, empty, or in another encoding, which is not guessed.
    """
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise CatalogError(f"{path} does not exist; give the path of a file.") from None
    except OSError as error:
        raise CatalogError(f"{path} cannot be read ({error.strerror}); give the path of a file.") from None
    utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = data.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        if utf16:
            raise CatalogError(f"{path} begins like UTF-16 but is not; save it as UTF-8.") from None
        at = error.start + len(data) - len(error.object)
        line = data.count(b"\n", 0, at) + 1
        raise CatalogError(f"{path} is not UTF-8 in line {line:,} (byte 0x{data[at]:02x}); save it as UTF-8.") from None
    if "\0" in text:
        raise CatalogError(f"{path} holds zero bytes, as UTF-16 without its mark and binary files do; save it as UTF-8.")
    if not text.strip():
        raise CatalogError(f"{path} is empty; give a file with text.")
    return text


def json_lines(content: str, name: str) -> list[tuple[int, dict[str, Any]]]:
    """Number and object of each line that is not blank; ``name`` is the file's, for messages.

    Only line feeds part lines: strings of JSON may hold other line separators.

    Raises:
        CatalogError: a line that is not one JSON object, or a file that is one JSON list.
    """
    if content.lstrip().startswith("["):
        raise CatalogError(f"{name} begins with a list; write JSON lines, one object on each line.")
    found = []
    for number, line in enumerate(content.split("\n"), 1):
        if not line.strip():
            continue
        try:
            value = parse_json(line)
        except CatalogError as error:
            raise CatalogError(f"Line {number} of {name} cannot be read as JSON: {error}; write one whole object on each line.") from None
        if not isinstance(value, dict):
            raise CatalogError(f"Line {number} of {name} is no JSON object; write one, in braces, on each line.")
        found.append((number, value))
    return found


def json_objects(content: str, name: str) -> list[tuple[int, dict[str, Any]]]:
    """Number and object of each row of a file that is one JSON list of objects, or JSON lines."""
    if not content.lstrip().startswith("["):
        return json_lines(content, name)
    try:
        rows = parse_json(content)
    except CatalogError as error:
        raise CatalogError(f"{name} cannot be read as JSON: {error}; take the whole file.") from None
    if wrong := [number for number, row in enumerate(rows, 1) if not isinstance(row, dict)]:
        raise CatalogError(f"Entry {wrong[0]} of {name} is no JSON object; take the file as it is published.")
    return list(enumerate(rows, 1))
