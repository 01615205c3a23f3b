"""Fetch one declared asset to `data/assets/<asset>/`."""

from collections.abc import Iterator
from typing import Any

from catalog.assets.fetch import fetch
from catalog.base.errors import CatalogError, run
from catalog.base.params import ROOT, load, load_shared, system_file


def used_by(params: dict[str, Any], asset: str) -> list[str]:
    """Parameters that name the asset or a model made from it: what to change to do without it. Those of a system as `file:key`."""
    models = {name for name, spec in (params.get("models") or {}).items() if spec.get("asset") == asset}
    keys = [f"models.{name}" for name in models]
    declarations = {"assets", "optional_assets", "models", "optional_models", "hub_models"}
    for block, value in params.items():
        if block not in declarations:
            found = [key.removeprefix(f"{block}.") for key, text in _leaves(value, block) if text == asset or text in models]
            keys += [f"{system_file(block)}:{key}" if isinstance(value, dict) else key for key in found]
    return sorted(set(keys))


def _users(asset: str) -> list[str]:
    """`used_by`, or nothing where a system's own file is broken: that is another fault than the one to report."""
    try:
        return used_by(load(ROOT), asset)
    except CatalogError:
        return []


def _leaves(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    """Every scalar under `value` with its dotted key; items of a list have the key of the list."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _leaves(item, f"{key}.{name}")
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(item, key)
    else:
        yield key, value


def main(asset: str) -> None:
    declared = load_shared(ROOT).get("assets") or {}
    if asset not in declared:
        raise CatalogError(f"params.yaml declares no asset {asset!r} under assets; it has {', '.join(declared) or 'none'}.")
    try:
        fetch(asset, declared[asset], ROOT / "data" / "assets" / asset)
    except CatalogError as error:
        users = _users(asset)
        raise CatalogError(f"{error} It is used by {', '.join(users)}." if users else str(error)) from None


if __name__ == "__main__":
    run(main)
