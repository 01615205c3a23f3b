"""Mix the parts of a corpus in declared shares of tokens.

The paper mixes 52 billion tokens of finance with 18 billion of general text: 25.71 % general (§3, "about 3:1"). General text among the
finance is replayed so that a model keeps what it knows, and its share is the treatment whose effect on forgetting is measured.

The next document always comes from the part that is furthest behind its share. So the shares are right at every point of the stream to
within a document, the order follows from the inputs alone, and nothing is held in memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import polars as pl

from catalog.base.errors import CatalogError
from stages.open_finllms.documents import Document

WHEN_EMPTY = ("stop", "repeat", "go on")


def shares(weights: Mapping[str, float], **fixed: float) -> dict[str, float]:
    """Shares that sum to 1, in proportion to `weights`; a part given in `fixed` has that share, and the others share the rest.

    >>> shares({"finance": 52, "general": 18})["general"]  # 18 of 70
    0.2571...
    >>> shares({"prices": 1, "notes": 3, "general": 9}, general=0.2)
    {'prices': 0.2, 'notes': 0.6, 'general': 0.2}

    Raises:
        CatalogError: a weight that is negative or no number, none above 0, or fixed shares that do not fit.
    """
    unknown = sorted(set(fixed) - set(weights))
    if unknown:
        raise CatalogError(f"The share of {unknown[0]} is set, but there is no such part; the parts are {', '.join(weights)}.")
    for name, value in [*weights.items(), *fixed.items()]:
        if not (math.isfinite(value) and value >= 0):
            raise CatalogError(f"The share of {name} is {value}; give a number from 0 up.")
    rest, free = 1 - sum(fixed.values()), sum(value for name, value in weights.items() if name not in fixed)
    if rest < -1e-9 or (free == 0 and rest > 1e-9):
        raise CatalogError(f"The shares sum to {sum(fixed.values()):g} and nothing else has a weight; let them sum to 1.")
    return {name: fixed[name] if name in fixed else max(rest, 0.0) * value / free if free else 0.0 for name, value in weights.items()}


@dataclass
class Mixed:
    """What a mixture has given so far, by part."""

    target: dict[str, float]
    documents: dict[str, int] = field(default_factory=dict)
    tokens: dict[str, int] = field(default_factory=dict)
    passes: dict[str, int] = field(default_factory=dict)  # times that a part has been begun
    ended: str = ""  # the part that ran out, or the number of tokens wanted

    def report(self) -> pl.DataFrame:
        """part, documents, tokens, passes, target, realised (shares of the tokens; null while there are none)."""
        total = sum(self.tokens.values())
        rows = [
            (name, self.documents[name], self.tokens[name], self.passes[name], share, self.tokens[name] / total if total else None)
            for name, share in self.target.items()
        ]
        numbers = {"documents": pl.Int64, "tokens": pl.Int64, "passes": pl.Int64, "target": pl.Float64, "realised": pl.Float64}
        return pl.DataFrame(rows, schema={"part": pl.String, **numbers}, orient="row")


def mix(
    parts: Mapping[str, Callable[[], Iterable[Document]]],
    target: Mapping[str, float],
    count: Callable[[Document], int],
    found: Mixed,
    *,
    when_empty: str = "stop",
    tokens: float = math.inf,
) -> Iterator[Document]:
    """Documents of all parts in the shares `target`, as they come.

    Args:
        parts: each gives its documents from the first on whenever it is called.
        target: shares that sum to 1; a part with share 0 gives none.
        count: tokens of a document, above 0.
        found: counted into as documents are given.
        when_empty: once the part that is next has no more documents, `stop`; `repeat` it from its first; or `go on` with the others in
            their shares, whereupon the realised shares leave the declared ones.
        tokens: stop once so many have been given.

    Raises:
        CatalogError: parts and shares that do not fit, or a part without any document.
    """
    if when_empty not in WHEN_EMPTY:
        raise CatalogError(f"when_empty is {when_empty!r}; it must be one of {', '.join(WHEN_EMPTY)}.")
    if set(parts) != set(target) or abs(sum(target.values()) - 1) > 1e-6:
        raise CatalogError(f"The shares of {', '.join(target)} sum to {sum(target.values()):g}; let those of {', '.join(parts)} sum to 1.")
    for counts in (found.documents, found.tokens, found.passes):
        counts.update(dict.fromkeys(target, 0))
    open_parts = {name: iter(()) for name in parts if target[name] > 0}
    given = 0
    while open_parts and given < tokens:
        name = min(open_parts, key=lambda part: found.tokens[part] / target[part])
        document = next(open_parts[name], None)
        if document is None:
            if found.passes[name] and when_empty == "stop":
                found.ended = name
                return
            if found.passes[name] and when_empty == "go on":
                del open_parts[name]
                continue
            open_parts[name] = iter(parts[name]())
            found.passes[name] += 1
            document = next(open_parts[name], None)
            if document is None:
                raise CatalogError(f"The part {name} has no document but a share of {target[name]:.4g}; give it documents or no share.")
        n = count(document)
        if n < 1:
            raise CatalogError(f"The document {document.id} has no token; leave empty documents out before mixing.")
        found.documents[name] += 1
        found.tokens[name] += n
        given += n
        yield document
    found.ended = "tokens" if given >= tokens else "documents"
