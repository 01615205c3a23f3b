"""Vectors of texts as rows of an array."""

from __future__ import annotations

import numpy as np

from catalog.base.errors import CatalogError


def unit_rows(vectors: np.ndarray) -> np.ndarray:
    """``(N, d)`` rows at length 1, in float64; rows of zeros stay, with a cosine of 0 to any other.

    Raises:
        CatalogError: no matrix.
    """
    vectors = np.asarray(vectors, dtype=np.float64)
    if vectors.ndim != 2:
        raise CatalogError(f"Embeddings have the shape {vectors.shape}; give a matrix, one row a token or sentence.")
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
