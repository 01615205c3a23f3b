"""Align a projector with a language model's words without running the model.

LLaVA's first stage teaches the projector by captions, through the whole language model. Where it is known what is at a place of the image,
the same is had in seconds: the projected place is drawn towards the sum of the word embeddings of what is there (mean squared error), and
should be told apart by them (cross-entropy over the words that answer the same question, such as the colours). A place where nothing is
gets the target zero. Ours; the paper of LLaVA has no such step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, mse_loss

from catalog.base.progress import progress
from catalog.models.lm import set_seed

NOTHING = -1


def align(
    model: Any, features: Tensor, words: Tensor, *, steps: int, batch: int, rate: float, sharpness: float = 10.0, seed: int = 0
) -> list[dict[str, float]]:
    """Train `model.model.multi_modal_projector` in place; the language model and the tower stay as they are.

    Args:
        features: (places, numbers), of any images.
        words: (places, questions), token ids of what is there, one column for each question (kind, colour, …); `NOTHING` where none.
        steps, batch, rate: optimiser steps, places of each, highest learning rate of AdamW, which falls to 0 along a cosine.
        sharpness: of the cross-entropy; scales the cosines between a projected place and the words.

    Returns:
        The training curve: step, loss, error (mean squared, in the variance of word embeddings) and hits (share of right words).
    """
    projector = model.model.multi_modal_projector
    kind = projector.linear_1.weight.dtype
    table = model.get_input_embeddings().weight.detach()
    scale = table[words.flatten()[words.flatten() >= 0]].float().std()
    asked = [column[column != NOTHING].unique() for column in words.T]
    set_seed(seed)
    projector.float().requires_grad_(True)
    optimiser = torch.optim.AdamW(projector.parameters(), lr=rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    curve = []
    with progress(steps, "aligning the projector") as advance:
        for step in range(1, steps + 1):
            rows = torch.randint(len(words), (batch,))
            made = projector(features[rows].float().to(table.device))
            what = words[rows].to(table.device)
            there = what != NOTHING
            target = (table[what.clamp_min(0)].float() * there[..., None]).sum(1)
            error = mse_loss(made / scale, target / scale)
            losses, hits, count = [], 0, 0
            for column, ids in enumerate(asked):
                some = there[:, column]
                logits = cosines(made[some], table[ids].float()) * sharpness
                right = torch.searchsorted(ids.to(what.device), what[some, column])
                losses.append(cross_entropy(logits, right))
                hits, count = hits + int((logits.argmax(-1) == right).sum()), count + len(right)
            loss = error + torch.stack(losses).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            if step % 20 == 0 or step == steps:
                curve.append({"step": step, "loss": loss.item(), "error": error.item(), "hits": hits / max(1, count)})
            advance(1, f"loss {loss.item():.3g}")
    projector.to(kind).requires_grad_(False)
    return curve


def cosines(vectors: Tensor, words: Tensor) -> Tensor:
    """(n, d), (w, d) -> (n, w): cosines after the mean word is taken from both, without which all words are alike."""
    mean = words.mean(0)
    centred = torch.nn.functional.normalize(vectors - mean, dim=-1)
    return centred @ torch.nn.functional.normalize(words - mean, dim=-1).T


def places_words(coverage: Tensor, words: Sequence[Sequence[int]], least: float = 0.12) -> Tensor:
    """(places, questions) token ids of one image.

    Args:
        coverage: (objects, places), how much of a place each object covers, 0 to 1.
        words: token ids of each object, one for each question.
        least: below it a place has nothing.
    """
    ids = torch.tensor([list(row) for row in words])
    most, which = coverage.max(0)
    return torch.where((most > least)[:, None], ids[which], NOTHING)
