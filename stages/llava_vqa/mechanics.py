"""The tables of what heads and positions carry: means over questions with intervals, beside the control that each quantity has.

The stage llava_vqa_mechanism writes a number for each question; here they become means, and paired differences from the control.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from stages.llava_vqa import clusters
from stages.llava_vqa.tables import codes

MECHANISM = {
    **dict.fromkeys(("quantity", "condition"), pl.String),
    **{name + end: pl.Float64 for name in ("value", "control", "gain") for end in ("", "_low", "_high")},
    **dict.fromkeys(("n", "images"), pl.Int64),
}


def mechanism(measured: pl.DataFrame, questions: pl.DataFrame) -> pl.DataFrame:
    """One row for each quantity and condition: its mean, that of its control and their paired difference.

    Args:
        measured: quantity, condition, question, value, control. questions: of the data set; says which image a question is about.
    """
    image = dict(questions.select("id", "image").iter_rows())
    found = measured.with_columns(image=pl.col("question").replace_strict(image, return_dtype=pl.String))
    rows = []
    for (quantity, condition), part in found.group_by("quantity", "condition", maintain_order=True):
        where = codes(part["image"])
        value, control = (part[name].cast(pl.Float64).fill_null(np.nan).to_numpy() for name in ("value", "control"))
        parts = (clusters.mean(where, value), clusters.mean(where, control), clusters.difference(where, value, control))
        known = np.isfinite(value)
        if parts[0] is not None:
            counts = (int(known.sum()), len(np.unique(where[known])))
            rows.append((quantity, condition, *(number for each in parts for number in each or (None,) * 3), *counts))
    return pl.DataFrame(rows, schema=MECHANISM, orient="row")
