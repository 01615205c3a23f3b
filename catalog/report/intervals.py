"""Confidence intervals: Wilson's for a share, Korn and Graubard's for one of clustered items, the percentile bootstrap for anything else.

All are deterministic: the bootstrap's resamples come from a seeded generator, in chunks whose size depends on the
number of items alone.
"""

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist

import numpy as np
from scipy import stats

from catalog.base.errors import CatalogError

_CELLS = 4_000_000  # values resampled at once; bounds the memory of one chunk to 32 MB


def wilson(k: float, n: float, level: float = 0.95) -> tuple[float, float]:
    """Wilson score interval of a share, `k` successes in `n` trials (Wilson 1927); holds at 0, at 1 and for small `n`.

    With p = k/n and the normal quantile z: (p + z²/2n ± z·sqrt(p(1−p)/n + z²/4n²)) / (1 + z²/n).

    Raises:
        CatalogError: not 0 ≤ k ≤ n, or n = 0.
    """
    if not 0 <= k <= n or n == 0:
        raise CatalogError(f"wilson needs 0 <= k <= n and n > 0, but k is {k} and n is {n}.")
    p = k / n
    z = NormalDist().inv_cdf((1 + level) / 2)
    middle = p + z * z / (2 * n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    # The bounds at k = 0 and k = n are exactly 0 and 1; rounding must not push them past the share itself.
    return (0.0 if k == 0 else (middle - half) / scale), (1.0 if k == n else (middle + half) / scale)


def clustered_share(hits: Sequence[int], sizes: Sequence[int], level: float = 0.95) -> tuple[float, float]:
    """Interval of a share whose items come in clusters, as words come in models: items of one cluster may succeed or fail together.

    Wilson's interval at the effective number of items (Korn and Graubard 1998, Survey Methodology 24): n is divided by the design effect,
    the variance between clusters over that of independent items, which a few clusters may show below 1 by luck and is taken as 1 then; and
    multiplied by the squared ratio of Student's quantiles at n - 1 and at the number of clusters less one. Unlike Student's interval of the
    clusters' shares it has a length where all clusters agree. A single cluster says nothing of others: 0 to 1.

    Args:
        hits, sizes: successes and items of each cluster.
    """
    k, m = np.asarray(hits, dtype=float), np.asarray(sizes, dtype=float)
    if len(k) < 2:
        return 0.0, 1.0
    n, clusters = float(m.sum()), len(m)
    p = float(k.sum()) / n
    between = clusters / (clusters - 1) * float(((k - p * m) ** 2).sum()) / n**2
    effect = max(1.0, between * n / (p * (1 - p))) if 0 < p < 1 else 1.0
    few = stats.t.ppf((1 + level) / 2, n - 1) / stats.t.ppf((1 + level) / 2, clusters - 1)
    effective = n / effect * float(few) ** 2
    return wilson(p * effective, effective, level)


def bootstrap(
    values: Sequence[float] | np.ndarray,
    statistic: Callable[..., np.ndarray] = np.mean,
    n_boot: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile bootstrap interval (Efron 1979) of a statistic of independent items.

    Args:
        values: (n,) one number an item, or (n, k) for k numbers that belong together, which are resampled as one.
        statistic: takes resamples (b, n) or (b, n, k) and the keyword `axis=1`, returns (b,). Any numpy reduction
            serves for (n,).
        n_boot: number of resamples.
        level: coverage.
        seed: of the generator; the same seed gives the same interval.

    Returns:
        The lower and upper bound, in the unit of the statistic.

    Raises:
        CatalogError: no items, or the statistic does not return one finite number a resample.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim not in (1, 2) or len(values) == 0:
        raise CatalogError(f"bootstrap needs a non-empty array of shape (n,) or (n, k), not {values.shape}.")
    generator = np.random.default_rng(seed)
    chunk = max(1, _CELLS // values.size)
    parts = []
    for start in range(0, n_boot, chunk):
        index = generator.integers(0, len(values), size=(min(chunk, n_boot - start), len(values)))
        parts.append(np.asarray(statistic(values[index], axis=1), dtype=np.float64))
    draws = np.concatenate(parts)
    if draws.shape != (n_boot,) or not np.isfinite(draws).all():
        raise CatalogError("The statistic given to bootstrap must return one finite number for each resample.")
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
