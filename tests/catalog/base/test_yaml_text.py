"""YAML that cannot be read is one sentence, also where the parser would end the whole process."""

import pytest

from catalog.base import io, params
from catalog.base.errors import CatalogError
from catalog.base.yaml_text import parse_yaml
from catalog.database import cards, ledger, pipeline
from catalog.report import names

DEEP = "a: " + "[" * 100_000 + "]" * 100_000


def test_values_are_those_of_yaml_1_2():
    assert parse_yaml("a: 1e-4\nb: no\nc: &c [1, x]\nd: [*c, *c]\n") == {"a": 1e-4, "b": "no", "c": [1, "x"], "d": [[1, "x"]] * 2}
    assert parse_yaml("") is None and parse_yaml("[" * 100 + "]" * 100) is not None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (DEEP, "line 1 is nested more than 100 levels deep"),
        ("a: 1\nb: " + "{c: " * 100 + "1" + "}" * 100, "line 2 is nested more than 100 levels deep"),
        ("- " * 100_000, "line 1 is nested more than 100 levels deep"),
        ("[" * 100_000, "line 1 is nested more than 100 levels deep"),
        ("a: &x\n  - b: [*x]", "*x in line 2 stands within what it repeats"),
        ("a: 2026-13-45", "month must be in 1..12"),
    ],
)
def test_what_is_refused_and_why(text, reason):
    with pytest.raises(CatalogError) as raised:
        parse_yaml(text)
    assert str(raised.value) == reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [("a: 1\na: 2", 'found duplicate key "a"'), ("a: [", "in line 2, column 1"), ("a: \x07", "control"), ("*x", "alias")],
)
def test_errors_of_the_library_are_one_line(text, reason):
    with pytest.raises(CatalogError, match=reason) as raised:
        parse_yaml(text)
    assert "\n" not in str(raised.value) and "<unicode" not in str(raised.value)


def test_every_reader_of_the_projects_yaml_survives_any_depth(tmp_path):
    for name in ("params.yaml", "dvc.yaml", "stages/demo/claims.yaml", "stages/demo/tables.yaml"):
        io.write_text(DEEP, tmp_path / name)
    for read in (
        lambda: params.load_shared(tmp_path),
        lambda: pipeline.stages(tmp_path),
        lambda: ledger.read("demo", tmp_path),
        lambda: names.entries(tmp_path / "stages/demo/tables.yaml", "tables.yaml"),
        lambda: cards.parse_card(f"---\n{DEEP}\n---\n", "stages/demo/README.md"),
    ):
        with pytest.raises(CatalogError, match="nested more than 100 levels deep$"):
            read()
