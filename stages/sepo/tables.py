"""The evaluation's tables of policies: one row a policy, a method, a pair of methods, a rule that reads nothing, a kind of change.

A pair counts as right where the mean log-probability of the chosen response's tokens (prompt excluded) lies above that of the rejected
one's. Pairs of one document are averaged first, so that every document counts once and ``n`` counts documents. Every method is measured on
the same ones, so a difference is taken document by document (see `paired`); a method's value is the mean over its seeds, and intervals are
over documents: they do not cover the noise of training.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from catalog.report.intervals import bootstrap
from stages.sepo.paired import difference, mean_share, share_difference
from stages.sepo.settings import BASE, UNTRAINED, Experiment, Method


class Group(NamedTuple):
    """What the policies of one method that differ in their seed alone have in common."""

    method: str
    oracle: str | None
    trained_on: str
    chosen_share: float
    rejected_share: float
    compute: bool


KEY = list(Group._fields)
Found = dict[tuple[str, str], dict[Group, tuple[np.ndarray, np.ndarray]]]  # of `by_method`

# Which response a rule prefers that does not read the text: the one with the higher number. "coin" is added to them.
RULES: dict[str, Callable[[str], float]] = {
    "fewer words": lambda text: -len(text.split()),
    "more words": lambda text: len(text.split()),
    "fewer characters": lambda text: -len(text),
    "no 'not'": lambda text: -(" not " in f" {text} " or "n't" in text),
}


def per_pair(measured: pl.DataFrame) -> pl.DataFrame:
    """run, set, id, margin (difference of mean log-probabilities), sum_margin, right, nll of the chosen response a token."""
    chosen, rejected = (pl.col(f"{side}_sum") / pl.col(f"{side}_tokens") for side in ("chosen", "rejected"))
    return measured.select(
        "run",
        "set",
        "id",
        margin=chosen - rejected,
        sum_margin=pl.col("chosen_sum") - pl.col("rejected_sum"),
        right=chosen > rejected,
        nll=-chosen,
    )


def per_document(pairs: pl.DataFrame, data: pl.DataFrame) -> pl.DataFrame:
    """run, set, document and the means over its pairs of right (a share now), margin, sum_margin and nll, ordered by document.

    Args:
        pairs: of `per_pair`.
        data: id and group of every pair; a group is an article, a document or a prompt.
    """
    joined = pairs.join(data.select("id", document="group"), on="id", validate="m:1")
    values = (pl.col(name).mean() for name in ("right", "margin", "sum_margin", "nll"))
    return joined.group_by("run", "set", "document").agg(*values).sort("run", "set", "document")


def runs_table(documents: pl.DataFrame, runs: pl.DataFrame, kl: pl.DataFrame, lengths: pl.DataFrame) -> pl.DataFrame:
    """One row a policy and test set, with Wilson's interval of its accuracy; the untrained ones too."""
    rows = []
    for (name, data), part in documents.group_by("run", "set", maintain_order=True):
        item: dict[str, Any] = {"run": name, "set": data, "n": len(part)}
        item |= dict(zip(("accuracy", "low", "high"), mean_share(part["right"].to_numpy()), strict=True))
        item |= {column: float(part[column].mean()) for column in ("margin", "sum_margin", "nll")}
        rows.append(item | dict(zip(("margin_low", "margin_high"), bootstrap(part["margin"].to_numpy()), strict=True)))
    found = pl.DataFrame(rows)
    own = kl.group_by("run", "set").agg(kl=pl.col("kl").mean())
    spoken = lengths.group_by("run").agg(answer_tokens=pl.col("tokens").mean())
    found = found.join(own, on=["run", "set"], how="left").join(spoken, on="run", how="left")
    found = found.join(runs.rename({"set": "trained_on"}), on="run", how="left")
    return found.with_columns(pl.col("method").fill_null(pl.col("run"))).sort("set", "run")


def compared(runs: pl.DataFrame, members: pl.DataFrame) -> pl.DataFrame:
    """experiment, run, and what a run is, with the columns of `KEY`: a row a policy of each experiment."""
    return members.join(runs.rename({"set": "trained_on"}), on="run")


def same_seeds(runs: pl.DataFrame, experiments: Sequence[Experiment], methods: Sequence[Method]) -> pl.DataFrame:
    """experiment, run: for each experiment the policies on random tokens with its sets and seeds, whichever experiment trained them."""
    random = runs.filter(pl.col("method").is_in([m.name for m in methods if m.selector == "random"]))
    return pl.concat(
        random.filter(pl.col("seed").is_in(e.seeds), pl.col("set").is_in(e.sets)).select(pl.lit(e.name).alias("experiment"), "run")
        for e in experiments
    )


def by_method(documents: pl.DataFrame, runs: pl.DataFrame, members: pl.DataFrame, asked: Mapping[str, Sequence[str]]) -> Found:
    """(experiment, test set) -> group of policies -> means over seeds for each document, in their order: (right (n,), margin (n,)).

    Args:
        asked: the test sets of each experiment; a policy that two experiments share may have been measured on more.
    """
    out: Found = {}
    for (experiment, *key), group in compared(runs, members).group_by("experiment", *KEY, maintain_order=True):
        own = documents.filter(pl.col("run").is_in(group["run"].to_list()), pl.col("set").is_in(asked[experiment]))
        for (data,), part in own.group_by("set", maintain_order=True):
            means = part.group_by("document").agg(pl.col("right").mean(), pl.col("margin").mean()).sort("document")
            out.setdefault((experiment, data), {})[Group(*key)] = (means["right"].to_numpy(), means["margin"].to_numpy())
    return out


