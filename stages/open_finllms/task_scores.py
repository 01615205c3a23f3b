"""Scores of the offline tasks from the answers of every model, and what a simpler method gets on the same items. Imports no torch.

`words` is that method: logistic regression on words and pairs of words (TF-IDF), trained on the split train. It measures how far a task can
be told from its words alone, and is what a language model has to beat on a task that was made of wordings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from catalog.base.errors import CatalogError
from stages.open_finllms.score_common import MODES, Scored
from stages.open_finllms.scoring import SCORERS, score
from stages.open_finllms.tasks import Task, prepared

WORDS = "TF-IDF"  # the method above, a name beside those of the models
Row = dict[str, Any]


def items_of(items: pl.DataFrame, task: Task, split: str) -> list[Row]:
    """Items of a task file."""
    name = task.task.removesuffix(f"_{task.num_fewshot}shot")
    found = items.filter((pl.col("task") == name) & (pl.col("split") == split)).to_dicts()
    if not found:
        raise CatalogError(f"data/finance_tasks has no {split} item of {name}; run `dvc repro open_finllms_tasks`.")
    return found


def words(train: list[Row], test: list[Row]) -> dict[str, str]:
    """Answers by words: id -> label."""

    def text(row: Row) -> str:
        return f"{row['context']}\n{row['question'] or ''}"

    model = make_pipeline(TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"[^\s,;]+"), LogisticRegression(C=10, max_iter=2000))
    model.fit([text(row) for row in train], [row["gold"] for row in train])
    return {row["id"]: str(label) for row, label in zip(test, model.predict([text(row) for row in test]))}


def outputs(answers: pl.DataFrame, mode: str) -> pl.DataFrame:
    """One answer a question: mode paper takes that to a long prompt cut from the left, as the published code cuts it."""
    first = pl.col("cut") == ("left" if mode == "paper" else "context")
    return answers.sort(first, descending=True).unique("id", keep="first", maintain_order=True)


def scored(
    items: pl.DataFrame, answers: pl.DataFrame, tasks: Mapping[str, Task]
) -> dict[tuple[str, str, str], tuple[Scored, pl.DataFrame]]:
    """(task file, model or method, mode) -> its scores, and the answers that they are of."""
    found = {}
    for name in answers["task"].unique(maintain_order=True):
        task, of_task = tasks[name], answers.filter(pl.col("task") == name)
        test = {row["id"]: row for row in prepared(task, items_of(items, task, "test"), "data/finance_tasks")}
        by_model = {model: of_task.filter(pl.col("model") == model) for model in of_task["model"].unique(maintain_order=True)}
        answered = set(of_task["id"])
        asked = [row for key, row in test.items() if key in answered]
        if SCORERS[task.scorer].choices and not task.num_fewshot:
            said = words(items_of(items, task, "train"), asked)
            by_model[WORDS] = pl.DataFrame(
                {"id": list(said), "cut": "context", "output": list(said.values()), "prompt": None, "tokens": None, "truncated": False},
                schema_overrides={"prompt": pl.String, "tokens": pl.Int32},
            )
        for model, theirs in by_model.items():
            for mode in MODES:
                used = outputs(theirs, mode)
                result = score(task.scorer, asked, dict(used.select("id", "output").iter_rows()), mode, task.scorer_options)
                found[name, model, mode] = result, used
    return found


def score_table(found: Mapping[tuple[str, str, str], tuple[Scored, pl.DataFrame]], tasks: Mapping[str, Task]) -> pl.DataFrame:
    """The own table `tasks`: the metrics of the task's file, and how many answers had a default put in."""
    rows = []
    for (name, model, mode), (result, used) in found.items():
        task = tasks[name]
        listed = [entry["metric"] for entry in task.metric_list] + ["defaulted"]
        facts = {"task": name, "model": model, "mode": mode, "shots": task.num_fewshot}
        seen = {"truncated": int(used["truncated"].sum()), "longest": used["tokens"].max()}
        for one in result.scores:
            if one.metric in listed and one.value is not None:
                numbers = {"value": one.value, "low": one.low, "high": one.high, "n": one.n, "units": one.units, "missing": one.missing}
                rows.append(facts | {"metric": one.metric, "main": one.metric == listed[0]} | numbers | {"constant": one.constant} | seen)
    return pl.DataFrame(rows, infer_schema_length=None, schema_overrides={"longest": pl.Int64, "constant": pl.Float64})


def predictions(found: Mapping[tuple[str, str, str], tuple[Scored, pl.DataFrame]], items: pl.DataFrame) -> pl.DataFrame:
    """The own table `predictions`: every answer as written and as read."""
    parts = []
    for (name, model, mode), (result, used) in found.items():
        frame = result.items.join(used.select("id", "prompt", "tokens", "truncated"), on="id", how="left", maintain_order="left")
        parts.append(frame.select(pl.lit(name).alias("task"), pl.lit(model).alias("model"), pl.lit(mode).alias("mode"), pl.all()))
    return pl.concat(parts).join(items.select("id", "unit"), on="id", how="left", maintain_order="left")
