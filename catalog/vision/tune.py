"""Teach a LLaVA to answer: a LoRA on the language model and the projector, all questions about an image in one row behind it.

LLaVA's second stage. Three things make it short:

- the tower is frozen and its features are computed before (`catalog.vision.features`);
- the image's tokens stand once before all questions about it (`catalog.training.branches`), and no question sees another;
- in the first part of the steps only some image tokens are shown, chosen at random each time, at the positions that they have in the whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from catalog.base.errors import CatalogError
from catalog.models.answers import inner_ids
from catalog.training.adapters import fold_in, lora
from catalog.training.branches import branch_collate, join
from catalog.training.losses import label_log_probs
from catalog.training.packing import IGNORE
from catalog.training.settings import Settings
from catalog.training.train import Run, train

PLACE = "patch"  # key of an example: 1 + the row of `features` that a token stands for, 0 for a word


@dataclass(frozen=True)
class Thinning:
    """Show only `tokens` image tokens of each image in the first `share` of the steps; 0 tokens show all. `things`: see `thinned`."""

    tokens: int = 0
    share: float = 0.0
    things: np.ndarray | None = None


def examples(processor: Any, places: int, rows: Sequence[tuple[int, Sequence[tuple[str, str]]]]) -> list[dict[str, list]]:
    """An example for each image.

    Args:
        places: image tokens of an image.
        rows: (number of the image in `features`, [(prompt with one ``<image>``, answer), …]); an answer as it stands behind its prompt.

    Raises:
        CatalogError: prompts of one image that differ before ``<image>``, or a prompt without it.
    """
    tokenizer, token, end = processor.tokenizer, processor.image_token_id, processor.tokenizer.eos_token_id
    made = []
    for image, pairs in rows:
        prompts = tokenizer([prompt for prompt, _ in pairs])["input_ids"]
        answers = [[*ids, end] for ids in inner_ids(tokenizer, [answer for _, answer in pairs])]
        heads = {tuple(ids[: ids.index(token)]) if ids.count(token) == 1 else None for ids in prompts}
        if len(heads) != 1 or None in heads:
            raise CatalogError(f"Every prompt about an image needs one {processor.image_token}, with the same words before it.")
        head = list(heads.pop())
        tails = [ids[len(head) + 1 :] for ids in prompts]
        endings = [
            {"input_ids": tail + answer, "labels": [IGNORE] * len(tail) + answer, PLACE: [0] * len(tail + answer)}
            for tail, answer in zip(tails, answers, strict=True)
        ]
        row = join([*head, *[token] * places], endings)
        row[PLACE][len(head) : len(head) + places] = range(1 + image * places, 1 + (image + 1) * places)
        made.append(row)
    return made


def thinned(
    row: Mapping[str, Sequence[int]], tokens: int, rng: np.random.Generator, things: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """An example of `examples` with ``tokens`` of its image tokens, chosen at random; the others are left out, no position moves.

    things: for each row of `features` the number of the thing there, -1 for none; two places of each thing are then among the tokens.
    """
    patch = np.asarray(row[PLACE])
    shown = rng.permutation(np.flatnonzero(patch))
    if things is not None:
        here = things[patch[shown] - 1]
        rank = np.array([(here[:i] == thing).sum() for i, thing in enumerate(here)])
        shown = shown[np.argsort((here < 0) | (rank > 1), kind="stable")]
    kept = patch == 0
    kept[shown[:tokens]] = True
    number = np.cumsum(kept) - 1  # of each token in the new row; of one that is left out, that of the kept one before
    out = {key: np.asarray(values)[kept] for key, values in row.items()}
    out["before"] = np.maximum(number[out["before"]], 0)
    return out


class Collate:
    """Examples to a batch, thinned in the first steps; counts what was read."""

    def __init__(self, thinning: Thinning, batches: int, seed: int) -> None:
        self.thinning, self.until = thinning, round(thinning.share * batches) if thinning.tokens else 0
        self.rng, self.calls, self.tokens = np.random.default_rng([seed, 2]), 0, 0

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        if self.calls < self.until:
            rows = [thinned(row, self.thinning.tokens, self.rng, self.thinning.things) for row in rows]
        self.calls += 1
        self.tokens += sum(len(row["input_ids"]) for row in rows)
        return branch_collate(rows)


class _Times(nn.Module):
    """A weight as a multiple of the number that is trained, whose learning rate it multiplies under Adam."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, value: Tensor) -> Tensor:
        return value * self.factor

    def right_inverse(self, value: Tensor) -> Tensor:
        return value / self.factor


