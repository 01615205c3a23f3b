"""Log-probabilities of response tokens under a model, with or without its LoRA, in batches of pairs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from peft.helpers import disable_input_dtype_casting
from torch import Tensor

from catalog.models.inference import batches_by_length
from catalog.models.logits import parts
from catalog.training.losses import frozen_reference, label_log_probs, label_logits
from catalog.training.pairs import SIDES, pair_collate
from catalog.training.tail import has_hidden, upper_alone
from stages.sepo.losses import token_kl

TOKENS = 4096  # of one forward pass, padding included

Scores = dict[str, np.ndarray]


def batches(tokens: Sequence[Mapping[str, Any]]) -> list[list[int]]:
    """Indices of pairs of like length, for one forward pass each."""
    return batches_by_length([len(pair["chosen_input_ids"]) + len(pair["rejected_input_ids"]) for pair in tokens], TOKENS)


@contextmanager
def reading(model: Any, tokens: Sequence[Mapping[str, Any]], start: int) -> Iterator[None]:
    """No gradients, products in the model's own type, and layers below ``start`` left out where the pairs bring their stream."""
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode())
        stack.enter_context(upper_alone(model, start if has_hidden(tokens) else 0))
        if model.dtype == torch.bfloat16:
            stack.enter_context(torch.autocast(model.device.type, torch.bfloat16))
            stack.enter_context(disable_input_dtype_casting(model))  # as in training
        yield


def token_log_probs(model: Any, tokens: Sequence[Mapping[str, Any]], start: int) -> list[Scores]:
    """Of each pair ``{"chosen": (N,), "rejected": (M,)}``, float32, one number a response token in the order of the text."""
    out: list[Scores] = [{} for _ in tokens]
    collate = pair_collate(shared=True)
    with reading(model, tokens, start):
        for group in batches(tokens):
            batch = {key: value.to(model.device) for key, value in collate([tokens[i] for i in group]).items()}
            for place, values in enumerate(by_response(*label_log_probs(model, batch), 2 * len(group))):
                out[group[place % len(group)]][SIDES[place // len(group)]] = values
    return out


def divergence(model: Any, tokens: Sequence[Mapping[str, Any]], start: int) -> np.ndarray:
    """``KL(policy || reference)``, mean over the tokens of both responses: (n,) nats. The reference is the model without its LoRA."""
    out = np.zeros(len(tokens))
    collate = pair_collate(shared=True)
    with reading(model, tokens, start):
        for group in batches(tokens):
            batch = {key: value.to(model.device) for key, value in collate([tokens[i] for i in group]).items()}
            with frozen_reference(model):
                reference = label_logits(model, batch, own_type=True)[0]
            logits, _, owner = label_logits(model, batch, own_type=True)
            both = zip(parts(logits), parts(reference), strict=True)
            kl = torch.cat([token_kl(own.float().log_softmax(-1), other.float().log_softmax(-1)) for (_, own), (_, other) in both])
            out[group] = [float(values.mean()) for values in by_response(kl, owner % len(group), len(group))]
    return out


def by_response(values: Tensor, owner: Tensor, count: int) -> list[np.ndarray]:
    """Values ``(N,)`` parted by the response, of ``count``, that they belong to, each in its order."""
    found, owners = values.float().cpu().numpy(), owner.cpu().numpy()
    order = np.argsort(owners, kind="stable")
    return np.split(found[order], np.bincount(owners, minlength=count).cumsum()[:-1])
