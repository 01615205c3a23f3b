"""Read `params.yaml` and turn one profile of one system into a frozen dataclass.

A system declares its parameters twice: as a block of `params.yaml` with `small:` and `full:`, where each value has a
comment, and as a frozen dataclass in `method.py` or the stage, where each field has a type. The two must agree to the
letter, so a misspelt key stops the stage in its first second and never falls back to a default.
"""

import dataclasses
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from catalog.errors import CatalogError

ROOT = Path(__file__).resolve().parent.parent

T = TypeVar("T")


def load(root: Path = ROOT) -> dict[str, Any]:
    """Return the whole of `<root>/params.yaml` as plain dicts, lists and scalars.

    The reader is the one DVC uses (YAML 1.2), so that `1e-4` is a float and `no` a string in both.

    Raises:
        CatalogError: the file is absent, is not YAML, or gives a key twice.
    """
    path = Path(root) / "params.yaml"
    try:
        with path.open(encoding="utf-8") as file:
            params = YAML(typ="safe").load(file)
    except FileNotFoundError:
        raise CatalogError(f"There is no params.yaml in {path.parent}; run from the project's root.") from None
    except (YAMLError, UnicodeDecodeError) as error:
        raise CatalogError(f"params.yaml cannot be read, correct it: {' '.join(str(error).split())}") from None
    if not isinstance(params, dict):
        raise CatalogError("params.yaml must be a mapping of keys to values.")
    return params


def profile_params(cls: type[T], system: str, profile: str, root: Path = ROOT) -> T:
    """Build the dataclass `cls` from `params[system][profile]`, plus the top-level `seed` when `cls` has that field.

    Field types are checked: `int`, `float` (an integer is taken), `str`, `bool`, `None`, `Literal`, unions,
    `list[...]`, `tuple[...]`, `dict[...]`, `Any` and nested dataclasses. Lists become tuples, also inside untyped
    values.

    Args:
        cls: a dataclass; every field but `seed` must be given in the block, whether or not it has a default.
        system: key of the system in `params.yaml`.
        profile: `small` or `full`.
        root: folder of `params.yaml`.

    Raises:
        CatalogError: an unknown system, profile or key, a missing key, or a value of another type.
    """
    params = load(root)
    block = params.get(system)
    if not isinstance(block, Mapping):
        raise CatalogError(f"params.yaml has no block {system!r}; add one with the keys small and full.")
    if not isinstance(block.get(profile), Mapping):
        raise CatalogError(f"params.yaml has no profile {profile!r} for {system}; choose one of {', '.join(block)}.")
    values = dict(block[profile])
    if "seed" in {field.name for field in dataclasses.fields(cls)} and "seed" not in values:
        if "seed" not in params:
            raise CatalogError(f"params.yaml has no top-level key 'seed', which {system} needs.")
        values["seed"] = params["seed"]
    return _build(cls, values, f"{system}.{profile}")


def _build(cls: type[T], values: Mapping[str, Any], where: str) -> T:
    """Make `cls` from exactly its own keys. `where` is the dotted place in `params.yaml`, for messages."""
    names = [field.name for field in dataclasses.fields(cls)]
    unknown = [key for key in values if key not in names]
    missing = [name for name in names if name not in values]
    if unknown or missing:
        said = [f"unknown {', '.join(map(repr, unknown))}"] if unknown else []
        said += [f"missing {', '.join(map(repr, missing))}"] if missing else []
        raise CatalogError(f"params.yaml, {where}: {' and '.join(said)}; the keys are {', '.join(names)}.")
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
    raise CatalogError(f"params.yaml, {where} is {value!r} but must be of type {expected}.")


def _convert_items(value: list, args: tuple, kind: type, where: str) -> tuple:
    """Convert a YAML list: one type for all items (`tuple[int, ...]`) or one for each (`tuple[int, str]`)."""
    if kind is tuple and args and args[-1] is not Ellipsis:
        if len(value) != len(args):
            raise CatalogError(f"params.yaml, {where} has {len(value)} items but must have {len(args)}.")
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
