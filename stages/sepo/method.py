"""The methods of preference optimisation: what each one needs and its loss on a batch of pairs.

A method is a row of parameters (`settings.Method`). `labels_of` says which tokens it trains on, `loss_of` gives the `loss_fn` for
`catalog.training.train`. A reference is *live* (the LoRA switched off, in every step), or *cached*: its log-probabilities come with the
pairs under the key ``reference``, one number a token.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from catalog.base.errors import CatalogError
from catalog.training.losses import Batch, frozen_reference, label_log_probs, label_logits
from catalog.training.packing import IGNORE
from catalog.training.pairs import SIDES, common_start, select, side_means, side_sums, sides
from catalog.training.settings import Settings
from stages.sepo import losses
from stages.sepo.selection import highest, lowest, random_places
from stages.sepo.settings import Method

LOSSES = ("dpo", "ipo_sum", "ipo_mean", "rrhf", "simpo", "orpo", "tdpo1", "tdpo2", "sepo", "confpo")
REFERENCED = ("dpo", "ipo_sum", "ipo_mean", "tdpo1", "tdpo2")
SELECTORS = ("all", "oracle", "random")
Scores = Mapping[str, np.ndarray]


def check(method: Method) -> None:
    """Stop on a method that cannot be.

    Raises:
        CatalogError: an unknown loss, selector or reference, or shares outside (0, 1].
    """
    where = f"Method {method.name}"
    if method.loss not in LOSSES:
        raise CatalogError(f"{where} has the loss {method.loss!r}; use one of {', '.join(LOSSES)}.")
    if method.selector not in SELECTORS:
        raise CatalogError(f"{where} has the selector {method.selector!r}; use one of {', '.join(SELECTORS)}.")
    if method.selector != "all" and method.loss != "sepo":
        raise CatalogError(f"{where} selects tokens, which only the loss sepo is made for; set selector: all.")
    allowed = {"live", "cached"} if method.loss in REFERENCED else {"none"}
    if method.loss.startswith("tdpo"):
        allowed = {"live"}  # a divergence needs the reference's whole distribution
    if method.reference not in allowed:
        raise CatalogError(f"{where} has the reference {method.reference!r}; its loss needs {' or '.join(sorted(allowed))}.")
    if not (0 < method.chosen_share <= 1 and 0 < method.rejected_share <= 1):
        raise CatalogError(f"{where} needs chosen_share and rejected_share above 0 and at most 1.")


def response_positions(pair: Mapping[str, Any], side: str) -> np.ndarray:
    """Absolute positions of a response's tokens, the end token among them."""
    return np.flatnonzero(np.asarray(pair[f"{side}_labels"]) != IGNORE)


