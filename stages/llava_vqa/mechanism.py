"""What heads and positions carry when the scene is told in words, and when it is shown: the quantities of the paper, one number a question.

Questions are about the colour of one object of several. Conditions are ``lm-tqa``, the language model before training, told the scene in
sentences; ``llava-tqa``, the LLaVA's inner one, told the same; ``llava-vqa``, the LLaVA, shown the scene. How a LLaVA was asked without an
image is not said in the paper: here its language model runs alone.

Writes ``models/llava_mechanism/<profile>/``: `heads.parquet` (mean importance of every head by condition), `mechanism.parquet` (quantity,
condition, question, value, and the value of a control), `positions.parquet` (importance and attention of each position in the best head of
each question) and `projections.parquet` (what patches are read as, for the strongest patches).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
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
from catalog.inside.anatomy import view
from catalog.models.answers import inner_ids
from catalog.models.devices import peak_memory_mb
from catalog.models.lm import load_lm, require_full
from catalog.vision.features import features
from stages.llava_vqa import looking, prompts
from stages.llava_vqa.answers import pictures, projected, swapped, trained
from stages.llava_vqa.heads import Head, Read, elsewhere, inputs_of, lost, of_image, of_text, others, overlap, ranks, reciprocal, share, top
from stages.llava_vqa.masks import decode
from stages.llava_vqa.pointing import coverage
from stages.llava_vqa.settings import Mechanism, Params

SYSTEM, NAME = "llava_vqa", "llava_mechanism"
CONDITIONS = ("lm-tqa", "llava-tqa", "llava-vqa")
HEADS = {"condition": pl.String, "layer": pl.Int64, "head": pl.Int64, "imp": pl.Float64, "rank": pl.Int64}
MECHANISM = {"quantity": pl.String, "condition": pl.String, "question": pl.String, "value": pl.Float64, "control": pl.Float64}
PROJECTIONS = {"question": pl.String, "patch": pl.Int64, "view": pl.String, "on_object": pl.Boolean, "imp": pl.Float64}
POSITIONS = {"question": pl.String, "condition": pl.String, "layer": pl.Int64, "head": pl.Int64, "position": pl.Int64}
POSITIONS |= {"token": pl.String, "asked": pl.Boolean, "imp": pl.Float64, "attention": pl.Float64}
VIEWS = {
    "embedding": "embedding",
    "input": "layer's input",
    "key": "key's input",
    "value": "value's input",
    "ov": "head",
}  # view -> in words
PROJECTIONS |= {"colour_rank": pl.Int64, "kind_rank": pl.Int64, "top": pl.List(pl.String)}


class Item(NamedTuple):
    """A question with tokens of its right colour, of another one drawn at random, and of the kind; and one about another object."""

    row: dict[str, Any]
    colour: int
    other: int
    kind: int
    named: str  # the kind
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
        aside = row["question"].replace(asked["kind"], str(rng.choice(others)))
        found.append(Item(row, *ids, asked["kind"], aside))
    if len(found) < count:
        raise CatalogError(
            f"The split {split} has {len(found)} scenes with two kinds and such a question, not {count}; lower mechanism.questions."
        )
    return found


def shown_patches(objects: pl.DataFrame, images: pl.DataFrame, grid: tuple[int, int], covered: float) -> dict[tuple[str, int], np.ndarray]:
    """(image, object) -> which patches show it, (I,)."""
    sizes = {name: (height, width) for name, height, width in images.select("image", "height", "width").iter_rows()}
    return {
        (image, number): (coverage(decode(runs, *sizes[image]), grid) > covered).ravel()
        for image, number, runs in objects.select("image", "object", "mask").iter_rows()
        if image in sizes
    }


class Measured:
    """Rows of the files, as they come."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.scores: dict[str, list[Tensor]] = {name: [] for name in CONDITIONS}
        self.rows: list[dict] = []
        self.projections: list[dict] = []
        self.positions: list[dict] = []

    def places(self, condition: str, item: Item, own: Read, head: Head, scores: Tensor) -> None:
        """Rows of `positions.parquet`: every position that the best head could have taken the answer from."""
        asked = set(own.places.tolist())
        for place in own.among.tolist():
            token = None if condition == "llava-vqa" else self.tokenizer.decode(int(own.ids[place]))
            key = {"question": item.row["id"], "condition": condition, "layer": head[0], "head": head[1], "position": place}
            numbers = {"imp": float(scores[place]), "attention": float(own.attention[head[0], head[1], place])}
            self.positions.append(key | {"token": token, "asked": place in asked} | numbers)

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
    m: Measured, condition: str, item: Item, own: Read, aside: Read, shuffled: Tensor, embedded: Tensor, p: Mechanism, seed: int
) -> list[Head]:
    """The quantities that text and image have in common; the best heads of this question.

    Args:
        aside: the prompt that asks about another object. shuffled: log-probabilities (V,) of the same question about another scene.
        embedded: (T, d) what enters the language model.
    """
    scores, said = own.scores(item.colour), own.said()
    m.scores[condition].append(scores)
    best = top(scores, p.heads)
    rng = np.random.default_rng([seed, *item.row["id"].encode()])
    random = others(own.v, best, rng)
    of_position = own.position_scores(*best[0], item.colour)
    strongest = own.among[of_position[own.among].argsort(descending=True, stable=True)[: p.patches].cpu()]
    drawn = elsewhere(own.among, own.places, len(own.places), rng)
    weak = elsewhere(own.among, strongest, len(strongest), rng)
    vectors = [torch.stack([own.block(*head) @ own.moved(*head).sum(0) for head in chosen]) for chosen in (best, random)]
    named = [reciprocal(ranks(own.read.logits(part, 0), item.colour)) for part in vectors]
    cuts = [dict.fromkeys(chosen) for chosen in (best, random)]
    cuts += [{head: own.moved(*head)[positions].sum(0) for head in best} for positions in (strongest, weak)]
    without = lost(own.v, embedded, cuts, item.colour)
    difference = [float(read[item.colour] - read[item.other]) for read in (said, shuffled)]
    brought = [own.difference(best, positions, item.colour, item.other) for positions in (own.places, drawn)]
    attention = share(own.attention, best, own.places)
    m.add("logit difference", condition, item, *difference)
    m.add("logit difference that the best heads bring from the places asked about", condition, item, *brought)
    m.add("attention of the best heads", condition, item, attention, share(aside.attention, best, own.places))
    m.add("attention of the best heads against random heads", condition, item, attention, share(own.attention, random, own.places))
    m.add("colour in what the best heads write", condition, item, *named)
    m.add("log-probability lost without the best heads", condition, item, *without[:2])
    m.add("log-probability lost without what the best heads bring from their strongest positions", condition, item, *without[2:])
    m.places(condition, item, own, best[0], of_position)
    return best


