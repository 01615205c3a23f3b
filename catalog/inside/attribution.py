"""Static attribution of a next-token prediction to layers, heads, positions and neurons.

The score (Yu and Ananiadou 2024, arXiv 2312.12141) is the *log-probability increase* of the predicted token w when a part v is
added to the residual stream it is added to in the model::

    Imp(v) = log p(w | base + v) - log p(w | base)

with ``base`` the input of the layer for attention parts and the stream after attention for FFN parts, last position, softmax
over the whole vocabulary. ``p`` reads a vector z through the *frozen final norm*, ``logits(z) = W_U (g * z / sigma)``, sigma
being the final residual's own scale in the unmodified run, so logits are linear in z (``norm="frozen"``); the usual lens that
re-normalises every vector is ``norm="recompute"``.

FFN neurons, of which there are too many for one softmax each, are scored by `catalog.inside.neurons`. Everything is fp32 whatever the
model's dtype. Parts sum to the whole; *scores* of sets do not add up.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from catalog.inside.anatomy import Forest, View, embed, run_blocks

# --- one traced forward pass ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Trace:
    """Parts of one forward pass over a forest of S positions and P prompts, fp32."""

    x: Tensor  # (L+1, S, d) residual stream entering each layer; x[L] leaves the last
    attn: Tensor  # (L, S, d) attention outputs A, bias included
    ffn: Tensor  # (L, S, d) FFN outputs F, bias included
    coef: Tensor  # (L, S, N) FFN coefficients m
    heads: Tensor  # (L, S, H*d_h) head outputs before W_O
    last: Tensor  # (P,) last position of each prompt
    probs: Tensor | None = None  # (L, H, S, S) attention weights
    value: Tensor | None = None  # (L, S, G, d_h) value vectors of the key-value heads

    @property
    def mid(self) -> Tensor:
        """Stream after attention, (L, S, d): the base of the FFN parts."""
        return self.x[:-1] + self.attn


@torch.inference_mode()
def trace(v: View, tree: Forest, attention: bool = False) -> Trace:
    """Run ``tree`` through the model and keep its parts. Interventions entered before are in force. With ``attention`` the
    attention weights and value vectors are kept as well (needs eager attention while it runs)."""
    store: dict[str, list[Tensor]] = {name: [] for name in ("attn", "ffn", "coef", "heads", "probs", "value")}
    keep = lambda name, tensor: store[name].append(tensor[0].float())  # noqa: E731
    handles = []
    implementation = v.model.config._attn_implementation
    if attention:
        v.model.set_attn_implementation("eager")
    try:
        for layer, block in enumerate(v.blocks):
            att = v.attention(layer)
            handles += [
                v.o_proj(layer).register_forward_pre_hook(lambda _, args: keep("heads", args[0])),
                v.down_proj(layer).register_forward_pre_hook(lambda _, args: keep("coef", args[0])),
                block.mlp.register_forward_hook(lambda _, args, out: keep("ffn", out)),
                att.register_forward_hook(lambda _, args, out: keep("attn", out[0])),
            ]
            if attention:
                handles.append(att.register_forward_hook(lambda _, args, out: keep("probs", out[1])))
                if v.family == "gpt2":
                    hook = lambda _, args, out: keep("value", out[..., -v.d_model :])  # noqa: E731
                    handles.append(att.c_attn.register_forward_hook(hook))
                else:
                    handles.append(att.v_proj.register_forward_hook(lambda _, args, out: keep("value", out)))
        hidden, context = embed(v, tree)
        stream = [hidden[0].float()]
        for layer in range(v.n_layers):
            hidden = run_blocks(v, hidden, context, layer, layer + 1)
            stream.append(hidden[0].float())
    finally:
        for handle in handles:
            handle.remove()
        v.model.set_attn_implementation(implementation)
    stacked = {name: torch.stack(parts) for name, parts in store.items() if parts}
    if attention:
        stacked["value"] = stacked["value"].unflatten(-1, (v.n_kv, v.d_head))
    return Trace(x=torch.stack(stream), last=tree.last, **stacked)


def head_vectors(v: View, run: Trace, layer: int) -> Tensor:
    """What each head writes at each prompt's last position: (P, H, d). They sum to A less the bias of W_O."""
    z = run.heads[layer, run.last].unflatten(-1, (v.n_heads, v.d_head))
    return torch.einsum("phk,dhk->phd", z, v.o_weight(layer).unflatten(-1, (v.n_heads, v.d_head)))


