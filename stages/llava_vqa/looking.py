"""Where a LLaVA looks when it predicts the next token: scores of heads, source positions and image patches from one forward pass.

The paper's score (section 4; `catalog.inside.attribution`) is the log-probability increase of the predicted token w when a part is added to
the residual stream of the last position T. A head j of layer l moves ``alpha_p W_O v_p`` from each source position p to T. These vectors
sum to the head's own, and

    Imp(l, j, p) = log p(w | x_l + alpha_p W_O v_p) - log p(w | x_l)

reads them through the frozen final norm. The paper's map is Imp at the image's positions in the single best head. Ours is the *direct
effect*: what log p(w) loses when everything that all heads of all layers moved from p to T is taken out of the final residual z,

    direct(p) = log p(w | z) - log p(w | z - sum over l, j of alpha_p W_O v_p),

with the final norm computed anew, so that it is the model's own probability. Both have a sign: a patch can speak against the token.

With `against`, a second token a, every score is of ``log p(w) - log p(a)``: why red rather than blue.

The model runs once, as it is. Hooks keep the residual stream of T and the values of all positions; the attention weights of T, one row a
layer, are computed again from its queries and keys, so that any implementation of attention will do. All scores are float32. Direct scores
are ready in a `Look`; those of heads and positions, one softmax over the vocabulary each, are computed when they are asked for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from catalog.base.errors import CatalogError
from catalog.inside.anatomy import FAMILIES, View, view
from catalog.inside.attribution import Lens, Trace, head_position_scores, head_vectors
from catalog.vision import build
from catalog.vision.geometry import Geometry, geometry, refuse_crops

_VIEWS: WeakKeyDictionary[nn.Module, View] = WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class Look:
    """One question, looked at. Sizes: L layers, H heads, T positions of the prompt, I of them the image's, row by row."""

    direct: Tensor  # (I,) all heads and layers; the final norm computed anew
    attention: Tensor  # (L, H, T) weights of the last position
    image: Tensor  # (I,) positions of the image in the prompt
    grid: tuple[int, int]  # rows, columns; their product is I
    target: int  # token w
    against: int | None  # token a, or None
    logprob: float  # log p(w), the model's own
    top: int  # the likeliest token
    ids: Tensor  # (T,) the prompt's tokens
    pixels: tuple[int, int]  # width and height of what the tower got
    patch: int  # pixels of a patch each way
    view: View = field(repr=False)
    trace: Trace = field(repr=False)  # of the last position alone; `value` of all positions
    lens: Lens = field(repr=False)

    @cached_property
    def heads(self) -> Tensor:
        """Imp of every head, (L, H)."""
        if self.against is None:
            v, run = self.view, self.trace
            bases = run.x[:-1, 0]
            with_head = torch.cat([bases[layer] + head_vectors(v, run, layer)[0] for layer in range(v.n_layers)])
            scores = [self.lens.logits(rows, 0).log_softmax(-1)[:, self.target] for rows in torch.cat([bases, with_head]).split(128)]
            origin, scores = torch.cat(scores).split([v.n_layers, v.n_layers * v.n_heads])
            return scores.unflatten(0, (v.n_layers, v.n_heads)) - origin[:, None]
        moved = self.trace.heads[:, 0].unflatten(-1, (self.view.n_heads, self.view.d_head))
        return torch.einsum("lhk,lhk->lh", moved, self._pull)

    @cached_property
    def positions(self) -> Tensor:
        """Imp of every source position in every head, (L, H, T): a softmax over the vocabulary for each of them."""
        if self.against is None:
            return torch.stack([self._layer(layer) for layer in range(self.view.n_layers)])
        return torch.stack([torch.einsum("htk,hk->ht", self.coefficients(layer), pull) for layer, pull in enumerate(self._pull)])

    def coefficients(self, layer: int, head: int | None = None) -> Tensor:
        """What each head moves from each position before W_O, (H, T, d_h); of one head, (T, d_h). Summed over T: the head's output."""
        group = self.view.n_heads // self.view.n_kv
        value = self.trace.value[layer]  # (T, G, d_h)
        if head is not None:
            return self.attention[layer, head][:, None] * value[:, head // group].float()
        return self.attention[layer][..., None] * value.float().repeat_interleave(group, 1).transpose(0, 1)

    def position_scores(self, layer: int, head: int) -> Tensor:
        """Imp of every source position in one head, (T,): its block of W_O is read as tokens once, then each position's d_h numbers."""
        if "positions" in self.__dict__ or self.against is not None:
            return self.positions[layer, head]
        read, size = self.lens, self.view.d_head
        block = self.view.o_weight(layer)[:, head * size : (head + 1) * size]
        projected = read.unembed @ read.fold(block.T).T / read.sigma[0]  # (V, d_h)
        origin = read.logits(self.trace.x[layer, 0], 0)
        scores = (origin + self.coefficients(layer, head) @ projected.T).log_softmax(-1)[:, self.target]
        return scores - origin.log_softmax(-1)[self.target]

    def _layer(self, layer: int) -> Tensor:
        return head_position_scores(self.view, self.trace, self.lens, layer, 0, self.target)

    @cached_property
    def _pull(self) -> Tensor:
        """(L, H, d_h): how much a unit of each number before W_O raises log p(w) - log p(a) through the frozen norm, where it is linear."""
        read, v = self.lens, self.view
        direction = read.unfold(read.unembed[self.target] - read.unembed[self.against]) / read.sigma[0]
        return torch.stack([(direction @ v.o_weight(layer)).unflatten(-1, (v.n_heads, v.d_head)) for layer in range(v.n_layers)])


# --- maps --------------------------------------------------------------------------------------------------------------------------


def best_head(look: Look, n: int | None = None) -> Any:
    """(layer, head) with the highest Imp; with `n`, a list of the n highest, best first."""
    order = look.heads.flatten().argsort(descending=True, stable=True)[: n or 1].tolist()
    found = [divmod(index, look.view.n_heads) for index in order]
    return found if n else found[0]


def head_map(look: Look, heads: Sequence[tuple[int, int]]) -> Tensor:
    """Summed Imp of the image's positions in some heads: (rows, columns), signed. Scores of sets do not add up, so the sum of several heads
    is a picture and not the effect of them all."""
    return sum(look.position_scores(layer, head)[look.image] for layer, head in heads).reshape(look.grid)


def direct_map(look: Look) -> Tensor:
    """Direct effect of each patch through all heads: (rows, columns), signed."""
    return look.direct.reshape(look.grid)


def attention_map(look: Look, heads: Sequence[tuple[int, int]] | None = None) -> Tensor:
    """Attention of the last position to each patch, averaged over all heads or some: (rows, columns)."""
    weights = look.attention.flatten(0, 1)
    if heads is not None:
        weights = weights[[layer * look.view.n_heads + head for layer, head in heads]]
    return weights.mean(0)[look.image].reshape(look.grid)


def positive_share(look: Look, heads: Sequence[tuple[int, int]]) -> float:
    """Share of some heads in the sum of all positive Imp of heads: how much of the prediction a map of these heads can speak for."""
    scores = look.heads.clamp_min(0)
    total = float(scores.sum())
    return sum(float(scores[layer, head]) for layer, head in heads) / total if total else 0.0


def where_of(look: Look, processor: Any, image: Any) -> Geometry:
    """Where the patches lie on the image (PIL) that was looked at."""
    return geometry(processor, image.size, look.grid, look.pixels, look.patch)


# --- one forward pass --------------------------------------------------------------------------------------------------------------


def look(model: Any, processor: Any, image: Any, prompt: str, target: int | None = None, against: int | None = None) -> Look:
    """Look at one image with one prompt, which holds ``<image>`` once and ends where the answer begins. See `look_all`."""
    return look_all(model, processor, [image], [prompt], [target], [against])[0]


@torch.inference_mode()
def look_all(
    model: Any,
    processor: Any,
    images: Sequence[Any],
    prompts: Sequence[str],
    targets: Sequence[int | None] | None = None,
    against: Sequence[int | None] | None = None,
) -> list[Look]:
    """A `Look` for each image and prompt, from one forward pass over all of them.

    Args:
        model: a LLaVA of the transformers library (`LlavaForConditionalGeneration`, `VipLlavaForConditionalGeneration`) with a language
            model of the Llama family, in any type and with any attention.
        images: PIL images, one a prompt.
        targets: token w of each; None: the model's likeliest.
        against: token a of each; None: no second token.

    Raises:
        CatalogError: the model or its processor cuts images into several crops, its grid is unknown, its language model has parts that
            attribution does not know, a token is not in its vocabulary, or a prompt is longer than its attention reaches.
    """
    v = language(model)
    refuse_crops(model.config, processor.image_processor)
    for prompt in prompts:
        if prompt.count(processor.image_token) != 1:
            raise CatalogError(f"A prompt needs {processor.image_token} once, where the image stands; this one is {prompt[:80]!r}.")
    tensors = {name: tensor.to(model.device) for name, tensor in build.inputs(processor, images, prompts).items()}
    kept = _run(model, v, tensors)
    grid, pixels, patch = _grid(model, processor, tensors["pixel_values"])
    unembed = v.unembedding()
    looks = []
    for row in range(len(prompts)):
        real = tensors["attention_mask"][row].bool().nonzero()[:, 0]
        ids = tensors["input_ids"][row, real]
        image = (ids == model.config.image_token_id).nonzero()[:, 0]
        if len(image) != math.prod(grid):
            raise CatalogError(
                f"The image has {len(image)} tokens, which do not fill the grid of {grid[0]} x {grid[1]} patches; only models with one "
                f"token a patch can be mapped."
            )
        run = _slim(v, kept, row, real)
        read = Lens(unembed, v.final_norm.weight.detach().float(), run.x.new_zeros(0), None, False, "frozen", v.eps)
        read = replace(read, sigma=read.rms(run.x[-1]))
        own = read.logits(run.x[-1, 0], 0).log_softmax(-1)
        wanted = (None if tokens is None else tokens[row] for tokens in (targets, against))
        target, other = (None if token is None else _known(int(token), len(own)) for token in wanted)
        top = int(own.argmax())
        target = top if target is None else target
        found = Look(own[:0], run.probs[:, :, 0], image, grid, target, other, float(own[target]), top, ids, pixels, patch, v, run, read)
        looks.append(replace(found, direct=_direct(found, own)))
    return looks


def _slim(v: View, kept: dict, row: int, real: Tensor) -> Trace:
    """What scores need of one row of the batch: its last position, and the values of all its positions that are no padding (`real`)."""
    last = real[-1]
    stream = torch.stack([layer[row, last].float() for layer in kept["x"]])[:, None]  # (L+1, 1, d)
    moved = torch.stack([layer[row, last].float() for layer in kept["heads"]])[:, None]
    value = torch.stack([layer[row, real].float() for layer in kept["value"]]).unflatten(-1, (v.n_kv, v.d_head))
    attention = torch.stack([_row(v, kept, layer, row, real) for layer in range(v.n_layers)])[:, :, None]  # (L, H, 1, T)
    none = moved.new_zeros(0)
    first = torch.zeros(1, dtype=torch.long, device=stream.device)
    return Trace(x=stream, attn=none, ffn=none, coef=none, heads=moved, last=first, probs=attention, value=value)


def _known(token: int, vocabulary: int) -> int:
    if not 0 <= token < vocabulary:
        raise CatalogError(f"Token {token} is not in the model's vocabulary of {vocabulary} tokens; give the id of one that is.")
    return token


def _direct(look: Look, own: Tensor) -> Tensor:
    """(I,): the model's own log p(w), less that without what all heads moved from each position of the image."""
    v, read = look.view, look.lens
    moved = 0
    for layer in range(v.n_layers):
        parts = look.coefficients(layer)[:, look.image].transpose(0, 1).flatten(1)  # (I, H * d_h)
        moved = moved + parts @ v.o_weight(layer).T
    anew = Lens(read.unembed, read.scale, read.sigma, None, False, "recompute", read.eps)
    rest = look.trace.x[-1] - moved  # (I, d)
    without = torch.cat([anew.logits(piece, 0).log_softmax(-1) for piece in rest.split(64)])
    if look.against is None:
        return own[look.target] - without[:, look.target]
    return (own[look.target] - own[look.against]) - (without[:, look.target] - without[:, look.against])


def _row(v: View, kept: dict, layer: int, row: int, real: Tensor) -> Tensor:
    """Attention of the last position to all positions before it, (H, T), from the layer's own queries and keys."""
    size, group = v.d_head, v.n_heads // v.n_kv
    last = real[-1:]
    query = kept["query"][layer][row, last].unflatten(-1, (v.n_heads, size)).transpose(0, 1)[None]  # (1, H, 1, d_h)
    key = kept["key"][layer][row, real].unflatten(-1, (v.n_kv, size)).transpose(0, 1)[None]  # (1, G, T, d_h)
    cos, sin = (part[row if len(part) > 1 else 0][None] for part in kept["rotary"][layer])
    query = apply_rotary_pos_emb(query, query, cos[:, last], sin[:, last])[0][0].float()
    key = apply_rotary_pos_emb(key, key, cos[:, real], sin[:, real])[0][0].float().repeat_interleave(group, 0)
    return ((query @ key.transpose(1, 2))[:, 0] * v.attention(layer).scaling).softmax(-1)


def _run(model: Any, v: View, tensors: dict[str, Tensor]) -> dict[str, list]:
    """One forward pass of the model as it is; what hooks kept of it, a list over the layers each."""
    longest = int(tensors["attention_mask"].sum(1).max())
    if v.longest is not None and longest > v.longest:
        raise CatalogError(f"A prompt has {longest} tokens, but this model's attention reaches {v.longest}; shorten it.")
    kept: dict[str, list] = {name: [] for name in ("x", "heads", "value", "query", "key", "rotary")}
    handles = []
    try:
        for layer, block in enumerate(v.blocks):
            attention = v.attention(layer)
            handles += [
                block.register_forward_pre_hook(lambda _, args: kept["x"].append(args[0])),
                attention.register_forward_pre_hook(
                    lambda _, args, named: kept["rotary"].append(named["position_embeddings"]), with_kwargs=True
                ),
                v.o_proj(layer).register_forward_pre_hook(lambda _, args: kept["heads"].append(args[0])),
            ]
            for name, part in (("query", attention.q_proj), ("key", attention.k_proj), ("value", attention.v_proj)):
                handles.append(part.register_forward_hook(lambda _, args, out, name=name: kept[name].append(out)))
        handles.append(v.final_norm.register_forward_pre_hook(lambda _, args: kept["x"].append(args[0])))
        places = (tensors["attention_mask"].cumsum(1) - 1).clamp_min(0)
        model(**tensors, position_ids=places, logits_to_keep=1, use_cache=False)
    except ValueError as error:
        if "image tokens do not match" not in str(error):
            raise
        raise CatalogError(
            "The processor makes another number of image tokens than the tower gives; set its patch_size and num_additional_image_tokens "
            "to fit the tower."
        ) from error
    finally:
        for handle in handles:
            handle.remove()
    return kept


# --- the model ---------------------------------------------------------------------------------------------------------------------


def language(model: Any) -> View:
    """Anatomy of the language model inside a LLaVA, for `catalog.inside`. Its modules are the LLaVA's own, not copies.

    Raises:
        CatalogError: there is none, or it is of a family or has parts that attribution does not know.
    """
    known = _VIEWS.get(model)
    if known is not None and all(type(known.o_proj(layer)) is nn.Linear for layer in range(known.n_layers)):
        return known
    inside = getattr(getattr(model, "model", None), "language_model", None)
    kind = type(model).__name__
    if inside is None:
        raise CatalogError(f"{kind} has no language model behind an image tower; use a LLaVA such as llava-1.5.")
    config = inside.config
    if FAMILIES.get(config.model_type) != "llama":
        raise CatalogError(f"The language model inside {kind} is a {config.model_type}; looking knows Llama, Qwen2 and Mistral.")
    with torch.device("meta"):
        shell = AutoModelForCausalLM.from_config(config)
    shell.model, shell.lm_head, shell.config = inside, model.get_output_embeddings(), config
    found = view(shell)
    _VIEWS[model] = found
    return found


def _grid(model: Any, processor: Any, pixels: Tensor) -> tuple[tuple[int, int], tuple[int, int], int]:
    """(rows, columns) of the tower's patches on the pixels that it was given, their (width, height), and the side of a patch."""
    if pixels.ndim != 4:
        raise CatalogError(
            f"The processor gives pixels of shape {tuple(pixels.shape)}, several crops of an image; use a model that sees it once, such as "
            f"llava-1.5."
        )
    size = getattr(model.config.vision_config, "patch_size", None) or getattr(processor, "patch_size", None)
    if not isinstance(size, int):
        raise CatalogError(f"Neither the tower of {type(model).__name__} nor its processor says how large a patch is; set patch_size.")
    size *= getattr(model.config, "spatial_merge_size", 1) or 1  # patches that share a token
    height, width = pixels.shape[-2:]
    return (height // size, width // size), (width, height), size
