"""Scores of answers that are one of a few labels: classification, stock movement, credit, headlines.

F1 is weighted by how often each gold label occurs, or plain over the gold labels (macro); labels that no item has do not count. Matthews'
correlation coefficient (MCC) has a class of its own for answers without a label. Beside it stands 50·(1 + MCC), in which 50 is chance:
tables that print MCC near 50 print this.

| | paper | strict |
|---|---|---|
| classification | first choice that is a substring | `labels.strict_label` |
| stock movement, credit | also yes/positive, no/negative/neutral; otherwise fall, or good: never missing | nothing is put in |
| headlines | "Yes" exactly, everything else is No | as classification |
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from sklearn.metrics import f1_score, matthews_corrcoef

from catalog.base.errors import CatalogError
from stages.open_finllms.labels import paper_label, strict_label
from stages.open_finllms.score_common import Item, Score, Scored, by_unit, column, f1, frame, interval, mean_score, missing_rate

MISSING = "missing"  # label of an answer without one
_YES, _NO, _NEUTRAL = ("yes", "positive"), ("no", "negative"), ("neutral",)
_SPLITS = {"stock": ("rise", "fall", "fall"), "credit": ("good", "bad", "good")}  # better, worse, what stands for no answer


def classes(items: Sequence[Item], mode: str, also: Mapping[str, Sequence[str]] | None = None, mcc: bool = False) -> Scored:
    """Classification. `also`: other words for a label, read in mode strict only."""

    def read(item: Item) -> tuple[str | None, str]:
        if mode == "strict":
            return strict_label(item.output, item.choices, also)
        found = paper_label(item.output, item.choices)
        return (found, "ok") if found is not None else (None, "unparsable" if item.output.strip() else "empty")

    return _scored(items, mode, read, mcc=mcc)


def stock(items: Sequence[Item], mode: str) -> Scored:
    """Stock movement: Rise or Fall."""
    return _two_way(items, mode, *_SPLITS["stock"])


def credit(items: Sequence[Item], mode: str) -> Scored:
    """Credit: good or bad."""
    return _two_way(items, mode, *_SPLITS["credit"])


def _two_way(items: Sequence[Item], mode: str, better: str, worse: str, default: str) -> Scored:
    for item in items:
        if {choice.lower() for choice in item.choices} != {better, worse}:
            raise CatalogError(f"Item {item.id} has the choices {', '.join(item.choices)}, but its scorer knows {better} and {worse} only.")

    def read(item: Item) -> tuple[str | None, str]:
        if mode == "strict":
            return strict_label(item.output, item.choices, {better: _YES, worse: _NO})
        found = paper_label(item.output, item.choices, {better: _YES, worse: _NO + _NEUTRAL})
        return (found, "ok") if found is not None else (default, "defaulted")

    return _scored(items, mode, read, mcc=True)


def _scored(items: Sequence[Item], mode: str, read: Callable[[Item], tuple[str | None, str]], mcc: bool) -> Scored:
    gold = _gold(items)
    parsed, statuses = zip(*(read(item) for item in items))
    predicted = [MISSING if label is None else label for label in parsed]
    if mode == "paper":  # a choice that is no item's gold label falls in with the missing
        in_mcc = [label if label in set(gold) else MISSING for label in predicted]
    else:
        in_mcc = predicted
    missing, right = missing_rate(statuses), [mine == theirs for mine, theirs in zip(predicted, gold)]
    share = max(Counter(gold).values()) / len(gold)
    scores = [mean_score("acc", items, right, missing, share), *_f1_scores(items, gold, predicted, missing)]
    if mcc:
        scores += _mcc_scores(items, gold, in_mcc, missing)
    if mode == "paper" and "defaulted" in statuses:
        scores.append(mean_score("defaulted", items, [status == "defaulted" for status in statuses], missing))
    return Scored(tuple(scores), frame(items, parsed, statuses, right, gold))


def _gold(items: Sequence[Item]) -> list[str]:
    for item in items:
        if item.gold.lower() not in {choice.lower() for choice in item.choices}:
            raise CatalogError(
                f"Item {item.id} has the gold label {item.gold!r}, which is not one of its choices, {', '.join(item.choices)}."
            )
    return [item.gold.lower() for item in items]


def confusion(gold: Sequence[str], predicted: Sequence[str]) -> tuple[np.ndarray, list[str], int]:
    """One row an item with a 1 in its cell of the confusion matrix, (n, K·K); the K labels, of which the first G are gold; G."""
    labels = sorted(set(gold))
    count = len(labels)
    labels += sorted(set(predicted) - set(labels))
    place = {label: at for at, label in enumerate(labels)}
    cells = np.zeros((len(gold), len(labels) ** 2))
    cells[np.arange(len(gold)), [place[a] * len(labels) + place[b] for a, b in zip(gold, predicted)]] = 1
    return cells, labels, count


def _f1_scores(items: Sequence[Item], gold: list[str], predicted: list[str], missing: float) -> list[Score]:
    cells, labels, count = confusion(gold, predicted)
    sums = by_unit(items, cells)

    def parts(total: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        square = total.reshape(-1, len(labels), len(labels))
        true = np.diagonal(square, axis1=1, axis2=2)[:, :count]
        of_gold = square.sum(2)[:, :count]
        return f1(true, square.sum(1)[:, :count], of_gold), of_gold

    def weighted(total: np.ndarray) -> np.ndarray:
        scores, of_gold = parts(total)
        return (scores * of_gold).sum(1) / of_gold.sum(1)

    def macro(total: np.ndarray) -> np.ndarray:
        scores, of_gold = parts(total)  # over the gold labels that the resample has
        return (scores * (of_gold > 0)).sum(1) / (of_gold > 0).sum(1)

    share = max(Counter(gold).values()) / len(gold)
    best = 2 * share / (1 + share)  # F1 of the commonest label if every answer is that label
    names, found = labels[:count], []
    for metric, average, statistic, constant in (("f1", "weighted", weighted, share * best), ("macro_f1", "macro", macro, best / count)):
        value = float(f1_score(gold, predicted, average=average, labels=names, zero_division=0))
        found.append(Score(metric, value, *interval(sums, statistic), len(items), missing, len(sums), constant=constant))
    return found


def mcc_of(total: np.ndarray) -> np.ndarray:
    """MCC of confusion matrices (b, K·K): covariance of gold and predicted classes over the root of their variances; 0 if one is 0."""
    size = int(round(total.shape[1] ** 0.5))
    square = total.reshape(-1, size, size)
    gold, predicted, n = square.sum(2), square.sum(1), total.sum(1)
    both = np.trace(square, axis1=1, axis2=2) * n - (gold * predicted).sum(1)
    spread = (n * n - (gold * gold).sum(1)) * (n * n - (predicted * predicted).sum(1))
    return np.divide(both, np.sqrt(spread), out=np.zeros(len(total)), where=spread > 0)


def _mcc_scores(items: Sequence[Item], gold: list[str], predicted: list[str], missing: float) -> list[Score]:
    """MCC, and 50 (1 + MCC).

    Where all draws have the same MCC, since all answers are alike or all are right, their interval would have no width. It then reaches
    1.96 over the root of the units to either side, within -1 and 1: so far from 0 answers without any skill lie by chance.
    """
    cells, _, _ = confusion(gold, predicted)
    sums = by_unit(items, cells)
    value = float(matthews_corrcoef(gold, predicted)) if len({*gold, *predicted}) > 1 else 0.0  # one class: scikit-learn warns
    low, high = interval(sums, mcc_of)
    if low is not None and low == high:
        reach = 1.96 / len(sums) ** 0.5
        low, high = max(low - reach, -1.0), min(high + reach, 1.0)

    def scaled(number: float | None) -> float | None:
        return None if number is None else 50 * (1 + number)

    rest = {"n": len(items), "missing": missing, "units": len(sums)}
    return [
        Score("mcc", value, low, high, unit="correlation", constant=0.0, **rest),
        Score("mcc_50", scaled(value), scaled(low), scaled(high), unit="percent", constant=50.0, **rest),
    ]


def headlines(items: Sequence[Item], mode: str) -> Scored:
    """Yes-no questions on headlines: weighted F1 of each kind of question (column label_type), and their plain mean."""
    gold = _gold(items)
    if any([choice.lower() for choice in item.choices] != ["yes", "no"] for item in items):
        raise CatalogError("The scorer headlines is for the choices Yes and No in this order; use classes for other choices.")
    if mode == "paper":
        parsed = ["yes" if item.output.strip() == "Yes" else "no" for item in items]
        statuses = ["ok" if item.output.strip() in ("Yes", "No") else "defaulted" for item in items]
    else:
        parsed, statuses = map(list, zip(*(strict_label(item.output, item.choices) for item in items)))
    kinds = [str(column(item, "label_type")) for item in items]
    names = sorted(set(kinds))
    answers, place = {"yes": 0, "no": 1, None: 2}, {kind: at for at, kind in enumerate(names)}
    cells = np.zeros((len(items), len(names), 2, 3))
    for at, (kind, theirs, mine) in enumerate(zip(kinds, gold, parsed)):
        cells[at, place[kind], answers[theirs], answers[mine]] = 1
    sums = by_unit(items, cells.reshape(len(items), -1))
    total, missing = sums.sum(0, keepdims=True), missing_rate(statuses)
    right = [mine == theirs for mine, theirs in zip(parsed, gold)]
    low, high = interval(sums, lambda drawn: _headline_means(drawn, len(names)))
    share = [max(Counter(g for g, k in zip(gold, kinds) if k == kind).values()) / kinds.count(kind) for kind in names]
    scores = [
        Score(
            "avg_f1", float(_headline_means(total, len(names))[0]), low, high, len(items), missing, len(sums),
            constant=float(np.mean([s * 2 * s / (1 + s) for s in share])),  # the commonest answer to each kind
        ),
        mean_score("acc", items, right, missing, sum(s * kinds.count(kind) for s, kind in zip(share, names)) / len(items)),
    ]  # fmt: skip
    if "defaulted" in statuses:
        scores.append(mean_score("defaulted", items, [status == "defaulted" for status in statuses], missing))
    return Scored(tuple(scores), frame(items, parsed, statuses, right, gold))


def _headline_means(total: np.ndarray, kinds: int) -> np.ndarray:
    """Totals (b, kinds·2·3) -> mean over the kinds that occur of the weighted F1 of Yes and No."""
    square = total.reshape(-1, kinds, 2, 3)
    of_gold = square.sum(3)
    true = np.stack([square[:, :, 0, 0], square[:, :, 1, 1]], axis=-1)
    weighted = (f1(true, square.sum(2)[:, :, :2], of_gold) * of_gold).sum(2)
    n = of_gold.sum(2)
    each = np.divide(weighted, n, out=np.zeros(n.shape), where=n > 0)
    return each.sum(1) / (n > 0).sum(1)
