"""Preference pairs as token ids, and the residual streams that enter the trained layers."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from catalog.base.errors import CatalogError
from catalog.base.params import ROOT
from catalog.models.lm import chat_ids
from catalog.training.adapters import settings_of
from catalog.training.pairs import encode_pairs
from catalog.training.settings import Settings
from catalog.training.tail import lower_once
from stages.sepo.settings import Fit, Lora, Tokens


@dataclass(frozen=True)
class Pairs:
    """Pairs of one set and split: `rows` of the data set, in order, and `tokens`, of `catalog.training.pairs.encode_pairs`."""

    rows: pl.DataFrame
    tokens: list[dict[str, Any]]

    def head(self, count: int) -> Pairs:
        return replace(self, rows=self.rows.head(count), tokens=self.tokens[:count])


def read(profile: str, root: Path = ROOT) -> pl.DataFrame:
    """The pairs of the data set."""
    return pl.read_parquet(root / "data" / "preference_pairs" / profile / "pairs.parquet")


def prompt_ids(tokenizer: Any, text: str, system: str | None) -> list[int]:
    """A prompt in the model's chat template, or as plain text where it has none, below the system message."""
    if tokenizer.chat_template is None:
        return list(tokenizer(f"{system}\n\n{text}\n" if system else f"{text}\n")["input_ids"])
    said = [{"role": "system", "content": system}] if system else []
    return chat_ids(tokenizer, [*said, {"role": "user", "content": text}])


def prompts(tokenizer: Any, rows: pl.DataFrame, system: str | None) -> list[list[int]]:
    """The prompts of rows of the data set: below the row's own system turn where it has one, else below ``system``."""
    return [prompt_ids(tokenizer, text, own or system) for text, own in rows.select("prompt", "system_prompt").iter_rows()]


def encoded(table: pl.DataFrame, tokenizer: Any, p: Tokens, name: str, split: str, seed: int) -> tuple[Pairs, pl.DataFrame]:
    """Pairs of one set and split, as many as `p` asks for and in a seeded order, and those left out: set, split, id, reason.

    Raises:
        CatalogError: no pair is left.
    """
    part = table.filter((pl.col("set") == name) & (pl.col("split") == split)).sort("id")
    part = part[np.random.default_rng([seed, len(part)]).permutation(len(part))] if len(part) else part
    both = part.select("chosen", "rejected").iter_rows()
    rows = [(prompt, *responses) for prompt, responses in zip(prompts(tokenizer, part, p.system), both, strict=True)]
    limits = {"max_prompt": p.max_prompt, "min_response": p.min_response, "max_length": p.max_length}
    tokens, reasons = encode_pairs(tokenizer, rows, **limits)
    left_out = part.select("set", "split", "id").with_columns(reason=pl.Series(reasons, dtype=pl.String)).drop_nulls("reason")
    kept = [i for i, pair in enumerate(tokens) if pair is not None]
    if not kept:
        why = ", ".join(f"{reason}: {count}" for reason, count in Counter(left_out["reason"]).most_common()) or "it has none"
        raise CatalogError(f"No {split} pair of set {name} is left ({why}); loosen tokens in stages/sepo/params.yaml, or correct the set.")
    count = (p.train if split == "train" else p.test).get(name)
    kept = kept[:count]
    return Pairs(part[kept], [tokens[i] for i in kept]), left_out


def settings(lora: Lora, fit: Fit, n_layers: int, seed: int) -> Settings:
    """Settings of one training run on the upper layers of a model of ``n_layers``."""
    more = {"row_tokens": 0, "group_by_length": True, "save_steps": 200, "log_steps": 1}
    return settings_of(fit, lora, n_layers=n_layers, seed=seed, **more)


def entering(model: Any, pairs: Pairs, layers: tuple[int, ...]) -> Pairs:
    """The pairs with the streams that enter the lowest of ``layers`` (see `catalog.training.tail`)."""
    return replace(pairs, tokens=lower_once(model, pairs.tokens, layers, dtype=str(model.dtype).removeprefix("torch.")))
