"""Read and check the cards: the README.md of each system, data set and model, YAML front matter and then Markdown.

A card is the one place where a person writes what a thing is: the table of systems, the database, the exported
Croissant files and the model cards are all made from it. So each key is checked, and a message names the card and the
key.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from catalog.base import params
from catalog.base.errors import CatalogError
from catalog.base.yaml_text import parse_yaml
from catalog.database import ledger
from catalog.report.metrics import metrics
from catalog.report.names import NAME
from catalog.report.tables import declared

RESERVED = ("catalog", "main", "memory", "temp", "system", "information_schema", "pg_catalog")  # names in SQL
KINDS = ("base", "lora", "edited", "trained")

_NUMBER, _TEXT, _TEXTS, _LANGUAGE = (int, float), (str,), (list,), (str, list)
_OPTIONAL_TEXT, _OPTIONAL_INT = (str, type(None)), (int, type(None))
_PAPER = {"title": _TEXT, "arxiv": _OPTIONAL_TEXT, "venue": _OPTIONAL_TEXT, "repository": _OPTIONAL_TEXT}
_SYSTEM = {
    "name": _TEXT,
    "title": _TEXT,
    "paper": (dict,),
    "summary": _TEXT,
    "task": _TEXT,
    "datasets": _TEXTS,
    "models": _TEXTS,
}
_SYSTEM |= {"main_claim": _TEXT, "order": (int,)}
_DATASET = {"name": _TEXT, "pretty_name": _TEXT, "summary": _TEXT, "license": _TEXT, "language": _LANGUAGE}
_DATASET |= {
    "task_categories": _TEXTS,
    "size_categories": _TEXTS,
    "source": _TEXT,
    "made_by": _TEXT,
    "system": _OPTIONAL_TEXT,
}
_MODEL = {"name": _TEXT, "summary": _TEXT, "license": _TEXT, "base_model": _OPTIONAL_TEXT, "library_name": _TEXT}
_MODEL |= {"parameters": _OPTIONAL_INT, "kind": _TEXT, "system": _OPTIONAL_TEXT}
_SYSTEM_MORE = {"sensitive": (bool,)}
_DATASET_MORE = {"sensitive": (bool,), "columns": (dict,), "homepage": _TEXT, "citation": _TEXT}
_MODEL_MORE = {"pretty_name": _TEXT, "language": _LANGUAGE, "tags": _TEXTS, "pipeline_tag": _TEXT, "homepage": _TEXT}


def read_card(path: str | Path) -> tuple[dict[str, Any], str]:
    """Split a card into its front matter and the Markdown below it.

    Raises:
        CatalogError: the file is absent, has no front matter between two lines `---`, or it is not a YAML mapping.
    """
    try:
        return parse_card(_text(Path(path)), str(path))
    except FileNotFoundError:
        raise CatalogError(f"{path} does not exist; write the card.") from None


def _text(path: Path) -> str:
    """The text of a card, which may begin with a byte-order mark."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise CatalogError(f"{path} is not UTF-8 (byte {error.start}); save it in that encoding.") from None
    except IsADirectoryError:
        raise CatalogError(f"{path} is a folder; write the card as a file of that name.") from None


def parse_card(text: str, where: str) -> tuple[dict[str, Any], str]:
    """Like `read_card`, for the text of a card, e.g. the column `card` of a table. `where` names it in messages."""
    match = re.match(r"---[ \t]*\n(.*?\n)??---[ \t]*(?:\n|\Z)(.*)\Z", text, re.DOTALL)
    if match is None:
        first, *others = [line.rstrip() for line in text.splitlines()] or [""]
        said = "it has no such line at its beginning" if first != "---" else "the second one is missing"
        if first == "" and "---" in others:
            said = "its first line is blank"
        elif first == "---" and "..." in others:
            said = "it ends the front matter with `...`; write `---`"
        raise CatalogError(f"{where} must begin with YAML front matter between two lines of three dashes; {said}.")
    try:
        front = parse_yaml(match[1] or "")
    except CatalogError as error:
        raise CatalogError(f"{where}: the front matter is not YAML: {error}") from None
    if not isinstance(front, dict):
        raise CatalogError(f"{where}: the front matter must be a mapping of keys to values.")
    return front, match[2].strip() + "\n"


def systems(root: Path | None = None) -> list[dict[str, Any]]:
    """Return the checked cards of `stages/*/README.md`, by `order` and name; folders that begin with `_` are left out.

    Each is its front matter plus `path` (from the root), `text` (the whole card), `body` (the Markdown), and what stands beside it:
    `ledger` (`ledger.read`), `tables` (`tables.declared`) and `metrics` (shared and own).

    Raises:
        CatalogError: an unknown, missing or mistyped key, a name that is not the folder's, a `main_claim` that is no claim of the paper,
            a metric that two systems declare, or a fault of the files beside the card.
    """
    cards = _load(root or params.ROOT, "stages", _SYSTEM, _SYSTEM_MORE)
    for card in cards:
        if card["name"] in RESERVED:
            raise CatalogError(f"{card['path']}: name {card['name']!r} means something else in SQL; choose another.")
        _check_system(card, root or params.ROOT)
    _check_apart(cards)
    return sorted(cards, key=lambda card: (card["order"], card["name"]))


