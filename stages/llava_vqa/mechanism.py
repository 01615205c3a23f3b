"""What heads and positions carry when the scene is told in words, and when it is shown: the quantities of the paper, one number a question.

Questions are about the colour of one object of several. Conditions are ``lm-tqa``, the language model before training, told the scene in
sentences; ``llava-tqa``, the LLaVA's inner one, told the same; ``llava-vqa``, the LLaVA, shown the scene. How a LLaVA was asked without an
image is not said in the paper: here its language model runs alone.

Writes ``models/llava_mechanism/<profile>/``: `heads.parquet` (mean importance of every head by condition), `mechanism.parquet` (quantity,
condition, question, value, and the value of a control) and `projections.parquet` (what patches are read as, for the strongest patches).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import torch
from torch import Tensor

from catalog.base.errors import CatalogError, run
from catalog.base.io import atomic_dir, write_json, write_parquet
from catalog.base.params import ROOT, profile_params
from catalog.base.progress import progress
from catalog.inside.anatomy import View, forest, view
from catalog.inside.attribution import Lens, Trace, head_position_scores, head_scores, head_vectors, lens, trace
from catalog.inside.interventions import scale_heads
from catalog.models.answers import inner_ids
from catalog.models.devices import peak_memory_mb
from catalog.models.lm import load_lm, require_full
from catalog.vision.features import features
from stages.llava_vqa import looking, prompts
from stages.llava_vqa.answers import pictures, projected, swapped, trained
from stages.llava_vqa.masks import decode
from stages.llava_vqa.pointing import coverage
from stages.llava_vqa.settings import Mechanism, Params

SYSTEM, NAME = "llava_vqa", "llava_mechanism"
CONDITIONS = ("lm-tqa", "llava-tqa", "llava-vqa")
HEADS = {"condition": pl.String, "layer": pl.Int64, "head": pl.Int64, "imp": pl.Float64, "rank": pl.Int64}
MECHANISM = {"quantity": pl.String, "condition": pl.String, "question": pl.String, "value": pl.Float64, "control": pl.Float64}
PROJECTIONS = {"question": pl.String, "patch": pl.Int64, "view": pl.String, "on_object": pl.Boolean, "imp": pl.Float64}
PROJECTIONS |= {"colour_rank": pl.Int64, "kind_rank": pl.Int64, "top": pl.List(pl.String)}


class Item(NamedTuple):
    """A question with tokens of its right colour, of another one drawn at random, and of the kind; and one about another object."""

    row: dict[str, Any]
    colour: int
    other: int
    kind: int
    elsewhere: str


def items(questions: pl.DataFrame, objects: pl.DataFrame, tokenizer: Any, split: str, count: int, seed: int) -> list[Item]:
    """Questions about colours, one for each of the first images that have a second kind to ask about.

    Raises:
        CatalogError: fewer than ``count``.
    """
    things = {name: part.sort("object").to_dicts() for (name,), part in objects.group_by("image")}
    found: list[Item] = []
    for row in (
        questions.filter(split=split, type="colour").sort("image", "id").unique("image", keep="first", maintain_order=True).to_dicts()
    ):
        asked = things[row["image"]][row["asked"][0]]
        kinds = [thing["kind"] for thing in things[row["image"]]]
        others = [kind for kind in kinds if kinds.count(kind) == 1 and kind != asked["kind"]]
        if not others or len(found) == count:
            continue
        rng = np.random.default_rng([seed, *row["id"].encode()])
        wrong = rng.choice([colour for colour in row["candidates"] if colour != row["answer"]])
        ids = [ids[0] for ids in inner_ids(tokenizer, [f" {word}" for word in (row["answer"], str(wrong), asked["kind"])])]
        elsewhere = row["question"].replace(asked["kind"], str(rng.choice(others)))
        found.append(Item(row, *ids, elsewhere))
    if len(found) < count:
        raise CatalogError(
            f"The split {split} has {len(found)} scenes with two kinds and such a question, not {count}; lower mechanism.questions."
        )
    return found


class Read(NamedTuple):
    """A prompt as a language model read it at its last position: the same for text and image."""

    v: View
    run: Trace
    read: Lens
    places: Tensor  # positions of what is asked about: the colour's word, or the object's patches
    attention: Tensor  # (L, H, T) of the last position

    def scores(self, target: int) -> Tensor:
        """Importance of every head, (L, H)."""
        return head_scores(self.v, self.run, self.read, 0, target)

    def said(self) -> Tensor:
        """Log-probabilities (V,) of the next token."""
        return self.read.logits(self.run.x[-1, self.run.last[0]], 0).log_softmax(-1)


def of_text(v: View, tokenizer: Any, text: str, question: str, word: str) -> Read:
    """Read a text; its places are those of a word."""
    ids = tokenizer(prompts.with_text(text, question))["input_ids"]
    run = trace(v, forest([ids], v.device), attention=True)
    wanted = inner_ids(tokenizer, [f" {word}"])[0][0]
    places = torch.tensor([place for place, one in enumerate(ids) if one == wanted])
    return Read(v, run, lens(v, run), places, run.probs[:, :, run.last[0]])


def of_image(model: Any, processor: Any, picture: Any, question: str, shown: np.ndarray) -> tuple[Read, looking.Look]:
    """Look at an image; its places are those of the patches in ``shown`` (I,)."""
    seen = looking.look(model, processor, picture, prompts.with_image(question))
    places = seen.image[torch.from_numpy(np.flatnonzero(shown))]
    return Read(seen.view, seen.trace, seen.lens, places, seen.attention), seen


def top(scores: Tensor, count: int) -> list[tuple[int, int]]:
    """The highest heads of (L, H), best first."""
    order = scores.flatten().argsort(descending=True, stable=True)[:count].tolist()
    return [divmod(number, scores.shape[1]) for number in order]


def share(attention: Tensor, heads: Sequence[tuple[int, int]], places: Tensor) -> float:
    """Attention of the last position to some places, the mean over heads."""
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


def drop(forward: Any, v: View, heads: Sequence[tuple[int, int]], token: int, before: float) -> float:
    """How much a token's log-probability falls without some heads. ``forward``: () -> log-probabilities (V,)."""
    with scale_heads(v, heads):
        return before - float(forward()[token])


