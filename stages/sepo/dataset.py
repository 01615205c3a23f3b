"""Preference pairs of several sets, in one form and in splits that share no article, document or prompt.

Writes ``data/preference_pairs/<profile>/``: `pairs.parquet`, one row a pair of a prompt x, a chosen response y_w and a rejected one y_l,
and `dropped.parquet`, what gave no pair and why. Pairs made of summaries (layout ``xsum``) know the characters that decide:
[chosen_start, chosen_end) of the chosen and [rejected_start, rejected_end) of the rejected response; in the others these are null.

The sets and the first 4,000 rows as evaluation follow the released code of SePO (arXiv 2408.13518); splits by article are this project's
own. Lengths in tokens are checked where the pairs are tokenised. Imports no torch.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl

from catalog.base.deps import how_to_get, require_dep
from catalog.base.errors import CatalogError, run
from catalog.base.io import atomic_dir, write_parquet
from catalog.base.params import ROOT, profile_params
from stages.sepo.corrupt import KINDS, Change, draw
from stages.sepo.layouts import LAYOUTS, hub_file, read_pairs, read_summaries
from stages.sepo.mentions import has_word
from stages.sepo.settings import Data, Params, Source

SYSTEM, DATASET = "sepo", "preference_pairs"
SPLITS = ("train", "validation", "test")
OFFSETS = ("chosen_start", "chosen_end", "rejected_start", "rejected_end")
COLUMNS = ("id", "set", "group", "split", "kind", "system_prompt", "prompt", "chosen", "rejected", *OFFSETS, "supported")
MADE = {"kind": pl.String, **dict.fromkeys(OFFSETS, pl.Int32), "supported": pl.Boolean}
OPENING = 5  # words by which a sentence is looked up in documents; a shorter one is no sign of the same article
SEEN, SEEN_ELSEWHERE = "its group has test rows", "its text is among the test rows of another set"


def build(p: Data, seed: int, root: Path = ROOT) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Pairs and dropped rows of all sets.

    Returns:
        Pairs with the columns `COLUMNS` and dropped rows (set, id, reason), in the order of the sets and of their files. ``group`` is the
        id of the first row with the same article, document or prompt; no group is in two splits.

    Raises:
        CatalogError: see `check`, `stages.sepo.layouts`; the sentence names the set.
    """
    check(p)
    paths = {name: locate(name, source, root) for name, source in p.sets.items()}  # downloads, before anything is read
    found, dropped = [], []
    for name, source in p.sets.items():
        try:
            rows, gone = load(source, paths[name], p, seed)
        except CatalogError as error:
            raise CatalogError(f"Set {name}: {error}") from None
        rows, late = split(rows, source, [seed, zlib.crc32(name.encode())])
        if not len(rows):
            why = ", ".join(f"{reason}: {count}" for reason, count in Counter(pl.concat([gone, late])["reason"]).most_common())
            raise CatalogError(f"Set {name} gives no pair at all ({why}); correct its layout or files in params.yaml.")
        prefix = {column: name + "-" + pl.col(column) for column in ("id", "group")}
        found.append(rows.with_columns(set=pl.lit(name), long=pl.lit(source.layout == "xsum"), **prefix))
        dropped.append(pl.concat([gone, late]).select(pl.lit(name).alias("set"), prefix["id"].alias("id"), "reason"))
    pairs = pl.concat(found)
    leaking = leaks(pairs)
    dropped.append(pairs.filter(leaking).select("set", "id", reason=pl.lit(SEEN_ELSEWHERE)))
    return pairs.filter(~leaking).select(COLUMNS), pl.concat(dropped)


