"""Train the upper layers of a model on what its lower layers said once.

Where a LoRA sits on layers from `start` on, nothing below ever changes: the residual stream that enters `start` is computed once for each
example, and every epoch runs the upper layers alone. For a single process; the weights are those that ordinary training would give, but for
rounding.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from catalog.anatomy import View, embed, forests, logits_at, run_blocks, view
from catalog.checkpoints import alone


def tail_training(model: Any, examples: list[dict], layers: tuple[int, ...]) -> tuple[list[dict], dict]:
    """Examples, and the arguments for :func:`catalog.training.train` with which it runs the layers from the lowest of ``layers`` on alone.

    With several processes, or where ``layers`` is empty (all), the examples as they are and no arguments: ordinary training.
    """
    if not layers or not alone():
        return examples, {}
    v = view(model)
    return with_hidden(v, examples, min(layers)), {"loss_fn": tail_loss(v, min(layers)), "collate": pad_hidden}


def tail_loss(v: View, start: int) -> Callable:
    """Loss of :func:`catalog.training.answer_loss` for examples that bring the residual stream entering layer ``start``."""

    def loss(model, batch: dict[str, Tensor]) -> Tensor:
        hidden, labels = batch["hidden"], batch["labels"]
        length = hidden.shape[1]
        mask = torch.full((1, 1, length, length), torch.finfo(hidden.dtype).min, device=hidden.device).triu(1)
        context = {"attention_mask": mask}
        if v.family == "llama":
            context["position_embeddings"] = v.model.model.rotary_emb(hidden, torch.arange(length, device=hidden.device)[None])
        labelled = labels != -100
        before = torch.nn.functional.pad(labelled[:, 1:], (0, 1))
        logits = logits_at(v, run_blocks(v, hidden, context, start)[before])
        return torch.nn.functional.cross_entropy(logits, labels[labelled])

    return loss


def pad_hidden(batch: list[dict]) -> dict[str, Tensor]:
    """Right-padded ``hidden`` (B, T, d) and ``labels`` (B, T); causal attention never sees the padding."""
    hidden = torch.nn.utils.rnn.pad_sequence([torch.as_tensor(e["hidden"]) for e in batch], batch_first=True)
    labels = torch.nn.utils.rnn.pad_sequence([torch.as_tensor(e["labels"]) for e in batch], batch_first=True, padding_value=-100)
    return {"hidden": hidden, "labels": labels}


@torch.no_grad()
def with_hidden(v: View, examples: list[dict], start: int) -> list[dict]:
    """``examples`` with the residual stream entering layer ``start`` at each of their tokens: ``hidden`` (T, d)."""
    out: list[dict] = [{} for _ in examples]
    for group, tree in forests([list(map(int, e["input_ids"])) for e in examples], 768, v.device):
        hidden, context = embed(v, tree)
        hidden = run_blocks(v, hidden, context, 0, start)[0]
        for i, last in zip(group, tree.last.tolist(), strict=True):
            path = (tree.mask[0, 0, last] == 0).nonzero()[:, 0]  # a prompt's positions are the ancestors of its last one
            out[i] = {**examples[i], "hidden": hidden[path].cpu().clone()}
    return out
