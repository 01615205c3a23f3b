"""A trading agent in the manner of FinMem: each day it reads, remembers, decides, and hears how an earlier decision went.

A day t of a run, after the close that the decision may know:

1. The day's notes (`notes.py`) are filed in the memory (`memory.py`); in mode ``strict`` also the lesson of day t - 7, whose outcome is
   known today.
2. The memory is asked. ``strict``: with the mean vector of the day's notes, which are shown anyway, so that older memories come back.
   ``paper``: with a fixed text about the share, as the released code does, whatever the day's news.
3. `prompt` puts what came back into a prompt, and the model answers; `actions.parse` reads the answer.
4. Feedback: the memories that a decision rested on hear the sign of its profit. ``strict``: on day t those of t - 7, for that decision's
   direction times the change since. ``paper``: those of t - 6, for the profit over the last 7 days of a book that adds one share a day.
5. The memory ends its day: decay, deletion, jumps.

The days of warm-up, before the first decision, fill the memory. ``paper`` takes the *sign of the next change* there as its action, and
stores why it was right: hindsight, which the agent then remembers while it is tested. In ``strict`` every text is made from prices of its
own day and earlier ones, and the warm-up decides nothing.

Many runs (shares, windows, seeds) go through their days in lockstep, aligned at their first decision, so that one call of the model answers
all prompts of a day: one prompt at a time would be many times slower. The model and the encoder are arguments: ``decide(prompts)`` gives an
`Answer` or a text (None where it failed) for each, ``embed(texts)`` a matrix, ``count(text)`` tokens. What a run computes does not depend
on the others, but a real model's numbers may, in their last digits, since equal lengths share a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import polars as pl

from catalog.base.errors import CatalogError
from catalog.base.progress import progress
from stages.open_finllms import actions
from stages.open_finllms.memory import MODES
from stages.open_finllms.prompt import CHARACTER, FORMS, built
from stages.open_finllms.trader import Answer, Options, Run, Trader, trader

KEY = {"asset": pl.String, "window": pl.String, "seed": pl.Int32}
DECISIONS = actions.SCHEMA | {
    "tokens": pl.Int32,
    "shown": pl.Int32,
    "left_out": pl.Int32,
    "scores": pl.List(pl.Float64),
    "prompt": pl.String,
}
LOG = {"date": pl.Date, "id": pl.Int32, "layer": pl.String} | dict.fromkeys(("score", "cosine", "recency", "importance"), pl.Float64)
LOG |= {"shown": pl.Boolean, "cited": pl.Boolean}
MEMORIES = {"id": pl.Int32, "date": pl.Date, "layer": pl.String, "text": pl.String, "deleted": pl.Boolean}
Embed = Callable[[list[str]], np.ndarray]
Decide = Callable[[list[str]], Sequence[Answer | str | None]]


class Played(NamedTuple):
    """What was decided, what was retrieved for it, and all memories with the layer they were filed in; each begins with `KEY`."""

    decisions: pl.DataFrame
    log: pl.DataFrame
    memories: pl.DataFrame


def play(
    runs: Sequence[Run], embed: Embed, decide: Decide, count: Callable[[str], int], options: Options | None = None, desc: str | None = None
) -> Played:
    """Let the agent trade all runs, as the module's docstring describes it; ``desc`` shows progress under this name.

    Raises:
        CatalogError: runs that are given twice, a window without days, an unknown option, or a prompt that no cutting makes short enough.
    """
    options = options or Options()
    for value, allowed in ((options.mode, MODES), (options.form, FORMS), (options.cite, ("shown", "named"))):
        if value not in allowed:
            raise CatalogError(f"The agent has no option {value!r}; use {' or '.join(allowed)}.")
    if len({(run.asset, run.window, run.seed) for run in runs}) < len(runs):
        raise CatalogError("Two runs have the same share, window and seed; give each once.")
    traders = [trader(run, options) for run in runs]
    steps = range(-max((t.warm for t in traders), default=0), max((len(t.days) - t.warm for t in traders), default=0))
    with progress(len(steps), desc or "", enabled=desc is not None) as advance:
        for step in steps:
            active = [t for t in traders if 0 <= t.warm + step < len(t.days)]
            for t in active:
                t.i = t.warm + step
            _day(active, embed, decide, count)
            advance(1)
    frames = ((DECISIONS, lambda t: t.decisions), (LOG, lambda t: t.log), (MEMORIES, lambda t: t.memories()))
    return Played(*(_frame(traders, schema, rows) for schema, rows in frames))


def _day(active: list[Trader], embed: Embed, decide: Decide, count: Callable[[str], int]) -> None:
    """One day of all runs that have one."""
    _read(active, embed)
    asked = []
    for t in active:
        t.found = t.memory.recall(t.query, t.options.top_k, t.today if t.options.mode == "strict" else ())
        if t.asks:
            t.shown = built(t.name, t.days[t.i], t.memory, t.found, t.today, t.facts(), t.options, count)
            asked.append(t)
    answers = list(decide([t.shown.prompt for t in asked])) if asked else []
    if len(answers) != len(asked):
        raise CatalogError(f"The model gave {len(answers)} answers to {len(asked)} prompts; it must give one each, None where it failed.")
    for t, answer in zip(asked, answers):
        t.answered(answer if isinstance(answer, Answer) else Answer(answer))
    reflections = [(t, t.reason() if t.i >= t.warm else t.warmed()) for t in active]
    _file([(t, "reflection", text) for t, text in reflections if text], embed)
    for t in active:
        t.feedback()
        t.memory.step()


def _read(active: list[Trader], embed: Embed) -> None:
    """File the day's texts and make the day's query."""
    filed = _file([(t, layer, text) for t in active for layer, text in t.texts()], embed)
    fixed = [t for t in active if t.options.mode == "paper" and t.query is None]
    for t, vector in zip(fixed, np.asarray(embed([CHARACTER.format(name=t.name) for t in fixed])) if fixed else []):
        t.query = vector
    for t in active:
        mine = [(identity, vector) for owner, identity, layer, vector in filed if owner is t and layer == "short"]
        t.today = [identity for identity, _ in mine]
        if t.options.mode == "strict":
            width = 1 if t.memory.vectors is None else t.memory.vectors.shape[1]
            t.query = np.mean([vector for _, vector in mine], axis=0) if mine else np.zeros(width)


def _file(rows: list[tuple[Trader, str, str]], embed: Embed) -> list[tuple[Trader, int, str, np.ndarray]]:
    """File texts of the day in the memories: run, id, layer and vector of length 1. The encoder reads each different text once."""
    different = list(dict.fromkeys(text for *_, text in rows))
    vectors = dict(zip(different, np.asarray(embed(different), dtype=np.float32), strict=True)) if different else {}
    filed = []
    for t, layer, text in rows:
        (identity,) = t.memory.add(layer, t.days[t.i], [text], vectors[text][None])
        filed.append((t, identity, layer, vectors[text] / (np.linalg.norm(vectors[text]) or 1)))
    return filed


def _frame(traders: list[Trader], schema: dict, rows: Callable[[Trader], list[tuple]]) -> pl.DataFrame:
    table = [(t.run.asset, t.run.window, t.run.seed, *row) for t in traders for row in rows(t)]
    return pl.DataFrame(table, schema=KEY | schema, orient="row")
