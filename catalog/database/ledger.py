"""Read and check `stages/<system>/claims.yaml`: what a paper prints, and how each claim is tested.

A claim is one or more tests of an effect against a bound. Everything is checked here but the SQL, which `catalog.database.claims` runs.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from catalog.base import params
from catalog.base.errors import CatalogError
from catalog.base.yaml_text import parse_yaml
from catalog.report.metrics import metrics
from catalog.report.names import NAME

FILE = "claims.yaml"
TRUST = ("paper", "repository", "third-party")
CLAIMED_BY = ("paper", "project")
KINDS = ("trivial", "control", "untreated", "rival", "end")
TAKEN = ("results", "metrics")  # tables that every claim sees by these names
BOUNDS = ("above", "below", "at_least", "at_most", "between")

_REPORTED = {"id": str, "model": str, "dataset": str, "method": str, "metric": str, "value": float, "where": str, "trust": str}
_CLAIM = {"by": str, "text": str, "metric": str, "reported": (str, None), "ours": str, "against": (dict, None), "tests": list}
_TEST = {"says": str}


def read(system: str, root: Path | None = None) -> dict[str, Any]:
    """The ledger of one system.

    Returns:
        {parameters: {name: {profile: value}}, reported: [{id, …}], views: {name: SQL}, claims: [{id, by, text, …}]}, claims in the order
        of the file; `where` of a claim is None where the project makes it.

    Raises:
        CatalogError: no file, not YAML, an unknown or missing key, a value of another type, a metric that is not declared, a claim that
            names an unknown `reported` row, a test without exactly one bound or without the place its bound comes from.
    """
    root = Path(root or params.ROOT)
    where = f"stages/{system}/{FILE}"
    try:
        content = parse_yaml((root / where).read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise CatalogError(f"{where} does not exist; write what the paper claims and how it is tested.") from None
    except (OSError, CatalogError, UnicodeDecodeError) as error:
        raise CatalogError(f"{where} cannot be read, correct it: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise CatalogError(f"{where} must be a mapping with the keys reported and claims.")
    _keys(content, {"reported": list, "claims": dict}, {"parameters": dict, "views": dict}, where)
    known = metrics(system, root)
    reported = _reported(content["reported"], known, where)
    for name, values in content.get("parameters", {}).items():
        _parameter(name, values, where)
    for name, sql in content.get("views", {}).items():
        if not isinstance(name, str) or not NAME.match(name) or name in TAKEN:
            raise CatalogError(f"{where}: views.{name} cannot name a view; use lower-case letters, digits and _, and not {_or(TAKEN)}.")
        if not isinstance(sql, str) or not sql.strip():
            raise CatalogError(f"{where}: views.{name} must be a SELECT.")
    claims = [_claim(name, claim, known, set(reported), where) for name, claim in content["claims"].items()]
    return {
        "parameters": content.get("parameters", {}),
        "reported": list(reported.values()),
        "views": content.get("views", {}),
        "claims": claims,
        "path": where,
    }


def check_apart(ledger: Mapping[str, Any], tables: Mapping[str, Any]) -> None:
    """Check that no view has the name of one of the system's own tables, which it would hide."""
    for name in ledger["views"]:
        if name in tables:
            raise CatalogError(f"{ledger['path']}: views.{name} has the name of a table of tables.yaml; give the view another one.")


def _parameter(name: Any, values: Any, where: str) -> None:
    """Check one parameter: a name that `$name` can write, and a text, a number, a truth value or null for each profile."""
    if not isinstance(name, str) or not NAME.match(name) or name == "profile":
        raise CatalogError(f"{where}: parameters.{name} cannot name a parameter; use lower-case letters, digits and _, and not `profile`.")
    if not isinstance(values, Mapping) or set(values) != set(params.PROFILES):
        raise CatalogError(f"{where}: parameters.{name} must give a value for each of {', '.join(params.PROFILES)}.")
    for profile, value in values.items():
        if not (value is None or isinstance(value, (str, bool)) or _number(value)):
            shown = _short(value)
            raise CatalogError(f"{where}: parameters.{name}.{profile} is {shown} but must be a text, a finite number, true, false or null.")


def _or(words: tuple[str, ...]) -> str:
    return " or ".join(f"`{word}`" for word in words)


def _short(value: Any) -> str:
    """A value for a message, cut where it is long."""
    try:
        text = repr(value)
    except ValueError:  # Python writes no number of more than 4300 digits
        text = "a number of thousands of digits"
    return text if len(text) <= 60 else f"{text[:57]}..."


def _reported(entries: list[Any], known: Mapping[str, Any], where: str) -> dict[str, dict[str, Any]]:
    """What the paper prints, by id."""
    found: dict[str, dict[str, Any]] = {}
    for entry in entries:
        key = f"reported[{entry.get('id') if isinstance(entry, dict) else entry}]"
        _keys(entry, _REPORTED, {"note": (str, None)}, where, key)
        _metric(entry["metric"], known, where, key)
        if entry["trust"] not in TRUST:
            raise CatalogError(f"{where}: {key}.trust is {entry['trust']!r} but must be one of {', '.join(TRUST)}.")
        if entry["id"] in found:
            raise CatalogError(f"{where}: reported has the id {entry['id']!r} twice.")
        found[entry["id"]] = entry
    return found


