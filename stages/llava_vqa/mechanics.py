"""The tables of what heads and positions carry: means over questions with intervals, beside the control that each quantity has.

The stage llava_vqa_mechanism writes a number for each question; here they become means, and paired differences from the control.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from catalog.base.errors import CatalogError
from stages.llava_vqa import clusters
from stages.llava_vqa.tables import codes

TOLD, SHOWN = "llava-tqa", "llava-vqa"  # conditions: the LLaVA's language model told the scene, the LLaVA shown it
MECHANISM = {
    **dict.fromkeys(("quantity", "condition"), pl.String),
    **{name + end: pl.Float64 for name in ("value", "control", "gain", "beyond_told") for end in ("", "_low", "_high")},
    **dict.fromkeys(("n", "images"), pl.Int64),
}
METRICS = {"logit difference": "logit_difference", "attention": "attention_share", "best heads shared": "head_overlap"}
METRICS |= {"log-probability lost": "logprob_loss", "colour": "mrr", "kind": "mrr"}  # begin of a quantity -> metric


def metric(quantity: str) -> str:
    """The metric of a quantity.

    Raises:
        CatalogError: a quantity that none is known of.
    """
    for begin, name in METRICS.items():
        if quantity.startswith(begin):
            return name
    raise CatalogError(
        f"The mechanism of llava_vqa has the quantity {quantity}, which no metric is named for; add it to mechanics.METRICS."
    )


def mechanism(measured: pl.DataFrame, questions: pl.DataFrame) -> pl.DataFrame:
    """One row for each quantity and condition: its mean, that of its control, and the paired differences from it and from the text.

    Args:
        measured: quantity, condition, question, value, control. questions: of the data set; says which image a question is about.
    """
    image = dict(questions.select("id", "image").iter_rows())
    found = measured.with_columns(image=pl.col("question").replace_strict(image, return_dtype=pl.String))
    told = found.filter(condition=TOLD).select("quantity", "question", told="value")
    shown = pl.when(pl.col("condition") == SHOWN).then("told")
    found = found.join(told, on=["quantity", "question"], how="left", maintain_order="left").with_columns(shown)
    rows = []
    for (quantity, condition), part in found.group_by("quantity", "condition", maintain_order=True):
        where = codes(part["image"])
        value, control, text = (part[name].cast(pl.Float64).fill_null(np.nan).to_numpy() for name in ("value", "control", "told"))
        parts = [clusters.mean(where, value), clusters.mean(where, control)]
        parts += [clusters.difference(where, value, other) for other in (control, text)]
        known = np.isfinite(value)
        if parts[0] is not None:
            counts = (int(known.sum()), len(np.unique(where[known])))
            rows.append((quantity, condition, *(number for each in parts for number in each or (None,) * 3), *counts))
    return pl.DataFrame(rows, schema=MECHANISM, orient="row")
