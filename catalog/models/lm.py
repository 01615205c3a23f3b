"""Load a causal language model by its catalog name: device, floating-point type, weights and tokenizer.

`catalog.models.inference` runs the model in batches; its functions are given here too, so that a stage imports one module.
"""

import os
import random
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from torch import inference_mode

from catalog.base.errors import CatalogError, keep_freed_memory
from catalog.models.inference import LogLikelihood, batches_by_length, chat_ids, generate, last_logits, log_likelihood
from catalog.base.params import ROOT, load_shared
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
    "peak_memory_mb",
    "pick_device",
    "pick_dtype",
    "quiet_transformers",
    "require_full",
    "resolve",
    "set_seed",
]

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
CPU_BF16 = {"amx_bf16", "avx512_bf16"}  # without these, a bfloat16 product on a CPU is many times slower than float32


def set_seed(seed: int) -> None:
    """Seed Python, NumPy and torch on all devices."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def pick_device(device: str = "auto") -> torch.device:
    """The device to compute on: ``auto`` is this process's CUDA GPU where there is one, else the CPU.

    Raises:
        CatalogError: an unknown device, or CUDA asked for where there is none.
    """
    cuda = torch.cuda.is_available()
    if device == "auto":
        device = "cuda" if cuda else "cpu"
    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise CatalogError(f"Unknown device {device!r}; set `device` in params.yaml to auto, cpu or cuda.") from None
    if chosen.type == "cuda":
        if not cuda:
            raise CatalogError(f"No CUDA GPU for device {device!r}; set `device: auto` in params.yaml to use the CPU.")
        if chosen.index is None:
            return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    return chosen


def pick_dtype(dtype: str | torch.dtype = "auto", device: torch.device | str = "cpu") -> torch.dtype:
    """The floating-point type to compute in: ``auto`` is bfloat16 where `device` multiplies it natively, else float32.

    Raises:
        CatalogError: a name that is neither ``auto`` nor one of `DTYPES`.
    """
    if isinstance(dtype, torch.dtype):
        return dtype
    if dtype == "auto":
        if torch.device(device).type == "cuda":
            native = torch.cuda.is_bf16_supported(including_emulation=False)
        else:
            native = torch.device(device).type == "cpu" and bool(CPU_BF16 & _cpu_features())
        return torch.bfloat16 if native else torch.float32
    if dtype not in DTYPES:
        raise CatalogError(f"Unknown dtype {dtype!r}; set `dtype` in params.yaml to auto, {', '.join(DTYPES)}.")
    return DTYPES[dtype]


def peak_memory_mb(device: torch.device | str = "cpu") -> int:
    """The most memory (MiB) of this process so far: resident, or, on a GPU, of its tensors there."""
    if torch.device(device).type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / 2**20)
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux KiB
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20)


def _cpu_features() -> set[str]:
    """Names of the instruction sets this CPU has, as torch or, failing that, the Linux kernel gives them."""
    try:
        return {name for name, present in torch.cpu.get_capabilities().items() if present is True}
    except (AttributeError, RuntimeError):
        try:
            return set(Path("/proc/cpuinfo").read_text(encoding="utf-8").split())
        except OSError:
            return set()


def require_full(name: str, root: Path = ROOT, *, gpu: bool = True) -> None:
    """Check, in a second and before any work, that a stage of profile full can have model `name` and a GPU.

    Raises:
        CatalogError: no CUDA GPU (unless `gpu` is False), the hub out of reach, or no access to a gated model.
    """
    if gpu and not torch.cuda.is_available():
        raise CatalogError("Profile full needs a CUDA GPU and torch sees none; run it on such a machine or use small.")
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
    defaults = load_shared(root) if dtype is None or device is None else {}
    device = pick_device(str(device if device is not None else defaults.get("device", "auto")))
    dtype = pick_dtype(dtype if dtype is not None else defaults.get("dtype", "auto"), device)
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(os.cpu_count() or 1)
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
    # Under FSDP each process must keep the weights where they are until they are sharded.
    if os.environ.get("ACCELERATE_USE_FSDP", "false").lower() not in ("1", "true"):
        model.to(device)
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
