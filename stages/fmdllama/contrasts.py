"""The table `contrasts`: each fine-tuned variant against every other method, on the same items, over the same resamples of contexts.

Where one claim makes several comparisons, as *better than every linear classifier* does, the interval of each has the level 1 - .05/k
(``joint_low``, ``joint_high``; ``comparisons`` is k). Everywhere else these are those of 95 %.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

import polars as pl

from stages.fmdllama import clusters
from stages.fmdllama.tables import GROUPS, Items, Method, Pair

STATISTICS = ("accuracy", "nei_rest", "true_false", "rouge1")
SIDES = ("setting", "method", "model", "decoding", "role")
SCHEMA = {
    **dict.fromkeys(("task", *SIDES, "other", "other_setting", "other_role", "statistic", "kind"), pl.String),
    **dict.fromkeys(("value", "low", "high", "joint_low", "joint_high"), pl.Float64),
    **dict.fromkeys(("comparisons", "n", "contexts"), pl.Int64),
}


def table(found: Mapping[Method, Mapping[str, Pair]], variants: Collection[str], tested: Mapping[str, Items]) -> pl.DataFrame:
    """Differences of every statistic that both sides have, over all items that both were asked about and over groups of kinds.

    Args:
        variants: names of the fine-tuned models.
    """
    rows = []
    for subject, own in found.items():
        rivals = list(opponents(subject, found)) if subject.method in variants else []
        for other in rivals:
            count = sum(one.role == "classifier" for one in rivals) if other.role == "classifier" else 1
            for name in STATISTICS:
                if name in own and name in found[other]:
                    rows += differences(subject, other, name, (own[name], found[other][name]), tested[subject.task], count)
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def opponents(subject: Method, found: Collection[Method]) -> Iterator[Method]:
    """What a variant is compared with: its model without tuning, the other variants of its setting, and whatever needs no language model.

    A linear classifier of its own setting stands for the same information, one of the full context for more; copies are of its own setting.
    """
    for other in found:
        if other.task != subject.task or other == subject:
            continue
        alike = other.setting == subject.setting and other.decoding == subject.decoding
        base = alike and other.model == subject.model and other.method in ("untuned", "few-shot")
        attempt = alike and other.role in ("main", "other")
        if base or attempt or (other.model is None and (other.setting == subject.setting or other.role in ("classifier", "topic"))):
            yield other


def differences(subject: Method, other: Method, name: str, both: tuple[Pair, Pair], test: Items, count: int) -> list[tuple]:
    """Rows of one pair of methods and one statistic: all kinds, and each group that there is."""
    rows = []
    for kind, mask in test.kinds.items():
        if kind != "all" and kind not in GROUPS:
            continue
        one, two = ((part * mask, whole * mask) for part, whole in both)
        if name != "true_false":  # there, what counts is which answers say either
            shared = (one[1] > 0) & (two[1] > 0)
            one, two = ((part * shared, whole * shared) for part, whole in (one, two))
        found = clusters.difference(test.context, one, two)
        if found is None:
            continue
        joint = found if count == 1 else clusters.difference(test.context, one, two, 1 - 0.05 / count)
        counted = (one[1] > 0) | (two[1] > 0)
        ids = (subject.task, *(getattr(subject, side) for side in SIDES), other.method, other.setting, other.role, name, kind)
        rows.append((*ids, *found, *joint[1:], count, int(counted.sum()), len(set(test.context[counted].tolist()))))
    return rows
