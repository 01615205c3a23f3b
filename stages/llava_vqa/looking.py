"""Which part of an image made a LLaVA say its next token: the tool of the paper, exact, from one forward pass.

Each head of each layer moves a vector from every source position to the last one, and all of them are added to the residual stream there.
The *importance* of such a vector is the log-probability increase of the answer's token that it brings (`catalog.inside.attribution`)::

    Imp(v) = log p(w | x + v) - log p(w | x)        x: what enters the layer, read through the frozen final norm

The paper's map is that of the one best head: the importance of the vector from each image position. The map of *all heads* takes from the
final stream z, for each position, what all heads of all layers have moved from there, and reads both through the model's own final norm::

    direct(p) = log p(w | z) - log p(w | z - sum over layers and heads of the vector from p)

Both are signed. With ``against`` the score is log p(w) - log p(other), and softmax drops out of it.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from catalog.base.errors import CatalogError
from catalog.inside.anatomy import View, view
from catalog.models.windows import narrowest

Head = tuple[int, int]  # layer, head
AT_ONCE = 64  # vectors that are read over the whole vocabulary together
_VIEWS: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


@dataclass(frozen=True)
class Look:
    """One prompt as the model read it. L layers, H heads, T source positions, I image positions, d the stream's width; float32.

    Attributes:
        target, against: token ids; `against` is None where a token is scored alone.
        top: the model's own next token. logprob: of the target.
        stream: (L, d) what enters each layer at the last position; final: (d,) what leaves the last one.
        attention: (L, H, T) of the last position. value: (L, T, G, d_h) of the key-value heads.
        image: (I,) positions of the image. grid: (rows, columns) with rows x columns = I.
    """

    view: View
    unembed: Tensor
    target: int
    against: int | None
    top: int
    logprob: float
    stream: Tensor
    final: Tensor
    attention: Tensor
    value: Tensor
    image: Tensor
    grid: tuple[int, int]


def inner(model: Any) -> View:
    """The language model inside a LLaVA, seen as streams and heads; it is checked once for each model.

    Raises:
        CatalogError: the model has no language model and output layer where LLaVAs have them, or attribution does not know its family.
    """
    if model not in _VIEWS:
        from transformers import AutoModelForCausalLM

        decoder, head = getattr(getattr(model, "model", None), "language_model", None), getattr(model, "lm_head", None)
        if decoder is None or head is None:
            raise CatalogError(
                f"{type(model).__name__} is no LLaVA with a language model and an output layer of its own; use another model."
            )
        with torch.device("meta"):
            shell = AutoModelForCausalLM.from_config(decoder.config)
        shell.model, shell.lm_head = decoder, head
        _VIEWS[model] = view(shell.eval())
    return _VIEWS[model]


def image_places(model: Any, ids: Tensor) -> Tensor:
    """Positions (I,) of the image tokens among the ids (T,) of a prompt.

    Raises:
        CatalogError: there is none, or they do not stand side by side, as with several images.
    """
    token = getattr(model.config, "image_token_id", None)
    token = getattr(model.config, "image_token_index", None) if token is None else token
    places = (ids == token).nonzero()[:, 0]
    if not len(places):
        raise CatalogError("The prompt has no image; put <image> where it is to stand.")
    if int(places[-1] - places[0]) + 1 != len(places):
        raise CatalogError(
            "The image's tokens do not stand side by side; ask about one image at a time, of a model that reads it in one piece."
        )
    return places


def square(places: int) -> tuple[int, int]:
    """Rows and columns of the grid that so many image tokens are.

    Raises:
        CatalogError: no square number, as with models that cut an image into several pieces.
    """
    side = round(places**0.5)
    if side * side != places:
        raise CatalogError(
            f"{places} image tokens are no square grid; models that cut an image into pieces of their own are not supported."
        )
    return side, side


@torch.inference_mode()
def look(
    model: Any,
    given: Mapping[str, Tensor],
    target: int | None = None,
    against: int | None = None,
    grid: tuple[int, int] | None = None,
) -> Look:
    """One forward pass over a prompt with an image.

    Args:
        given: of `catalog.vision.build.inputs`, for one prompt: ``input_ids`` (1, T), ``pixel_values`` and the like.
        target: the token that is asked about; by default the one that the model gives.
        against: a token it is held against.
        grid: rows and columns of the image's tokens; by default they are a square.

    Raises:
        CatalogError: no image, a grid that does not fit, a prompt longer than the attention window, or attention that is not plain.
    """
    v = inner(model)
    given = {name: tensor.to(v.device) for name, tensor in given.items()}
    if len(given["input_ids"]) != 1:
        raise CatalogError("Look at one prompt at a time.")
    ids = given["input_ids"][0]
    image = image_places(model, ids)
    rows, columns = grid or square(len(image))
    if rows * columns != len(image):
        raise CatalogError(f"A grid of {rows} x {columns} does not fit the {len(image)} image tokens.")
    window = narrowest(v.model.config)
    if window and len(ids) > window:
        raise CatalogError(f"The prompt has {len(ids)} tokens, more than this model's attention window of {window}; shorten it.")
    with _recorded(v) as kept:
        logits = model(**given, logits_to_keep=1, use_cache=False).logits[0, -1].float().log_softmax(-1)
    top = int(logits.argmax())
    target = top if target is None else int(target)
    return Look(
        view=v,
        unembed=v.unembedding(),
        target=target,
        against=against,
        top=top,
        logprob=float(logits[target]),
        stream=torch.stack(kept["stream"]),
        final=kept["final"][0],
        attention=torch.stack(kept["attention"]),
        value=torch.stack(kept["value"]),
        image=image,
        grid=(rows, columns),
    )


@contextmanager
def _recorded(v: View) -> Iterator[dict[str, list[Tensor]]]:
    """Inside, a forward pass of one row leaves here what enters each layer, attention of the last position, values and the final stream.

    Attention is computed a second time, for the last position alone, from the queries and keys that the layer computes, and must give the
    layer's own output, so that no other kind of attention can pass for this one.
    """
    kept: dict[str, list[Tensor]] = {"stream": [], "attention": [], "value": [], "final": []}
    now: dict[str, Tensor] = {}
    handles = []

    def before(_: Any, args: tuple, options: dict) -> None:
        now["cos"], now["sin"] = (part[0].float() for part in options["position_embeddings"])

    def after(layer: int) -> Callable:
        def hook(_: Any, args: tuple) -> None:
            weights, value = _last_attention(v, layer, now)
            moved = torch.einsum("ht,thk->hk", weights, value.repeat_interleave(v.n_heads // v.n_kv, 1))
            own = args[0][0, -1].float().unflatten(-1, (v.n_heads, v.d_head))
            scale = own.abs().max().clamp_min(1e-6)
            if (moved - own).abs().max() > (1e-3 if args[0].dtype == torch.float32 else 0.1) * scale:
                raise CatalogError(f"Attention in layer {layer} is not the plain kind that this tool reads; use another model.")
            kept["attention"].append(weights)
            kept["value"].append(value)

        return hook

    for layer, block in enumerate(v.blocks):
        att = v.attention(layer)
        handles += [
            block.register_forward_pre_hook(lambda _, args: kept["stream"].append(args[0][0, -1].float())),
            att.register_forward_pre_hook(before, with_kwargs=True),
            v.o_proj(layer).register_forward_pre_hook(after(layer)),
        ]
        for name in "qkv":
            module = getattr(att, f"{name}_proj")
            handles.append(module.register_forward_hook(lambda _, args, out, name=name: now.__setitem__(name, out[0].float())))
    handles.append(v.final_norm.register_forward_pre_hook(lambda _, args: kept["final"].append(args[0][0, -1].float())))
    try:
        yield kept
    finally:
        for handle in handles:
            handle.remove()


def _last_attention(v: View, layer: int, now: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Attention (H, T) of the last position and values (T, G, d_h) of a layer, from its queries, keys and values before rotation."""
    query, key, value = (now[name].unflatten(-1, (-1, v.d_head)) for name in "qkv")
    cos, sin = now["cos"][:, None], now["sin"][:, None]
    turn = lambda x, c, s: x * c + torch.cat([-x[..., v.d_head // 2 :], x[..., : v.d_head // 2]], -1) * s  # noqa: E731
    query, key = turn(query[-1:], cos[-1:], sin[-1:])[0], turn(key, cos, sin)
    scores = torch.einsum("hk,thk->ht", query, key.repeat_interleave(v.n_heads // v.n_kv, 1))
    scaling = getattr(v.attention(layer), "scaling", v.d_head**-0.5)
    return (scores * scaling).softmax(-1), value


# --- scores -------------------------------------------------------------------------------------------------------------------------


def _gain(seen: Look, base: Tensor, parts: Tensor) -> Tensor:
    """Importance of parts (K, d) on top of the stream ``base`` (d,) under the frozen final norm: (K,)."""
    frozen = seen.view.final_norm.weight.float() / _scale(seen, seen.final)
    if seen.against is not None:
        return (parts * frozen) @ (seen.unembed[seen.target] - seen.unembed[seen.against])
    origin = (base * frozen) @ seen.unembed.T
    said = [((part * frozen) @ seen.unembed.T + origin).log_softmax(-1)[:, seen.target] for part in parts.split(AT_ONCE)]
    return torch.cat(said) - origin.log_softmax(-1)[seen.target]


def _scale(seen: Look, z: Tensor) -> Tensor:
    return (z.square().mean(-1, keepdim=True) + seen.view.eps).sqrt()


@torch.inference_mode()
def head_vectors(seen: Look, layer: int) -> Tensor:
    """What each head of a layer adds at the last position: (H, d)."""
    v = seen.view
    moved = torch.einsum("ht,thk->hk", seen.attention[layer], seen.value[layer].repeat_interleave(v.n_heads // v.n_kv, 1))
    return torch.einsum("hk,dhk->hd", moved, v.o_weight(layer).unflatten(-1, (v.n_heads, v.d_head)))


@torch.inference_mode()
def position_vectors(seen: Look, layer: int, head: int) -> Tensor:
    """What a head moves from each position to the last one: (T, d). They sum to the head's vector."""
    v = seen.view
    block = v.o_weight(layer)[:, head * v.d_head : (head + 1) * v.d_head]
    return (seen.attention[layer, head][:, None] * seen.value[layer][:, v.kv_head(head)]) @ block.T


@torch.inference_mode()
def head_scores(seen: Look) -> Tensor:
    """Importance of every head: (L, H). One reading of the vocabulary for each; `best_heads` needs fewer."""
    return torch.stack([_gain(seen, seen.stream[layer], head_vectors(seen, layer)) for layer in range(seen.view.n_layers)])


@torch.inference_mode()
def best_heads(seen: Look, count: int = 1) -> list[tuple[Head, float]]:
    """The heads of the highest importance with it, best first: exactly those that `head_scores` would give.

    By Jensen's inequality Imp(v) <= v . (a_w - sum over tokens j of p_j a_j), p being the distribution before v and a_j the row of the
    token j. Heads are scored in the order of this bound until it falls below the worst one kept.
    """
    v = seen.view
    vectors = torch.stack([head_vectors(seen, layer) for layer in range(v.n_layers)])  # (L, H, d)
    frozen = v.final_norm.weight.float() / _scale(seen, seen.final)
    if seen.against is not None:
        scores = (vectors * frozen) @ (seen.unembed[seen.target] - seen.unembed[seen.against])
        found = scores.flatten().topk(min(count, scores.numel()))
        return [(divmod(i, v.n_heads), value) for i, value in zip(found.indices.tolist(), found.values.tolist(), strict=True)]
    before = ((seen.stream * frozen) @ seen.unembed.T).softmax(-1) @ seen.unembed  # (L, d)
    bound = torch.einsum("lhd,ld->lh", vectors * frozen, seen.unembed[seen.target] - before).flatten()
    kept: list[tuple[float, int]] = []
    order = bound.argsort(descending=True, stable=True).tolist()
    for number in order:
        if len(kept) == count and bound[number] + 1e-5 <= kept[-1][0]:
            break
        layer, head = divmod(number, v.n_heads)
        kept.append((float(_gain(seen, seen.stream[layer], vectors[layer, head][None])), number))
        kept = sorted(kept, key=lambda pair: (-pair[0], pair[1]))[:count]
    return [(divmod(number, v.n_heads), value) for value, number in kept]


@torch.inference_mode()
def position_scores(seen: Look, layer: int, head: int) -> Tensor:
    """Importance of what a head moves from each position: (T,)."""
    return _gain(seen, seen.stream[layer], position_vectors(seen, layer, head))


@torch.inference_mode()
def all_vectors(seen: Look) -> Tensor:
    """What all heads of all layers move from each position to the last one: (T, d)."""
    v = seen.view
    total = seen.final.new_zeros(seen.attention.shape[-1], v.d_model)
    for layer in range(v.n_layers):
        value = seen.value[layer].repeat_interleave(v.n_heads // v.n_kv, 1)
        total += (seen.attention[layer].T[..., None] * value).flatten(1) @ v.o_weight(layer).T
    return total


@torch.inference_mode()
def direct(seen: Look) -> Tensor:
    """How much the answer's log-probability falls without what comes directly from each position: (T,)."""
    weight = seen.view.final_norm.weight.float()

    def said(z: Tensor) -> Tensor:
        logits = (weight * z / _scale(seen, z)) @ seen.unembed.T
        if seen.against is not None:
            return logits[:, seen.target] - logits[:, seen.against]
        return logits.log_softmax(-1)[:, seen.target]

    without = seen.final - all_vectors(seen)
    return said(seen.final[None]) - torch.cat([said(part) for part in without.split(AT_ONCE)])


# --- maps -------------------------------------------------------------------------------------------------------------------------


def on_grid(seen: Look, scores: Tensor) -> Tensor:
    """The image's part of scores (T,), as (rows, columns)."""
    return scores[seen.image].unflatten(0, seen.grid)


def head_map(seen: Look, heads: Sequence[Head]) -> Tensor:
    """Importance of each patch, summed over these heads: (rows, columns). Of one head it is the paper's map before it is scaled."""
    return on_grid(seen, torch.stack([position_scores(seen, layer, head) for layer, head in heads]).sum(0))


def direct_map(seen: Look) -> Tensor:
    """The map of all heads: (rows, columns)."""
    return on_grid(seen, direct(seen))


def attention_map(seen: Look) -> Tensor:
    """Attention of the last position to each patch, the mean over all heads: (rows, columns). The paper's comparison."""
    return on_grid(seen, seen.attention.mean((0, 1)))
