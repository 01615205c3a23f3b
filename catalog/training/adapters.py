"""Low-rank adapters (LoRA, arXiv 2106.09685) on a loaded model, and the saving of trained weights.

`W x` becomes `W x + (alpha / r) B A x` with A ``(r, in)`` random and B ``(out, r)`` zero at the start; W itself is
never written, so taking an adapter off leaves the base model as it was, bit for bit.
"""

import dataclasses
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from catalog.base.errors import CatalogError
from catalog.base.io import atomic_dir, read_json, write_json, write_safetensors
from catalog.models.lm import quiet_transformers
from catalog.training.checkpoints import is_main
from catalog.training.settings import Settings

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"


def upper_layers(count: int, share: float) -> tuple[int, ...]:
    """Numbers of the layers above ``share`` of the depth of ``count`` layers, for `Settings.lora_layers`; empty (all) for 0."""
    first = round(share * count)
    return tuple(range(first, count)) if first else ()


def settings_of(*parts: Any, n_layers: int, **more: Any) -> Settings:
    """Settings of a training run from a system's parameters.

    Args:
        parts: dataclasses; their fields that `Settings` has under the same name are taken, and of a LoRA `rank`, `alpha`, `dropout`,
            `targets` and `layers_from` (share of the depth above which layers are adapted). Rank 0 trains all weights.
        n_layers: of the model.
        more: whatever else `Settings` has, and what is to be set in place of a field of ``parts``.
    """
    given = {name: value for part in parts for name, value in vars(part).items()}
    same = {field.name: given[field.name] for field in dataclasses.fields(Settings) if field.name in given}
    of_lora = {f"lora_{name}": given[name] for name in ("rank", "alpha", "dropout", "targets") if name in given}
    if given.get("rank"):
        of_lora["lora_layers"] = upper_layers(n_layers, given.get("layers_from", 0.0))
    return Settings(**{**same, **of_lora, **more})


@contextmanager
def lora(model: Any, settings: Settings, tensors: Mapping[str, Tensor] | None = None) -> Iterator[Any]:
    """Attach a LoRA to a loaded model for the length of a `with` block.

    Args:
        model: the base model; inside the block it is adapted itself, so it can be evaluated as it is.
        settings: rank, alpha, dropout, targets, layers; the seed decides the adapter's first weights.
        tensors: weights to start from, as `Run.tensors` gives them; a fresh adapter by default.

    Yields:
        The PEFT model to give to `catalog.training.train`. After the block `model` has its own weights, modes and
        gradient flags again.

    Raises:
        CatalogError: no module or layer of that name, or `tensors` of another adapter.
    """
    from peft import LoraConfig, get_peft_model

    flags = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    training, adapted = model.training, None
    try:
        with warnings.catch_warnings(), torch.random.fork_rng():
            warnings.simplefilter("ignore", FutureWarning)  # PEFT reads a flag of transformers under its old name
            torch.manual_seed(settings.seed)
            try:
                adapted = get_peft_model(model, LoraConfig(**_lora_fields(settings)))
            except ValueError as error:
                raise CatalogError(f"The LoRA does not fit this model, correct its parameters: {error}") from error
        _check_placed(adapted, settings)
        if tensors is not None:
            _load(adapted, tensors)
        yield adapted
    finally:
        if adapted is not None:
            adapted.unload()
        model.__dict__.pop("peft_config", None)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(flags[name])
        model.train(training)


@contextmanager
def saved_lora(model: Any, folder: str | Path) -> Iterator[Any]:
    """Attach the adapter that `save_lora` wrote, for evaluation; otherwise as `lora`.

    Raises:
        CatalogError: there is no adapter in `folder`, or it belongs to another model.
    """
    config = read_json(Path(folder) / CONFIG)
    try:
        settings = Settings(
            lora_rank=config["r"],
            lora_alpha=config["lora_alpha"],
            lora_targets=tuple(config["target_modules"]),
            lora_layers=tuple(config["layers_to_transform"] or ()),
        )
        tensors = load_file(Path(folder) / WEIGHTS)
    except (KeyError, TypeError, OSError, SafetensorError) as error:
        raise CatalogError(f"{folder} holds no whole LoRA ({error}); run the stage that trains it again.") from error
    with lora(model, settings, tensors) as adapted:
        yield adapted.eval()


