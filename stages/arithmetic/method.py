"""Comparative Neuron Analysis and its checks (arXiv 2409.14144).

CNA compares two forward passes of one prompt, here the model and the model with one head zeroed, and ranks FFN neurons by how much
of their log-probability increase is lost: ``delta = Imp - Imp'`` (§4; `catalog.inside.attribution.comparative_neurons`). The set is checked
by intervention (§4.3): *mask* zeroes it, *keep* zeroes every other FFN neuron of the deep layers, *coef* asks how much of its
coefficients the head carried, *lowest* zeroes its lowest-layer member and watches the rest. Each has a random set of the
same size, drawn from the same layers, as control.

*Hidden-interpretable* neurons (§4.4) are shallow neurons whose value vectors mean nothing when projected to the vocabulary but
read as number or operation words after the W_O W_V of some attention layer.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from catalog.inside.anatomy import View, embed, forest, logits_at, run_blocks
from catalog.inside.attribution import Lens
from catalog.inside.interventions import scaled_inputs

Neuron = tuple[int, int]

# One line a concept: the words and signs that stand for it. The paper's list and matching rule are not available; this one is ours.
CONCEPTS = [
    *(
        f"{n} {word}".split()
        for n, word in enumerate(
            "zero one|first|once|single two|second|twice|double|pair|half three|third|thrice|triple four|fourth|quarter five|fifth "
            "six|sixth seven|seventh eight|eighth nine|ninth ten|tenth eleven twelve|dozen thirteen fourteen fifteen sixteen "
            "seventeen eighteen nineteen twenty".replace("|", "_").split()
        )
    ),
    *(f"{10 * n} {word}".split() for n, word in enumerate("thirty forty fifty sixty seventy eighty ninety".split(), 3)),
    "100 hundred hundreds".split(),
    "1000 thousand thousands".split(),
    "million millions".split(),
    "billion billions".split(),
    "+ plus sum sums add adds added adding addition total totals".split(),
    "- minus subtract subtracts subtracted subtracting subtraction difference differences".split(),
    "* × times product multiply multiplies multiplied multiplying multiplication".split(),
    "/ ÷ divide divides divided dividing division quotient ratio".split(),
    "= equal equals".split(),
    "number numbers numeric numeral numerals".split(),
    "digit digits".split(),
    "math mathematics arithmetic".split(),
]
_CONCEPT = {word: i for i, line in enumerate(CONCEPTS, 1) for entry in line for word in entry.split("_")}


def concept(token: str) -> int:
    """Number (from 1) of the number or operation concept a vocabulary entry stands for, case and spaces aside; 0: none."""
    return _CONCEPT.get(token.strip().lower(), 0)


def relative(before: float, after: float) -> float | None:
    """``(before - after) / before``, the paper's relative decrease; None from a base of zero."""
    return None if before == 0 else (before - after) / before


# --- running one prompt under many neuron masks ------------------------------------------------------------------------------


@torch.inference_mode()
def masked_runs(v: View, prompt: list[int], masks: Tensor) -> tuple[Tensor, Tensor]:
    """Next-token log-probabilities (R, V) and last-position FFN coefficients (R, L, N), before masking, of one prompt under each
    of R neuron masks (R, L, N). A row joins the batch at the first layer its mask touches, from the clean residual stream."""
    touched = (masks != 1).any(-1)  # (R, L)
    first = torch.where(touched.any(1), touched.int().argmax(1), v.n_layers - 1)
    order = first.argsort(stable=True)
    hidden, context = embed(v, forest([prompt], v.device))
    coefficients = torch.empty(len(masks), v.n_layers, v.n_ffn, device=v.device)
    joined = 0
    for layer in range(v.n_layers):
        fresh = int((first == layer).sum())
        hidden = torch.cat([hidden, hidden[:1].expand(fresh, -1, -1)])  # row 0 stays the clean run
        joined += fresh
        rows = order[:joined]
        factor = torch.cat([masks.new_ones(1, v.n_ffn), masks[rows, layer]])[:, None]
        caught: list[Tensor] = []
        handle = v.down_proj(layer).register_forward_pre_hook(lambda _, args, c=caught: c.append(args[0][:, -1].float()))
        try:
            with scaled_inputs({v.down_proj(layer): factor}):
                hidden = run_blocks(v, hidden, context, layer, layer + 1)
        finally:
            handle.remove()
        coefficients[:, layer] = caught[0][0]
        coefficients[rows, layer] = caught[0][1:]
    logp = torch.empty(len(masks), v.unembedding().shape[0], device=v.device)
    logp[order] = logits_at(v, hidden[1:, -1]).log_softmax(-1)
    return logp, coefficients


