"""Continual pre-training: FinLLaMA in several arms, which differ in the general text that is read with the finance, and in the rate.

Writes ``models/finllama/<profile>/``: a folder for each arm with the whole model, `curves.parquet` (loss by step) and `blocks.parquet`
(what each arm read, by part).
"""

from __future__ import annotations

import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import polars as pl

from catalog.base.deps import require_dep
from catalog.base.errors import CatalogError, run
from catalog.base.io import atomic_dir, write_json, write_parquet
from catalog.base.params import ROOT, profile_params
from catalog.inside.anatomy import layers
from catalog.models.devices import peak_memory_mb
from catalog.models.lm import load_lm, require_full
from catalog.models.weights import resolve
from catalog.training.adapters import save_model, upper_layers
from catalog.training.checkpoints import checkpoint_folder, finish, is_main
from catalog.training.settings import Settings
from catalog.training.tail import lower_once
from catalog.training.train import Run, train
from stages.open_finllms.arms import Block, check, chosen, cut, table
from stages.open_finllms.packer import load_tokenizer
from stages.open_finllms.settings import Params, Pretrain

SYSTEM, STAGE, MODEL, CORPUS = "open_finllms", "open_finllms_pretrain", "finllama", "finance_corpus"


def settings(p: Pretrain, learning_rate: float, n_layers: int, seed: int) -> Settings:
    """Of an arm."""
    return Settings(
        epochs=p.epochs,
        batch_size=p.batch_size,
        micro_batch=p.micro_batch,
        row_tokens=0,  # a block is a row
        learning_rate=learning_rate,
        schedule=p.schedule,
        warmup=p.warmup,
        weight_decay=p.weight_decay,
        activation_checkpointing=p.activation_checkpointing,
        lora_layers=upper_layers(n_layers, p.layers_from),  # no LoRA: where `lower_once` stops
        save_steps=p.save_steps,
        log_steps=1,
        seed=seed,
    )


def train_only(model: Any, numbers: tuple[int, ...]) -> None:
    """Leave gradients to the layers of these numbers alone; all weights keep theirs where there are none."""
    if numbers:
        model.requires_grad_(False)
        for number in numbers:
            layers(model)[number].requires_grad_(True)


def fit(arm: str, blocks: list[Block], params: Params, profile: str, folder: Path | None) -> Run:
    """Train one arm and write it to ``folder`` (of the main process)."""
    p = params.pretrain
    model, tokenizer = load_lm(p.model, dtype="float32")  # AdamW loses small updates of bfloat16 weights
    s = settings(p, p.arms[arm].learning_rate, model.config.num_hidden_layers, params.seed)
    train_only(model, s.lora_layers)
    examples = [{"input_ids": block.ids, "labels": block.ids} for block in blocks]
    kept = checkpoint_folder(STAGE, profile, model, examples, s, extra=arm)
    found = train(model, lower_once(model, examples, s.lora_layers, dtype="auto"), s, checkpoints=kept, desc=f"pre-training, {arm}")
    if is_main():
        save_model(model, tokenizer, folder / arm, found.tensors)
    return found


def corpus_blocks(p: Pretrain, profile: str, root: Path = ROOT) -> list[Block]:
    """Blocks of the corpus in the tokens of the model.

    Raises:
        CatalogError: the corpus is not built.
    """
    path = root / "data" / CORPUS / profile / "documents.parquet"
    require_dep(path, root)
    if not path.is_file():
        raise CatalogError(f"{path.relative_to(root)} is not there; run `dvc repro {SYSTEM}_corpus` to make it.")
    documents = pl.read_parquet(path).filter(split="train")
    encode, end = tokenizer_of(p.model, root)
    return cut(documents, encode, end, p.block_tokens)


def tokenizer_of(name: str, root: Path = ROOT) -> tuple[Any, int]:
    """(texts -> token ids without special tokens, id of the end-of-text token) of a catalog model."""
    source = resolve(name, root)
    if isinstance(source, Path):
        return load_tokenizer(source)
    import huggingface_hub as hub

    repository, revision = source
    return load_tokenizer(Path(hub.snapshot_download(repository, revision=revision, allow_patterns="tokenizer*")))


def main(profile: str) -> None:
    """Write ``models/finllama/<profile>/``."""
    params = profile_params(Params, SYSTEM, profile)
    p = params.pretrain
    check(p.arms)
    if profile == "full":  # before any work
        require_full(p.model)
    began = time.perf_counter()
    blocks = corpus_blocks(p, profile)
    rows, curves, infos = [], [], []
    with atomic_dir(ROOT / "models" / MODEL / profile) if is_main() else nullcontext() as folder:
        for arm, how in p.arms.items():
            read = chosen(blocks, how.general, p.finance_blocks, params.seed)
            found = fit(arm, read, params, profile, folder)
            rows += table(arm, read)
            curves += [{"arm": arm, **point} for point in found.history]
            infos.append({"run": arm, **found.info})
        if is_main():
            write_parquet(pl.DataFrame(rows), folder / "blocks.parquet")
            write_parquet(pl.DataFrame(curves), folder / "curves.parquet")
    if is_main():
        facts = {"seconds": round(time.perf_counter() - began, 1), "peak_memory_mb": peak_memory_mb()}
        write_json({"runs": infos} | facts, ROOT / "models" / MODEL / f"{profile}.run.json")
    finish(STAGE, profile)


if __name__ == "__main__":
    run(main)
