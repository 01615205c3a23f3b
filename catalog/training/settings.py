"""How a causal language model is trained: every choice of a run in one frozen dataclass."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Settings:
    """How to train.

    steps: optimiser steps; 0 takes `epochs`.
    epochs: passes over the examples when `steps` is 0; the last batch is filled up from a further pass.
    batch_size: examples of an optimiser step, over all micro-batches and processes.
    micro_batch: examples of one forward pass; 0 puts a process's whole share into one.
    row_tokens: width of packed rows; 0 gives each example a row of its own.
    group_by_length: put examples of like length into one batch, which saves padding where rows are not packed.
    learning_rate: the highest.
    schedule: ``constant``, ``linear`` or ``cosine`` (the last two fall to 0), after the warm-up.
    warmup: share of the steps over which the learning rate rises from 0.
    weight_decay, betas, max_grad_norm: of AdamW and of gradient clipping (0: none).
    lora_rank, lora_alpha, lora_dropout: of the LoRA; rank 0 is full fine-tuning.
    lora_targets: names of linear modules; lora_layers: numbers of layers, empty for all.
    activation_checkpointing: trade time for memory.
    save_steps: steps between checkpoints, rounded up to a multiple of `log_steps`; 0 keeps none.
    log_steps: steps between two points of the training curve.
    dtype: ``auto`` multiplies in bfloat16 (autocast) where the device does so natively; or ``float32``, ``bfloat16``; None is `dtype` of
        params.yaml.
    seed: of the data order, of dropout and of a fresh LoRA.
    """

    steps: int = 0
    epochs: float = 1.0
    batch_size: int = 32
    micro_batch: int = 0
    row_tokens: int = 256
    group_by_length: bool = False
    learning_rate: float = 1e-4
    schedule: str = "linear"
    warmup: float = 0.0
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    max_grad_norm: float = 1.0
    lora_rank: int = 0
    lora_alpha: float = 16.0
    lora_dropout: float = 0.0
    lora_targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj")
    lora_layers: tuple[int, ...] = ()
    activation_checkpointing: bool = False
    save_steps: int = 0
    log_steps: int = 10
    dtype: str | None = None
    seed: int = 0
