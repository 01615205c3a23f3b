"""One system's broken parameters stop that system alone."""

import ast

import pytest
from declarations import ROOT

from catalog.base import io
from catalog.base.errors import CatalogError
from catalog.models.lm import load_lm
from catalog.models.weights import resolve
from stages import base_model, fetch
from stages.religious_bias import image_models, mlm

SHARED = "profile: small\nseed: 0\nassets: {}\nmodels: {}\nhub_models: {big: {hub: a/b, revision: main}}\n"


@pytest.fixture
def root(tmp_path):
    io.write_text(SHARED, tmp_path / "params.yaml")
    io.write_text("small: [", tmp_path / "stages/broken/params.yaml")
    return tmp_path


def test_models_and_assets_are_looked_up_in_the_shared_file(root, monkeypatch):
    assert resolve("big", root) == ("a/b", "main") == image_models.find("big", "full", root)
    monkeypatch.setattr(base_model, "ROOT", root)
    monkeypatch.setattr(fetch, "ROOT", root)
    calls = {
        "No model 'none'": [lambda: load_lm("none", root=root), lambda: mlm.load_mlm("none", root=root)],
        "There is no image model none": [lambda: image_models.find("none", "full", root)],
        "declares no model 'none'": [lambda: base_model.main("none")],
        "declares no asset 'none'": [lambda: fetch.main("none")],
    }
    for said, those in calls.items():
        for call in those:
            with pytest.raises(CatalogError, match=said):
                call()


def test_only_what_looks_at_every_system_reads_every_system():
    """`params.load` reads all files; whoever calls it stops when any of them is broken."""
    callers = set()
    for path in [*ROOT.glob("catalog/**/*.py"), *ROOT.glob("stages/**/*.py")]:
        names = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module == "catalog.base.params":
                names |= {alias.name for alias in node.names}
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                names |= {f"{node.value.id}.{node.attr}"}
        if names & {"load", "params.load"}:
            callers.add(path.relative_to(ROOT).as_posix())
    assert callers <= {f"catalog/database/{name}.py" for name in ("check", "estimate", "gather")} | {"stages/fetch.py"}, callers