def check(p: Data) -> None:
    """Check what no type says.

    Raises:
        CatalogError: an unknown layout, kind or split, shares that do not add up, a set without files, with two places or without
            an instruction that it needs.
    """
    for kind in p.kinds:
        if kind not in KINDS:
            raise CatalogError(f"There is no kind of corruption {kind!r}; the kinds are {', '.join(KINDS)}.")
    if p.per_document < 1 or p.document_words < 1:
        raise CatalogError("per_document and document_words must be 1 or more.")
    for name, source in p.sets.items():
        if source.layout not in (*LAYOUTS, "xsum"):
            raise CatalogError(f"Set {name} has the layout {source.layout!r}; use one of {', '.join((*LAYOUTS, 'xsum'))}.")
        if not set(source.shares) <= set(SPLITS) or abs(sum(source.shares.values()) - 1) > 1e-9 or min(source.shares.values()) < 0:
            raise CatalogError(f"Set {name}: shares of {', '.join(SPLITS)} must add up to 1, these are {source.shares}.")
        if not source.files or (source.asset and source.hub) or (source.hub and not source.revision):
            raise CatalogError(f"Set {name} needs files, and at most one of asset and hub, a hub with its revision.")
        if source.layout in ("xsum", "factual_summary") and "{text}" not in (source.instruction or ""):
            raise CatalogError(f"Set {name} needs an instruction with {{text}} where the {source.layout} text goes.")
        if source.layout == "xsum" and (source.test_files or source.first_test):
            raise CatalogError(f"Set {name}: documents of the layout xsum are split by shares alone; empty test_files and first_test.")


def locate(name: str, source: Source, root: Path) -> list[Path]:
    """Local paths of a set's files, the test files last; those of the hub are downloaded."""
    files = [*source.files, *source.test_files]
    if source.hub:
        return [hub_file(source.hub, source.revision, file) for file in files]
    folder = root / "data" / "assets" / source.asset if source.asset else root
    for file in files:
        require_dep(folder / file, root, own=None if source.asset else SYSTEM)
    if source.asset and not folder.is_dir():
        raise CatalogError(f"Set {name} needs the asset {source.asset}: {how_to_get(source.asset, root)}.")
    return [folder / file for file in files]


