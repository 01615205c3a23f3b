"""Gather the rows of the database's general tables from the cards, the parameters, the pipeline and `reports/`.

Nothing is read from `data/` or `models/` but the cards, so a fresh clone, which has no built files, gives the same
rows.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from catalog.base import io, params
from catalog.base.errors import CatalogError
from catalog.database import pipeline, queries
from catalog.report.metrics import metrics as shared_metrics

Row = dict[str, Any]
Cards = dict[str, list[Row]]

_PROFILES = ("small", "full", "base")  # folders of built files; `base` is a converted base model
_RUN_COLUMNS = ("started", "seconds", "device", "dtype", "peak_memory_mb", "tokens_per_second")


def rows(root: Path, cards: Cards) -> dict[str, list[Row]]:
    """Return table -> rows, in the order in which they are inserted; a row's keys are columns of `schema.sql`.

    Args:
        root: the project's folder.
        cards: what `cards.load_all(root)` returned.

    Raises:
        CatalogError: a file that cannot be read, or reports of a system without a card.
    """
    declared = params.load(root)
    stages, lock = pipeline.stages(root), pipeline.lock(root)
    names = [card["name"] for card in cards["systems"]]
    runs = reports(root, names)
    tables = _from_cards(cards)
    tables["stages"] = [_stage_row(stage, lock, names) for stage in stages]
    tables["stage_files"] = [row for stage in stages for row in _stage_files(stage, lock)]
    tables["uses"] = _uses(cards["systems"], tables["stages"])
    tables |= _files(cards, runs, lock)
    tables["runs"] = [_run_row(system, profile, folder) for system, profile, folder in runs]
    tables["plots"] = [row for run in runs for row in _plots(root, *run)]
    tables["params"] = [
        {"system": name, "profile": profile, "key": key, "value": json.dumps(value, ensure_ascii=False)}
        for name in names
        for profile, block in sorted(_profiles(declared.get(name)).items())
        for key, value in _flatten(block)
    ]
    tables["queries"] = queries.read(root, names)
    return tables


def reports(root: Path, systems: list[str]) -> list[tuple[str, str, Path]]:
    """Return (system, profile, folder) for each `reports/<system>/<profile>` with results, by system and profile.

    Raises:
        CatalogError: results of a system without a card.
    """
    found = []
    for path in sorted((root / "reports").glob("*/*/results.parquet")):
        system, profile = path.parent.parent.name, path.parent.name
        if system not in systems:
            raise CatalogError(f"reports/{system} has results but there is no card stages/{system}/README.md; write it or delete them.")
        found.append((system, profile, path.parent))
    return found


def _from_cards(cards: Cards) -> dict[str, list[Row]]:
    """Rows of systems, datasets, models, metrics and reported."""
    systems = [
        {
            "system": card["name"],
            "paper_title": card["paper"]["title"],
            "sort_order": card["order"],
            "card": card["text"],
            **{key: card["paper"][key] for key in ("arxiv", "venue", "repository")},
            **{key: card[key] for key in ("title", "summary", "task", "main_claim")},
        }
        for card in cards["systems"]
    ]
    datasets = [
        {
            "dataset": card["name"],
            "language": card["language"] if isinstance(card["language"], str) else ", ".join(card["language"]),
            "card": card["text"],
            **{key: card[key] for key in ("pretty_name", "summary", "license", "source", "made_by")},
        }
        for card in cards["datasets"]
    ]
    models = [
        {
            "model": card["name"],
            "card": card["text"],
            **{key: card[key] for key in ("summary", "license", "base_model", "kind", "parameters")},
        }
        for card in cards["models"]
    ]
    declared = {name: (None, entry) for name, entry in shared_metrics().items()}
    for card in cards["systems"]:
        declared |= {name: (card["name"], entry) for name, entry in card["metrics"].items() if name not in declared}
    metrics = [
        {
            "metric": name,
            "owner": system,
            "min_value": entry["range"][0],
            "max_value": entry["range"][1],
            **{key: entry[key] for key in ("display_name", "description", "unit", "lower_is_better")},
        }
        for name, (system, entry) in sorted(declared.items())
    ]
    reported = [
        {
            "system": card["name"],
            "where_printed": entry["where"],
            "note": entry.get("note"),
            **{key: entry[key] for key in ("id", "model", "dataset", "method", "metric", "value", "trust")},
        }
        for card in cards["systems"]
        for entry in card["ledger"]["reported"]
    ]
    return {"systems": systems, "datasets": datasets, "models": models, "metrics": metrics, "reported": reported}


def _stage_row(stage: Row, lock: Mapping[str, Any], systems: list[str]) -> Row:
    """The leaf counts as recorded: DVC writes its entry only after it has written this database."""
    recorded = stage["stage"] == "catalog" or lock.get(stage["stage"], {}).get("cmd") == stage["cmd"]
    fields = {key: stage[key] for key in ("stage", "desc", "cmd", "deps", "outs", "params")}
    return fields | {"system": pipeline.owner(stage["stage"], systems), "in_lock": recorded}


def _stage_files(stage: Row, lock: Mapping[str, Any]) -> list[Row]:
    """Paths of a stage with their hashes, but for the leaf's, which would make this database depend on itself."""
    recorded = {} if stage["stage"] == "catalog" else lock.get(stage["stage"], {})
    found = []
    for kind in ("dep", "out"):
        for path in stage[f"{kind}s"]:
            md5, size = recorded.get(kind, {}).get(path, (None, None))
            found.append({"stage": stage["stage"], "kind": kind, "path": path, "md5": md5, "bytes": size})
    return found


