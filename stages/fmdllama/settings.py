"""Parameters of the system, as `params.yaml` beside this module gives them: one group a stage."""

from __future__ import annotations

from dataclasses import dataclass

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class Part:
    """One split of the generated set: its own shares, years and wordings."""

    shares: tuple[str, ...]  # tickers; no share is in two splits
    years: tuple[int, int]  # first and last; no year is in two splits
    contexts: int  # each with three triples of claims: nine items
    notes: int  # true notes of the two-way task, each with a fake twin


@dataclass(frozen=True)
class Data:
    """The generated set."""

    sources: dict[str, str]  # ticker -> source of its prices; every other share is read from `source`
    source: str
    kinds: dict[str, int]  # kind of claim -> weight
    splits: dict[str, Part]


@dataclass(frozen=True)
class Variant:
    """One fine-tuned model."""

    name: str
    model: str
    setting: str  # retrieved or full: what it is shown in training
    asked: tuple[str, ...]  # settings it is asked in afterwards
    form: str  # label first or reason first
    tasks: tuple[str, ...]  # claim, article
    kinds: tuple[str, ...]  # kinds of claims; empty for all
    contexts: int  # training contexts of claims, each with nine; 0 for all
    notes: int  # training notes, each with its fake twin; 0 for all


@dataclass(frozen=True)
class Train:
    """Fine-tuning."""

    variants: tuple[Variant, ...]
    epochs: float
    batch_rows: int  # rows of an optimiser step, each of one item, or of some of one whole context (`method.TOGETHER`)
    micro_rows: int  # of a forward pass; 0 for all
    learning_rate: float
    schedule: str
    warmup: float
    weight_decay: float
    rank: int  # of the LoRA; 0 trains all weights
    alpha: float
    targets: tuple[str, ...]
    layers_from: float  # share of the layers below which no LoRA is attached
    explain_every: int  # every so manyth claim is asked for its explanation and learnt with it; 1 for all
    reason_weight: float  # of a token that stands before the label, against 1 of the label
    explanation_weight: float  # of a token that follows the label
    longest: int  # tokens of prompt and answer; longer contexts are cut


@dataclass(frozen=True)
class Measure:
    """Answers on the test set."""

    contexts: dict[str, int]  # setting of the claims, or article -> test contexts, or notes, that are asked about; 0 for all
    reason_tokens: int  # of a reason that is written before the label is read, at most
    decode_contexts: int  # test contexts whose claims are answered in full, with the explanation; 0 for all
    new_tokens: int  # of a decoded answer, at most
    temperature: float  # 0 is greedy; the paper samples at 0.9
    top_p: float  # with sampling
    shots: int  # solved training claims before each prompt of the few-shot method; 0 leaves the method out
    shot_contexts: int  # test contexts whose claims the few-shot method is asked about; 0 for all
    encoder: str  # asset whose token embeddings BERTScore matches


@dataclass(frozen=True)
class Evaluate:
    """What the evaluation compares."""

    main: dict[
        str, str | None
    ]  # retrieved, full and article -> the variant that claims about this setting or task are about; null for none
    copied_words: tuple[int, ...]  # how many of a context's first and of its last words the copied explanations have


@dataclass(frozen=True)
class Params:
    """A profile of the file."""

    data: Data
    train: Train
    measure: Measure
    evaluate: Evaluate
    seed: int  # the project's
