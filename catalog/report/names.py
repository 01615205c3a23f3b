"""Names and places of reports."""

import re
from pathlib import Path

from catalog.base import params
from catalog.base.errors import CatalogError

NAME = re.compile(r"[a-z][a-z0-9_]*\Z")


def folder(system: str, profile: str, root: Path | None = None) -> Path:
    """Return `reports/<system>/<profile>` under `root` (the project's root by default)."""
    for name in (system, profile):
        if not NAME.match(name):
            raise CatalogError(f"{name!r} cannot be a folder of reports/; use lower-case letters, digits and _.")
    return (root or params.ROOT) / "reports" / system / profile
