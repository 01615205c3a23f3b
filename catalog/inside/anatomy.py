"""Where the parts of a stock ``transformers`` causal LM lie, and how to run them piece by piece.

A decoder-only transformer is read as ``x^{l+1} = x^l + A^l + F^l``: a residual stream to which each layer adds an attention
output ``A^l = sum_j W_O[:, head j] z_j`` and a feed-forward output ``F^l = sum_k m_k v_k``. :func:`view` finds the modules that
hold these parts in the Llama, Qwen2 and GPT-2 families, so that attribution and interventions are written once. The blocks
that run are the model's own; nothing is re-implemented or copied. A model that has more to it than these parts gives other logits when it
is run piece by piece, so :func:`view` runs it both ways on a few tokens and refuses it where they differ.

Prompts are laid out as a *prefix forest*: prompts that share a prefix share its positions, with an attention mask that lets a
position see its ancestors only. By causality each prompt's last position then equals that of an ordinary forward pass, at a
fraction of the work for templated or few-shot prompts.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from catalog.base.errors import CatalogError
from catalog.models.windows import narrowest


@dataclass(frozen=True)
class View:
    """A causal LM seen as residual stream, heads and FFN neurons. Sizes: L layers, d model width, H query heads, G key-value
    heads, d_h head width, N FFN neurons a layer, V vocabulary."""

    model: nn.Module
    family: str  # "llama" (Llama, Qwen2, Mistral) or "gpt2"
    blocks: list[nn.Module]
    n_layers: int
    d_model: int
    n_heads: int
    n_kv: int
    d_head: int
    n_ffn: int
    eps: float
    final_norm: nn.Module
    longest: int | None = None  # tokens of a prompt in which every position sees all before it, as a forest has it; None: any number

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def attention(self, layer: int) -> nn.Module:
        block = self.blocks[layer]
        return block.attn if self.family == "gpt2" else block.self_attn

    def o_proj(self, layer: int) -> nn.Module:
        """The module whose input is the heads' outputs side by side, ``(…, H*d_h)``."""
        return self.attention(layer).c_proj if self.family == "gpt2" else self.attention(layer).o_proj

    def down_proj(self, layer: int) -> nn.Module:
        """The module whose input is the FFN coefficients ``m``, ``(…, N)``."""
        return self.blocks[layer].mlp.c_proj if self.family == "gpt2" else self.blocks[layer].mlp.down_proj

    def o_weight(self, layer: int) -> Tensor:
        """``W_O``: (d, H*d_h), fp32."""
        weight = self.o_proj(layer).weight.detach().float()
        return weight.T if self.family == "gpt2" else weight

    def values(self, layer: int) -> Tensor:
        """FFN value vectors ``v_k`` as columns: (d, N), fp32."""
        weight = self.down_proj(layer).weight.detach().float()
        return weight.T if self.family == "gpt2" else weight

    def keys(self, layer: int) -> list[Tensor]:
        """FFN key vectors as rows, scaled by the norm weight they are read through: one (N, d) for GPT-2, gate and up for
        Llama (a gated FFN has two keys a neuron)."""
        block = self.blocks[layer]
        if self.family == "gpt2":
            return [block.mlp.c_fc.weight.detach().float().T * block.ln_2.weight.detach().float()]
        scale = block.post_attention_layernorm.weight.detach().float()
        return [proj.weight.detach().float() * scale for proj in (block.mlp.gate_proj, block.mlp.up_proj)]

    def v_weight(self, layer: int) -> Tensor:
        """``W_V`` scaled by the norm weight it reads through: (G*d_h, d), fp32. Row block g belongs to key-value head g."""
        if self.family == "gpt2":
            block = self.blocks[layer]
            return block.attn.c_attn.weight.detach().float()[:, -self.d_model :].T * block.ln_1.weight.detach().float()
        return self.attention(layer).v_proj.weight.detach().float() * self.blocks[layer].input_layernorm.weight.detach().float()

    def kv_head(self, head: int) -> int:
        """Key-value head that serves query head ``head`` (grouped-query attention: ``head // group``)."""
        return head // (self.n_heads // self.n_kv)

    def unembedding(self) -> Tensor:
        """``W_U``: (V, d), fp32 (no copy when the model is fp32)."""
        return self.model.get_output_embeddings().weight.detach().float()


FAMILIES = {"llama": "llama", "qwen2": "llama", "mistral": "llama", "gpt2": "gpt2"}  # model_type -> which modules a model is made of


def layers(model: nn.Module) -> list[nn.Module]:
    """The blocks of a model, lowest first, of any family that :func:`view` knows; nothing else about it is looked at."""
    if model.config.model_type not in FAMILIES:
        kind = model.config.model_type
        raise CatalogError(f"Attribution does not know the model family '{kind}'; use a Llama, Qwen2, Mistral or GPT-2 model.")
    return list(model.transformer.h if FAMILIES[model.config.model_type] == "gpt2" else model.model.layers)


