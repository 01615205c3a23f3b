"""Gender bias of a next-token prediction: measures, neuron scores, and the choice of neurons to edit (arXiv 2501.14457).

For a prompt x whose next token names a gender, the bias is the log-odds ``d(x) = log p(man|x) - log p(woman|x)``, which is a
difference of two logits. Reading the residual stream through the frozen final norm (`catalog.inside.attribution`), an FFN neuron's share is

    G_k(x) = Imp_k(man) - Imp_k(woman) = m_k(x) v_k . (A_man - A_woman),   A_w = W_U[w] g / sigma(x)

exactly: the two targets share one softmax normaliser, which cancels. So all neurons of all prompts cost one product with the value
vectors, no vocabulary pass. Three selections of n neurons (the paper names them; their details are ours):

* *logit-based*: largest mean ``sign(d) G``, what the neuron writes towards the gender the word already leans to;
* *causal-based*: largest fall of mean |d| when the neuron alone is switched off;
* *combined*: candidates of the logit-based score, its query side and the causal score, weighed so that the *sum* of their measured
  causal effects brings every word towards d = 0, with a limit on the damage to neutral text (KL). Ranking neurons one by one overshoots,
  because effects of the same sign add up; choosing by the sum does not. :func:`choose` switches a few neurons off, :func:`weigh` turns
  many down a little: effects grow with the first power of what is taken away and damage with the second, so the same effect costs less.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.optimize import lsq_linear
from torch import Tensor

from catalog.inside.anatomy import Forest, View, embed, run_blocks
from catalog.inside.attribution import Lens, Trace, attention_neurons

Neuron = tuple[int, int]
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


# --- logit-based scores -------------------------------------------------------------------------------------------------------


def directions(v: View, read: Lens, man: int, woman: int) -> Tensor:
    """``v_k . g (W_U[man] - W_U[woman])`` of every FFN neuron, (L, N): weights only, one for all prompts."""
    across = read.unfold(read.unembed[man] - read.unembed[woman])
    return torch.stack([across @ v.values(layer) for layer in range(v.n_layers)])


def two_target_scores(run: Trace, read: Lens, along: Tensor) -> Tensor:
    """G of every FFN neuron and prompt, (P, L, N), from ``along`` = :func:`directions`."""
    return run.coef[:, run.last].transpose(0, 1) * along / read.sigma[:, None, None]


def aligned(scores: Tensor, d: Tensor) -> Tensor:
    """Mean over prompts of ``sign(d) G``, (L, N): how much of mean |d| a neuron writes. ``scores`` (P, L, N), ``d`` (P,)."""
    return torch.einsum("p,pln->ln", d.sign(), scores) / len(d)


def gradient_scores(v: View, tree: Forest, d: Tensor, man: int, woman: int) -> Tensor:
    """First-order causal score of every FFN neuron, (L, N): gradient times activation, summed over positions, of the mean of
    ``sign(d) d``. Positive: switching the neuron off lowers mean |d|. One backward pass for all neurons; it only says which of them are
    worth a forward pass each."""
    caught: list[Tensor] = []
    handles = [v.down_proj(i).register_forward_pre_hook(lambda _, args: caught.append(args[0])) for i in range(v.n_layers)]
    try:
        with torch.enable_grad():
            hidden, context = embed(v, tree)
            hidden = run_blocks(v, hidden.detach().requires_grad_(), context)[0, tree.last]
            across = v.model.get_output_embeddings().weight[[man, woman]]
            logits = v.final_norm(hidden) @ across.T
            total = (d.sign().to(logits) * (logits[:, 0] - logits[:, 1])).mean()
            grads = torch.autograd.grad(total, caught)
    finally:
        for handle in handles:
            handle.remove()
    return torch.stack([(m.detach() * g)[0].sum(0).float() for m, g in zip(caught, grads, strict=True)])


def query_scores(v: View, run: Trace, read: Lens, prompt: int, man: int, woman: int, values: int = 30) -> Tensor:
    """Shallow FFN neurons that activate the attention neurons which write the gender (query side, attribution sheet of
    arXiv 2312.12141 §3.4, for two targets): (L, N).

    The ``values`` attention neurons (layer, head, position, k) with the largest |two-target score| are the value neurons. A shallower
    FFN neuron at the same position gets its share of that neuron's activation times the score, with the sign of d."""
    across = read.unfold(read.unembed[man] - read.unembed[woman]) / read.sigma[prompt]
    found = []
    for layer in range(v.n_layers):
        reach = (across @ v.o_weight(layer)).unflatten(-1, (v.n_heads, 1, v.d_head))
        score = attention_neurons(v, run, layer, prompt) * reach  # (H, S, d_h)
        best = score.flatten().abs().topk(min(values, score.numel()))
        found += [(layer, flat, score.flatten()[flat].item()) for flat in best.indices.tolist()]
    found = sorted(found, key=lambda item: -abs(item[2]))[:values]
    sign = math.copysign(1.0, float(across @ run.x[-1, run.last[prompt]]))
    out = torch.zeros(v.n_layers, v.n_ffn, device=read.unembed.device)
    positions = run.x.shape[1]
    for layer, flat, score in found:
        head, rest = divmod(flat, positions * v.d_head)
        position, k = divmod(rest, v.d_head)
        key = v.v_weight(layer)[v.kv_head(head) * v.d_head + k]
        whole = run.x[layer, position] @ key
        for i in range(layer):
            out[i] += sign * score * run.coef[i, position] * (key @ v.values(i)) / whole
    return out


