"""Whether DVC knows that the stage it runs reads a file, and how to get an asset that is not there.

A stage's parameters may name a file, an asset or a model, a table of the user's own for instance, that `dvc.yaml` does not list under
the stage's deps. DVC would then call the stage up to date when that file changes. So the readers of such names ask here first.
"""

import os
from pathlib import Path, PurePosixPath

from catalog.base.errors import CatalogError
from catalog.base.params import FILE, ROOT, load_shared
from catalog.base.yaml_text import parse_yaml

OWN = "data/own"  # data/own/<system>/ is a dep of the stages that read files of the user's own


def require_dep(path: str | Path, root: Path = ROOT, *, own: str | None = None) -> None:
    """Return if DVC runs no stage just now, or if the stage that it runs depends on `path` or on a folder above it.

    Args:
        path: a file or folder; a relative one counts from the project's root.
        own: the system, if `path` is a file of the user's own, which may lie in `data/own/<system>/`.

    Raises:
        CatalogError: the stage reads what it does not depend on.
    """
    stage = os.environ.get("DVC_STAGE")
    if not stage:
        return
    root = Path(root).resolve()
    place = Path(os.path.normpath(root / path))
    place = PurePosixPath(place.relative_to(root) if place.is_relative_to(root) else place)
    declared = _deps(stage, root)
    if declared is None or declared & {str(place), *map(str, place.parents)}:
        return
    remedy = f"move it to {OWN}/{own}/, or add" if own else "add"
    raise CatalogError(
        f"The stage {stage} reads {place}, which is none of its deps, so DVC would not see it change; {remedy} it to its deps in dvc.yaml."
    )


def how_to_get(asset: str, root: Path = ROOT) -> str:
    """Return what to do about an asset that is not in `data/assets/`, to end a sentence with: declare it, switch it on, or fetch it."""
    shared = load_shared(root) if (Path(root) / FILE).is_file() else {}
    if asset in (shared.get("assets") or {}):
        return f"it is declared but not fetched yet; run `dvc repro fetch@{asset}`"
    if asset in (shared.get("optional_assets") or {}):
        return f"move it from optional_assets to assets in {FILE}, then run `dvc repro fetch@{asset}`"
    return f"declare it under assets in {FILE}, then run `dvc repro fetch@{asset}`"


def _deps(stage: str, root: Path) -> set[str] | None:
    """The deps of a stage of `dvc.yaml`, `${profile}` filled in; None for a stage of another project."""
    try:
        stages = parse_yaml((root / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    except (OSError, CatalogError, UnicodeDecodeError, KeyError, TypeError):
        return None
    if stage not in stages:
        return None
    profile = str(load_shared(root).get("profile"))
    return {str(path).replace("${profile}", profile).rstrip("/") for path in stages[stage].get("deps") or []}