def others(v: View, heads: Sequence[tuple[int, int]], rng: np.random.Generator) -> list[tuple[int, int]]:
    """As many heads of the same layers, drawn at random from those that are not among them."""
    found: list[tuple[int, int]] = []
    for layer in dict.fromkeys(layer for layer, _ in heads):
        own = [head for one, head in heads if one == layer]
        free = [head for head in range(v.n_heads) if head not in own]
        found += [(layer, int(head)) for head in rng.permutation(free)[: len(own)]]
    return found


def shown_patches(objects: pl.DataFrame, images: pl.DataFrame, grid: tuple[int, int], covered: float) -> dict[tuple[str, int], np.ndarray]:
    """(image, object) -> which patches show it, (I,)."""
    sizes = {name: (height, width) for name, height, width in images.select("image", "height", "width").iter_rows()}
    return {
        (image, number): (coverage(decode(runs, *sizes[image]), grid) > covered).ravel()
        for image, number, runs in objects.select("image", "object", "mask").iter_rows()
        if image in sizes
    }


def _said(read: Any, *what: Any) -> Tensor:
    """Log-probabilities (V,) after reading a prompt by `of_text` or `of_image`."""
    found = read(*what)
    return (found if isinstance(found, Read) else found[0]).said()


class Measured:
    """Rows of the three files, as they come."""

    def __init__(self) -> None:
        self.scores: dict[str, list[Tensor]] = {name: [] for name in CONDITIONS}
        self.rows: list[dict] = []
        self.projections: list[dict] = []

    def add(self, quantity: str, condition: str, item: Item, value: float, control: float | None) -> None:
        self.rows.append({"quantity": quantity, "condition": condition, "question": item.row["id"], "value": value, "control": control})

    def heads(self) -> pl.DataFrame:
        rows = []
        for condition, found in self.scores.items():
            mean = torch.stack(found).mean(0)
            for rank, (layer, head) in enumerate(top(mean, mean.numel()), 1):
                rows.append({"condition": condition, "layer": layer, "head": head, "imp": float(mean[layer, head]), "rank": rank})
        return pl.DataFrame(rows, schema=HEADS).sort("condition", "layer", "head")


