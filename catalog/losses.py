"""Losses of a causal LM on packed batches, with logits at labelled positions only.

With a vocabulary of 150,000, logits at the positions of the prompt would take most of the memory of a training step and
much of its time, and are never read.
"""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from catalog.packing import IGNORE

Batch = dict[str, Tensor]


def answer_loss(model: Any, batch: Batch) -> Tensor:
    """Mean negative log-probability (nats) of the labelled tokens of a batch."""
    return -label_log_probs(model, batch)[0].mean()


def label_log_probs(model: Any, batch: Batch) -> tuple[Tensor, Tensor]:
    """Log-probabilities of the labelled tokens of a packed batch, with logits at their positions only.

    Args:
        model: as given to a `loss_fn` (wrapped for several processes, or not).
        batch: of `tensors_of(pack(…))`: `input_ids`, `position_ids`, `labels`, `example`, each ``(rows, T)``.

    Returns:
        ``(N,)`` log-probabilities in float32 and ``(N,)`` indices of the examples they belong to. Any further key of
        the batch is brought into the same order by ``batch[key][batch["labels"] != -100]``. A sum for each example:
        ``torch.zeros(n).index_add(0, example, log_probs)``.
    """
    labelled = batch["labels"] != IGNORE
    # The token at t is predicted at t - 1; the first token of an example never has a label, so none crosses a border.
    before = torch.nn.functional.pad(labelled[:, 1:], (0, 1))
    output = model(
        input_ids=batch["input_ids"], position_ids=batch["position_ids"], logits_to_keep=before, use_cache=False
    )
    loss = torch.nn.functional.cross_entropy(output.logits.float(), batch["labels"][labelled], reduction="none")
    return -loss, batch["example"][labelled]


@contextlib.contextmanager
def frozen_reference(model: Any) -> Iterator[Any]:
    """The model a LoRA started from, inside a `loss_fn`: adapter off, no gradients. Use it before the trained forward.

    A reference of its own is better scored once, before training, and given as a number per token of the examples.
    """
    with torch.no_grad(), _unwrapped(model).disable_adapter():
        yield model


def tensors_of(arrays: Mapping[str, Any]) -> Batch:
    """NumPy arrays as tensors."""
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def _unwrapped(model: Any) -> Any:
    """The model inside the wrappers of several processes."""
    while hasattr(model, "module"):
        model = model.module
    return model
