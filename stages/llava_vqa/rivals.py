"""Other answers to where a model looks: attention rollout, gradients, Grad-CAM, and masking one patch after another.

All explain the log-probability of the same token, and give a number for each image position, (I,) float32. *Masked* means that the mean of
many images' projected patches stands in a patch's place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

AT_ONCE = 64  # prompts of a forward pass


class Prompt(NamedTuple):
    """A prompt with an image, ready to be changed: embeddings (T, d) of all tokens, positions (I,) of the image, the token explained."""

    embedded: Tensor
    image: Tensor
    target: int


def prompt(model: Any, ids: Tensor, image: Tensor, places: Tensor, target: int) -> Prompt:
    """Embeddings of a prompt's tokens (T,) with the projected image ``places`` (I, d) at its positions."""
    with torch.no_grad():
        embedded = model.get_input_embeddings()(ids.clone())
        embedded[image] = places.to(embedded.dtype)
        return Prompt(embedded, image.clone(), target)  # copies: tensors of inference mode take no part in gradients


def said(model: Any, asked: Prompt, places: Tensor) -> Tensor:
    """Log-probability (B,) of the token with other projected images (B, I, d) in the prompt."""
    embedded = asked.embedded.expand(len(places), *asked.embedded.shape)
    embedded = embedded.index_copy(1, asked.image, places.to(embedded.dtype))
    out = model.model.language_model(inputs_embeds=embedded, use_cache=False).last_hidden_state[:, -1]
    return model.lm_head(out).float().log_softmax(-1)[:, asked.target]


@torch.inference_mode()
def masked(model: Any, asked: Prompt, hidden: Tensor, mean: Tensor) -> Tensor:
    """Log-probability (B,) with the patches masked where ``hidden`` (B, I) is true."""
    own = asked.embedded[asked.image]
    parts = [said(model, asked, torch.where(part[..., None], mean.to(own.dtype), own)) for part in hidden.split(AT_ONCE)]
    return torch.cat(parts)


def causal(model: Any, asked: Prompt, mean: Tensor) -> Tensor:
    """How much the log-probability falls when each patch is masked alone: one forward pass more than there are patches."""
    count = len(asked.image)
    hidden = torch.cat([torch.zeros(1, count, dtype=torch.bool), torch.eye(count, dtype=torch.bool)]).to(asked.image.device)
    found = masked(model, asked, hidden, mean)
    return found[0] - found[1:]


def curve(model: Any, asked: Prompt, mean: Tensor, values: Sequence[float], shares: Sequence[float], insert: bool) -> Tensor:
    """Probability of the token (len(shares),) with the highest patches of a map masked, or with all others masked.

    Args:
        values: the map; of equal ones the first is higher. shares: of the patches that are masked, or shown.
    """
    order = np.argsort(-np.asarray(values, float), kind="stable")
    top = torch.zeros(len(shares), len(order), dtype=torch.bool)
    for row, share in enumerate(shares):
        top[row, torch.from_numpy(order[: round(share * len(order))].copy())] = True
    return masked(model, asked, (~top if insert else top).to(asked.image.device), mean).exp()


def gradient(model: Any, asked: Prompt) -> tuple[Tensor, Tensor]:
    """Projected image (I, d) and the gradient of the log-probability with respect to it, float32."""
    places = asked.embedded[asked.image].detach().clone().requires_grad_(True)
    with torch.enable_grad():
        (found,) = torch.autograd.grad(said(model, asked, places[None]).sum(), places)
    return places.detach().float(), found.float()


def input_x_gradient(places: Tensor, found: Tensor, mean: Tensor) -> Tensor:
    """Of `gradient`: the gradient times the patch's difference from the mean patch, summed over the numbers: to first order `causal`."""
    return ((places - mean.float().clone()) * found).sum(-1)


def grad_cam(places: Tensor, found: Tensor) -> Tensor:
    """Of `gradient`: Grad-CAM (arXiv 1610.02391) on the projected patches: each number's mean gradient weighs it, negative sums are 0."""
    return (places @ found.mean(0)).clamp_min(0)


def integrated_gradients(model: Any, asked: Prompt, mean: Tensor, steps: int) -> Tensor:
    """Integrated gradients (arXiv 1703.01365) from the mean patch everywhere, by captum, summed over the numbers."""
    from captum.attr import IntegratedGradients

    places = asked.embedded[asked.image].detach().float()[None]
    base = mean.float().clone().expand_as(places)
    with torch.enable_grad():
        found = IntegratedGradients(lambda part: said(model, asked, part)).attribute(
            places, base, n_steps=steps, internal_batch_size=AT_ONCE
        )
    return found[0].sum(-1).float()


@torch.inference_mode()
def rollout(model: Any, asked: Prompt) -> Tensor:
    """Attention rollout (arXiv 2005.00928): attention of all layers, mean over heads, half of it the position's own, multiplied up."""
    lm = model.model.language_model
    own = lm.config._attn_implementation
    lm.set_attn_implementation("eager")
    try:
        layers = lm(inputs_embeds=asked.embedded[None], output_attentions=True, use_cache=False).attentions
    finally:
        lm.set_attn_implementation(own)
    total = None
    for weights in layers:
        step = weights[0].float().mean(0)
        step = (step + torch.eye(len(step), device=step.device)) / 2
        total = step if total is None else step @ total
    return total[-1, asked.image]


def centre(grid: tuple[int, int]) -> Tensor:
    """The nearer to the middle of the image, the higher: (rows * columns,)."""
    rows, columns = (torch.linspace(-1, 1, side) if side > 1 else torch.zeros(1) for side in grid)
    return -(rows[:, None].square() + columns.square()).sqrt().flatten()


def arbitrary(question: str, count: int, seed: int) -> Tensor:
    """Random numbers that depend on the question's name and the seed alone."""
    rng = np.random.default_rng([seed, *question.encode()])
    return torch.from_numpy(rng.random(count)).float()