def common(
    m: Measured, condition: str, item: Item, own: Read, elsewhere: Read, shuffled: Tensor, forward: Any, p: Mechanism, seed: int
) -> list[tuple[int, int]]:
    """The quantities that text and image have in common; the strongest heads.

    Args:
        elsewhere: the prompt that asks about another object, with the places of this one. shuffled: log-probabilities (V,) of the same
            question about another scene.
    """
    scores, said = own.scores(item.colour), own.said()
    m.scores[condition].append(scores)
    heads = top(scores, p.heads)
    rng = np.random.default_rng([seed, *item.row["id"].encode()])
    random = others(own.v, heads, rng)
    m.add(
        "logit difference",
        condition,
        item,
        float(said[item.colour] - said[item.other]),
        float(shuffled[item.colour] - shuffled[item.other]),
    )
    m.add(
        "attention of the best heads",
        condition,
        item,
        share(own.attention, heads, own.places),
        share(elsewhere.attention, heads, own.places),
    )
    m.add(
        "attention of the best heads against random heads",
        condition,
        item,
        share(own.attention, heads, own.places),
        share(own.attention, random, own.places),
    )
    found = {
        name: torch.stack([head_vectors(own.v, own.run, layer)[0, head] for layer, head in chosen])
        for name, chosen in (("value", heads), ("control", random))
    }
    read = {name: reciprocal(ranks(own.read.logits(vectors, 0), item.colour)) for name, vectors in found.items()}
    m.add("colour in what the best heads write", condition, item, read["value"], read["control"])
    before = float(said[item.colour])
    m.add(
        "log-probability lost without the best heads",
        condition,
        item,
        drop(forward, own.v, heads, item.colour, before),
        drop(forward, own.v, random, item.colour, before),
    )
    return heads


def of_embeddings(
    m: Measured,
    item: Item,
    own: Read,
    seen: looking.Look,
    best: tuple[int, int],
    shown: np.ndarray,
    embedded: Tensor,
    table: Tensor,
    tokenizer: Any,
    p: Mechanism,
    seed: int,
) -> None:
    """How the patches that matter most in the best head are read: their embeddings as words, their vectors in the head as next tokens.

    Args:
        shown: (I,) which patches show the object. embedded: (I, d) projected patches. table: (V, d) the input embeddings.
    """
    scores = head_position_scores(own.v, own.run, own.read, best[0], 0, item.colour)[best[1]][seen.image]
    strongest = scores.argsort(descending=True, stable=True)[: p.patches]
    free = np.setdiff1d(np.arange(len(shown)), strongest.cpu().numpy())
    random = torch.from_numpy(np.random.default_rng([seed, 1, *item.row["id"].encode()]).permutation(free)[: p.patches])
    views = {
        "embedding": lambda which: embedded[which] @ table.T,
        "head": lambda which: own.read.logits(
            seen.coefficients(*best)[seen.image][which]
            @ own.v.o_weight(best[0]).unflatten(-1, (own.v.n_heads, own.v.d_head))[:, best[1]].T,
            0,
        ),
    }
    for name, read in views.items():
        logits, control = read(strongest), read(random)
        by_word = {word: (ranks(logits, token), ranks(control, token)) for word, token in (("colour", item.colour), ("kind", item.kind))}
        for word, (value, other) in by_word.items():
            m.add(f"{word} at the strongest patches, read from the {name}", "llava-vqa", item, reciprocal(value), reciprocal(other))
        words = [[tokenizer.decode(token).strip() for token in row] for row in logits.topk(5).indices.tolist()]
        for number, patch in enumerate(strongest.tolist()):
            row = {"question": item.row["id"], "patch": patch, "view": name, "on_object": bool(shown[patch]), "imp": float(scores[patch])}
            m.projections.append(
                row | {"colour_rank": by_word["colour"][0][number], "kind_rank": by_word["kind"][0][number], "top": words[number]}
            )


