"""Fine-tune FMDLlama: a LoRA (or all weights) of a chat model on claims and notes, one for each variant.

Writes ``models/fmdllama/<profile>/``: a folder for each variant with its adapter, `curves.parquet` (loss by step) and `variants.parquet`
(items, tokens and seconds of each).
"""

from __future__ import annotations

import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import polars as pl

from catalog.base.errors import CatalogError, run
from catalog.base.io import atomic_dir, write_json, write_parquet
from catalog.base.params import ROOT, profile_params
from catalog.models.devices import peak_memory_mb
from catalog.models.lm import load_lm, require_full
from catalog.training.adapters import save_lora, save_model, settings_of
from catalog.training.checkpoints import checkpoint_folder, finish, is_main
from catalog.training.settings import Settings
from catalog.training.train import Run, train, train_once
from stages.fmdllama.method import collate, examples, spread, weighted_loss
from stages.fmdllama.prompts import FORMS, LABELS, SETTINGS
from stages.fmdllama.settings import Params, Train, Variant

STAGE, MODEL = "fmdllama_train", "fmdllama"


def check(p: Train) -> None:
    """Raise a CatalogError for variants of one name, or with an unknown setting, form or task."""
    names = [v.name for v in p.variants]
    for v in p.variants:
        if names.count(v.name) > 1:
            raise CatalogError(f"Two variants are named {v.name}; give each its own name.")
        known = {v.setting, *v.asked} <= set(SETTINGS) and v.asked and v.form in FORMS
        if not known or not v.tasks or not set(v.tasks) <= set(LABELS):
            raise CatalogError(
                f"Variant {v.name} has the setting {v.setting!r}, is asked in the settings {', '.join(v.asked) or 'none'}, "
                f"and has the form {v.form!r} and the tasks {', '.join(v.tasks) or 'none'}; "
                f"the settings are {', '.join(SETTINGS)}, the forms {', '.join(FORMS)}, the tasks {', '.join(LABELS)}."
            )
    if p.explain_every < 1:
        raise CatalogError(f"train.explain_every is {p.explain_every} but must be 1 (all claims) or more.")


def chosen(v: Variant, items: pl.DataFrame) -> list[dict[str, Any]]:
    """Training items of a variant, those of a context together.

    Raises:
        CatalogError: there is none.
    """
    part = items.filter(pl.col("split") == "train", pl.col("task").is_in(v.tasks))
    if v.kinds:
        part = part.filter((pl.col("task") != "claim") | pl.col("kind").is_in(v.kinds))
    for task, count in (("claim", v.contexts), ("article", v.notes)):
        kept = spread(part.filter(task=task)["context_id"].unique(maintain_order=True).to_list(), count)
        part = part.filter((pl.col("task") != task) | pl.col("context_id").is_in(kept))
    if part.is_empty():
        raise CatalogError(f"Variant {v.name} has no training item; correct its tasks and kinds.")
    return part.to_dicts()


def settings(p: Train, n_layers: int, seed: int) -> Settings:
    """Of a variant; rank 0 trains all weights. Rows of like length stand in one batch, which leaves less padding."""
    batches = {"batch_size": p.batch_rows, "micro_batch": p.micro_rows, "group_by_length": True}
    return settings_of(p, n_layers=n_layers, save_steps=40, log_steps=5, seed=seed, **batches)


def explained(count: int, every: int) -> list[bool]:
    """Which of ``count`` items are learnt with their explanation: every so manyth, so that labels come round evenly."""
    return [number % every == 0 for number in range(count)]


def fit(v: Variant, items: pl.DataFrame, params: Params, profile: str, folder: Path | None) -> tuple[dict[str, Any], Run]:
    """Train one variant and write it to ``folder`` (of the main process); its row of `variants.parquet` and its run."""
    p = params.train
    model, tokenizer = load_lm(v.model)
    rows = chosen(v, items)
    made = examples(
        tokenizer, rows, v.setting, v.form, (p.reason_weight, p.explanation_weight), p.longest, explained(len(rows), p.explain_every)
    )
    s = settings(p, model.config.num_hidden_layers, params.seed)
    kept = checkpoint_folder(STAGE, profile, model, made, s, extra=vars(v))
    options = {"loss_fn": weighted_loss, "collate": collate, "desc": v.name}
    found = train_once(model, made, s, kept, **options) if p.rank else train(model, made, s, checkpoints=kept, **options)
    if is_main():
        if p.rank:
            save_lora(found.tensors, s, v.model, folder / v.name)
        else:
            save_model(model, tokenizer, folder / v.name, found.tensors)
    labelled = sum(label != -100 for example in made for label in example["labels"])
    row = {
        "variant": v.name,
        "model": v.model,
        "setting": v.setting,
        "form": v.form,
        "items": len(rows),
        "contexts": len({row["context_id"] for row in rows}),
    }
    return row | {"tokens": sum(len(example["input_ids"]) for example in made), "labelled": labelled}, found


def main(profile: str) -> None:
    """Write ``models/fmdllama/<profile>/``."""
    params = profile_params(Params, MODEL, profile)
    check(params.train)
    if profile == "full":  # before any work
        for name in {v.model for v in params.train.variants}:
            require_full(name)
    began = time.perf_counter()
    items = pl.read_parquet(ROOT / "data" / "fmdid" / profile / "items.parquet")
    rows, curves, infos = [], [], []
    with atomic_dir(ROOT / "models" / MODEL / profile) if is_main() else nullcontext() as folder:
        for v in params.train.variants:
            row, found = fit(v, items, params, profile, folder)
            rows.append(row)
            curves += [{"variant": v.name, **point} for point in found.history]
            infos.append({"run": v.name, **found.info})
        if is_main():
            write_parquet(pl.DataFrame(rows), folder / "variants.parquet")
            write_parquet(pl.DataFrame(curves), folder / "curves.parquet")
    if is_main():
        facts = {"seconds": round(time.perf_counter() - began, 1), "peak_memory_mb": peak_memory_mb()}
        write_json({"runs": infos} | facts, ROOT / "models" / MODEL / f"{profile}.run.json")
    finish(STAGE, profile)


if __name__ == "__main__":
    run(main)
