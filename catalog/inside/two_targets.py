"""Which FFN neurons write the log-odds of one target token against another, and how far to turn them down.

For a prompt x and targets w, u the log-odds ``d(x) = log p(w|x) - log p(u|x)`` are a difference of two logits. Reading the residual stream
through the frozen final norm (`catalog.inside.attribution`), an FFN neuron's share is

    G_k(x) = Imp_k(w) - Imp_k(u) = m_k(x) v_k . (A_w - A_u),   A_w = W_U[w] g / sigma(x)

exactly: the two targets share one softmax normaliser, which cancels. So all neurons of all prompts cost one product with the value
vectors, no vocabulary pass. :func:`find` adds a first-order causal score and the query side, switches the best of each off one by one
(`catalog.inside.scan`), and :func:`weigh` turns many down a little so that the *sum* of their measured effects brings every prompt towards
d = 0, with a limit on the damage to neutral text: effects grow with the first power of what is taken away and damage with the second, so
the same effect costs less than switching a few off.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import lsq_linear
from torch import Tensor

from catalog.base.progress import progress
from catalog.inside.anatomy import Forest, View, embed, forest, run_blocks
from catalog.inside.attribution import Lens, Trace, attention_neurons, lens, top_tokens, trace
from catalog.inside.scan import Neuron, Probe, finish, neuron_scan, odds, probe
from catalog.models.answers import answer_ids

# --- targets ------------------------------------------------------------------------------------------------------------------


def single_tokens(tokenizer, words: Sequence[str]) -> list[int | None]:
    """Id of each word as it stands behind another word, or None where the tokenizer needs several tokens or does not know it. The word
    by itself would not do: tokenizers such as Llama's put a space before every text, others merge the space into the word."""
    found = [answer_ids(tokenizer, "a", f" {word}", apart=True) for word in words]
    unknown = getattr(tokenizer, "unk_token_id", None)
    return [ids[0] if len(ids) == 1 and ids[0] != unknown else None for ids in found]


# --- scores -------------------------------------------------------------------------------------------------------------------


def directions(v: View, read: Lens, first: int, second: int) -> Tensor:
    """``v_k . g (W_U[first] - W_U[second])`` of every FFN neuron, (L, N): weights only, one for all prompts."""
    across = read.unfold(read.unembed[first] - read.unembed[second])
    return torch.stack([across @ v.values(layer) for layer in range(v.n_layers)])


def two_target_scores(run: Trace, read: Lens, along: Tensor) -> Tensor:
    """G of every FFN neuron and prompt, (P, L, N), from ``along`` = :func:`directions`."""
    return run.coef[:, run.last].transpose(0, 1) * along / read.sigma[:, None, None]


def aligned(scores: Tensor, d: Tensor) -> Tensor:
    """Mean over prompts of ``sign(d) G``, (L, N): how much of mean |d| a neuron writes. ``scores`` (P, L, N), ``d`` (P,)."""
    return torch.einsum("p,pln->ln", d.sign(), scores) / len(d)


def gradient_scores(v: View, tree: Forest, d: Tensor, first: int, second: int) -> Tensor:
    """First-order causal score of every FFN neuron, (L, N): gradient times activation, summed over positions, of the mean of
    ``sign(d) d``. Positive: switching the neuron off lowers mean |d|. One backward pass for all neurons; it only says which of them are
    worth a forward pass each."""
    caught: list[Tensor] = []
    handles = [v.down_proj(i).register_forward_pre_hook(lambda _, args: caught.append(args[0])) for i in range(v.n_layers)]
    try:
        with torch.enable_grad():
            hidden, context = embed(v, tree)
            hidden = run_blocks(v, hidden.detach().requires_grad_(), context)[0, tree.last]
            across = v.model.get_output_embeddings().weight[[first, second]]
            logits = v.final_norm(hidden) @ across.T
            total = (d.sign().to(logits) * (logits[:, 0] - logits[:, 1])).mean()
            grads = torch.autograd.grad(total, caught)
    finally:
        for handle in handles:
            handle.remove()
    return torch.stack([(m.detach() * g)[0].sum(0).float() for m, g in zip(caught, grads, strict=True)])


def query_scores(v: View, run: Trace, read: Lens, prompt: int, first: int, second: int, values: int = 30) -> Tensor:
    """Shallow FFN neurons that activate the attention neurons which write the log-odds (query side, attribution sheet of
    arXiv 2312.12141 §3.4, for two targets): (L, N).

    The ``values`` attention neurons (layer, head, position, k) with the largest |two-target score| are the value neurons. A shallower
    FFN neuron at the same position gets its share of that neuron's activation times the score, with the sign of d."""
    across = read.unfold(read.unembed[first] - read.unembed[second]) / read.sigma[prompt]
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


