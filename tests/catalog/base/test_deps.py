"""A stage that DVC runs reads only what DVC knows it reads."""

import pytest

from catalog.base import io
from catalog.base.deps import require_dep
from catalog.base.errors import CatalogError

DVC = """
stages:
  demo_data:
    cmd: python -m stages.demo.dataset ${profile}
    deps: [data/own/demo, data/assets/words, "data/other/${profile}", /srv/shared]
"""


@pytest.fixture
def root(tmp_path, monkeypatch):
    io.write_text("profile: small\n", tmp_path / "params.yaml")
    io.write_text(DVC, tmp_path / "dvc.yaml")
    monkeypatch.setenv("DVC_STAGE", "demo_data")
    return tmp_path


def test_what_is_a_dep_or_lies_in_one_may_be_read(root):
    for path in ("data/own/demo/mine.csv", "data/own/demo", root / "data/assets/words/a.txt", "data/other/small/x", "/srv/shared/t.csv"):
        require_dep(path, root, own="demo")


@pytest.mark.parametrize("path", ["data/raw/mine.csv", "mine.csv", "data/own/demo/../demo2/t.csv", "data/other/full/x", "/srv/t.csv"])
def test_another_file_says_where_to_put_it(root, path):
    with pytest.raises(
        CatalogError, match=r"^The stage demo_data reads \S+, which is none of its deps.*; move it to data/own/demo/, or add"
    ):
        require_dep(path, root, own="demo")


def test_an_asset_or_a_model_that_is_no_dep_is_to_be_added(root):
    with pytest.raises(CatalogError, match=r"^The stage demo_data reads data/assets/more, which is .* see it change; add it to its deps"):
        require_dep(root / "data/assets/more", root)


def test_without_dvc_and_in_another_project_nothing_is_said(root, monkeypatch):
    monkeypatch.setenv("DVC_STAGE", "another")
    require_dep("mine.csv", root)
    monkeypatch.delenv("DVC_STAGE")
    require_dep("mine.csv", root)
