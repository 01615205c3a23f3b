"""Answers of every model on the test set: likelihoods of the labels, and decoded answers with their explanations.

Writes ``models/fmdllama_answers/<profile>/``: `likelihoods.parquet`, a row for each model, setting and test item with the log-probability
of each label at its place and the reason that was written before it; and `answers.parquet`, decoded answers of a part of the contexts with
BERTScore of their explanation. Methods are each variant of stage ``fmdllama_train``, its model before any tuning, and that model with a few
solved claims in its prompt, which are solved in the form of the variant.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

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
from stages.fmdllama.labelling import label_scores
from stages.fmdllama.method import groups, prompt_ids, spread
from stages.fmdllama.prompts import LABELS, answer, prompt
from stages.fmdllama.settings import Measure, Params, Variant

SYSTEM, MODEL, TUNED = "fmdllama", "fmdllama_answers", "fmdllama"
UNTUNED, FEW_SHOT = "untuned", "few-shot"
PAPER = "label first"  # the form in which the untuned model is asked
WRITTEN_AT_ONCE = 24576  # tokens of prompts and answers that are written together
LIKELIHOODS = {
    "method": pl.String,
    "model": pl.String,
    "setting": pl.String,
    "task": pl.String,
    "id": pl.String,
    "label": pl.String,
    "scores": pl.List(pl.Float64),
    "reason": pl.String,
}
ANSWERS = dict.fromkeys(("method", "model", "setting", "task", "id", "text", "label", "status", "explanation"), pl.String) | {
    "bertscore": pl.Float64
}


class Asked(NamedTuple):
    """Who is asked, and in which setting: the key of a row."""

    method: str
    model: str
    setting: str


def shots(items: pl.DataFrame, count: int) -> list[dict[str, Any]]:
    """Solved claims for the few-shot prompt: of the training split, one label after another, from different contexts."""
    train = items.filter(pl.col("split") == "train", pl.col("task") == "claim")
    contexts = spread(train["context_id"].unique(maintain_order=True).to_list(), count)
    chosen = []
    for number in range(count):
        label = LABELS["claim"][number % len(LABELS["claim"])]
        chosen.append(train.filter(context_id=contexts[number], label=label).row(0, named=True))
    return chosen


def turns(solved: Sequence[dict[str, Any]], setting: str, form: str) -> list[dict[str, str]]:
    """Solved items as turns of a conversation."""
    return [
        message for item in solved for message in (prompt(item, setting, form)[1], {"role": "assistant", "content": answer(item, form)})
    ]


def of_contexts(items: list[dict], count: int) -> list[dict]:
    """The items of so many contexts, at even distances; of all for 0."""
    kept = set(spread(list(dict.fromkeys(item["context_id"] for item in items)), count))
    return [item for item in items if item["context_id"] in kept]


def likelihoods(
    model: Any, tokenizer: Any, asked: Asked, items: list[dict], form: str, p: Measure, longest: int, solved: Sequence[dict] = ()
) -> list[dict]:
    """Rows of `likelihoods.parquet`: the label of the highest log-probability, all of them, and the reason before it."""
    if not items:
        return []
    task = items[0]["task"]
    before = turns(solved, asked.setting, form)
    prompts = [prompt_ids(tokenizer, item, asked.setting, form, p.reason_tokens + 8, longest, before=before) for item in items]
    shared = asked.setting == "full" or task == "article"  # then the prompts of one context begin alike
    members = groups(items, len(items) if shared else 1)
    desc = f"labels, {asked.method}, {asked.setting}"
    found = label_scores(model, tokenizer, items, form, prompts, members, p.reason_tokens, desc)
    key = {"method": asked.method, "model": asked.model, "setting": asked.setting, "task": task}
    return [
        key | {"id": item["id"], "label": LABELS[task][int(np.argmax(values))], "scores": values.tolist(), "reason": reason}
        for item, values, reason in zip(items, found.scores, found.reasons, strict=True)
    ]


def decoded(model: Any, tokenizer: Any, asked: Asked, items: list[dict], form: str, p: Measure, longest: int, seed: int) -> list[dict]:
    """Rows of `answers.parquet`, still without BERTScore: answers of which the explanation is asked as well."""
    prompts = [prompt_ids(tokenizer, item, asked.setting, form, p.new_tokens, longest, True) for item in items]
    options = {"temperature": p.temperature, "top_p": p.top_p, "seed": seed, "max_tokens": WRITTEN_AT_ONCE}
    texts = generate(model, tokenizer, prompts, p.new_tokens, desc=f"answers, {asked.method}", **options)
    rows = []
    for item, text in zip(items, texts, strict=True):
        found = parse(text, labels=LABELS[item["task"]])
        row = {"method": asked.method, "model": asked.model, "setting": asked.setting, "task": item["task"], "id": item["id"], "text": text}
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
    test = items.filter(pl.col("split") == "test")
    tested = {task: test.filter(task=task).to_dicts() for task in LABELS}
    tested["article"] = of_contexts(tested["article"], p.contexts["article"])
    found: list[dict] = []
    answers: list[dict] = []
    seen: set[tuple[str, str]] = set()
    for v in params.train.variants:
        model, tokenizer = load_lm(v.model)
        parts = {setting: of_contexts(tested["claim"], p.contexts[setting]) if "claim" in v.tasks else [] for setting in v.asked}
        written = of_contexts(tested["claim"], p.decode_contexts) if "claim" in v.tasks else []
        for setting, part in parts.items():
            if (v.model, setting) not in seen:
                seen.add((v.model, setting))
                bare, few = Asked(UNTUNED, v.model, setting), Asked(FEW_SHOT, v.model, setting)
                found += likelihoods(model, tokenizer, bare, part, PAPER, p, longest)
                answers += decoded(model, tokenizer, bare, written, PAPER, p, longest, params.seed) if setting == v.setting else []
                if p.shots and setting == v.setting:
                    few_part = of_contexts(part, p.shot_contexts)
                    found += likelihoods(model, tokenizer, few, few_part, v.form, p, longest, shots(items, p.shots))
        if "article" in v.tasks and (v.model, "article") not in seen:
            seen.add((v.model, "article"))
            found += likelihoods(model, tokenizer, Asked(UNTUNED, v.model, "full"), tested["article"], PAPER, p, longest)
        with tuned(model, v, profile, params.train.rank) as changed:
            for setting, part in parts.items():
                found += likelihoods(changed, tokenizer, Asked(v.name, v.model, setting), part, v.form, p, longest)
            if "article" in v.tasks:
                found += likelihoods(changed, tokenizer, Asked(v.name, v.model, "full"), tested["article"], v.form, p, longest)
            own = Asked(v.name, v.model, v.setting)
            answers += decoded(changed, tokenizer, own, written, v.form, p, longest, params.seed)
    answers = with_bertscore(answers, items.filter(task="claim").to_dicts(), p.encoder)
    with atomic_dir(ROOT / "models" / MODEL / profile) as folder:
        write_parquet(pl.DataFrame(found, schema=LIKELIHOODS), folder / "likelihoods.parquet")
        write_parquet(pl.DataFrame(answers, schema=ANSWERS), folder / "answers.parquet")
    facts = {"seconds": round(time.perf_counter() - began, 1), "peak_memory_mb": peak_memory_mb()}
    write_json(facts, ROOT / "models" / MODEL / f"{profile}.run.json")


if __name__ == "__main__":
    run(main)
