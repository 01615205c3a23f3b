"""FFN neurons by log-probability increase: exact scores, and certified top-k without scoring them all.

For a neuron with coefficient m and value vector v let ``P_j = W_U[j] (g * v)``, ``t = m / sigma`` and p0 = p(. | base), in the
notation of `catalog.inside.attribution` with the frozen final norm. Then

    Imp = t P_w - log E_{p0}[exp(t P)]                     (cumulant form, one column of P instead of a softmax of sums)
    Imp <= UB = t (P_w - E_{p0} P)                         (Jensen; gradient times activation; needs no vocabulary column)
    Imp >= UB - log(1 + Var (e^b - 1 - b) / b^2)           (Bennett; X = t (P - E P) <= b, Var = Var_{p0} X)

so the exact top k is found by scoring exactly in the order of UB until the next UB cannot enter (:func:`top_neurons`), and the
exact top k of a difference of two runs by ``UB - LB'`` (:func:`comparative_neurons`, CNA, arXiv 2409.14144).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from catalog.inside.anatomy import View
from catalog.inside.attribution import Lens, Trace

TOLERANCE = 2e-5  # fp32 slack between a bound and a score: a bound must clear the k-th score by this much


@torch.inference_mode()
def neuron_scores(v: View, run: Trace, read: Lens, targets: Tensor, layers: list[int] | None = None, chunk: int = 64) -> Tensor:
    """Exact Imp of every FFN neuron of ``layers`` (all): (P, len(layers), N). Prompts share the projections P."""
    layers = list(range(v.n_layers)) if layers is None else layers
    out = torch.empty(len(run.last), len(layers), v.n_ffn, device=read.unembed.device)
    for row, layer in enumerate(layers):
        values = v.values(layer).T
        for start in range(0, v.n_ffn, chunk):
            index = torch.arange(start, min(start + chunk, v.n_ffn), device=values.device)
            projected = read.fold(values[index]) @ read.unembed.T  # (K, V)
            for p, at in enumerate(run.last.tolist()):
                base = run.mid[layer, at]
                logits = read.logits(base, p)
                out[p, row, index] = _cumulant(read, projected, run.coef[layer, at, index], values[index], base, logits, p, targets[p])
    return out


def _cumulant(read: Lens, projected: Tensor, m: Tensor, values: Tensor, base: Tensor, logits: Tensor, p: int, w: Tensor) -> Tensor:
    """Imp (K,) of neurons with vocabulary projections (K, V), coefficients (K,) and values (K, d) on one shared base."""
    logp = logits.log_softmax(-1)
    if read.norm == "frozen":
        t = m / read.sigma[p]
        return t * projected[:, w] - torch.logsumexp(torch.addcmul(logp, t[:, None], projected), -1)
    # The usual lens is not linear, but only the scalar scale of base + m v is new.
    own, new = read.rms(base), read.rms(base + m[:, None] * values)
    unscaled = logits - read.bias if read.bias is not None else logits
    moved = (unscaled * own + m[:, None] * projected) / new[:, None]
    moved = moved if read.bias is None else moved + read.bias
    return moved.log_softmax(-1)[:, w] - logp[w]


@dataclass(frozen=True)
class Bounds:
    """Jensen bounds of every FFN neuron for one prompt: ``upper`` (L, N); ``logp`` (L, V) base log-probabilities; ``t`` (L, N)
    = m / sigma; ``mean`` (L, N) = E_{p0} P."""

    upper: Tensor
    logp: Tensor
    t: Tensor
    mean: Tensor


@dataclass(frozen=True)
class Bases:
    """What every neuron of a layer is added to, for all P prompts of a run: ``logp`` (P, L, V) log-probabilities p0 and ``expected``
    (P, L, d) = E_{p0} of the unembedding rows."""

    logp: Tensor
    expected: Tensor


@torch.inference_mode()
def bases(run: Trace, read: Lens) -> Bases:
    """Two products with W_U for all layers and prompts together: one after another they would read W_U, half a gigabyte, each time."""
    scaled = read.fold(run.mid[:, run.last]).transpose(0, 1) / read.sigma[:, None, None]
    logits = scaled @ read.unembed.T
    logp = (logits if read.bias is None else logits + read.bias).log_softmax(-1)
    return Bases(logp, logp.exp() @ read.unembed)


@torch.inference_mode()
def bounds(v: View, run: Trace, read: Lens, prompt: int, target: int, base: Bases | None = None) -> Bounds:
    """Upper bounds for all layers at once: one product a layer with its value vectors. ``base`` saves :func:`bases` of the run."""
    at = run.last[prompt]
    if base is None:
        base = bases(replace(run, last=at[None]), replace(read, sigma=read.sigma[prompt : prompt + 1]))
        logp, expected = base.logp[0], base.expected[0]
    else:
        logp, expected = base.logp[prompt], base.expected[prompt]
    expected = read.unfold(expected)
    wanted = read.unfold(read.unembed[target])
    t = run.coef[:, at] / read.sigma[prompt]
    mean = torch.stack([expected[i] @ v.values(i) for i in range(v.n_layers)])
    direct = torch.stack([wanted @ v.values(i) for i in range(v.n_layers)])
    return Bounds(t * (direct - mean), logp, t, mean)


def _exact(v: View, read: Lens, runs: list[Bounds], target: int, flat: Tensor) -> Tensor:
    """Exact Imp (len(runs), K) of neurons given by flat index ``layer * N + k``; runs share the projections."""
    layer, index = flat // v.n_ffn, flat % v.n_ffn
    vectors = torch.empty(len(flat), v.d_model, device=flat.device)
    for each in layer.unique().tolist():
        at = layer == each
        vectors[at] = v.values(each)[:, index[at]].T
    projected = read.fold(vectors) @ read.unembed.T  # (K, V)
    out = []
    for b in runs:
        t = b.t[layer, index][:, None]
        # A few rows at a time stay in the processor's cache.
        rows = zip(layer.split(8), t.split(8), projected.split(8), strict=True)
        normaliser = torch.cat([torch.logsumexp(b.logp[at].addcmul_(scale, part), -1) for at, scale, part in rows])
        out.append(t[:, 0] * projected[:, target] - normaliser)
    return torch.stack(out)


@dataclass(frozen=True)
class Top:
    """Top-k neurons of one prompt, best first: layer, index, score (K,); per-run Imp (R, K) and coefficient m (R, K);
    ``evaluated`` neurons scored exactly; ``certified`` leading ranks that no neuron left unscored can change (K: exact)."""

    layer: Tensor
    index: Tensor
    score: Tensor
    imp: Tensor
    coef: Tensor
    evaluated: int
    certified: int


def _search(
    v: View,
    read: Lens,
    runs: list[Bounds],
    upper: Tensor,
    target: int,
    k: int,
    decimals: int | None,
    first: Tensor | None = None,
    limit: int | None = None,
) -> tuple[Tensor, Tensor, Tensor, int, int]:
    """Score neurons exactly, those of ``first`` and then in the order of ``upper`` (L, N), until no bound left reaches the k-th
    score. Returns flat indices, scores, Imp per run, neurons scored, certified ranks."""
    order = upper.flatten().argsort(descending=True, stable=True)
    if first is not None:
        waiting = torch.ones(len(order), dtype=torch.bool, device=order.device).index_fill_(0, first, False)
        order = torch.cat([first, order[waiting[order]]])
    bound = upper.flatten()[order]
    slack = TOLERANCE if decimals is None else 10.0**-decimals
    k, limit = min(k, len(order)), len(order) if limit is None else limit
    scores, imps, done = torch.empty(0, device=order.device), [], 0
    step = k + max(8, k // 6) if first is None else len(first)
    while done < len(order):
        imp = _exact(v, read, runs, target, order[done : done + step])
        imps.append(imp)
        scores = torch.cat([scores, imp[0] - imp[1] if len(runs) == 2 else imp[0]])
        done = len(scores)
        if done >= min(limit, len(order)) or (done >= k and bound[done] + slack <= scores.topk(k).values[-1]):
            break
        step = min(max(16, k // 4), limit - done)
    # Ties: by layer and index, or as the authors' code has them (4 decimals, ties in descending index order).
    ranked = scores if decimals is None else (scores * 10**decimals).round()
    tiebreak = order[:done] if decimals is None else -order[:done]
    keys = list(zip((-ranked).tolist(), tiebreak.tolist(), strict=True))
    best = torch.tensor(sorted(range(done), key=keys.__getitem__)[:k], device=order.device)
    certified = len(best) if done == len(order) else int((scores[best] >= bound[done] + slack).sum())
    return order[best], scores[best], torch.cat(imps, 1)[:, best], done, certified


def top_neurons(v: View, run: Trace, read: Lens, prompt: int, target: int, k: int, decimals: int | None = None) -> Top:
    """Certified top-k FFN neurons of the whole model by Imp: equal to brute force at the cost of a few more than k exact scores.
    ``decimals=4`` orders as the authors' code, which rounds before sorting. Needs the frozen norm."""
    _require_frozen(read)
    b = bounds(v, run, read, prompt, target)
    flat, score, imp, done, certified = _search(v, read, [b], b.upper, target, k, decimals)
    layer, index = flat // v.n_ffn, flat % v.n_ffn
    coef = run.coef[:, run.last[prompt]][layer, index]
    return Top(layer, index, score, imp, coef[None], done, certified)


