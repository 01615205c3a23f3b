"""Describe built files, so that the catalog can show them where they are absent.

Data sets and weights lie in DVC's cache, which a fresh clone does not have. An evaluation therefore writes what one
wants to know of them (rows, columns, first rows, parameters, bytes, hashes) into small JSON files that are in git:
`catalog.report.results.write_descriptions`.
"""

import hashlib
import json
import math
import os
import struct
from pathlib import Path
from typing import Any

import polars as pl

from catalog.base import io, params
from catalog.base.errors import CatalogError

_READERS = {".parquet": pl.scan_parquet, ".csv": pl.scan_csv, ".jsonl": pl.scan_ndjson}


def describe_dataset(path: str | Path, dataset: str, profile: str, *, root: Path | None = None) -> dict[str, Any]:
    """Describe one built table: Parquet, CSV or JSON Lines.

    Returns:
        {dataset, profile, path (from the root), rows, bytes, md5, columns: [{name, type}], head: [first 5 rows]}.

    Raises:
        CatalogError: the file is absent, of another kind, a folder, broken, or outside the project.
    """
    path = Path(path)
    if path.suffix not in _READERS:
        raise CatalogError(f"{path} cannot be described; a data set's table is .parquet, .csv or .jsonl.")
    place = _relative(path, root)
    if not path.is_file():
        raise CatalogError(f"{path} is a folder, but a data set's table is one file; describe the file.")
    try:
        frame = _READERS[path.suffix](path)
        first, rows, schema = frame.head(5).collect(), frame.select(pl.len()).collect().item(), frame.collect_schema()
    except pl.exceptions.PolarsError as error:
        raise CatalogError(f"{path} cannot be read ({' '.join(str(error).split())}); run the stage that makes it again.") from None
    head = json.loads(json.dumps(first.to_dicts(), default=str))
    return {
        "dataset": dataset,
        "profile": profile,
        "path": place,
        "rows": rows,
        "bytes": path.stat().st_size,
        "md5": io.md5(path),
        "columns": [{"name": name, "type": str(kind)} for name, kind in schema.items()],
        "head": _cut(head),
    }


def describe_model(path: str | Path, model: str, profile: str, *, root: Path | None = None) -> dict[str, Any]:
    """Describe a folder of weights from the headers of its safetensors files; neither the weights nor torch are loaded.

    `parameters` counts the numbers stored, so a tied matrix counts once. `md5` is the one DVC records for the folder.

    Returns:
        {model, profile, path (from the root), parameters, bytes (of all files), md5}.

    Raises:
        CatalogError: no safetensors file in the folder, a broken one, or a folder outside the project.
    """
    path = Path(path)
    place = _relative(path, root)
    files = sorted(file for file in path.rglob("*") if file.is_file())
    weights = [file for file in files if file.suffix == ".safetensors"]
    if not weights:
        raise CatalogError(f"{path} holds no .safetensors file; run the stage that makes it.")
    listing = [{"md5": io.md5(file), "relpath": file.relative_to(path).as_posix()} for file in files]
    listing.sort(key=lambda entry: entry["relpath"])
    return {
        "model": model,
        "profile": profile,
        "path": place,
        "parameters": sum(map(_count_parameters, weights)),
        "bytes": sum(file.stat().st_size for file in files),
        "md5": hashlib.md5(json.dumps(listing, sort_keys=True).encode(), usedforsecurity=False).hexdigest() + ".dir",
    }


def _relative(path: Path, root: Path | None) -> str:
    """`path` from the project's root, with forward slashes."""
    base = Path(os.path.abspath(root or params.ROOT))
    if not path.exists():
        raise CatalogError(f"{path} does not exist; run the stage that makes it.")
    try:
        # Not resolved: DVC may link a file to its cache, and the project's path is the one that counts.
        return Path(os.path.abspath(path)).relative_to(base).as_posix()
    except ValueError:
        raise CatalogError(f"{path} lies outside {base}; a stage describes only the project's own files.") from None


def _count_parameters(path: Path) -> int:
    """Numbers stored in a safetensors file: 8 bytes with the header's length, the header as JSON, then the numbers."""
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = io.parse_json(file.read(min(length, size)).decode("utf-8"))
        tensors = [entry for name, entry in header.items() if name != "__metadata__"]
        if 8 + length + max((entry["data_offsets"][1] for entry in tensors), default=0) != size:
            raise ValueError("the file ends before or after its last tensor")
        return sum(math.prod(entry["shape"]) for entry in tensors)
    except (CatalogError, struct.error, ValueError, KeyError, TypeError, AttributeError):
        raise CatalogError(f"{path} is not a whole safetensors file; run the stage that makes it again.") from None


def _cut(value: Any, longest: int = 300) -> Any:
    """Shorten long texts and blank out numbers JSON has no form for, at any depth."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return value if len(value) <= longest else value[: longest - 1] + "…"
    if isinstance(value, list):
        return [_cut(item) for item in value]
    if isinstance(value, dict):
        return {key: _cut(item) for key, item in value.items()}
    return value
