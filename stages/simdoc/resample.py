"""Corpus metrics of resampled documents, so that two systems can be compared on the same draws.

Every corpus metric here is a function of sums over documents: counts of n-grams (SARI, BLEU), of words and syllables (FKGL, compression),
or values and their number (means). `ingredients` has them for each document, and `metrics` sums them under weights (B, n): how often each
of n documents is in each of B draws. Ones give the metric itself, draws with replacement its percentile bootstrap (Efron 1979).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from stages.simdoc.readability import counts
from stages.simdoc.sari import ORDERS, ratio, statistics
from stages.simdoc.text import tokens_13a

MEANS = ("dsari", "dsari_robust", "rouge_l", "bertscore", "coherence", "meaning", "content_kept", "numbers_new", "copied_words")
METRICS = ("sari_f1", "sari_p", "bleu", "fkgl", "compression", *MEANS)
LEVEL = 0.95
LEVEL_OF_TWO = 0.975  # for a statement that rests on two differences (Bonferroni)


def weights(n: int, draws: int, seed: int) -> np.ndarray:
    """(draws, n) how often each document is in each resample of n."""
    index = np.random.default_rng(seed).integers(0, n, size=(draws, n))
    return np.stack([np.bincount(row, minlength=n) for row in index]).astype(np.float64)


def ingredients(
    sources: Sequence[str], outputs: Sequence[str], references: Sequence[str], rows: Sequence[Mapping[str, float | None]]
) -> dict[str, np.ndarray]:
    """What corpus metrics are made of, one row a document.

    Args:
        rows: for each document the values of `MEANS` (None where undefined), ``words_source`` and ``words_output``.
    """
    from sacrebleu.metrics import BLEU

    metric = BLEU(lowercase=True, effective_order=True)  # only its counts are used
    tokens = [[tokens_13a(text) for text in texts] for texts in (sources, outputs, references)]
    grams = [statistics(source, output, [reference]) for source, output, reference in zip(*tokens)]
    lines = [[" ".join(text.split()) for text in texts] for texts in (outputs, references)]
    bleu = [metric.sentence_score(output, [reference]) for output, reference in zip(*lines)]
    read = [counts(text) for text in outputs]
    found = {
        "sari": np.stack(grams).reshape(len(grams), -1),
        "bleu": np.array([[*score.counts, *score.totals, score.sys_len, score.ref_len] for score in bleu]),
        "read": np.array([[c.sentences, c.words, c.syllables] for c in read]),
        "length": np.array([[row["words_output"], row["words_source"]] for row in rows]),
    }
    found |= {name: np.array([np.nan if row[name] is None else row[name] for row in rows])[:, None] for name in MEANS}
    return {name: values.astype(np.float64) for name, values in found.items()}


def metrics(found: Mapping[str, np.ndarray], times: np.ndarray) -> dict[str, np.ndarray]:
    """Each of `METRICS` under weights (B, n): (B,), NaN where it is undefined."""
    grams = (times @ found["sari"]).reshape(-1, ORDERS, 3, 3)
    shared, ours, theirs = np.moveaxis(grams, -1, 0)  # each (B, ORDERS, operations)
    f1 = ratio(2 * shared, ours + theirs).mean(axis=1)
    delete_p = ratio(shared, ours)[..., 2].mean(axis=1)
    out = {"sari_f1": 100 * f1.mean(axis=1), "sari_p": 100 * (f1[:, 0] + f1[:, 1] + delete_p) / 3}
    with np.errstate(divide="ignore", invalid="ignore"):
        out["bleu"] = _bleu(times @ found["bleu"])
        sentences, words, syllables = (times @ found["read"]).T
        out["fkgl"] = 0.39 * words / sentences + 11.8 * syllables / words - 15.59
        after, before = (times @ found["length"]).T
        out["compression"] = after / before
        for name in MEANS:
            there = ~np.isnan(found[name])
            out[name] = (times @ np.where(there, found[name], 0.0) / (times @ there))[:, 0]
    return out


def _bleu(sums: np.ndarray) -> np.ndarray:
    """BLEU of summed counts (B, 10), without smoothing: 0 where an order has no match."""
    matched, total, ours, theirs = sums[:, :ORDERS], sums[:, ORDERS : 2 * ORDERS], sums[:, -2], sums[:, -1]
    penalty = np.exp(np.minimum(0.0, 1 - theirs / ours))
    score = 100 * penalty * np.exp(np.log(matched / total).mean(axis=1))
    return np.where((matched > 0).all(axis=1), score, 0.0)


def interval(draws: np.ndarray, value: float, level: float = LEVEL) -> tuple[float | None, float | None]:
    """Percentile interval around ``value``, of the draws that are defined; (None, None) where fewer than nine in ten are."""
    draws = draws[np.isfinite(draws)] if np.isfinite(draws).mean() >= 0.9 else draws[:0]
    if not len(draws):
        return None, None
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(min(low, value)), float(max(high, value))