def _require_frozen(read: Lens) -> None:
    if read.norm != "frozen":
        raise ValueError("bounds hold for the frozen norm only; use neuron_scores for norm='recompute'")


@dataclass(frozen=True)
class Geometry:
    """Weights-only facts for the Bennett bound. ``centre`` (L, N) is the mean of P over the vocabulary; ``reach``
    (L, N) >= max |P - centre|; ``tokens`` (T,) some tokens that carry most of the probability, ``squares`` (L, T, N) their
    (P - centre)^2 and ``rest`` (L, N) the sum of the same over all other tokens."""

    centre: Tensor
    reach: Tensor
    tokens: Tensor
    squares: Tensor
    rest: Tensor


@torch.inference_mode()
def geometry(v: View, read: Lens, tokens: Tensor) -> Geometry:
    """Compute :class:`Geometry`: one d x d Gram matrix of W_U, then products with the value vectors. O(V d^2 + L N d^2)."""
    average = read.unembed.mean(0)
    gram = read.unembed.T @ read.unembed - len(read.unembed) * torch.outer(average, average)
    norms = (read.unembed.square().sum(-1) - 2 * read.unembed @ average + average.square().sum()).clamp_min(0)
    radius = norms.max().sqrt()
    rows = read.unembed[tokens] - average
    centre, reach, squares, rest = [], [], [], []
    for layer in range(v.n_layers):
        u = read.fold(v.values(layer).T)  # (N, d)
        centre.append(u @ average)
        reach.append(u.norm(dim=-1) * radius)
        squares.append((rows @ u.T).square())
        rest.append((((u @ gram) * u).sum(-1) - squares[-1].sum(0)).clamp_min(0))
    return Geometry(torch.stack(centre), torch.stack(reach), tokens, torch.stack(squares), torch.stack(rest))


