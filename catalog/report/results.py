"""What an evaluation writes: tidy result rows, a system's own tables, descriptions of its files, and `run.json`.

One row is one measured number. Everything here but `run.json` is the same, byte for byte, when the same stage runs
again on the same machine, so a forced re-run leaves `git diff reports/` empty. Timings therefore never stand in a
result row.

An evaluation calls `write_results`, then `write_tables` for its own tables, then `write_descriptions`, and `write_run`
last, because `run.json` records the fingerprint of the Parquet files it belongs to.
"""

import datetime
import hashlib
import importlib.metadata
import math
import platform
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import polars as pl

from catalog.base import io
from catalog.base.errors import CatalogError
from catalog.report import machine
from catalog.report.describe import describe_dataset, describe_model
from catalog.report.intervals import bootstrap, wilson
from catalog.report.metrics import metrics
from catalog.report.names import NAME, folder
from catalog.report.tables import write_tables

__all__ = [
    "NAME",
    "bootstrap",
    "describe_dataset",
    "describe_model",
    "folder",
    "metrics",
    "row",
    "training_facts",
    "wilson",
    "write_descriptions",
    "write_results",
    "write_run",
    "write_tables",
]

KEY = ("system", "profile", "experiment", "dataset", "model", "method", "metric", "split", "seed")
SCHEMA = pl.Schema(
    dict.fromkeys(KEY[:-1], pl.String) | {"seed": pl.Int64, "value": pl.Float64, "ci_low": pl.Float64, "ci_high": pl.Float64, "n": pl.Int64}
)
_LIBRARIES = "accelerate duckdb numpy peft polars safetensors scikit-learn sdmetrics torch transformers".split()
_STARTED = time.time()  # close enough to the start of the process: stages import this module first


def row(
    system: str,
    profile: str,
    experiment: str,
    dataset: str | None,
    model: str | None,
    method: str,
    metric: str,
    value: float,
    *,
    split: str = "test",
    seed: int = 0,
    ci: tuple[float | None, float | None] = (None, None),
    n: int | None = None,
) -> dict[str, Any]:
    """Return one result row for `write_results`.

    Args:
        experiment: which question of the paper this number belongs to, e.g. `head_ablation`.
        dataset, model: names of cards, or None where the number is of none; what is no model (`majority`) is a method.
        method: what was done, e.g. the paper's method, a baseline, `none`.
        metric: a name of a `metrics.yaml`, which also gives the unit.
        ci: lower and upper bound of a 95 % interval, in the unit of the metric, or (None, None).
        n: number of items behind the value.
    """
    key = dict(zip(KEY, (system, profile, experiment, dataset, model, method, metric, split, seed), strict=True))
    label = _label(key)
    key["seed"] = _whole(seed, "seed", label)
    try:
        low, high = ci
    except (TypeError, ValueError):
        raise CatalogError(f"The result {label} has the interval {ci!r}; give its two bounds, or (None, None).") from None
    number = {
        "value": _number(value, "value", label),
        "ci_low": None if low is None else _number(low, "lower bound", label),
        "ci_high": None if high is None else _number(high, "upper bound", label),
    }
    return key | number | {"n": None if n is None else _whole(n, "n", label)}


def _number(value: Any, name: str, label: str) -> float:
    """A number as a float; texts are none, also those that read like one."""
    try:
        if not isinstance(value, (str, bytes)):
            return float(value)
    except (TypeError, ValueError, OverflowError):
        pass
    raise CatalogError(f"The result {label} has the {name} {value!r}, which is not a number; give one, or leave the result out.")


def _whole(value: Any, name: str, label: str) -> int:
    """A whole number of 64 bits as an int, be it given as 19, 19.0 or a number of numpy."""
    try:
        if not isinstance(value, (str, bytes, bool)) and int(value) == value and -(2**63) <= int(value) < 2**63:
            return int(value)
    except (TypeError, ValueError, OverflowError):
        pass
    raise CatalogError(f"The result {label} has {name} {value!r}; give a whole number that 64 bits hold.")


