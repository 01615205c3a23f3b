"""The one way in which the audit loads a text-to-image model: the cards' own, or one of the hub through diffusers."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import DiffusionPipeline
from safetensors import SafetensorError

from catalog.base.errors import CatalogError
from catalog.base.io import read_json
from catalog.base.params import ROOT, load_shared
from catalog.models.devices import pick_device
from catalog.models.lm import quiet_transformers
from catalog.models.weights import require_hub, resolve
from stages.religious_bias.diffusion import CardPipeline

INDEX = "model_index.json"  # of every pipeline of diffusers


def find(name: str | Path, profile: str, root: Path = ROOT) -> Path | tuple[str, str]:
    """Where an image model is: a folder with ``model_index.json``, or (hub id, revision) of a model of hub_models.

    ``name`` is a folder, a model trained here (``models/<name>/<profile>``) or a name of hub_models.

    Raises:
        CatalogError: there is no such model; the sentence says how to get it.
    """
    hub_models = load_shared(root).get("hub_models") or {}
    if str(name) in hub_models:
        return resolve(str(name), root)
    folder = Path(name) if Path(name).is_dir() else Path(root) / "models" / str(name) / profile
    if not (folder / INDEX).is_file():
        known = ", ".join(hub_models) or "none"
        raise CatalogError(
            f"There is no image model {name}: {folder} has no model_index.json; run the stage that trains it, or name one of "
            f"hub_models ({known})."
        )
    return folder


def require_image_model(name: str | Path, profile: str, root: Path = ROOT) -> None:
    """Check without downloading that an image model can be loaded.

    Raises:
        CatalogError: it is missing, the hub is out of reach, or the model is not open to you.
    """
    if not isinstance(find(name, profile, root), Path):
        require_hub(str(name), root, describes=INDEX, cached=(INDEX,))


def load_pipeline(
    name: str | Path, profile: str, *, device: str | torch.device | None = None, dtype: torch.dtype | None = None, root: Path = ROOT
) -> DiffusionPipeline:
    """Load an image model, the cards' or one of the hub. Only safetensors are read and no code from a repository is run.

    Args:
        name: see `find`.
        device: `device` of params.yaml by default; dtype: float16 on a GPU, float32 on a CPU by default.

    Raises:
        CatalogError: the model is missing, damaged or out of reach.
    """
    source = find(name, profile, root)
    device = pick_device(str(device if device is not None else load_shared(root).get("device", "auto")))
    dtype = dtype or (torch.float16 if device.type == "cuda" and not isinstance(source, Path) else torch.float32)
    options = {"use_safetensors": True, "dtype": dtype}
    try:
        with quiet_transformers():
            if isinstance(source, Path):
                name_of_class = read_json(source / INDEX).get("_class_name")
                cls = CardPipeline if name_of_class == CardPipeline.__name__ else DiffusionPipeline
                pipe = cls.from_pretrained(str(source), local_files_only=True, **options)
            else:
                require_image_model(name, profile, root)
                pipe = DiffusionPipeline.from_pretrained(source[0], revision=source[1], **options)
    except (OSError, ValueError, AttributeError, RuntimeError, SafetensorError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CatalogError(f"The image model {name} could not be loaded, make it anew or check the hub: {reason}") from error
    pipe.set_progress_bar_config(disable=True)
    return pipe.to(device)
