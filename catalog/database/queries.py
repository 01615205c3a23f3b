"""Read the named queries: `catalog/database/queries.sql` and each `stages/<system>/queries.sql`."""

import re
from pathlib import Path
from typing import Any

from catalog.base.errors import CatalogError

_HEADER = re.compile(r"-- name: (\w+)\n-- title: ([^\n]+)\n-- description: ([^\n]+)\n(.*)\Z", re.DOTALL)
_ALIKE = re.compile(r"\s*--\s*name\b", re.IGNORECASE)  # a line that somebody meant as the first of a header


def read(root: Path, systems: list[str]) -> list[dict[str, Any]]:
    """Return the named queries of `catalog/database/queries.sql`, then those of each `stages/<system>/queries.sql`.

    A query is its three comment lines `-- name: …`, `-- title: …`, `-- description: …` and the SQL below them.

    Raises:
        CatalogError: a file cannot be read, a header line is missing or malformed, SQL stands before the first header, a query is empty, or
            a name is given twice.
    """
    files = [Path(__file__).with_name("queries.sql"), *(root / "stages" / name / "queries.sql" for name in systems)]
    found: dict[str, dict[str, Any]] = {}
    for file in filter(Path.exists, files):
        where = "catalog/database/queries.sql" if file == files[0] else file.relative_to(root).as_posix()
        for block in _blocks(file, where):
            match = _HEADER.match(block)
            sql = match[4].strip().removesuffix(";").strip() if match else ""
            if not sql:
                raise CatalogError(f"{where}: {block.splitlines()[0]!r} needs the lines name, title, description, then SQL.")
            if match[1] in found:
                raise CatalogError(f"{where}: there are two queries of the name {match[1]}; rename one.")
            found[match[1]] = {"name": match[1], "title": match[2].strip(), "description": match[3].strip(), "sql": sql}
    return list(found.values())


def _blocks(file: Path, where: str) -> list[str]:
    """The text of each query of a file, its header in front."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise CatalogError(f"{where} is not UTF-8 (byte {error.start}); save it in that encoding.") from None
    except OSError as error:
        raise CatalogError(f"{where} cannot be read ({error.strerror}); make it a file that you may read.") from None
    for line in text.splitlines():
        if _ALIKE.match(line) and not line.startswith("-- name:"):
            raise CatalogError(f"{where}: the line {line!r} must begin with `-- name:`, or the query is not found.")
    before, *blocks = re.split(r"^(?=-- name:)", text, flags=re.MULTILINE)
    stray = [line for line in before.splitlines() if line.strip() and not line.lstrip().startswith("--")]
    if stray:
        raise CatalogError(f"{where}: {stray[0]!r} stands before the first line `-- name: …`; give it the lines name, title, description.")
    return blocks