def lowest(neurons: list[Neuron], importance: list[float]) -> int:
    """Place of the root: the neuron of the lowest layer, the largest Imp if several (paper §4.2)."""
    return min(range(len(neurons)), key=lambda i: (neurons[i][0], -importance[i]))


def random_like(neurons: list[Neuron], n_ffn: int, generator: torch.Generator) -> list[Neuron]:
    """As many random neurons as given, drawn from the same layers, none of the set itself."""
    taken, out = set(neurons), []
    for layer, _ in neurons:
        while True:
            candidate = (layer, int(torch.randint(n_ffn, (1,), generator=generator)))
            if candidate not in taken:
                break
        taken.add(candidate)
        out.append(candidate)
    return out


def mask_out(v: View, neurons: list[Neuron]) -> Tensor:
    """(L, N) mask that zeroes ``neurons``."""
    mask = torch.ones(v.n_layers, v.n_ffn, device=v.device)
    if neurons:
        mask[tuple(torch.tensor(neurons, device=v.device).T)] = 0.0
    return mask


def keep_only(v: View, neurons: list[Neuron], start: int) -> Tensor:
    """(L, N) mask that zeroes every FFN neuron of layers ``start …`` but ``neurons``."""
    mask = torch.ones(v.n_layers, v.n_ffn, device=v.device)
    mask[start:] = 0.0
    if neurons:
        mask[tuple(torch.tensor(neurons, device=v.device).T)] = 1.0
    return mask


@dataclass(frozen=True)
class Case:
    """One problem of the verification: token ids, id of the right answer, coefficients (L, N) without and with the head, its CNA
    neurons best first and their original Imp."""

    prompt: list[int]
    answer: int
    coef: Tensor
    coef_headless: Tensor
    neurons: list[Neuron]
    importance: list[float]


def coefficient_drop(before: Tensor, after: Tensor, neurons: list[Neuron]) -> float | None:
    """Mean relative fall of |coefficient| over ``neurons``: 1 - sum|after| / sum|before| (paper, "coef")."""
    if not neurons:
        return None
    at = tuple(torch.tensor(neurons, device=before.device).T)
    return relative(float(before[at].abs().sum()), float(after[at].abs().sum()))


def verify_case(v: View, case: Case, sizes: tuple[int, ...], start: int, generator: torch.Generator) -> list[dict]:
    """Mask / keep / coef / lowest of one case at each set size, with controls: rows {size, protocol, control, correct, logprob,
    coef_drop}."""
    plans: list[tuple[int, str, bool, Tensor, list[Neuron]]] = []
    rows = []
    for size in sizes:
        own = case.neurons[:size]
        other = random_like(own, v.n_ffn, generator)
        root = own[lowest(own, case.importance)]
        stray = random_like([root], v.n_ffn, generator)[0]
        plans += [
            (size, "mask", False, mask_out(v, own), []),
            (size, "mask", True, mask_out(v, other), []),
            (size, "keep", False, keep_only(v, own, start), []),
            (size, "keep", True, keep_only(v, other, start), []),
            (size, "lowest", False, mask_out(v, [root]), [n for n in own if n != root]),
            (size, "lowest", True, mask_out(v, [stray]), [n for n in own if n != root]),
        ]
        for control, chosen in ((False, own), (True, other)):
            drop = coefficient_drop(case.coef, case.coef_headless, chosen)
            rows.append({"size": size, "protocol": "coef", "control": control, "correct": None, "logprob": None, "coef_drop": drop})
    logp, coefficients = masked_runs(v, case.prompt, torch.stack([plan[3] for plan in plans]))
    for i, (size, protocol, control, _, watched) in enumerate(plans):
        drop = coefficient_drop(case.coef, coefficients[i], watched) if protocol == "lowest" else None
        rows.append(
            {
                "size": size,
                "protocol": protocol,
                "control": control,
                "correct": bool(logp[i].argmax() == case.answer),
                "logprob": float(logp[i, case.answer]),
                "coef_drop": drop,
            }
        )
    return rows


