"""Token scores and the selection of tokens (SePO, arXiv 2408.13518 §3).

A token's reward is ``s_t = log pi_dpo(t) - log pi_ref(t)`` (Theorem 1; beta is a constant factor and dropped). Of ``N`` tokens of a
response ``n = max(1, floor(k N))`` are selected: of the chosen response those with the highest scores, of the rejected one the lowest.
Scores are kept whole, so a sweep over k never asks the oracle again.
"""

from __future__ import annotations

import math

import numpy as np

from catalog.base.errors import CatalogError


def scores(oracle: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Token rewards from the log-probabilities of the response tokens, ``(N,)`` each."""
    return np.asarray(oracle, dtype=np.float64) - np.asarray(reference, dtype=np.float64)


def count(tokens: int, share: float) -> int:
    """Tokens to select: ``max(1, floor(share * tokens))``. The released code has no maximum and then selects none."""
    return max(1, math.floor(share * tokens + 1e-9))  # 0.3 * 10 is a little less than 3 in binary


def highest(score: np.ndarray, share: float) -> np.ndarray:
    """Places of the highest scores, best first; of equal ones the first in the text."""
    return np.argsort(-numbers(score), kind="stable")[: count(len(score), share)]


def lowest(score: np.ndarray, share: float) -> np.ndarray:
    """Places of the lowest scores, lowest first; of equal ones the first in the text."""
    return np.argsort(numbers(score), kind="stable")[: count(len(score), share)]


def numbers(score: np.ndarray) -> np.ndarray:
    """The scores.

    Raises:
        CatalogError: one of them is no number. Sorting would put it last and so leave its token out in silence.
    """
    score = np.asarray(score)
    if wrong := int(np.isnan(score).sum()):
        raise CatalogError(f"{wrong} of {score.size} token scores are not numbers; the oracle diverged, so train it with a lower rate.")
    return score


def random_places(tokens: int, share: float, key: list[int]) -> np.ndarray:
    """As many places drawn at random, by `key` (seed, pair, side): the control SePO-rand."""
    return np.random.default_rng(key).permutation(tokens)[: count(tokens, share)]


def unsure(log_probs: np.ndarray) -> np.ndarray:
    """Places whose probability lies below the mean probability of the response (ConfPO); empty where all are equal."""
    probs = np.exp(np.asarray(log_probs, dtype=np.float64))
    return np.flatnonzero(probs < probs.mean())


def reward_share(score: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Share of the positive reward that the best tokens carry.

    Scores are sorted downwards and ``max(s, 0)`` is summed up; how the paper's figure treats negative scores is not known.

    Args:
        score: (N,) of one response.
        shares: (K,) shares of its tokens.

    Returns:
        (K,) in [0, 1]; NaN where no score is positive.
    """
    gains = np.maximum(np.sort(numbers(score).astype(np.float64))[::-1], 0)
    if not gains.sum():
        return np.full(len(shares), np.nan)
    taken = np.array([count(len(gains), share) if share > 0 else 0 for share in shares])
    return np.concatenate([[0.0], gains.cumsum()])[taken] / gains.sum()


def needed(score: np.ndarray, most: float) -> np.ndarray:
    """The smallest share of a response's tokens that carries ``most`` of its positive reward.

    Args:
        score: (R, N) scores of R responses of N tokens.

    Returns:
        (R,) in (0, 1]; NaN where no score is positive.
    """
    gains = np.maximum(-np.sort(-numbers(score).astype(np.float64), axis=1), 0)
    total = gains.sum(1)
    count = (gains.cumsum(1) < most * total[:, None] * (1 - 1e-12)).sum(1) + 1
    return np.where(total > 0, count / score.shape[1], np.nan)


def jaccard(a: np.ndarray, b: np.ndarray) -> float:
    """Overlap of two selections: shared places over places in either; 1 for two empty ones."""
    either = np.union1d(a, b)
    return len(np.intersect1d(a, b)) / len(either) if len(either) else 1.0
