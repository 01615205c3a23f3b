"""Train the upper layers of a model on what its lower layers said once.

Where a LoRA sits on layers from `start` on, nothing below ever changes: the residual stream that enters `start` is computed once for each
example (`lower_once`), and every step of `catalog.training.train` then runs the upper layers alone (`upper_alone`). Losses, collation and
LoRA know nothing of it. For a single process; the weights are those that ordinary training would give, but for rounding.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch

from catalog.base.progress import progress
from catalog.inside.anatomy import View, embed, forests, layers, run_blocks, view
from catalog.models.devices import pick_dtype
from catalog.training.checkpoints import alone

HIDDEN = "hidden"
TOKENS = 384  # of a forward pass through the lower layers; masks of whole texts make more of them slower


def lower_once(model: Any, examples: Sequence[Mapping[str, Any]], adapted: Sequence[int], *, dtype: str = "float32") -> list[dict]:
    """The examples with `hidden` (T, d), the residual stream that enters the lowest of the `adapted` layers, for each of their texts.

    Args:
        model: as loaded, before a LoRA is attached.
        examples: each text under a key `…input_ids`; its stream gets the key `…hidden`, a float32 array.
        adapted: numbers of the layers that a LoRA will adapt. Where they are empty (all), or there are several processes, nothing is added.
        dtype: of the products; ``auto`` is bfloat16 where the device multiplies it natively.
    """
    if not adapted or not alone():
        return [dict(example) for example in examples]
    out = [dict(example) for example in examples]
    keys = [(i, key) for i, example in enumerate(out) for key in example if key.endswith("input_ids")]
    streams = _streams(view(model), [list(map(int, out[i][key])) for i, key in keys], min(adapted), dtype)
    for (i, key), stream in zip(keys, streams, strict=True):
        out[i][key.removesuffix("input_ids") + HIDDEN] = stream
    return out


def has_hidden(examples: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the examples come from `lower_once` with something added."""
    return bool(examples) and any(key.endswith(HIDDEN) for key in examples[0])


@contextmanager
def upper_alone(model: Any, start: int) -> Iterator[None]:
    """Inside, layers below `start` hand on what they are given, so that `inputs_embeds` is the stream that enters `start`."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    blocks = layers(base)[:start] if start else []
    for block in blocks:
        block.forward = _hand_on
    try:
        yield
    finally:
        for block in blocks:
            block.__dict__.pop("forward", None)


def _hand_on(hidden_states: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
    return hidden_states


@torch.no_grad()
def _streams(v: View, texts: list[list[int]], start: int, dtype: str) -> list[Any]:
    """(T, d) in float32 for each text, as NumPy arrays; texts that begin alike share the work of their beginning."""
    out: list[Any] = [None] * len(texts)
    low = pick_dtype(dtype, v.device) == torch.bfloat16
    products = torch.autocast(v.device.type, torch.bfloat16) if low else nullcontext()
    with products, progress(len(texts), "lower layers", unit="text") as advance:
        for group, tree in forests(texts, TOKENS, v.device):
            hidden, context = embed(v, tree)
            hidden = run_blocks(v, hidden, context, 0, start)[0].float()
            for i, last in zip(group, tree.last.tolist(), strict=True):
                path = (tree.mask[0, 0, last] == 0).nonzero()[:, 0]  # a prompt's positions are the ancestors of its last one
                out[i] = hidden[path].cpu().numpy()
            advance(len(group))
    return out