def positions_of(
    pairs: Sequence[Mapping[str, Any]],
    scores: Sequence[Scores] | None,
    selector: str,
    chosen_share: float,
    rejected_share: float,
    seed: int,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Selected absolute positions of each pair's two responses, in the order of the text.

    Args:
        scores: for selector ``oracle``, of each pair its token scores ``{"chosen": (N,), "rejected": (M,)}``.

    Raises:
        CatalogError: the scores are missing or of another length than the response.
    """
    out = []
    for number, pair in enumerate(pairs):
        both = []
        for side, share, best in zip(SIDES, (chosen_share, rejected_share), (highest, lowest), strict=True):
            where = response_positions(pair, side)
            if selector == "all":
                places = np.arange(len(where))
            elif selector == "random":
                places = random_places(len(where), share, [seed, number, SIDES.index(side)])
            else:
                if scores is None or len(scores[number][side]) != len(where):
                    raise CatalogError(f"Pair {number} has no score for each token of its {side} response; score the pairs again.")
                places = best(scores[number][side], share)
            both.append(where[np.sort(places)])
        out.append((both[0], both[1]))
    return out


def labels_of(method: Method, pairs: Sequence[Mapping[str, Any]], scores: Sequence[Scores] | None, seed: int) -> list[dict[str, Any]]:
    """The pairs with labels at the tokens that the method trains on."""
    where = positions_of(pairs, scores, method.selector, method.chosen_share, method.rejected_share, seed)
    return select(pairs, where)


def loss_of(method: Method) -> Callable[[Any, Batch], Tensor]:
    """``loss_fn(model, batch) -> scalar``: the mean loss of a batch of `catalog.training.pairs.pair_collate`."""

    def loss(model: Any, batch: Batch) -> Tensor:
        return per_pair(method, model, batch).mean()

    return loss


def per_pair(method: Method, model: Any, batch: Batch) -> Tensor:
    """``(n,)`` losses of a batch's pairs."""
    n = int(batch["pairs"])
    if method.loss.startswith("tdpo"):
        return _tdpo(method, model, batch, n)
    sums = method.loss in ("dpo", "ipo_sum")
    pool = side_sums if sums else side_means
    reference = _reference(method, model, batch, n, pool) if method.loss in REFERENCED else None
    log_probs, owner = label_log_probs(model, batch)
    if method.loss == "confpo":
        return _confpo(method, log_probs, owner, n)
    win, lose = pool(log_probs, owner, n)
    match method.loss:
        case "dpo":
            return losses.dpo(win, lose, *reference, method.beta)
        case "ipo_sum" | "ipo_mean":
            return losses.ipo(win, lose, *reference, method.beta)
        case "rrhf":
            return losses.rrhf(win, lose) - method.weight * win
        case "simpo":
            return losses.simpo(win, lose, method.beta, method.gamma)
        case "orpo":
            return losses.orpo(win, lose, method.weight)
        case _:
            return losses.sepo(win, lose, method.beta, method.gamma)


def _reference(method: Method, model: Any, batch: Batch, n: int, pool: Callable) -> tuple[Tensor, Tensor]:
    """The reference's sums or means of both sides."""
    if method.reference == "cached":
        kept = batch["labels"] != IGNORE
        return pool(batch["reference"][kept], batch["example"][kept], n)
    with frozen_reference(model):
        return pool(*label_log_probs(model, batch), n)


def _confpo(method: Method, log_probs: Tensor, owner: Tensor, n: int) -> Tensor:
    """SimPO on the tokens the policy is unsure of; a pair with an empty side has the loss 0."""
    kept = losses.confident(log_probs, owner, 2 * n)
    win, lose = side_means(log_probs[kept], owner[kept], n)
    counts = torch.bincount(owner[kept], minlength=2 * n)
    both = (counts[:n] > 0) & (counts[n:] > 0)
    return losses.simpo(win, lose, method.beta, method.gamma) * both


def _tdpo(method: Method, model: Any, batch: Batch, n: int) -> Tensor:
    """TDPO 1 and 2: DPO with the divergence of whole distributions, from one pass of either model."""
    with frozen_reference(model):
        reference, labels, owner = label_logits(model, batch)
        reference = reference.log_softmax(-1)
    policy = label_logits(model, batch)[0].log_softmax(-1)
    at = labels[:, None]
    win, lose = side_sums((policy.gather(1, at) - reference.gather(1, at))[:, 0], owner, n)
    win_kl, lose_kl = side_sums(losses.token_kl(reference, policy), owner, n)
    argument = method.beta * (win - lose)
    if method.loss == "tdpo1":
        return losses.tdpo1(argument, win_kl, lose_kl, method.beta)
    return losses.tdpo2(argument, win_kl, lose_kl, method.beta, method.alpha)


def step_flops(method: Method, model: Any, pairs: Sequence[Mapping[str, Any]], settings: Settings) -> float:
    """FLOPs of one step on a batch of average pairs, of the products in the trained layers and the output head.

    A weight costs 2 a token forward and 2 more backward (the gradient of the LoRA itself is left out, and attention too); a live reference
    is a second forward pass. A shared prompt counts once. Equal compute is reckoned by this, since measured time does not give the same
    steps twice.

    Args:
        pairs: with labels at the tokens the method trains on.
        settings: of the run: its layers and batch size.
    """
    start, body = min(settings.lora_layers, default=0), 0
    for name, weight in model.named_parameters():
        layer = next((int(part) for part in name.split(".") if part.isdigit()), None)  # None: embeddings and head
        if layer is not None and layer >= start and weight.dim() == 2:
            body += weight.numel()
    head = model.get_output_embeddings().weight.numel()
    texts = sides(pairs)
    logits = sum(int((np.asarray(text["labels"]) != IGNORE).sum()) for text in texts)
    positions = sum(len(text["input_ids"]) for text in texts)
    positions -= sum(common_start(one, other) for one, other in zip(texts[: len(pairs)], texts[len(pairs) :], strict=True))
    passes = 4 + 2 * (method.reference == "live")
    return settings.batch_size * passes * (body * positions + head * logits) / len(pairs)
