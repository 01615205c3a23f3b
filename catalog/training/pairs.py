"""Preference pairs for `catalog.training.train`: two answers to one prompt, as two examples of one packed batch.

A pair is a dict with the keys of an example twice, `chosen_…` and `rejected_…`: `input_ids`, `labels`, and any further number per token,
such as the log-probability under a reference. `pair_collate` packs a batch of ``n`` pairs: the chosen side of pair ``i`` is example ``i``,
the rejected one example ``n + i``. Where a token has no label its logits are never computed, so a loss on a few selected tokens costs less
(`select`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from catalog.base.errors import CatalogError
from catalog.models.answers import inner_ids
from catalog.training.losses import Batch, tensors_of
from catalog.training.packing import IGNORE, pack

SIDES = ("chosen", "rejected")


def encode_pairs(
    tokenizer: Any,
    rows: Sequence[tuple[Sequence[int], str, str]],
    *,
    max_prompt: int,
    min_response: int,
    max_length: int,
) -> tuple[list[dict[str, Any] | None], list[str | None]]:
    """Tokenise (prompt ids, chosen, rejected); the end token is put behind each response and learnt too.

    Args:
        rows: the prompt's ids come from `catalog.models.lm.chat_ids`, or from the tokenizer.
        max_prompt: a pair with a longer prompt, in tokens, is left out.
        min_response: a pair with a shorter response (without the end token) is left out.
        max_length: a longer text is cut, and its last token made the end token (released code). A pair whose two texts are then alike is
            left out: it has no preference to learn.

    Returns:
        One pair for each row, None where it is left out; and the reasons, None where it is not.
    """
    texts = inner_ids(tokenizer, [text for _, *both in rows for text in both])
    pairs: list[dict[str, Any] | None] = []
    reasons: list[str | None] = []
    for i, (prompt, *_) in enumerate(rows):
        answers = texts[2 * i : 2 * i + 2]
        reason = None
        if len(prompt) > max_prompt:
            reason = f"prompt of more than {max_prompt} tokens"
        elif min(map(len, answers)) < min_response:
            reason = f"response of fewer than {min_response} tokens"
        elif len(prompt) >= max_length:
            reason = f"no room for a response in {max_length} tokens"
        reasons.append(reason)
        if reason:
            pairs.append(None)
            continue
        pair = {}
        for side, answer in zip(SIDES, answers, strict=True):
            ids = [*prompt, *answer, tokenizer.eos_token_id][:max_length]
            ids[-1] = tokenizer.eos_token_id
            pair[f"{side}_input_ids"] = ids
            pair[f"{side}_labels"] = [*[IGNORE] * len(prompt), *ids[len(prompt) :]]
        if pair["chosen_input_ids"] == pair["rejected_input_ids"]:
            reasons[-1] = f"responses alike in the first {max_length} tokens of prompt and response"
        pairs.append(None if reasons[-1] else pair)
    return pairs, reasons


def sides(pairs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The 2n examples of n pairs: all chosen ones, then all rejected ones, without their prefixes.

    What stands behind the last label of a text is cut off: nothing is predicted from it and, attention being causal, nothing sees it.
    """
    out = []
    for side in SIDES:
        for pair in pairs:
            end = max((i + 1 for i, label in enumerate(pair[f"{side}_labels"]) if label != IGNORE), default=1)
            out.append({key.removeprefix(f"{side}_"): value[:end] for key, value in pair.items() if key.startswith(f"{side}_")})
    return out


def common_start(one: Mapping[str, Any], other: Mapping[str, Any]) -> int:
    """Tokens that two texts begin with alike, up to the first label of either: what one computation serves."""
    unlike = next((i for i, (a, b) in enumerate(zip(one["input_ids"], other["input_ids"])) if a != b), min(map(_length, (one, other))))
    return min(unlike, *(next((i for i, label in enumerate(t["labels"]) if label != IGNORE), _length(t)) for t in (one, other)))


def pair_collate(width: int = 0, *, shared: bool = False) -> Callable[[Sequence[Mapping[str, Any]]], Batch]:
    """A `collate` for `train`, which also gives `pairs`, the number of pairs.

    Args:
        width: tokens of a packed row; 0 puts one text into a row.
        shared: both responses of a pair lie in one row behind one prompt, which is computed once; neither sees the other. For attention
            that takes a mask (sdpa, eager).
    """

    def collate(pairs: Sequence[Mapping[str, Any]]) -> Batch:
        arrays = branched(pairs) if shared else pack(sides(pairs), width)
        return tensors_of(arrays) | {"pairs": torch.tensor(len(pairs))}

    return collate