def write_results(rows: Iterable[dict[str, Any]], system: str, profile: str, *, root: Path | None = None) -> None:
    """Check the rows, then write `results.parquet`, sorted by its key.

    Raises:
        CatalogError: no rows; a value that is not finite or lies outside its metric's range or its interval; a metric
            that is not in `metrics.yaml`; two rows with one key; a row of another system or profile.
    """
    rows = list(rows)
    if not rows:
        raise CatalogError(f"{system} ({profile}) has no result rows; give at least one.")
    seen = set()
    known = metrics(system, root)
    rows = [_checked(item, system, profile, known) for item in rows]
    for item in rows:
        key = tuple(item[name] for name in KEY)
        if key in seen:
            raise CatalogError(f"Two results have the key {_label(item)}; give each its own experiment, method, split or seed.")
        seen.add(key)
    df = pl.DataFrame(rows, schema=SCHEMA).sort(KEY)
    target = folder(system, profile, root)
    io.write_parquet(df, target / "results.parquet")


def _checked(item: Any, system: str, profile: str, known: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The row, its numbers in their types; `CatalogError` if it does not hold what its metric and its key promise."""
    if not isinstance(item, dict):
        raise CatalogError(f"A result row is {item!r}; make it with catalog.report.results.row.")
    if set(item) != set(SCHEMA):
        raise CatalogError(f"A result row has the keys {', '.join(sorted(map(str, item)))}; make it with catalog.report.results.row.")
    label = _label(item)
    if (item["system"], item["profile"]) != (system, profile):
        raise CatalogError(f"The result {label} does not belong to {system} ({profile}); write it with its own system and profile.")
    optional = {name for name in ("dataset", "model") if item[name] is None}
    empty = [name for name in KEY[:-1] if name not in optional and (not isinstance(item[name], str) or not item[name])]
    if empty:
        raise CatalogError(f"The result {label} needs a non-empty text for {', '.join(empty)}.")
    for name in ("dataset", "model"):
        # Readers see a dash for none.
        if item[name] is not None and ("/" in item[name] or item[name] == "-"):
            raise CatalogError(
                f"The result {label} has the {name} {item[name]!r}; use a name without / that is not a dash, or None for none."
            )
    if item["metric"] not in known:
        raise CatalogError(f"The metric {item['metric']!r} is not declared; add it to stages/{system}/metrics.yaml.")
    n = None if item["n"] is None else _whole(item["n"], "n", label)
    if n is not None and n < 1:
        raise CatalogError(f"The result {label} has n {n}; give the number of items behind it, 1 or more, or None.")
    value = _number(item["value"], "value", label)
    low, high = (None if item[name] is None else _number(item[name], name, label) for name in ("ci_low", "ci_high"))
    if not all(math.isfinite(number) for number in (value, low, high) if number is not None):
        raise CatalogError(f"The result {label} is {value} with interval ({low}, {high}); leave out what could not be measured.")
    if (low is None) != (high is None) or (low is not None and not low <= value <= high):
        raise CatalogError(f"The result {label} is {value}, outside its interval ({low}, {high}); give both bounds around it or none.")
    smallest, largest = known[item["metric"]]["range"]
    if (smallest is not None and value < smallest) or (largest is not None and value > largest):
        raise CatalogError(f"The result {label} is {value}, outside the range [{smallest}, {largest}] that its metrics.yaml gives.")
    return item | {"seed": _whole(item["seed"], "seed", label), "value": value, "ci_low": low, "ci_high": high, "n": n}


def _label(item: dict[str, Any]) -> str:
    """The key of a row in words, for messages."""
    return " / ".join(str(item.get(name)) for name in KEY)


def write_descriptions(
    system: str, profile: str, datasets: list[dict[str, Any]], models: list[dict[str, Any]], *, root: Path | None = None
) -> None:
    """Write `datasets.json` and `models.json` from what `describe_dataset` and `describe_model` returned."""
    target = folder(system, profile, root)
    for kind, entries in (("dataset", datasets), ("model", models)):
        ordered = sorted(entries, key=lambda entry: (entry[kind], entry["profile"], entry["path"]))
        io.write_json(ordered, target / f"{kind}s.json")


def training_facts(runs: list[dict[str, Any]], *others: dict[str, Any]) -> dict[str, Any]:
    """The columns of `run.json` for a system that trains: device, dtype, time, memory, tokens a second.

    Args:
        runs: `Run.info` of each training run.
        others: `seconds` and `peak_memory_mb` of each other stage with a model.
    """
    training = sum(run["seconds"] for run in runs)
    return {
        "device": runs[0]["device"],
        "dtype": runs[0]["dtype"],
        "seconds": round(training + sum(other["seconds"] for other in others), 1),
        "peak_memory_mb": max(item["peak_memory_mb"] for item in (*runs, *others)),
        "tokens_per_second": round(sum(run["tokens"] for run in runs) / training, 1),
    }


def write_run(system: str, profile: str, info: dict[str, Any], *, root: Path | None = None) -> None:
    """Write `run.json`: when, where, how long and with what the results of this folder were made.

    A recorded run stays when the Parquet files are byte for byte those it was recorded with, so call this last.
    `seconds` (since the process started), `device` (`cpu`) and `dtype` may be overridden in `info`, the first then
    stands under `evaluation_seconds`; `versions` are those of the imported libraries, and `machine.describe()` says what computed.

    Args:
        info: any JSON values; the database takes `seconds`, `device`, `dtype`, `peak_memory_mb` and `tokens_per_second`
            as columns.

    Raises:
        CatalogError: there is no `results.parquet` yet, the `run.json` that stands there cannot be read, or `info` holds what JSON cannot.
    """
    target = folder(system, profile, root)
    if not (target / "results.parquet").is_file():
        raise CatalogError(f"{system} ({profile}) has no results.parquet; call write_results before write_run.")
    places = [path.relative_to(target) for path in target.rglob("*.parquet")]
    names = sorted(place.as_posix() for place in places if not any(part.startswith(".") for part in place.parts))  # finished files
    fingerprint = hashlib.sha256("".join(f"{name} {io.sha256(target / name)}\n" for name in names).encode()).hexdigest()
    if _recorded(target / "run.json").get("fingerprint") == fingerprint:
        return
    started = datetime.datetime.fromtimestamp(_STARTED, datetime.UTC).replace(tzinfo=None, microsecond=0)
    recorded = {
        "started": started.isoformat(),
        "seconds": round(time.time() - _STARTED, 1),
        "device": "cpu",
        "dtype": None,
        "versions": _versions(),
    } | machine.describe()
    if "seconds" in info:  # of the stages with a model
        recorded["evaluation_seconds"] = recorded["seconds"]
    io.write_json(recorded | info | {"fingerprint": fingerprint}, target / "run.json")


def _recorded(path: Path) -> dict[str, Any]:
    """The content of a `run.json`, empty where there is none; one that cannot be read is not written over in silence."""
    if not path.exists():
        return {}
    try:
        found = io.read_json(path)
    except OSError as error:
        raise CatalogError(f"{path} cannot be read ({error.strerror}); delete it and run `dvc repro`.") from None
    if not isinstance(found, dict):
        raise CatalogError(f"{path} is not the record of a run; delete it and run `dvc repro`.")
    return found


def _versions() -> dict[str, str]:
    """Versions of Python and of those libraries that this process has imported."""
    found = {"python": platform.python_version()}
    for library in _LIBRARIES:
        if {"scikit-learn": "sklearn"}.get(library, library) in sys.modules:
            found[library] = importlib.metadata.version(library)
    return found
