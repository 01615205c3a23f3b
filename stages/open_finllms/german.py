"""The German credit table as its file has it."""

from __future__ import annotations

import csv
import re
from pathlib import Path

from catalog.base.deps import require_dep
from catalog.base.errors import CatalogError

GERMAN = "german_credit/credit-g.arff"
_ATTRIBUTE = re.compile(r"@attribute\s+(\w+)\s", re.IGNORECASE)


def asset(name: str, root: Path) -> Path:
    """A file of an asset."""
    path = root / "data" / "assets" / name
    require_dep(path, root)
    if not path.is_file():
        raise CatalogError(f"The tasks read {path.relative_to(root)}, which is absent; run `dvc repro` to fetch it.")
    return path


def german_rows(path: Path) -> list[dict[str, str]]:
    """Applicants as the file has them, a text for each attribute.

    Raises:
        CatalogError: a row with another number of cells, or a class other than good and bad.
    """
    head, mark, body = path.read_text(encoding="utf-8").partition("@data")
    names = _ATTRIBUTE.findall(head)
    if not mark or not names or names[-1] != "class":
        raise CatalogError(f"{path} is not the German credit table as ARFF: its last attribute before @data must be class.")
    rows = []
    for at, cells in enumerate(csv.reader(body.strip().splitlines(), quotechar="'"), start=1):
        if len(cells) != len(names) or cells[-1] not in ("good", "bad"):
            raise CatalogError(
                f"Row {at} of {path} has {len(cells)} cells and the class {cells[-1]!r}; it needs {len(names)} and good or bad."
            )
        rows.append(dict(zip(names, cells)))
    return rows