def datasets(root: Path | None = None) -> list[dict[str, Any]]:
    """Return the checked cards of `data/*/README.md`, by name, in the form of `systems`."""
    cards = _load(root or params.ROOT, "data", _DATASET, _DATASET_MORE)
    for card in cards:
        _check_texts(card, "language", "task_categories", "size_categories")
        if card["source"] not in ("authored", "generated") and not re.match(r"asset: \w+\Z", card["source"]):
            raise CatalogError(f"{card['path']}: source must be authored, generated or 'asset: <name>', not {card['source']!r}.")
        _check_descriptions(card.get("columns", {}), card["path"], "columns")
    return cards


def models(root: Path | None = None) -> list[dict[str, Any]]:
    """Return the checked cards of `models/*/README.md`, by name, in the form of `systems`."""
    cards = _load(root or params.ROOT, "models", _MODEL, _MODEL_MORE)
    for card in cards:
        _check_texts(card, "language", "tags")
        if card["kind"] not in KINDS:
            raise CatalogError(f"{card['path']}: kind is {card['kind']!r} but must be one of {', '.join(KINDS)}.")
    return cards


def load_all(root: Path | None = None) -> dict[str, list[dict[str, Any]]]:
    """Return {"systems", "datasets", "models"} and check that cards name only each other.

    Raises:
        CatalogError: a system uses a data set or model without a card, or a card belongs to a system without one.
    """
    found = {"systems": systems(root), "datasets": datasets(root), "models": models(root)}
    known = {kind: {card["name"] for card in cards} for kind, cards in found.items()}
    for card in found["systems"]:
        for kind, folder in (("datasets", "data"), ("models", "models")):
            for name in card[kind]:
                if name not in known[kind]:
                    raise CatalogError(f"{card['path']}: {kind} names {name!r}, which has no card {folder}/{name}/README.md.")
    for card in found["datasets"] + found["models"]:
        if card["system"] is not None and card["system"] not in known["systems"]:
            raise CatalogError(f"{card['path']}: system {card['system']!r} has no card stages/{card['system']}/README.md.")
    return found


def _load(root: Path, folder: str, required: Mapping[str, tuple], optional: Mapping[str, tuple]) -> list[dict[str, Any]]:
    """Read `<root>/<folder>/*/README.md`, sorted by name, with the keys and their types checked."""
    cards = []
    for path in sorted(Path(root, folder).glob("[!_.]*/README.md")):
        where = path.relative_to(root).as_posix()
        text = _text(path)
        front, body = parse_card(text, where)
        _check_keys(front, required, optional, where)
        if front["name"] != path.parent.name or not NAME.match(front["name"]):
            raise CatalogError(f"{where}: name is {front['name']!r} but must be that of its folder, in lower case, digits and _.")
        cards.append(front | {"path": where, "text": text, "body": body})
    return cards


def _check_keys(entry: Any, required: Mapping[str, tuple], optional: Mapping[str, tuple], where: str, key: str = "") -> None:
    """Check the keys of one mapping of a card and the types of their values; `key` is where in the card it stands."""
    if not isinstance(entry, dict):
        raise CatalogError(f"{where}: {key} must be a mapping with the keys {', '.join(required)}.")
    prefix = f"{key}." if key else ""
    allowed = {**required, **optional}
    for name in required:
        if name not in entry:
            raise CatalogError(f"{where}: the key {prefix}{name} is missing.")
    for name, value in entry.items():
        if name not in allowed:
            raise CatalogError(f"{where}: the key {prefix}{name} is unknown; the keys are {', '.join(allowed)}.")
        kinds = allowed[name]
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            wanted = " or ".join("null" if kind is type(None) else kind.__name__ for kind in kinds)
            raise CatalogError(f"{where}: {prefix}{name} is {value!r} but must be of type {wanted}; write it so or in quotes.")
        if isinstance(value, str) and not value.strip():
            raise CatalogError(f"{where}: {prefix}{name} is empty; write it, or null where that is allowed.")


def _check_system(card: dict[str, Any], root: Path) -> None:
    """Check what of a system's card refers to its other files, and add those: `ledger`, `tables`, `metrics`."""
    _check_keys(card["paper"], _PAPER, {}, card["path"], "paper")
    _check_texts(card, "datasets", "models")
    card["ledger"] = ledger.read(card["name"], root)
    card["tables"] = declared(card["name"], root)
    ledger.check_apart(card["ledger"], card["tables"])
    card["metrics"] = metrics(card["name"], root)
    main = next((claim for claim in card["ledger"]["claims"] if claim["id"] == card["main_claim"]), None)
    if main is None or main["by"] != "paper":
        raise CatalogError(
            f"{card['path']}: main_claim is {card['main_claim']!r}, which is no claim by the paper in {card['ledger']['path']}."
        )


def _check_apart(cards: list[dict[str, Any]]) -> None:
    """Check that no two systems declare the same metric for themselves."""
    owner: dict[str, str] = {}
    for card in cards:
        for name in set(card["metrics"]) - set(metrics()):
            if name in owner:
                raise CatalogError(
                    f"stages/{owner[name]}/metrics.yaml and stages/{card['name']}/metrics.yaml both declare {name}; "
                    "keep it in catalog/report/metrics.yaml."
                )
            owner[name] = card["name"]


def _check_texts(card: dict[str, Any], *keys: str) -> None:
    """Check that those of the keys that hold a list hold texts only."""
    for key in keys:
        value = card.get(key)
        if isinstance(value, list) and not all(isinstance(item, str) and item for item in value):
            raise CatalogError(f"{card['path']}: {key} must be a list of texts, not {value!r}.")


def _check_descriptions(entry: dict[str, Any], where: str, key: str) -> None:
    for name, value in entry.items():
        if not isinstance(value, str):
            raise CatalogError(f"{where}: {key}.{name} must be a text that describes the column.")