# --- selection ----------------------------------------------------------------------------------------------------------------


def top(scores: Tensor, count: int) -> list[Neuron]:
    """The ``count`` neurons with the largest positive score (L, N), best first, ties by layer and index."""
    order = scores.flatten().argsort(descending=True, stable=True)[:count].tolist()
    return [divmod(flat, scores.shape[1]) for flat in order if scores.flatten()[flat] > 0]


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


def weigh(d: Tensor, effects: Tensor, damage: Tensor, budget: float, least: float = 0.05) -> Tensor:
    """Share of each neuron to take away, ``a`` (K,) in [0, 1]: its factor becomes 1 - a.

    Minimises ``mean (d + a . effects)^2 + mu sum a^2 damage``, least squares in a box; mu is the smallest (by bisection) at which
    ``sum a^2 damage`` keeps to ``budget`` (nats). Effects are taken as linear in a and as adding up, damage as quadratic. Shares below
    ``least`` are dropped and the rest is weighed again."""
    columns, target = effects.double().cpu().numpy() / math.sqrt(len(d)), -d.double().cpu().numpy() / math.sqrt(len(d))
    price = damage.double().cpu().numpy().clip(1e-9)

    def solve(mu: float, free: np.ndarray) -> np.ndarray:
        ridge = np.diag(np.sqrt(mu * price[free]))
        found = lsq_linear(np.vstack([columns[free].T, ridge]), np.concatenate([target, np.zeros(len(ridge))]), bounds=(0, 1))
        out = np.zeros(len(price))
        out[free] = found.x.clip(0, 1)
        return out

    def within(free: np.ndarray) -> np.ndarray:
        low, high = 1e-4, 1e6  # bisection on a log scale: the damage falls as mu grows
        for _ in range(24):
            mid = math.sqrt(low * high)
            if (solve(mid, free) ** 2 * price).sum() <= budget:
                high = mid
            else:
                low = mid
        return solve(high, free)

    whole = within(np.ones(len(price), dtype=bool))
    return torch.tensor(within(whole >= least), dtype=torch.float32, device=d.device)


def classify(fall: Tensor, damage: Tensor, strong: float, tau: float) -> list[str]:
    """Class of each scanned neuron: *general* when switching it off moves neutral text by more than ``tau`` nats (KL), else *gender* when
    it lowers mean |d| by at least ``strong``, else *other*."""
    pairs = zip(fall.tolist(), damage.tolist(), strict=True)
    return ["general" if moved > tau else "gender" if lowered >= strong else "other" for lowered, moved in pairs]
