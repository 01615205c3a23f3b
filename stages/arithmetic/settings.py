"""Parameters of the system, as `params.yaml` beside it gives them: one group a stage, so that a change re-runs no more than it must."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Data:
    """Problems to generate."""

    eval_per_cell: int  # problems per operation x template of the two-digit evaluation set
    words_share: float  # share of those with operands in words
    scan_templates: tuple[str, ...]
    scan_first_operands: int  # first operands per operation in the head scan
    scan_per_operand: int  # second operands with each
    study_templates: tuple[str, ...]  # templates of the per-operation studies
    study_per_cell: int  # problems per operation x number of digits
    lora_templates: tuple[str, ...]
    lora_train: int
    lora_test: int


@dataclass(frozen=True)
class Row:
    """One model under study."""

    model: str
    shots: int  # worked examples before each problem
    scan_template: str
    scan_digits: int
    study_template: str
    operations: tuple[str, ...]  # operations whose heads are studied
    experiments: tuple[str, ...]  # of: memorise, hidden, chain, certify


@dataclass(frozen=True)
class Measure:
    """Head scan, CNA, verification, hidden-interpretable scan and chain."""

    rows: tuple[Row, ...]
    confirm_heads: int  # heads of the scan that are measured again on the evaluation set
    control_heads: int  # random heads measured with them
    cases: int  # problems per operation in CNA and verification
    set_sizes: tuple[int, ...]  # CNA neurons, largest first
    cna_limit: int | None  # exact scores per case; null: until certified
    bound_tokens: int  # tokens on which the bound of CNA is exact
    deep_from: float  # "keep" prunes layers from this share of the depth on
    hidden_until: float  # shallow neurons: layers below this share of the depth
    hidden_maps: tuple[int, ...]  # attention layers whose W_O W_V reads them
    hidden_vocabulary: int  # token ids below this compete for the top
    hidden_top: int
    hidden_counts: tuple[int, ...]  # M
    hidden_cases: int  # cases per operation on which each hidden-interpretable set is zeroed
    decimals: int | None  # 4: round scores before sorting, as the authors' code; null: no rounding


@dataclass(frozen=True)
class Train:
    """LoRA layer sweep, CNA under LoRA, pruning."""

    model: str
    layers: tuple[int, ...]
    rates: tuple[float, ...]
    rank: int
    alpha: int
    epochs: float
    batch_size: int
    cna_cases: int
    prune_layer: int
    prune_cases: int
    prune_top: int
    second_model: str
    second_layer: int


@dataclass(frozen=True)
class Params:
    """Block ``arithmetic.<profile>``."""

    data: Data
    measure: Measure
    train: Train
    seed: int
