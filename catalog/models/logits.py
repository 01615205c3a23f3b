"""Passes over logits of a large vocabulary, a few rows at a time where a CPU makes them.

A pass over ``(N, V)`` numbers in float32 costs what moving them costs: with V of 50,000 and more, a few rows fill the cache, and their copy
in float32 never leaves it.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

ROWS = 16  # that a CPU works on at a time


def rows_at_once(logits: Tensor) -> int:
    """How many rows of ``(N, V)`` logits to work on at a time: all, but on a CPU `ROWS`."""
    return ROWS if logits.device.type == "cpu" else max(1, len(logits))


def parts(logits: Tensor) -> Iterator[tuple[int, Tensor]]:
    """(number of the first row, rows) of ``(N, V)`` logits, for a pass over them."""
    size = rows_at_once(logits)
    return ((start, logits[start : start + size]) for start in range(0, len(logits), size))


def normalised(logits: Tensor) -> tuple[Tensor, Tensor]:
    """``(N,)`` log-sum-exp and ``(N,)`` largest of each row of ``(N, V)`` logits, float32."""
    normaliser, largest = (torch.empty(len(logits), dtype=torch.float32, device=logits.device) for _ in range(2))
    for start, part in parts(logits):
        rows = part.float()
        normaliser[start : start + len(rows)] = rows.logsumexp(-1)
        largest[start : start + len(rows)] = rows.amax(-1)  # argmax is many times slower
    return normaliser, largest
