"""Answers to the test items without a language model: labels of trivial rules, linear models and the reader, and copied explanations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import polars as pl

from stages.fmdllama import baselines
from stages.fmdllama.prompts import shown
from stages.fmdllama.reader import Reader

Item = Mapping[str, Any]
LABELLED = dict.fromkeys(("task", "id", "setting", "method", "label"), pl.String)
EXPLAINED = dict.fromkeys(("task", "id", "setting", "method", "explanation"), pl.String)
READER, MAJORITY, OVERLAP = "reader", "majority", "topic overlap"
WORDS, CHARACTERS, BEST = "TF-IDF of words", "TF-IDF of characters", "TF-IDF of words, best sentence"
CLASSIFIERS = (WORDS, CHARACTERS, BEST)  # what stands in for the fine-tuned RoBERTa of the paper
COPY = "copy of what is shown"


def split_of(items: pl.DataFrame, task: str, split: str) -> list[dict[str, Any]]:
    """Items of one task and split, in their order."""
    return items.filter(task=task, split=split).to_dicts()


def labelled(items: pl.DataFrame, reader: Reader) -> pl.DataFrame:
    """Labels of the test items by every method: the columns of `LABELLED`.

    Methods that see one setting alone have its name; the majority, which sees nothing, stands under both. A note has no sentences to be
    retrieved and stands under ``full``.
    """
    rows: list[dict[str, str]] = []

    def add(task: str, setting: str, method: str, test: Sequence[Item], labels: Sequence[str]) -> None:
        rows.extend(
            {"task": task, "id": item["id"], "setting": setting, "method": method, "label": label}
            for item, label in zip(test, labels, strict=True)
        )

    train, test = (split_of(items, "claim", split) for split in ("train", "test"))
    views = baselines.views(items.filter(task="claim"))
    views["best"] = lambda item: f"{item['claim']} {baselines.best_sentence(item)}"
    gold = [item["label"] for item in train]
    fitted = (("retrieved", WORDS, "retrieved", "word"), ("retrieved", CHARACTERS, "retrieved", "char_wb"), ("full", WORDS, "full", "word"))
    for setting, method, view, analyzer in (*fitted, ("full", CHARACTERS, "full", "char_wb"), ("full", BEST, "best", "word")):
        texts = [[views[view](item) for item in part] for part in (train, test)]
        add("claim", setting, method, test, baselines.linear(texts[0], gold, texts[1], analyzer))
    for setting in ("retrieved", "full"):
        add("claim", setting, OVERLAP, test, baselines.overlap(train, test, setting))
        add("claim", setting, MAJORITY, test, [baselines.majority(gold)] * len(test))
        add("claim", setting, READER, test, [reader.label(item["claim"], shown(item, setting)) for item in test])

    train, test = (split_of(items, "article", split) for split in ("train", "test"))
    gold = [item["label"] for item in train]
    texts = [[" ".join(item["context"]) for item in part] for part in (train, test)]
    for method, analyzer in ((WORDS, "word"), (CHARACTERS, "char_wb")):
        add("article", "full", method, test, baselines.linear(texts[0], gold, texts[1], analyzer))
    add("article", "full", MAJORITY, test, [baselines.majority(gold)] * len(test))
    add("article", "full", READER, test, [reader.note_label(item["context"]) for item in test])
    return pl.DataFrame(rows, schema=LABELLED)


def copies(words: Sequence[int]) -> dict[tuple[str, str], Callable[[Item], str]]:
    """(setting, method) -> explanation of a claim without reading it: the first or last words, what is shown, the likeliest sentence."""
    found: dict[tuple[str, str], Callable[[Item], str]] = {
        ("retrieved", COPY): lambda item: " ".join(shown(item, "retrieved")),
        ("full", COPY): lambda item: " ".join(shown(item, "full")),
        ("full", "copy of the best sentence"): baselines.best_sentence,
    }
    for count in words:
        found["full", f"first {count} words"] = lambda item, count=count: baselines.lead(item, count)
        found["full", f"last {count} words"] = lambda item, count=count: baselines.tail(item, count)
    return found


def explained(items: pl.DataFrame, words: Sequence[int]) -> pl.DataFrame:
    """Explanations of the test claims by every copy: the columns of `EXPLAINED`."""
    test = split_of(items, "claim", "test")
    rows = [
        {"task": "claim", "id": item["id"], "setting": setting, "method": method, "explanation": copy(item)}
        for (setting, method), copy in copies(words).items()
        for item in test
    ]
    return pl.DataFrame(rows, schema=EXPLAINED)