def view(model: nn.Module) -> View:
    """Anatomy of ``model``.

    Raises:
        CatalogError: its family is not known, it has adapters or quantised weights, or it computes more than its parts.
    """
    v = _anatomy(model)
    for layer in range(v.n_layers):
        for module in (v.o_proj(layer), v.down_proj(layer)):
            if type(module) not in (nn.Linear, Conv1D):
                kind = f"{type(module).__module__.partition('.')[0]}'s {type(module).__name__}"
                raise CatalogError(
                    f"Layer {layer} has {kind} where attribution reads a plain matrix; take an adapter off or merge it, and load weights "
                    f"that are not quantised."
                )
    _require_agreement(v)
    return v


def _anatomy(model: nn.Module) -> View:
    config, blocks = model.config, layers(model)
    if FAMILIES[config.model_type] == "llama":
        heads = config.num_attention_heads
        return View(
            model=model,
            family="llama",
            blocks=blocks,
            n_layers=len(blocks),
            d_model=config.hidden_size,
            n_heads=heads,
            n_kv=config.num_key_value_heads,
            d_head=getattr(config, "head_dim", None) or config.hidden_size // heads,
            n_ffn=config.intermediate_size,
            eps=config.rms_norm_eps,
            final_norm=model.model.norm,
            longest=_longest(config),
        )
    return View(
        model=model,
        family="gpt2",
        blocks=blocks,
        n_layers=len(blocks),
        d_model=config.n_embd,
        n_heads=config.n_head,
        n_kv=config.n_head,
        d_head=config.n_embd // config.n_head,
        n_ffn=config.n_inner or 4 * config.n_embd,
        eps=config.layer_norm_epsilon,
        final_norm=model.transformer.ln_f,
        longest=config.n_positions,  # it has a learnt vector for each
    )


def _longest(config) -> int | None:
    """Tokens up to which attention reaches back to the first one and rotations do not depend on the length of the prompt."""
    limits = [narrowest(config)]
    rope = getattr(config, "rope_parameters", None) or {}
    if rope.get("rope_type") in ("dynamic", "longrope"):  # stretched by the longest prompt of a forest, not by each one's own length
        limits.append(rope.get("original_max_position_embeddings") or config.max_position_embeddings)
    return min((limit for limit in limits if limit), default=None)


@torch.inference_mode()
def _require_agreement(v: View, tokens: int = 6) -> None:
    """Refuse a model whose logits, piece by piece, are not those it gives itself: of two short prompts that share a beginning."""
    tokens = min(tokens, v.longest or tokens)
    ids = torch.linspace(0, v.model.get_input_embeddings().weight.shape[0] - 1, tokens + 1).long().tolist()
    prompts = [ids[:tokens], [*ids[: tokens - 1], ids[tokens]]]
    training = v.model.training
    v.model.eval()  # no dropout
    try:
        own = v.model(input_ids=torch.tensor(prompts, device=v.device), logits_to_keep=1, use_cache=False).logits[:, -1].float()
        tree = forest(prompts, v.device)
        hidden, context = embed(v, tree)
        found = logits_at(v, finish_blocks(v, hidden, context, 0, tree.last)[0])
    finally:
        v.model.train(training)
    apart = float((found - own).abs().max())
    # Rounding alone: 24 bits of float32 leave 1e-5 of the largest logit, 8 bits of bfloat16 some hundredths.
    if not apart <= (1e-3 if v.model.dtype == torch.float32 else 0.1) * float(own.abs().max()):
        raise CatalogError(
            f"Run piece by piece, this {v.model.config.model_type} model gives logits that are {apart:.2g} off its own, so it has a part "
            f"that attribution does not know; use a plain Llama, Qwen2, Mistral or GPT-2 model."
        )


# --- prompts as a prefix forest --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Forest:
    """Prompts sharing their prefixes. One row of S positions: ``ids`` (S,), ``depth`` (S,) position in its prompt, ``mask``
    (1, 1, S, S) additive attention mask, ``last`` (P,) the position of each prompt's last token."""

    ids: Tensor
    depth: Tensor
    mask: Tensor
    last: Tensor

    def __len__(self) -> int:
        return len(self.last)


