"""Free text to rows: what a generator wrote is parsed, checked against the schema, and refused with a reason."""

from __future__ import annotations

import json
import math
from collections.abc import Collection

from stages.harmonic.schema import Schema
from stages.harmonic.serialise import row_text

REASONS = ("no JSON", "missing column", "unknown category", "not a number", "out of range", "copy of a real row")
Cells = dict[str, str | float | None]


def parse(text: str, schema: Schema) -> tuple[Cells | None, str | None]:
    """The row in a JSON object at the beginning of ``text``: (cells, None), or (None, one of `REASONS`).

    Keys are the columns' aliases; others are ignored. A number may stand in quotes. A missing cell is null and is allowed where the
    training rows have missing cells; elsewhere the column counts as missing.
    """
    start = text.find("{")
    try:
        found, _ = json.JSONDecoder().raw_decode(text[start:]) if start >= 0 else (None, 0)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        return None, "no JSON"
    cells: Cells = {}
    for column in schema.columns:
        value = found.get(column.alias)
        if value is None:
            if not (column.alias in found and column.missing):
                return None, "missing column"
            cells[column.name] = None
        elif column.numeric:
            number = _number(value)
            if number is None:
                return None, "not a number"
            number = round(number, column.decimals)
            if not column.low <= number <= column.high:
                return None, "out of range"
            cells[column.name] = number
        else:
            text_value = value if isinstance(value, str) else json.dumps(value)
            if text_value not in column.levels:
                return None, "unknown category"
            cells[column.name] = text_value
    return cells, None


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def check(text: str, schema: Schema, real: Collection[str] = ()) -> tuple[Cells | None, str | None]:
    """`parse`, and refuse a row whose text (`row_text`) is in ``real``."""
    cells, reason = parse(text, schema)
    if cells is not None and row_text(cells, schema) in real:
        return None, "copy of a real row"
    return cells, reason