@contextmanager
def own_rate(module: nn.Module, factor: float):
    """Inside, Adam's steps on the weights of `module` are ``factor`` times as long as its learning rate says."""
    from torch.nn.utils import parametrize

    layers = [layer for layer in module.modules() if isinstance(layer, nn.Linear)]
    for layer in layers:
        for name in [name for name, value in layer.named_parameters(recurse=False)]:
            parametrize.register_parametrization(layer, name, _Times(factor))
    try:
        yield
    finally:
        for layer in layers:
            for name in list(layer.parametrizations):
                parametrize.remove_parametrizations(layer, name)


def tune(
    model: Any,
    features: Tensor,
    rows: Sequence[Mapping[str, Any]],
    settings: Settings,
    *,
    projector_rate: float,
    thinning: Thinning = Thinning(),
) -> Run:
    """Train and fold the LoRA in; the model has its new weights afterwards.

    Args:
        model: a LLaVA; the language model in any type, the projector is trained in float32.
        features: (images, places, numbers) of `catalog.vision.features.features`.
        rows: of `examples`.
        settings: of the LoRA, and for both; `save_steps` must be 0, since a checkpoint would not hold the projector.
        projector_rate: the projector's highest learning rate.

    Raises:
        CatalogError: checkpoints are asked for.
    """
    if settings.save_steps:
        raise CatalogError("A LLaVA is trained without checkpoints, which would lack its projector; set save_steps to 0.")
    flat = features.flatten(0, 1)
    model.model.vision_tower.to(model.lm_head.weight.dtype)  # it is not run; a saved model has one type
    projector = model.model.multi_modal_projector
    own = projector.linear_1.weight.dtype
    embed, width = model.get_input_embeddings(), model.config.text_config.hidden_size

    def loss(adapted: Any, batch: dict[str, Tensor]) -> Tensor:
        patch = batch[PLACE]
        seen = projector(flat[patch[patch > 0].cpu() - 1].to(patch.device, torch.float32))
        hidden = embed(batch["input_ids"]).to(seen.dtype)
        hidden = hidden.masked_scatter((patch > 0)[..., None].expand(*patch.shape, width), seen)
        return -label_log_probs(adapted, {**batch, "hidden": hidden})[0].mean()

    steps = settings.steps or -(-round(settings.epochs * len(rows)) // settings.batch_size)
    micro = settings.micro_batch or settings.batch_size
    collate = Collate(thinning, steps * settings.batch_size // micro, settings.seed)
    settings = replace(settings, steps=steps)
    projector.float()
    speaker = language_model(model)
    speaker.projector = projector  # so that it is trained beside the LoRA
    with lora(speaker, settings) as adapted, own_rate(projector, projector_rate / settings.learning_rate):
        projector.requires_grad_(True)
        run = train(adapted, rows, settings, loss_fn=loss, collate=collate, desc="training the LLaVA")
    del speaker.projector
    projector.to(own).requires_grad_(False)
    fold_in(speaker, settings, run.tensors)
    info = run.info | {"tokens": collate.tokens, "tokens_per_second": round(collate.tokens / run.info["seconds"], 1)}
    return Run(run.tensors, run.history, info)


def language_model(model: Any) -> Any:
    """The causal language model inside a LLaVA; it shares all modules with it."""
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        speaker = AutoModelForCausalLM.from_config(model.config.text_config)
    speaker.model, speaker.lm_head = model.model.language_model, model.lm_head
    return speaker.eval()
