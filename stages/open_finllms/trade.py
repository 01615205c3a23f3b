"""Lets the trading agent trade with each model, and keeps what it read, remembered, answered and decided.

Writes ``models/finance_trades/<profile>/``:

* `decisions.parquet`: a row for each model, run (share, window, seed) and day: the answer as it came, the action that it was read as, the
  log-probabilities of the three actions, and the prompt.
* `retrieved.parquet`: the memories that were found for it, with the parts of their scores, and whether they were shown.
* `memories.parquet`: every note and lesson that was ever filed, those of the warm-up before a window included.
* `written.parquet`: answers in the model's own words to some of the same prompts, as the paper reads its models.

No return is computed here: that costs nothing, and `evaluate.py` does it for the agent and for the rules alike.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
import polars as pl

from catalog.base.errors import CatalogError, run
from catalog.base.io import atomic_dir, write_json, write_parquet
from catalog.base.params import ROOT, profile_params
from catalog.models.devices import peak_memory_mb
from catalog.models.encoder import load_encoder, sentence_embeddings
from catalog.models.lm import require_full
from stages.open_finllms import actions, windows
from stages.open_finllms.deciders import by_text
from stages.open_finllms.measure import instruction, trade
from stages.open_finllms.models import load
from stages.open_finllms.settings import Agent, Params, Trading
from stages.open_finllms.trader import Options, Run

SYSTEM, MODEL, PRICES = "open_finllms", "finance_trades", "prices"
FILES = {"decisions": 0, "retrieved": 1, "memories": 2}  # file -> place in `agent.Played`
PLACE = ("window", "asset")  # in one window a share is traded from one source
WRITTEN = ("model", "asset", "source", "window", "seed", "date")


def runs(daily: pl.DataFrame, listings: pl.DataFrame, a: Agent, t: Trading) -> tuple[list[Run], pl.DataFrame]:
    """The runs of the agent, and the source of the share of each window.

    Raises:
        CatalogError: a window or share that the trading simulation does not have, or a share from two sources.
    """
    names = {(asset, source): name for asset, source, name in listings.select("asset", "source", "name").iter_rows()}
    spans = {(span.window, span.source, span.asset): span for span in windows.spans(daily, t)}
    series = dict(iter(daily.group_by("asset", "source")))
    found, places = [], []
    for window, sources in a.windows.items():
        for source, assets in sources.items():
            for asset in assets:
                span = spans.get((window, source, asset))
                if span is None:
                    raise CatalogError(
                        f"The agent is to trade {asset} from {source} in the window {window}, which the group trading does not have; "
                        "add it there, so that the rules trade it as well."
                    )
                prices = series[asset, source].sort("date")
                for seed in range(a.seeds):
                    found.append(Run(asset, names[asset, source], prices, window, span.first, span.last, a.warm, seed))
                places.append((window, asset, source))
    frame = pl.DataFrame(places, schema=(*PLACE, "source"), orient="row")
    if (twice := frame.filter(frame.select(PLACE).is_duplicated())).height:
        raise CatalogError(f"The agent trades {twice['asset'][0]} twice in the window {twice['window'][0]}; name it from one source.")
    return found, frame


def remembered(embed: Callable[[list[str]], np.ndarray]) -> Callable[[list[str]], np.ndarray]:
    """The same vectors, each text read once: all models and seeds are told the same notes."""
    known: dict[str, np.ndarray] = {}

    def read(texts: list[str]) -> np.ndarray:
        if new := [text for text in dict.fromkeys(texts) if text not in known]:
            known.update(zip(new, embed(new), strict=True))
        return np.stack([known[text] for text in texts]) if texts else np.zeros((0, 0), dtype=np.float32)

    return read


def written(decisions: pl.DataFrame, models: Sequence[str], a: Agent, options: Options, find: Callable) -> pl.DataFrame:
    """What each model writes as its answer to one in so many of its own prompts, and how it is read.

    The action by likelihood stands beside it, as ``likely``. What was done follows the likelihoods; this tells how often a model that
    writes its answer names an action at all.
    """
    parts = []
    for name in models:
        mine = decisions.filter(pl.col("model") == name).gather_every(a.written_every)
        model, tokenizer = find(name)
        answers = by_text(model, tokenizer, a.written_tokens, system=instruction(options))(mine["prompt"].to_list())
        read = [(answer.text, *actions.parse(answer.text)) for answer in answers]
        told = pl.DataFrame(read, schema={"text": pl.String, "parsed": pl.String, "status": pl.String}, orient="row")
        parts.append(pl.concat([mine.select(*WRITTEN, likely="parsed"), told], how="horizontal"))
    return pl.concat(parts)


def main(profile: str) -> None:
    """Write ``models/finance_trades/<profile>/``."""
    params = profile_params(Params, SYSTEM, profile)
    a = params.agent
    if profile == "full":  # before any work
        require_full(params.pretrain.model)
    began = time.perf_counter()
    data = ROOT / "data" / PRICES / profile
    daily, listings = (pl.read_parquet(data / f"{name}.parquet") for name in ("daily", "listings"))
    traded, places = runs(daily, listings, a, params.trading)
    encoder = load_encoder(a.encoder)
    embed = remembered(lambda texts: sentence_embeddings(encoder, texts))
    options = Options(mode=a.mode, form=a.form, top_k=a.top_k, limit=a.limit, calibrated=a.calibrated)
    models = {name: load(name, profile) for name in a.models}
    played = trade(traded, a.models, embed, options, readings=["likelihood"], load=models.get)
    frames = {name: played[place].join(places, on=PLACE, maintain_order="left") for name, place in FILES.items()}
    frames["written"] = written(frames["decisions"], a.models, a, options, models.get)
    with atomic_dir(ROOT / "models" / MODEL / profile) as folder:
        for name, frame in frames.items():
            write_parquet(frame, folder / f"{name}.parquet")
    decided = frames["decisions"]
    facts = {"seconds": round(time.perf_counter() - began, 1), "peak_memory_mb": peak_memory_mb()}
    facts |= {"decisions": decided.height, "different_prompts": decided["prompt"].n_unique(), "tokens": int(decided["tokens"].sum())}
    write_json(facts, ROOT / "models" / MODEL / f"{profile}.run.json")


if __name__ == "__main__":
    run(main)
