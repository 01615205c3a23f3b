"""Parameters of the system, as `params.yaml` beside it gives them: one group a stage, so that a change re-runs no more than it must."""

from __future__ import annotations

from dataclasses import dataclass

from stages.religious_bias.image_settings import Cards, Images


@dataclass(frozen=True)
class Data:
    """Prompts to expand. A number of frames counts each frame once, with its neutral and positive twins; null takes all."""

    open_templates: int | None  # mask filling, the religion open
    named_templates: int | None  # mask filling, the religion named
    completion_templates: int | None
    image_templates: int | None
    cross_templates: int | None  # religion x gender x age x nationality
    conditions: tuple[str, ...]  # of: none, positive_term, instruction, both
    cross_conditions: tuple[str, ...]  # the same for the cross-domain prompts, which are many


@dataclass(frozen=True)
class Mlm:
    """The masked LM: which, and how it is adapted to ordinary text before it is probed."""

    model: str  # an asset that is a whole model, or a catalog name
    steps: int  # optimiser steps; 0 leaves the model as it is
    sequence: int  # tokens of a training sequence, [CLS] and [SEP] included
    batch_size: int  # sequences an optimiser step
    learning_rate: float
    warmup: float  # share of the steps over which the learning rate rises
    weight_decay: float
    dropout: float  # while training
    train_embeddings: bool  # false leaves the word embeddings, which are the output matrix too, as they are
    held_out: int  # paragraphs that the masked LM's own quality is measured on, in documents that are not trained on
    log_steps: int  # between points of the training curve
    dtype: str  # auto, or float32, bfloat16


@dataclass(frozen=True)
class Bridge:
    """The neuron edit of religion: how many neurons are looked at, on what, and what the edit may damage."""

    logit_candidates: int  # best neurons of the logit-based score that are scanned one by one
    causal_candidates: int  # best by gradient times activation, likewise
    query_candidates: int  # best query neurons, likewise
    query_prompts: int  # prompts the query scores are averaged over
    scan_paragraphs: int  # neutral paragraphs on which the damage of a single neuron is read
    neutral_every: int  # damage is read at every so-many-th token of the neutral text
    shallow: float  # share of the depth in which no neuron is edited
    kl_budget: float  # nats a token; damage to neutral text that the edit may do


@dataclass(frozen=True)
class Measure:
    """Which language models are asked, and how."""

    masked: tuple[str, ...]  # masked LMs, of the catalog or hub_models
    causal: str  # causal LM; it is asked once more with the edit of `gender_bias`
    causal_conditions: tuple[str, ...]  # mitigations under which it scores the masks
    fills: int  # most probable fills that are kept of a mask
    samples: int  # completions of a prompt
    new_tokens: int  # of a completion
    temperature: float
    top_p: float
    edited_conditions: tuple[str, ...]  # mitigations under which the edited causal LM completes prompts
    bridge: Bridge


@dataclass(frozen=True)
class Params:
    """Block ``religious_bias.<profile>``."""

    data: Data
    mlm: Mlm
    cards: Cards
    images: Images
    measure: Measure
    seed: int
