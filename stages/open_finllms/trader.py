"""One run of the trading agent: share and window, memory, book, and what it does on a day. `agent.py` has the order of a day."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from typing import NamedTuple

import numpy as np
import polars as pl

from catalog.base.errors import CatalogError
from stages.open_finllms import actions
from stages.open_finllms.memory import Found, Memory
from stages.open_finllms.notes import notes
from stages.open_finllms.prompt import Shown, cited, hindsight, lesson
from stages.open_finllms.trading import series

LOOK_BACK = 7  # days after which a decision is judged
MOMENTUM = 3
ANONYMOUS = "the share"


class Answer(NamedTuple):
    """What a model answered; scores are those of buy, hold and sell where it was asked for them."""

    text: str | None
    scores: tuple[float, float, float] | None = None


@dataclass(frozen=True)
class Run:
    """One share in one window with one seed."""

    asset: str
    name: str  # what the texts call the share
    prices: pl.DataFrame  # as `data/prices`, also of the years before the window
    window: str
    first: date  # decisions are made on the trading days from here …
    last: date  # … to the day before this one, whose close ends the last return
    warm: int = 60  # trading days before the first decision that fill the memory
    seed: int = 0


@dataclass(frozen=True)
class Options:
    """How the agent works."""

    mode: str = "strict"
    form: str = "full"  # of the prompts of ``strict``: full or brief, see `prompt.py`
    top_k: int = 3
    limit: int = 384  # tokens of a prompt
    calibrated: int = (
        0  # days before each day whose mean scores are what each word usually gets; so the model is asked late in the warm-up, too
    )
    cite: str = "shown"  # whose outcome counts: all memories in the prompt, or only those ``named`` in the answer
    anonymous: bool = False  # neither name nor date in any prompt, so that a model cannot know how the share went on


@dataclass
class Trader:
    """The state of a run on day `i` of its days: those of the warm-up and those with a decision."""

    run: Run
    options: Options
    days: list[date]
    price: np.ndarray  # of the days and of one more, at which only a warm-up in hindsight looks
    notes: dict[date, list[tuple[str, str]]]  # layer and text
    memory: Memory
    i: int = 0
    book: list[int] = field(default_factory=list)  # one share a decision, after each day
    position: int = 0  # if hold keeps it; only told to the model
    directions: list[int | None] = field(default_factory=list)
    cited: list[list[int]] = field(default_factory=list)
    today: list[int] = field(default_factory=list)
    query: np.ndarray | None = None
    found: dict[str, list[Found]] = field(default_factory=dict)
    shown: Shown | None = None
    usual: list[tuple[float, ...]] = field(default_factory=list)  # scores of the words on the days so far
    decisions: list[tuple] = field(default_factory=list)
    log: list[tuple] = field(default_factory=list)

    @property
    def warm(self) -> int:
        return self.run.warm

    @property
    def asks(self) -> bool:
        """Whether the model reads today's prompt."""
        return self.i >= self.warm - self.options.calibrated

    @property
    def name(self) -> str:
        return ANONYMOUS if self.options.anonymous else self.run.name

    def texts(self) -> list[tuple[str, str]]:
        """Layer and text of what is filed today: the notes, and in ``strict`` the lesson of seven days ago."""
        found = list(self.notes.get(self.days[self.i], []))
        past = self.i - LOOK_BACK
        if self.options.mode == "strict" and past >= 0:
            read = [text for layer, text in self.notes.get(self.days[past], []) if layer == "short"]
            found.append(("reflection", lesson(self.name, read, self.price[self.i] / self.price[past] - 1, self.directions[past])))
        return found

    def facts(self) -> dict[str, int | None]:
        """What the prompt says beside the memories: the sign of the change over three days, and the position."""
        moved = int(np.sign(self.price[self.i] - self.price[self.i - MOMENTUM])) if self.i >= MOMENTUM else None
        return {"momentum": moved, "position": self.position}

    def answered(self, answer: Answer) -> None:
        """Take the model's answer: on a calibrating day its scores alone, then as the day's action.

        A model may like one word whatever it reads. What is left of a score is what it has above its mean on the days just before (as in
        batch calibration, Zhou et al. 2023). Those days move along: were they the ones before a window that begins at a high, every later
        day would look worse than usual.
        """
        before = self.usual[-self.options.calibrated :] if self.options.calibrated else []
        if answer.scores is not None:
            self.usual.append(answer.scores)
        if self.i < self.warm:
            return
        if before and answer.scores is not None:
            less = tuple((np.array(answer.scores) - np.mean(before, axis=0)).tolist())
            answer = Answer(actions.ACTIONS[less.index(max(less))], less)
        self.decided(answer)

    def decided(self, answer: Answer) -> None:
        """Take an answer as the day's action, and record it."""
        day, shown = self.days[self.i], self.shown
        parsed, status = actions.parse(answer.text, self.options.mode)
        direction = actions.DIRECTION.get(parsed, 0)
        self.position = direction or self.position
        named = cited(answer.text, shown.ids) if self.options.cite == "named" else shown.ids
        self._take(direction, named)
        scores = None if answer.scores is None else [float(score) for score in answer.scores]
        self.decisions.append((day, answer.text, parsed, status, shown.tokens, len(shown.ids), shown.left_out, scores, shown.prompt))
        for layer, found in self.found.items():
            self.log += [(day, one.id, layer, *one[1:], one.id in shown.ids, one.id in named) for one in found]

    def warmed(self) -> str | None:
        """A day of warm-up: no decision in ``strict``; in ``paper`` the oracle's, and the reflection on it."""
        if self.options.mode == "strict":
            self._take(None, [])
            return None
        change = self.price[self.i + 1] / self.price[self.i] - 1
        ids = [one.id for found in self.found.values() for one in found]
        self._take(1 if change > 0 else -1, ids if change else [])  # without a change it sells, and reflects on nothing
        return hindsight(self.name, change, [self.memory.texts[one.id] for one in self.found["short"]]) if change else None

    def reason(self) -> str | None:
        """The answer as a reflection, which ``paper`` stores on the same day; ``strict`` waits for the outcome."""
        text = (self.decisions[-1][1] or "").strip()
        return f"Decision: {text}" if self.options.mode == "paper" and text else None

    def feedback(self) -> None:
        """Tell the memories behind an earlier decision how it went."""
        past = self.i - LOOK_BACK
        if past < 0:
            return
        if self.options.mode == "strict":
            profit, told = (self.directions[past] or 0) * (self.price[self.i] - self.price[past]), self.cited[past]
        else:
            profit = float(np.dot(np.diff(self.price[past : self.i + 1]), self.book[past : self.i]))
            told = self.cited[past + 1]
        self.memory.feedback(told, int(np.sign(profit)))

    def memories(self) -> list[tuple]:
        """Everything that was ever filed: id, date, layer, text, whether it was deleted."""
        m = self.memory
        return [(i, m.dates[i], m.born[i], m.texts[i], i in m.gone) for i in range(len(m.texts))]

    def _take(self, direction: int | None, cited: list[int]) -> None:
        self.directions.append(direction)
        self.cited.append(cited)
        self.book.append((self.book[-1] if self.book else 0) + (direction or 0))


