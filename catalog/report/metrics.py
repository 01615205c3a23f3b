"""The metrics that results, reported numbers and claims may name: those shared by systems, and each system's own.

`catalog/report/metrics.yaml` has what several systems measure, `stages/<system>/metrics.yaml` what one alone does, so that a metric added
to one system runs no other again.
"""

import functools
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from catalog.base import params
from catalog.base.errors import CatalogError

SHARED = Path(__file__).with_name("metrics.yaml")
KEYS = ("display_name", "description", "unit", "lower_is_better", "range")


def metrics(system: str | None = None, root: Path | None = None) -> dict[str, dict[str, Any]]:
    """Metric -> {display_name, description, unit, lower_is_better, range}: the shared ones and, for a system, its own.

    Raises:
        CatalogError: a file is not YAML, lacks a key or has another, or a system declares a shared metric again.
    """
    found = dict(_read(SHARED, "catalog/report/metrics.yaml"))
    if system is None:
        return found
    where = f"stages/{system}/metrics.yaml"
    path = Path(root or params.ROOT) / where
    own = _read(path, where) if path.is_file() else {}
    again = sorted(set(found) & set(own))
    if again:
        raise CatalogError(f"{where} declares {again[0]}, which catalog/report/metrics.yaml has; delete one of the two.")
    return found | own


@functools.cache
def _read(path: Path, where: str) -> dict[str, dict[str, Any]]:
    try:
        found = YAML(typ="safe").load(path.read_text(encoding="utf-8")) or {}
    except (YAMLError, UnicodeDecodeError) as error:
        raise CatalogError(f"{where} cannot be read, correct it: {' '.join(str(error).split())}") from None
    for name, entry in found.items():
        if not isinstance(entry, dict) or set(entry) != set(KEYS):
            raise CatalogError(f"{where}: {name} must have exactly the keys {', '.join(KEYS)}.")
    return found
