"""Answers of every model to the test items of the offline tasks, as they were written.

Models are the one before any training, FinLLaMA and FinLLaMA-Instruct (`models.names`); each answers every task without examples, and some
with five of the split train before each question, as in the paper. Decoding is greedy, with as many new tokens as the task's file allows.

Writes `models/finance_answers/<profile>/answers.parquet`, key [model, task, id, cut]. How an answer is read is decided later, by `scoring`.
"""

from __future__ import annotations

import time
from functools import partial

import polars as pl

from catalog.base.deps import require_dep
from catalog.base.errors import CatalogError, run
from catalog.base.io import atomic_dir, write_json, write_parquet
from catalog.base.params import ROOT, profile_params
from catalog.models.devices import peak_memory_mb
from stages.open_finllms import models
from stages.open_finllms.asking import Row, ask
from stages.open_finllms.settings import Answers, Params
from stages.open_finllms.tasks import FOLDER, Task, prepared
from stages.open_finllms.tasks import load as load_tasks

SYSTEM, NAME = "open_finllms", "finance_answers"
SCHEMA = {
    **dict.fromkeys(("model", "task", "id", "cut", "prompt", "output"), pl.String),
    "tokens": pl.Int32,
    "truncated": pl.Boolean,
}


def asked(items: pl.DataFrame, p: Answers, tasks: dict[str, Task]) -> list[tuple[Task, list[Row], list[Row]]]:
    """(task, questions, rows for examples) of each task file; the tasks with examples ask the first of the questions.

    Raises:
        CatalogError: a task without questions, or a few-shot task that has no file.
    """
    unknown = sorted(p.few_shot.keys() - tasks.keys())
    if unknown:
        raise CatalogError(f"answers.few_shot names {unknown[0]}, for which there is no file in stages/open_finllms/tasks/offline.")
    found = []
    for name, task in tasks.items():
        if task.num_fewshot and name not in p.few_shot:
            continue
        of = items.filter(pl.col("task") == name.removesuffix(f"_{task.num_fewshot}shot"))
        rows = [prepared(task, of.filter(pl.col("split") == split).to_dicts(), f"the offline task {name}") for split in ("test", "train")]
        if not rows[0]:
            raise CatalogError(f"data/finance_tasks has no test item of {name}; raise tasks.sizes, or remove its file.")
        found.append((task, rows[0][: p.few_shot.get(name)] if task.num_fewshot else rows[0], rows[1]))
    return found


def main(profile: str) -> None:
    """Write `models/finance_answers/<profile>/`."""
    params = profile_params(Params, SYSTEM, profile)
    p = params.answers
    path = ROOT / "data" / "finance_tasks" / profile / "items.parquet"
    require_dep(path.parent, ROOT)
    if not path.is_file():
        raise CatalogError(f"There are no questions in {path.relative_to(ROOT)}; run `dvc repro {SYSTEM}_tasks` to make them.")
    began = time.perf_counter()
    questions = asked(pl.read_parquet(path), p, load_tasks(FOLDER / "offline"))
    rows, seconds = [], {}
    for name in models.names(profile):
        start = time.perf_counter()
        model, tokenizer = models.load(name, profile)
        ids = partial(models.prompt_ids, tokenizer)
        mine = [one for one in questions if name != models.INSTRUCT or not one[0].num_fewshot]  # the paper gives it no examples
        for one, output in ask(model, tokenizer, mine, ids, p.longest, p.batch_tokens, desc=f"answers, {name}"):
            facts = {"model": name, "task": one.task, "id": one.id, "cut": one.cut, "prompt": one.digest, "output": output}
            rows.append(facts | {"tokens": one.tokens, "truncated": one.truncated})
        seconds[name] = round(time.perf_counter() - start, 1)
        del model
    table = pl.DataFrame(rows, schema=SCHEMA).sort("model", "task", "id", "cut")
    with atomic_dir(ROOT / "models" / NAME / profile) as folder:
        write_parquet(table, folder / "answers.parquet")
    facts = {"seconds": round(time.perf_counter() - began, 1), "peak_memory_mb": peak_memory_mb(), "seconds_by_model": seconds}
    write_json(facts, ROOT / "models" / NAME / f"{profile}.run.json")


if __name__ == "__main__":
    run(main)
