"""The metrics that results, reported numbers and claims may name: those shared by systems, and each system's own.

`catalog/report/metrics.yaml` has what several systems measure, `stages/<system>/metrics.yaml` what one alone does, so that a metric added
to one system runs no other again.
"""

import functools
import math
from pathlib import Path
from typing import Any

from catalog.base import params
from catalog.base.errors import CatalogError
from catalog.report.names import NAME, entries, is_text

SHARED = Path(__file__).with_name("metrics.yaml")
KEYS = ("display_name", "description", "unit", "lower_is_better", "range")


def metrics(system: str | None = None, root: Path | None = None) -> dict[str, dict[str, Any]]:
    """Metric -> {display_name, description, unit, lower_is_better, range}: the shared ones and, for a system, its own.

    Raises:
        CatalogError: a file is not YAML, an entry lacks a key, has another or holds what it cannot, or a system declares a shared metric
            again.
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
    found = entries(path, where)
    for name, entry in found.items():
        _check(name, entry, where)
    return found


def _check(name: Any, entry: Any, where: str) -> None:
    """Raise `CatalogError` if one entry of the file is not a metric."""
    if not isinstance(name, str) or not NAME.match(name):
        raise CatalogError(f"{where}: {name!r} cannot name a metric; use lower-case letters, digits and _.")
    where = f"{where}: {name}"
    if not isinstance(entry, dict) or set(entry) != set(KEYS):
        raise CatalogError(f"{where} must have exactly the keys {', '.join(KEYS)}.")
    for key in ("display_name", "description"):
        if not is_text(entry[key]):
            raise CatalogError(f"{where} has the {key} {entry[key]!r}; it must be a text that is not empty.")
    if not isinstance(entry["unit"], str):
        raise CatalogError(f'{where} has the unit {entry["unit"]!r}; it must be a text, "" for a plain number.')
    if not (entry["lower_is_better"] is None or isinstance(entry["lower_is_better"], bool)):
        raise CatalogError(f"{where} has lower_is_better {entry['lower_is_better']!r}; it must be true, false or null.")
    bounds = entry["range"]
    if (
        not isinstance(bounds, list)
        or len(bounds) != 2
        or not all(map(_is_bound, bounds))
        or (None not in bounds and bounds[0] >= bounds[1])
    ):
        raise CatalogError(f"{where} has the range {bounds!r}; it must be [lowest, highest], two rising numbers, null for no bound.")


def _is_bound(value: Any) -> bool:
    """Whether a value can bound a range: null or a finite number."""
    if value is None:
        return True
    try:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # a whole number beyond every float
        return False
