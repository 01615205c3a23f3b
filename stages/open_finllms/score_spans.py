"""Scores of answers that name parts of a text: named entities, a label for each token, relations.

An entity is a run of tokens and a type, read from the tags B-, I-, E-, S- and O as the program conlleval reads them: a run begins with B or
S, after E or S, after O, and wherever the type changes. Entity F1 is micro-averaged over all texts and equals that of the package seqeval
in its default mode.

| | paper | strict |
|---|---|---|
| entities | "name, TYPE" a line; every place of that string, also inside words | whole tokens; a name that is nowhere is wrong |
| token labels | "token:label" at the same line as its token; a token with a colon is lost | the last colon separates |
| relations | the relations of all texts thrown together | text by text |
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

import numpy as np

from catalog.base.errors import CatalogError
from stages.open_finllms.score_common import (
    Item,
    Score,
    Scored,
    by_unit,
    column,
    f1,
    frame,
    interval,
    micro_scores,
    missing_rate,
)

Span = tuple[str, int, int]  # type, first and last token


def spans(tags: Sequence[str]) -> set[Span]:
    """The entities of a tagged text."""
    found, begin, before, kind_before = set(), 0, "O", ""
    for at, tag in enumerate([*tags, "O"]):
        mark, kind = tag[:1], tag[1:].split("-", maxsplit=1)[-1] or "_"
        changed = kind != kind_before
        inside = before not in ("O", ".")
        if inside and (before in "ES" or mark in ("B", "S", "O") or changed):
            found.add((kind_before, begin, at - 1))
        if mark in ("B", "S") or (mark in ("E", "I") and before in ("E", "S", "O")) or (mark not in ("O", ".") and changed):
            begin = at
        before, kind_before = mark, kind
    return found


def paper_tags(answer: str, text: str) -> list[str]:
    """Tags of the words of a text, from lines "name, TYPE", exactly as the benchmark's code finds them.

    The starts of the words assume single spaces; a name that begins inside a word tags the next one, and a name that reaches the last word
    is not tagged at all.
    """
    words = text.split()
    starts = np.cumsum([0, *(len(word) + 1 for word in words[:-1])]).tolist()
    tags = ["O"] * len(words)
    for line in answer.split("\n"):
        *name, kind = line.split(", ")
        name = ", ".join(name)
        at = text.find(name) if name else -1
        while at != -1:
            first, after = bisect_left(starts, at), bisect_right(starts, at + len(name) - 1)
            if after < len(starts):
                tags[first] = f"B-{kind}"
                tags[first + 1 : after] = [f"I-{kind}"] * len(tags[first + 1 : after])
            at = text.find(name, at + len(name))
    return tags


def strict_spans(answer: str, text: str) -> tuple[set[Span], str]:
    """Spans of the lines "name, TYPE" at whole tokens, and a status. A name that is nowhere is a span that no gold span equals."""
    words, found, lines = text.split(), set(), 0
    for at, line in enumerate(answer.split("\n")):
        name, comma, kind = line.rpartition(",")
        tokens, kind = name.split(), kind.strip().upper()
        if not (comma and tokens and kind):
            continue
        lines += 1
        places = [i for i in range(len(words) - len(tokens) + 1) if words[i : i + len(tokens)] == tokens]
        found |= {(kind, i, i + len(tokens) - 1) for i in places} if places else {(kind, -1 - at, -1 - at)}
    return found, "ok" if lines else "unparsable" if answer.strip() else "empty"


def entities(items: Sequence[Item], mode: str) -> Scored:
    """Named entities; columns text and label (a tag a word)."""
    counts, parsed, statuses, gold = [], [], [], []
    for item in items:
        text, tags = column(item, "text"), list(column(item, "label"))
        if len(tags) != len(text.split()):
            raise CatalogError(f"Item {item.id} has {len(tags)} labels for {len(text.split())} words; there must be one a word.")
        theirs = spans(tags)
        if mode == "paper":
            mine, status = spans(paper_tags(item.output, text)), "ok" if item.output.strip() else "empty"
        else:
            mine, status = strict_spans(item.output, text)
            theirs = {(kind.upper(), *place) for kind, *place in theirs}
            status = "ok" if not theirs and not mine else status  # nothing to find and nothing named
        counts.append((len(mine & theirs), len(mine), len(theirs)))
        parsed.append(_said(mine))
        gold.append(_said(theirs))
        statuses.append(status)
    return _micro(items, np.array(counts), parsed, statuses, gold, {"f1": "entity_f1", "precision": "precision", "recall": "recall"})


def _said(found: set[Span]) -> str:
    return "; ".join(f"{first}-{last} {kind}" for kind, first, last in sorted(found, key=lambda span: (span[1], span[2], span[0])))


def _micro(items, counts, parsed, statuses, gold, names) -> Scored:
    each = f1(counts[:, 0], counts[:, 1], counts[:, 2])
    each = np.where(counts[:, 1:].sum(1) == 0, 1.0, each)  # nothing there, nothing said: right
    return Scored(tuple(micro_scores(items, counts, missing_rate(statuses), names)), frame(items, parsed, statuses, each, gold))


def token_labels(output: str, tokens: Sequence[str], labels: Sequence[str], mode: str) -> list[str | None]:
    """The label given to each token; None where the line of that number has another token, no label, or one that is not declared."""
    found: list[str | None] = [None] * len(tokens)
    for at, line in enumerate(output.split("\n")[: len(tokens)]):
        parts = line.split(":") if mode == "paper" else [part.strip() for part in line.rsplit(":", 1)]
        if len(parts) == 2 and parts[0] == tokens[at] and parts[1] in labels:
            found[at] = parts[1]
    return found


def tagging(items: Sequence[Item], mode: str, labels: Sequence[str]) -> Scored:
    """A label a token; columns token and label. Entity F1 (a token without an answer is O) and F1 of the tokens weighted by gold label."""
    place, counts, sums, parsed, gold, statuses, answered = {label: i for i, label in enumerate(labels)}, [], [], [], [], [], []
    for item in items:
        tokens, tags = list(column(item, "token")), list(column(item, "label"))
        if len(tags) != len(tokens) or not set(tags) <= set(labels):
            raise CatalogError(f"Item {item.id} needs one label a token, each one of {', '.join(labels)}.")
        given = token_labels(item.output, tokens, labels, mode)
        mine, theirs = spans([label or "O" for label in given]), spans(tags)
        counts.append((len(mine & theirs), len(mine), len(theirs)))
        sums.append(np.zeros((3, len(labels))))
        for label, tag in zip(given, tags):
            sums[-1][2, place[tag]] += 1
            if label is not None:
                sums[-1][1, place[label]] += 1
                sums[-1][0, place[tag]] += label == tag
        parsed.append(" ".join(label or "?" for label in given))
        gold.append(" ".join(tags))
        answered.append((sum(label is not None for label in given), len(tags)))
        statuses.append("ok" if any(given) or not tags else "unparsable" if item.output.strip() else "empty")
    scored = _micro(items, np.array(counts), parsed, statuses, gold, {"f1": "entity_f1"})
    tokens_there = np.array(answered, dtype=float)
    label_f1 = _token_f1(items, np.array(sums), missing_rate(statuses))
    by_token = by_unit(items, tokens_there)
    share = tokens_there[:, 0].sum() / max(1, tokens_there[:, 1].sum())
    ends = interval(by_token, lambda total: total[:, 0] / np.maximum(1, total[:, 1]))
    tagged = Score("tokens_answered", float(share), *ends, len(items), missing_rate(statuses), len(by_token))
    return Scored((*scored.scores, label_f1, tagged), scored.items)


def _token_f1(items: Sequence[Item], sums: np.ndarray, missing: float) -> Score:
    """From (n, 3, K): right, predicted and gold of each label."""
    by = by_unit(items, sums.reshape(len(items), -1))

    def weighted(total: np.ndarray) -> np.ndarray:
        true, predicted, of_gold = np.moveaxis(total.reshape(-1, 3, sums.shape[2]), 1, 0)
        n = of_gold.sum(1)
        return np.divide((f1(true, predicted, of_gold) * of_gold).sum(1), n, out=np.zeros(len(n)), where=n > 0)

    total = by.sum(0, keepdims=True)
    of_gold = total.reshape(3, -1)[2]
    share = of_gold.max() / max(1.0, of_gold.sum())
    return Score(
        "f1", float(weighted(total)[0]), *interval(by, weighted), len(items), missing, len(by), constant=share * 2 * share / (1 + share)
    )


def relations(items: Sequence[Item], mode: str) -> Scored:
    """Relations, one a line; column label (list of relations). Paper mode has no interval: a union has no resamples of its parts."""
    lines, gold = [item.output.split("\n") for item in items], [_relations(item) for item in items]
    statuses = ["ok" if item.output.strip() else "empty" for item in items]
    if not any(gold):
        raise CatalogError("No item has a gold relation, so recall is not defined; check the column label.")
    if mode == "strict":
        lines = [[line.strip() for line in answer if line.strip()] for answer in lines]
        gold = [[relation.strip() for relation in right] for right in gold]
        statuses = ["ok" if not right and not answer else status for right, answer, status in zip(gold, lines, statuses)]
    counts = np.array([(len(set(a) & set(b)), len(set(a)), len(set(b))) for a, b in zip(lines, gold)])
    said, names = ["\n".join(right) for right in gold], {"f1": "f1", "precision": "precision", "recall": "recall"}
    scored = _micro(items, counts, ["\n".join(answer) for answer in lines], statuses, said, names)
    if mode == "strict":
        return scored
    mine, theirs = ({part for parts in side for part in parts} for side in (lines, gold))
    right = len(mine & theirs)
    values = {"f1": 2 * right / (len(mine) + len(theirs)), "precision": right / len(mine), "recall": right / len(theirs)}
    n, missing = len(items), missing_rate(statuses)
    return Scored(tuple(Score(name, value, None, None, n, missing, 0) for name, value in values.items()), scored.items)


def _relations(item: Item) -> list[str]:
    label = column(item, "label")
    if isinstance(label, str):
        raise CatalogError(f"Item {item.id} has a text as label, but its scorer needs a list with one relation an entry.")
    return list(label)
