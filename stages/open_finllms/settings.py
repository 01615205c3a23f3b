"""Parameters of the system, as `params.yaml` beside it gives them: one group a stage, so that a change re-runs no more than it must."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PriceFile:
    """One file of daily prices: where it is, how it is laid out, what its prices mean."""

    source: str  # asset of the project's params.yaml, or own: a file in data/own/open_finllms/
    file: str
    layout: str  # one: a share; long: a column names the share; wide: a column of adjusted closes for each share
    date_format: str | None  # null: 2020-12-31
    kind: str  # share or index
    quoted: str  # open, high, low and close: as traded, or adjusted for splits
    adjusted: str  # what adj_close is adjusted for
    names: dict[str, str]  # of the shares to read, as the file calls them -> name; layout one has one


@dataclass(frozen=True)
class Prices:
    """Daily prices of shares and indices."""

    files: tuple[PriceFile, ...]
    min_days: int  # a shorter series is refused
    present: float  # share of the other series with a price above which a day without one is noted as missing


@dataclass(frozen=True)
class Corpus:
    """Texts and tables to go on pre-training on."""

    tokenizer: str  # of models/<name>/base
    weights: dict[str, float]  # of the parts
    replay: float  # share of general text among all tokens
    tokens: int  # to train on, all parts together
    block_tokens: int  # of a table as text
    until: str  # first day that is not read
    held_out_shares: tuple[str, ...]  # whose tables are for perplexity
    held_out: float  # share of the texts that is for perplexity
    held_out_tokens: int  # of each part, at most
    min_characters: int  # a shorter text is left out
    ngram: int  # tokens of the n-grams that near duplicates are compared by
    near: float  # Jaccard similarity from which two texts are near duplicates


@dataclass(frozen=True)
class Series:
    """One series of `daily.parquet`."""

    asset: str
    source: str


@dataclass(frozen=True)
class Window:
    """Days on which is traded, found by a rule that looks at prices alone, never at what a method earns (`windows.py`)."""

    rule: str  # fall, rise: the days in which the index lost or gained most; last: of each share; all
    prices: int | None  # length of the window; null with the rule all
    first: str  # days to choose from, as 2020-12-31
    last: str
    shares: tuple[str, ...]  # groups of shares


@dataclass(frozen=True)
class Execution:
    """How decisions become positions and returns, as `trading.run` takes it."""

    mode: str  # finmem or realistic
    fee_bps: float  # of the notional of a trade, in hundredths of a per cent
    short: bool  # whether sell means a short position, or only cash


@dataclass(frozen=True)
class Trading:
    """The trading simulation."""

    index: Series  # what windows are chosen by
    shares: dict[str, dict[str, tuple[str, ...]]]  # group -> source -> shares
    windows: dict[str, Window]
    executions: dict[str, Execution]
    periods: int  # returns a year
    random: int  # draws of random decisions
    block: int | None  # days of a block of the bootstrap; null: the cube root of the number of returns
    draws: int  # resamples
    equity_every: int  # rows of the table `equity` in a window of more than a year: one in so many days


@dataclass(frozen=True)
class Tasks:
    """The offline tasks."""

    sizes: dict[str, tuple[int, int, int]]  # task -> items of train, valid, test; of a real set fewer if there are no more
    shares: dict[str, dict[str, tuple[str, ...]]]  # split -> source -> shares
    spans: dict[str, tuple[str, str]]  # split -> first and last day
    rows: int  # days in a table that is asked about
    window: int  # days that the figures of a stock movement are computed from
    shown: int  # of these, in the prompt
    rise: float  # change of the next close from which it is a rise
    fall: float  # to which it is a fall
    answer_words: int  # of a finance question's answer, whole sentences


@dataclass(frozen=True)
class Instructions:
    """What FinLLaMA-Instruct is tuned on."""

    collection: float  # items of the source collection, over those of the tasks that it has
    sums: int  # items of the source sums
    checks: int  # of the source checks
    words: int  # of a context, the first ones


@dataclass(frozen=True)
class Answers:
    """The models' answers to the test items."""

    longest: int  # tokens of a prompt; a longer one is cut
    batch_tokens: int  # prompt and new tokens of a batch
    few_shot: dict[str, int]  # task file -> test items; not asked of FinLLaMA-Instruct


