"""FinLLaMA-Instruct: a LoRA on FinLLaMA, tuned on financial instructions with the loss on the answers alone.

The paper quantises the base to four bits to save memory (QLoRA). Here it stays in bfloat16, and the adapter is the paper's.

Writes ``models/finllama_instruct/<profile>/``: `adapter/`, `curves.parquet` (loss by step) and `items.parquet` (what was read, by task and
source, and what was left out).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from catalog.base.deps import require_dep
from catalog.base.errors import CatalogError, run
from catalog.base.io import atomic_dir, write_json, write_parquet
from catalog.base.params import ROOT, profile_params
from catalog.models.answers import inner_ids
from catalog.models.devices import peak_memory_mb, require_gpu
from catalog.models.lm import load_lm
from catalog.training.adapters import save_lora, settings_of
from catalog.training.checkpoints import checkpoint_folder, finish, is_main
from catalog.training.packing import encode
from catalog.training.settings import Settings
from catalog.training.tail import lower_once
from catalog.training.train import train_once
from stages.open_finllms.models import FINLLAMA, INSTRUCT, folder, prompt_ids
from stages.open_finllms.settings import Instruct, Params

SYSTEM, STAGE, DATA = "open_finllms", "open_finllms_instruct", "finance_instructions"
COLUMNS = ("id", "source", "task", "split", "prompt", "answer")


def settings(p: Instruct, n_layers: int, seed: int) -> Settings:
    return settings_of(p, n_layers=n_layers, log_steps=1, seed=seed)


def read_items(profile: str, root: Path = ROOT) -> pl.DataFrame:
    """Training items in their order.

    Raises:
        CatalogError: the file is absent, has other columns, or no training item; or an item without a prompt or an answer.
    """
    path = root / "data" / DATA / profile / "items.parquet"
    require_dep(path, root)
    if not path.is_file():
        raise CatalogError(f"{path.relative_to(root)} is not there; run `dvc repro {SYSTEM}_instructions` to make it.")
    items = pl.read_parquet(path)
    if lacking := [name for name in COLUMNS if name not in items.columns]:
        raise CatalogError(f"{path.relative_to(root)} has no column {lacking[0]}; it needs {', '.join(COLUMNS)}.")
    items = items.filter(split="train").select(COLUMNS)
    if items.is_empty():
        raise CatalogError(f"{path.relative_to(root)} has no item of the split train; there is nothing to tune on.")
    for name in ("prompt", "answer"):
        empty = items.filter(pl.col(name).fill_null("").str.strip_chars() == "")
        if len(empty):
            raise CatalogError(f"The item {empty['id'][0]} of {path.relative_to(root)} has an empty {name}; mend or remove it.")
    return items


def fitting(items: pl.DataFrame, tokenizer: Any, p: Instruct) -> pl.DataFrame:
    """The items with `prompt_tokens` and `answer_tokens`, and `fits`: whether both are short enough. Nothing is cut: an instruction without
    its end, or an answer without its own, would teach something else."""
    prompts = [len(prompt_ids(tokenizer, prompt)) for prompt in items["prompt"]]
    answers = [len(ids) for ids in inner_ids(tokenizer, items["answer"].to_list())]
    return items.with_columns(prompt_tokens=pl.Series(prompts), answer_tokens=pl.Series(answers)).with_columns(
        fits=(pl.col("prompt_tokens") <= p.max_prompt) & (pl.col("answer_tokens") <= p.max_answer)
    )


def spread(tasks: Sequence[str], count: int, seed: int) -> list[int]:
    """Indices of ``count`` items (0: all), one task after another in turn, so that a large task does not crowd out a small one; in order.

    Items of a task are drawn by the seed.
    """
    if not count or count >= len(tasks):
        return list(range(len(tasks)))
    shuffled = np.random.default_rng(seed).permutation(len(tasks)).tolist()
    turn = dict.fromkeys(tasks, 0)
    places = []
    for index in shuffled:
        places.append((turn[tasks[index]], index))
        turn[tasks[index]] += 1
    places.sort(key=lambda place: place[0])  # stable: within a turn in the shuffled order
    return sorted(index for _, index in places[:count])


def counts(items: pl.DataFrame, chosen: Sequence[int]) -> pl.DataFrame:
    """task, source, available, too_long, read, prompt_tokens, answer_tokens: what there was and what the model reads in an epoch."""
    fits = items.filter("fits").with_row_index("place").with_columns(read=pl.col("place").is_in(list(chosen)))
    read = fits.filter("read").group_by("task", "source").agg(pl.len().alias("read"), pl.col("prompt_tokens", "answer_tokens").sum())
    there = items.group_by("task", "source").agg(pl.len().alias("available"), (~pl.col("fits")).sum().alias("too_long"))
    whole = there.join(read, on=["task", "source"], how="left").sort("task", "source")
    return whole.with_columns(pl.exclude("task", "source").fill_null(0).cast(pl.Int64))


def main(profile: str) -> None:
    """Write ``models/finllama_instruct/<profile>/``."""
    params = profile_params(Params, SYSTEM, profile)
    p = params.instruct
    if profile == "full":  # before any work
        require_gpu()
    began = time.perf_counter()
    items, start = read_items(profile), folder(FINLLAMA, profile)
    model, tokenizer = load_lm(start)
    items = fitting(items, tokenizer, p)
    there = items.filter("fits")
    if there.is_empty():
        raise CatalogError("No instruction is short enough; raise instruct.max_prompt and instruct.max_answer.")
    chosen = spread(there["task"].to_list(), p.items, params.seed)
    pairs = [(prompt_ids(tokenizer, prompt), answer) for prompt, answer in there[chosen].select("prompt", "answer").iter_rows()]
    examples = encode(tokenizer, pairs)
    s = settings(p, model.config.num_hidden_layers, params.seed)
    kept = checkpoint_folder(STAGE, profile, model, examples, s)
    found = train_once(model, lower_once(model, examples, s.lora_layers, dtype="auto"), s, kept, desc="instructions")
    if is_main():
        with atomic_dir(ROOT / "models" / INSTRUCT / profile) as target:
            save_lora(found.tensors, s, start.relative_to(ROOT).as_posix(), target / "adapter")
            write_parquet(pl.DataFrame(found.history), target / "curves.parquet")
            write_parquet(counts(items, chosen), target / "items.parquet")
        facts = {"seconds": round(time.perf_counter() - began, 1), "peak_memory_mb": peak_memory_mb()}
        write_json({"runs": [{"run": "instructions", **found.info}]} | facts, ROOT / "models" / INSTRUCT / f"{profile}.run.json")
    finish(STAGE, profile)


if __name__ == "__main__":
    run(main)
