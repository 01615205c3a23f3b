"""A reversible edit of FFN neurons in a model's own weights: which columns of the down projections change, and what they were.

Scaling column k of W_down by a factor scales the neuron's whole contribution ``m_k v_k`` at every position; factor 0 deletes the
neuron. The old columns are kept in the patch, so :func:`revert` restores the weights bit for bit, and applying a patch twice is
applying it once. The same as `catalog.inside.interventions.scale_neurons`, but without hooks: the edited model can be saved and shipped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from catalog.base.errors import CatalogError
from catalog.base.io import write_safetensors
from catalog.inside.anatomy import View


@dataclass(frozen=True)
class Patch:
    """K neurons: ``layer`` and ``index`` (K,) int64, ``factor`` (K,) fp32, and ``old`` (K, d), their value vectors as they were, in the
    model's dtype."""

    layer: Tensor
    index: Tensor
    factor: Tensor
    old: Tensor

    def __len__(self) -> int:
        return len(self.layer)


def make_patch(v: View, neurons: Iterable[tuple[int, int]], factor: float | Sequence[float] = 0.0) -> Patch:
    """A patch that scales ``neurons`` (layer, index) by ``factor``, one for all or one each; the model is not changed yet.

    Raises:
        CatalogError: no neuron, one given twice, one the model does not have, or not one factor each.
    """
    chosen = list(neurons)
    if not chosen:
        raise CatalogError("A patch needs at least one neuron; choose some before making it.")
    if len(set(chosen)) != len(chosen):
        raise CatalogError("A neuron stands twice in the patch; name each once.")
    for layer, index in chosen:
        if not (0 <= layer < v.n_layers and 0 <= index < v.n_ffn):
            raise CatalogError(f"The model has no FFN neuron {layer}_{index}; it has {v.n_layers} layers of {v.n_ffn}.")
    layer, index = torch.tensor(chosen, dtype=torch.long).T.contiguous()
    old = torch.stack([_column(v, a, b).detach().clone() for a, b in chosen])
    factors = [float(factor)] * len(chosen) if isinstance(factor, (int, float)) else [float(x) for x in factor]
    if len(factors) != len(chosen):
        raise CatalogError(f"There are {len(chosen)} neurons and {len(factors)} factors; give one factor, or one each.")
    return Patch(layer, index, torch.tensor(factors), old)


@torch.no_grad()
def apply_patch(v: View, patch: Patch) -> None:
    """Write the scaled columns. Scales what the patch holds, not what the model has, so twice is once."""
    for a, b, factor, old in zip(patch.layer.tolist(), patch.index.tolist(), patch.factor.tolist(), patch.old, strict=True):
        _column(v, a, b).copy_(old * factor)


@torch.no_grad()
def revert_patch(v: View, patch: Patch) -> None:
    """Write the old columns back: the weights are again what they were, bit for bit."""
    for a, b, old in zip(patch.layer.tolist(), patch.index.tolist(), patch.old, strict=True):
        _column(v, a, b).copy_(old)


@contextmanager
def patched(v: View, neurons: Iterable[tuple[int, int]], factor: float | Sequence[float] = 0.0) -> Iterator[Patch]:
    """Context in which ``neurons`` are scaled in the weights themselves; afterwards the weights are the old ones."""
    patch = make_patch(v, neurons, factor)
    apply_patch(v, patch)
    try:
        yield patch
    finally:
        revert_patch(v, patch)


def save_patch(patch: Patch, path: str | Path) -> None:
    """Write a patch as safetensors: layer, index, factor, old."""
    tensors = {"layer": patch.layer, "index": patch.index, "factor": patch.factor, "old": patch.old.cpu().contiguous()}
    write_safetensors(tensors, path)


def load_patch(path: str | Path, v: View | None = None) -> Patch:
    """Read a patch; with ``v`` also check that it was made for this model.

    Raises:
        CatalogError: the file is absent, damaged or no patch, or (with ``v``) another model's.
    """
    try:
        tensors = load_file(path)
        patch = Patch(tensors["layer"], tensors["index"], tensors["factor"], tensors["old"])
    except (OSError, KeyError, SafetensorError) as error:
        raise CatalogError(f"{path} is no whole patch ({error}); run the stage that makes it again.") from error
    if v is not None:
        fits = patch.old.shape[1] == v.d_model and int(patch.layer.max()) < v.n_layers and int(patch.index.max()) < v.n_ffn
        if not fits:
            raise CatalogError(f"{path} was made for another model; use the patch of this one.")
        patch = Patch(patch.layer, patch.index, patch.factor, patch.old.to(v.device))
    return patch


def _column(v: View, layer: int, index: int) -> Tensor:
    """The value vector of one neuron in the model's own storage, (d,)."""
    weight = v.down_proj(layer).weight
    return weight[index] if v.family == "gpt2" else weight[:, index]
