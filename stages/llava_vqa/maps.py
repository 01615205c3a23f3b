"""Where the small LLaVA looks, by every method, and what its answer loses when it cannot see there.

Writes ``models/llava_maps/<profile>/``: `maps.parquet`, the map of each method for each question, and `curves.parquet`, the probability of
the answer with the highest patches of a map masked (deletion) or alone shown (insertion). What is explained is the model's own next token.
Methods that take many forward passes, and the curves, are for some of the images.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache
from typing import Any

import polars as pl
import torch
from torch import Tensor

from catalog.base.errors import CatalogError, run
from catalog.base.io import atomic_dir, write_json, write_parquet
from catalog.base.params import ROOT, profile_params
from catalog.base.progress import progress
from catalog.models.devices import peak_memory_mb
from catalog.models.lm import require_full
from catalog.vision.features import features
from stages.llava_vqa import looking, prompts, rivals
from stages.llava_vqa.answers import pictures, projected, trained
from stages.llava_vqa.masks import decode
from stages.llava_vqa.pointing import coverage
from stages.llava_vqa.settings import Maps, Params

SYSTEM, NAME = "llava_vqa", "llava_maps"
TYPES = ("colour", "kind", "place", "absent")
LOCATED = TYPES[:3]
OF_LOOK = ("best head", "direct", "attention", "one head")  # their time has the forward pass in it
MAPS = {**dict.fromkeys(("question", "method"), pl.String), "values": pl.List(pl.Float32), "forwards": pl.Int64}
MAPS |= {"target": pl.String, "logprob": pl.Float64, "head": pl.String}
CURVES = {**dict.fromkeys(("question", "method", "kind"), pl.String), "share": pl.Float64, "probability": pl.Float64}


def chosen(questions: pl.DataFrame, objects: pl.DataFrame, counts: dict[str, int]) -> pl.DataFrame:
    """Questions of so many images of each split, the first that have at least two objects, with the image's number in its split.

    Raises:
        CatalogError: a split has fewer such images.
    """
    several = objects.group_by("image").len().filter(pl.col("len") > 1)["image"]
    parts = []
    for split, count in counts.items():
        own = questions.filter(pl.col("split") == split, pl.col("type").is_in(TYPES), pl.col("image").is_in(several.to_list()))
        names = own["image"].unique().sort()[:count]
        if len(names) < count:
            raise CatalogError(f"The split {split} has {len(names)} images with several objects, not {count}; lower maps.images.{split}.")
        number = pl.DataFrame({"image": names, "number": range(count)})
        parts.append(own.join(number, on="image").sort("image", "id"))
    return pl.concat(parts)


class Eye:
    """A model that looks at one question after another."""

    def __init__(self, model: Any, processor: Any, mean: Tensor, p: Maps, seed: int) -> None:
        self.model, self.processor, self.mean, self.p, self.seed = model, processor, mean, p, seed

    def maps(
        self, row: dict[str, Any], image: Any, places: Tensor, costly: bool, head: tuple[int, int] | None
    ) -> tuple[list[dict], dict[str, float], rivals.Prompt]:
        """Rows of `maps.parquet` for one question, seconds of each method, and the prompt that they explain."""
        model, p = self.model, self.p
        began = time.perf_counter()
        seen = looking.look(model, self.processor, image, prompts.with_image(row["question"]))
        forward = time.perf_counter() - began
        asked = rivals.prompt(model, seen.ids, seen.image, places, seen.target)
        gradient = cache(lambda: rivals.gradient(model, asked))
        methods: dict[str, tuple[Callable[[], Tensor], int]] = {
            "best head": (lambda: looking.head_map(seen, [looking.best_head(seen)]), 1),
            "top heads": (lambda: looking.head_map(seen, looking.best_head(seen, p.heads)), 1),
            "direct": (lambda: looking.direct_map(seen), 1),
            "attention": (lambda: looking.attention_map(seen), 1),
            "rollout": (lambda: rivals.rollout(model, asked), 1),
            "input x gradient": (lambda: rivals.input_x_gradient(*gradient(), self.mean), 1),
            "grad-cam": (lambda: rivals.grad_cam(*gradient()), 1),
            "centre": (lambda: rivals.centre(seen.grid), 0),
            "random": (lambda: rivals.arbitrary(row["id"], len(seen.image), self.seed), 0),
        }
        if head is not None:
            methods["one head"] = (lambda: looking.head_map(seen, [head]), 1)
        if costly:
            methods["integrated gradients"] = (lambda: rivals.integrated_gradients(model, asked, self.mean, p.steps), p.steps)
            methods["causal"] = (lambda: rivals.causal(model, asked, self.mean), len(seen.image) + 1)
        heads = {"best head": looking.best_head(seen), "one head": head}
        fact = {"question": row["id"], "target": self.processor.tokenizer.decode([seen.target]).strip(), "logprob": seen.logprob}
        out, seconds = [], {}
        for name, (make, forwards) in methods.items():
            start = time.perf_counter()
            values = make().flatten().float().cpu()
            seconds[name] = time.perf_counter() - start + (forward if name in OF_LOOK else 0)
            which = heads.get(name)
            out.append(fact | {"method": name, "values": values.tolist(), "forwards": forwards, "head": which and f"{which[0]}_{which[1]}"})
        return out, seconds, asked

    def curves(self, rows: list[dict], asked: rivals.Prompt) -> list[dict]:
        """Rows of `curves.parquet` for the maps of one question."""
        out = []
        for row in rows:
            if row["method"] not in self.p.curves:
                continue
            for kind, insert in (("deletion", False), ("insertion", True)):
                values = rivals.curve(self.model, asked, self.mean, row["values"], self.p.shares, insert)
                key = {"question": row["question"], "method": row["method"], "kind": kind}
                out += [key | {"share": share, "probability": value} for share, value in zip(self.p.shares, values.tolist(), strict=True)]
        return out


def one_head(eye: Eye, questions: pl.DataFrame, images: pl.DataFrame, objects: pl.DataFrame) -> tuple[int, int]:
    """The head that most often has its highest patch on the asked object, on questions of the split valid; by `linear` scores."""
    masks = {(image, number): runs for image, number, runs in objects.select("image", "object", "mask").iter_rows()}
    sizes = {name: (height, width) for name, height, width in images.select("image", "height", "width").iter_rows()}
    rows = questions.to_dicts()
    hits = None
    with progress(len(rows), "choosing a head", "question") as advance:
        for row, picture in zip(rows, pictures(images, [row["image"] for row in rows]), strict=True):
            seen = looking.look(eye.model, eye.processor, picture, prompts.with_image(row["question"]))
            mask = decode(masks[row["image"], row["asked"][0]], *sizes[row["image"]])
            own = torch.from_numpy(coverage(mask, seen.grid) > eye.p.covered).flatten().to(seen.image.device)
            right = own[linear(seen).argmax(-1)].float()
            hits = right if hits is None else hits + right
            advance(1)
    return divmod(int(hits.argmax()), hits.shape[1])


@torch.inference_mode()
def linear(seen: looking.Look) -> Tensor:
    """(L, H, I): the first-order importance of each patch in each head, which no importance exceeds (Jensen). Cheap for all heads."""
    read, v = seen.lens, seen.view
    rows = []
    for layer in range(v.n_layers):
        expected = read.logits(seen.trace.x[layer, 0], 0).softmax(-1) @ read.unembed
        pull = read.unfold(read.unembed[seen.target] - expected) / read.sigma[0] @ v.o_weight(layer)
        rows.append(torch.einsum("htk,hk->ht", seen.coefficients(layer)[:, seen.image], pull.unflatten(-1, (v.n_heads, v.d_head))))
    return torch.stack(rows)


def main(profile: str) -> None:
    """Write ``models/llava_maps/<profile>/``."""
    params = profile_params(Params, SYSTEM, profile)
    p = params.maps
    if profile == "full":  # before any work
        require_full(params.train.model)
    began = time.perf_counter()
    folder = ROOT / "data" / "scenes" / profile
    images, objects, questions = (pl.read_parquet(folder / f"{name}.parquet") for name in ("images", "objects", "questions"))
    model, processor = trained(profile, params)
    model.requires_grad_(False)
    train = images.filter(split="train").sort("image")["image"].to_list()[: p.mean_images]
    mean = projected(model, features(model, processor, pictures(images, train))).flatten(0, 1).mean(0)
    eye = Eye(model, processor, mean, p, params.seed)
    asked = chosen(questions, objects, p.images)
    head = None
    if p.valid:
        valid = chosen(questions, objects, {"valid": p.valid}).filter(pl.col("type").is_in(LOCATED))
        head = one_head(eye, valid, images, objects)
    maps, curves, times = [], [], {}
    rows = asked.to_dicts()
    names = list(dict.fromkeys(row["image"] for row in rows))
    shown = dict(zip(names, pictures(images, names)))
    places = dict(zip(names, projected(model, features(model, processor, list(shown.values())))))
    with progress(len(rows), "maps", "question") as advance:
        for row in rows:
            costly = row["number"] < p.costly[row["split"]] and row["type"] in LOCATED
            made, seconds, asked_prompt = eye.maps(row, shown[row["image"]], places[row["image"]], costly, head)
            maps += made
            for name, value in seconds.items():
                times.setdefault(name, []).append(value)
            curves += eye.curves(made, asked_prompt) if costly else []
            advance(1)
    with atomic_dir(ROOT / "models" / NAME / profile) as out:
        write_parquet(pl.DataFrame(maps, schema=MAPS).sort("question", "method"), out / "maps.parquet")
        write_parquet(pl.DataFrame(curves, schema=CURVES).sort("question", "method", "kind", "share"), out / "curves.parquet")
    per = {name: round(sum(values) / len(values), 4) for name, values in sorted(times.items())}
    done = {"seconds": round(time.perf_counter() - began, 1), "peak_memory_mb": peak_memory_mb(), "questions": len(rows)}
    write_json(done | {"seconds_a_map": per}, ROOT / "models" / NAME / f"{profile}.run.json")


if __name__ == "__main__":
    run(main)
