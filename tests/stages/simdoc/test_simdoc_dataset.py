"""The data stage of simdoc: splits by text, pairs, shuffled documents."""

import graded_tables
import polars as pl
import pytest
from graded_tables import DATA
from jsonl_pairs import pair, write_lines

from catalog.base.errors import CatalogError
from catalog.base.params import profile_params
from stages.simdoc import corpora, dataset
from stages.simdoc.settings import Data, Params


@pytest.fixture(scope="module")
def graded():
    return graded_tables.graded()


@pytest.fixture(scope="module")
def tables():
    return graded_tables.tables()


def test_split_is_by_share_and_topic_and_every_level_of_a_text_is_in_one(graded, tables):
    found = tables["documents"].group_by("id").agg(pl.col("split").n_unique().alias("n"), pl.col("split").first(), pl.col("topic").first())
    assert found.height == 66 and found["n"].max() == 1
    assert dict(found["split"].value_counts().iter_rows()) == {"train": 40, "validation": 13, "test": 13}
    for _, part in found.group_by("topic"):
        counts = dict(part["split"].value_counts().iter_rows())
        assert sum(counts.values()) == 11 and counts["train"] in (6, 7) and {counts["validation"], counts["test"]} <= {2, 3}
    splits = dict(found.select("id", "split").iter_rows())
    for table in ("pairs", "shuffled"):
        assert all(splits[name] == split for name, split in tables[table].select("id", "split").iter_rows())
    assert dict(dataset.build(graded, DATA, 1)["documents"].select("id", "split").iter_rows()) != splits


def test_split_by_hand():
    shares = {"train": 0.5, "validation": 0.25, "test": 0.25}
    assert sorted(dataset.split(dict.fromkeys("abcd"), shares, 0).values()) == ["test", "train", "train", "validation"]
    topics = {f"{topic}{number}": topic for topic in "xyz" for number in range(4)}
    for seed in range(5):
        found = dataset.split(topics, shares, seed)
        assert all(sum(found[f"{topic}{n}"] == "train" for n in range(4)) == 2 for topic in "xyz")
    with pytest.raises(CatalogError, match="the split test would be empty"):
        dataset.split(dict.fromkeys("ab"), shares, 0)
    with pytest.raises(CatalogError, match="add up to 1"):
        dataset.split(dict.fromkeys("abcd"), {"train": 0.5, "validation": 0.3, "test": 0.3}, 0)


def test_tables_have_their_columns_pairs_and_counts(tmp_path, tables):
    assert tables["documents"].columns == ["id", "topic", "level", "text", "split", "words", "sentences"]
    assert tables["pairs"].columns == ["id", "split", "source_level", "target_level", "source", "target"]
    assert tables["pairs"].group_by("source_level", "target_level", maintain_order=True).len().rows() == [
        ("advanced", "elementary", 66),
        ("intermediate", "elementary", 66),
    ]
    rows = [pair("a", "One two, three. Four?", "One."), *(pair(name, f"{name} one.", f"{name}.") for name in "bcd")]
    p = Data(**{**vars(DATA), "levels": ("hard", "easy"), "pairs": (("hard", "easy"),)})
    small = dataset.build(corpora.load("jsonl", write_lines(tmp_path / "own.jsonl", rows)), p, 0)["documents"]
    assert small.filter((pl.col("id") == "a") & (pl.col("level") == "hard")).select("words", "sentences").row(0) == (4, 2)


def test_shuffled_documents_hold_the_same_sentences_in_other_orders(tables):
    shuffled = tables["shuffled"]
    assert shuffled.columns == ["id", "level", "split", "version", "sentences", "label"] and shuffled.height == 198 * 4
    for _, part in shuffled.group_by("id", "level"):
        orders = part.sort("version")["sentences"].to_list()
        assert part.sort("version")["label"].to_list() == [1, 0, 0, 0]
        assert len({tuple(order) for order in orders}) == 4 and all(sorted(order) == sorted(orders[0]) for order in orders)
    counts = dict(zip(tables["documents"].select("id", "level").rows(), tables["documents"]["sentences"]))
    first = shuffled.filter(pl.col("version") == 0)
    assert all(counts[name, level] == len(parts) for name, level, parts in first.select("id", "level", "sentences").iter_rows())


