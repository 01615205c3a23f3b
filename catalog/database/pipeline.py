"""Read the pipeline: the stages of `dvc.yaml` with their templates filled in, and what `dvc.lock` records of them.

Reading the two files takes milliseconds where importing DVC takes a second, and needs no repository. The forms that
this project's `dvc.yaml` uses are understood: plain stages and `foreach`, with `${key}` from `params.yaml`, `${item}`
and `${key}` of the loop, and parameters of other files as `file: [key, …]`.
"""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from catalog.base import params
from catalog.base.errors import CatalogError
from catalog.base.yaml_text import parse_yaml

_PLACEHOLDER = re.compile(r"\$\{\s*([^}]+?)\s*\}")
_OUTPUTS = ("outs", "metrics", "plots")


def stages(root: Path | None = None) -> list[dict[str, Any]]:
    """Return the stages of `dvc.yaml`, in its order; an empty list where there is no such file.

    Returns:
        [{stage, desc, cmd, deps, outs, params, cached}]: `deps` and `outs` are sorted paths from the root, `outs` with
        metrics and plots, `params` are keys of `params.yaml`, those of another file written `file:key`, `cached` the
        outs that lie in DVC's cache and not in git.

    Raises:
        CatalogError: a file that is not YAML, a stage without `cmd`, or a `${…}` that names nothing.
    """
    root = Path(root or params.ROOT)
    path = root / "dvc.yaml"
    if not path.is_file():
        return []
    try:
        content = parse_yaml(path.read_text(encoding="utf-8")) or {}
    except (CatalogError, UnicodeDecodeError) as error:
        raise CatalogError(f"dvc.yaml cannot be read, correct it: {' '.join(str(error).split())}") from None
    blocks = (content.get("stages") or {}) if isinstance(content, Mapping) else None
    if not isinstance(blocks, Mapping):
        raise CatalogError("dvc.yaml must be a mapping with the key stages, which maps each stage's name to its block; correct it.")
    values = params.load_shared(root)  # as DVC, which fills in the values of no other file
    found = []
    for name, block in blocks.items():
        if not isinstance(block, Mapping):
            raise CatalogError(f"dvc.yaml: stage {name} must be a mapping.")
        if "foreach" not in block:
            found.append(_stage(name, _fill(block, values, name)))
            continue
        items = _fill(block["foreach"], values, name)
        if not isinstance(items, (Mapping, list, type(None))):
            raise CatalogError(f"dvc.yaml: stage {name} has a foreach of {items!r}; it must be a list or a mapping.")
        pairs = items.items() if isinstance(items, Mapping) else ((str(item), item) for item in items or [])
        for key, item in pairs:
            filled = _fill(block.get("do"), values | {"key": key, "item": item}, f"{name}@{key}")
            found.append(_stage(f"{name}@{key}", filled))
    return found


def lock(root: Path | None = None) -> dict[str, dict[str, Any]]:
    """Return what `dvc.lock` records: stage -> {cmd, dep: {path: (md5, bytes)}, out: likewise}; {} without the file.

    Raises:
        CatalogError: the file is not YAML or not what DVC writes.
    """
    path = Path(root or params.ROOT) / "dvc.lock"
    if not path.is_file():
        return {}
    try:
        # The base loader keeps every scalar a text: a hash of digits alone stays a hash.
        loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=loader) or {}
        return {
            name: {
                "cmd": entry.get("cmd"),
                "dep": _hashes(entry.get("deps") or []),
                "out": _hashes(entry.get("outs") or []),
            }
            for name, entry in (content.get("stages") or {}).items()
        }
    # DVC alone writes this file: what has another form was damaged, and the remedy is one.
    except (yaml.YAMLError, UnicodeDecodeError, AttributeError, KeyError, TypeError, ValueError):
        raise CatalogError("dvc.lock cannot be read; restore it with `git checkout dvc.lock`, then `dvc repro`.") from None


def owner(stage: str, systems: Iterable[str]) -> str | None:
    """Return the system a stage belongs to, by its name `<system>` or `<system>_<step>`; None for a shared stage."""
    matching = [name for name in systems if stage == name or stage.startswith(f"{name}_")]
    return max(matching, key=len, default=None)


def _stage(name: str, block: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of one filled-in block."""
    if not isinstance(block, Mapping) or not block.get("cmd"):
        raise CatalogError(f"dvc.yaml: stage {name} has no cmd.")
    for key in ("deps", *_OUTPUTS, "params"):
        entries = block.get(key) or []
        if not isinstance(entries, list) or not all(isinstance(entry, (str, Mapping)) for entry in entries):
            raise CatalogError(f"dvc.yaml: stage {name}: {key} must be a list of paths or keys.")
    outs = {path: flags for kind in _OUTPUTS for path, flags in _paths(block.get(kind) or [])}
    cmd = block["cmd"]
    return {
        "stage": name,
        "desc": block.get("desc"),
        "cmd": " && ".join(cmd) if isinstance(cmd, list) else cmd,
        "deps": sorted(path for path, _ in _paths(block.get("deps") or [])),
        "outs": sorted(outs),
        "params": sorted(_param_keys(block.get("params") or [])),
        "cached": sorted(path for path, flags in outs.items() if flags.get("cache", True)),
    }


def _paths(entries: list[Any]) -> Iterable[tuple[str, Mapping[str, Any]]]:
    """Each path of a list of `path` or `{path: {flag: value}}`."""
    for entry in entries:
        if isinstance(entry, Mapping):
            yield from ((path, flags or {}) for path, flags in entry.items())
        else:
            yield entry, {}


def _param_keys(entries: list[Any]) -> Iterable[str]:
    """Keys of `params.yaml`; those of another file are written `file:key`, a whole file `file`."""
    for entry in entries:
        if not isinstance(entry, Mapping):
            yield entry
            continue
        for file, keys in entry.items():
            yield from ((key if file == "params.yaml" else f"{file}:{key}") for key in keys or [])
            if not keys:
                yield file


def _hashes(entries: list[Mapping[str, str]]) -> dict[str, tuple[str | None, int | None]]:
    return {entry["path"]: (entry.get("md5"), int(entry["size"]) if "size" in entry else None) for entry in entries}


def _fill(node: Any, values: Mapping[str, Any], stage: str) -> Any:
    """Replace every `${…}` below `node`; one that is a whole text keeps the type of its value."""
    if isinstance(node, Mapping):
        return {_fill(key, values, stage): _fill(value, values, stage) for key, value in node.items()}
    if isinstance(node, list):
        return [_fill(value, values, stage) for value in node]
    if not isinstance(node, str):
        return node
    whole = _PLACEHOLDER.fullmatch(node)
    if whole:
        return _lookup(whole[1], values, stage)
    return _PLACEHOLDER.sub(lambda match: _as_text(_lookup(match[1], values, stage)), node)


def _lookup(name: str, values: Mapping[str, Any], stage: str) -> Any:
    """The value of a dotted name."""
    value: Any = values
    for part in name.split("."):
        if not isinstance(value, Mapping) or part not in value:
            raise CatalogError(f"dvc.yaml: stage {stage} uses ${{{name}}}, which is not in params.yaml; declare it there.")
        value = value[part]
    return value


def _as_text(value: Any) -> str:
    """A scalar the way DVC writes it into a text: booleans and null as in YAML."""
    return value if isinstance(value, str) else json.dumps(value)