def branched(pairs: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """A row for each pair: the prompt, the chosen response, the rejected response.

    The prompt is what both texts begin with, up to the first label. `before` and `attention_mask` say what follows what (see
    `catalog.training.losses.label_logits`); padding sees itself.

    Returns:
        Arrays (n, T): the keys of an example, `position_ids`, `example` (the prompt counts as chosen) and `before`; `attention_mask`
        (n, 1, T, T) truth values.
    """
    texts = sides(pairs)
    n = len(pairs)
    starts = [common_start(one, other) for one, other in zip(texts[:n], texts[n:], strict=True)]
    joined = []
    for one, other, start in zip(texts[:n], texts[n:], starts, strict=True):
        joined.append({key: np.concatenate([np.asarray(one[key]), np.asarray(other[key])[start:]]) for key in one})
    rows = pack(joined, 0)
    order = sorted(range(n), key=lambda i: (-len(joined[i]["input_ids"]), i))  # `pack` puts the longest first
    length = rows["input_ids"].shape[1]
    rows["before"] = np.maximum(np.arange(length) - 1, 0)[None].repeat(n, 0)
    at = np.arange(length)
    seen = np.tril(np.ones((length, length), dtype=bool))[None].repeat(n, 0)
    for row, i in enumerate(order):
        start, end, last = starts[i], _length(texts[i]), len(joined[i]["input_ids"])
        rows["labels"][row, 0] = IGNORE
        rows["position_ids"][row, end:last] = np.arange(start, start + last - end)
        rows["example"][row, :end], rows["example"][row, end:last] = i, n + i
        if start == 0:  # nothing before it, as for the first token of any text
            rows["labels"][row, end] = IGNORE
        rows["before"][row, end] = max(start - 1, 0)
        seen[row][np.ix_((at >= end) & (at < last), (at >= start) & (at < end))] = False
        seen[row, last:] = np.eye(length, dtype=bool)[last:]
    return {**rows, "attention_mask": seen[:, None]}


def _length(text: Mapping[str, Any]) -> int:
    return len(text["input_ids"])


def select(pairs: Sequence[Mapping[str, Any]], positions: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[dict[str, Any]]:
    """The pairs with labels at the given absolute positions (of chosen, of rejected) only.

    Raises:
        CatalogError: a side without a position, or one that is no response token.
    """
    out = []
    for number, (pair, both) in enumerate(zip(pairs, positions, strict=True)):
        kept = dict(pair)
        for side, where in zip(SIDES, both, strict=True):
            labels = np.asarray(pair[f"{side}_labels"])
            if not len(where):
                raise CatalogError(f"No token of the {side} response of pair {number} is selected; select one or leave the pair out.")
            if (labels[list(where)] == IGNORE).any():
                raise CatalogError(f"A selected position of the {side} response of pair {number} is no response token.")
            marked = np.full(len(labels), IGNORE)
            marked[list(where)] = labels[list(where)]
            kept[f"{side}_labels"] = marked.tolist()
        out.append(kept)
    return out


def side_sums(values: Tensor, owner: Tensor, pairs: int) -> tuple[Tensor, Tensor]:
    """Sums over the labelled tokens of each response: ``(n,)`` of chosen, ``(n,)`` of rejected.

    Args:
        values: (N,) one number a labelled token; owner: (N,) its example, as `label_log_probs` gives it.
    """
    sums = values.new_zeros(2 * pairs).index_add(0, owner, values)
    return sums[:pairs], sums[pairs:]


def side_means(values: Tensor, owner: Tensor, pairs: int) -> tuple[Tensor, Tensor]:
    """Means over the labelled tokens of each response; 0 where it has none."""
    chosen, rejected = side_sums(values, owner, pairs)
    counts = torch.bincount(owner, minlength=2 * pairs).clamp(min=1)
    return chosen / counts[:pairs], rejected / counts[pairs:]


def vocabulary_hash(tokenizer: Any) -> str:
    """SHA-256 of a tokenizer's words and their ids: two models with equal ones give a token the same id."""
    return hashlib.sha256(json.dumps(sorted(tokenizer.get_vocab().items())).encode()).hexdigest()


def require_one_vocabulary(tokenizers: Mapping[str, Any]) -> None:
    """Check, before any scoring, that all tokenizers are alike.

    Raises:
        CatalogError: two of them differ; the sentence names both.
    """
    hashes = {name: vocabulary_hash(tokenizer) for name, tokenizer in tokenizers.items()}
    first = next(iter(hashes))
    for name, digest in hashes.items():
        if digest != hashes[first]:
            raise CatalogError(
                f"{name} and {first} have different vocabularies, so their tokens cannot be compared; choose models of one tokenizer."
            )
