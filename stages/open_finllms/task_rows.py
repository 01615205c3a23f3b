"""Rows of a task from a local file: JSON lines, a JSON list, Parquet or CSV in the published columns; and two sets in their own layouts.

Nothing is run to read a file, no loading script and no pickle. In a CSV every cell is a text, so that an id 007 stays one; lists stand in
it as JSON, and gold and turn become whole numbers.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
from polars.exceptions import PolarsError

from catalog.base.errors import CatalogError
from catalog.base.text import read_text

Row = dict[str, Any]


def read_rows(path: Path, layout: str | None = None) -> list[Row]:
    """All rows of a file, in its order. `layout` is phrasebank or tatqa for those sets as their authors publish them."""
    if not path.is_file():
        raise CatalogError(f"There is no file {path}; download the set and put it there, or name another file.")
    if layout is not None:
        if layout not in LAYOUTS:
            raise CatalogError(f"There is no layout {layout}; there are {', '.join(LAYOUTS)}.")
        rows = LAYOUTS[layout](path)
    else:
        readers = {".jsonl": _jsonl, ".json": _json, ".parquet": _parquet, ".csv": _csv}
        if path.suffix not in readers:
            raise CatalogError(f"{path} ends in {path.suffix or 'nothing'}; rows are read from {', '.join(readers)}.")
        rows = readers[path.suffix](path)
    if not rows:
        raise CatalogError(f"{path} has no rows.")
    return rows


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise CatalogError(f"{where} is not JSON: {error.msg} at character {error.pos + 1}.") from error


def _jsonl(path: Path) -> list[Row]:
    # Split at line feeds alone: a text may hold U+2028, which str.splitlines takes for the end of a line.
    lines = enumerate(read_text(path, empty=True).split("\n"), start=1)
    return _objects([(f"Line {at} of {path}", _parsed(line, f"Line {at} of {path}")) for at, line in lines if line.strip()])


def _json(path: Path) -> list[Row]:
    found = _parsed(read_text(path, empty=True), str(path))
    if not isinstance(found, list):
        raise CatalogError(f"{path} must hold a list of objects, one a row, or be JSON lines with the ending .jsonl.")
    return _objects([(f"Entry {at} of {path}", row) for at, row in enumerate(found, start=1)])


def _objects(found: list[tuple[str, Any]]) -> list[Row]:
    for where, row in found:
        if not isinstance(row, dict):
            raise CatalogError(f"{where} is {type(row).__name__}, but a row is an object with a value for each column.")
    return [row for _, row in found]


def _parquet(path: Path) -> list[Row]:
    try:
        return pl.read_parquet(path).to_dicts()
    except PolarsError as error:
        raise CatalogError(f"{path} cannot be read as Parquet: {str(error).splitlines()[0]}.") from error


def _csv(path: Path) -> list[Row]:
    try:
        rows = pl.read_csv(path, infer_schema=False).to_dicts()
    except PolarsError as error:
        raise CatalogError(f"{path} cannot be read as CSV: {str(error).splitlines()[0]}.") from error
    for at, row in enumerate(rows, start=1):
        for name, cell in row.items():
            if name in ("choices", "label", "token") and cell is not None and cell.lstrip().startswith("["):
                row[name] = _parsed(cell, f"Row {at}, {name}, of {path}")
            elif name in ("gold", "turn") and cell and cell.strip().lstrip("-").isdecimal():
                row[name] = int(cell)
    return rows


def phrasebank(path: Path) -> list[Row]:
    """Financial PhraseBank: a line `sentence@label` in Latin-1; a sentence may hold an @ itself. The id is the line's number."""
    rows = []
    for at, line in enumerate(path.read_text(encoding="latin-1").replace("\r\n", "\n").split("\n"), start=1):
        if not line.strip():
            continue
        text, mark, label = line.rpartition("@")
        label = label.strip()
        if not mark or not text.strip() or label not in SENTIMENTS:
            raise CatalogError(f"Line {at} of {path} does not end in @ and one of {', '.join(SENTIMENTS)}.")
        text = text.strip()
        rows.append({"id": str(at), "text": text, "answer": label, "choices": list(SENTIMENTS), "gold": SENTIMENTS.index(label)})
    return rows


SENTIMENTS = ("positive", "negative", "neutral")  # in the order of the published FPB task


def tatqa(path: Path) -> list[Row]:
    """TAT-QA: tables with paragraphs and questions. A row a question; `table` has lines of cells separated by |, `document` its table.

    The answer is the number, without its scale, which has a column of its own; several spans are joined by a semicolon.
    """
    found = _parsed(read_text(path, empty=True), str(path))
    if not isinstance(found, list):
        raise CatalogError(f"{path} must hold a list of tables with their questions.")
    rows = []
    for at, part in enumerate(found, start=1):
        try:
            table = "\n".join(" | ".join(str(cell).strip() for cell in line) for line in part["table"]["table"])
            text = "\n".join(paragraph["text"] for paragraph in sorted(part["paragraphs"], key=lambda paragraph: paragraph["order"]))
            document = part["table"]["uid"]
            for question in part["questions"]:
                answer = question["answer"]
                answer = "; ".join(map(str, answer)) if isinstance(answer, list) else str(answer)
                rows.append(
                    {"id": question["uid"], "document": document, "table": table, "text": text, "question": question["question"],
                     "answer": answer, "scale": question["scale"], "answer_type": question["answer_type"]}
                )  # fmt: skip
        except (KeyError, TypeError) as error:
            raise CatalogError(f"Entry {at} of {path} is not laid out as TAT-QA: {error} is missing or of another kind.") from error
    return rows


LAYOUTS: dict[str, Callable[[Path], list[Row]]] = {"phrasebank": phrasebank, "tatqa": tatqa}
