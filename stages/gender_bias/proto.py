"""The forerunner experiment, fully described in arXiv 2409.14144 §6.2 and App. D: professions after "A man ..." and "A woman ...".

For a profession w, Comparative Neuron Analysis between the two gendered inputs of prompt 1: ``delta_k = Imp_k(own gender) -
Imp_k(other gender)``, both read with the own gender's lens and the profession's first token as target. How the rankings of 31
professions merge into one set of 18 neurons is not stated; here their deltas are added up over the professions' lists.
"""

from __future__ import annotations

import polars as pl
import torch

from catalog.base.progress import progress
from catalog.inside.anatomy import forest
from catalog.inside.attribution import lens, trace
from catalog.inside.neurons import bases, comparative_neurons, geometry, likely_tokens
from catalog.inside.scan import Neuron
from catalog.models.answers import next_token
from catalog.models.inference import log_likelihood

COUNT = 18  # neurons edited, §6.2


def cna_neurons(v, tokenizer, proto: pl.DataFrame, k: int = 60, count: int = COUNT) -> list[Neuron]:
    """The ``count`` neurons with the largest summed delta over all professions' first ``k``."""
    first = proto.filter(pl.col("prompt_id") == proto["prompt_id"].min())
    given = {gender: first.filter(pl.col("given") == gender)["text"][0] for gender in ("man", "woman")}
    runs = {gender: trace(v, forest([tokenizer(text)["input_ids"]], v.device)) for gender, text in given.items()}
    reads = {gender: lens(v, run) for gender, run in runs.items()}
    other = {"man": "woman", "woman": "man"}
    known = {g: (bases(runs[g], reads[g]), bases(runs[other[g]], reads[g])) for g in runs}
    geo = geometry(v, reads["man"], likely_tokens([base for pair in known.values() for base in pair], 256))
    sums: dict[Neuron, float] = {}
    professions = first.select("profession", "gender").unique(maintain_order=True)
    with progress(len(professions), "CNA of professions", "profession") as advance:
        for profession, gender in professions.iter_rows():
            target = next_token(tokenizer, given[gender], f" {profession}", apart=True)
            pair = (v, runs[gender], runs[other[gender]], reads[gender], 0, target, k, geo)
            found = comparative_neurons(*pair, limit=k + 64, base=known[gender])
            for layer, index, score in zip(found.layer.tolist(), found.index.tolist(), found.score.tolist(), strict=True):
                sums[layer, index] = sums.get((layer, index), 0.0) + score
            advance()
    return sorted(sums, key=lambda neuron: (-sums[neuron], neuron))[:count]


@torch.no_grad()
def profession_bias(model, tokenizer, proto: pl.DataFrame) -> pl.DataFrame:
    """``log p(profession | own gender) - log p(profession | other gender)`` for each profession and prompt, of its first token (``first``)
    and of all its tokens (``whole``)."""
    pairs = [(text, f" {profession}") for text, profession in proto.select("text", "profession").iter_rows()]
    found = log_likelihood(model, tokenizer, pairs)
    scored = proto.with_columns(whole=pl.Series(found.total.tolist()), first=pl.Series([float(tokens[0]) for tokens in found.tokens]))
    own = scored.filter(pl.col("given") == pl.col("gender"))
    away = scored.filter(pl.col("given") != pl.col("gender")).select("profession", "prompt_id", away_whole="whole", away_first="first")
    joined = own.join(away, on=["profession", "prompt_id"])
    return joined.select(
        "profession", "gender", "prompt_id", first=pl.col("first") - pl.col("away_first"), whole=pl.col("whole") - pl.col("away_whole")
    ).sort("profession", "prompt_id")