@dataclass(frozen=True)
class Agent:
    """The trading agent with a language model: which runs there are and how it reads."""

    models: tuple[str, ...]  # names of the catalog
    encoder: str  # sentence vectors of notes, an asset
    windows: dict[str, dict[str, tuple[str, ...]]]  # window of the group trading -> source -> shares
    seeds: int  # of the importance of memories, 0, 1, …
    warm: int  # trading days before a window that fill the memory
    calibrated: int  # trading days before each day whose mean is what the model usually thinks of each word
    mode: str  # strict, or paper: the released code with its faults
    form: str  # of the prompts: full or brief
    top_k: int  # memories of each layer that are searched for
    limit: int  # tokens of a prompt; memories are left out until it fits
    written_every: int  # one prompt in so many is also answered in writing
    written_tokens: int  # of a written answer


@dataclass(frozen=True)
class Arm:
    """One run of the pre-training."""

    general: float  # share of general text among its tokens
    learning_rate: float


@dataclass(frozen=True)
class Pretrain:
    """Continual pre-training: FinLLaMA."""

    model: str  # catalog name of the model that is trained on
    arms: dict[str, Arm]  # by name
    finance_blocks: int  # blocks of finance in every arm; 0 takes all
    block_tokens: int  # tokens that documents laid end to end are cut into
    layers_from: float  # share of the depth below which nothing is trained; 0 trains all weights
    epochs: float
    batch_size: int  # blocks of an optimiser step
    micro_batch: int  # of a forward pass
    schedule: str
    warmup: float  # share of the steps
    weight_decay: float
    activation_checkpointing: bool
    save_steps: int  # steps between checkpoints


@dataclass(frozen=True)
class Perplexity:
    """Held-out documents that every model is scored on."""

    tokens: int  # of the beginning of a document that are scored
    documents: dict[str, int]  # part -> documents; the parts are those of the corpus and everyday


@dataclass(frozen=True)
class Instruct:
    """Instruction tuning: FinLLaMA-Instruct."""

    start: str  # arm of `pretrain` that is tuned
    items: int  # training items at most, drawn evenly over tasks; 0 takes all
    max_prompt: int  # items with longer prompts are left out, in tokens
    max_answer: int  # likewise
    epochs: float
    batch_size: int
    micro_batch: int
    row_tokens: int  # width of packed rows
    learning_rate: float
    schedule: str
    warmup: float
    weight_decay: float
    rank: int  # of the LoRA
    alpha: float
    dropout: float
    targets: tuple[str, ...]
    layers_from: float  # share of the depth below which nothing is adapted
    save_steps: int


@dataclass(frozen=True)
class VisionData:
    """Charts and tables, and questions about them."""

    source: str  # of the prices
    shares: dict[str, tuple[str, ...]]  # split -> shares
    spans: dict[str, tuple[str, str]]  # split -> first and last day
    styles: dict[str, tuple[str, ...]]  # split -> styles of `vision_charts`
    images: dict[str, dict[str, int]]  # split -> form -> pictures
    draws: dict[str, int]  # split -> number of its draw; another number gives other pictures of the same kind
    size: int  # pixels of a side


@dataclass(frozen=True)
class VisionTrain:
    """FinLLaVA: a tower and a projector for FinLLaMA, trained in two stages."""

    tower: str  # asset with the weights of EfficientNet-Lite0
    image_token: str  # special token of FinLLaMA's tokenizer that no text holds
    align_steps: int  # of the first stage, the projector alone
    align_batch: int  # places of a picture
    align_rate: float
    letters: float  # share of the pictures of which one question is asked as multiple choice as well
    left_out: tuple[str, ...]  # kinds of questions that are not trained on
    shown: int  # image tokens that are shown in the first part of the second stage, at random; 0 shows all
    shown_share: float  # of its steps, that first part
    epochs: float
    batch_size: int  # pictures of an optimiser step, each with all its questions
    learning_rate: float  # of the LoRA
    projector_rate: float
    schedule: str
    warmup: float
    weight_decay: float
    rank: int
    alpha: float
    dropout: float
    targets: tuple[str, ...]
    layers_from: float  # share of the depth below which nothing is adapted


@dataclass(frozen=True)
class VisionAnswers:
    """FinLLaVA's answers."""

    batch: int  # pictures at once
    written: int  # multiple-choice questions of the split test that are answered in writing, for each prompt; 0 takes all
    new_tokens: dict[str, int]  # prompt -> at most


@dataclass(frozen=True)
class Params:
    """A profile of the file."""

    prices: Prices
    corpus: Corpus
    pretrain: Pretrain
    perplexity: Perplexity
    instruct: Instruct
    trading: Trading
    tasks: Tasks
    instructions: Instructions
    answers: Answers
    agent: Agent
    vision_data: VisionData
    vision_train: VisionTrain
    vision_answers: VisionAnswers
    seed: int  # the project's, from the project's params.yaml
