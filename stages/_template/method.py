"""N-gram entropy of text (Shannon 1951, "Prediction and Entropy of Printed English", §2).

The entropy of a symbol ``x_i`` when the N-1 symbols before it are known is the mean of ``-log p(x_i | x_{i-N+1} … x_{i-1})``. It
falls as N grows, by as much as the text repeats itself. Here p is estimated on one text with additive smoothing,

    p(x | c) = (count(c x) + s) / (count(c) + s V),

and the mean is taken on another, which makes it a cross-entropy: an upper bound of the entropy, up to the noise of the test text.
A method is plain functions on arrays, so that it can be checked by hand; it reads and writes no files.
"""

from __future__ import annotations

import numpy as np

from catalog.base.errors import CatalogError

ALPHABET = " abcdefghijklmnopqrstuvwxyz"  # Shannon's 27 symbols: the letters and the space


def encode(line: str, alphabet: str = ALPHABET) -> np.ndarray:
    """Symbols as positions in `alphabet`: (T,) int64.

    Raises:
        CatalogError: the line is empty or has a symbol outside the alphabet.
    """
    unknown = sorted(set(line) - set(alphabet))
    if not line or unknown:
        what = f"has symbols outside the alphabet ({''.join(unknown)!r})" if line else "is empty"
        raise CatalogError(f"The line {line!r} {what}; write it in small letters and spaces.")
    return np.array([alphabet.index(symbol) for symbol in line])


def fit(lines: list[np.ndarray], order: int, smoothing: float, size: int = len(ALPHABET)) -> np.ndarray:
    """Log-probabilities (nats) of each symbol after each context, estimated from lines of symbols.

    Args:
        lines: arrays (T,) of symbols below `size`.
        order: 1 ignores the symbol before, 2 knows it; the first symbol of a line is never predicted, so that both orders
            predict the same symbols.
        smoothing: pseudo-count of every symbol in every context, above 0.

    Returns:
        (size, size): row c is the distribution after symbol c; with order 1 all rows are equal.
    """
    counts = np.full((size, size), 0.0)
    for line in lines:
        np.add.at(counts, (line[:-1], line[1:]), 1)
    if order == 1:
        counts = np.repeat(counts.sum(0, keepdims=True), size, axis=0)
    counts += smoothing
    return np.log(counts / counts.sum(1, keepdims=True))


def line_loss(line: np.ndarray, table: np.ndarray) -> float:
    """Mean of ``-log p`` (nats) over the symbols of a line (T,) but its first, under a table of `fit`."""
    return float(-table[line[:-1], line[1:]].mean())
