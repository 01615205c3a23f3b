"""Tables of harmonic: reading, types, splits and schemas, and one sentence for a bad table."""

import dataclasses
import json

import polars as pl
import pytest

from catalog.base.errors import CatalogError
from catalog.base.params import ROOT, profile_params
from stages.harmonic import dataset
from stages.harmonic.reader import read_table, typed
from stages.harmonic.schema import Schema, learn, plain_number, split
from stages.harmonic.settings import Params, Table

SHARES = {"train": 0.4, "validation": 0.1, "test": 0.2, "holdout": 0.3}
ROWS = """@relation toy % a comment
@attribute 'the age' real
@attribute job {none, 'no job', "clerk"}
@attribute bmi numeric
@attribute class {yes, no}
@data
% another
30, none, 21.5, yes
41, 'no job', 19, no
25, ?, 33.25, yes
60, clerk, 21.5, no
"""


def toy(tmp_path, text=ROWS, form="arff", target="class", numeric=None, names=None):
    path = tmp_path / f"toy.{form}"
    path.write_text(text, encoding="utf-8")
    return read_table([path], form, names, target, numeric)


# --- tables --------------------------------------------------------------------------------------------------------------------------


def test_a_table_is_read_and_typed(tmp_path):
    rows = toy(tmp_path)
    assert rows.columns == ["id", "file", "the age", "job", "bmi", "class"]
    assert rows["job"].to_list() == ["none", "no job", None, "clerk"] and rows["the age"].dtype == pl.Float64
    assert rows["bmi"].to_list() == [21.5, 19.0, 33.25, 21.5]
    csv = "a|b\n"  # no comment: only a line that begins with | is one
    assert toy(tmp_path, '|skip\nx, y\n1, "a, b"\n2, c\n', "csv", "y")["y"].to_list() == ["a, b", "c"]
    assert toy(tmp_path, "1,u\n0,v\n", "csv", "l", names=("k", "l"))["k"].to_list() == [1.0, 0.0]
    assert typed(toy(tmp_path, "1,u\n0,v\n", "csv", "k", names=("k", "l")), "k", "classification")["k"].to_list() == ["1", "0"]
    with pytest.raises(CatalogError, match="has no column 'y'"):
        toy(tmp_path, csv, "csv", "y")


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("a,b\n1,2\n3\n", {"form": "csv", "target": "b"}, "Row 2 of toy.csv has 1 cells and the table 2 columns"),
        ('a,b\n1,"2\n', {"form": "csv", "target": "b"}, "Row 2 of toy.csv opens a quote that is not closed"),
        ("a,b\n", {"form": "csv", "target": "b"}, "has no rows"),
        ("", {"form": "csv", "target": "b"}, "is empty"),
        ("a,a\n1,2\n", {"form": "csv", "target": "a"}, "each once"),
        ("id,b\n1,2\n", {"form": "csv", "target": "b"}, "the project's own"),
        ("a,b\nx,2\n", {"form": "csv", "target": "b", "numeric": ("a",)}, "should hold numbers but has 'x'"),
        ("a,b\nx,2\n", {"form": "csv", "target": "b", "numeric": ("c",)}, "no column 'c'"),
        ("a,b\n1,2\n", {"form": "arff", "target": "b"}, "no ARFF file"),
    ],
)
def test_a_bad_table_is_one_sentence(tmp_path, text, options, message):
    with pytest.raises(CatalogError, match=message):
        toy(tmp_path, text, **options)
    (tmp_path / "latin.csv").write_bytes("a,b\nä,1\n".encode("latin-1"))
    with pytest.raises(CatalogError, match="latin.csv is not UTF-8"):
        read_table([tmp_path / "latin.csv"], "csv", None, "b", None)


