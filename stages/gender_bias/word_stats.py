"""Statistics of log-odds over words, in the form `catalog.report.intervals.bootstrap` takes: resamples along ``axis``."""

from __future__ import annotations

import numpy as np
import polars as pl


def gap(d: pl.Series) -> pl.Series:
    """``log 2 - H(q)`` in nats of each log-odds: :func:`stages.gender_bias.method.entropy_gap` without torch."""
    x = d.to_numpy().astype(np.float64)
    # H(q) = log(1 + e^-|d|) + |d| e^-|d| / (1 + e^-|d|), which no |d| makes overflow
    a = np.abs(x)
    e = np.exp(-a)
    return pl.Series(np.log(2) - (np.log1p(e) + a * e / (1 + e)))


def spread(d: np.ndarray, axis: int) -> np.ndarray:
    """Standard deviation over words (n - 1) of the signed log-odds."""
    return d.std(axis=axis, ddof=1)


def change(values: np.ndarray, axis: int) -> np.ndarray:
    """Relative fall of a mean from column 0 to column 1 of ``values`` (…, n, 2): 0.5 is half of it gone."""
    return 1 - values[..., 1].mean(axis) / values[..., 0].mean(axis)
