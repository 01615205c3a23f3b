"""Names and places of reports, and the reading of the files that declare what is in them."""

import re
from pathlib import Path
from typing import Any

from catalog.base import params
from catalog.base.errors import CatalogError
from catalog.base.yaml_text import parse_yaml

NAME = re.compile(r"[a-z][a-z0-9_]*\Z")


def folder(system: str, profile: str, root: Path | None = None) -> Path:
    """Return `reports/<system>/<profile>` under `root` (the project's root by default)."""
    for name in (system, profile):
        if not NAME.match(name):
            raise CatalogError(f"{name!r} cannot be a folder of reports/; use lower-case letters, digits and _.")
    return (root or params.ROOT) / "reports" / system / profile


def entries(path: Path, where: str) -> dict[Any, Any]:
    """The entries of a YAML file that maps names to what they declare; `where` is the file's name in messages."""
    try:
        content = parse_yaml(path.read_text(encoding="utf-8"))
    except (CatalogError, UnicodeDecodeError) as error:
        raise CatalogError(f"{where} cannot be read, correct it: {' '.join(str(error).split())}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise CatalogError(f"{where} must map names to what they declare (`name:` and indented lines below it), not be a list or a text.")
    return content


def is_text(value: Any) -> bool:
    """Whether a value is a text with more than blanks in it."""
    return isinstance(value, str) and bool(value.strip())
