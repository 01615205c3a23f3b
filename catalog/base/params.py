"""Read the parameters and turn one profile of one system into a frozen dataclass.

`params.yaml` has what systems share: the profile, the seed, assets, models. A system has a file of its own, so that a
stage parses no other system's. It declares its parameters twice: in `stages/<system>/params.yaml` under `small:` and
`full:`, where each value has a comment, and as a frozen dataclass in `settings.py`, where each field has a type. The two
must agree to the letter, so a misspelt key stops the stage in its first second and never falls back to a default.
"""

import dataclasses
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from catalog.base.errors import CatalogError
from catalog.base.yaml_text import parse_yaml

ROOT = Path(__file__).resolve().parents[2]
FILE = "params.yaml"
PROFILES = ("small", "full")

_DECLARATIONS = ("assets", "optional_assets", "models", "optional_models", "hub_models")

T = TypeVar("T")


def load(root: Path = ROOT) -> dict[str, Any]:
    """Return every parameter as plain dicts, lists and scalars: the keys of `params.yaml`, then system -> its file.

    Systems come in the order of their names. Folders of `stages/` that begin with `_` are no systems.

    Raises:
        CatalogError: as `load_shared`; a system's file cannot be read, or its name is a key of `params.yaml`.
    """
    found = load_shared(root)
    for path in sorted(Path(root).glob(f"stages/[!_]*/{FILE}")):
        system = path.parent.name
        if system in found:
            raise CatalogError(f"{FILE} has a key {system!r}, which is the name of a system; rename it.")
        found[system] = _read(Path(root), system_file(system))
    return found


def load_shared(root: Path = ROOT) -> dict[str, Any]:
    """Return `<root>/params.yaml` alone: what is no system's own.

    The reader is the one DVC uses (YAML 1.2), so that `1e-4` is a float and `no` a string in both.

    Raises:
        CatalogError: the file is absent, is not YAML, gives a key twice, or holds the block of a system.
    """
    if not (Path(root) / FILE).is_file():
        raise CatalogError(f"There is no {FILE} in {root}; run from the project's root.")
    found = _read(Path(root), FILE)
    for key, block in found.items():
        if key not in _DECLARATIONS and isinstance(block, Mapping) and block.keys() & set(PROFILES):
            raise CatalogError(f"{FILE} has the block of the system {key}; move what is under it to {system_file(key)}.")
    return found


def system_file(system: str) -> str:
    """Return the path, from the project's root, of the file with a system's parameters."""
    return f"stages/{system}/{FILE}"


def _read(root: Path, name: str) -> dict[str, Any]:
    """One file of parameters; `name` is its path from the root."""
    try:
        params = parse_yaml((root / name).read_text(encoding="utf-8"))
    except (CatalogError, UnicodeDecodeError) as error:
        raise CatalogError(f"{name} cannot be read, correct it: {' '.join(str(error).split())}") from None
    if not isinstance(params, dict):
        raise CatalogError(f"{name} must be a mapping of keys to values.")
    return params


def profile_params(cls: type[T], system: str, profile: str, root: Path = ROOT) -> T:
    """Build the dataclass `cls` from one profile of a system, plus the `seed` of `params.yaml` when `cls` has that field.

    Only the two files are read, no other system's.

    Field types are checked: `int`, `float` (an integer is taken), `str`, `bool`, `None`, `Literal`, unions,
    `list[...]`, `tuple[...]`, `dict[...]`, `Any` and nested dataclasses. Lists become tuples, also inside untyped
    values.

    Args:
        cls: a dataclass; every field but `seed` must be given under the profile, whether or not it has a default.
        system: name of the system: its parameters lie in `stages/<system>/params.yaml`.
        profile: `small` or `full`.
        root: folder of the project.

    Raises:
        CatalogError: an unknown system, profile or key, a missing key, or a value of another type.
    """
    shared, name = load_shared(root), system_file(system)
    if not (Path(root) / name).is_file():
        raise CatalogError(f"There is no {name}; write it with the keys {' and '.join(PROFILES)}.")
    block = _read(Path(root), name)
    if not isinstance(block.get(profile), Mapping):
        raise CatalogError(f"{name} has no profile {profile!r}; choose one of {', '.join(block)}.")
    values = dict(block[profile])
    if "seed" in {field.name for field in dataclasses.fields(cls)} and "seed" not in values:
        if "seed" not in shared:
            raise CatalogError(f"{FILE} has no key 'seed', which {system} needs; add it.")
        values["seed"] = _convert(shared["seed"], typing.get_type_hints(cls)["seed"], f"{FILE}, seed")
    return _build(cls, values, f"{name}, {profile}")


def _build(cls: type[T], values: Mapping[str, Any], where: str) -> T:
    """Make `cls` from exactly its own keys. `where` is the file and the dotted place in it, for messages."""
    names = [field.name for field in dataclasses.fields(cls)]
    unknown = [key for key in values if key not in names]
    missing = [name for name in names if name not in values]
    if unknown or missing:
        said = [f"unknown {', '.join(map(repr, unknown))}"] if unknown else []
        said += [f"missing {', '.join(map(repr, missing))}"] if missing else []
        raise CatalogError(f"{where}: {' and '.join(said)}; the keys are {', '.join(names)}.")
    hints = typing.get_type_hints(cls)
    return cls(**{name: _convert(values[name], hints[name], f"{where}.{name}") for name in names})


def _convert(value: Any, hint: Any, where: str) -> Any:
    """Return `value` as the type `hint`, lists as tuples; a `CatalogError` naming `where` if it is of another type."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return _freeze(value)
    if origin in (typing.Union, types.UnionType):
        for option in args:
            try:
                return _convert(value, option, where)
            except CatalogError:
                continue
    elif origin is typing.Literal:
        if any(value == option and type(value) is type(option) for option in args):
            return value
    elif dataclasses.is_dataclass(hint):
        if isinstance(value, Mapping):
            return _build(hint, value, where)
    elif hint in (list, tuple) or origin in (list, tuple):
        if isinstance(value, list):
            return _convert_items(value, args, origin or hint, where)
    elif hint in (dict, Mapping) or origin in (dict, Mapping):
        if isinstance(value, Mapping):
            kind = args[1] if len(args) == 2 else Any
            return {key: _convert(item, kind, f"{where}.{key}") for key, item in value.items()}
    elif hint in (None, type(None)):
        if value is None:
            return None
    elif hint is float:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
    elif hint is int:
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    elif isinstance(value, hint):
        return value
    expected = hint.__name__ if isinstance(hint, type) and not args else str(hint).replace("typing.", "")
    raise CatalogError(f"{where} is {value!r} but must be of type {expected}.")


def _convert_items(value: list, args: tuple, kind: type, where: str) -> tuple:
    """Convert a YAML list: one type for all items (`tuple[int, ...]`) or one for each (`tuple[int, str]`)."""
    if kind is tuple and args and args[-1] is not Ellipsis:
        if len(value) != len(args):
            raise CatalogError(f"{where} has {len(value)} items but must have {len(args)}.")
        kinds = args
    else:
        kinds = [args[0] if args else Any] * len(value)
    return tuple(_convert(item, item_kind, f"{where}[{i}]") for i, (item, item_kind) in enumerate(zip(value, kinds)))


def _freeze(value: Any) -> Any:
    """Lists to tuples at every depth."""
    if isinstance(value, list):
        return tuple(_freeze(item) for item in value)
    if isinstance(value, Mapping):
        return {key: _freeze(item) for key, item in value.items()}
    return value