def _uses(systems: list[Row], stages: list[Row]) -> list[Row]:
    """What a card names and what the system's stages read or make, of the names that the card gives."""
    found = []
    for card in systems:
        for kind, folder in (("dataset", "data"), ("model", "models")):
            for name in card[f"{kind}s"]:
                using = [
                    stage["stage"]
                    for stage in stages
                    if stage["system"] == card["name"]
                    and any(path.startswith(f"{folder}/{name}/") for path in stage["deps"] + stage["outs"])
                ]
                found += [{"system": card["name"], "kind": kind, "name": name, "stage": stage} for stage in using or [None]]
    return found


def _files(cards: Cards, runs: list[tuple[str, str, Path]], lock: Mapping[str, Any]) -> dict[str, list[Row]]:
    """Rows of dataset_files and model_files: what evaluations described, and outputs in `dvc.lock` none described."""
    recorded = {path: entry for stage in lock.values() for path, entry in stage["out"].items()}
    tables = {}
    for kind, folder in (("dataset", "data"), ("model", "models")):
        known = {card["name"] for card in cards[f"{kind}s"]}
        found: dict[tuple[str, str, str], Row] = {}
        for path in (report / f"{kind}s.json" for _, _, report in runs):
            for entry in _descriptions(path, kind):
                key = (entry[kind], entry["profile"], entry["path"])
                # Two systems may describe one file; the description of the file that the lock records counts.
                if key not in found or recorded.get(entry["path"], (None,))[0] == entry["md5"]:
                    found[key] = _described(entry)
        described = [path for _, _, path in found]
        for path, (md5, size) in recorded.items():
            parts = path.split("/")
            if parts[0] != folder or len(parts) < 3 or parts[1] not in known or parts[2] not in _PROFILES:
                continue
            if not any(_overlap(path, other) for other in described):
                key = (parts[1], parts[2], path)
                found[key] = {kind: parts[1], "profile": parts[2], "path": path, "md5": md5, "bytes": size}
        tables[f"{kind}_files"] = [found[key] for key in sorted(found)]
    return tables


def json_of(path: Path, kind: type, what: str, absent: Any = None) -> Any:
    """The content of a JSON file of `reports/<system>/<profile>`, which must be of one type.

    Args:
        path: the file, anywhere below the folder of the profile.
        kind: type of the content.
        what: the same in words.
        absent: what to return where there is no such file.

    Raises:
        CatalogError: a folder, no JSON, or content of another type.
    """
    if absent is not None and not path.exists():
        return absent
    where = path.as_posix().rpartition("/reports/")[2]
    again = f"run `dvc repro -f {where.split('/')[0]}`"
    if path.is_dir():
        raise CatalogError(f"reports/{where} is a folder; delete it and {again}.")
    content = io.read_json(path)
    if not isinstance(content, kind):
        raise CatalogError(f"reports/{where} must be {what}; {again}.")
    return content


def _descriptions(path: Path, kind: str) -> list[Row]:
    """What an evaluation described in `datasets.json` or `models.json`; nothing where there is no such file."""
    what = f"a list of mappings with the texts {kind}, profile, path and md5"
    found = json_of(path, list, what, [])
    for entry in found:
        if not isinstance(entry, dict) or not all(isinstance(entry.get(key), str) for key in (kind, "profile", "path", "md5")):
            json_of(path, type(None), what)
    return found


def _described(entry: Row) -> Row:
    """A description as a row: the first rows as JSON."""
    return entry | {"head": json.dumps(entry["head"], ensure_ascii=False)} if "head" in entry else entry


def _overlap(path: str, other: str) -> bool:
    """Whether two paths are one, or one lies in the other."""
    return path == other or path.startswith(f"{other}/") or other.startswith(f"{path}/")


def _run_row(system: str, profile: str, folder: Path) -> Row:
    """A row of runs; all but the name is NULL when `run.json` is absent."""
    info = json_of(folder / "run.json", dict, "a mapping of keys to values", {})
    row = {"system": system, "profile": profile} | {key: info.pop(key, None) for key in _RUN_COLUMNS}
    row["versions"] = json.dumps(info.pop("versions", {}), sort_keys=True)
    return row | {"info": json.dumps(info, sort_keys=True, ensure_ascii=False)}


def _plots(root: Path, system: str, profile: str, folder: Path) -> list[Row]:
    """Rows of plots: Vega-Lite JSON and PNG files under `plots/`, by name."""
    found = []
    for path in sorted((folder / "plots").glob("*")):
        kind = {".json": "vega", ".png": "png"}.get(path.suffix)
        if kind is None:
            continue
        if not path.is_file():
            raise CatalogError(f"{path.relative_to(root).as_posix()} is a folder; delete it and run `dvc repro -f {system}`.")
        title = json_of(path, dict, "a Vega-Lite chart, which is a mapping").get("title") if kind == "vega" else None
        if isinstance(title, Mapping):
            title = title.get("text")
        lines = title if isinstance(title, list) else [title or ""]
        if not all(isinstance(line, str) for line in lines):
            where = path.relative_to(root).as_posix()
            raise CatalogError(f"{where}: the title must be a text or a list of texts; run `dvc repro -f {system}`.")
        title = " ".join(lines)
        row = {"system": system, "profile": profile, "name": path.stem, "kind": kind}
        row["title"] = title or path.stem.replace("_", " ").capitalize()
        found.append(row | {"path": path.relative_to(root).as_posix()})
    return found


def _profiles(block: Any) -> dict[str, Mapping[str, Any]]:
    """The profiles of a system's `params.yaml`."""
    return {key: value for key, value in (block or {}).items() if isinstance(value, Mapping)}


def _flatten(block: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Nested keys joined by dots, in the order of the file; lists stay whole."""
    found = []
    for key, value in block.items():
        name = f"{prefix}{key}"
        found += _flatten(value, f"{name}.") if isinstance(value, Mapping) and value else [(name, value)]
    return found
