"""Losses of a causal LM on packed batches, with logits at labelled positions only.

With a vocabulary of 150,000, logits at the positions of the prompt would take most of the memory of a training step and
much of its time, and are never read.
"""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from catalog.base.errors import CatalogError
from catalog.models.logits import parts
from catalog.models.windows import narrowest
from catalog.training.attention import NAME as SDPA_FLOAT32
from catalog.training.packing import IGNORE

Batch = dict[str, Tensor]


def answer_loss(model: Any, batch: Batch) -> Tensor:
    """Mean negative log-probability (nats) of the labelled tokens of a batch."""
    return -label_log_probs(model, batch)[0].mean()


def label_logits(model: Any, batch: Batch, *, own_type: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """Logits of the labelled tokens of a packed batch, and nothing else's.

    Args:
        model: as given to a `loss_fn` (wrapped for several processes, or not).
        batch: of `tensors_of(pack(…))`: `input_ids` (or `hidden`, of `catalog.training.tail.lower_once`), `position_ids`, `labels`,
        `example`, each
            ``(rows, T)``. Where a text branches (`catalog.training.pairs`) also `before` ``(rows, T)``, the place in its row of the
            token that comes
            before each, and `attention_mask` ``(rows, 1, T, T)``, true where a token sees another.
        own_type: leave the logits in the type the model gives them.

    Returns:
        ``(N, V)`` logits in float32, ``(N,)`` labels and ``(N,)`` indices of the examples they belong to. Any further key of the batch is
        brought into the same order by ``batch[key][batch["labels"] != -100]``.
    """
    logits, which, labels, example = _asked(model, batch)
    return logits[which] if own_type else logits[which].float(), labels, example


def label_log_probs(model: Any, batch: Batch) -> tuple[Tensor, Tensor]:
    """``(N,)`` log-probabilities of the labelled tokens of a packed batch, float32, and ``(N,)`` indices of the examples they belong to.

    Arguments as of `label_logits`. A sum for each example: ``torch.zeros(n).index_add(0, example, log_probs)``.
    """
    logits, which, labels, example = _asked(model, batch)
    return _Picked.apply(logits, which, labels), example


def _asked(model: Any, batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Logits (M, V) of the positions that any label follows; of each label its row of them, its id, its example, ``(N,)`` each."""
    labelled = batch["labels"] != IGNORE
    what = {"inputs_embeds": batch["hidden"].to(_unwrapped(model).dtype)} if "hidden" in batch else {"input_ids": batch["input_ids"]}
    if "before" in batch:
        rows = torch.arange(len(labelled), device=labelled.device)[:, None].expand_as(labelled)
        before = torch.zeros_like(labelled)
        before[rows[labelled], batch["before"][labelled]] = True  # what two tokens follow is asked once
        which = (before.flatten().cumsum(0) - 1).view_as(before)[rows[labelled], batch["before"][labelled]]
        what["attention_mask"] = _mask(model, batch["attention_mask"])
        window = narrowest(_unwrapped(model).config)
        if window and labelled.shape[1] > window:  # a mask of one's own takes the place of the model's, window and all
            raise CatalogError(
                f"A row of {labelled.shape[1]} tokens in which two texts share a prompt is longer than this model's attention window "
                f"of {window}; give each text a row of its own, or shorten them."
            )
    else:
        # The token at t is predicted at t - 1; the first token of an example never has a label, so none crosses a border.
        before = torch.nn.functional.pad(labelled[:, 1:], (0, 1))
        which = torch.arange(int(before.sum()), device=before.device)
    logits = model(**what, position_ids=batch["position_ids"], logits_to_keep=before, use_cache=False).logits
    return logits.view(-1, logits.shape[-1]), which, batch["labels"][labelled], batch["example"][labelled]


def _mask(model: Any, seen: Tensor) -> Tensor:
    """Truth values as the model's attention takes them: eager attention adds its mask to the scores, and would add 1 for true."""
    inner = _unwrapped(model)
    kind = inner.config._attn_implementation
    if kind in ("sdpa", SDPA_FLOAT32):
        return seen
    if kind != "eager":
        raise CatalogError(
            f"Attention {kind} takes no mask, which texts that share a row need; load the model with sdpa, or give each text a row."
        )
    return torch.zeros(seen.shape, dtype=inner.dtype, device=seen.device).masked_fill(~seen, torch.finfo(inner.dtype).min)


class _Picked(torch.autograd.Function):
    """``log_softmax(logits)[rows, labels]``: (M, V), (N,), (N,) -> (N,) float32.

    With a large vocabulary the passes over (M, V) numbers are what a loss costs. On a CPU they are made a few rows at a time, in its cache,
    and the backward pass computes the softmax again, which takes less time and a third of the memory of keeping it.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, rows: Tensor, labels: Tensor) -> Tensor:
        ctx.save_for_backward(logits, rows, labels)
        out = torch.empty(len(rows), dtype=torch.float32, device=logits.device)
        for start, part in parts(logits):
            here = ((rows >= start) & (rows < start + len(part))).nonzero()[:, 0]
            out[here] = part.float().log_softmax(-1)[rows[here] - start, labels[here]]
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        logits, rows, labels = ctx.saved_tensors
        whole = grad.new_zeros(len(logits)).index_add(0, rows, grad)
        out = torch.empty_like(logits)
        for start, part in parts(logits):
            here = ((rows >= start) & (rows < start + len(part))).nonzero()[:, 0]
            values = part.float().log_softmax(-1).exp_().mul_(-whole[start : start + len(part), None])
            out[start : start + len(part)] = values.index_put_((rows[here] - start, labels[here]), grad[here], accumulate=True)
        return out, None, None


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