def head_position_vectors(v: View, run: Trace, layer: int, prompt: int) -> Tensor:
    """What each head moves from each source position to the last position of ``prompt``: (H, S, d); sums over S to the head."""
    weights = run.probs[layer, :, run.last[prompt]]  # (H, S)
    value = run.value[layer][:, [v.kv_head(j) for j in range(v.n_heads)]]  # (S, H, d_h)
    moved = weights.T[..., None] * value
    return torch.einsum("shk,dhk->hsd", moved, v.o_weight(layer).unflatten(-1, (v.n_heads, v.d_head)))


def attention_neurons(v: View, run: Trace, layer: int, prompt: int) -> Tensor:
    """Coefficients of the attention neurons (head, position, k): (H, S, d_h). Neuron (j, p, k) writes its coefficient times
    column ``j*d_h + k`` of W_O, so all positions of one (j, k) are multiples of one vector."""
    weights = run.probs[layer, :, run.last[prompt]]
    value = run.value[layer][:, [v.kv_head(j) for j in range(v.n_heads)]]
    return (weights.T[..., None] * value).transpose(0, 1)


# --- reading vectors as next-token distributions ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Lens:
    """How a residual vector is read. ``unembed`` W_U (V, d); ``scale`` g (d,); ``sigma`` (P,) each prompt's frozen norm;
    ``bias`` (V,) or None; ``centre`` for LayerNorm; ``norm`` "frozen" or "recompute"."""

    unembed: Tensor
    scale: Tensor
    sigma: Tensor
    bias: Tensor | None
    centre: bool
    norm: str
    eps: float

    def fold(self, z: Tensor) -> Tensor:
        """``g * z`` (LayerNorm: of the mean-centred z), so that logits = W_U fold(z) / sigma."""
        return self.scale * (z - z.mean(-1, keepdim=True) if self.centre else z)

    def unfold(self, direction: Tensor) -> Tensor:
        """Adjoint of :meth:`fold`: ``unfold(a) . z == a . fold(z)``."""
        scaled = self.scale * direction
        return scaled - scaled.mean(-1, keepdim=True) if self.centre else scaled

    def rms(self, z: Tensor) -> Tensor:
        """The final norm's scale of z: sqrt(mean square + eps), or of the biased variance for LayerNorm."""
        z = z - z.mean(-1, keepdim=True) if self.centre else z
        return (z.square().mean(-1) + self.eps).sqrt()

    def logits(self, z: Tensor, prompt: int) -> Tensor:
        """Logits (…, V) of vectors (…, d) as read for ``prompt``."""
        sigma = self.sigma[prompt] if self.norm == "frozen" else self.rms(z)[..., None]
        out = (self.fold(z) / sigma) @ self.unembed.T
        return out if self.bias is None else out + self.bias


def lens(v: View, run: Trace, norm: str = "frozen", layernorm: str = "paper") -> Lens:
    """Lens of an unmodified run. ``layernorm="paper"`` drops the bias of GPT-2's final norm as the authors do; "faithful"
    keeps it, so that the final residual reproduces the model's own softmax. RMS norms have no bias."""
    scale = v.final_norm.weight.detach().float()
    centre = v.family == "gpt2"
    unembed = v.unembedding()
    bias = None
    if centre and layernorm == "faithful":
        bias = unembed @ v.final_norm.bias.detach().float()
    plain = Lens(unembed, scale, run.last.new_zeros(0), bias, centre, norm, v.eps)
    return Lens(unembed, scale, plain.rms(run.x[-1, run.last]), bias, centre, norm, v.eps)


def predicted(run: Trace, read: Lens) -> Tensor:
    """The model's own top-1 next token of each prompt, (P,): the target of every score in the papers."""
    return torch.stack([read.logits(run.x[-1, run.last[p]], p).argmax() for p in range(len(run.last))])


@torch.inference_mode()
def increase(read: Lens, base: Tensor, parts: Tensor, prompt: int, target: int, chunk: int = 64) -> Tensor:
    """``Imp`` of each part (K, d) on top of ``base`` (d,): (K,). The definition itself, one softmax a part."""
    origin = read.logits(base, prompt).log_softmax(-1)[target]
    scores = [read.logits(base + piece, prompt).log_softmax(-1)[..., target] for piece in parts.split(chunk)]
    return torch.cat(scores) - origin


