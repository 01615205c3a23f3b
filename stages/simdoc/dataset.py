"""Documents, pairs and shuffled documents of one corpus, split by text.

Writes ``data/simdoc_pairs/<profile>/``: `documents.parquet`, `pairs.parquet`, `shuffled.parquet` and `notes.parquet` (what was cleaned or
left out). A triple of the paper is a row of `pairs`: complex text x = source, simple text y = target, readability label = target_level.
The coherence model learns original documents (label 1) from the same sentences in another order (label 0), as in the sentence ordering
test of Barzilay and Lapata (2008). Every level and pair of a text is in the same split. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from zlib import crc32

import numpy as np
import polars as pl

from catalog.base.errors import CatalogError, run
from catalog.base.io import atomic_dir, write_parquet
from catalog.base.params import ROOT, profile_params
from stages.simdoc.corpora import load
from stages.simdoc.corpus import Corpus
from stages.simdoc.settings import Data, Params, check_pair, named
from stages.simdoc.text import sentences, words

SYSTEM = "simdoc"
SPLITS = ("train", "validation", "test")
DOCUMENTS = dict.fromkeys(("id", "topic", "level", "text", "split"), pl.String) | {"words": pl.Int32, "sentences": pl.Int32}
SHUFFLED = dict.fromkeys(("id", "level", "split"), pl.String)
SHUFFLED |= {"version": pl.Int32, "sentences": pl.List(pl.String), "label": pl.Int8}
TRIES = 50  # draws for an order of sentences that is not there yet


def split(topics: Mapping[str, str | None], shares: Mapping[str, float], seed: int) -> dict[str, str]:
    """Split of each id: its topic's ids in random order, each given to the split that lacks most of its share up to there.

    So the whole keeps the shares to within one text, and so does each topic to within two.

    Args:
        topics: id -> topic, or null.
        shares: of `SPLITS`, above 0, adding up to 1.

    Raises:
        CatalogError: other shares, or too few ids to fill each split.
    """
    if set(shares) != set(SPLITS) or abs(sum(shares.values()) - 1) > 1e-9 or min(shares.values()) <= 0:
        raise CatalogError(f"The shares of {', '.join(SPLITS)} must be above 0 and add up to 1, not {dict(shares)}.")
    rng = np.random.default_rng(seed)
    order = []
    for topic in sorted(set(topics.values()), key=lambda topic: (topic is not None, topic)):
        ids = sorted(name for name, other in topics.items() if other == topic)
        order += [ids[i] for i in rng.permutation(len(ids))]
    counts, found = dict.fromkeys(SPLITS, 0), {}
    for number, name in enumerate(order, 1):
        chosen = max(SPLITS, key=lambda part: round(shares[part] * number - counts[part], 9))
        counts[chosen] += 1
        found[name] = chosen
    if empty := [part for part in SPLITS if not counts[part]]:
        raise CatalogError(f"{len(order)} texts are too few: the split {empty[0]} would be empty; use a larger corpus or other shares.")
    return found


def shuffles(parts: list[str], count: int, seed: int, key: str) -> list[list[str]]:
    """Up to ``count`` orders of the sentences ``parts``, each different from them and from each other as texts.

    Fewer where there are not so many; none where all sentences are the same. The draw depends on ``seed`` and ``key`` alone, so that
    another document more changes no other.
    """
    rng = np.random.default_rng([seed, crc32(key.encode())])
    seen, found = {tuple(parts)}, []
    for _ in range(TRIES * count):
        if len(found) == count:
            break
        drawn = [parts[i] for i in rng.permutation(len(parts))]
        if tuple(drawn) not in seen:
            seen.add(tuple(drawn))
            found.append(drawn)
    return found


def build(corpus: Corpus, p: Data, seed: int) -> dict[str, pl.DataFrame]:
    """The tables ``documents``, ``pairs``, ``shuffled`` and ``notes`` of a corpus.

    Raises:
        CatalogError: a level or kind of pair that the corpus has not, shares of `split`, fewer than 2 sentences to shuffle.
    """
    if p.min_sentences < 2 or p.shuffles < 1:
        raise CatalogError("min_sentences must be at least 2 and shuffles at least 1; correct simdoc's parameters.")
    there = corpus.documents["level"].unique().sort().to_list()
    if unknown := [level for level in p.levels if level not in there]:
        raise CatalogError(f"The corpus {p.corpus} has no level {unknown[0]!r}; its levels are {', '.join(there)}.")
    notes = list(corpus.notes.iter_rows())
    for level in [level for level in there if level not in p.levels]:
        count = len(corpus.documents.filter(pl.col("level") == level))
        notes.append(("level not used", None, f"{count} documents of the level {level} left out"))
    documents = corpus.documents.filter(pl.col("level").is_in(p.levels))
    topics = dict(documents.select("id", "topic").unique(subset="id", keep="first", maintain_order=True).iter_rows())
    splits = corpus.splits or split(topics, p.shares, seed)
    rows, shuffled = [], []
    for name, level, topic, text in documents.iter_rows():
        parts = sentences(text)
        rows.append((name, topic, level, text, splits[name], len(words(text)), len(parts)))
        others = shuffles(parts, p.shuffles, seed, f"{name}/{level}") if len(parts) >= p.min_sentences else []
        if others:
            shuffled += [(name, level, splits[name], number, order, int(not number)) for number, order in enumerate([parts, *others])]
        else:
            notes.append(("not shuffled", name, f"{level}: {len(parts)} sentences"))
    return {
        "documents": pl.DataFrame(rows, DOCUMENTS, orient="row"),
        "pairs": _pairs(corpus.pairs, p, splits),
        "shuffled": pl.DataFrame(shuffled, SHUFFLED, orient="row"),
        "notes": pl.DataFrame(notes, dict.fromkeys(("step", "id", "what"), pl.String), orient="row"),
    }


def _pairs(pairs: pl.DataFrame, p: Data, splits: Mapping[str, str]) -> pl.DataFrame:
    """The pairs that ``p.pairs`` asks for, in its order, with their splits."""
    found = []
    for kind in p.pairs:
        check_pair(kind, p.levels)
        source, target = kind
        part = pairs.filter((pl.col("source_level") == source) & (pl.col("target_level") == target))
        if part.is_empty():
            raise CatalogError(f"The corpus {p.corpus} has no pair {named(kind)}; choose others in simdoc's parameters.")
        found.append(part)
    column = pl.col("id").replace_strict(splits, return_dtype=pl.String).alias("split")
    return pl.concat(found).with_columns(column).select("id", "split", "source_level", "target_level", "source", "target")


def main(profile: str) -> None:
    params = profile_params(Params, SYSTEM, profile)
    corpus = load(params.data.corpus, params.data.path, params.data.files)
    with atomic_dir(ROOT / "data" / "simdoc_pairs" / profile) as folder:
        for name, table in build(corpus, params.data, params.seed).items():
            write_parquet(table, folder / f"{name}.parquet")


if __name__ == "__main__":
    run(main)
