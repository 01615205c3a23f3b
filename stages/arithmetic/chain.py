"""The four-stage chain of an arithmetic prediction as a typed graph (arXiv 2409.14144 §4.2).

(1) shallow FFN neurons enhance number and operator features, (2) attention moves them from their positions to the last one,
(3) a head's output activates the root, the lowest of the deep neurons CNA finds, (4) lower deep neurons activate higher ones.
Read backwards from the root: inner products of its keys with head vectors, then with what the best head moves from each position,
then, two steps through W_O W_V, with the shallow neurons' subvalues at those positions. Vectors are not normalised one by one;
they are scaled by the frozen scale of the position they are read at.
"""

from __future__ import annotations

import torch
from torch import Tensor

from catalog.inside.anatomy import View
from catalog.inside.attribution import Lens, Trace, head_position_vectors, head_vectors, output_value, top_tokens
from stages.arithmetic.method import Neuron, lowest, pe_dag


def chain(
    v: View,
    run: Trace,
    read: Lens,
    tokenizer,
    tokens: list[str],
    prompt: int,
    neurons: list[Neuron],
    delta: list[float],
    importance: list[float],
    heads: int = 3,
    positions: int = 3,
    shallow: int = 3,
) -> tuple[list[dict], list[dict]]:
    """Nodes and edges for one prompt. ``tokens`` names its positions; ``neurons`` are its CNA neurons with their ``delta`` and
    original Imp. Node: {node, stage, unit, layer, index, position, token, score_gate, score_up, score, top_tokens}; edge:
    {source, target, weight}. ``run`` must hold attention, over the forest whose ``prompt`` is explained."""
    at = run.last[prompt]
    layers = [layer for layer, _ in neurons]
    subvalues = torch.stack([run.coef[layer, at, k] * v.values(layer)[:, k] for layer, k in neurons])
    keys = [torch.stack([key[k] for key in v.keys(layer)]) for layer, k in neurons]  # K x (1 or 2, d)
    nodes: list[dict] = []
    edges: list[dict] = []

    def add(stage: int, unit: str, layer: int, index: int, position: int, scores: list[float], total: float, reading: list[str]) -> str:
        name = f"{unit} {layer}_{index}" + (f" @{position}" if stage < 3 else "")
        if name not in {node["node"] for node in nodes}:
            nodes.append(
                {
                    "node": name,
                    "stage": stage,
                    "unit": unit,
                    "layer": layer,
                    "index": index,
                    "position": position,
                    "token": tokens[position],
                    "score_gate": scores[0],
                    "score_up": scores[-1],
                    "score": total,
                    "top_tokens": " ".join(reading),
                }
            )
        return name

    last = len(tokens) - 1
    deep = [
        add(4, "neuron", layer, k, last, [delta[i]] * 2, delta[i], top_tokens(read, tokenizer, subvalues[i : i + 1], 5)[0])
        for i, (layer, k) in enumerate(neurons)
    ]
    by_key = [torch.stack([key[i] for key in keys]) for i in range(len(keys[0]))]
    edges += [{"source": deep[a], "target": deep[b], "weight": w} for a, b, w in pe_dag(subvalues, by_key, layers)]

    root = lowest(neurons, importance)
    root_layer, root_keys = layers[root], keys[root] / read.rms(run.mid[layers[root], at])
    by_head = torch.stack([head_vectors(v, run, layer)[prompt] @ root_keys.T for layer in range(root_layer + 1)])  # (l, H, keys)
    ranked = by_head.sum(-1).flatten().argsort(descending=True)[:heads].tolist()
    for place, flat in enumerate(ranked):
        layer, head = divmod(flat, v.n_heads)
        scores = by_head[layer, head].tolist()
        vector = head_vectors(v, run, layer)[prompt, head]
        source = add(3, "head", layer, head, last, scores, sum(scores), top_tokens(read, tokenizer, vector[None], 5)[0])
        edges.append({"source": source, "target": deep[root], "weight": sum(scores)})
        if place == 0:
            _before_the_head(v, run, read, tokenizer, prompt, layer, head, root_keys, source, add, edges, positions, shallow)
    return nodes, edges


def _before_the_head(
    v: View,
    run: Trace,
    read: Lens,
    tokenizer,
    prompt: int,
    layer: int,
    head: int,
    root_keys: Tensor,
    target: str,
    add,
    edges: list[dict],
    positions: int,
    shallow: int,
) -> None:
    """Stages 2 and 1: the positions the head reads, and the shallow neurons it reads there."""
    path = _ancestors(run, prompt)
    moved = head_position_vectors(v, run, layer, prompt)[head][path]  # (T, d)
    by_position = moved @ root_keys.T
    w_o = v.o_weight(layer)[:, head * v.d_head : (head + 1) * v.d_head]
    group = v.kv_head(head)
    w_v = v.v_weight(layer)[group * v.d_head : (group + 1) * v.d_head]
    for place in by_position.sum(-1).argsort(descending=True)[:positions].tolist():
        node = path[place]
        scores = by_position[place].tolist()
        source = add(2, "position", layer, head, place, scores, sum(scores), top_tokens(read, tokenizer, moved[place][None], 5)[0])
        edges.append({"source": source, "target": target, "weight": sum(scores)})
        if layer == 0:
            continue  # no neuron lies before the first attention
        weight = run.probs[layer, head, run.last[prompt], node] / read.rms(run.x[layer, node])
        effective = (root_keys @ w_o @ w_v) * weight  # what one unit of residual at the position adds to the root's keys
        by_neuron = torch.stack([run.coef[i, node] * (effective @ v.values(i)) for i in range(layer)])  # (l, keys, N)
        for flat in by_neuron.sum(1).flatten().argsort(descending=True)[:shallow].tolist():
            i, k = divmod(flat, v.n_ffn)
            scores = by_neuron[i, :, k].tolist()
            subvalue = (run.coef[i, node, k] * v.values(i)[:, k])[None]
            reading = top_tokens(read, tokenizer, output_value(v, layer, subvalue), 5)[0]
            shallow_node = add(1, "neuron", i, k, place, scores, sum(scores), reading)
            edges.append({"source": shallow_node, "target": source, "weight": sum(scores)})


def _ancestors(run: Trace, prompt: int) -> list[int]:
    """Positions of the forest that make up ``prompt``, first to last: those its last position attends to."""
    return (run.probs[0, :, run.last[prompt]].sum(0) > 0).nonzero()[:, 0].tolist()