def of_patches(
    m: Measured,
    item: Item,
    own: Read,
    best: Head,
    shown: np.ndarray,
    embedded: Tensor,
    table: Tensor,
    tokenizer: Any,
    p: Mechanism,
    seed: int,
) -> None:
    """How the patches that matter most in the best head are read, against patches drawn at random.

    Their embeddings are compared with the embeddings of all words; what enters the head's layer, the parts of it that make keys and values,
    and what the head moves from there are read as next tokens.

    Args:
        shown: (I,) which patches show the object. embedded: (T, d) what enters the model. table: (V, d) the embeddings of words.
    """
    scores = own.position_scores(*best, item.colour)[own.among]
    strongest = scores.argsort(descending=True, stable=True)[: p.patches].cpu()
    random = elsewhere(torch.arange(len(own.among)), strongest, len(strongest), np.random.default_rng([seed, 1, *item.row["id"].encode()]))
    at = own.among[torch.cat([strongest, random])]
    logits = {"embedding": embedded[at].float() @ table.T}
    logits |= {name: own.read.logits(vectors, 0) for name, vectors in inputs_of(own.v, embedded, best[0], at).items()}
    logits["ov"] = own.read.logits(own.moved(*best)[at] @ own.block(*best).T, 0)
    for name, read in logits.items():
        found = {word: ranks(read, token) for word, token in (("colour", item.colour), ("kind", item.kind))}
        for word, own_ranks in found.items():
            values = (reciprocal(part) for part in (own_ranks[: len(strongest)], own_ranks[len(strongest) :]))
            m.add(f"{word} at the strongest patches, read from the {VIEWS[name]}", "llava-vqa", item, *values)
        words = [[tokenizer.decode(token).strip() for token in row] for row in read.topk(min(5, read.shape[1])).indices.tolist()]
        for number, patch in enumerate(strongest.tolist()):
            row = {"question": item.row["id"], "patch": patch, "view": name, "on_object": bool(shown[patch]), "imp": float(scores[patch])}
            m.projections.append(row | {"colour_rank": found["colour"][number], "kind_rank": found["kind"][number], "top": words[number]})


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
        write_parquet(pl.DataFrame(m.positions, schema=POSITIONS).sort("question", "condition", "position"), out / "positions.parquet")
        write_parquet(pl.DataFrame(m.projections, schema=PROJECTIONS).sort("question", "view", "patch"), out / "projections.parquet")
    facts = {"seconds": round(time.perf_counter() - began, 1), "peak_memory_mb": peak_memory_mb(), "questions": len(asked)}
    write_json(facts, ROOT / "models" / NAME / f"{profile}.run.json")