# --- hidden-interpretable neurons ---------------------------------------------------------------------------------------------


def top_columns(scores: Tensor, k: int, rows: int = 32) -> Tensor:
    """Columns of the k largest entries of each row of ``scores`` (N, V): (N, k), the set that ``topk`` finds, in another order.

    The columns are cut into groups of ``rows``. An entry among the k largest lies in one of the k groups with the largest maxima, so
    the rest of the row, nearly all of it, is read once and never ordered."""
    groups = scores.shape[-1] // rows
    if groups <= k:
        return scores.topk(k).indices
    # Column i * groups + g belongs to group g; what is left at the end of the row competes by itself.
    grid = scores[:, : rows * groups].unflatten(-1, (rows, groups))
    best = grid.amax(1).topk(k, sorted=False).indices  # (N, k)
    inside = (torch.arange(rows, device=scores.device)[:, None] * groups + best[:, None]).flatten(1)  # (N, rows * k)
    rest = torch.arange(rows * groups, scores.shape[-1], device=scores.device).expand(len(scores), -1)
    columns = torch.cat([inside, rest], 1)
    return columns.gather(1, scores.gather(1, columns).topk(k, sorted=False).indices)


@torch.inference_mode()
def hidden_counts(v: View, read: Lens, layers: list[int], maps: list[int], concepts: Tensor, top: int, advance) -> Tensor:
    """For every FFN neuron of ``layers``, the largest number of distinct concepts among the ``top`` first tokens of its value
    vector read through ``W_U W_O W_V`` of any attention layer in ``maps``: (len(layers), N), int32.

    ``concepts`` (V',) of :func:`concept`; the first V' tokens of the vocabulary compete. W_O W_V has rank at most G*d_h (the
    key-value width), so the vocabulary side is folded once a map: (V', G*d_h) instead of (V', d)."""
    best = torch.zeros(len(layers), v.n_ffn, dtype=torch.int32, device=read.unembed.device)
    for through in maps:
        group = v.n_heads // v.n_kv
        out = v.o_weight(through).unflatten(-1, (v.n_kv, group, v.d_head)).sum(2).flatten(1)  # (d, G*d_h): heads of a group add up
        vocab = read.unembed[: len(concepts)] @ read.fold(out.T).T
        for row, layer in enumerate(layers):
            value = v.v_weight(through) @ v.values(layer)  # (G*d_h, N)
            for start in range(0, v.n_ffn, 2048):
                piece = value[:, start : start + 2048]
                logits = piece.T @ vocab.T
                seen = concepts[top_columns(logits, top)].sort(-1).values
                fresh = (seen[:, 1:] != seen[:, :-1]) & (seen[:, 1:] > 0)
                count = (fresh.sum(-1) + (seen[:, 0] > 0)).int()
                best[row, start : start + 2048] = torch.maximum(best[row, start : start + 2048], count)
            advance()
    return best


def at_least(counts: Tensor, m: int) -> Tensor:
    """Neurons kept at threshold M: count *more than* M (the text says "M or more", but its M = 0 figure is not every neuron)."""
    return counts > m


# --- prediction-enhancing graph ---------------------------------------------------------------------------------------------


def pe_dag(values: Tensor, keys: list[Tensor], layers: list[int], share: float = 0.25) -> list[tuple[int, int, float]]:
    """Edges a -> b of the prediction-enhancing graph (§4.2): layer(a) < layer(b) and the value vector of a has a large inner
    product with the keys of b. ``values`` (K, d) are m*v; ``keys`` one or two (K, d). The weight is the sum over keys of
    |inner product|; an edge is kept when it reaches ``share`` of the strongest into b."""
    weight = sum((values @ key.T).abs() for key in keys)  # [a, b]
    edges = []
    for b, layer in enumerate(layers):
        lower = [a for a in range(len(layers)) if layers[a] < layer]
        strongest = max((float(weight[a, b]) for a in lower), default=0.0)
        edges += [(a, b, float(weight[a, b])) for a in lower if strongest > 0 and weight[a, b] >= share * strongest]
    return edges