def start_of(documents: pl.DataFrame, data: str) -> tuple[np.ndarray, np.ndarray]:
    """The untrained policy on a test set, in the order of the documents: (right (n,), margin (n,))."""
    own = documents.filter((pl.col("run") == UNTRAINED) & (pl.col("set") == data)).sort("document")
    return own["right"].to_numpy(), own["margin"].to_numpy()


def counts_table(runs: pl.DataFrame, members: pl.DataFrame) -> pl.DataFrame:
    """experiment and the columns of `KEY`: how many policies, their steps and what a step costs and reads."""
    return (
        compared(runs, members)
        .group_by("experiment", *KEY)
        .agg(
            selector=pl.col("selector").first(),
            seeds=pl.len().cast(pl.Int64),
            steps=pl.col("steps").max(),
            relative_cost=pl.col("relative_cost").mean(),
            tokens_used=pl.col("tokens_used").mean(),
        )
    )


def summary_table(found: Found, start: Mapping[str, tuple[np.ndarray, np.ndarray]], counts: pl.DataFrame) -> pl.DataFrame:
    """One row an experiment, test set and method: means over seeds, intervals over documents, differences to the untrained policy."""
    rows = []
    for (experiment, data), methods in found.items():
        for key, (right, margin) in methods.items():
            item: dict[str, Any] = key._asdict() | {"experiment": experiment, "set": data, "n": len(right)}
            for name, own, gained in (
                ("accuracy", mean_share(right), share_difference(right, start[data][0])),
                ("margin", (float(margin.mean()), *bootstrap(margin)), difference(margin, start[data][1])),
            ):
                item |= dict(zip((name, f"{name}_low", f"{name}_high"), own, strict=True))
                item |= dict(zip((f"{name}_gain", f"{name}_gain_low", f"{name}_gain_high"), gained, strict=True))
            rows.append(item)
    table = pl.DataFrame(rows, infer_schema_length=None).join(counts, on=["experiment", *KEY], how="left", nulls_equal=True)
    return table.sort("experiment", "set", *KEY, nulls_last=True)


def versus(found: Found, one: str) -> pl.DataFrame:
    """Differences on the same documents of method ``one`` to every other method of the main experiment: accuracy and margin."""
    rows = []
    for (experiment, data), methods in found.items():
        own = [values for key, values in methods.items() if key.method == one]
        if experiment != "main" or not own:
            continue
        for key, values in methods.items():
            if key.method != one:
                gaps = share_difference(own[0][0], values[0]), difference(own[0][1], values[1])
                item = {"method": one, "other": key.method, "set": data, "n": len(values[0])}
                for name, gap in zip(("accuracy", "margin"), gaps, strict=True):
                    item |= dict(zip((f"{name}_difference", f"{name}_low", f"{name}_high"), gap, strict=True))
                rows.append(item)
    return pl.DataFrame(rows).sort("set", "other")


def rule_marks(pairs: pl.DataFrame) -> dict[str, np.ndarray]:
    """Rule -> (n,) share of a document's pairs in which it prefers the chosen response, a tie counts 0.5, in the order of the documents.

    Args:
        pairs: group (the document), chosen, rejected.
    """
    pairs = pairs.sort("group")
    both, (_, first) = pairs.select("chosen", "rejected").rows(), np.unique(pairs["group"].to_numpy(), return_index=True)
    out = {"coin": np.full(len(first), 0.5)}
    for name, score in RULES.items():
        gap = np.array([score(chosen) - score(rejected) for chosen, rejected in both], dtype=np.float64)
        out[name] = np.add.reduceat((gap > 0) + 0.5 * (gap == 0), first) / np.diff([*first, len(gap)])
    return out


def trivial_table(marks: Mapping[str, Mapping[str, np.ndarray]]) -> pl.DataFrame:
    """Rules that read nothing: accuracy on the test documents of each set, with Wilson's interval; a coin has none."""
    rows = []
    for data, rules in marks.items():
        for name, mark in rules.items():
            value, low, high = (0.5, 0.5, 0.5) if name == "coin" else mean_share(mark)
            rows.append({"set": data, "rule": name, "n": len(mark), "accuracy": value, "low": low, "high": high})
    return pl.DataFrame(rows).sort("set", "rule")


def kinds_table(pairs: pl.DataFrame, runs: pl.DataFrame, data: pl.DataFrame) -> pl.DataFrame:
    """Accuracy by what was changed in a constructed pair: method, kind, n, accuracy (means over seeds)."""
    named = runs.select("run", "method").vstack(pl.DataFrame({"run": [UNTRAINED, BASE], "method": [UNTRAINED, BASE]}))
    joined = pairs.join(named, on="run").join(data.select("id", "kind"), on="id").drop_nulls("kind")
    return (
        joined.group_by("method", "kind")
        .agg(n=pl.col("id").n_unique().cast(pl.Int64), accuracy=pl.col("right").mean())
        .sort("method", "kind")
    )


def dropped_table(unread: pl.DataFrame, left_out: pl.DataFrame) -> pl.DataFrame:
    """set, step, reason, pairs: how many pairs are missing and why.

    Args:
        unread: set, id, reason of rows that gave no pair.
        left_out: set, split, id, reason of pairs whose tokens cannot be used; those that two stages left out stand in it twice.
    """
    steps = {"reading": unread.select("set", "id", "reason"), "tokens": left_out.select("set", "id", "reason").unique()}
    rows = [rows.group_by("set", "reason").agg(pairs=pl.len().cast(pl.Int64), step=pl.lit(step).first()) for step, rows in steps.items()]
    return pl.concat(rows).sort("set", "step", "reason")
