"""What the benchmarks share: a clock, and lines of a report."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any


def clock(run: Callable[[], Any], repeat: int = 1, pick: Callable[[list[float]], float] = min) -> tuple[float, Any]:
    """Seconds of ``repeat`` runs, the least or what ``pick`` makes of them, and the last result."""
    seconds = []
    for _ in range(repeat):
        start = time.perf_counter()
        found = run()
        seconds.append(time.perf_counter() - start)
    return pick(seconds), found


def spread(values: Sequence[float], unit: str = "") -> str:
    return f"{statistics.median(values):.3f}{unit} ({min(values):.3f} to {max(values):.3f})"


def ratio(what: str, a: Sequence[float], b: Sequence[float], most: float | None = None) -> None:
    """Print the quotient round by round, and whether its median is at most ``most``."""
    found = [x / y for x, y in zip(a, b, strict=True)]
    verdict = "" if most is None else f"   at most {most:g}: {'holds' if statistics.median(found) <= most else 'DOES NOT HOLD'}"
    print(f"    {what:<58} {spread(found)}{verdict}")


def fastest(what: str, tried: dict[str, float]) -> str:
    """The name of the least seconds; prints all."""
    best = min(tried, key=tried.__getitem__)
    print(f"{what}: {best}   [{', '.join(f'{name} {seconds:.2f} s' for name, seconds in tried.items())}]", flush=True)
    return best
