"""What the frozen tower sees, computed once for each image, before the projector and the language model are trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from catalog.base.progress import progress

BATCH = 16  # images at once


def pixels(processor: Any, images: Sequence[Any]) -> Tensor:
    """(n, 3, H, W) of PIL images, as the processor makes them for a prompt."""
    made = processor.image_processor(images=[image.convert("RGB") for image in images], return_tensors="pt")
    return made["pixel_values"]


@torch.inference_mode()
def features(model: Any, processor: Any, images: Sequence[Any], dtype: torch.dtype = torch.bfloat16) -> Tensor:
    """(n, places, numbers): the hidden states that LLaVA's projector gets, of the layer and places that the configuration chooses.

    Computed in float32 where the tower is in it, and kept in `dtype`.
    """
    tower = model.model.vision_tower
    parts = []
    with progress(len(images), "features", "image") as advance:
        for start in range(0, len(images), BATCH):
            some = images[start : start + BATCH]
            parts.append(_chosen(model.config, _hidden(tower, pixels(processor, some))).to("cpu", dtype))
            advance(len(some))
    return torch.cat(parts)


def standardise(model: Any, processor: Any, images: Sequence[Any]) -> None:
    """Standardise the features of a `LiteTower` over some images."""
    tower = model.model.vision_tower
    batches = (pixels(processor, images[start : start + BATCH]) for start in range(0, len(images), BATCH))
    tower.standardise(_fast(batch.to(tower.device)) for batch in batches)


def _hidden(tower: Any, batch: Tensor) -> Sequence[Tensor]:
    return tower(_fast(batch.to(tower.device, tower.dtype)), output_hidden_states=True, return_dict=True).hidden_states


def _fast(batch: Tensor) -> Tensor:
    """Colours of a pixel side by side in memory: on a CPU four times as fast for a convolutional network, and the same numbers."""
    return batch.contiguous(memory_format=torch.channels_last)


def _chosen(config: Any, hidden: Sequence[Tensor]) -> Tensor:
    """As `LlavaModel.get_image_features` chooses: one layer or several side by side, without the first place or with it."""
    layers = config.vision_feature_layer
    first = 1 if config.vision_feature_select_strategy == "default" else 0
    return torch.cat([hidden[layer][:, first:] for layer in ([layers] if isinstance(layers, int) else layers)], -1)
