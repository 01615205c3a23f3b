"""The project's own graded documents and their tables, for the tests of simdoc: built once."""

from functools import cache

from stages.simdoc import corpora, dataset
from stages.simdoc.settings import Data

DATA = Data(
    corpus="graded",
    path=None,
    files=(),
    levels=("advanced", "intermediate", "elementary"),
    pairs=(("advanced", "elementary"), ("intermediate", "elementary")),
    shares={"train": 0.6, "validation": 0.2, "test": 0.2},
    shuffles=3,
    min_sentences=3,
)


@cache
def graded():
    return corpora.load("graded", None)


@cache
def tables():
    return dataset.build(graded(), DATA, 0)