def test_targets_that_cannot_be_predicted(tmp_path):
    one = toy(tmp_path, "a,b\n1,x\n2,x\n", "csv", "b")
    with pytest.raises(CatalogError, match="one value only"):
        typed(one, "b", "classification")
    with pytest.raises(CatalogError, match="cannot be regression"):
        typed(one, "b", "regression")
    with pytest.raises(CatalogError, match="1 rows have no b"):
        typed(toy(tmp_path, "a,b\n1,x\n2,?\n", "csv", "b"), "b", "classification")
    empty = pl.DataFrame({"id": [0, 1], "split": ["train"] * 2, "a": pl.Series([None, None], dtype=pl.String), "b": ["x", "y"]})
    with pytest.raises(CatalogError, match="Column a of t has no value"):
        learn(empty, "t", "b", "classification")


def test_splits_are_stratified_and_a_published_test_split_is_kept():
    frame = pl.DataFrame({"id": range(100), "file": 0, "x": 1.0, "y": ["a"] * 70 + ["b"] * 30})
    rows = split(frame, "y", "classification", SHARES, 0)
    counts = {key: len(part) for key, part in rows.group_by("split", "y")}
    assert counts["train", "a"] == 28 and counts["holdout", "a"] == 21 and counts["test", "b"] == 6 and counts["validation", "b"] == 3
    assert rows.equals(split(frame, "y", "classification", SHARES, 0)) and not rows.equals(split(frame, "y", "classification", SHARES, 1))
    two = frame.with_columns(file=pl.when(pl.col("id") % 4 == 0).then(1).otherwise(0))
    rows = split(two, "y", "classification", SHARES, 0)
    assert rows.filter(pl.col("split") == "test")["id"].to_list() == list(range(0, 100, 4))
    with pytest.raises(CatalogError, match="add up to 1"):
        split(frame, "y", "classification", SHARES | {"train": 0.5}, 0)
    with pytest.raises(CatalogError, match="too few rows"):
        split(frame.head(3), "y", "classification", SHARES, 0)


def test_a_schema_knows_the_training_rows_only(tmp_path):
    rows = toy(tmp_path).rename({"the age": "age"}).with_columns(split=pl.lit("train"))
    schema = learn(rows.drop("file"), "toy", "class", "classification", {"bmi": "mass"})
    age, job, bmi, label = schema.columns
    assert (age.low, age.high, age.decimals, age.missing) == (25, 60, 0, 0) and (bmi.decimals, bmi.alias) == (2, "mass")
    assert job.levels == ("clerk", "no job", "none") and job.missing == 0.25 and label.levels == ("no", "yes")
    assert Schema.from_dict(json.loads(json.dumps(schema.to_dict()))) == schema
    with pytest.raises(CatalogError, match="one alias"):
        learn(rows.drop("file"), "toy", "class", "classification", {"bmi": "age"})
    assert [plain_number(v, d) for v, d in ((33.60, 2), (5.0, 0), (-0.0, 1), (0.125, 3), (100.0, 0))] == ["33.6", "5", "0", "0.125", "100"]


def test_a_table_of_ones_own_needs_a_few_parameters(tmp_path):
    lines = [f"{i % 7},{'xyz'[i % 3]},{'ab'[i % 2]}" for i in range(60)]
    (tmp_path / "own.csv").write_text("n,c,label\n" + "\n".join(lines) + "\n")
    own = Table(
        None, ("own.csv",), "csv", ("", "?"), None, "label", "classification", None, (), {}, "things", 2, 1, "label", ("n",), SHARES
    )
    p = profile_params(Params, "harmonic", "small").data
    rows, schema, near = dataset.build("own", own, p, 0, tmp_path)
    assert schema.names == ["n", "c", "label"] and len(near) == (rows["split"] == "train").sum()
    with pytest.raises(CatalogError, match="Table gone: .*does not exist"):
        dataset.build("gone", dataclasses.replace(own, files=("gone.csv",)), p, 0, tmp_path)
    with pytest.raises(CatalogError, match="Table own: There is no column 'm'; correct sensitive and known"):
        dataset.build("own", dataclasses.replace(own, known=("m",)), p, 0, tmp_path)
    codes = dataclasses.replace(own, categorical=("n",))
    assert not dataset.build("own", codes, p, 0, tmp_path)[1]["n"].numeric