def bennett_gap(t: Tensor, mean: Tensor, logp: Tensor, geo: Geometry) -> Tensor:
    """``UB - LB`` (L, N): an upper bound of ``log E exp(X)``, X = t (P - E P), from Bennett's inequality, with Var bounded by the
    second moment about the vocabulary mean: exact on ``geo.tokens``, at most the largest remaining probability elsewhere."""
    p = logp[:, geo.tokens].exp()  # (L, T)
    other = logp.exp().index_fill(1, geo.tokens, 0.0).amax(1)  # (L,)
    inside = torch.bmm(p[:, None], geo.squares)[:, 0]
    variance = t.square() * (inside + other[:, None] * geo.rest)
    largest = (t.abs() * geo.reach + t * (geo.centre - mean)).clamp_min(1e-6)
    growth = torch.where(largest < 1e-2, 0.5 + largest, (largest.exp() - 1 - largest) / largest.square())
    hoeffding = (t * geo.reach).square() / 2  # range of X is at most 2 |t| reach; range^2 / 8
    return torch.minimum(torch.log1p(variance * growth), hoeffding)


def comparative_neurons(
    v: View,
    original: Trace,
    intervened: Trace,
    read: Lens,
    prompt: int,
    target: int,
    k: int,
    geo: Geometry,
    limit: int | None = None,
    decimals: int | None = None,
    base: tuple[Bases, Bases] | tuple[None, None] = (None, None),
) -> Top:
    """Comparative Neuron Analysis (arXiv 2409.14144 §4): top-k by ``Imp(original) - Imp(intervened)``, both read with the
    original run's lens and target. Exact without ``limit``. With it, the likeliest neurons are scored first (largest
    difference of the linear scores, then largest bound) and ``certified`` says how many leading ranks are proven. ``base`` saves
    :func:`bases` of the two runs."""
    _require_frozen(read)
    pairs = zip((original, intervened), base, strict=True)
    first, second = (bounds(v, run, read, prompt, target, known) for run, known in pairs)
    estimate = first.upper - second.upper
    upper = estimate + bennett_gap(second.t, second.mean, second.logp, geo)
    size = estimate.numel()
    likely = estimate.flatten().topk(min(k + max(64, k // 4), size)).indices
    loose = upper.flatten().topk(min(32 + k // 4, size)).indices
    start = torch.cat([likely, loose])
    found = _search(v, read, [first, second], upper, target, k, decimals, start.unique(), limit)
    flat, score, imp, done, certified = found
    layer, index = flat // v.n_ffn, flat % v.n_ffn
    at = original.last[prompt]
    coef = torch.stack([run.coef[:, at][layer, index] for run in (original, intervened)])
    return Top(layer, index, score, imp, coef, done, certified)


def likely_tokens(known: list[Bases], count: int) -> Tensor:
    """The ``count`` tokens with the highest base probability anywhere in some runs: where :func:`geometry` is exact."""
    best = torch.stack([base.logp.amax((0, 1)) for base in known]).amax(0)
    return best.topk(count).indices.sort().values
