"""What the claims rest on: values of methods and differences between two of them, over all tables, with intervals.

Two methods are compared on the same items: the people an attack is tried on, the test rows of a classifier, the training rows of a
likelihood. Items are resampled (bootstrap, percentile intervals), each time the same ones for both methods, so what the items have in
common cancels out. Releases (seeds) of one method are averaged within a resample. A statement about *every* table is one number, the least
or the greatest difference among the tables; see `extreme` for its interval.

An interval holds the chance of drawing the items, not that of training a generator again or of splitting a table otherwise. Where k
statements stand behind one claim, its rows have the level 1 - .05 / k.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from catalog.report.intervals import wilson
from stages.harmonic import predictions
from stages.harmonic.schema import COPY, HOLDOUT
from stages.harmonic.utility import Utility

DRAWS = 5000  # enough for the tails of corrected intervals
CELLS = 4_000_000  # resampled weights held at once
MEMBERSHIP = ("membership_auc", "membership_auc_unreleased")
ANY = "any other"  # each of the other generators

# measure, method, other (None: the value itself), least or greatest over the tables, statements behind the claim
COMPARED = (
    ("membership_auc", "harmonic", "great", "greatest", 1),
    ("membership_auc", "harmonic", "marginals", "least", 2),
    ("membership_auc_unreleased", "harmonic", HOLDOUT, "least", 2),
    ("membership_auc", "smote", "marginals", "least", 1),
    ("membership_auc_unreleased", COPY, HOLDOUT, "least", 1),
    ("dlt_paper", "harmonic", "great", "least", 1),
    ("macro_f1", "harmonic", "smote", "least", 1),
    ("mcc", "harmonic", None, "least", 2),
    ("mcc", "harmonic", "marginals", "least", 2),
    ("mcc", "great", None, "least", 1),
    ("nll_gap", "overtrained", None, "least", 2),
    ("likelihood_auc", "overtrained", None, "least", 2),
    ("likelihood_auc", "overtrained", "harmonic", "least", 1),
    ("accuracy", "real", "majority", "least", 1),
    ("accuracy", "harmonic", ANY, "least", 1),
    ("prompt_ratio", "harmonic", None, "least", 1),
)


def needed(measure: str) -> set[str]:
    """Methods that stand in a comparison of a measure."""
    return {name for row in COMPARED if row[0] == measure for name in row[1:3] if name}


@dataclass(frozen=True)
class Drawn:
    """A statistic and its values (DRAWS,) in resamples; two of one measure and table come from the same resamples."""

    value: float
    draws: np.ndarray
    n: int  # items

    def less(self, other: Drawn) -> Drawn:
        return Drawn(self.value - other.value, self.draws - other.draws, self.n)


def mean(parts: Sequence[Drawn]) -> Drawn:
    """The mean of several, in each resample."""
    return Drawn(float(np.mean([p.value for p in parts])), np.mean([p.draws for p in parts], axis=0), sum(p.n for p in parts))


def extreme(parts: Sequence[Drawn], over: str, level: float) -> tuple[float, float, float]:
    """The least or the greatest of several, with an interval that holds the true one at ``level`` at least.

    The least of several values is not above any of them, so its upper bound is the lowest of their upper bounds, each at the level
    corrected for their number (one of several may be low by chance); its lower bound is the lowest of their lower bounds, without a
    correction. Resampling the least itself would not do: it lies below the true one on average, and its resamples once more.
    """
    plain, corrected = ([interval(p, at) for p in parts] for at in (level, 1 - (1 - level) / len(parts)))
    values = [p.value for p in parts]
    if over == "least":
        return min(values), min(low for low, _ in plain), min(high for _, high in corrected)
    return max(values), max(low for low, _ in corrected), max(high for _, high in plain)


def interval(found: Drawn, level: float) -> tuple[float, float]:
    """Percentile interval; the value itself lies in it.

    Where all items say the same (two classifiers with equal answers, a copy of the table), no resample differs, however few items there
    are. The interval then reaches as far as Wilson's of a share that was never seen.
    """
    if found.draws.min() == found.draws.max():
        width = wilson(0, found.n, level)[1]
        return max(found.value - width, -1.0), min(found.value + width, 1.0)
    low, high = np.nanquantile(found.draws, [(1 - level) / 2, (1 + level) / 2])
    return min(float(low), found.value), max(float(high), found.value)


# --- resampling -------------------------------------------------------------------------------------------------------------------------


def counts(n: int, seed: Sequence[int]) -> Iterable[np.ndarray]:
    """How often each of n items is drawn, (b, n) float64 at a time; depends on n and the seed alone."""
    rng, chunk = np.random.default_rng(seed), max(1, CELLS // n)
    for start in range(0, DRAWS, chunk):
        yield rng.multinomial(n, np.full(n, 1 / n), size=min(chunk, DRAWS - start)).astype(np.float64)


def means(values: np.ndarray, seed: Sequence[int]) -> Drawn:
    """Mean of (n,) values."""
    values = np.asarray(values, dtype=np.float64)
    n = len(values)
    return Drawn(float(values.mean()), np.concatenate([drawn @ values / n for drawn in counts(n, seed)]), n)


def aucs(members: np.ndarray, others: np.ndarray, seed: Sequence[int]) -> Drawn:
    """AUC of an attack; members and others are resampled each for themselves."""
    truth, score = np.repeat([1, 0], [len(members), len(others)]), np.concatenate([members, others])
    both = np.stack([-score, score], axis=1)
    pairs = zip(_all(len(members), [*seed, 0]), _all(len(others), [*seed, 1]), strict=True)
    draws = np.concatenate([predictions.auc(truth, both, np.hstack(pair)) for pair in pairs])
    return Drawn(float(predictions.auc(truth, both)[0]), draws, len(truth))


def _all(n: int, seed: Sequence[int], rows: int = 100) -> Iterable[np.ndarray]:
    """`counts` in chunks of equally many resamples for every n, to be laid side by side."""
    rng = np.random.default_rng(seed)
    for _ in range(0, DRAWS, rows):
        yield rng.multinomial(n, np.full(n, 1 / n), size=rows).astype(np.float64)


def median_ratio(upper: np.ndarray, lower: np.ndarray, seed: Sequence[int]) -> Drawn | None:
    """Ratio of the medians of two columns of the same items; None where the lower median may be 0."""
    n, rng = len(upper), np.random.default_rng(seed)
    parts, chunk = [], max(1, CELLS // n)
    for start in range(0, DRAWS, chunk):
        index = rng.integers(0, n, size=(min(chunk, DRAWS - start), n))
        parts.append(np.stack([np.median(upper[index], axis=1), np.median(lower[index], axis=1)]))
    above, below = np.concatenate(parts, axis=1)
    whole = float(np.median(lower))
    if whole <= 0 or (below <= 0).any():
        return None
    return Drawn(float(np.median(upper)) / whole, above / below, n)


# --- signals of one table: method -> Drawn ----------------------------------------------------------------------------------------------

Methods = dict[str, Drawn]


def _by_method(found: Mapping[tuple[str, int], Drawn]) -> Methods:
    """Means over the releases of each method."""
    out: dict[str, list[Drawn]] = {}
    for (method, _), drawn in found.items():
        out.setdefault(method, []).append(drawn)
    return {m: Drawn(float(np.mean([p.value for p in ps])), np.mean([p.draws for p in ps], axis=0), ps[0].n) for m, ps in out.items()}


def membership(
    attacks: Mapping[tuple[str, int], tuple[np.ndarray, np.ndarray]], unreleased: int, seed: Sequence[int]
) -> dict[str, Methods]:
    """Membership AUC by distance of each method, and the same with strangers that are in no release.

    Args:
        attacks: scores of training and of holdout rows by (method, release); those of the method "holdout rows" lack the rows released.
        unreleased: so many holdout rows, the last ones, are not released as "holdout rows".
    """
    asked = [{key: pair for key, pair in attacks.items() if key[0] in needed(measure)} for measure in MEMBERSHIP]
    whole = {key: aucs(*pair, seed) for key, pair in asked[0].items()}
    common = {key: aucs(members, others[-unreleased:], seed) for key, (members, others) in asked[1].items()}
    return dict(zip(MEMBERSHIP, (_by_method(whole), _by_method(common)), strict=True))


def prompts(distances: Mapping[tuple[str, int], tuple[np.ndarray, np.ndarray]], seed: Sequence[int]) -> Methods:
    """Median distance of rows to what their own prompt showed, over that to what another prompt showed."""
    found = {key: median_ratio(*pair, [*seed, *key[1:]]) for key, pair in distances.items()}
    return _by_method({key: drawn for key, drawn in found.items() if drawn is not None})


def useful(found: Mapping[tuple[str, str, int], Utility], metric: str, seed: int) -> Methods:
    """A metric of the strict protocol, the mean over classifiers; nothing in a regression."""
    out = {}
    for (protocol, method, release), scores in found.items():
        if protocol == "strict" and scores.classes and method in needed(metric):
            drawn = predictions.draws(scores, metric, n_boot=DRAWS, seed=seed)
            out[method, release] = Drawn(predictions.mean(scores, metric), drawn, len(scores.truth))
    return _by_method(out)


def likelihoods(likely: pl.DataFrame, seed: Sequence[int]) -> dict[str, Methods]:
    """Of one table: DLT in the paper's form, the gap in nats a token, and the membership AUC of what fine-tuning gained on a row.

    Generators are compared on the real rows that all of them were asked about.
    """
    out: dict[str, Methods] = {"dlt_paper": {}, "nll_gap": {}, "likelihood_auc": {}}
    for place, ((generator, form), part) in enumerate(sorted(likely.group_by("generator", "form"), key=lambda item: item[0])):
        nats = {name: rows.sort("id") for (name,), rows in part.group_by("part")}
        token = {name: (rows["nll"] / rows["tokens"]).to_numpy() for name, rows in nats.items()}
        if form == "paper" and "synthetic" in token:
            real, made = means(np.exp(token["train"]), [*seed, 0]), means(np.exp(token["synthetic"]), [*seed, 1, place])
            out["dlt_paper"][generator] = Drawn(real.value - made.value, real.draws - made.draws, real.n + made.n)
        if form == "strict":
            unseen, seen = means(token["holdout"], [*seed, 2]), means(token["train"], [*seed, 3])
            out["nll_gap"][generator] = Drawn(unseen.value - seen.value, unseen.draws - seen.draws, unseen.n + seen.n)
    strict = likely.filter(form="strict").with_columns(gain=(pl.col("base_nll") - pl.col("nll")) / pl.col("tokens"))
    known = strict.filter(pl.col("part") != "synthetic").group_by("part", "id").agg(asked=pl.col("generator").n_unique())
    shared = strict.join(known.filter(pl.col("asked") == strict["generator"].n_unique()), on=["part", "id"]).sort("generator", "part", "id")
    for (generator,), part in shared.group_by("generator", maintain_order=True):
        gain = {name: part.filter(part=name)["gain"].to_numpy() for name in ("train", "holdout")}
        if len(gain["train"]) and len(gain["holdout"]):
            out["likelihood_auc"][generator] = aucs(gain["train"], gain["holdout"], [*seed, 4])
    return out


def answers(read: pl.DataFrame, seed: Sequence[int]) -> Methods:
    """Of one table: share of right answers of the LLM classifier by what it was trained on, and of the majority answer."""
    out = {}
    for (method,), part in read.sort("method", "id").group_by("method", maintain_order=True):
        out[method] = means((part["strict"] == part["gold"]).fill_null(False).to_numpy(), seed)
        out["majority"] = means((part["majority"] == part["gold"]).to_numpy(), seed)
    return out


# --- the table --------------------------------------------------------------------------------------------------------------------------

Signals = Mapping[str, Mapping[str, Methods]]  # measure -> table -> method


def _compared(methods: Methods, method: str, other: str | None) -> list[Drawn]:
    """The differences of two methods on one table (to each rival, of any other), or the value itself; none without one of them."""
    rivals = [name for name in methods if name not in (method, "real", "majority")] if other == ANY else [other]
    if method not in methods or (other is not None and not set(rivals) <= set(methods)):
        return []
    return [methods[method] if rival is None else methods[method].less(methods[rival]) for rival in rivals]


def contrasts(signals: Signals) -> pl.DataFrame:
    """The rows of `COMPARED`, of each table and over all of them, and the mean over the tables of each method that stands in one."""
    rows = []

    def add(key: tuple, table: str | None, found: tuple[float, float, float], n: int, level: float = 0.95) -> None:
        label = dict(zip(("measure", "method", "other", "over", "table"), (*key, table), strict=True))
        rows.append(label | dict(zip(("value", "low", "high"), found)) | {"n": n, "level": level})

    for measure, method, other, over, k in COMPARED:
        found = {table: _compared(methods, method, other) for table, methods in signals.get(measure, {}).items()}
        found = {table: parts for table, parts in found.items() if parts}
        for table, parts in found.items():
            add((measure, method, other, "one table"), table, extreme(parts, over, 0.95), parts[0].n)
        if found:
            level = 1 - 0.05 / k
            whole = extreme([p for parts in found.values() for p in parts], over, level)
            add((measure, method, other, over), None, whole, sum(parts[0].n for parts in found.values()), level)
    for measure, method in sorted({(row[0], name) for row in COMPARED for name in needed(row[0])}):
        parts = [methods[method] for methods in signals.get(measure, {}).values() if method in methods]
        if parts:
            whole = mean(parts)
            add((measure, method, None, "mean"), None, (whole.value, *interval(whole, 0.95)), whole.n)
    kinds = dict.fromkeys(("measure", "method", "other", "over", "table"), pl.String)
    return pl.DataFrame(rows, schema=kinds | dict.fromkeys(("value", "low", "high"), pl.Float64) | {"n": pl.Int64, "level": pl.Float64})
