"""A prompt as a language model reads it at its last position, told a scene or shown it, and what its heads move there from which places.

Scores are those of the paper: the log-probability increase of a token (`catalog.inside.attribution`), through the frozen final norm.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from catalog.base.errors import CatalogError
from catalog.inside.anatomy import View, forest
from catalog.inside.attribution import Lens, Trace, head_scores, lens, trace
from catalog.models.answers import inner_ids
from stages.llava_vqa import looking, prompts
from stages.llava_vqa.reading import common

Head = tuple[int, int]  # layer, head


class Read(NamedTuple):
    """A prompt of T tokens, read by a language model of L layers with H heads."""

    v: View
    run: Trace
    read: Lens
    ids: Tensor  # (T,)
    attention: Tensor  # (L, H, T) of the last position
    places: Tensor  # positions of what is asked about: the word of its colour, or the patches that show it
    among: Tensor  # positions that could have been them: the text, or the image

    def scores(self, target: int) -> Tensor:
        """Importance of every head, (L, H)."""
        return head_scores(self.v, self.run, self.read, 0, target)

    def said(self) -> Tensor:
        """Log-probabilities (V,) of the next token."""
        return self.read.logits(self.run.x[-1, self.run.last[0]], 0).log_softmax(-1)

    def moved(self, layer: int, head: int) -> Tensor:
        """What a head moves from each position before its block of W_O, (T, d_h)."""
        return self.attention[layer, head][:, None] * self.run.value[layer][:, self.v.kv_head(head)].float()

    def block(self, layer: int, head: int) -> Tensor:
        """A head's part of W_O, (d, d_h)."""
        return self.v.o_weight(layer)[:, head * self.v.d_head : (head + 1) * self.v.d_head]

    def position_scores(self, layer: int, head: int, target: int) -> Tensor:
        """Importance of what a head moves from each position, (T,)."""
        projected = self.read.unembed @ self.read.fold(self.block(layer, head).T).T / self.read.sigma[0]  # (V, d_h)
        origin = self.read.logits(self.run.x[layer, self.run.last[0]], 0)
        scores = (origin + self.moved(layer, head) @ projected.T).log_softmax(-1)[:, target]
        return scores - origin.log_softmax(-1)[target]

    def difference(self, heads: Sequence[Head], positions: Tensor, target: int, against: int) -> float:
        """What some heads add to logit(target) - logit(against) from some positions. Under the frozen norm such parts add up."""
        direction = self.read.unfold(self.read.unembed[target] - self.read.unembed[against]) / self.read.sigma[0]
        return sum(float(self.moved(*head)[positions].sum(0) @ (direction @ self.block(*head))) for head in heads)


def of_text(v: View, tokenizer: Any, text: str, question: str, kind: str, colour: str) -> Read:
    """Read a text; its place is the word of a kind's colour, the first that follows the kind.

    Raises:
        CatalogError: the text does not say the colour after the kind.
    """
    ids = tokenizer(prompts.with_text(text, question))["input_ids"]
    run = trace(v, forest([ids], v.device), attention=True)
    first, wanted = (word[0] for word in inner_ids(tokenizer, [f" {kind}", f" {colour}"]))
    start = next((place for place, one in enumerate(ids) if one == first), len(ids))
    places = [place for place in range(start + 1, len(ids)) if ids[place] == wanted][:1]
    if not places:
        raise CatalogError(f"The text of a scene does not say that the {kind} is {colour}: {text!r}; make the scenes again.")
    among = torch.arange(common([ids, tokenizer(prompts.with_text(text, "?"))["input_ids"]]))  # all before the question
    return Read(v, run, lens(v, run), torch.tensor(ids), run.probs[:, :, run.last[0]], torch.tensor(places), among)


def of_image(model: Any, processor: Any, picture: Any, question: str, shown: np.ndarray) -> Read:
    """Look at an image; its places are those of the patches in ``shown`` (I,)."""
    seen = looking.look(model, processor, picture, prompts.with_image(question))
    image = seen.image.cpu()
    return Read(seen.view, seen.trace, seen.lens, seen.ids.cpu(), seen.attention, image[torch.from_numpy(np.flatnonzero(shown))], image)


def top(scores: Tensor, count: int) -> list[Head]:
    """The highest heads of (L, H), best first."""
    order = scores.flatten().argsort(descending=True, stable=True)[:count].tolist()
    return [divmod(number, scores.shape[1]) for number in order]