def trader(run: Run, options: Options) -> Trader:
    """The state of a run before its first day.

    Raises:
        CatalogError: fewer than two trading days in the window, or too few before it.
    """
    days = series(run.prices)
    inside = days.filter(pl.col("date").is_between(run.first, run.last))
    if inside.height < 2:
        raise CatalogError(f"{run.asset} has {inside.height} trading days from {run.first} to {run.last}; give a window with at least two.")
    begin = days["date"].to_list().index(inside["date"][0])
    if begin < run.warm:
        raise CatalogError(f"{run.asset} has {begin} trading days before {run.first} but {run.warm} are for the warm-up; begin later.")
    used = days[begin - run.warm : begin + inside.height]
    first, last = used["date"][0], used["date"][-2]
    # The notes look back beyond the warm-up, and never ahead.
    told = notes(run.prices, ANONYMOUS if options.anonymous else run.name, run.asset, first, last)
    by_day: dict[date, list[tuple[str, str]]] = {}
    for day, layer, text in told.select("date", "layer", "text").iter_rows():
        by_day.setdefault(day, []).append((layer, text[0].upper() + text[1:] if options.anonymous else text))
    return Trader(run, options, used["date"][:-1].to_list(), used["price"].to_numpy(), by_day, Memory(options.mode, run.seed))
