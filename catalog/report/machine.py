"""What computes here: the processor, and how fast it multiplies matrices. `run.json` records it, so that times can be compared.

On a processor that computes in bfloat16 that type is several times faster than float32; on others it is several times slower. No name of a
model tells which, so both are measured, on a product of the shape that fills a forward pass of the small models.
"""

import functools
import os
import platform
import statistics
import time
from pathlib import Path
from typing import Any

SHAPE = (1024, 576, 1536)  # tokens of a batch x hidden size @ hidden size x intermediate size of SmolLM2-135M
FEATURES = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "sve", "bf16")  # x86, then ARM
_CPUINFO = Path("/proc/cpuinfo")


@functools.cache
def describe() -> dict[str, Any]:
    """Return cpu, cpu_count, cpu_features, threads and gflops for `run.json`; takes up to two seconds."""
    import torch

    lines = _cpuinfo()
    return {
        "cpu": cpu(lines),
        "cpu_count": os.cpu_count(),
        "cpu_features": features(lines),
        "threads": torch.get_num_threads(),
        "gflops": speeds(),
    }


def cpu(lines: list[str] | None = None) -> str:
    """The processor's model name, as far as the system tells."""
    lines = _cpuinfo() if lines is None else lines
    named = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def features(lines: list[str]) -> list[str]:
    """Those of `FEATURES` that the lines of `/proc/cpuinfo` give."""
    listed = next((line.split(":", 1)[1].split() for line in lines if line.lower().startswith(("flags", "features"))), [])
    return [name for name in FEATURES if name in listed]


def speeds(seconds: float = 0.3) -> dict[str, float]:
    """Measure float32 and bfloat16: 10^9 floating-point operations a second of all threads together."""
    import torch

    rows, inner, columns = SHAPE
    found = {}
    with torch.inference_mode():
        for name in ("float32", "bfloat16"):
            dtype = getattr(torch, name)
            left, right = torch.ones(rows, inner, dtype=dtype), torch.ones(inner, columns, dtype=dtype)
            taken: list[float] = []
            while sum(taken) < seconds:
                start = time.perf_counter()
                left @ right
                taken.append(time.perf_counter() - start)
            # The first product also prepares; of the rest the median, so that neither a busy moment nor a jump of the clock decides.
            found[name] = float(f"{2 * rows * inner * columns / statistics.median(taken[1:] or taken) / 1e9:.3g}")
    return found


def _cpuinfo() -> list[str]:
    """The lines of `/proc/cpuinfo`; none on other systems than Linux."""
    try:
        return _CPUINFO.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