@contextmanager
def folded(adapted: Any) -> Iterator[Any]:
    """Add the adapter of `lora` or `saved_lora` to the weights for the length of a `with` block, in which it costs nothing.

    Sums are rounded to the model's own type, as in any model that is served with its adapter merged. The weights are put back bit for bit.
    """
    layers = [module for module in adapted.modules() if hasattr(module, "base_layer") and hasattr(module, "merge")]
    kept = [layer.base_layer.weight.detach().clone() for layer in layers]
    adapted.merge_adapter()
    try:
        yield adapted
    finally:
        adapted.unmerge_adapter()
        with torch.no_grad():
            for layer, weight in zip(layers, kept, strict=True):
                layer.base_layer.weight.copy_(weight)


def fold_in(model: Any, settings: Settings, tensors: Mapping[str, Tensor]) -> None:
    """Add an adapter to the weights for good, so that a further `lora` starts from what it made of the model."""
    with lora(model, settings, tensors) as adapted:
        adapted.merge_adapter()


def save_lora(tensors: Mapping[str, Tensor], settings: Settings, base: str, folder: str | Path) -> None:
    """Write an adapter as a folder that `peft.PeftModel.from_pretrained` and `saved_lora` read. Main process only.

    Args:
        tensors: `Run.tensors`.
        settings: those of the run.
        base: name of the base model, such as ``models/smollm2/base`` or a hub id, for the adapter's configuration.
        folder: replaced as a whole.
    """
    if not is_main():
        return
    with atomic_dir(folder) as temporary:
        write_safetensors(tensors, temporary / WEIGHTS)
        # Not PEFT's own writer, which puts sets into the file in an order that changes from run to run.
        write_json(
            {**_lora_fields(settings), "peft_type": "LORA", "base_model_name_or_path": base, "inference_mode": True},
            temporary / CONFIG,
        )


def save_model(
    model: Any, tokenizer: Any, folder: str | Path, tensors: Mapping[str, Tensor] | None = None, dtype: str = "bfloat16"
) -> None:
    """Write a fully fine-tuned or edited model as a `from_pretrained` folder with its tokenizer. Main process only.

    Args:
        model: the model, for its configuration and, without `tensors`, its weights.
        folder: replaced as a whole.
        tensors: `Run.tensors` of a full fine-tuning.
        dtype: of the saved floating-point weights.
    """
    if not is_main():
        return
    kind = getattr(torch, dtype)
    converted: dict[tuple, Tensor] = {}
    state = {}
    for name, tensor in (model.state_dict() if tensors is None else tensors).items():
        # Tied weights must stay one tensor, or they would be stored twice.
        key = (tensor.data_ptr(), tensor.shape, tensor.stride())
        if key not in converted:
            converted[key] = tensor.detach().to("cpu", kind if tensor.is_floating_point() else tensor.dtype)
        state[name] = converted[key]
    saved_dtype = model.config.dtype
    model.config.dtype = kind
    try:
        with atomic_dir(folder) as temporary, quiet_transformers():
            model.save_pretrained(temporary, state_dict=state)
            tokenizer.save_pretrained(temporary)
    finally:
        model.config.dtype = saved_dtype


def _load(adapted: Any, tensors: Mapping[str, Tensor]) -> None:
    """Fill the adapter with `tensors`, which must be exactly its own."""
    from peft import get_peft_model_state_dict, set_peft_model_state_dict

    own = get_peft_model_state_dict(adapted, save_embedding_layers=False)
    if {name: tensor.shape for name, tensor in own.items()} != {name: tensor.shape for name, tensor in tensors.items()}:
        raise CatalogError("These adapter weights belong to another model or other modules; train the adapter again.")
    set_peft_model_state_dict(adapted, dict(tensors))


def _check_placed(adapted: Any, settings: Settings) -> None:
    """PEFT takes a partly wrong list of targets or layers without a word; each must have been found."""
    placed = [set(name.split(".")) for name, _ in adapted.named_parameters() if ".lora_A." in name]
    for wanted in (*settings.lora_targets, *map(str, settings.lora_layers)):
        if not any(set(wanted.split(".")) <= parts for parts in placed):
            raise CatalogError(f"The LoRA's target or layer {wanted!r} is not in this model; correct the parameters.")


def _lora_fields(settings: Settings) -> dict[str, Any]:
    """The fields of `peft.LoraConfig` that are not its defaults, all with a JSON form."""
    return {
        "task_type": "CAUSAL_LM",
        "r": settings.lora_rank,
        "lora_alpha": settings.lora_alpha,
        "lora_dropout": settings.lora_dropout,
        "target_modules": sorted(settings.lora_targets),
        "layers_to_transform": sorted(settings.lora_layers) or None,
    }
