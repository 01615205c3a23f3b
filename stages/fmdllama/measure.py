"""Answers of every model on the test set: likelihoods of the labels, and decoded answers with their explanations.

Writes ``models/fmdllama_answers/<profile>/``: `likelihoods.parquet`, a row for each model, setting and test item with the log-probability
of each label at its place; and `answers.parquet`, decoded answers of a part of the contexts with BERTScore of their explanation. Methods
are each variant of stage ``fmdllama_train``, its model before any tuning, and that model with a few solved claims in its prompt.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import polars as pl

from catalog.base.errors import run
from catalog.base.io import atomic_dir, write_json, write_parquet
from catalog.base.params import ROOT, profile_params
from catalog.models.devices import peak_memory_mb
from catalog.models.encoder import bertscore, load_encoder, token_embeddings
from catalog.models.inference import generate
from catalog.models.lm import load_lm, require_full
from catalog.training.adapters import folded, saved_lora
from stages.fmdllama.answers import parse
from stages.fmdllama.method import label_scores, prompt_ids
from stages.fmdllama.prompts import LABELS
from stages.fmdllama.settings import Measure, Params, Variant

SYSTEM, MODEL, TUNED = "fmdllama", "fmdllama_answers", "fmdllama"
UNTUNED, FEW_SHOT = "untuned", "few-shot"
LIKELIHOODS = {
    "method": pl.String,
    "model": pl.String,
    "setting": pl.String,
    "task": pl.String,
    "id": pl.String,
    "label": pl.String,
    "scores": pl.List(pl.Float64),
}
ANSWERS = dict.fromkeys(("method", "model", "setting", "task", "id", "text", "label", "status", "explanation"), pl.String) | {
    "bertscore": pl.Float64
}


def shots(items: pl.DataFrame, count: int) -> list[dict[str, Any]]:
    """Solved claims for the few-shot prompt: of the training split, one label after another, from different contexts."""
    train = items.filter(pl.col("split") == "train", pl.col("task") == "claim")
    contexts = train["context_id"].unique(maintain_order=True)
    chosen = []
    for number in range(count):
        label = LABELS["claim"][number % len(LABELS["claim"])]
        chosen.append(train.filter(context_id=contexts[number], label=label).row(0, named=True))
    return chosen


def test_items(items: pl.DataFrame, tasks: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Test items by task, in their order."""
    test = items.filter(pl.col("split") == "test")
    return {task: test.filter(task=task).to_dicts() for task in tasks}


def likelihoods(model: Any, tokenizer: Any, v: Variant, method: str, tested: dict, longest: int, before: Sequence[dict] = ()) -> list[dict]:
    """Rows of `likelihoods.parquet`: the label of the highest log-probability, and all of them."""
    rows = []
    for task, items in tested.items():
        if before and task != "claim":
            continue
        scores = label_scores(model, tokenizer, items, v.setting, longest, before=before)
        for item, values in zip(items, scores):
            row = {"method": method, "model": v.model, "setting": v.setting, "task": task, "id": item["id"]}
            rows.append(row | {"label": LABELS[task][int(np.argmax(values))], "scores": values.tolist()})
    return rows


def decoded(model: Any, tokenizer: Any, v: Variant, method: str, items: list[dict], p: Measure, longest: int, seed: int) -> list[dict]:
    """Rows of `answers.parquet`, still without BERTScore."""
    prompts = [prompt_ids(tokenizer, item, v.setting, p.new_tokens, longest) for item in items]
    texts = generate(
        model, tokenizer, prompts, p.new_tokens, temperature=p.temperature, top_p=p.top_p, seed=seed, desc=f"answers, {method}"
    )
    rows = []
    for item, text in zip(items, texts, strict=True):
        found = parse(text, labels=LABELS[item["task"]])
        row = {"method": method, "model": v.model, "setting": v.setting, "task": item["task"], "id": item["id"], "text": text}
        rows.append(row | {"label": found.label, "status": found.status, "explanation": found.explanation, "bertscore": None})
    return rows


def with_bertscore(rows: list[dict], items: list[dict], encoder: str) -> list[dict]:
    """The rows with BERTScore (F1) of each claim's explanation with the gold one; an empty one has 0."""
    gold = {item["id"]: item["explanation"] for item in items}
    asked = [row for row in rows if row["task"] == "claim"]
    texts = list(dict.fromkeys(text for row in asked for text in (row["explanation"], gold[row["id"]]) if text))
    vectors = dict(zip(texts, token_embeddings(load_encoder(encoder), texts))) if texts else {}
    for row in asked:
        ours, theirs = vectors.get(row["explanation"]), vectors.get(gold[row["id"]])
        row["bertscore"] = 0.0 if ours is None or not len(ours) else round(bertscore(ours, theirs)[2], 6)
    return rows


@contextmanager
def tuned(model: Any, v: Variant, profile: str, rank: int) -> Iterator[Any]:
    """The model with a variant's adapter folded into its weights; where all weights were trained, the model that was saved."""
    folder = ROOT / "models" / TUNED / profile / v.name
    if not rank:
        yield load_lm(folder)[0]
        return
    with saved_lora(model, folder) as adapted, folded(adapted) as merged:
        yield merged


def main(profile: str) -> None:
    """Write ``models/fmdllama_answers/<profile>/``."""
    params = profile_params(Params, SYSTEM, profile)
    p, longest = params.measure, params.train.longest
    if profile == "full":  # before any work
        for name in {v.model for v in params.train.variants}:
            require_full(name)
    began = time.perf_counter()
    items = pl.read_parquet(ROOT / "data" / "fmdid" / profile / "items.parquet")
    found: list[dict] = []
    answers: list[dict] = []
    seen: set[tuple[str, str]] = set()
    for v in params.train.variants:
        model, tokenizer = load_lm(v.model)
        tested = test_items(items, v.tasks)
        contexts = list(dict.fromkeys(item["context_id"] for item in tested.get("claim", [])))[: p.decode_contexts or None]
        part = [item for item in tested.get("claim", []) if item["context_id"] in set(contexts)]
        if (v.model, v.setting) not in seen:
            seen.add((v.model, v.setting))
            found += likelihoods(model, tokenizer, v, UNTUNED, tested, longest)
            answers += decoded(model, tokenizer, v, UNTUNED, part, p, longest, params.seed)
            if p.shots:
                found += likelihoods(model, tokenizer, v, FEW_SHOT, tested, longest, shots(items, p.shots))
        with tuned(model, v, profile, params.train.rank) as changed:
            if v.form == "label first":
                found += likelihoods(changed, tokenizer, v, v.name, tested, longest)
            answers += decoded(changed, tokenizer, v, v.name, part, p, longest, params.seed)
    answers = with_bertscore(answers, items.filter(task="claim").to_dicts(), p.encoder)
    with atomic_dir(ROOT / "models" / MODEL / profile) as folder:
        write_parquet(pl.DataFrame(found, schema=LIKELIHOODS), folder / "likelihoods.parquet")
        write_parquet(pl.DataFrame(answers, schema=ANSWERS), folder / "answers.parquet")
    facts = {"seconds": round(time.perf_counter() - began, 1), "peak_memory_mb": peak_memory_mb()}
    write_json(facts, ROOT / "models" / MODEL / f"{profile}.run.json")


if __name__ == "__main__":
    run(main)
