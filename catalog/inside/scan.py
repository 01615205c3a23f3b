"""Run a model on fixed prompts many times with small changes: clean residual streams are kept, runs resume where the change is.

A :class:`Probe` holds prompts as prefix forests with the stream entering every layer. :func:`neuron_scan` switches FFN neurons off one at a
time: their layer is not run again, because its output less ``m_k v_k`` is known, and the neurons of one layer form a batch. Edits of the
weights are measured with :func:`finish` from their first layer on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from catalog.inside.anatomy import Forest, View, embed, finish_blocks, forests, run_blocks

Neuron = tuple[int, int]


@dataclass(frozen=True)
class Tree:
    """One forest of a probe: the prompts' numbers, the clean stream entering each layer (L, S, d), the blocks' keyword arguments, and the
    positions that are read (R,)."""

    prompts: list[int]
    forest: Forest
    context: dict
    streams: Tensor
    read: Tensor


@dataclass(frozen=True)
class Probe:
    """Prompts ready for many runs. ``rows`` (R,) gives for each read position, in the order of the trees, its prompt; ``after`` (R,) the
    token that follows there (-1 after a prompt's end)."""

    trees: list[Tree]
    rows: Tensor
    after: Tensor


@torch.inference_mode()
def probe(v: View, prompts: list[list[int]], *, every: int = 0, max_positions: int = 768) -> Probe:
    """Lay out token-id prompts and run them once. Read are the last positions, or with ``every`` = n each n-th position that has a next
    token (n = 1: all), for the perplexity of running text."""
    trees, rows, after = [], [], []
    for group, tree in forests(prompts, max_positions, v.device):
        if every:
            at, own, nxt = [], [], []
            for number, last in zip(group, tree.last.tolist(), strict=True):
                path = (tree.mask[0, 0, last] == 0).nonzero()[:, 0].tolist()
                for place in range(0, len(path) - 1, every):
                    at.append(path[place])
                    own.append(number)
                    nxt.append(prompts[number][place + 1])
            read = torch.tensor(at, device=v.device)
        else:
            read, own, nxt = tree.last, group, [-1] * len(group)
        hidden, context = embed(v, tree)
        streams = []
        for layer in range(v.n_layers):
            streams.append(hidden[0])
            hidden = run_blocks(v, hidden, context, layer, layer + 1)
        trees.append(Tree(group, tree, context, torch.stack(streams), read))
        rows += own
        after += nxt
    return Probe(trees, torch.tensor(rows, device=v.device), torch.tensor(after, device=v.device))


@torch.inference_mode()
def finish(v: View, p: Probe, start: int, read: Callable[[Tensor], Tensor]) -> Tensor:
    """``read`` (R', V) -> (R', …) of the next-token log-probabilities at every read position, with the model as it stands now and the clean
    stream entering layer ``start``: (R, …) in the order of ``p.rows``."""
    out = []
    for tree in p.trees:
        hidden = finish_blocks(v, tree.streams[start][None], tree.context, start, tree.read)[0]
        out += [read(_logp(v, piece)) for piece in hidden.split(512)]
    return torch.cat(out)


@torch.inference_mode()
def odds(v: View, p: Probe, start: int, pair: tuple[int, int]) -> Tensor:
    """Log-odds (R,) of the first token of ``pair`` against the second, otherwise as :func:`finish`. The softmax's normaliser cancels, so
    two rows of the unembedding are enough."""
    along, out = _between(v, pair), []
    for tree in p.trees:
        hidden = finish_blocks(v, tree.streams[start][None], tree.context, start, tree.read)[0]
        out.append(v.final_norm(hidden).float() @ along)
    return torch.cat(out)


def _between(v: View, pair: tuple[int, int]) -> Tensor:
    """Difference (d,) of two rows of the unembedding, fp32."""
    one, other = v.model.get_output_embeddings().weight.detach()[list(pair)].float()
    return one - other


def _logp(v: View, hidden: Tensor) -> Tensor:
    """Log-probabilities in fp32 whatever the model's dtype: an edit's effects are smaller than a step of bf16 logits."""
    return torch.nn.functional.linear(v.final_norm(hidden).float(), v.unembedding()).log_softmax(-1)


@torch.inference_mode()
def neuron_scan(
    v: View,
    p: Probe,
    neurons: list[Neuron],
    read: Callable[[Tensor, int], Tensor] | tuple[int, int],
    advance: Callable[[], None],
    positions: int = 2048,
) -> Tensor:
    """Switch each neuron off in turn. ``read`` maps log-probabilities (B, R', V) and the number of the first read position to (B, R', …),
    or is a pair of tokens, for their log-odds (:func:`odds`). ``positions`` bounds the positions in flight. Returns (len(neurons), R, …);
    ``advance`` is called once a neuron and tree."""
    by_layer: dict[int, list[int]] = {}
    for row, (layer, _) in enumerate(neurons):
        by_layer.setdefault(layer, []).append(row)
    parts = []
    for tree, first in zip(p.trees, _starts(p), strict=True):
        out: Tensor | None = None
        for layer, rows in sorted(by_layer.items()):
            caught: list[Tensor] = []
            handle = v.down_proj(layer).register_forward_pre_hook(lambda _, args, c=caught: c.append(args[0][0]))
            try:
                whole = run_blocks(v, tree.streams[layer][None], tree.context, layer, layer + 1)
            finally:
                handle.remove()
            size = max(1, positions // len(tree.forest.ids))
            for chunk in (rows[i : i + size] for i in range(0, len(rows), size)):
                index = torch.tensor([neurons[row][1] for row in chunk], device=v.device)
                written = caught[0][:, index].T[..., None].float() * v.values(layer)[:, index].T[:, None]  # (B, S, d)
                hidden = whole - written.to(whole.dtype)
                if layer + 1 < v.n_layers:
                    hidden = finish_blocks(v, hidden, tree.context, layer + 1, tree.read)
                else:
                    hidden = hidden[:, tree.read]
                if isinstance(read, tuple):
                    value = v.final_norm(hidden).float() @ _between(v, read)
                else:
                    value = torch.stack([read(_logp(v, row)[None], first)[0] for row in hidden])
                if out is None:
                    out = torch.empty(len(neurons), *value.shape[1:], device=v.device, dtype=value.dtype)
                out[torch.tensor(chunk, device=v.device)] = value
                for _ in chunk:
                    advance()
        parts.append(out)
    return torch.cat(parts, 1)


def _starts(p: Probe) -> Iterator[int]:
    """Number of the first read position of each tree."""
    start = 0
    for tree in p.trees:
        yield start
        start += len(tree.read)
