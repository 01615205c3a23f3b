"""Runs the models of the system and keeps what they answered: here, the trading agent.

`trade` is the part of the stage that trades: it takes the models of the catalog by name, lets each read every run's days, and returns the
decisions, the memories that were retrieved for them, and all memories. Returns and figures are computed later, where they cost nothing:
`trading.run` and `trading_metrics.metrics` on the decisions of one model, reading, asset, window and seed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import polars as pl

from catalog.base.errors import CatalogError
from catalog.models.lm import load_lm
from stages.open_finllms.agent import Played, play
from stages.open_finllms.deciders import by_likelihood, by_text, counter
from stages.open_finllms.prompt import ASKED, QUESTION, SYSTEM
from stages.open_finllms.trader import Options, Run

READINGS = ("text", "likelihood")


def trade(
    runs: Sequence[Run],
    models: Sequence[str],
    embed: Callable[[list[str]], np.ndarray],
    options: Options,
    readings: Sequence[str] = READINGS,
    load: Callable = load_lm,
) -> Played:
    """Every run under every model and reading; the frames have the columns ``model`` and ``reading`` in front.

    Args:
        models: names of the catalog (``smollm2``, ``qwen_coder``).
        embed: texts -> ``(N, d)``, of the sentence encoder: ``partial(sentence_embeddings, load_encoder("minilm"))``.
        readings: how an answer becomes an action, see `stages.open_finllms.deciders`.
        load: model name -> (model, tokenizer).
    """
    if unknown := set(readings) - set(READINGS):
        raise CatalogError(f"There is no reading {min(unknown)!r}; use text or likelihood.")
    system = instruction(options)
    plain = None if options.calibrated else QUESTION if system is None else ASKED
    parts: list[Played] = []
    for name in models:
        model, tokenizer = load(name)
        for reading in readings:
            decide = by_text(model, tokenizer, system=system) if reading == "text" else by_likelihood(model, tokenizer, plain, system)
            played = play(runs, embed, decide, counter(tokenizer, system), options, desc=f"trading, {name}, {reading}")
            front = (pl.lit(name).alias("model"), pl.lit(reading).alias("reading"))
            parts.append(Played(*(frame.select(*front, pl.all()) for frame in played)))
        del model
    return Played(*(pl.concat(frames) for frames in zip(*parts))) if parts else play([], embed, lambda prompts: [], len, options)


def instruction(options: Options) -> str | None:
    """The instruction in front of all prompts, where it is not part of each."""
    return SYSTEM if options.form == "brief" and options.mode == "strict" else None
