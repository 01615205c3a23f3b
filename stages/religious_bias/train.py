"""Train the two instruments of the audit: a masked LM adapted to ordinary text, and a text-to-image model with a planted association.

The masked LM goes to ``models/religion_mlm/<profile>/`` and the image model to ``models/religion_cards/<profile>/``, each with its training
curve. Neither sees a sentence of a bias set: the masked LM reads news paragraphs, and the cards are drawn by the project.
"""

from __future__ import annotations

import time

import polars as pl

from catalog.base.errors import run
from catalog.base.io import atomic_dir, write_json, write_parquet
from catalog.base.params import ROOT, profile_params
from catalog.models.devices import peak_memory_mb
from catalog.training.adapters import save_model
from catalog.training.checkpoints import finish, is_main
from stages.religious_bias.adapt import adapt, hold_out, to_train
from stages.religious_bias.cards import captions
from stages.religious_bias.diffusion import train_cards
from stages.religious_bias.mlm import load_mlm
from stages.religious_bias.settings import Params

STAGE = "religious_bias_train"


def main(profile: str) -> None:
    started = time.perf_counter()
    params = profile_params(Params, "religious_bias", profile)
    model, tokenizer = load_mlm(params.mlm.model, dtype="float32")
    neutral = pl.read_parquet(ROOT / "data" / "capability" / profile / "neutral.parquet")
    read, _ = hold_out(to_train(neutral), params.mlm.held_out)
    done = adapt(model, tokenizer, read, params.mlm, params.seed)
    if is_main():
        with atomic_dir(ROOT / "models" / "religion_mlm" / profile) as folder:
            save_model(model, tokenizer, folder)
            write_parquet(pl.DataFrame(done.history), folder / "curve.parquet")
        prompts = pl.read_parquet(ROOT / "data" / "religion_templates" / profile / "prompts.parquet")
        asked = captions(prompts, ("none", *params.cards.planted.mitigated))
        pipe, history, info = train_cards(asked, params.cards, params.seed)
        with atomic_dir(ROOT / "models" / "religion_cards" / profile) as folder:
            pipe.save_pretrained(str(folder), safe_serialization=True)
            write_parquet(pl.DataFrame(history), folder / "curve.parquet")
        facts = {
            "seconds": round(time.perf_counter() - started, 1),
            "peak_memory_mb": peak_memory_mb(),
            "masked_lm": done.info,
            "cards": info,
        }
        write_json(facts, ROOT / "models" / "religion_cards" / f"{profile}.run.json")
    finish(STAGE, profile)


if __name__ == "__main__":
    run(main)
