"""The device to compute on: which, in what floating-point type, how much at once, and how much memory was used.

All that differs between a CPU and a GPU is decided here, so that the lines that only a GPU reaches are few and can be tested without one.
What loads a model asks `set_up` where it goes and in what type, and puts it there with `place`.
"""

import os
import resource
import sys
from pathlib import Path
from typing import Any

import torch

from catalog.base.errors import CatalogError
from catalog.base.params import ROOT, load_shared

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
CPU_BF16 = {"amx_bf16", "avx512_bf16"}  # without these, a bfloat16 product on a CPU is many times slower than float32
GPU_TOKENS = 16_384  # of a forward pass: they keep a GPU busy without filling its memory


def set_up(
    dtype: str | torch.dtype | None = None, device: str | torch.device | None = None, root: Path = ROOT
) -> tuple[torch.device, torch.dtype]:
    """The device and the floating-point type to load a model with: those given, else `device` and `dtype` of params.yaml.

    Also lets torch use every CPU of this process (`use_cpus`).
    """
    defaults = load_shared(root) if dtype is None or device is None else {}
    chosen = pick_device(str(device if device is not None else defaults.get("device", "auto")))
    kind = pick_dtype(dtype if dtype is not None else defaults.get("dtype", "auto"), chosen)
    use_cpus()
    return chosen, kind


def place(model: Any, device: torch.device) -> None:
    """Move a loaded model to `device`. Under FSDP each process must keep the weights where they are until they are sharded."""
    if not under_fsdp():
        model.to(device)


def cpus() -> int:
    """How many CPUs this process may use: fewer than the machine has inside a container that is given some of them, or under `taskset`.

    A limit on CPU time (`docker run --cpus`) is none on the CPUs themselves; there, set OMP_NUM_THREADS.
    """
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        return os.cpu_count() or 1


def use_cpus() -> None:
    """Let torch compute in as many threads as there are CPUs for this process, unless OMP_NUM_THREADS says how many."""
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(cpus())


def pick_device(device: str = "auto") -> torch.device:
    """The device to compute on: ``auto`` is this process's CUDA GPU where there is one, else the CPU.

    Raises:
        CatalogError: an unknown device, or CUDA asked for where there is none, or not so many.
    """
    cuda = torch.cuda.is_available()
    if device == "auto":
        device = "cuda" if cuda else "cpu"
    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise CatalogError(f"Unknown device {device!r}; set `device` in params.yaml to auto, cpu or cuda.") from None
    if chosen.type != "cuda":
        return chosen
    if not cuda:
        raise CatalogError(f"No CUDA GPU for device {device!r}; set `device: auto` in params.yaml to use the CPU.")
    if chosen.index is None:
        chosen = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    if chosen.index >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise CatalogError(f"There is no GPU number {chosen.index}: torch sees {count}, counted from 0; set `device: auto` in params.yaml.")
    return chosen


def pick_dtype(dtype: str | torch.dtype = "auto", device: torch.device | str = "cpu") -> torch.dtype:
    """The floating-point type to compute in: ``auto`` is bfloat16 where `device` multiplies it natively, else float32.

    Raises:
        CatalogError: a name that is neither ``auto`` nor one of `DTYPES`.
    """
    if isinstance(dtype, torch.dtype):
        return dtype
    if dtype == "auto":
        device = torch.device(device)
        if device.type == "cuda":
            native = torch.cuda.is_bf16_supported(including_emulation=False)
        else:
            native = device.type == "cpu" and bool(CPU_BF16 & _cpu_features())
        return torch.bfloat16 if native else torch.float32
    if dtype not in DTYPES:
        raise CatalogError(f"Unknown dtype {dtype!r}; set `dtype` in params.yaml to auto, {', '.join(DTYPES)}.")
    return DTYPES[dtype]


def require_gpu() -> None:
    """Raises:
    CatalogError: there is no CUDA GPU, which profile full needs.
    """
    if not torch.cuda.is_available():
        raise CatalogError("Profile full needs a CUDA GPU and torch sees none; run it on such a machine or use small.")


def training_device(model: Any) -> torch.device:
    """The device on which `model` is trained. Under FSDP its weights may still be on the CPU, and are moved when they are sharded."""
    if model.device.type == "cpu" and under_fsdp() and torch.cuda.is_available():
        return pick_device("cuda")
    return model.device


def under_fsdp() -> bool:
    """Whether `accelerate launch` started this process to train with FSDP."""
    return os.environ.get("ACCELERATE_USE_FSDP", "false").lower() in ("1", "true")


def device_name(device: torch.device | str) -> str:
    """Name of a GPU as its driver gives it, such as ``NVIDIA H200``; ``cpu`` for the CPU."""
    device = torch.device(device)
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def tokens_at_once(device: torch.device | str, cpu: int) -> int:
    """Tokens of one forward pass that keep the device busy without filling its memory: `cpu` on a CPU, `GPU_TOKENS` on a GPU."""
    return GPU_TOKENS if torch.device(device).type == "cuda" else cpu


def peak_memory_mb(device: torch.device | str | None = None) -> int:
    """The most memory (MiB) of this process so far: of its tensors on a GPU, or resident.

    Args:
        device: a GPU or ``cpu``; by default the fullest GPU of this process, or the CPU where it has used none.
    """
    if device is not None and torch.device(device).type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / 2**20)
    if device is None and torch.cuda.is_initialized():
        return round(max(torch.cuda.max_memory_allocated(i) for i in range(torch.cuda.device_count())) / 2**20)
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
