"""Right answers of what does not look at the scene as a whole: how often each would be right, question by question.

Each is a share between 0 and 1 for each question, so that a model's right answers are compared with it on the same questions:

- ``chance``: one of the possible answers of its type, drawn at random;
- ``majority``: the answer that is most frequent among the training questions of its type;
- ``text classifier``: a linear model that sees the question's words alone (`leakage`);
- ``any object of the scene``: the property of one of its objects, drawn at random, for questions about one object.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from stages.llava_vqa.leakage import any_object, fit

CHANCE, MAJORITY, TEXT, ANY = "chance", "majority", "text classifier", "any object of the scene"
NAMES = (CHANCE, MAJORITY, TEXT, ANY)
OBJECT_TYPES = ("colour", "kind", "place")  # ask for a property of one object


def rates(questions: pl.DataFrame, splits: tuple[str, ...]) -> pl.DataFrame:
    """Columns method, question, right: of every comparator and question with an answer in ``splits``.

    Args:
        questions: table of the data set `scenes`; its split train is what the majority and the classifier learn from.
    """
    answered = questions.filter(pl.col("answer").is_not_null()).sort("id")
    parts = []
    for (type,), rows in answered.group_by("type", maintain_order=True):
        train, test = rows.filter(split="train"), rows.filter(pl.col("split").is_in(splits))
        if test.is_empty():
            continue
        gold = test["answer"].to_numpy()
        found = {CHANCE: 1 / test["candidates"].list.len().to_numpy()}
        if not train.is_empty():
            counts = train["answer"].value_counts().sort(["count", "answer"], descending=[True, False])
            found[MAJORITY] = (gold == counts["answer"][0]).astype(float)
            guess = fit(train["question"].to_list(), train["answer"].to_list()).predict(test["question"].to_list())
            found[TEXT] = (guess == gold).astype(float)
        if type in OBJECT_TYPES:
            found[ANY] = any_object(test)
        parts += [
            test.select(method=pl.lit(name), question="id", right=pl.Series(np.asarray(right, float))) for name, right in found.items()
        ]
    return pl.concat(parts)
