"""JSON in the layouts in which data sets are published."""

from __future__ import annotations

from typing import Any

from catalog.base.errors import CatalogError
from catalog.base.io import parse_json
from catalog.base.text import json_rows


def json_lines(content: str, name: str) -> list[tuple[int, dict[str, Any]]]:
    """Number and object of each line that is not blank; ``name`` is the file's, for messages.

    Only line feeds part lines: strings of JSON may hold other line separators.

    Raises:
        CatalogError: a line that is not one JSON object, or a file that is one JSON list.
    """
    if content.lstrip().startswith("["):
        raise CatalogError(f"{name} begins with a list; write JSON lines, one object on each line.")
    rows = json_rows(content, name)
    if wrong := [number for number, value in rows if not isinstance(value, dict)]:
        raise CatalogError(f"Line {wrong[0]} of {name} is no JSON object; write one, in braces, on each line.")
    return rows


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