def test_a_table_of_an_asset_says_how_to_get_it(tmp_path):
    (tmp_path / "params.yaml").write_text("assets: {ours: {}}\noptional_assets: {other: {}}\n")
    table = Table("ours", ("t.csv",), "csv", (), None, "y", "classification", None, (), {}, "rows", 2, 1, "y", (), SHARES)
    for asset, remedy in (
        ("ours", "it is declared but not fetched yet; run `dvc repro fetch@ours`"),
        ("other", "move it from optional_assets to assets in params.yaml, then run `dvc repro fetch@other`"),
        ("third", "declare it under assets in params.yaml, then run `dvc repro fetch@third`"),
    ):
        with pytest.raises(CatalogError, match=f"Table t needs the asset {asset}: {remedy}."):
            dataset.load("t", dataclasses.replace(table, asset=asset), tmp_path)
    folder = tmp_path / "data/assets/ours"
    folder.mkdir(parents=True)
    (folder / "u.csv").write_text("x,y\n1,a\n2,b\n")
    with pytest.raises(CatalogError, match="Table t: the asset ours has no file 't.csv'; its files are u.csv."):
        dataset.load("t", table, tmp_path)
    assert len(dataset.load("t", dataclasses.replace(table, files=("u.csv",)), tmp_path)) == 2


def test_notes_are_kept_beside_the_table_they_are_about(tmp_path, monkeypatch, capsys):
    rows = "".join(f"{i % 9:03},{i % 7},{'ab'[i % 2]}\n" for i in range(60))
    (tmp_path / "own.csv").write_text(f"code,n,label\n{rows}")
    noted = Table(None, ("own.csv",), "csv", (), None, "label", "classification", None, (), {}, "things", 2, 1, "label", (), SHARES)
    tables = {"noted": noted, "plain": dataclasses.replace(noted, categorical=("code",))}
    p = profile_params(Params, "harmonic", "small")
    p = dataclasses.replace(p, data=dataclasses.replace(p.data, tables=tables))
    monkeypatch.setattr(dataset, "profile_params", lambda *args: p)
    monkeypatch.setattr(dataset, "ROOT", tmp_path)
    dataset.main("small")
    folder = tmp_path / "data/harmonic_tables/small"
    note = (folder / "noted/notes.txt").read_text()
    assert note.startswith("Column code is read as a category of 9 codes") and note.count("\n") == 1
    assert capsys.readouterr().err == f"Note: Table noted: {note}"
    assert not (folder / "plain/notes.txt").exists()
    same = [(folder / table / "rows.parquet").read_bytes() for table in tables]
    assert same[0] == same[1]


@pytest.mark.skipif(not (ROOT / "data/assets/german_credit/credit-g.arff").is_file(), reason="the asset is not fetched")
def test_the_published_german_table():
    p = profile_params(Params, "harmonic", "small").data
    rows, schema, near = dataset.build("german_credit", p.tables["german_credit"], p, 0, ROOT)
    first = rows.filter(pl.col("id") == 0).row(0, named=True)
    assert rows.shape == (1000, 23) and dict(rows["class"].value_counts().iter_rows()) == {"good": 700, "bad": 300}
    assert (first["duration"], first["credit_amount"], first["age"], first["class"]) == (6, 1169, 67, "good")
    assert sum(rows[c.name].n_unique() for c in schema.categories if c.name != "class") == 54
    assert not rows.select(schema.names).is_duplicated().any() and len(schema.numbers) == 7
    assert rows.group_by("split").len().sort("split")["len"].to_list() == [300, 480, 120, 100]
