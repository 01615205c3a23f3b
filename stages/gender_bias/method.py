"""Gender bias of a next-token prediction: measures, and the choice of neurons to edit (arXiv 2501.14457).

For a prompt x whose next token names a gender, the bias is the log-odds ``d(x) = log p(man|x) - log p(woman|x)``. What every FFN neuron
writes of it, and what switching it off does, is in `catalog.inside.two_targets`. Three selections of n neurons (the paper names them;
their details are ours):

* *logit-based*: largest mean ``sign(d) G``, what the neuron writes towards the gender the word already leans to;
* *causal-based*: largest fall of mean |d| when the neuron alone is switched off;
* *combined*: candidates of the logit-based score, its query side and the causal score, weighed so that the *sum* of their measured
  causal effects brings every word towards d = 0, with a limit on the damage to neutral text (KL). Ranking neurons one by one overshoots,
  because effects of the same sign add up; choosing by the sum does not. :func:`choose` switches a few neurons off,
  `catalog.inside.two_targets.weigh` turns many down a little.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

LOG2 = math.log(2)


# --- measures -----------------------------------------------------------------------------------------------------------------


def entropy_gap(d: Tensor) -> Tensor:
    """``log 2 - H(q)`` in nats, q = sigmoid(d) the probability of man among the two: 0 without bias, log 2 at the most. Our reading of
    the "entropy difference" that reviewers of the predecessor mention."""
    q = torch.sigmoid(d.double())
    return LOG2 + torch.special.xlogy(q, q) + torch.special.xlogy(1 - q, 1 - q)


def over_log2(d: Tensor) -> Tensor:
    """Whether one gender is more than twice as probable as the other: |d| > log 2."""
    return d.abs() > LOG2


# --- selection ----------------------------------------------------------------------------------------------------------------


def choose(d: Tensor, effects: Tensor, damage: Tensor, count: int, budget: float) -> list[int]:
    """Combined selection: rows of ``effects`` (K, P) chosen one after another, at most ``count``.

    ``d`` (P,) are the prompts' log-odds, ``effects`` the measured change of d when neuron k alone is switched off, ``damage`` (K,) its KL
    on neutral text in nats. Each step takes the neuron that lowers ``mean (d + sum of effects)^2`` most, mean square because it holds both
    the mean and the spread over words, among those whose damage fits what is left of ``budget``. Stops when none lowers it."""
    left, chosen, spent = d.clone(), [], 0.0
    free = torch.ones(len(effects), dtype=torch.bool, device=d.device)
    for _ in range(count):
        loss = (left + effects).square().mean(1)
        fits = free & (damage <= budget - spent)
        loss = loss.masked_fill(~fits, math.inf)
        best = int(loss.argmin())
        if not loss[best] < left.square().mean():
            break
        chosen.append(best)
        free[best] = False
        left = left + effects[best]
        spent += float(damage[best])
    return chosen


def classify(fall: Tensor, damage: Tensor, strong: float, tau: float) -> list[str]:
    """Class of each scanned neuron: *general* when switching it off moves neutral text by more than ``tau`` nats (KL), else *gender* when
    it lowers mean |d| by at least ``strong``, else *other*."""
    pairs = zip(fall.tolist(), damage.tolist(), strict=True)
    return ["general" if moved > tau else "gender" if lowered >= strong else "other" for lowered, moved in pairs]
