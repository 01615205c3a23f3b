"""Reversible interventions on heads and FFN neurons of a stock model: zero, keep-only, scale. No weights are touched or copied.

A head is switched off by zeroing its slice of the *input* of W_O (the same as zeroing its columns of W_O; zeroing a slice of the
output is a common mistake). A neuron is scaled at the input of the down projection, the same as scaling its value vector.
All work through forward pre-hooks that last as long as the context manager.

:func:`head_scan` runs every head of a model: the forward pass is resumed from the clean residual stream of the head's layer, and
the heads of one layer form a batch, so L layers cost about L/2 forward passes of H rows instead of L*H whole ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from catalog.base.errors import CatalogError
from catalog.inside.anatomy import View, embed, finish_blocks, forests, logits_at, run_blocks


@contextmanager
def scaled_inputs(modules: dict[torch.nn.Module, Tensor]) -> Iterator[None]:
    """Multiply the input of each module by its factor while the context lasts."""

    def hook(module, args):
        return (args[0] * modules[module].to(args[0].dtype), *args[1:])

    handles = [module.register_forward_pre_hook(hook) for module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def scale_heads(v: View, heads: Iterable[tuple[int, int]], factor: float = 0.0):
    """Context in which heads ``(layer, head)`` are multiplied by ``factor``, at every position."""
    masks: dict[torch.nn.Module, Tensor] = {}
    for layer, head in heads:
        mask = masks.setdefault(v.o_proj(layer), torch.ones(v.n_heads * v.d_head, device=v.device))
        mask[head * v.d_head : (head + 1) * v.d_head] = factor
    return scaled_inputs(masks)


def scale_neurons(v: View, neurons: Iterable[tuple[int, int]], factor: float = 0.0):
    """Context in which FFN neurons ``(layer, index)`` are multiplied by ``factor``, at every position."""
    masks: dict[torch.nn.Module, Tensor] = {}
    for layer, index in neurons:
        masks.setdefault(v.down_proj(layer), torch.ones(v.n_ffn, device=v.device))[index] = factor
    return scaled_inputs(masks)


def keep_neurons(v: View, neurons: Iterable[tuple[int, int]], layers: Iterable[int]):
    """Context in which, of the FFN neurons of ``layers``, only ``neurons`` are left; other layers are untouched."""
    masks = {v.down_proj(layer): torch.zeros(v.n_ffn, device=v.device) for layer in layers}
    for layer, index in neurons:
        if v.down_proj(layer) in masks:
            masks[v.down_proj(layer)][index] = 1.0
    return scaled_inputs(masks)


def neuron_masks(v: View, masks: Tensor):
    """Context in which row r of a batch has its FFN coefficients multiplied by ``masks[r]``: (R, L, N)."""
    return scaled_inputs({v.down_proj(layer): masks[:, layer, None] for layer in range(v.n_layers)})


@contextmanager
def pruned(v: View, neurons: Iterable[tuple[int, int]], layers: Iterable[int]) -> Iterator[None]:
    """Context in which the FFNs of ``layers`` are really smaller: only ``neurons`` are left in their matrices, and the rest costs
    nothing. Computes what :func:`keep_neurons` computes; the whole matrices are put back afterwards."""
    if v.family != "llama":
        raise CatalogError("Pruning knows gated feed-forward layers; use a Llama, Qwen2 or Mistral model.")
    kept = {layer: [] for layer in layers}
    for layer, index in neurons:
        if layer in kept:
            kept[layer].append(index)
    whole: list[tuple[torch.nn.Parameter, Tensor]] = []
    try:
        for layer, indices in kept.items():
            index = torch.tensor(sorted(indices), dtype=torch.long, device=v.device)
            mlp = v.blocks[layer].mlp
            for module, axis in ((mlp.gate_proj, 0), (mlp.up_proj, 0), (mlp.down_proj, 1)):
                whole.append((module.weight, module.weight.data))
                module.weight.data = module.weight.data.index_select(axis, index)
        yield
    finally:
        for parameter, data in whole:
            parameter.data = data


@torch.inference_mode()
def head_scan(
    v: View,
    prompts: list[list[int]],
    read: Callable[[Tensor], Tensor],
    *,
    heads: list[tuple[int, int]] | None = None,
    max_positions: int = 256,
    rows: int = 2048,
    progress: Callable[[Iterable], Iterable] = iter,
) -> Tensor:
    """Zero each head in turn and read the next-token distribution of every prompt.

    ``read`` maps log-probabilities (B, P', V) and the prompts' indices to (B, P', …); ``rows`` bounds positions in flight.
    Returns (len(heads), P, …) in the order of ``heads`` (default: all, by layer then head)."""
    heads = [(layer, j) for layer in range(v.n_layers) for j in range(v.n_heads)] if heads is None else heads
    by_layer: dict[int, list[int]] = {}
    for row, (layer, _) in enumerate(heads):
        by_layer.setdefault(layer, []).append(row)
    out: Tensor | None = None
    work = []
    for group, tree in forests(prompts, max_positions, v.device):
        hidden, context = embed(v, tree)
        clean = {}
        for layer in range(v.n_layers):
            clean[layer] = hidden
            hidden = run_blocks(v, hidden, context, layer, layer + 1)
        work += [(group, tree, context, clean[layer], layer, members) for layer, members in by_layer.items()]
    for group, tree, context, start, layer, members in progress(work):
        size = max(1, rows // len(tree.ids))
        for chunk in (members[i : i + size] for i in range(0, len(members), size)):
            mask = torch.ones(len(chunk), 1, v.n_heads * v.d_head, device=v.device)
            for i, row in enumerate(chunk):
                head = heads[row][1]
                mask[i, :, head * v.d_head : (head + 1) * v.d_head] = 0.0
            with scaled_inputs({v.o_proj(layer): mask}):
                hidden = finish_blocks(v, start.expand(len(chunk), -1, -1), context, layer, tree.last)
            value = read(logits_at(v, hidden).log_softmax(-1), group)
            if out is None:
                out = torch.empty(len(heads), len(prompts), *value.shape[2:], device=value.device, dtype=value.dtype)
            out[torch.tensor(chunk)[:, None], torch.tensor(group)] = value
    return out


def random_neurons(count: int, layers: list[int], n_ffn: int, generator: torch.Generator) -> list[tuple[int, int]]:
    """``count`` distinct random FFN neurons of ``layers``: the control of every neuron experiment."""
    flat = torch.randperm(len(layers) * n_ffn, generator=generator)[:count].sort().values
    return [(layers[i // n_ffn], i % n_ffn) for i in flat.tolist()]
