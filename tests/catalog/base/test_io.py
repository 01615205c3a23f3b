"""Files are written whole or not at all, and the same content gives the same bytes."""

import hashlib
import json
import os
import subprocess
import sys

import numpy as np
import polars as pl
import pytest
from safetensors import safe_open

from catalog.base import io
from catalog.base.errors import CatalogError


def test_json_is_sorted_rounded_and_ends_in_a_newline(tmp_path):
    path = tmp_path / "new" / "a.json"
    io.write_json({"b": 1 / 3, "a": (1, np.int64(2)), "c": {"é": np.float32(0.5), "n": None, "t": np.bool_(True)}}, path)
    expected = '{\n "a": [\n  1,\n  2\n ],\n "b": 0.3333333333,\n "c": {\n  "n": null,\n  "t": true,\n  "é": 0.5\n }\n}\n'
    assert path.read_text(encoding="utf-8") == expected
    assert io.read_json(path)["b"] == 0.3333333333


@pytest.mark.parametrize("value", [float("nan"), float("inf"), np.float64("nan"), {1, 2}, [object()]])
def test_json_refuses_what_it_has_no_form_for(tmp_path, value):
    path = tmp_path / "a.json"
    path.write_text("old")
    with pytest.raises(CatalogError, match="was not written: JSON has no form"):
        io.write_json({"x": value}, path)
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.json"]


@pytest.mark.parametrize("key", [1, None, True, 0.5, ("a", "b")])
def test_json_refuses_keys_that_are_no_texts(tmp_path, key):
    with pytest.raises(CatalogError, match=r"a\.json was not written: the keys of JSON are texts, and .+ is of type"):
        io.write_json({"x": [{key: "a", str(key): "b"}]}, tmp_path / "a.json")
    assert os.listdir(tmp_path) == []


def test_half_a_character_is_not_written(tmp_path):
    for write in (io.write_text, io.write_json):
        with pytest.raises(CatalogError, match=r"a was not written: its text has half a character, \\ud83d; correct"):
            write("cut \ud83d", tmp_path / "a")
    assert os.listdir(tmp_path) == []


def test_read_json_says_what_to_do(tmp_path):
    with pytest.raises(CatalogError, match="does not exist; run `dvc repro`"):
        io.read_json(tmp_path / "none.json")
    (tmp_path / "bad.json").write_text('{"a": 1')
    with pytest.raises(CatalogError, match="not valid JSON"):
        io.read_json(tmp_path / "bad.json")


def test_parquet_is_sorted_and_byte_stable(tmp_path):
    df = pl.DataFrame({"k": ["b", "a", None, "a"], "v": [1.5, 2.5, 3.5, 0.5]})
    io.write_parquet(df, tmp_path / "1.parquet", sort_by=["k"])
    io.write_parquet(df, tmp_path / "2.parquet", sort_by=["k"])
    assert (tmp_path / "1.parquet").read_bytes() == (tmp_path / "2.parquet").read_bytes()
    assert pl.read_parquet(tmp_path / "1.parquet").rows() == [(None, 3.5), ("a", 2.5), ("a", 0.5), ("b", 1.5)]
    io.write_parquet(df, tmp_path / "3.parquet")
    assert pl.read_parquet(tmp_path / "3.parquet").equals(df)


def test_safetensors_of_numpy_and_torch(tmp_path):
    import torch

    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    io.write_safetensors({"b": values, "a": values.T}, tmp_path / "n.safetensors")
    io.write_safetensors({"a": torch.from_numpy(values).T, "b": torch.from_numpy(values.copy())}, tmp_path / "t.safetensors")
    assert (tmp_path / "n.safetensors").read_bytes() == (tmp_path / "t.safetensors").read_bytes()
    with safe_open(tmp_path / "t.safetensors", "np") as file:
        assert file.metadata() == {"format": "pt"}
        assert np.array_equal(file.get_tensor("a"), values.T)


def test_files_get_ordinary_permissions(tmp_path):
    io.write_text("x", tmp_path / "plain")
    io.write_safetensors({"a": np.zeros(2, np.float32)}, tmp_path / "a.safetensors")
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes["a.safetensors"] == modes["plain"] == 0o666 & ~io._umask()


def test_a_failing_writer_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    io.write_text("old", path)
    with pytest.raises(RuntimeError), io.replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]


def test_atomic_dir_replaces_the_whole_folder_or_nothing(tmp_path):
    path = tmp_path / "folder"
    with io.atomic_dir(path) as folder:
        (folder / "old").write_text("1")
    with pytest.raises(RuntimeError), io.atomic_dir(path) as folder:
        (folder / "half").write_text("2")
        raise RuntimeError
    assert os.listdir(path) == ["old"] and os.listdir(tmp_path) == ["folder"]
    with io.atomic_dir(path) as folder:
        (folder / "new").write_text("3")
    assert os.listdir(path) == ["new"] and os.listdir(tmp_path) == ["folder"]


def test_hashes(tmp_path):
    data = bytes(range(256)) * 1000
    io.write_bytes(data, tmp_path / "a")
    assert io.sha256(tmp_path / "a") == hashlib.sha256(data).hexdigest()
    assert io.md5(tmp_path / "a") == hashlib.md5(data).hexdigest()


def test_importing_needs_no_torch():
    code = "import catalog.base.io, catalog.base.params, catalog.assets.fetch, sys, json; print(json.dumps(sorted(sys.modules)))"
    modules = json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout)
    assert not {"torch", "transformers", "streamlit", "pandas"} & set(modules)
