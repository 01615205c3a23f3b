"""Scores of whole sentences under a language model, for pairs of sentences that differ in a group.

* *token mean*: log-likelihood a token. A masked LM's is the pseudo-log-likelihood, each token masked in turn (Salazar et al. 2020),

      1/T sum_t log p(w_t | all other tokens).

  Averaged, since the sentences of an item differ in length.
* *shared tokens*: the metric of CrowS-Pairs (Nangia et al. 2020), for masked LMs: the sum of the same terms over those tokens that both
  sentences have in common (by difflib over token ids, [CLS] and [SEP] left out, as in the published `metric.py`), given the tokens that
  differ. A sentence is not preferred because its group's name is frequent.

A token that the tokenizer does not know has no likelihood: skipping it would make an unknown word cost nothing, and an empty sentence would
get 0, the best score there is. Such sentences get None, and an item with one is left out and counted by the evaluation.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

import numpy as np

from catalog.models.inference import log_likelihood
from stages.religious_bias.mlm import place_logprobs

TOKEN_MEAN, SHARED = "token mean", "shared tokens"  # scorers, by name


def _token_terms(model: Any, tokenizer: Any, wanted: Sequence[tuple[list[int], list[int]]], desc: str | None) -> list[np.ndarray]:
    """``log p(w_t | all other tokens)`` for each (ids, places t)."""
    rows, places, owner = [], [], []
    for number, (ids, at) in enumerate(wanted):
        for t in at:
            rows.append([*ids[:t], tokenizer.mask_token_id, *ids[t + 1 :]])
            places.append([t])
            owner.append((number, ids[t]))
    out: list[list[float]] = [[0.0] * len(at) for _, at in wanted]
    place = {number: {t: i for i, t in enumerate(at)} for number, (_, at) in enumerate(wanted)}
    for index, logp in place_logprobs(model, tokenizer, rows, places, None, desc):
        number, token = owner[index]
        out[number][place[number][places[index][0]]] = float(logp[0, token])
    return [np.array(values) for values in out]


def encoded(tokenizer: Any, texts: Sequence[str]) -> list[tuple[list[int], list[int]] | None]:
    """Ids of each sentence and the places of its own tokens, without [CLS] and [SEP]; None for one that is empty or has an unknown word."""
    out: list[tuple[list[int], list[int]] | None] = []
    for text in texts:
        found = tokenizer(text, return_special_tokens_mask=True)
        ids = list(found["input_ids"])
        own = [t for t, special in enumerate(found["special_tokens_mask"]) if not special]
        unknown = tokenizer.unk_token_id is not None and tokenizer.unk_token_id in [ids[t] for t in own]
        out.append(None if unknown or not own else (ids, own))
    return out


def pseudo_likelihood(model: Any, tokenizer: Any, texts: Sequence[str], desc: str | None = None) -> list[float | None]:
    """Pseudo-log-likelihood of each sentence per token, nats; None where it has none (see above)."""
    known = encoded(tokenizer, texts)
    found = iter(_token_terms(model, tokenizer, [pair for pair in known if pair is not None], desc))
    return [None if pair is None else float(next(found).mean()) for pair in known]


def shared_tokens(one: Sequence[int], other: Sequence[int]) -> tuple[list[int], list[int]]:
    """Places of the tokens that two sequences have in common, in each: the published ``get_span`` (over the ids as strings)."""
    matcher = difflib.SequenceMatcher(None, [str(token) for token in one], [str(token) for token in other])
    first, second = [], []
    for kind, a, b, c, d in matcher.get_opcodes():
        if kind == "equal":
            first += range(a, b)
            second += range(c, d)
    return first, second


def shared_likelihood(
    model: Any, tokenizer: Any, pairs: Sequence[tuple[str, str]], desc: str | None = None
) -> list[tuple[float, float] | None]:
    """Sums over the shared tokens of both sentences of each pair, nats; None where one has an unknown word or nothing is shared."""
    wanted, kept = [], []
    for pair in pairs:
        known = encoded(tokenizer, pair)
        if None in known:
            kept.append(False)
            continue
        (one, own), (other, _) = known
        shared = shared_tokens(one, other)
        inner = [(a, b) for a, b in zip(*shared, strict=True) if a in own]  # not [CLS] and [SEP], which stand on both sides
        kept.append(bool(inner))
        if inner:
            wanted += [(one, [a for a, _ in inner]), (other, [b for _, b in inner])]
    found = iter(_token_terms(model, tokenizer, wanted, desc))
    return [(float(next(found).sum()), float(next(found).sum())) if keep else None for keep in kept]


def causal_likelihood(model: Any, tokenizer: Any, texts: Sequence[str], desc: str | None = None) -> list[float | None]:
    """Log-likelihood of each sentence per token under a causal LM, nats; None for an empty sentence or one with an unknown word."""
    unknown = tokenizer.unk_token_id
    ids = [tokenizer(text, add_special_tokens=False)["input_ids"] if text.strip() else [] for text in texts]
    known = [bool(row) and unknown not in row for row in ids]
    found = log_likelihood(model, tokenizer, [("", text) for text, keep in zip(texts, known, strict=True) if keep], desc=desc)
    mean = iter([float(tokens.mean()) for tokens in found.tokens])
    return [next(mean) if keep else None for keep in known]
