"""Parameters of the system, as `params.yaml` beside this module gives them: one group a stage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from catalog.base.errors import CatalogError

Pair = tuple[str, str]  # source and target level
GRADED = "data/graded_documents/raw"  # the project's own documents: what the corpus `graded` reads without a path


def named(pair: Pair) -> str:
    """A pair of levels in words, to be read by people alone: tables have a column for each level."""
    return f"{pair[0]} to {pair[1]}"


def check_pair(pair: Pair, among: Sequence[str]) -> None:
    """Raise a CatalogError unless a pair is two different levels of ``among``."""
    if len(set(pair)) != 2 or not set(pair) <= set(among):
        raise CatalogError(f"The pair {named(pair)} must be two different levels of {', '.join(among)}.")


@dataclass(frozen=True)
class Data:
    """Corpus, levels, pairs, splits and the shuffled documents of the coherence model."""

    corpus: str  # a name of stages.simdoc.corpora.LOADERS
    path: str | None  # folder or file, from the project's root; null: the project's own documents
    files: tuple[str, ...]  # under path: source and target of dwikipedia, the file of jsonl; empty for the others
    levels: tuple[str, ...]  # reading levels that are used, hardest first; documents of others are left out
    pairs: tuple[Pair, ...]  # source and target level
    shares: dict[str, float]  # of train, validation, test
    shuffles: int  # shuffled versions of each document
    min_sentences: int  # of a document that is shuffled


@dataclass(frozen=True)
class Coherence:
    """The coherence model."""

    encoder: str  # an asset of params.yaml
    hidden: int  # h of either direction
    pooling: str  # mean over sentences, or the last state of either direction
    dropout: float  # on the embeddings and on what is pooled
    batch_size: int  # originals of a step, each with a shuffle
    learning_rate: float
    weight_decay: float
    epochs: int  # at most
    patience: int  # epochs without a lower loss on validation before it stops


@dataclass(frozen=True)
class Variant:
    """One simplifier: its weights in L = L_simp + lambda_r L_read + lambda_c L_coh."""

    name: str
    lambda_r: float
    lambda_c: float
    mode: str  # of coherence in training: none, constant or reinforce
    start: str | None  # reinforce: the variant it goes on from


@dataclass(frozen=True)
class Reinforce:
    """Training by self-critical reinforcement."""

    rounds: int  # of sampling and training
    documents: int  # sampled in a round
    steps: int  # optimiser steps of a round
    learning_rate: float
    temperature: float
    max_new_tokens: int  # of a chunk


@dataclass(frozen=True)
class Train:
    """The simplifiers."""

    model: str
    variants: tuple[Variant, ...]
    reinforce: Reinforce
    pairs: tuple[Pair, ...]  # of data.pairs
    unit: str  # paragraph: pairs whose numbers of paragraphs agree are cut into pairs of paragraphs; document: never
    name_level: bool  # whether the prefix names the target level
    read_sources: bool  # whether the readability head also learns the level of complex texts
    read_every: int  # one in so many texts of the rarest level is classified, and as many of each other level
    max_source: int  # tokens of a text that are read; 0: all
    max_target: int  # tokens of a target that are learnt; 0: all
    row_tokens: int  # of a packed row
    epochs: float
    batch_size: int  # triples of a step
    micro_batch: int  # triples of a forward pass; 0: all
    learning_rate: float
    schedule: str
    warmup: float
    weight_decay: float
    rank: int  # of the LoRA; 0: all weights are trained
    alpha: int
    dropout: float
    targets: tuple[str, ...]
    layers_from: float  # share of the depth above which layers are adapted; 0: all


@dataclass(frozen=True)
class System:
    """What writes the outputs of one row of the main table."""

    name: str
    setting: str  # zero-shot, few-shot or fine-tuned
    variant: str | None  # of train.variants, where it is fine-tuned
    rerank: int  # samples of which the coherence model takes the best, beside the greedy one; 0: greedy alone
    pairs: tuple[Pair, ...]  # of data.pairs


@dataclass(frozen=True)
class Measure:
    """Outputs on test documents and their raw scores."""

    systems: tuple[System, ...]
    instruction: str  # of zero-shot and few-shot; {level} is the target level
    shots: int  # training documents in the prompt of few-shot
    shot_tokens: int  # of them, at most
    max_new_tokens: int  # of a chunk
    temperature: float  # of the samples
    batch_tokens: int  # prompt and new tokens of a batch; 0: as the device allows
    documents: int | None  # test documents, the first ones; null: all
    readers: tuple[str, ...]  # variants whose readability head is tested; "untrained" is the model as it was


@dataclass(frozen=True)
class Evaluate:
    """Scores."""

    between: str | None  # the level that is also a system: what a person's simplification to it scores
    draws: int  # resamples of an interval


@dataclass(frozen=True)
class Params:
    """One profile of ``stages/simdoc/params.yaml``."""

    data: Data
    coherence: Coherence
    train: Train
    measure: Measure
    evaluate: Evaluate
    seed: int  # the project's, from the top of params.yaml
