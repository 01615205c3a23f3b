"""Parameters of the system, as its `params.yaml` gives them: one group a stage, so that a change re-runs no more than it must."""

from __future__ import annotations

from dataclasses import dataclass

BASE, UNTRAINED = "base", "untrained"  # in tables of runs: the model as loaded, and the reference that every policy starts from


@dataclass(frozen=True)
class Source:
    """One set of preference pairs: where its files are, how they are read and how they are split."""

    layout: str  # factual_summary, ultrafeedback, hh_rlhf or jsonl; xsum: documents and summaries that pairs are made of
    asset: str | None  # of params.yaml
    hub: str | None  # a data set of the Hugging Face Hub; neither: `files` are paths from the project's root
    revision: str | None  # of the hub: commit, tag or branch
    files: tuple[str, ...]
    test_files: tuple[str, ...]  # the published test split
    first_test: int  # the first rows of `files` are test rows as well
    shares: dict[str, float]  # of the other groups: train, validation, test
    instruction: str | None  # {text} stands for the sentence or document; null: the set has prompts of its own


@dataclass(frozen=True)
class Data:
    """Sets of preference pairs, and how pairs are made of summaries."""

    sets: dict[str, Source]
    document_words: int  # of a document that a prompt shows
    per_document: int  # pairs made of one summary at most, of different kinds
    kinds: tuple[str, ...]  # of stages.sepo.corrupt.KINDS


@dataclass(frozen=True)
class Method:
    """One method of preference optimisation."""

    name: str  # its name in every table
    loss: str  # of stages.sepo.method.LOSSES
    selector: str  # tokens that are trained on: all, oracle or random
    reference: str  # none, live (the policy without its LoRA, in every step) or cached (log-probabilities taken once)
    chosen_share: float  # of tokens selected in the chosen response
    rejected_share: float  # and in the rejected one
    beta: float  # of the loss; the scale of sepo
    gamma: float  # target margin of simpo and confpo; the margin of sepo
    alpha: float  # of tdpo2
    weight: float  # of the chosen response's likelihood in rrhf, of the odds ratio in orpo


# The one DPO: what the cost of every other method is given in, and with a cached reference what trains the oracles.
LIVE_DPO = Method("dpo", "dpo", "all", "live", chosen_share=1.0, rejected_share=1.0, beta=0.1, gamma=0.0, alpha=0.0, weight=0.0)


@dataclass(frozen=True)
class Tokens:
    """How pairs become tokens."""

    system: str | None  # system message of a chat model; null: the model's own
    max_prompt: int  # tokens; a pair with a longer prompt is left out
    min_response: int  # tokens; a pair with a shorter response is left out
    max_length: int  # tokens; a longer text is cut and ended
    train: dict[str, int | None]  # set -> pairs of its train split that are used; null: all
    test: dict[str, int | None]  # set -> pairs of its test split


@dataclass(frozen=True)
class Lora:
    """The part of a model that is trained."""

    rank: int
    alpha: int
    targets: tuple[str, ...]
    layers_from: float  # share of the depth above which layers are adapted; 0: all


@dataclass(frozen=True)
class Fit:
    """Optimisation of one kind of run."""

    epochs: float
    batch_size: int
    micro_batch: int  # pairs of one forward pass; 0: a process's whole share
    learning_rate: float
    schedule: str
    warmup: float
    weight_decay: float
    betas: tuple[float, float]


@dataclass(frozen=True)
class OracleModel:
    """A reference and the oracle trained from it by DPO."""

    name: str
    model: str
    depth: int | None  # only the lowest layers of the model, with its final norm and head; null: all
    set: str  # preference pairs it learns from
    share: float  # of them


@dataclass(frozen=True)
class Oracle:
    """Reference models, DPO oracles, token scores."""

    oracles: tuple[OracleModel, ...]
    scored: tuple[str, ...]  # sets whose pairs are scored
    beta: float
    reference: Fit
    dpo: Fit


@dataclass(frozen=True)
class Experiment:
    """Policies to be trained: every method with every oracle, set and seed."""

    name: str
    methods: tuple[str, ...]
    oracles: tuple[str, ...]  # of the scores; ignored by a method that selects nothing by them
    sets: tuple[str, ...]  # pairs to train on
    seeds: tuple[int, ...]
    chosen_shares: tuple[float, ...] | None  # in place of the method's own; null: its own
    rejected_shares: tuple[float, ...] | None
    compute: bool  # as many steps as cost what DPO's cost, and not as many as DPO's
    measured: tuple[str, ...]  # sets whose test pairs its policies are measured on


@dataclass(frozen=True)
class Train:
    """Policies."""

    model: str
    reference: str  # the oracle whose reference every policy starts from
    pairs: int | None  # of the train pairs of a set, the first ones; null: all
    fit: Fit
    methods: tuple[Method, ...]
    experiments: tuple[Experiment, ...]
    prompts: int  # of the first measured set, answered by the policies of the first seed of the first experiment
    answer_tokens: int  # at most


@dataclass(frozen=True)
class Judge:
    """A language model that compares answers; see `judge`."""

    model: str  # of the catalog; with `url` the name that its server knows it by
    url: str | None  # of a server's chat completions; null: the model runs here
    against: str  # the run whose answers all others are compared with


@dataclass(frozen=True)
class Params:
    """One profile of the system."""

    data: Data
    tokens: Tokens
    lora: Lora
    oracle: Oracle
    train: Train
    judge: Judge | None  # null: nobody
    seed: int
