"""FinLLaVA: FinLLaMA with an image tower, in the two stages of LLaVA.

First the projector alone is aligned with words for what is at each place of a picture; then it and a LoRA on FinLLaMA learn to answer.

Writes ``models/finllava/<profile>/``: `model` (for `from_pretrained`, the LoRA folded in), `curves.parquet` (loss by stage and step).
"""

from __future__ import annotations

import random
import time
from typing import Any

import polars as pl

from catalog.base.deps import require_dep
from catalog.base.errors import CatalogError, run
from catalog.base.io import atomic_dir, write_json, write_parquet
from catalog.base.params import ROOT, profile_params
from catalog.models.answers import inner_ids
from catalog.models.devices import peak_memory_mb, require_gpu
from catalog.training.adapters import settings_of
from catalog.training.checkpoints import is_main
from catalog.vision import align, build, features, tower, tune
from stages.open_finllms import models
from stages.open_finllms.settings import Params, VisionTrain
from stages.open_finllms.vision_letters import PROMPTS
from stages.open_finllms.vision_places import WORDS, words
from stages.open_finllms.vision_prompts import OPEN, answer, asked, prompt
from stages.open_finllms.vision_read import picture, pixels, read

SYSTEM, NAME = "open_finllms", "finllava"


def tower_file(p: VisionTrain) -> Any:
    """The weights of the tower."""
    folder = ROOT / "data" / "assets" / p.tower
    require_dep(folder, ROOT)
    found = sorted(folder.glob("*.pth"))
    if len(found) != 1:
        raise CatalogError(f"FinLLaVA's tower is read from {folder.relative_to(ROOT)}, which is absent; run `dvc repro` to fetch it.")
    return found[0]


def pairs(questions: pl.DataFrame, images: list[str], letters: float, seed: int) -> list[tuple[int, list[tuple[str, str]]]]:
    """(number of the picture, its prompts with their answers): all open questions, and of some pictures one as multiple choice.

    Pictures that nothing is asked about are left out.
    """
    forms, by_image = sorted(PROMPTS), questions.partition_by("image", as_dict=True, maintain_order=True)
    found = []
    for number, image in enumerate(images):
        if (image,) not in by_image:
            continue
        rows, rng = by_image[image,].to_dicts(), random.Random(f"{seed}:{image}")
        mine = [(prompt(asked(row, OPEN)), answer(row, OPEN)) for row in rows if row["answer"] is not None]
        if not mine or rng.random() < letters:
            row, form = rng.choice(rows), rng.choice(forms)
            mine.append((prompt(asked(row, form)), answer(row, form)))
        found.append((number, mine))
    return found


def places(tables: dict[str, pl.DataFrame], tokenizer: Any, grid: int) -> Any:
    """(images * places, 4) token ids of what is at each place."""
    import torch

    ids = dict(zip(WORDS, inner_ids(tokenizer, [f" {word}" for word in WORDS])))
    long = [word for word, tokens in ids.items() if len(tokens) != 1]
    if long:
        raise CatalogError(f"FinLLaMA's tokenizer writes {long[0]!r} with several tokens; the projector is aligned with single ones.")
    marks = tables["marks"].partition_by("image", as_dict=True, maintain_order=True)
    rows = []
    for image in tables["images"].iter_rows(named=True):
        there = words(pixels(image["png"]), marks[image["image"],].to_dicts(), image["style"], grid)
        rows += [[align.NOTHING] * 4 if what is None else [ids[word][0] for word in what] for what in there]
    return torch.tensor(rows)


def main(profile: str) -> None:
    """Write ``models/finllava/<profile>/``."""
    params = profile_params(Params, SYSTEM, profile)
    p = params.vision_train
    if profile == "full":  # before any work
        require_gpu()
    began = time.perf_counter()
    tables = {name: table.filter(pl.col("image").str.starts_with("train-")) for name, table in read(profile).items()}
    lm, tokenizer = models.load(models.FINLLAMA, profile)
    model, processor = build.make(lm, tokenizer, tower.lite0(tower_file(p)), unused=p.image_token, seed=params.seed)
    pictures = [picture(png) for png in tables["images"]["png"]]
    features.standardise(model, processor, pictures)
    seen = features.features(model, processor, pictures)
    grid = round(seen.shape[1] ** 0.5)
    first = align.align(
        model, seen.flatten(0, 1), places(tables, processor.tokenizer, grid), steps=p.align_steps, batch=p.align_batch, rate=p.align_rate,
        seed=params.seed,
    )  # fmt: skip
    found = pairs(
        tables["questions"].filter(~pl.col("kind").is_in(p.left_out)), tables["images"]["image"].to_list(), p.letters, params.seed
    )
    rows = tune.examples(processor, seen.shape[1], found)
    settings = settings_of(p, n_layers=model.config.text_config.num_hidden_layers, log_steps=5, seed=params.seed)
    second = tune.tune(
        model, seen, rows, settings, projector_rate=p.projector_rate, thinning=tune.Thinning(p.shown, p.shown_share)
    )  # fmt: skip
    if is_main():
        curves = [pl.DataFrame(curve).select(pl.lit(stage).alias("stage"), pl.col("step").cast(pl.Int32), "loss")
                  for stage, curve in (("projector", first), ("answers", second.history))]  # fmt: skip
        with atomic_dir(ROOT / "models" / NAME / profile) as target:
            build.save(model, processor, target / "model")
            write_parquet(pl.concat(curves), target / "curves.parquet")
        facts = {"seconds": round(time.perf_counter() - began, 1), "peak_memory_mb": peak_memory_mb()}
        write_json({"runs": [{"run": "answers", **second.info}]} | facts, ROOT / "models" / NAME / f"{profile}.run.json")


if __name__ == "__main__":
    run(main)
