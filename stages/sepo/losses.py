"""Preference losses as functions of log-probabilities (nats): SePO (arXiv 2408.13518) and those it is compared with.

``win`` belongs to the preferred (chosen) response, ``lose`` to the other one. Arguments are ``(n,)``, a number for each pair: a sum of
log-probabilities over a response's tokens, or their mean. Every loss is returned for each pair, ``(n,)``, so that a batch's mean is the
mean of its micro-batches'.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, relu


def dpo(win: Tensor, lose: Tensor, win_ref: Tensor, lose_ref: Tensor, beta: float) -> Tensor:
    """``-log sigmoid(beta ((win - win_ref) - (lose - lose_ref)))`` of sums (Rafailov et al. 2023, arXiv 2305.18290, eq. 7)."""
    return -logsigmoid(beta * ((win - win_ref) - (lose - lose_ref)))


def ipo(win: Tensor, lose: Tensor, win_ref: Tensor, lose_ref: Tensor, beta: float) -> Tensor:
    """``((win - win_ref) - (lose - lose_ref) - 1 / (2 beta))^2`` (Azar et al. 2023, arXiv 2310.12036, eq. 17).

    Of sums as in SePO's code, or of token means as in TRL: two methods, since beta then means two things.
    """
    return ((win - win_ref) - (lose - lose_ref) - 1 / (2 * beta)) ** 2


def rrhf(win: Tensor, lose: Tensor) -> Tensor:
    """Rank hinge ``max(0, lose - win)`` of means (Yuan et al. 2023, arXiv 2304.05302, eq. 2); the method adds the chosen response's NLL."""
    return relu(lose - win)


def simpo(win: Tensor, lose: Tensor, beta: float, gamma: float) -> Tensor:
    """``-log sigmoid(beta (win - lose) - gamma)`` of means (Meng et al. 2024, arXiv 2405.14734, eq. 6)."""
    return -logsigmoid(beta * (win - lose) - gamma)


def orpo(win: Tensor, lose: Tensor, weight: float) -> Tensor:
    """``-win - weight log sigmoid(logodds(win) - logodds(lose))`` of means (Hong et al. 2024, arXiv 2403.07691, eq. 6).

    The first term, the NLL, is the mean over the tokens of the chosen response alone, pair by pair. TRL's is over prompt and response, and
    a mean over all tokens of the batch, in which long texts weigh more.
    """
    return -win - weight * logsigmoid(log_odds(win) - log_odds(lose))


def log_odds(mean: Tensor) -> Tensor:
    """``m - log(1 - exp(m))`` of a mean log-probability; finite also where it rounds to 0."""
    mean = mean.clamp(max=-1e-6)
    return mean - torch.log(-torch.expm1(mean))


def tdpo1(argument: Tensor, win_kl: Tensor, lose_kl: Tensor, beta: float) -> Tensor:
    """``-log sigmoid(argument - beta (D(y_l) - D(y_w)))`` (Zeng et al. 2024, arXiv 2404.11999).

    Args:
        argument: that of DPO's sigmoid.
        win_kl, lose_kl: ``D(y) = sum_t KL(ref || policy)`` over the vocabulary at each token of a response.
    """
    return -logsigmoid(argument - beta * (lose_kl - win_kl))


def tdpo2(argument: Tensor, win_kl: Tensor, lose_kl: Tensor, beta: float, alpha: float) -> Tensor:
    """As `tdpo1`, weighted by alpha and with no gradient through ``D(y_w)``."""
    return -logsigmoid(argument - alpha * beta * (lose_kl - win_kl.detach()))


def sepo(win: Tensor, lose: Tensor, scale: float = 1.0, margin: float = 0.0) -> Tensor:
    """``-log sigmoid(scale (u_win - u_lose) - margin)``, u the mean over selected tokens only (SePO, eq. 11).

    The released code has scale 1 and margin 0; the paper's gamma (2.1 to 2.5) is read as the scale, which is not certain. With every token
    selected it is `simpo` with beta = scale and gamma = margin.
    """
    return -logsigmoid(scale * (win - lose) - margin)


def confident(log_probs: Tensor, owner: Tensor, responses: int) -> Tensor:
    """Tokens that the policy is less sure of than of their response on average: ``(N,)`` truth values (ConfPO, Yoon et al. 2025).

    Args:
        log_probs: (N,); owner: (N,) the response, of `responses`, that a token belongs to.
    """
    probs = log_probs.detach().exp()
    counts = torch.bincount(owner, minlength=responses).clamp(min=1)
    means = probs.new_zeros(responses).index_add(0, owner, probs) / counts
    return probs < means[owner]


def token_kl(reference: Tensor, policy: Tensor) -> Tensor:
    """``KL(reference || policy)`` over the vocabulary in nats: log-probabilities ``(N, V)`` of each -> ``(N,)``.

    A token that the reference never gives counts nothing (``0 log 0 = 0``), whatever the policy says of it; one that the reference may give
    and the policy never does makes the divergence infinite, as it is by definition.
    """
    p = reference.exp()
    return (p * (reference - policy).masked_fill(p == 0, 0.0)).sum(-1)
