"""Texts of users are read without guessing, and results are printed to readers that may stop early."""

import gzip
import subprocess
import sys

import numpy as np
import pytest

from catalog.base.errors import CatalogError
from catalog.base.text import json_rows, read_text
from catalog.base.vectors import unit_rows


def test_read_text_knows_encodings(tmp_path):
    path = tmp_path / "a.txt"
    big_endian = b"\xfe\xff" + "café".encode("utf-16-be")
    for data in ["\ufeffcafé".encode(), "café".encode("utf-16"), big_endian, "café".encode()]:
        path.write_bytes(data)
        assert read_text(path) == "café"


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "is empty"),
        (b"\xef\xbb\xbf \n", "is empty"),
        (b"PK\x03\x04\x00\x00", "binary"),
        (b"%PDF-1.7 text", "binary"),
        (gzip.compress(b"text", mtime=0), "packed by gzip; unpack it"),
        (b"PAR1\x15\x04", "a Parquet table"),
        ("text".encode("utf-16-le"), "UTF-16 or UTF-32 without the mark"),
        ("text".encode("utf-32"), "UTF-16 or UTF-32 without the mark"),
        (b"\xff\xfe", "is empty"),
        (b"\xff\xfea", "begins like UTF-16 but is not from byte 3 on"),
        (b"fine\nnot \x81 fine", r"is not UTF-8 at byte 10 \(0x81, in line 2\); convert it .*iconv -f ENCODING -t UTF-8 a.txt"),
        (b"\xef\xbb\xbffine\nnot \x81 fine", r"byte 13 \(0x81, in line 2\)"),
        ("It was a café.".encode("cp1252"), r"byte 13 \(0xe9, in line 1\)"),
        ("“Fine,” she said.\n".encode() + "“Café,” he said.\n".encode("cp1252"), r"byte 23 \(0x93, in line 2\)"),
        ("Кот сидит.".encode("cp1251"), r"byte 1 \(0xca, in line 1\)"),
        ("猫が座る。".encode("shift-jis"), r"byte 1 \(0x94, in line 1\)"),
        ("One café".encode()[:-1], r"ends within a character of UTF-8, which begins at byte 8 \(0xc3, in line 1\); take the whole file"),
    ],
)
def test_read_text_refuses_what_is_no_text(tmp_path, data, match):
    path = tmp_path / "a.txt"
    path.write_bytes(data)
    with pytest.raises(CatalogError, match=match):
        read_text(path)


def test_an_empty_text_may_be_one_and_a_folder_is_none(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"")
    assert read_text(tmp_path / "a.txt", empty=True) == ""
    for path, said in [(tmp_path, "is a folder"), (tmp_path / "none", "does not exist"), (tmp_path / "a\0b", "cannot be read")]:
        with pytest.raises(CatalogError, match=said):
            read_text(path)


def test_lines_of_json_are_numbered_and_a_wrong_one_is_named():
    assert json_rows('1\n\n{"a": "\u2028"}\n', "x.jsonl") == [(1, 1), (3, {"a": "\u2028"})]  # U+2028 ends no line
    with pytest.raises(CatalogError, match="Line 2 of x.jsonl cannot be read as JSON"):
        json_rows('{}\n{"a": 1,\n', "x.jsonl")


def test_a_reader_that_stops_early_ends_nothing_in_a_traceback():
    code = "from catalog.base.text import print_out; print_out('line\\n' * 200_000)"
    done = subprocess.run(f'"{sys.executable}" -c "{code}" | head -1', shell=True, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("line\n", "")


def test_rows_of_length_one():
    assert unit_rows([[3, 4], [0, 0]]).tolist() == [[0.6, 0.8], [0, 0]]
    with pytest.raises(CatalogError, match=r"have the shape \(2,\)"):
        unit_rows(np.zeros(2))
