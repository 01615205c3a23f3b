"""Does a question give its answer away without the image? A classifier of the question's words, and two comparators.

What a model scores on a split is held against three ways to answer without understanding: from the question's words alone, with the answer
that was most frequent in training, and with the property of any one object of the scene.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from catalog.report.intervals import wilson

SCHEMA = {
    "split": pl.String,
    "type": pl.String,
    "n": pl.Int64,
    "chance": pl.Float64,
    "text": pl.Float64,
    "text_low": pl.Float64,
    "text_high": pl.Float64,
    "majority": pl.Float64,
    "any_object": pl.Float64,
}


def leakage(questions: pl.DataFrame, splits: tuple[str, ...] = ("seen", "unseen")) -> pl.DataFrame:
    """One row for each split and type of question.

    Args:
        questions: table of questions of the data set `scenes`; the classifier is fitted to its split train, one for each type.

    Returns:
        columns of `SCHEMA`: `chance`, 1 over the number of possible answers; `text`, the accuracy of a logistic regression on TF-IDF of
        words and pairs of words, with its 95 % interval; `majority`, that of the most frequent answer of training; `any_object`, that of
        naming one of the scene's objects at random, for the types that ask for a property of one object, else null.
    """
    answered = questions.filter(pl.col("answer").is_not_null()).sort("id")
    rows = []
    for type in answered["type"].unique(maintain_order=True).sort():
        train = answered.filter(pl.col("type") == type, pl.col("split") == "train")
        model = fit(train["question"].to_list(), train["answer"].to_list())
        majority = train["answer"].value_counts().sort(["count", "answer"], descending=[True, False])["answer"][0]
        for split in splits:
            test = answered.filter(pl.col("type") == type, pl.col("split") == split)
            if test.is_empty():
                continue
            right = model.predict(test["question"].to_list()) == test["answer"].to_numpy()
            low, high = wilson(int(right.sum()), len(right))
            rows.append(
                {
                    "split": split,
                    "type": type,
                    "n": test.height,
                    "chance": float((1 / test["candidates"].list.len()).mean()),
                    "text": float(right.mean()),
                    "text_low": low,
                    "text_high": high,
                    "majority": float((test["answer"] == majority).mean()),
                    "any_object": float(any_object(test).mean()) if type in ("colour", "kind", "place") else None,
                }
            )
    return pl.DataFrame(rows, schema=SCHEMA).sort("split", "type")


def any_object(questions: pl.DataFrame) -> np.ndarray:
    """Probability of the right answer for somebody who names the property of any object of the scene, for each question."""
    return np.array([(1 + others.count(answer)) / (1 + len(others)) for answer, others in questions.select("answer", "others").iter_rows()])


def fit(texts: list[str], answers: list[str]):
    """A logistic regression on TF-IDF of words and pairs of words."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    model = make_pipeline(TfidfVectorizer(ngram_range=(1, 2)), LogisticRegression(max_iter=1000))
    return model.fit(texts, np.array(answers))
