"""The layered memory of FinMem: what an agent has read, what it forgets and what it finds again.

A memory is a text with a vector, in one of four layers: short (daily notes), mid (weekly summaries, for the paper's 10-Q), long (monthly
ones, for its 10-K) and reflection (lessons). It has an importance, drawn when it is filed, and a recency, and each layer forgets at a speed
of its own:

    recency = exp(-delta / Q), delta the days since it was filed      importance = importance * fade, each day
    score = cosine with the query + recency + min(importance, 100) / 100

`step` ends a day: both decay, what is faint (recency below .05 or importance below 5) is deleted, and what has become important rises to
the next layer with its recency renewed, as what has lost importance falls. Feedback adds its sign to a counter of the memory, and five
times the *counter* to its importance, so that three good outcomes add 5 + 10 + 15.

Mode ``strict`` returns the k memories of the best score, best first. Mode ``paper`` does what the released code does:

* Two searches of k each, the best k of both taken together. The first is by cosine. The second means to be by recency and importance, but
  takes the *first* k of an ascending list: the lowest. A memory that both find counts twice, so fewer than k may come back.
* They come back in the order of their ids, not of their scores.
* That list is put in order when something is filed or moved; the reflections, which never move, keep an order that has become wrong.
* A memory that rose keeps the score of its old recency until the next day.
* A memory that ever changed its layer gets no feedback any more.

Importance is drawn with a seed; the released code has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import NamedTuple

import numpy as np

from catalog.base.errors import CatalogError
from catalog.base.vectors import unit_rows

MODES = ("paper", "strict")
FAINT = 0.05  # recency
TRIVIAL = 5.0  # importance
STEP = 5.0  # of importance, for each point of the counter


class Layer(NamedTuple):
    """How a layer remembers."""

    q: float  # days in which recency falls to 1 / e
    fade: float  # of importance, a day
    up: float  # importance from which a memory rises to the next layer
    down: float  # importance below which it falls
    drawn: tuple[float, ...]  # importance of a new memory, with these chances
    chances: tuple[float, ...]


LAYERS = {
    "short": Layer(3, 0.92, 60, -np.inf, (50, 70, 90), (0.5, 0.45, 0.05)),
    "mid": Layer(90, 0.967, 80, 60, (40, 60, 80), (0.05, 0.8, 0.15)),
    "long": Layer(365, 0.988, np.inf, 80, (40, 60, 80), (0.05, 0.15, 0.8)),
    "reflection": Layer(365, 0.988, np.inf, -np.inf, (40, 60, 80), (0.05, 0.15, 0.8)),
}
NAMES = tuple(LAYERS)
SHORT, MID, LONG, REFLECTION = range(4)
# Layer, where its important memories go and where its unimportant ones; in this order, twice a day.
JUMPS = ((SHORT, MID, None), (MID, LONG, SHORT), (LONG, None, MID))
_Q = np.array([layer.q for layer in LAYERS.values()])
_FADE = np.array([layer.fade for layer in LAYERS.values()])


class Found(NamedTuple):
    """A memory that a query found, and the parts of its score."""

    id: int
    score: float
    cosine: float
    recency: float
    importance: float


def recency(layer: str, delta: float | np.ndarray) -> float | np.ndarray:
    """Recency of a memory of ``layer`` after ``delta`` days, in (0, 1]."""
    return np.exp(-np.asarray(delta, dtype=float) / LAYERS[layer].q)


def partial_score(recency: float | np.ndarray, importance: float | np.ndarray) -> float | np.ndarray:
    """The part of a score that does not depend on the query."""
    return recency + np.minimum(importance, 100.0) / 100


class Memory:
    """The memories of one agent on one share.

    Args:
        mode: ``strict`` or ``paper``, as the module's docstring describes them.
        seed: of the importance of new memories.
    """

    def __init__(self, mode: str = "strict", seed: int = 0) -> None:
        if mode not in MODES:
            raise CatalogError(f"There is no mode {mode!r} of the memory; use paper or strict.")
        self.mode = mode
        self._rng = np.random.default_rng(seed)
        self.texts: list[str] = []  # of every memory there ever was, by id
        self.dates: list[date] = []
        self.born: list[str] = []  # the layer it was filed in
        self.gone: set[int] = set()  # deleted
        self.moved: set[int] = set()  # changed their layer at least once
        # One row a living memory.
        self.ids = np.zeros(0, dtype=int)
        self.layer = np.zeros(0, dtype=int)
        self.importance = np.zeros(0)
        self.recency = np.zeros(0)
        self.delta = np.zeros(0)
        self.counter = np.zeros(0, dtype=int)
        self.partial = np.zeros(0)
        self.vectors: np.ndarray | None = None
        self._key = np.zeros(0)  # `partial` when the row was last put in order, and the place among rows of the same key
        self._place = np.zeros(0, dtype=int)

    def __len__(self) -> int:
        return len(self.ids)

    def add(self, layer: str, day: date, texts: Sequence[str], vectors: np.ndarray) -> list[int]:
        """File texts under ``day``; returns their ids, 0, 1, 2 … over all layers.

        Args:
            vectors: ``(texts, d)``; scaled to length 1 here.
        """
        texts = list(texts)
        vectors = np.asarray(vectors, dtype=np.float32).reshape(len(texts), -1)
        if not np.isfinite(vectors).all():
            raise CatalogError(f"The vector of a memory of {day} has values that are no numbers; check the encoder.")
        rule, n = LAYERS[layer], len(texts)
        first = len(self.texts)
        new = np.arange(first, first + n)
        importance = self._rng.choice(rule.drawn, size=n, p=rule.chances).astype(float)
        self.texts += texts
        self.dates += [day] * n
        self.born += [layer] * n
        if n:
            self.vectors = unit_rows(vectors) if self.vectors is None else np.concatenate([self.vectors, unit_rows(vectors)])
        self.ids = np.concatenate([self.ids, new])
        self.layer = np.concatenate([self.layer, np.full(n, NAMES.index(layer))])
        self.importance = np.concatenate([self.importance, importance])
        self.recency = np.concatenate([self.recency, np.ones(n)])
        self.delta = np.concatenate([self.delta, np.zeros(n)])
        self.counter = np.concatenate([self.counter, np.zeros(n, dtype=int)])
        partial = partial_score(np.ones(n), importance)
        self.partial = np.concatenate([self.partial, partial])
        self._key = np.concatenate([self._key, partial])
        self._place = np.concatenate([self._place, np.zeros(n, dtype=int)])
        self._file(np.isin(self.ids, new))
        return new.tolist()

    def recall(self, vector: np.ndarray, k: int, without: Sequence[int] = ()) -> dict[str, list[Found]]:
        """Up to k memories of each layer for a query; all cosines are one matrix product.

        Args:
            vector: ``(d,)``, of the query.
            without: ids that are not looked for.
        """
        if not len(self):
            return {name: [] for name in NAMES}
        cosines = (self.vectors @ unit_rows(np.asarray(vector, dtype=np.float32).reshape(1, -1))[0]).astype(float)
        wanted = ~np.isin(self.ids, list(without))
        found = {}
        for number, name in enumerate(NAMES):
            rows = np.flatnonzero((self.layer == number) & wanted)
            chosen = self._two_searches(rows, cosines, k) if self.mode == "paper" else self._best(rows, cosines, k)
            found[name] = [self._found(row, cosines[row]) for row in chosen]
        return found

    def _best(self, rows: np.ndarray, cosines: np.ndarray, k: int) -> np.ndarray:
        return rows[np.argsort(-(cosines[rows] + self.partial[rows]), kind="stable")[:k]]

    def _two_searches(self, rows: np.ndarray, cosines: np.ndarray, k: int) -> np.ndarray:
        """The released code's search."""
        k = min(k, len(rows))
        nearest = rows[np.argsort(-cosines[rows], kind="stable")[:k]]
        lowest = self.in_order(rows)[:k]
        lowest = lowest[np.argsort(-cosines[lowest], kind="stable")]
        both = np.concatenate([nearest, lowest])
        ranked = np.argsort(cosines[both] + self.partial[both], kind="stable")[::-1][:k]
        chosen = np.unique(both[ranked])
        return chosen[np.argsort(self.ids[chosen])]

    def in_order(self, rows: np.ndarray) -> np.ndarray:
        """Rows in the released code's ascending list: by their score when they were put into it."""
        return rows[np.lexsort((self._place[rows], self._key[rows]))]

    def _found(self, row: int, cosine: float) -> Found:
        score = float(cosine + self.partial[row])
        return Found(int(self.ids[row]), score, float(cosine), float(self.recency[row]), float(self.importance[row]))

    def feedback(self, ids: Sequence[int], sign: int) -> list[int]:
        """Tell memories how a decision that rested on them went (1, 0 or -1); returns the ids it reached, each once."""
        deaf = self.moved if self.mode == "paper" else set()
        reached = [] if sign == 0 else [i for i in dict.fromkeys(ids) if i not in deaf and i in set(self.ids.tolist())]
        rows = np.flatnonzero(np.isin(self.ids, reached))
        self.counter[rows] += sign
        self.importance[rows] += STEP * self.counter[rows]
        self.partial[rows] = partial_score(self.recency[rows], self.importance[rows])
        return reached

    def step(self) -> list[int]:
        """End a day: decay, deletion, two rounds of jumps. Returns the ids that were deleted."""
        self.delta += 1
        self.recency = np.exp(-self.delta / _Q[self.layer])
        self.importance *= _FADE[self.layer]
        self.partial = partial_score(self.recency, self.importance)
        faint = (self.recency < FAINT) | (self.importance < TRIVIAL)
        deleted = self.ids[faint].tolist()
        changed = set(self.layer[faint].tolist())
        if deleted:
            self._keep(~faint)
            self.gone.update(deleted)
        for number in changed:
            self._put_in_order(number)
        for number, up, down in JUMPS * 2:
            here = self.layer == number
            rises = here & (self.importance >= LAYERS[NAMES[number]].up)
            falls = here & (self.importance < LAYERS[NAMES[number]].down)
            self.moved.update(self.ids[rises | falls].tolist())
            self.recency[rises], self.delta[rises] = 1.0, 0.0
            if self.mode == "strict":
                self.partial[rises] = partial_score(1.0, self.importance[rises])
            for moving, to in ((rises, up), (falls, down)):
                if to is not None:
                    self.layer[moving] = to
                    self._file(moving)
            self._put_in_order(number)
        return deleted

    def _keep(self, rows: np.ndarray) -> None:
        for name in ("ids", "layer", "importance", "recency", "delta", "counter", "partial", "vectors", "_key", "_place"):
            setattr(self, name, getattr(self, name)[rows])

    def _file(self, rows: np.ndarray) -> None:
        """Put rows (a mask) into their layer's list by their score now, behind rows of the same score."""
        behind = self._place.max(initial=-1) + 1
        self._key[rows] = self.partial[rows]
        self._place[rows] = np.arange(behind, behind + np.count_nonzero(rows))

    def _put_in_order(self, number: int) -> None:
        """Sort a layer's list anew; equal scores stay as they were."""
        rows = self.in_order(np.flatnonzero(self.layer == number))
        self._key[rows] = self.partial[rows]
        self._place[rows] = np.arange(len(rows))