@torch.inference_mode()
def measure(
    model: Any, processor: Any, lm: Any, asked: Sequence[Item], images: pl.DataFrame, objects: pl.DataFrame, p: Mechanism, seed: int
) -> Measured:
    """All quantities of all questions."""
    m, tokenizer = Measured(tokenizer=processor.tokenizer), processor.tokenizer
    names = [item.row["image"] for item in asked]
    shown = dict(zip(names, pictures(images, names)))
    projections = dict(zip(names, projected(model, features(model, processor, list(shown.values()), torch.float32))))
    patches = shown_patches(objects, images, looking.look(model, processor, shown[names[0]], prompts.with_image("")).grid, p.covered)
    other = swapped(names, dict.fromkeys(names, p.split))
    rows = {item.row["image"]: item for item in asked}
    table = model.get_input_embeddings().weight.detach().float()
    readers = {"lm-tqa": view(lm), "llava-tqa": looking.language(model)}
    with progress(len(asked), "mechanism", "question") as advance:
        for item in asked:
            row, best = item.row, {}
            away = rows[other[row["image"]]]
            for condition, v in readers.items():
                told = partial(of_text, v, tokenizer)
                own = told(row["text"], row["question"], item.named, row["answer"])
                aside = told(row["text"], item.elsewhere, item.named, row["answer"])
                moved = told(away.row["text"], row["question"], away.named, away.row["answer"])
                embedded = v.model.get_input_embeddings()(own.ids.to(v.device))
                best[condition] = common(m, condition, item, own, aside, moved.said(), embedded, p, seed)
            mask, look = patches[row["image"], row["asked"][0]], partial(of_image, model, processor)
            own, aside = (look(shown[row["image"]], question, mask) for question in (row["question"], item.elsewhere))
            moved = look(shown[away.row["image"]], row["question"], mask)
            embedded = model.get_input_embeddings()(own.ids.to(model.device)).clone()
            embedded[own.among] = projections[row["image"]].to(embedded)
            best["llava-vqa"] = common(m, "llava-vqa", item, own, aside, moved.said(), embedded, p, seed)
            of_patches(m, item, own, best["llava-vqa"][0], mask, embedded, table, tokenizer, p, seed)
            even = p.heads / (own.v.n_layers * own.v.n_heads)
            m.add("best heads shared with the language model told", "llava-tqa", item, overlap(best["lm-tqa"], best["llava-tqa"]), even)
            m.add("best heads shared with the LLaVA told", "llava-vqa", item, overlap(best["llava-tqa"], best["llava-vqa"]), even)
            advance(1)
    return m


if __name__ == "__main__":
    run(main)