def top(scores: Tensor, count: int) -> list[Neuron]:
    """The ``count`` neurons with the largest positive score (L, N), best first, ties by layer and index."""
    order = scores.flatten().argsort(descending=True, stable=True)[:count].tolist()
    return [divmod(flat, scores.shape[1]) for flat in order if scores.flatten()[flat] > 0]


# --- search -------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Search:
    """How neurons are looked for."""

    logit_candidates: int  # best neurons of the logit-based score that are scanned one by one
    causal_candidates: int  # best by gradient times activation, likewise
    query_candidates: int  # best query neurons, likewise
    query_prompts: int  # prompts the query scores are averaged over
    scan_paragraphs: int  # neutral texts on which the damage of a single neuron is read
    neutral_every: int  # damage is read at every so-many-th token of the neutral text
    shallow: float  # share of the depth whose neurons are left out: their effects run through all the other layers and do not add up
    early_candidates: int = 0  # of those, how many with the largest gradient score are kept apart


@dataclass
class Found:
    """Scan of one model's candidates, K neurons, on P prompts: ``d`` (P,) their log-odds, ``effects`` (K, P) change of d when each neuron
    alone is off, ``damage`` (K,) its KL on neutral text (nats), ``logit``, ``gradient``, ``query`` (K,) scores, ``coef`` (K, P)
    coefficients at the last position; ``logit_order`` the neurons of the whole model by logit-based score; ``promotes`` the tokens each
    writes; ``on_prompts`` the prompts, ``on_neutral`` neutral text, ``clean`` (R, V) its log-probabilities; ``pair`` the two target
    tokens; ``early`` the shallow neurons with the largest gradient score."""

    d: Tensor
    pool: list[Neuron]
    effects: Tensor
    damage: Tensor
    logit: Tensor
    gradient: Tensor
    query: Tensor
    coef: Tensor
    logit_order: list[Neuron]
    promotes: list[str]
    on_prompts: Probe
    on_neutral: Probe
    clean: Tensor
    pair: tuple[int, int]
    early: list[Neuron]

    @property
    def fall(self) -> Tensor:
        """Fall of mean |d| when each neuron alone is off, (K,)."""
        return self.d.abs().mean() - (self.d + self.effects).abs().mean(1)


def find(v: View, tokenizer, pair: tuple[int, int], prompts: list[str], neutral: list[str], s: Search) -> Found:
    """Score all neurons on the prompts, scan the best of each score one by one."""
    ids = tokenizer(prompts)["input_ids"]
    tree = forest(ids, v.device)
    run = trace(v, tree)
    read = lens(v, run)
    scores = two_target_scores(run, read, directions(v, read, *pair))
    on_prompts = probe(v, ids)
    d = torch.empty(len(ids), device=v.device)
    d[on_prompts.rows] = odds(v, on_prompts, v.n_layers - 1, pair)
    logit = aligned(scores, d)
    gradient = gradient_scores(v, tree, d, *pair)
    query = torch.zeros_like(logit)
    asked = ids[:: max(1, len(ids) // s.query_prompts)][: s.query_prompts]
    attended = trace(v, forest(asked, v.device), attention=True)
    own = lens(v, attended)
    for i in range(len(asked)):
        query += query_scores(v, attended, own, i, *pair) / len(asked)
    depth = round(s.shallow * v.n_layers)
    early = top(gradient[:depth], s.early_candidates)
    for kind in (logit, gradient, query):
        kind[:depth] = 0.0
    chosen = [*top(logit, s.logit_candidates), *top(gradient, s.causal_candidates), *top(query, s.query_candidates)]
    pool = sorted(set(chosen))
    on_neutral = probe(v, tokenizer(neutral[: s.scan_paragraphs])["input_ids"], every=s.neutral_every)
    clean = finish(v, on_neutral, 0, lambda logp: logp)

    def kl(logp: Tensor, first: int) -> Tensor:
        base = clean[first : first + logp.shape[1]]
        return (base.exp() * (base - logp)).sum(-1)

    trees = len(on_prompts.trees) + len(on_neutral.trees)
    with progress(len(pool) * trees, f"scan of {len(pool)} neurons", "neuron") as advance:
        changed = neuron_scan(v, on_prompts, pool, pair, advance)
        damage = neuron_scan(v, on_neutral, pool, kl, advance).mean(1)
    effects = torch.empty_like(changed)
    effects[:, on_prompts.rows] = changed
    effects -= d
    at = tuple(torch.tensor(pool, device=v.device).T)
    coef = run.coef[:, run.last][at[0], :, at[1]]
    signed = torch.stack([coef[k].mean() * v.values(layer)[:, index] for k, (layer, index) in enumerate(pool)])
    promotes = [" ".join(tokens) for tokens in top_tokens(read, tokenizer, signed, 10)]
    order = top(logit, 512)
    kinds = (logit[at], gradient[at], query[at])
    return Found(d, pool, effects, damage, *kinds, coef, order, promotes, on_prompts, on_neutral, clean, pair, early)


# --- weights ------------------------------------------------------------------------------------------------------------------


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
