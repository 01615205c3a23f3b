"""Load a causal language model by its catalog name: weights and tokenizer, on the device and in the floating-point type of params.yaml.

`catalog.models.inference` runs the model in batches; its functions are given here too, so that a stage imports one module.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from torch import inference_mode

from catalog.base.errors import CatalogError, keep_freed_memory
from catalog.base.params import ROOT
from catalog.models.devices import place, require_gpu, set_up
from catalog.models.inference import LogLikelihood, batches_by_length, chat_ids, generate, last_logits, log_likelihood
from catalog.models.weights import require_hub, resolve

__all__ = [
    "LogLikelihood",
    "batches_by_length",
    "chat_ids",
    "generate",
    "inference_mode",
    "last_logits",
    "load_lm",
    "log_likelihood",
    "quiet_transformers",
    "require_full",
    "resolve",
    "set_seed",
]


def set_seed(seed: int) -> None:
    """Seed Python, NumPy and torch on all devices."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def require_full(name: str, root: Path = ROOT, *, gpu: bool = True) -> None:
    """Check, in a second and before any work, that a stage of profile full can have model `name` and a GPU.

    Raises:
        CatalogError: no CUDA GPU (unless `gpu` is False), the hub out of reach, or no access to a gated model.
    """
    if gpu:
        require_gpu()
    require_hub(name, root)


def load_lm(
    name: str | Path,
    *,
    dtype: str | torch.dtype | None = None,
    device: str | torch.device | None = None,
    attention: str = "sdpa",
    root: Path = ROOT,
) -> tuple[Any, Any]:
    """Load a causal LM and its tokenizer.

    Only safetensors are read and no code from a model repository is run.

    Args:
        name: a catalog name, or the folder of a saved model.
        dtype: ``auto``, ``float32``, ``bfloat16``, …; `dtype` of params.yaml by default.
        device: ``auto``, ``cpu``, ``cuda``, …; `device` of params.yaml by default.
        attention: ``sdpa``, or ``eager`` where attention weights are read.
        root: folder of params.yaml.

    Returns:
        (model in evaluation mode on its device, tokenizer with a padding token that pads on the left).

    Raises:
        CatalogError: the model is undeclared, not built, damaged, or cannot be had from the hub.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source = Path(name) if Path(name).is_dir() else resolve(str(name), root)
    device, dtype = set_up(dtype, device, root)
    if device.type == "cpu":
        keep_freed_memory()
    if isinstance(source, Path):
        where, options, remedy = str(source), {"local_files_only": True}, f"run `dvc repro -f model@{name}`"
    else:
        where, options, remedy = source[0], {"revision": source[1]}, "check the hub, HF_TOKEN and the free disk space"
    try:
        with quiet_transformers():
            tokenizer = AutoTokenizer.from_pretrained(where, **options)
            model = AutoModelForCausalLM.from_pretrained(
                where,
                dtype=dtype,
                use_safetensors=True,
                attn_implementation=attention,
                trust_remote_code=False,
                **options,
            )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CatalogError(f"Model {name} could not be loaded, {remedy}: {reason}") from error
    if tokenizer.pad_token is None:
        if tokenizer.eos_token is None:
            raise CatalogError(f"The tokenizer of {name} has no padding and no end token; give it one.")
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = "left"
    place(model, device)
    return model.eval(), tokenizer


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Only errors from transformers, and no bars over loading and saving, which take a second."""
    from transformers.utils import logging

    bars, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
