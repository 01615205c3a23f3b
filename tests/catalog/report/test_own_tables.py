"""A system's own tables: what is written is just what is declared, sorted by its key, in the same bytes."""

import math

import polars as pl
import pytest

from catalog.base import io
from catalog.base.errors import CatalogError
from catalog.report.tables import declared, write_tables

DECLARED = """heads:
  description: Heads.
  key: [model, layer]
  columns:
    layer: {int: "Layer, from 0."}
    model: {string: Model.}
    drop: {float: Accuracy drop.}
    tokens: {ints: Token ids.}
lines:
  description: Lines.
  key: [id]
  columns:
    id: {int: Number.}
"""


@pytest.fixture
def root(tmp_path):
    io.write_text(DECLARED, tmp_path / "stages/demo/tables.yaml")
    return tmp_path


def heads(**changed):
    columns = {"model": ["b", "a", None], "layer": [0, 1, 1], "drop": [0, 1, None], "tokens": [[1], None, [2, 3]]}
    return pl.DataFrame(columns | changed)


LINES = pl.DataFrame({"id": [2, 1]})


def test_tables_come_in_declared_columns_types_and_order(root):
    write_tables({"lines": LINES, "heads": heads()}, "demo", "small", root=root)
    folder = root / "reports/demo/small/tables"
    assert sorted(path.name for path in folder.iterdir()) == ["heads.parquet", "lines.parquet"]
    found = pl.read_parquet(folder / "heads.parquet")
    assert found.schema == {"layer": pl.Int64, "model": pl.String, "drop": pl.Float64, "tokens": pl.List(pl.Int64)}
    assert found.rows() == [(1, None, None, [2, 3]), (1, "a", 1.0, None), (0, "b", 0.0, [1])]
    first = (folder / "heads.parquet").read_bytes()
    write_tables({"heads": heads().reverse().cast({"layer": pl.Int32}), "lines": LINES}, "demo", "small", root=root)
    assert (folder / "heads.parquet").read_bytes() == first


@pytest.mark.parametrize(
    ("frames", "said"),
    [
        ({"heads": heads()}, "declares the table lines, which was not written"),
        ({"heads": heads(), "lines": LINES, "more": LINES}, "The table more is not declared"),
        ({"heads": heads().drop("drop"), "lines": LINES}, "lacks the column drop"),
        ({"heads": heads(more=[1, 2, 3]), "lines": LINES}, "has the undeclared column more"),
        ({"heads": heads(layer=[0.5, 1, 1]), "lines": LINES}, "column layer is Float64 but is declared as int"),
        ({"heads": heads(drop=["0", "1", "2"]), "lines": LINES}, "column drop is String but is declared as float"),
        ({"heads": heads(drop=[math.nan, 0, 0]), "lines": LINES}, "holds a NaN or infinite number"),
        ({"heads": heads(drop=[math.inf, 0, 0]), "lines": LINES}, "holds a NaN or infinite number"),
        ({"heads": heads(model=["a", "a", "a"], layer=[1, 1, 2]), "lines": LINES}, r"two rows with the key {'model': 'a', 'layer': 1}"),
    ],
)
def test_what_is_not_declared_is_refused_and_nothing_is_written(root, frames, said):
    with pytest.raises(CatalogError, match=said):
        write_tables(frames, "demo", "small", root=root)
    assert not (root / "reports").exists()


