"""Several texts that begin alike in one row of a training batch: the beginning is computed once, and no ending sees another.

Nine questions about one text cost little more than the text. Losses and gradients are those of the texts in rows of their own.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from catalog.base.errors import CatalogError
from catalog.training.losses import Batch, tensors_of
from catalog.training.packing import IGNORE, Example, pack


def join(beginning: Sequence[int], endings: Sequence[Example]) -> dict[str, list]:
    """One example of a beginning and the texts that go on from it, for `branch_collate`.

    Args:
        beginning: token ids that all texts begin with, without labels; at least one.
        endings: what follows, each with `input_ids` and `labels` (-100 where there is no loss), and any further numbers per token, under
            the same keys in all; at the beginning they are 0.

    Returns:
        Lists over all tokens: `input_ids`, `labels`, `place` (position in its own text), `before` (index of the token that comes before
        in its own text) and `ending` (0 the beginning, 1, 2, … the texts).

    Raises:
        CatalogError: no beginning, no ending, or an empty one.
    """
    if not len(beginning) or not endings or not all(len(text["input_ids"]) for text in endings):
        raise CatalogError("Texts that share a row need a beginning of at least one token, and endings of at least one each.")
    start = len(beginning)
    row: dict[str, list] = {
        **{key: [0] * start for key in endings[0]},
        "input_ids": list(beginning),
        "labels": [IGNORE] * start,
        "place": list(range(start)),
        "before": [max(0, i - 1) for i in range(start)],
        "ending": [0] * start,
    }
    for number, text in enumerate(endings, 1):
        first, length = len(row["input_ids"]), len(text["input_ids"])
        for key in endings[0]:
            row[key] += list(text[key])
        row["place"] += range(start, start + length)
        row["before"] += [start - 1, *range(first, first + length - 1)]
        row["ending"] += [number] * length
    return row


def branch_collate(examples: Sequence[Example]) -> Batch:
    """A `collate` for `catalog.training.train.train`: a row for each example of `join`, with the mask that keeps its texts apart.

    Returns:
        `input_ids`, `labels`, `position_ids`, `before`, `example`, each (rows, T), and `attention_mask` (rows, 1, T, T) truth values, as
        `catalog.training.losses.label_logits` reads them. For attention that takes a mask (sdpa, eager).
    """
    rows = pack(examples, 0)
    ending, padding = rows.pop("ending"), rows["example"] < 0
    ending = np.where(padding, -1, ending)
    length = ending.shape[1]
    seen = (ending[:, :, None] == ending[:, None, :]) | (ending[:, None, :] == 0)
    seen &= np.tril(np.ones((length, length), dtype=bool))
    seen[padding] = np.eye(length, dtype=bool)[None].repeat(len(ending), 0)[padding]  # an empty softmax is NaN
    rows["position_ids"] = np.where(padding, 0, rows.pop("place"))
    return tensors_of({**rows, "attention_mask": seen[:, None]})