def load(source: Source, paths: list[Path], p: Data, seed: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows (the columns `_LOADED`) and dropped rows (id, reason) of a set.

    ``published`` says which rows its publishers or the released code keep for the test.
    """
    if source.layout == "xsum":
        summaries = pl.concat([read_summaries(path) for path in paths])
        _distinct(summaries)
        rows, dropped = make_pairs(summaries, source.instruction, p, seed)
        return rows.with_columns(group=pl.col("group").first().over(key(pl.col("text")))), dropped
    parts, dropped, number = [], [], 1
    for at, path in enumerate(paths):
        rows, gone = read_pairs(path, source.layout, source.instruction, number)
        parts.append(rows.with_columns(published=(pl.col("row") <= source.first_test) | pl.lit(at >= len(source.files))))
        dropped.append(gone)
        number += len(rows) + len(gone)
    rows = pl.concat(parts)
    _distinct(rows)
    groups = pl.col("id").first().over(key(pl.col("text")))
    return rows.with_columns(group=groups, **{name: pl.lit(None, kind) for name, kind in MADE.items()}).select(_LOADED), pl.concat(dropped)


_LOADED = ("id", "text", "group", "published", "system_prompt", "prompt", "chosen", "rejected", *MADE)


def _distinct(rows: pl.DataFrame) -> None:
    twice = rows.filter(pl.col("id").is_duplicated())["id"]
    if len(twice):
        raise CatalogError(f"the id {twice[0]!r} stands in two files, as rows without an id have their number; give each row its own.")


def key(text: pl.Expr) -> pl.Expr:
    """What is left of a text when case, punctuation and spaces do not count; a text of nothing else is left as it is."""
    plain = text.str.to_lowercase().str.replace_all(r"[^\p{L}\p{N}]+", " ").str.strip_chars()
    return pl.when(plain == "").then(text).otherwise(plain)


def make_pairs(summaries: pl.DataFrame, instruction: str, p: Data, seed: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Pairs made of documents and their summaries: the summary is chosen, a corrupted one rejected (see `stages.sepo.corrupt`).

    The prompt is the instruction with the first words of the document. ``supported`` says whether these contain the original span; it is
    null for a negation, of which the span is only the place.

    Args:
        summaries: id, document, summary.

    Returns:
        As `load`.
    """
    texts = {name: (document, summary) for name, document, summary in summaries.iter_rows()}
    rows, dropped = [], []
    for name, made in draw(summaries.iter_rows(), p.per_document, p.kinds, seed).items():
        if isinstance(made, str):
            dropped.append((name, made))
            continue
        document, summary = texts[name]
        shown = document.split()
        excerpt = " ".join(shown[: p.document_words]) + (" ..." if len(shown) > p.document_words else "")
        prompt = instruction.replace("{text}", excerpt)
        for change in made:
            spans = (change.start, change.end, change.start, change.start + len(change.replacement))
            known = (change.kind, *spans, supported(change, summary, excerpt))
            rows.append((f"{name}-{change.kind}", document, name, False, None, prompt, summary, change.apply(summary), *known))
    schema = dict.fromkeys(_LOADED, pl.String) | {"published": pl.Boolean} | MADE
    return pl.DataFrame(rows, schema, orient="row"), pl.DataFrame(dropped, {"id": pl.String, "reason": pl.String}, orient="row")


def supported(change: Change, summary: str, excerpt: str) -> bool | None:
    """Whether the original span, without its article, stands in the part of the document that the prompt shows; null for a negation."""
    original = re.sub(r"^an? ", "", summary[change.start : change.end], flags=re.IGNORECASE)
    return None if change.kind == "negation" else has_word(excerpt, original)


def split(rows: pl.DataFrame, source: Source, seed: list[int]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Put whole groups in splits: published test rows are ``test``, the other groups are dealt out by the shares.

    Args:
        rows: as `load` returns them.
        source: ``shares`` of the groups, each split cut where the cumulated share of the shuffled groups ends, rounded.

    Returns:
        Rows with ``split``, in their order, and rows (id, reason) that are dropped because their group has published test rows.
    """
    held = rows.filter("published")["group"].unique()
    late = ~pl.col("published") & pl.col("group").is_in(held.implode())
    dropped = rows.filter(late).select("id", reason=pl.lit(SEEN))
    rows = rows.filter(~late)
    groups = rows.filter(~pl.col("published"))["group"].unique(maintain_order=True).to_list()
    order = np.random.default_rng(seed).permutation(len(groups))
    ends = np.round(np.cumsum([source.shares.get(name, 0.0) for name in SPLITS]) * len(groups)).astype(int)
    dealt = {groups[at]: SPLITS[int(np.searchsorted(ends, place, side="right"))] for place, at in enumerate(order)}
    chosen = [("test" if published else dealt[group]) for group, published in rows.select("group", "published").iter_rows()]
    return rows.with_columns(split=pl.Series(chosen, dtype=pl.String)), dropped


def leaks(pairs: pl.DataFrame) -> pl.Series:
    """Rows of train and validation whose text is a test text of another set, or stands in one, or has one in it.

    Args:
        pairs: set, split, text, and ``long``: whether texts are whole documents, in which sentences of other sets are looked for.

    Returns:
        Boolean, one a row of `pairs`.
    """
    texts = pairs.select("set", "long", test=pl.col("split") == "test", key=key(pl.col("text")))
    unique = texts.unique(maintain_order=True)
    tested = unique.filter("test").select("key", other="set")
    same = unique.filter(~pl.col("test")).join(tested, on="key").filter(pl.col("set") != pl.col("other"))
    found = set(same.select("set", "key").iter_rows())
    sentences: dict[tuple[str, ...], list[tuple[str, bool, str]]] = {}  # by their first words
    for name, test, text in unique.filter(~pl.col("long")).select("set", "test", "key").iter_rows():
        begin = tuple(text.split(" ", OPENING)[:OPENING])
        if len(begin) == OPENING:
            sentences.setdefault(begin, []).append((name, test, text))
    for name, test, text in unique.filter("long").select("set", "test", "key").iter_rows():
        words = text.split(" ")
        for at in range(len(words)):
            for other, other_test, sentence in sentences.get(tuple(words[at : at + OPENING]), ()):
                if test != other_test and f" {sentence} " in f" {text} ":
                    found.add((other, sentence) if test else (name, text))
    return pl.Series([not test and (name, text) in found for name, _, test, text in texts.iter_rows()], dtype=pl.Boolean)


def main(profile: str) -> None:
    params = profile_params(Params, SYSTEM, profile)
    pairs, dropped = build(params.data, params.seed)
    with atomic_dir(ROOT / "data" / DATASET / profile) as folder:
        write_parquet(pairs, folder / "pairs.parquet")
        write_parquet(dropped, folder / "dropped.parquet")


if __name__ == "__main__":
    run(main)
