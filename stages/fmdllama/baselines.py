"""What can be had without a language model: trivial answers, linear models of words, copies of the context, and the reader.

Two kinds of linear models. The *probes* see what must not tell the labels apart (the claim alone, the end of the context, the context
without the sentence that decides): above chance, they would show a leak of the set. The *rivals* see what a model is shown.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from stages.fmdllama.prompts import shown

LAST = 60  # words of a context's end that a probe sees, as for the published set, whose verdicts stand there
Item = Mapping[str, Any]


def twins(items: pl.DataFrame) -> pl.DataFrame:
    """``items`` with ``triple``, the name that the True, False and NEI claim on the same words have in common."""
    return items.with_columns(triple=pl.col("id").str.replace("-(True|False|NEI|Fake)$", ""))


def removed(items: pl.DataFrame) -> dict[str, list[int]]:
    """For each claim the sentences that a probe may not see: those that decide it; for NEI, which has none, those of a twin.

    Taking nothing out of a context of NEI, or the sentence on the claim's share and month, would change how many sentences of the asked
    kind are left, and the number alone would give the label away. The twin is True and False by turns.
    """
    found: dict[str, list[int]] = {}
    for number, (_, triple) in enumerate(twins(items.filter(pl.col("task") == "claim")).group_by("triple", maintain_order=True)):
        deciding = dict(zip(triple["label"], triple["deciding"].to_list()))
        for key, label in triple.select("id", "label").iter_rows():
            found[key] = deciding[label if label != "NEI" else ("True", "False")[number % 2]]
    return found


def views(items: pl.DataFrame) -> dict[str, Callable[[Item], str]]:
    """What a linear model sees of a claim, by name: probes first, then what a model is shown in each setting."""
    gone = removed(items)

    def rest(item: Item) -> str:
        return " ".join(text for i, text in enumerate(item["context"]) if i not in gone[item["id"]])

    return {
        "claim": lambda item: item["claim"],
        "context": lambda item: " ".join(item["context"]),
        "last words": lambda item: " ".join(" ".join(item["context"]).split()[-LAST:]),
        "without what decides": rest,
        "claim, without what decides": lambda item: f"{item['claim']} {rest(item)}",
        "retrieved": lambda item: " ".join([item["claim"], *shown(item, "retrieved")]),
        "full": lambda item: " ".join([item["claim"], *shown(item, "full")]),
    }


def linear(train: Sequence[str], labels: Sequence[str], test: Sequence[str], analyzer: str = "word", seed: int = 0) -> list[str]:
    """Labels of texts by TF-IDF and logistic regression fitted on other texts.

    Args:
        analyzer: ``word`` (1- and 2-grams) or ``char_wb`` (2- to 5-grams of characters within words).
    """
    grams = (1, 2) if analyzer == "word" else (2, 5)
    model = make_pipeline(
        TfidfVectorizer(analyzer=analyzer, ngram_range=grams, min_df=2), LogisticRegression(max_iter=2000, random_state=seed)
    )
    model.fit(list(train), list(labels))
    return [str(label) for label in model.predict(list(test))]


def overlap_features(item: Item, setting: str = "full") -> list[float]:
    """Of the sentence that shares most with the claim: shared share names, month, words; and whether it has a percentage or a price."""
    best = best_sentence(item, setting)
    claim, sentence = (_words(text) for text in (item["claim"], best))
    months = re.findall(r"[A-Z][a-z]+ \d{4}", item["claim"])
    return [
        len(claim & sentence) / max(1, len(claim)),
        float(any(month in best for month in months)),
        float("%" in best),
        float("$" in best),
        float("%" in item["claim"] or "percent" in item["claim"]),
        float("$" in item["claim"] or "dollars" in item["claim"]),
        float("days" in best or "links" in best),
    ]


def overlap(train: Sequence[Item], test: Sequence[Item], setting: str = "full") -> list[str]:
    """Labels by logistic regression on `overlap_features` and their products: what being on the topic tells, without reading."""
    from sklearn.preprocessing import PolynomialFeatures, StandardScaler

    model = make_pipeline(PolynomialFeatures(2, include_bias=False), StandardScaler(), LogisticRegression(max_iter=2000))
    model.fit(np.array([overlap_features(item, setting) for item in train]), [item["label"] for item in train])
    return [str(label) for label in model.predict(np.array([overlap_features(item, setting) for item in test]))]


def best_sentence(item: Item, setting: str = "full") -> str:
    """The sentence of the context that has most of the claim's words; the first of several."""
    claim = _words(item["claim"])
    return max(shown(item, setting), key=lambda sentence: len(claim & _words(sentence)))


def lead(item: Item, words: int) -> str:
    """The first words of the context, as an explanation."""
    return " ".join(" ".join(item["context"]).split()[:words])


def tail(item: Item, words: int) -> str:
    """The last words of the context, as an explanation."""
    return " ".join(" ".join(item["context"]).split()[-words:])


def majority(train: Sequence[str]) -> str:
    """The most frequent label; of several the first in the alphabet."""
    return max(sorted(set(train)), key=list(train).count)


def _words(text: str) -> set[str]:
    return set(re.findall(r"[A-Za-z0-9.]+", text.lower()))