def layer_scores(run: Trace, read: Lens, prompt: int, target: int) -> tuple[Tensor, Tensor]:
    """Imp of each layer's attention output and FFN output: two (L,)."""
    at = run.last[prompt]
    attn = [increase(read, run.x[i, at], run.attn[i, at][None], prompt, target) for i in range(len(run.attn))]
    ffn = [increase(read, run.mid[i, at], run.ffn[i, at][None], prompt, target) for i in range(len(run.ffn))]
    return torch.cat(attn), torch.cat(ffn)


def head_scores(v: View, run: Trace, read: Lens, prompt: int, target: int) -> Tensor:
    """Imp of every head: (L, H)."""
    at = run.last[prompt]
    rows = [increase(read, run.x[i, at], head_vectors(v, run, i)[prompt], prompt, target) for i in range(v.n_layers)]
    return torch.stack(rows)


def head_position_scores(v: View, run: Trace, read: Lens, layer: int, prompt: int, target: int) -> Tensor:
    """Imp of every (head, source position) of ``layer``: (H, S). Each head's block of W_O is projected to the vocabulary once,
    so a logit costs d_h instead of d multiplications."""
    at = run.last[prompt]
    if read.norm == "recompute":
        vectors = head_position_vectors(v, run, layer, prompt)
        return torch.stack([increase(read, run.x[layer, at], row, prompt, target) for row in vectors])
    origin = read.logits(run.x[layer, at], prompt)
    blocks = v.o_weight(layer).unflatten(-1, (v.n_heads, v.d_head))  # (d, H, d_h)
    coefficients = attention_neurons(v, run, layer, prompt) / read.sigma[prompt]  # (H, S, d_h)
    out = []
    for head in range(v.n_heads):
        projected = read.unembed @ read.fold(blocks[:, head].T).T  # (V, d_h)
        out.append((origin + coefficients[head] @ projected.T).log_softmax(-1)[:, target])
    return torch.stack(out) - origin.log_softmax(-1)[target]


# --- query side -------------------------------------------------------------------------------------------------------------


def query_layers(v: View, run: Trace, prompt: int, layer: int, index: int) -> Tensor:
    """Which residual components activate FFN neuron ``(layer, index)`` at the last position (B0 §3.4): share of each component
    in the inner product with the neuron's keys. Rows: embedding, then A and F of each layer up to A of ``layer``: (K, R),
    K keys (gate and up, or one); each row of keys sums to 1."""
    at = run.last[prompt]
    parts = [run.x[0, at]]
    for i in range(layer):
        parts += [run.attn[i, at], run.ffn[i, at]]
    parts.append(run.attn[layer, at])
    keys = torch.stack([key[index] for key in v.keys(layer)])
    products = keys @ torch.stack(parts).T
    return products / products.sum(1, keepdim=True)


def query_neurons(v: View, run: Trace, position: int, layer: int, row: int, imp: float) -> Tensor:
    """Which shallower FFN neurons activate attention neuron ``row`` of W_V of ``layer`` at ``position`` (B0 §3.4): score
    ``(m v . key) / (x . key) * imp``: (layer, N). The norm's scale cancels; LayerNorm centring and biases are ignored."""
    key = v.v_weight(layer)[row]
    whole = run.x[layer, position] @ key
    shares = [run.coef[i, position] * (key @ v.values(i)) / whole for i in range(layer)]
    return torch.stack(shares) * imp


def output_value(v: View, layer: int, vectors: Tensor) -> Tensor:
    """``W_O W_V`` of an attention layer applied to residual vectors (K, d), all heads summed: (K, d). Grouped heads share W_V."""
    value = (vectors @ v.v_weight(layer).T).unflatten(-1, (v.n_kv, v.d_head))
    return value.repeat_interleave(v.n_heads // v.n_kv, 1).flatten(1) @ v.o_weight(layer).T


def top_tokens(read: Lens, tokenizer, vectors: Tensor, k: int = 10) -> list[list[str]]:
    """The k tokens that each vector (K, d) promotes most, as text. Pass ``m * v``: with m < 0 the bottom of v is promoted."""
    ids = (read.fold(vectors) @ read.unembed.T).topk(k).indices
    return [[tokenizer.decode(token) for token in row] for row in ids.tolist()]
