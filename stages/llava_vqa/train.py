"""Make a small LLaVA of a frozen image tower and a small language model, and teach it to answer questions about the scenes.

Writes ``models/llava_small/<profile>/``: `model/` (for `from_pretrained`, see `catalog.vision.build.load`), `projector_aligned.safetensors`
(the projector before the language model was tuned) and `curves.parquet` (both stages of the training). Of a LLaVA that is used as it is
published, profile full, it writes the curves alone, which are then empty.
"""

from __future__ import annotations

import io
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import polars as pl
import torch
from PIL import Image

from catalog.base.deps import require_dep
from catalog.base.errors import CatalogError, run
from catalog.base.io import atomic_dir, write_json, write_parquet, write_safetensors
from catalog.base.params import ROOT, profile_params
from catalog.models.answers import inner_ids
from catalog.models.devices import peak_memory_mb
from catalog.models.lm import load_lm, require_full
from catalog.training.adapters import settings_of
from catalog.training.checkpoints import is_main
from catalog.training.settings import Settings
from catalog.training.train import Run
from catalog.vision import build
from catalog.vision.align import align
from catalog.vision.features import features, standardise
from catalog.vision.tower import lite0
from catalog.vision.tune import Thinning, examples, tune
from stages.llava_vqa.lessons import conversations, there, vocabulary, words
from stages.llava_vqa.settings import MODEL, SYSTEM, Params, Train

CURVES = {
    "phase": pl.String,  # align, tune
    "step": pl.Int64,
    "loss": pl.Float64,
    "lr": pl.Float64,
    "tokens": pl.Int64,
    "hits": pl.Float64,
}


def read(profile: str, p: Train, root: Path = ROOT) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Images, objects and questions of the training split, the first ``p.images`` images.

    Raises:
        CatalogError: the scenes are not built.
    """
    folder = root / "data" / "scenes" / profile
    require_dep(folder, root)
    if not (folder / "images.parquet").is_file():
        raise CatalogError(f"{folder.relative_to(root)} is not there; run `dvc repro {SYSTEM}_data` to make it.")
    images = pl.scan_parquet(folder / "images.parquet").filter(split="train").head(p.images).collect()
    names = images["image"].implode()
    return images, *(pl.read_parquet(folder / f"{name}.parquet").filter(pl.col("image").is_in(names)) for name in ("objects", "questions"))


def assemble(p: Train, seed: int, root: Path = ROOT) -> tuple[Any, Any]:
    """The untrained model and its processor: a published LLaVA, or one of a tower and a language model with a random projector.

    Raises:
        CatalogError: the tower's asset is not there, or a model cannot be loaded.
    """
    if not p.tower:
        return build.load(p.model)
    folder = root / "data" / "assets" / p.tower
    require_dep(folder, root)
    files = sorted(folder.glob("*.pth"))
    if not files:
        raise CatalogError(f"The asset {p.tower} is not there; run `dvc repro fetch@{p.tower}` to fetch it.")
    lm, tokenizer = load_lm(p.model)
    return build.make(lm, tokenizer, lite0(files[0]), seed=seed)


def settings(p: Train, n_layers: int, seed: int) -> Settings:
    """Of the LoRA's training."""
    return settings_of(p, n_layers=n_layers, row_tokens=0, log_steps=5, seed=seed)


def teach(
    model: Any, processor: Any, tables: tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame], p: Train, seed: int, folder: Path | None
) -> tuple[list[dict[str, Any]], Run]:
    """Both stages of the training, in place: the curve and the second stage's run. Writes the first stage's projector to `folder`."""
    images, objects, _ = tables
    pictures = [Image.open(io.BytesIO(png)).convert("RGB") for png in images["png"]]
    if p.tower:
        standardise(model, processor, pictures[: p.standardised])
    seen = features(model, processor, pictures)
    places, grid = seen.shape[1], round(seen.shape[1] ** 0.5)
    found, curve = there(images, objects, grid) if p.align_steps else None, []
    if found is not None:
        known = vocabulary(objects)
        token = dict(zip(known, [ids[0] for ids in inner_ids(processor.tokenizer, [f" {word}" for word in known])], strict=True))
        ids = torch.from_numpy(words(images, objects, found, token)).flatten(0, 1)
        some = (ids[:, 0] >= 0) | (torch.rand(len(ids), generator=torch.Generator().manual_seed(seed)) < p.align_nothing)
        curve = align(model, seen.flatten(0, 1)[some], ids[some], steps=p.align_steps, batch=p.align_batch, rate=p.align_rate, seed=seed)
    if folder:
        write_safetensors(model.model.multi_modal_projector.state_dict(), folder / "projector_aligned.safetensors")
    rows = examples(processor, places, conversations(*tables, p.questions, seed))
    thinning = Thinning(p.shown, p.shown_until, None if found is None else found.ravel())
    made = tune(
        model,
        seen,
        rows,
        settings(p, model.config.text_config.num_hidden_layers, seed),
        projector_rate=p.projector_rate,
        thinning=thinning,
    )
    curve = [{"phase": "align", **point} for point in curve] + [{"phase": "tune", **point} for point in made.history]
    return [{name: point.get(name) for name in CURVES} for point in curve], made


def main(profile: str) -> None:
    """Write ``models/llava_small/<profile>/``."""
    params = profile_params(Params, SYSTEM, profile)
    p = params.train
    if profile == "full":  # before any work
        require_full(p.model)
    began = time.perf_counter()
    infos, curve, parts = [], [], {}
    with atomic_dir(ROOT / "models" / MODEL / profile) if is_main() else nullcontext() as folder:
        if p.steps:
            model, processor = assemble(p, params.seed)
            curve, found = teach(model, processor, read(profile, p), p, params.seed, folder)
            infos, parts = [{"run": MODEL, **found.info}], {"tuning_seconds": found.info["seconds"]}
            if is_main():
                build.save(model, processor, folder / "model")
        if is_main():
            write_parquet(pl.DataFrame(curve, schema=CURVES), folder / "curves.parquet")
    if is_main():
        facts = {"seconds": round(time.perf_counter() - began, 1), "peak_memory_mb": peak_memory_mb()}
        write_json({"runs": infos} | parts | facts, ROOT / "models" / MODEL / f"{profile}.run.json")


if __name__ == "__main__":
    run(main)