def test_documents_that_cannot_be_shuffled_are_left_out_and_noted(tmp_path):
    rows = [
        pair("one", "Only one sentence.", "Two. Sentences."),
        pair("same", "Yes. Yes. Yes.", "A one. B two. C three."),
        pair("none", "No words but these here.", "None."),
        pair("more", "A hard one. Then two. Then three.", "More."),
    ]
    p = Data(**{**vars(DATA), "levels": ("hard", "easy"), "pairs": (("hard", "easy"),), "shuffles": 9})
    tables = dataset.build(corpora.load("jsonl", write_lines(tmp_path / "own.jsonl", rows)), p, 0)
    assert tables["shuffled"].select("id", "level").unique(maintain_order=True).rows() == [("more", "hard"), ("same", "easy")]
    assert tables["shuffled"].height == 2 * 6  # the original and all five other orders of three sentences
    assert tables["notes"].filter(pl.col("step") == "not shuffled").select("id", "what").sort("id", "what").rows() == [
        ("more", "easy: 1 sentences"),
        ("none", "easy: 1 sentences"),
        ("none", "hard: 1 sentences"),
        ("one", "easy: 2 sentences"),
        ("one", "hard: 1 sentences"),
        ("same", "hard: 3 sentences"),
    ]


def test_shuffles_of_a_document_depend_on_no_other():
    parts = [f"Sentence {number}." for number in range(8)]
    assert dataset.shuffles(parts, 3, 0, "a/hard") == dataset.shuffles(parts, 3, 0, "a/hard")
    assert dataset.shuffles(parts, 3, 0, "a/hard") != dataset.shuffles(parts, 3, 0, "b/hard")
    assert dataset.shuffles(parts, 3, 0, "a/hard") != dataset.shuffles(parts, 3, 1, "a/hard")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"levels": ("advanced", "v4")}, "has no level 'v4'; its levels are advanced, elementary, intermediate"),
        ({"pairs": (("elementary", "advanced"),)}, "has no pair elementary to advanced"),
        ({"pairs": (("advanced", "advanced"),)}, "advanced to advanced must be two different levels"),
        ({"levels": ("advanced", "elementary")}, "intermediate to elementary must be two different levels of advanced, elementary"),
        ({"shuffles": 0}, "shuffles at least 1"),
    ],
)
def test_parameters_that_do_not_fit_the_corpus_are_refused(graded, change, message):
    with pytest.raises(CatalogError, match=message):
        dataset.build(graded, Data(**{**vars(DATA), **change}), 0)


def test_levels_that_are_not_used_are_left_out_and_counted(graded):
    p = Data(**{**vars(DATA), "levels": ("advanced", "elementary"), "pairs": (("advanced", "elementary"),)})
    tables = dataset.build(graded, p, 0)
    assert tables["documents"]["level"].unique().sort().to_list() == ["advanced", "elementary"]
    assert tables["notes"].rows() == [("level not used", None, "66 documents of the level intermediate left out")]


def test_the_stage_writes_the_same_bytes_twice(tmp_path, monkeypatch):
    params = profile_params(Params, "simdoc", "small")
    assert profile_params(Params, "simdoc", "full").data.corpus == "newsela"
    monkeypatch.setattr(dataset, "ROOT", tmp_path)
    monkeypatch.setattr(dataset, "profile_params", lambda *_: params)
    written = []
    for _ in range(2):
        dataset.main("small")
        folder = tmp_path / "data/simdoc_pairs/small"
        written.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert set(written[0]) == {"documents.parquet", "pairs.parquet", "shuffled.parquet", "notes.parquet"}
    assert written[0] == written[1]
