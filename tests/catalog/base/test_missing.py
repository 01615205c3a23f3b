"""A stage run by hand before its inputs are there says which stage to run; a bug keeps its traceback."""

import errno
import os

import polars as pl
import pytest
from safetensors import safe_open

from catalog.base import io, missing, params
from catalog.base.deps import how_to_get
from catalog.base.errors import CatalogError, run

DVC = """
stages:
  fetch:
    foreach: ${assets}
    do: {cmd: "python -m stages.fetch ${key}", outs: [{"data/assets/${key}": {persist: true}}]}
  demo_data: {cmd: "python -m stages.demo.dataset ${profile}", outs: ["data/demo/${profile}"]}
  demo_train: {cmd: "python -m stages.demo.train ${profile}", outs: ["models/demo/${profile}", "models/demo/${profile}.run.json"]}
  demo:
    cmd: python -m stages.demo.evaluate ${profile}
    metrics: [{"reports/demo/${profile}/metrics.json": {cache: false}}]
"""
PARAMS = "profile: small\nassets: {words: {}}\noptional_assets: {more: {}}\n"


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A project with a space in its path."""
    root = tmp_path / "a project"
    io.write_text(DVC, root / "dvc.yaml")
    io.write_text(PARAMS, root / "params.yaml")
    monkeypatch.setattr(missing, "ROOT", root)
    monkeypatch.chdir(root)
    return root


def said(capsys, action):
    with pytest.raises(SystemExit) as stop:
        run(action, [])
    assert stop.value.code == 1
    return capsys.readouterr().err


READERS = [open, pl.read_parquet, lambda path: safe_open(path, "np"), os.listdir, lambda path: io.read_json(path)]


@pytest.mark.parametrize("read", READERS)
def test_every_reader_of_a_missing_file_names_the_stage(root, capsys, read):
    expected = "Error: data/demo/small/x.parquet does not exist; run `dvc repro demo_data`, which writes it.\n"
    assert said(capsys, lambda: read(str(root / "data/demo/small/x.parquet"))) == expected
    assert said(capsys, lambda: read("data/demo/small/x.parquet")) == expected


@pytest.mark.parametrize(
    ("path", "remedy"),
    [
        ("models/demo/small.run.json", "run `dvc repro demo_train`, which writes it"),
        ("models/demo/full/a/b", "run `dvc exp run -S profile=full demo_train`, which writes it"),
        ("reports/demo/small/metrics.json", "run `dvc repro demo`, which writes it"),
        ("data/assets/words/a.txt", "run `dvc repro fetch@words`, which writes it"),
        ("data/assets/other/a.txt", "no stage of dvc.yaml writes it, so put it there and run this again"),
        ("data/demo/raw/a.csv", "no stage of dvc.yaml writes it, so put it there and run this again"),
        ("data/authored/raw.csv", "no stage of dvc.yaml writes it, so put it there and run this again"),
    ],
)
def test_the_stage_is_the_one_whose_output_the_file_is(root, capsys, path, remedy):
    assert said(capsys, lambda: open(path)) == f"Error: {path} does not exist; {remedy}.\n"


def test_root_and_profiles_are_those_of_the_parameters():
    assert missing.ROOT == params.ROOT and missing.PROFILES == params.PROFILES


def test_a_file_for_a_folder_and_a_folder_for_a_file(root, capsys):
    io.write_text("x", root / "data/demo/small")
    expected = "Error: data/demo/small is a file and should be a folder; delete it and run `dvc repro demo_data`, which writes it.\n"
    assert said(capsys, lambda: open("data/demo/small/x.parquet")) == expected
    assert said(capsys, lambda: pl.read_parquet("data/demo/small/x.parquet")) == expected
    (root / "models/demo/small.run.json").mkdir(parents=True)
    expected = "models/demo/small.run.json is a folder and should be a file; delete it and run `dvc repro demo_train`, which writes it.\n"
    assert said(capsys, lambda: open("models/demo/small.run.json")) == f"Error: {expected}"


def test_without_a_dvc_yaml_that_can_be_read_no_stage_is_named(root, capsys):
    for text in ("stages: [", "- a", "stages: {a: null}"):
        io.write_text(text, root / "dvc.yaml")
        assert said(capsys, lambda: open("data/demo/small/x")).startswith("Error: data/demo/small/x does not exist; no stage")


@pytest.mark.parametrize("path", ["stages/demo/x.yaml", "data", "/nowhere/data/x", "data/demo/.small.0123abcd.tmp/new/x", "../data/x"])
def test_other_files_keep_their_traceback(root, path):
    with pytest.raises(FileNotFoundError):
        run(lambda: open(path), [])


def test_what_the_stage_itself_should_have_written_keeps_its_traceback(root):
    error = FileNotFoundError(errno.ENOENT, "No such file or directory", "data/demo/small/x")
    assert missing.explain(error, "stages.demo.dataset") is None
    assert missing.explain(error, "stages.demo.train") is not None


def test_other_errors_of_the_system_keep_their_traceback(root):
    for error in (OSError("no path at all"), OSError(errno.EIO, "Input/output error", "data/demo/x"), FileNotFoundError("data/demo/x")):

        def fails(error=error):
            raise error

        with pytest.raises(OSError) as raised:
            run(lambda: fails(), [])
        assert raised.value is error


def test_a_denial_without_a_number_is_one_sentence_too(root, capsys):
    def fails():
        raise PermissionError("Permission denied (os error 13): data/demo/x.parquet")

    assert said(capsys, lambda: fails()).startswith("Error: data/demo/x.parquet cannot be used (Permission denied); give yourself access")


def test_how_to_get_an_asset_depends_on_where_it_is_declared(root, tmp_path):
    assert how_to_get("words", root) == "it is declared but not fetched yet; run `dvc repro fetch@words`"
    assert how_to_get("more", root).startswith("move it from optional_assets to assets in params.yaml, then run `dvc repro fetch@more`")
    assert how_to_get("none", root).startswith("declare it under assets in params.yaml, then run")
    assert how_to_get("none", tmp_path).startswith("declare it under assets in params.yaml, then run")


def test_read_json_keeps_its_own_words_outside_the_project(tmp_path):
    with pytest.raises(CatalogError, match="does not exist; run `dvc repro` to make it"):
        io.read_json(tmp_path / "x.json")


def test_a_path_of_which_polars_gives_the_end_alone_is_made_whole():
    root = missing.Path("/home/somebody/a project")
    cut = "...ebody/a project/data/demo/small/data/x.parquet (set POLARS_VERBOSE=1 to see full path)"
    assert missing._whole(cut, root) == "/home/somebody/a project/data/demo/small/data/x.parquet"
    assert missing._whole(cut, missing.Path("/home/somebody/b project")) == "ebody/a project/data/demo/small/data/x.parquet"
    assert missing._whole("/home/x/data/y", root) == "/home/x/data/y"
