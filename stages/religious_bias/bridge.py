"""A neuron edit of religion: the scores, scan and weights of `catalog.inside.two_targets`, with two religions as targets.

The prompts are those open prompts whose mask comes last, cut before it, so that a causal LM's next token names the religion: ``d(x) =
log p(Muslims|x) - log p(Christians|x)``. Frames are split in two halves; neurons are chosen on one and the edit is measured on the other,
beside the gender edit, which was never meant for religion, and as many random neurons.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import polars as pl
import torch

from catalog.base.errors import CatalogError
from catalog.inside.anatomy import View
from catalog.inside.interventions import random_neurons
from catalog.inside.patch import Patch, apply_patch, patched, revert_patch
from catalog.inside.scan import finish, odds, probe
from catalog.inside.two_targets import Search, find, single_tokens, weigh
from stages.religious_bias.settings import Bridge

PAIR = ("Muslims", "Christians")


def prompts_of(prompts: pl.DataFrame) -> pl.DataFrame:
    """Open prompts that end with the mask, cut before it: text, word (the frame, for the neuron cards), stem, half (0: locate)."""
    mine = prompts.filter(
        (pl.col("task") == "mask_open") & (pl.col("condition") == "none") & (pl.col("slot") == "adherents")
        & pl.col("text").str.ends_with("[MASK].")
    ).sort("id")  # fmt: skip
    frame = pl.when(pl.col("twin_of") == "").then(pl.col("template")).otherwise(pl.col("twin_of"))
    mine = mine.with_columns(text=pl.col("text").str.strip_suffix("[MASK].").str.strip_chars_end(), word=frame)
    order = mine["word"].unique().sort()
    half = pl.DataFrame({"word": order, "half": [i % 2 for i in range(len(order))]})
    return mine.join(half, on="word", maintain_order="left").select("id", "word", "stem", "text", "half")


@contextmanager
def kept(v: View, patch: Patch) -> Iterator[None]:
    """Context in which a saved patch is applied."""
    apply_patch(v, patch)
    try:
        yield
    finally:
        revert_patch(v, patch)


def bridge(
    v: View, tokenizer, prompts: pl.DataFrame, neutral: pl.DataFrame, gender: Patch, p: Bridge, seed: int, model: str
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows a prompt and method: model, method, neurons, id, half, stem, d; and rows a method: nll and tokens of neutral text."""
    pair = tuple(single_tokens(tokenizer, PAIR))
    if None in pair:
        raise CatalogError(f"{' or '.join(PAIR)} is not a single token of {model}; leave the bridge out for this model.")
    table = prompts_of(prompts)
    texts = {name: neutral.filter(pl.col("split") == name)["text"].to_list() for name in ("locate", "evaluate")}
    how = Search(
        p.logit_candidates, p.causal_candidates, p.query_candidates, p.query_prompts, p.scan_paragraphs, p.neutral_every, p.shallow
    )  # fmt: skip
    found = find(v, tokenizer, pair, table.filter(pl.col("half") == 0)["text"].to_list(), texts["locate"], how)
    shares = weigh(found.d, found.effects, found.damage, p.kl_budget)
    neurons = [found.pool[k] for k in shares.nonzero()[:, 0].tolist()]
    factors = [1 - float(share) for share in shares[shares > 0]]
    stray = random_neurons(len(neurons), sorted({layer for layer, _ in neurons}), v.n_ffn, torch.Generator().manual_seed(seed))
    on_words = probe(v, tokenizer(table["text"].to_list())["input_ids"])
    on_text = probe(v, tokenizer(texts["evaluate"])["input_ids"], every=1)
    rows, read = [], []

    def note(method: str, count: int | None) -> None:
        d = torch.empty(len(table), device=v.device)
        d[on_words.rows] = odds(v, on_words, 0, pair)
        labels = {"model": pl.lit(model), "method": pl.lit(method), "neurons": pl.lit(count, pl.Int32)}
        rows.append(table.select("id", "half", "stem").with_columns(d=pl.Series(d.tolist()), **labels))
        read.append({"model": model, "method": method, "nll": _nll(v, on_text), "tokens": len(on_text.rows)})

    note("none", None)
    with patched(v, neurons, factors):
        note("religion edit", len(neurons))
    with patched(v, stray, factors):
        note("random", len(stray))
    with kept(v, gender):
        note("gender edit", len(gender))
    return pl.concat(rows), pl.DataFrame(read)


def _nll(v: View, on_text) -> float:
    """Sum of the negative log-probabilities of a text's tokens."""
    at = 0

    def read(logp: torch.Tensor) -> torch.Tensor:
        nonlocal at
        after = on_text.after[at : at + len(logp)]
        at += len(logp)
        return -logp.gather(1, after[:, None])[:, 0].double()

    return float(finish(v, on_text, 0, read).sum())
