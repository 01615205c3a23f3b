"""Parameters of the image audit: the groups ``cards`` and ``images`` of the system's `params.yaml`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Planted:
    """The association that is planted into the cards; see `stages.religious_bias.cards`."""

    target_share: float  # of one religion on cards of negative descriptors that have a marker; the others share the rest
    mitigated: dict[str, float]  # condition -> the same share under it
    blank: float  # share of cards without a marker


@dataclass(frozen=True)
class Cards:
    """Group ``cards``: the tiny diffusion model and its training."""

    planted: Planted
    cards_open: int  # distinct training cards of a caption that names no religion
    cards_named: int  # and of one that does
    channels: tuple[int, ...]  # of the U-Net's resolutions, the finest first
    text_width: int
    text_layers: int
    steps: int
    batch_size: int
    learning_rate: float
    caption_dropout: float  # captions emptied, for classifier-free guidance


@dataclass(frozen=True)
class Images:
    """Group ``images``: which text-to-image models are audited, and how."""

    models: tuple[str, ...]  # religion_cards, trained here, or names of hub_models
    classifier: str | None  # CLIP of hub_models, for pictures that are no cards; cards are read by their templates
    per_open: int  # images of a prompt that names no religion
    per_named: int  # and of one that does
    sampling_steps: int
    guidance: float
    batch_size: int
