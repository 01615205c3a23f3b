"""The one path through which every system trains a causal LM: `transformers.Trainer`, accelerate and PEFT.

The loss of a batch is the mean of ``-log p(token | before)`` over its labelled tokens, whatever rows, micro-batches and
processes the batch is split into. Logits are computed at labelled positions only. The order of the examples follows
from the seed and is the same for any number of processes, so `batch_size` examples make one optimiser step everywhere.
On a CPU the same call gives the same weights bit for bit, also when it was killed and went on from a checkpoint.
"""

import contextlib
import dataclasses
import math
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import peft
import torch
import transformers
from peft.helpers import disable_input_dtype_casting
from safetensors.torch import load_file
from torch import Tensor
from transformers import Trainer, TrainerCallback, TrainingArguments

import accelerate
from catalog.base.errors import CatalogError
from catalog.base.io import read_json, write_json, write_safetensors
from catalog.base.params import load_shared
from catalog.base.progress import progress
from catalog.models.devices import device_name, peak_memory_mb, pick_dtype, training_device
from catalog.models.lm import quiet_transformers, set_seed
from catalog.training.adapters import lora
from catalog.training.attention import float32_gradients
from catalog.training.checkpoints import is_main, last_complete, mark_complete
from catalog.training.flops import utilisation
from catalog.training.losses import Batch, label_log_probs, tensors_of
from catalog.training.packing import grouped, order, pack
from catalog.training.settings import Settings
from catalog.training.tail import has_hidden, upper_alone

LossFn = Callable[[Any, Batch], Tensor]
Collate = Callable[[list[Mapping[str, Any]]], Batch]


@dataclasses.dataclass(frozen=True)
class Run:
    """What `train` gives back.

    tensors: trained weights on the CPU, of the adapter or of the whole model (which then share memory with it); empty
        in all processes but the main one.
    history: the training curve, ``[{"step", "loss", "lr", "tokens"}, …]``: mean loss of the steps since the point
        before, learning rate of the step, tokens read so far.
    info: seconds, tokens per second, device, dtype, memory, versions, …, for `catalog.report.results.write_run`. Of a resumed
        run, time and rate are those since it was resumed.
    """

    tensors: dict[str, Tensor]
    history: list[dict[str, float]]
    info: dict[str, Any]


def train(
    model: Any,
    examples: Sequence[Mapping[str, Any]],
    settings: Settings,
    *,
    loss_fn: LossFn | None = None,
    collate: Collate | None = None,
    checkpoints: Path | None = None,
    desc: str = "training",
) -> Run:
    """Train the parameters of `model` that require gradients: those of a `lora`, or all.

    Args:
        model: a loaded model, or what `lora` yields.
        examples: of `encode`, or whatever `collate` understands. From `lower_once` they bring the stream that enters the lowest layer of
            the LoRA, and the layers below are not run.
        settings: how.
        loss_fn: ``loss_fn(model, batch) -> scalar``, a mean over the examples of a micro-batch; `answer_loss` by
            default. Call the `model` it is given, once with gradients; see `label_log_probs` and `frozen_reference`.
        collate: list of examples -> batch of tensors; packs them by default (`tensors_of(pack(…))`).
        checkpoints: of `checkpoint_folder`. A run found there goes on; call `finish` when the outputs are written.
        desc: name shown with the progress.

    Raises:
        CatalogError: no examples, settings that do not fit together, or a loss that is not finite.
    """
    settings = dataclasses.replace(settings, dtype=settings.dtype or load_shared().get("dtype", "auto"))
    world = int(os.environ.get("WORLD_SIZE", 1))
    steps, micro, accumulation = _plan(len(examples), settings, world)
    indices = order(len(examples), steps * settings.batch_size, settings.seed)
    lengths = [_tokens(example) for example in examples]
    if settings.group_by_length:
        indices = grouped(indices, lengths, settings.batch_size, settings.seed)
    tokens_after = [0]
    for step in range(steps):
        batch = indices[step * settings.batch_size : (step + 1) * settings.batch_size]
        tokens_after.append(tokens_after[-1] + sum(lengths[i] for i in batch))
    collate = collate or (lambda batch: tensors_of(pack(batch, settings.row_tokens)))
    resumed = last_complete(checkpoints) if checkpoints and settings.save_steps else None
    done = int(resumed.name.rpartition("-")[2]) if resumed else 0
    with contextlib.ExitStack() as stack:
        folder = checkpoints or stack.enter_context(tempfile.TemporaryDirectory())
        stack.enter_context(_restored(model))
        first = _lowest(settings) if has_hidden(examples) else 0
        stack.enter_context(upper_alone(model, first))
        stack.enter_context(quiet_transformers())
        device = training_device(model)
        low = pick_dtype(settings.dtype, device) == torch.bfloat16
        stack.enter_context(float32_gradients(model, device.type == "cpu" and low))
        stack.enter_context(disable_input_dtype_casting(model, low))  # PEFT makes float32 of what autocast makes bfloat16 again
        advance = stack.enter_context(progress(steps, desc, done=done, enabled=is_main()))
        set_seed(settings.seed)
        trainer = _AnswerTrainer(
            model=model,
            args=_arguments(model, settings, str(folder), steps, micro, accumulation, bool(checkpoints)),
            data_collator=collate,
            train_dataset=[examples[i] for i in indices],
            callbacks=[_Watch(advance)],
            loss_fn=loss_fn,
        )
        trainer.remove_callback(transformers.PrinterCallback)
        start = time.perf_counter()
        trainer.train(resume_from_checkpoint=str(resumed) if resumed else None)
        seconds = time.perf_counter() - start
        tensors = _trained_tensors(trainer)
    history = [
        {"step": log["step"], "loss": log["loss"], "lr": log["learning_rate"], "tokens": tokens_after[log["step"]]}
        for log in trainer.state.log_history
        if "loss" in log
    ]
    trained = tokens_after[-1] - tokens_after[done]
    info = _info(trainer, seconds) | {
        "steps": steps,
        "resumed_at_step": done,
        "examples": len(examples),
        "tokens": tokens_after[-1],
        "tokens_per_second": round(trained / seconds, 1),
        "mfu": utilisation(model, trained, seconds, trainer.args.device, processes=world, context=_context(examples), first=first),
        "processes": world,
    }
    return Run(tensors, history, info)


