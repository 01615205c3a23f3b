"""Croissant files and model cards."""

import contextlib

import demo_project
import mlcroissant
import polars as pl
import pytest

from catalog.base import io
from catalog.base.errors import CatalogError
from catalog.database import cards, db, export

MODEL = "models/demo_base/README.md"


@pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated")
def test_croissant_is_valid_and_loads_the_built_table(con, demo_root, monkeypatch):
    def refuse(*_):
        raise AssertionError("a validation must not use the network")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("socket.getaddrinfo", refuse)
    export.write_all(con, demo_root / "reports/catalog")
    path = demo_root / "reports/catalog/croissant/demo_sums.json"
    found = mlcroissant.Dataset(jsonld=path)
    assert not found.metadata.ctx.issues.errors
    assert found.metadata.license == ["https://spdx.org/licenses/Apache-2.0.html"]
    (fields,) = [entry.fields for entry in found.metadata.record_sets if entry.id == "small-sums"]
    assert [(field.name, field.description) for field in fields] == [
        ("prompt", "The sum to solve."),
        ("answer", "Its result."),
    ]
    assert not mlcroissant.Dataset(jsonld=path.with_name("demo_letters.json")).metadata.ctx.issues.errors
    sums = pl.DataFrame({"prompt": [f"{i}+1=" for i in range(9)], "answer": list(range(1, 10))})
    io.write_parquet(sums, demo_root / "data/demo_sums/small/sums.parquet")
    records = list(found.records("small-sums"))
    assert records[0] == {"small-sums/prompt": b"0+1=", "small-sums/answer": 1}
    assert len(records) == 9


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("String", ("sc:Text", False)),
        ("UInt8", ("sc:Integer", False)),
        ("Float32", ("sc:Float", False)),
        ("Boolean", ("sc:Boolean", False)),
        ("Date", ("sc:Date", False)),
        ("List(Int64)", ("sc:Integer", True)),
        ("List(Struct({'a': Int64}))", ("sc:Text", True)),
        ("Array(Float32, shape=(3,))", ("sc:Float", True)),
    ],
)
def test_column_types_have_a_croissant_type(kind, expected):
    assert export._data_type(kind) == expected


def test_model_cards_have_front_matter_for_the_hub(con):
    front, body = cards.parse_card(export.model_card(con, "demo_tuned"), "card")
    assert {key: front[key] for key in ("license", "library_name", "base_model", "datasets", "tags")} == {
        "license": "apache-2.0",
        "library_name": "peft",
        "base_model": "demo_base",
        "datasets": ["demo_letters"],
        "tags": ["lora", "demo_text"],
    }
    (index,) = front["model-index"][0]["results"]
    assert (index["dataset"]["type"], index["metrics"]) == (
        "demo_letters",
        [{"type": "loss", "name": "tuning, tuned", "value": 2.25}],
    )
    assert body.startswith("# Demo tuned\n") and "`models/demo_tuned/small`" in body
    base, _ = cards.parse_card(export.model_card(con, "demo_base"), "card")
    assert "model-index" not in base and base["tags"] == ["base", "demo_heads", "demo_text"]


def test_a_model_card_names_the_published_base_model_and_an_unknown_licence(demo_root):
    demo_project.change(demo_root, MODEL, "base_model: null", "base_model: demo-org/demo-base")
    demo_project.change(demo_root, MODEL, "license: Apache-2.0", "license: Demo Terms of Use")
    with contextlib.closing(db.connect(db.build(demo_root))) as con:
        tuned, _ = cards.parse_card(export.model_card(con, "demo_tuned"), "card")
        base, _ = cards.parse_card(export.model_card(con, "demo_base"), "card")
        with pytest.raises(CatalogError, match="There is no model 'x'"):
            export.model_card(con, "x")
        with pytest.raises(CatalogError, match="There is no data set 'x'"):
            export.croissant(con, "x")
    assert tuned["base_model"] == base["base_model"] == "demo-org/demo-base"
    assert (base["license"], base["license_name"]) == ("other", "demo-terms-of-use")


def test_exports_are_the_same_bytes_and_leave_nothing_stale(con, demo_root):
    folder = demo_root / "reports/catalog"
    io.write_text("old", folder / "croissant/gone.json")
    export.write_all(con, folder)
    files = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert sorted(map(str, files)) == [
        "croissant/demo_letters.json",
        "croissant/demo_sums.json",
        "model_cards/demo_base.md",
        "model_cards/demo_tuned.md",
    ]
    export.write_all(con, folder)
    assert files == {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