def _claim(name: str, claim: Any, known: Mapping[str, Any], printed: set[str], where: str) -> dict[str, Any]:
    """One claim, its parts checked."""
    key = f"claims.{name}"
    if not isinstance(name, str) or not name.strip():
        raise CatalogError(f"{where}: {key} must have a text for its name; put it in quotes.")
    _keys(claim, _CLAIM, {"where": str, "exact": bool}, where, key)
    _metric(claim["metric"], known, where, key)
    if claim["by"] not in CLAIMED_BY:
        raise CatalogError(f"{where}: {key}.by is {claim['by']!r} but must be one of {', '.join(CLAIMED_BY)}.")
    if (claim["by"] == "paper") != ("where" in claim):
        raise CatalogError(f"{where}: {key} needs the key `where`, the place in the paper, if and only if the claim is by the paper.")
    if claim["reported"] is not None and claim["reported"] not in printed:
        raise CatalogError(f"{where}: {key}.reported names {claim['reported']!r}, which is no id under reported.")
    if claim["against"] is not None:
        _keys(claim["against"], {"name": str, "kind": str, "value": str}, {}, where, f"{key}.against")
        if claim["against"]["kind"] not in KINDS:
            raise CatalogError(f"{where}: {key}.against.kind is {claim['against']['kind']!r} but must be one of {', '.join(KINDS)}.")
    if not claim["tests"]:
        raise CatalogError(f"{where}: {key} has no tests; give at least one.")
    tests = [_test(test, where, f"{key}.tests[{i}]") for i, test in enumerate(claim["tests"], start=1)]
    return {"id": name, "where": None, "exact": False} | claim | {"tests": tests}


def _test(test: Any, where: str, key: str) -> dict[str, Any]:
    """One test with its relation and its bounds: {says, effect or share (SQL), relation, bound, bound_high, bound_from, exact}."""
    optional = dict.fromkeys(("above", "below", "at_least", "at_most"), float)
    optional |= {"between": list, "effect": str, "share": str, "bound_from": str, "exact": bool}
    _keys(test, _TEST, optional, where, key)
    given = [bound for bound in BOUNDS if bound in test]
    if ("effect" in test) == ("share" in test):
        raise CatalogError(f"{where}: {key} needs either an effect or a share.")
    if "share" in test:
        if given or "exact" in test or "bound_from" in test:
            raise CatalogError(f"{where}: {key} is a share of resamples, which has no bound of its own (it holds from .95 on).")
        return {"says": test["says"], "sql": test["share"], "relation": "share", "bound": 0.95, "bound_high": None, "exact": False} | {
            "bound_from": None
        }
    if len(given) != 1:
        raise CatalogError(f"{where}: {key} needs exactly one of {', '.join(BOUNDS)}.")
    low, high = test[given[0]], None
    if given[0] == "between":
        if len(low) != 2 or not all(_number(value) for value in low) or low[0] >= low[1]:
            raise CatalogError(f"{where}: {key}.between must be two numbers, the lower first.")
        low, high = low
    source = test.get("bound_from")
    if (low, high) != (0, None) and source is None:
        raise CatalogError(f"{where}: {key} has the bound {low:g}; say where it comes from (bound_from: paper, … or ours: …).")
    if source is not None and not source.startswith(("paper", "ours: ")):
        raise CatalogError(f"{where}: {key}.bound_from must begin with `paper` or with `ours: ` and a reason.")
    bounds = {"relation": given[0], "bound": float(low), "bound_high": None if high is None else float(high)}
    return {"says": test["says"], "sql": test["effect"], "bound_from": source, "exact": test.get("exact", False)} | bounds


def _metric(name: str, known: Mapping[str, Any], where: str, key: str) -> None:
    if name not in known:
        raise CatalogError(f"{where}: {key}.metric is {name!r}, which no metrics.yaml declares.")


def _number(value: Any) -> bool:
    """Whether a value is a number that is finite as a float; an integer of hundreds of digits is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _keys(entry: Any, required: Mapping[str, Any], optional: Mapping[str, Any], where: str, key: str = "") -> None:
    """Check the keys of a mapping and the types of their values; `None` among the types allows null."""
    if not isinstance(entry, dict):
        raise CatalogError(f"{where}: {key} must be a mapping with the keys {', '.join(required)}.")
    prefix, allowed = f"{key}." if key else "", {**required, **optional}
    for name in required:
        if name not in entry:
            raise CatalogError(f"{where}: the key {prefix}{name} is missing.")
    for name, value in entry.items():
        if name not in allowed:
            raise CatalogError(f"{where}: the key {prefix}{name} is unknown; the keys are {', '.join(allowed)}.")
        kinds = allowed[name] if isinstance(allowed[name], tuple) else (allowed[name],)
        right = any(value is None if kind is None else _number(value) if kind is float else isinstance(value, kind) for kind in kinds)
        if not right:
            wanted = " or ".join("null" if kind is None else "number" if kind is float else kind.__name__ for kind in kinds)
            raise CatalogError(f"{where}: {prefix}{name} is {_short(value)} but must be of type {wanted}.")
        if isinstance(value, str) and not value.strip():
            raise CatalogError(f"{where}: {prefix}{name} is empty; write it, or null where that is allowed.")