def train_once(model: Any, examples: Sequence[Mapping[str, Any]], settings: Settings, folder: Path, **options: Any) -> Run:
    """Attach a LoRA, train it and take it off again; or read the run, where an interrupted stage has finished it already.

    For a stage of several runs, each with a `folder` of its own below `checkpoint_folder`; `finish` removes them.

    Args:
        model: as loaded; it is left as it was.
        options: of `train`.

    Returns:
        The run; empty in all processes but the main one.
    """
    weights, rest = folder / "done.safetensors", folder / "done.json"
    if not rest.exists():
        with lora(model, settings) as adapted:
            run = train(adapted, examples, settings, checkpoints=folder, **options)
        if is_main():  # the JSON last: it says that the run is whole
            write_safetensors(run.tensors, weights)
            write_json({"history": run.history, "info": run.info}, rest)
    if not is_main():
        return Run({}, [], {})
    found = read_json(rest)
    return Run(load_file(weights), found["history"], found["info"])


class _AnswerTrainer(Trainer):
    """Trainer with a loss function from outside; packing, order and logs are settled by its arguments."""

    def __init__(self, *, loss_fn: LossFn | None, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.loss_fn = loss_fn
        # The mean over labelled tokens needs their number in the whole batch; a loss of one's own is a mean as it is.
        self.model_accepts_loss_kwargs = loss_fn is None
        self.loss_is_scaled_for_ga = loss_fn is None

    def compute_loss(self, model: Any, inputs: Batch, return_outputs: bool = False, num_items_in_batch: Tensor | None = None) -> Tensor:
        if not self.is_fsdp_enabled:  # accelerate's `forward` makes float32 of logits, at once and all of them
            self.accelerator.unwrap_model(model, keep_fp32_wrapper=False)
        with self.accelerator.autocast():
            if self.loss_fn is not None:
                return self.loss_fn(model, inputs)
            # Gradients are averaged over processes, while the count is over all of them.
            return -label_log_probs(model, inputs)[0].sum() / num_items_in_batch * self.accelerator.num_processes


class _Watch(TrainerCallback):
    """Progress, a stop when the loss is no number, and the mark on a whole checkpoint."""

    def __init__(self, advance: Callable[..., None]) -> None:
        self.advance, self.note = advance, ""

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.advance(1, self.note)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict, **_: Any) -> None:
        if "loss" in logs:
            self.note = f"loss {logs['loss']:.4g}"
            if not math.isfinite(logs["loss"]):
                raise CatalogError(f"The loss is {logs['loss']} at step {state.global_step}; lower the learning rate.")

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        accelerate.PartialState().wait_for_everyone()  # each process writes a file of its own
        if state.is_world_process_zero:
            mark_complete(Path(args.output_dir) / f"checkpoint-{state.global_step}")


def _lowest(settings: Settings) -> int:
    """The lowest layer of the LoRA, below which `lower_once` has run already."""
    if not settings.lora_layers:
        raise CatalogError("Examples of lower_once need the layers of the LoRA they were made for; set lora_layers.")
    return min(settings.lora_layers)