def test_a_table_that_is_gone_leaves_no_file(root):
    write_tables({"lines": LINES, "heads": heads()}, "demo", "small", root=root)
    io.write_text(DECLARED[DECLARED.index("lines:") :], root / "stages/demo/tables.yaml")
    write_tables({"lines": LINES}, "demo", "small", root=root)
    assert [path.name for path in (root / "reports/demo/small/tables").iterdir()] == ["lines.parquet"]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("lines:", "results:", "cannot name a table"),
        ("lines:", "No Lines:", "cannot name a table"),
        ("  key: [id]\n", "", "must have exactly the keys description, key and columns"),
        ("key: [id]", "key: [ids]", "key must name columns of the table"),
        ("key: [id]", "key: []", "key must name columns of the table"),
        ("id: {int: Number.}", "profile: {string: Profile.}", "which the database adds; drop it"),
        ("id: {int: Number.}", "id: {number: Number.}", "has the type 'number' but must have one of string, int"),
        ("id: {int: Number.}", "id: Number.", "must be `type: meaning`"),
        ("id: {int: Number.}", "id: {int: 5}", "must be `type: meaning`"),
        ("description: Lines.", "description: [Lines.", "cannot be read"),
        (DECLARED, "- heads\n", "must map names"),
        (DECLARED, "heads\n", "must map names"),
        (DECLARED, "[]\n", "must map names"),
        ("lines:", "5:", "cannot name a table"),
        ("lines:", "null:", "cannot name a table"),
        ("description: Lines.", "description: 5", "description must be a text"),
        ("description: Lines.", "description: null", "description must be a text"),
        ("description: Lines.", 'description: " "', "description must be a text"),
        ("columns:\n    id: {int: Number.}", "columns: [id]", "columns must map"),
        ("columns:\n    id: {int: Number.}", "columns: null", "columns must map"),
        ("key: [id]", "key: null", "key must name columns"),
        ("key: [id]", "key: 5", "key must name columns"),
        ("key: [id]", "key: [[id]]", "key must name columns"),
        ("key: [id]", "key: id", "key must name columns"),
        ("key: [id]", "key: [id, id]", "key names a column twice"),
        ("    id: {int", "    5: {int: Five.}\n    id: {int", "has the name 5"),
        ("    id: {int", '    "": {int: Nothing.}\n    id: {int', "has the name ''"),
        ("    id: {int", "    ID: {int: Twice.}\n    id: {int", "has ID and id, which are one name in SQL"),
        ("    id: {int", "    Profile: {int: Profile.}\n    id: {int", "`Profile`, which the database adds"),
        ("id: {int: Number.}", 'id: {int: ""}', "must be `type: meaning`"),
    ],
)
def test_a_wrong_declaration_is_named(root, old, new, said):
    io.write_text(DECLARED.replace(old, new), root / "stages/demo/tables.yaml")
    with pytest.raises(CatalogError, match=said) as error:
        declared("demo", root)
    assert str(error.value).startswith("stages/demo/tables.yaml")


def test_a_system_without_tables_declares_none(root):
    assert declared("other", root) == {}
    write_tables({}, "other", "small", root=root)


MANY = """big:
  description: Numbers of every kind.
  key: [k]
  columns:
    k: {float: Key.}
    i: {int: Whole number.}
    fs: {floats: Numbers.}
    is: {ints: Whole numbers.}
"""


def big(**changed):
    return pl.DataFrame({"k": [1, 2], "i": [1, 2], "fs": [[1, 2], None], "is": [[], [None, 2]]} | changed)


def test_numbers_that_fit_their_type_are_kept(tmp_path):
    io.write_text(MANY, tmp_path / "stages/demo/tables.yaml")
    most = 2**53  # up to here every whole number is a float
    given = big(
        k=[most, most - 1],
        i=pl.Series([2**63 - 1, None], dtype=pl.UInt64),
        fs=[[-most], [None]],
        **{"is": pl.Series([[-(2**63)], []], dtype=pl.List(pl.Int128))},
    )
    write_tables({"big": given}, "demo", "small", root=tmp_path)
    found = pl.read_parquet(tmp_path / "reports/demo/small/tables/big.parquet")
    assert found.rows() == [(most - 1.0, None, [None], []), (float(most), 2**63 - 1, [-float(most)], [-(2**63)])]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"fs": [[1.0, math.nan], None]}, "column fs holds a NaN or infinite number"),
        ({"fs": [None, [-math.inf]]}, "column fs holds a NaN or infinite number"),
        ({"k": [2**53, 2**53 + 1]}, f"column k holds {2**53 + 1}, which float cannot hold exactly"),
        ({"fs": [[1], [2**53 + 1]]}, f"column fs holds {2**53 + 1}, which floats cannot hold exactly"),
        ({"k": pl.Series([1, 2**64 - 1], dtype=pl.UInt64)}, f"column k holds {2**64 - 1}, which float cannot"),
        ({"i": pl.Series([1, 2**63], dtype=pl.UInt64)}, f"column i holds {2**63}, which int cannot"),
        ({"i": pl.Series([1, -(2**63) - 1], dtype=pl.Int128)}, f"column i holds {-(2**63) - 1}, which int cannot"),
        ({"is": pl.Series([[1], [2, 2**63]], dtype=pl.List(pl.UInt64))}, f"column is holds {2**63}, which ints cannot"),
    ],
)
def test_a_number_that_does_not_fit_its_type_is_refused(tmp_path, changed, said):
    io.write_text(MANY, tmp_path / "stages/demo/tables.yaml")
    with pytest.raises(CatalogError, match=said):
        write_tables({"big": big(**changed)}, "demo", "small", root=tmp_path)
    assert not (tmp_path / "reports").exists()


@pytest.mark.parametrize("frame", [LINES.lazy(), None, LINES.to_dicts()])
def test_what_is_no_frame_is_refused(root, frame):
    with pytest.raises(CatalogError, match="The table lines of demo is a (LazyFrame|NoneType|list); give a polars DataFrame"):
        write_tables({"heads": heads(), "lines": frame}, "demo", "small", root=root)
