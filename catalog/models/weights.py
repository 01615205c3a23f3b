"""Where the weights of a catalog model are: a folder built by a stage, or a pinned revision on the Hugging Face Hub.

Needs no torch, so that a stage of profile full can stop in its first second when the hub or a licence is missing.
"""

from pathlib import Path

from catalog.base.deps import require_dep
from catalog.base.errors import CatalogError
from catalog.base.params import ROOT, load_shared


def resolve(name: str, root: Path = ROOT) -> Path | tuple[str, str]:
    """Where the weights of the catalog's model `name` are.

    Returns:
        The folder ``models/<name>/base`` of a converted model, or (hub id, revision) of a model of profile full.

    Raises:
        CatalogError: `name` is not declared in params.yaml, is declared but off, is not built yet, or is none of the deps of the stage that DVC runs.
    """
    params = load_shared(root)
    converted, optional, hub = (params.get(key) or {} for key in ("models", "optional_models", "hub_models"))
    folder = Path(root) / "models" / name / "base"
    if name in hub:
        if not {"hub", "revision"} <= set(hub[name]):
            raise CatalogError(f"hub_models.{name} in params.yaml needs the keys hub and revision.")
        return hub[name]["hub"], hub[name]["revision"]
    if name not in converted and name not in optional:
        known = ", ".join([*converted, *optional, *hub]) or "none"
        raise CatalogError(f"No model {name!r} in params.yaml; declare it there or use one of: {known}.")
    require_dep(folder, root)
    if not (folder / "config.json").is_file():
        if name in optional:
            raise CatalogError(f"Model {name} is off; move its entry from optional_models to models in params.yaml.")
        raise CatalogError(f"Model {name} is not built yet; run `dvc repro model@{name}`.")
    return folder


WEIGHTS = ("model.safetensors", "model.safetensors.index.json")


def require_hub(name: str, root: Path = ROOT, *, describes: str = "config.json", cached: tuple[str, ...] = WEIGHTS) -> None:
    """Check without downloading that the weights of model `name` can be had; a model in the hub's local cache can.

    Args:
        name, root: as for `resolve`.
        describes: the file that every repository of this kind has; it is asked for.
        cached: files of which one is in the local cache when the model is.

    Raises:
        CatalogError: the model is undeclared or not built, the hub is out of reach, or the model is not open to you.
    """
    source = resolve(name, root)
    if isinstance(source, Path):
        return
    import huggingface_hub as hub
    from huggingface_hub import errors

    repository, revision = source
    if any(isinstance(hub.try_to_load_from_cache(repository, file, revision=revision), str) for file in cached):
        return
    if hub.constants.HF_HUB_OFFLINE:
        raise CatalogError(
            f"{repository} at {revision} is not in the local cache and HF_HUB_OFFLINE is set; unset it or run "
            f"`hf download {repository} --revision {revision}` first."
        )
    try:
        hub.get_hf_file_metadata(hub.hf_hub_url(repository, describes, revision=revision), timeout=3)
    except errors.GatedRepoError:
        raise CatalogError(
            f"{repository} is gated; accept its licence on its hub page, then run `hf auth login` or set HF_TOKEN."
        ) from None
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.EntryNotFoundError):
        raise CatalogError(
            f"The hub shows no {repository} at revision {revision}; correct hub_models.{name} in params.yaml, or set "
            f"HF_TOKEN if it is private."
        ) from None
    except Exception as error:
        raise CatalogError(
            f"The model hub is out of reach ({type(error).__name__}), so {repository} cannot be had; connect, or use "
            f"profile small, which needs no hub."
        ) from None
