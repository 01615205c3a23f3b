"""Model FLOPs utilisation (MFU): the share of a device's peak that the model's own products use (PaLM, arXiv 2204.02311, App. B).

A weight takes part in one multiplication and one addition a token, so the forward pass takes 2 FLOPs a weight and token, the gradient of
the activations 2 more where anything below or in the weight's layer is trained, and the gradient of the weight itself 2 more where it is
trained. Attention adds ``4 H d_h T`` a layer and token forward (no causal saving counted). What is computed twice, padding and the
optimiser are not the model's own, so they lower the figure.
"""

from __future__ import annotations

import re
from typing import Any

import torch

from catalog.models.devices import device_name

# Dense bfloat16 peaks in FLOP/s, as the makers' data sheets give them, by words of the device's name. More words go before fewer.
PEAKS = {
    "H200 NVL": 835e12,
    "H100 NVL": 835e12,
    "H100 PCIe": 756e12,
    "GH200": 989e12,
    "H200": 989e12,
    "H100": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "L40": 181e12,
    "L4": 121e12,
    "A10": 125e12,
    "RTX 4090": 165e12,
}
ANOTHER = {"Laptop", "D", "MIG"}  # a slower chip of the same name, or a slice of one


def peak(device: str) -> float | None:
    """Peak FLOP/s of a GPU by its name, or None where it is not known. Words are compared whole: an L40S is no L4, an RTX A1000 no A100."""
    words = set(re.split(r"[^A-Za-z0-9]+", device))
    if words & ANOTHER:
        return None
    return next((value for name, value in PEAKS.items() if words >= set(name.split())), None)


def flops_per_token(model: Any, context: float = 0.0, first: int = 0) -> float:
    """FLOPs of one training step for one token.

    Args:
        model: with its `requires_grad` flags as trained; embeddings that are only looked up are not counted, an output head is.
        context: mean number of tokens that a token attends to.
        first: the layer that the pass begins with (of `catalog.training.tail`); those below take no part.
    """
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    config = base.config.get_text_config()
    layers, head = config.num_hidden_layers, base.get_output_embeddings()
    found = []  # (layer, weight) of every product
    for name, module in base.named_modules():
        weight = module._parameters.get("weight")  # PEFT's wrappers show the weight of what they wrap as an attribute too
        if weight is not None and weight.dim() == 2 and not isinstance(module, torch.nn.Embedding):
            found.append((layers if module is head else next((int(part) for part in name.split(".") if part.isdigit()), 0), weight))
    lowest = min((layer for layer, weight in found if weight.requires_grad), default=layers + 1)
    total = 0.0
    for layer, weight in found:
        if layer >= first:
            total += weight.numel() * (2 + 2 * (layer >= lowest) + 2 * weight.requires_grad)
    width = config.num_attention_heads * (getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)
    for layer in range(first, layers):
        total += 4 * width * context * (3 if layer >= lowest else 1)
    return total


def utilisation(
    model: Any, tokens: int, seconds: float, device: torch.device, *, processes: int = 1, context: float = 0.0, first: int = 0
) -> float | None:
    """MFU in [0, 1] on a CUDA GPU whose peak is known; None elsewhere.

    Args:
        tokens: read in all processes together. Logits are counted at each, also where few are asked for: an upper bound there.
        device: that the model was trained on; of several, all are alike.
        context, first: as for `flops_per_token`.
    """
    rate = peak(device_name(device))
    if rate is None or seconds <= 0:
        return None
    return float(f"{flops_per_token(model, context, first) * tokens / seconds / (processes * rate):.4g}")
