"""D-SARI: SARI for whole documents, with penalties on length and on the number of sentences (Sun, Jin and Wan 2021, section 5).

With I, R, O words of source, reference and output, and S_R, S_O sentences (R and S_R the whole part of the mean over the references):

    LP1 = 1 if O >= R, else exp((O - R) / O)
    LP2 = 1 if O <= R, else exp((R - O) / max(I - R, 1))
    SLP = exp(-|S_R - S_O| / max(S_R, S_O))

    D_keep = F1 of keeping * LP2 * SLP,  D_delete = precision of deleting * LP2,  D_add = F1 of adding * LP1

and D-SARI is their mean. Keeping and deleting average over the different n-grams rather than over their counts; each operation is the mean
over n = 1..4. Documents are scored one by one, and a corpus by the mean over its documents.

Two forms, which are not comparable with each other:

- ``released``: as the authors' released script computes it. It takes the references' counts off twice when it counts right deletions, and
  counts an order without such n-grams as 0, so a perfect output scores below 100; publish the references' own score beside it. Two things
  differ from the script: its sentence splitter has to be downloaded and is replaced by `simple_sentences`; and it cuts at every single
  space, so that two spaces make an empty word, where white space is one here (``tokenise=tokens_single_spaces`` cuts as it does).
- ``robust``: the project's own. A deletion is right as far as the references have fewer of the n-gram than the source, an order with
  nothing to do and nothing done is left out, and so is an operation without any order. A perfect output scores 100. Sentences are those of
  `sentences`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from catalog.base.errors import CatalogError
from stages.simdoc.sari import ORDERS, Overlap, Tokenise, check, overlap, ratio
from stages.simdoc.text import sentences, simple_sentences, tokens_space

FORMS = ("released", "robust")
SPLITTERS = {"released": simple_sentences, "robust": sentences}


@dataclass(frozen=True)
class DSari:
    """D-SARI of one document and its parts."""

    score: float  # 0 to 100, as are the next three
    keep: float | None  # penalties included; None in the robust form where there was nothing to keep
    delete: float | None
    add: float | None
    source_words: int  # I
    reference_words: int  # R
    output_words: int  # O
    reference_sentences: int  # S_R
    output_sentences: int  # S_O
    lp1: float  # penalties, 0 to 1
    lp2: float
    slp: float


def dsari(
    sources: Sequence[str],
    outputs: Sequence[str],
    references: Sequence[Sequence[str]],
    form: str = "released",
    tokenise: Tokenise = tokens_space,
    split: Callable[[str], list[str]] | None = None,
) -> tuple[dict[str, float | None], list[DSari]]:
    """Means over the documents by the fields of `DSari` (undefined parts left out), and each document's.

    Args:
        sources, outputs, references: as for `stages.simdoc.sari.sari`.
        form: of `FORMS`.
        tokenise: cuts text into words; by default at white space, so that punctuation of untokenised text sticks to its word.
        split: cuts text into sentences; by default that of the form in `SPLITTERS`.

    Raises:
        CatalogError: an unknown form, or documents as in `stages.simdoc.sari.sari`.
    """
    check(sources, outputs, references)
    if form not in FORMS:
        raise CatalogError(f"There is no form {form!r} of D-SARI; use {' or '.join(FORMS)}.")
    split = split or SPLITTERS[form]
    found = [_document(*texts, form, tokenise, split) for texts in zip(sources, outputs, references)]
    columns = {name: [row[name] for row in map(asdict, found) if row[name] is not None] for name in asdict(found[0])}
    return {name: float(np.mean(values)) if values else None for name, values in columns.items()}, found


def penalties(i: int, r: int, o: int, s_r: int, s_o: int) -> tuple[float, float, float]:
    """LP1, LP2 and SLP of numbers of words and sentences. An empty output has LP1 0, the limit; none of both sentences has SLP 1."""
    lp1 = 1.0 if o >= r else math.exp((o - r) / o) if o else 0.0
    lp2 = math.exp((r - o) / max(i - r, 1)) if o > r else 1.0
    return lp1, lp2, math.exp(-abs(s_r - s_o) / max(s_r, s_o, 1))


def _document(source: str, output: str, references: Sequence[str], form: str, tokenise: Tokenise, split: Callable) -> DSari:
    before, after, wanted = tokenise(source), tokenise(output), [tokenise(text) for text in references]
    k = len(references)
    i, r, o = len(before), sum(map(len, wanted)) // k, len(after)
    s_r, s_o = sum(len(split(text)) for text in references) // k, len(split(output))
    lp1, lp2, slp = penalties(i, r, o, s_r, s_o)
    found = [overlap(before, after, wanted, n) for n in range(1, ORDERS + 1)]
    robust = form == "robust"
    keep = _mean([_keep(grams) for grams in found], robust)
    delete = _mean([_delete(grams, robust) for grams in found], robust)
    add = _mean([_f1(grams.added_well, grams.added, grams.addable) for grams in found], robust)
    weights = {"keep": (keep, lp2 * slp), "delete": (delete, lp2), "add": (add, lp1)}
    parts = {name: None if value is None else 100 * value * weight for name, (value, weight) in weights.items()}
    defined = [value for value in parts.values() if value is not None]
    score = sum(defined) / len(defined) if defined else 100.0  # nothing to do, nothing done
    return DSari(score, parts["keep"], parts["delete"], parts["add"], i, r, o, s_r, s_o, lp1, lp2, slp)


def _mean(values: list[float | None], robust: bool) -> float | None:
    """Mean over the orders: undefined ones (None) are left out in the robust form and 0 in the released one."""
    if robust:
        values = [value for value in values if value is not None]
        return sum(values) / len(values) if values else None
    return sum(value or 0.0 for value in values) / len(values)


def _keep(grams: Overlap) -> float | None:
    """F1 of the mean share that is right of each n-gram kept, and of each n-gram to keep; None if there are neither."""
    right = np.minimum(grams.kept, grams.keepable)
    if not len(right) or not (grams.kept.any() or grams.keepable.any()):
        return None
    precision, recall = (_share(right, part) for part in (grams.kept, grams.keepable))
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _delete(grams: Overlap, robust: bool) -> float | None:
    """Precision, the mean share that is right of each n-gram deleted; None if none was deleted and none was to be."""
    deleted, deletable = grams.source - grams.kept, grams.source - grams.keepable
    if not (deleted.any() or deletable.any()):
        return None
    right = np.minimum(deleted, deletable) if robust else np.maximum(deleted - grams.references, 0)
    return _share(right, deleted)


def _share(right: np.ndarray, part: np.ndarray) -> float:
    """Mean of ``right`` / ``part`` over the n-grams of ``part``; 0 if it has none."""
    return float(ratio(right, part).sum()) / max(1, int(np.count_nonzero(part)))


def _f1(right: int, ours: int, theirs: int) -> float | None:
    return 2 * right / (ours + theirs) if ours + theirs else None
