"""The table `contrasts`: comparisons that the claims rest on and that more than one policy or rule stands behind.

Each row is one number over the test documents of a set, with its 95 % interval (`paired`). Which policies it compares is read from the
experiments of the parameters: an experiment with several shares gives a slope, one with several oracles a comparison of their data.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np
import polars as pl

from stages.sepo.paired import Interval, difference, largest, largest_share, least, least_share, slope
from stages.sepo.settings import Experiment, Method, OracleModel, Train
from stages.sepo.tables import Found, Group

Both = tuple[np.ndarray, np.ndarray]  # right (n,), margin (n,), in the order of the documents
Rows = Iterator[tuple[str, str, str, *Interval]]  # statistic, subject, measure, value, low, high


def table(
    found: Found,
    random: Found,
    start: Mapping[str, Both],
    marks: Mapping[str, Mapping[str, np.ndarray]],
    p: Train,
    oracles: Sequence[OracleModel],
) -> pl.DataFrame:
    """experiment, set, statistic, subject, measure, value, low, high, n.

    Args:
        found: of `tables.by_method`.
        random: the same of the policies on random tokens, of each experiment's seeds (`tables.same_seeds`).
        start: test set -> the untrained policy.
        marks: test set -> rule -> (n,) share of a document's pairs that it has right, in the same order.
    """
    rows = []
    for data, rules in marks.items():
        lead = least_share([(start[data][0], mark) for mark in rules.values()])
        rows.append((None, data, "least lead over rules that read nothing", "untrained", "accuracy", *lead, len(start[data][0])))
    declared = {e.name: e for e in p.experiments}
    for (experiment, data), methods in found.items():
        made = [
            *against_all(methods, start[data], all_tokens(p.methods)),
            *sweep(methods, declared[experiment], p.methods),
            *less_data(methods, start[data], oracles),
            *weaker(methods, random.get((experiment, data), {}), declared[experiment]),
        ]
        rows += [(experiment, data, *row, len(start[data][0])) for row in made]
    names, numbers = ("experiment", "set", "statistic", "subject", "measure"), ("value", "low", "high")
    return pl.DataFrame(rows, {**dict.fromkeys(names, pl.String), **dict.fromkeys(numbers, pl.Float64), "n": pl.Int64}, orient="row")


def all_tokens(methods: Sequence[Method]) -> set[str]:
    """Names of the methods that train on all tokens of a pair. ConfPO picks its tokens in the loss, so it is none of them."""
    return {m.name for m in methods if m.selector == "all" and m.loss != "confpo"}


def against_all(methods: Mapping[Group, Both], start: Both, rivals: Collection[str]) -> Rows:
    """SePO as released against the methods on all tokens, and the most that any of these gains."""
    own = [values for key, values in methods.items() if key.method == "sepo"]
    others = [values for key, values in methods.items() if key.method in rivals]
    if others and len(own) == 1:
        lead, (right, margin) = "least lead over methods on all tokens", own[0]
        yield lead, "sepo", "accuracy", *least_share([(right, other[0]) for other in others])
        yield lead, "sepo", "margin", *least([(margin, other[1]) for other in others])
    if others:
        gain = "largest gain of methods on all tokens"
        yield gain, "all tokens", "accuracy", *largest_share([(other[0], start[0]) for other in others])
        yield gain, "all tokens", "margin", *largest([(other[1], start[1]) for other in others])


def sweep(methods: Mapping[Group, Both], e: Experiment, declared: Sequence[Method]) -> Rows:
    """How the margin goes with the share of one side's tokens, where the experiment varies it."""
    usual = {m.name: m for m in declared}
    for side, shares in (("chosen_share", e.chosen_shares), ("rejected_share", e.rejected_shares)):
        series: dict[Group, dict[float, np.ndarray]] = {}
        for key, (_, margin) in methods.items() if len(shares or ()) > 1 else ():
            series.setdefault(key._replace(**{side: 0.0}), {})[getattr(key, side)] = margin
        for key, margins in series.items():
            at = sorted(margins)
            if len(at) > 1:
                yield f"slope over the {side.replace('_', ' ')}", key.method, "margin", *slope(at, [margins[share] for share in at])
                own = getattr(usual[key.method], side)
                if own in margins and own < at[-1]:
                    gap = difference(margins[at[-1]], margins[own])
                    yield f"largest {side.replace('_', ' ')} less the usual one", key.method, "margin", *gap


def less_data(methods: Mapping[Group, Both], start: Both, oracles: Sequence[OracleModel]) -> Rows:
    """What a policy gains by an oracle of a part of the pairs, less half of what it gains by the same oracle of all of them.

    Above 0 means that more than half of the gain is kept; a policy that learns nothing lies below, by half of the gain.
    """
    known = {o.name: o for o in oracles}
    for key, values in methods.items():
        o = known.get(key.oracle or "")
        for other, whole in methods.items() if o and o.share < 1 else ():
            w = known.get(other.oracle or "")
            if w and w.share == 1 and (w.model, w.depth, w.set) == (o.model, o.depth, o.set) and other._replace(oracle=o.name) == key:
                kept = difference(values[1] - start[1], (whole[1] - start[1]) / 2)
                yield "gain less half of that with all pairs", o.name, "margin", *kept


def weaker(methods: Mapping[Group, Both], random: Mapping[Group, Both], e: Experiment) -> Rows:
    """Where the experiment varies the oracle: each one's policies against those on as many random tokens, both of the same seeds."""
    for key, (_, margin) in methods.items() if len(e.oracles) > 1 else ():
        for other, (_, control) in random.items() if key.method == "sepo" else ():
            if other._replace(method=key.method, oracle=key.oracle) == key:
                yield "lead over random tokens, same seeds", key.oracle or "", "margin", *difference(margin, control)
