"""Parameters of the system, as `params.yaml` beside it gives them: one group a stage, so that a change re-runs no more than it must."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """One table: where it comes from and how it is read."""

    asset: str | None  # of params.yaml; null: `files` are paths from the project's root
    files: tuple[str, ...]  # a second file is the published test split
    form: str  # arff (also KEEL's .dat), csv, tsv, or csv2 (semicolons, and commas in numbers)
    missing: tuple[str, ...]  # what an unquoted missing cell reads
    columns: tuple[str, ...] | None  # of a CSV without a header line
    target: str
    task: str  # classification or regression
    numeric: tuple[str, ...] | None  # columns that are numbers; those named in neither list are judged by their cells (column_types.py)
    categorical: tuple[str, ...]  # columns that are categories, whatever their cells look like
    aliases: dict[str, str]  # short keys of long column names, for prompts
    description: str  # what a row is, in the plural; part of the instruction
    neighbours: int  # k rows shown in an instruction
    min_same_label: int  # of the k; a row with fewer is no target; 0 keeps all
    sensitive: str  # the column that an attacker would like to know
    known: tuple[str, ...]  # the columns that he knows already
    shares: dict[str, float]  # of train, validation, test, holdout


@dataclass(frozen=True)
class Data:
    """Tables, splits and the neighbours that instructions are made of."""

    tables: dict[str, Table]
    distance: str  # gower, or harmonic as released
    label_in_distance: bool


@dataclass(frozen=True)
class Generator:
    """One LLM generator to be trained."""

    name: str
    table: str
    form: str  # json: instructions with neighbours (HARMONIC); great: rows alone as "name is value"
    epochs: int
    rows: int | None  # train rows it sees, the first ones; null: all
    permute: bool  # an order of columns of its own for each record


@dataclass(frozen=True)
class Train:
    """Fine-tuning of the generators."""

    model: str
    generators: tuple[Generator, ...]
    rank: int
    alpha: int
    dropout: float
    targets: tuple[str, ...]
    layers_from: float  # share of the depth above which layers are adapted; 0: all
    batch_size: int
    learning_rate: float
    warmup: float
    weight_decay: float


@dataclass(frozen=True)
class Sampler:
    """One synthetic table from a generator for each seed."""

    method: str  # its name in every table
    generator: str
    table: str
    decoding: str  # constrained, or free
    prompts: str  # random rows as released, the neighbours of a random row, or perturbed rows; ignored by form great
    fix_target: bool  # labels in the shares of train, written first; else the model writes them like any cell
    rows: int | None  # to be sampled; null: as many as train has
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class Lle:
    """The classification test with an LLM: fine-tuned on verbalised rows of a table, tested on real ones."""

    tables: tuple[str, ...]
    methods: tuple[str, ...]  # what to train on: real, or methods
    rows: int  # verbalised rows it reads
    epochs: int
    batch_size: int
    learning_rate: float
    rank: int
    alpha: int
    layers_from: float  # share of the depth above which layers are adapted; 0: all
    test_rows: int


@dataclass(frozen=True)
class Measure:
    """Sampling, likelihoods and the LLM classifier."""

    samplers: tuple[Sampler, ...]
    temperature: float
    batch_size: int
    retries: int  # further tries for a row that is no valid one, when decoding is free
    reject_copies: bool  # whether an exact copy of a train row is refused
    perturb: float  # share of cells changed in perturbed prompt rows
    baseline_seeds: tuple[int, ...]
    orders: int  # orders of columns that a row's likelihood is averaged over
    paper_likelihoods: tuple[str, ...]  # generators whose likelihoods are taken in the released form as well
    likelihood_rows: int | None  # train, holdout and synthetic rows each; null: all
    same_method: str  # the first sampler of this name gives rows again one by one and 64 at a time, to compare
    same_rows: int  # so many of them one by one; 0: none
    lle: Lle


@dataclass(frozen=True)
class Evaluate:
    """Scores."""

    paper_rows: int  # size of the piece that the released protocol searches its grid on
    paper_methods: tuple[str, ...]  # methods the released protocol is run for: real, or methods
    paper_grid: str  # whole, or small
    report_seed: int  # of the synthetic tables that fidelity, disclosure and edit distances are measured on


@dataclass(frozen=True)
class Params:
    """Block ``harmonic.<profile>``."""

    data: Data
    train: Train
    measure: Measure
    evaluate: Evaluate
    seed: int