def _plan(count: int, settings: Settings, world: int) -> tuple[int, int, int]:
    """(optimiser steps, examples of a forward pass, forward passes of a step in one process)."""
    if not count:
        raise CatalogError("There are no training examples; check the data set of this stage.")
    if settings.schedule not in ("constant", "linear", "cosine"):
        raise CatalogError(f"Unknown schedule {settings.schedule!r}; choose constant, linear or cosine.")
    if settings.batch_size < 1 or settings.log_steps < 1 or settings.steps < 0:
        raise CatalogError("batch_size and log_steps must be at least 1, and steps not negative.")
    micro = settings.micro_batch or max(1, settings.batch_size // world)
    if settings.batch_size % (micro * world):
        raise CatalogError(f"batch_size {settings.batch_size} is no multiple of micro_batch {micro} x {world} processes; change it.")
    steps = settings.steps or math.ceil(settings.epochs * count / settings.batch_size)
    if steps < 1:
        raise CatalogError("There is nothing to train: set steps, or epochs above 0.")
    return steps, micro, settings.batch_size // (micro * world)


def _arguments(model: Any, settings: Settings, folder: str, steps: int, micro: int, accumulation: int, save: bool) -> TrainingArguments:
    """The Trainer's arguments for `settings`, with nothing logged, shown or sent anywhere."""
    device = training_device(model)
    every = math.ceil(settings.save_steps / settings.log_steps) * settings.log_steps
    arguments = TrainingArguments(
        output_dir=folder,
        max_steps=steps,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=accumulation,
        train_sampling_strategy="sequential",
        remove_unused_columns=False,
        dataloader_pin_memory=device.type == "cuda",
        learning_rate=settings.learning_rate,
        lr_scheduler_type="constant_with_warmup" if settings.schedule == "constant" else settings.schedule,
        warmup_steps=round(settings.warmup * steps),
        weight_decay=settings.weight_decay,
        adam_beta1=settings.betas[0],
        adam_beta2=settings.betas[1],
        max_grad_norm=settings.max_grad_norm,
        activation_checkpointing=settings.activation_checkpointing,
        bf16=pick_dtype(settings.dtype, device) == torch.bfloat16,
        use_cpu=device.type == "cpu",
        seed=settings.seed,
        logging_steps=settings.log_steps,
        logging_first_step=True,
        logging_nan_inf_filter=False,
        log_level="error",
        log_level_replica="error",
        report_to="none",
        disable_tqdm=True,
        save_strategy="steps" if save and every else "no",
        save_steps=every or 1,
        save_total_limit=2,
        ddp_find_unused_parameters=False,
    )
    arguments._n_gpu = min(arguments.n_gpu, 1)  # several GPUs take several processes, never `DataParallel`
    return arguments


def _trained_tensors(trainer: Trainer) -> dict[str, Tensor]:
    """The trained weights, gathered to the main process's CPU; a collective call under FSDP."""
    model = trainer.accelerator.unwrap_model(trainer.model_wrapped, keep_fp32_wrapper=False)
    sharded = trainer.is_fsdp_enabled
    state = trainer.accelerator.get_state_dict(trainer.model_wrapped) if sharded else model.state_dict()
    if not is_main():
        return {}
    if isinstance(model, peft.PeftModel):
        state = peft.get_peft_model_state_dict(model, state_dict=state, save_embedding_layers=False)
        return {name: tensor.detach().to("cpu", copy=True) for name, tensor in sorted(state.items())}
    return {name: tensor.detach().cpu() for name, tensor in state.items()}


@contextlib.contextmanager
def _restored(model: Any) -> Iterator[None]:
    """Put back what training changes on a model besides its weights: modes, the use of a cache, autocast."""
    training, use_cache, checkpointing = model.training, model.config.use_cache, model.is_activation_checkpointing
    try:
        yield
    finally:
        for patched in ("forward", "_original_forward"):  # accelerate puts autocast around `forward`
            model.__dict__.pop(patched, None)
        if model.is_activation_checkpointing and not checkpointing:
            model.activation_checkpointing_disable()
        model.train(training)
        model.config.use_cache = use_cache
        model.zero_grad(set_to_none=True)


def _tokens(example: Mapping[str, Any]) -> int:
    """Tokens of an example; one of several texts, such as a preference pair, has several keys `…input_ids`."""
    return sum(len(value) for name, value in example.items() if name.endswith("input_ids"))


def _context(examples: Sequence[Mapping[str, Any]]) -> float:
    """How long, on average, the text is that a token stands in."""
    lengths = [len(value) for example in examples for name, value in example.items() if name.endswith("input_ids")]
    return sum(length**2 for length in lengths) / max(1, sum(lengths))


def _info(trainer: Trainer, seconds: float) -> dict[str, Any]:
    """Where, with what and how heavy a run was."""
    parameters = list(trainer.model.parameters())
    return {
        "seconds": round(seconds, 2),
        "device": device_name(trainer.args.device),
        "dtype": "bfloat16 autocast" if trainer.args.bf16 else str(parameters[0].dtype).removeprefix("torch."),
        "parameters": sum(parameter.numel() for parameter in parameters),
        "trainable_parameters": sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
        "peak_memory_mb": peak_memory_mb(trainer.args.device),
        "versions": {module.__name__: module.__version__ for module in (torch, transformers, accelerate, peft)},
    }
