"""Parameters of the image audit: the group ``images`` of the system's block in `params.yaml`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Planted:
    """The association that is planted into the cards; see `stages.religious_bias.cards`."""

    skewed: bool  # False plants none: every caption that names no religion is uniform
    target_share: float  # of one religion on cards of negative descriptors that have a marker; the others share the rest
    mitigated: dict[str, float]  # condition -> the same share under it
    blank: float  # share of cards without a marker


@dataclass(frozen=True)
class Cards:
    """The tiny diffusion model and its training."""

    planted: Planted
    cards_open: int  # distinct training cards of a caption that names no religion
    cards_named: int  # and of one that does
    channels: tuple[int, ...]  # of the U-Net's resolutions, 8 x 8 first
    text_width: int
    text_layers: int
    steps: int
    batch_size: int
    learning_rate: float
    caption_dropout: float  # captions emptied, for classifier-free guidance


@dataclass(frozen=True)
class Images:
    """Group ``images`` of a profile."""

    model: str  # a model of the catalog: trained here, or of hub_models
    cards: Cards | None  # null where the model is not trained here
    classifier: str | None  # CLIP of hub_models for pictures that are no cards; null reads cards by their templates
    per_prompt: int  # images a prompt
    sampling_steps: int
    guidance: float
    batch_size: int