def forest(prompts: list[list[int]], device: torch.device | str = "cpu") -> Forest:
    """Lay out token-id lists as a prefix forest. An empty prompt is a :class:`CatalogError`."""
    if not prompts or any(not p for p in prompts):
        raise CatalogError("Every prompt needs at least one token.")
    nodes: dict[tuple[int, int], int] = {}  # (parent, token) -> node
    ids, depth, parents, last = [], [], [], []
    for prompt in prompts:
        parent = -1
        for position, token in enumerate(prompt):
            key = (parent, token)
            if key not in nodes:
                nodes[key] = len(ids)
                ids.append(token)
                depth.append(position)
                parents.append(parent)
            parent = nodes[key]
        last.append(parent)
    size = len(ids)
    visible = torch.zeros(size, size, dtype=torch.bool)
    for node, parent in enumerate(parents):  # parents come before their children
        if parent >= 0:
            visible[node] = visible[parent]
        visible[node, node] = True
    mask = torch.zeros(size, size).masked_fill(~visible, torch.finfo(torch.float32).min)
    return Forest(
        torch.tensor(ids, device=device),
        torch.tensor(depth, device=device),
        mask[None, None].to(device),
        torch.tensor(last, device=device),
    )


def forests(prompts: list[list[int]], max_positions: int, device: torch.device | str = "cpu") -> list[tuple[list[int], Forest]]:
    """Split prompts into forests of about ``max_positions`` positions, neighbours by prefix together. Returns ``(indices of
    the prompts, forest)`` pairs, so that results can be put back in the given order."""
    order = sorted(range(len(prompts)), key=lambda i: prompts[i])
    groups: list[list[int]] = []
    size, seen = max_positions + 1, set()
    for i in order:
        fresh = {tuple(prompts[i][: n + 1]) for n in range(len(prompts[i]))} - seen
        if size + len(fresh) > max_positions:
            groups.append([])
            seen, fresh = set(), {tuple(prompts[i][: n + 1]) for n in range(len(prompts[i]))}
            size = 0
        groups[-1].append(i)
        seen |= fresh
        size += len(fresh)
    return [(group, forest([prompts[i] for i in group], device)) for group in groups]


# --- running the model's own blocks ----------------------------------------------------------------------------------------


def embed(v: View, tree: Forest) -> tuple[Tensor, dict]:
    """Residual stream entering layer 0, (1, S, d), and the keyword arguments every block takes.

    Raises:
        CatalogError: a prompt longer than the model reads whole (``v.longest``).
    """
    if v.longest is not None and (deepest := int(tree.depth.max()) + 1) > v.longest:
        raise CatalogError(
            f"A prompt has {deepest} tokens, but this model reads {v.longest} at a time (its attention window or positions); shorten it."
        )
    ids, depth = tree.ids[None], tree.depth[None]
    hidden = v.model.get_input_embeddings()(ids)
    context = {"attention_mask": tree.mask.to(hidden.dtype)}
    if v.family == "gpt2":
        hidden = v.model.transformer.drop(hidden + v.model.transformer.wpe(depth))
    else:
        context["position_embeddings"] = v.model.model.rotary_emb(hidden, position_ids=depth)
    return hidden, context


def run_blocks(v: View, hidden: Tensor, context: dict, start: int = 0, stop: int | None = None) -> Tensor:
    """Residual stream (B, S, d) after layers ``start … stop-1``. A batch B > 1 shares one forest."""
    for block in v.blocks[start:stop]:
        hidden = block(hidden, **context)
    return hidden


def finish_blocks(v: View, hidden: Tensor, context: dict, start: int, at: Tensor) -> Tensor:
    """Final residual vectors (B, len(at), d) at positions ``at`` only, from the stream (B, S, d) entering layer ``start``.

    Nothing reads the other positions of the last layer, so its feed-forward part runs on ``at`` alone."""
    hidden = run_blocks(v, hidden, context, start, v.n_layers - 1)
    block = v.blocks[-1]
    if v.family == "gpt2":
        hidden = (hidden + block.attn(block.ln_1(hidden), **context)[0])[:, at]
        return hidden + block.mlp(block.ln_2(hidden))
    hidden = (hidden + block.self_attn(block.input_layernorm(hidden), **context)[0])[:, at]
    return hidden + block.mlp(block.post_attention_layernorm(hidden))


def logits_at(v: View, hidden: Tensor) -> Tensor:
    """Next-token logits, fp32, (…, V), from final residual vectors (…, d)."""
    return v.model.get_output_embeddings()(v.final_norm(hidden)).float()


@torch.inference_mode()
def next_logprobs(v: View, prompts: list[list[int]], max_positions: int = 768) -> Tensor:
    """Log-probabilities of the next token after each prompt: (P, V), fp32."""
    out: Tensor | None = None
    for group, tree in forests(prompts, max_positions, v.device):
        hidden, context = embed(v, tree)
        logp = logits_at(v, finish_blocks(v, hidden, context, 0, tree.last)[0]).log_softmax(-1)
        if out is None:
            out = torch.empty(len(prompts), logp.shape[-1], device=v.device)
        out[group] = logp
    return out