def main(profile: str) -> None:
    """Write ``models/llava_mechanism/<profile>/``."""
    params = profile_params(Params, SYSTEM, profile)
    p = params.mechanism
    if profile == "full":  # before any work
        for name in (params.train.model, p.lm):
            require_full(name)
    began = time.perf_counter()
    folder = ROOT / "data" / "scenes" / profile
    images, objects, questions = (pl.read_parquet(folder / f"{name}.parquet") for name in ("images", "objects", "questions"))
    model, processor = trained(profile, params)
    lm = load_lm(p.lm)[0]
    tokenizer = processor.tokenizer
    asked = items(questions, objects, tokenizer, p.split, p.questions, params.seed)
    m = measure(model, processor, lm, asked, images.filter(split=p.split), objects, p, params.seed)
    with atomic_dir(ROOT / "models" / NAME / profile) as out:
        write_parquet(m.heads(), out / "heads.parquet")
        write_parquet(pl.DataFrame(m.rows, schema=MECHANISM).sort("quantity", "condition", "question"), out / "mechanism.parquet")
        write_parquet(pl.DataFrame(m.projections, schema=PROJECTIONS).sort("question", "view", "patch"), out / "projections.parquet")
    facts = {"seconds": round(time.perf_counter() - began, 1), "peak_memory_mb": peak_memory_mb(), "questions": len(asked)}
    write_json(facts, ROOT / "models" / NAME / f"{profile}.run.json")


@torch.inference_mode()
def measure(
    model: Any, processor: Any, lm: Any, asked: Sequence[Item], images: pl.DataFrame, objects: pl.DataFrame, p: Mechanism, seed: int
) -> Measured:
    """All quantities of all questions."""
    m, tokenizer = Measured(), processor.tokenizer
    names = [item.row["image"] for item in asked]
    shown = dict(zip(names, pictures(images, names)))
    first = looking.look(model, processor, shown[names[0]], prompts.with_image(asked[0].row["question"]))
    patches = shown_patches(objects, images, first.grid, p.covered)
    other = swapped(names, dict.fromkeys(names, p.split))
    texts: Mapping[str, str] = {item.row["image"]: item.row["text"] for item in asked}
    embedded = dict(zip(names, projected(model, features(model, processor, list(shown.values()))).float()))
    table = model.get_input_embeddings().weight.detach().float()
    readers = {"lm-tqa": view(lm), "llava-tqa": looking.language(model)}
    with progress(len(asked), "mechanism", "question") as advance:
        for item in asked:
            row, best = item.row, {}
            for condition, v in readers.items():
                own, elsewhere, moved = (
                    of_text(v, tokenizer, text, question, row["answer"])
                    for text, question in (
                        (row["text"], row["question"]),
                        (row["text"], item.elsewhere),
                        (texts[other[row["image"]]], row["question"]),
                    )
                )
                again = partial(_said, of_text, v, tokenizer, row["text"], row["question"], row["answer"])
                best[condition] = common(m, condition, item, own, elsewhere, moved.said(), again, p, seed)
            mask, picture = patches[row["image"], row["asked"][0]], shown[row["image"]]
            own, seen = of_image(model, processor, picture, row["question"], mask)
            elsewhere = of_image(model, processor, picture, item.elsewhere, mask)[0]
            moved = of_image(model, processor, shown[other[row["image"]]], row["question"], mask)[0]
            again = partial(_said, of_image, model, processor, picture, row["question"], mask)
            best["llava-vqa"] = common(m, "llava-vqa", item, own, elsewhere, moved.said(), again, p, seed)
            of_embeddings(m, item, own, seen, best["llava-vqa"][0], mask, embedded[row["image"]], table, tokenizer, p, seed)
            even = p.heads / (own.v.n_layers * own.v.n_heads)
            m.add("best heads shared with the language model told", "llava-tqa", item, overlap(best["lm-tqa"], best["llava-tqa"]), even)
            m.add("best heads shared with the LLaVA told", "llava-vqa", item, overlap(best["llava-tqa"], best["llava-vqa"]), even)
            advance(1)
    return m


if __name__ == "__main__":
    run(main)