def share(attention: Tensor, heads: Sequence[Head], places: Tensor) -> float:
    """Attention of the last position to some places, summed over them, the mean over heads."""
    return float(torch.stack([attention[layer, head, places].sum() for layer, head in heads]).mean())


def reciprocal(ranks: Sequence[int]) -> float:
    """Mean of 1/rank."""
    return float(np.mean([1 / rank for rank in ranks]))


def ranks(logits: Tensor, token: int) -> list[int]:
    """Rank of a token, from 1, in each row of (K, V)."""
    return (1 + (logits > logits[:, token : token + 1]).sum(1)).tolist()


def overlap(one: Sequence, other: Sequence) -> float:
    """Share of the heads that two lists of one length have in common."""
    return len(set(one) & set(other)) / len(one)


def others(v: View, heads: Sequence[Head], rng: np.random.Generator) -> list[Head]:
    """As many heads of the same layers, drawn at random from those that are not among them; all of these where there are fewer."""
    found: list[Head] = []
    for layer in dict.fromkeys(layer for layer, _ in heads):
        own = [head for one, head in heads if one == layer]
        free = [head for head in range(v.n_heads) if head not in own]
        found += [(layer, int(head)) for head in rng.permutation(free)[: len(own)]]
    return found


def elsewhere(among: Tensor, without: Tensor, count: int, rng: np.random.Generator) -> Tensor:
    """So many of the positions ``among``, drawn at random from those that are not in ``without``."""
    free = np.setdiff1d(among.numpy(), without.numpy())
    return torch.from_numpy(rng.permutation(free)[:count])


# --- runs with something taken out ------------------------------------------------------------------------------------------------

Cut = Mapping[Head, Tensor | None]  # head -> (d_h,) what is taken from it at the last position, before W_O; None: all it says, everywhere


@torch.inference_mode()
def lost(v: View, embedded: Tensor, cuts: Sequence[Cut], token: int) -> list[float]:
    """How much of a token's log-probability each cut takes, from one pass over a batch whose first row is whole.

    What is taken out is what the heads move in the whole run; layers above see the change, and may make up for it.

    Args:
        embedded: (T, d) what enters the first layer.
    """
    with _cut(v, [{}, *cuts]):
        out = v.model.model(inputs_embeds=embedded[None].repeat(1 + len(cuts), 1, 1), use_cache=False).last_hidden_state[:, -1]
    said = v.model.get_output_embeddings()(out).float().log_softmax(-1)[:, token]
    return (said[0] - said[1:]).tolist()


@contextmanager
def _cut(v: View, rows: Sequence[Cut]) -> Iterator[None]:
    """Inside, row i of a batch runs with the cut i."""

    def hook(layer: int) -> Any:
        def before(_: Any, args: tuple) -> tuple:
            heads = args[0].clone().unflatten(-1, (v.n_heads, v.d_head))
            for row, cut in enumerate(rows):
                for (where, head), taken in cut.items():
                    if where == layer and taken is None:
                        heads[row, :, head] = 0
                    elif where == layer:
                        heads[row, -1, head] -= taken.to(heads)
            return (heads.flatten(-2), *args[1:])

        return before

    layers = {layer for cut in rows for layer, _ in cut}
    handles = [v.o_proj(layer).register_forward_pre_hook(hook(layer)) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@torch.inference_mode()
def inputs_of(v: View, embedded: Tensor, layer: int, at: Tensor) -> dict[str, Tensor]:
    """What enters a layer at some positions, (K, d): all of it, and the parts that the paper reads as a head's key and value.

    "key" is the input less the embedding and what the feed-forward layers below have added, so what attention has; "value" is the input
    less the embedding and what attention below has added.
    """
    kept: dict[str, list[Tensor]] = {"attention": [], "ffn": []}
    keep = lambda name, out: kept[name].append((out[0] if isinstance(out, tuple) else out)[0, at].float())  # noqa: E731
    handles = []
    for number in range(layer):
        handles += [
            v.attention(number).register_forward_hook(lambda _, args, out: keep("attention", out)),
            v.blocks[number].mlp.register_forward_hook(lambda _, args, out: keep("ffn", out)),
        ]
    try:
        v.model.model(inputs_embeds=embedded[None], use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    start = embedded[at].float()
    sums = {name: sum(parts, torch.zeros_like(start)) for name, parts in kept.items()}
    return {"input": start + sums["attention"] + sums["ffn"], "key": sums["attention"], "value": sums["ffn"]}
