"""Lines of English words, drawn at random from a short list, split in train and test.

The text has spelling but no grammar: letters depend on their neighbours within a word, words do not. Nothing is downloaded. A
data set that begins with an asset reads ``data/assets/<asset>/`` here instead.
"""

from __future__ import annotations

import random

import polars as pl

from catalog.base.errors import run
from catalog.base.io import write_parquet
from catalog.base.params import ROOT, profile_params
from stages._template.settings import Data, Params

SYSTEM = "_template"
WORDS = (
    "the of and that which letter before after with some other another there where thing nothing sound round under "
    "number print paper word order string spring wing ring queen quiet quick question answer"
).split()


def build(p: Data, seed: int) -> pl.DataFrame:
    """Return id, split and text, one row a line; the same seed gives the same lines."""
    rng = random.Random(seed)
    splits = ["train"] * p.train + ["test"] * p.test
    rows = [{"split": split, "text": " ".join(rng.choices(WORDS, k=p.words))} for split in splits]
    return pl.DataFrame(rows).with_row_index("id").with_columns(pl.col("id").cast(pl.Int32))


def main(profile: str) -> None:
    """Write ``data/_template/<profile>/lines.parquet``."""
    params = profile_params(Params, SYSTEM, profile)
    write_parquet(build(params.data, params.seed), ROOT / "data" / SYSTEM / profile / "lines.parquet")


if __name__ == "__main__":
    run(main)
