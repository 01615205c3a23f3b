"""JSON is taken as it is written or refused with a reason; nothing is lost or made up without a word."""

import pytest

from catalog.base import io
from catalog.base.errors import CatalogError
from catalog.report.describe import describe_model
from stages.gender_bias.capability import read_lines
from stages.religious_bias.external import stereoset_religion


def test_a_value_is_what_is_written():
    text = '{"a": [1, 2.5, true, null], "b": {"a": "\\ud83d\\ude00 é"}, "": -1e3}'
    assert io.parse_json(text) == {"a": [1, 2.5, True, None], "b": {"a": "\U0001f600 é"}, "": -1000.0}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"a": 1', "Expecting ',' delimiter at column 8"),
        ('{"a": 1,\n "b" 2}', "Expecting ':' delimiter at line 2 column 6"),
        ("", "Expecting value at column 1"),
        ('[{"b": 1, "a": 1, "a": 1}]', "the key 'a' occurs twice in one object"),
        ('{"x": {"k": 1, "\\u006b": 2}}', "the key 'k' occurs twice in one object"),
        ("[" * 100_000 + "]" * 100_000, "it is nested more than 100 levels deep"),
        ("[" * 100_000, "it is nested more than 100 levels deep"),
        ('{"a":' * 100_000 + "1" + "}" * 100_000, "it is nested more than 100 levels deep"),
        ("[" * 101 + "]" * 101, "it is nested more than 100 levels deep"),
        ('[{"a":' * 51 + "1" + "}]" * 51, "it is nested more than 100 levels deep"),
        ("[NaN]", "NaN is no number of JSON"),
        ("-Infinity", "-Infinity is no number of JSON"),
        ("[1e999]", "the number 1e999 is too large"),
        ('"\\ud83d!"', "\\ud83d is half a character"),
        ('{"\\uDE00": 1}', "\\ude00 is half a character"),
    ],
)
def test_what_is_refused_and_why(text, reason):
    with pytest.raises(CatalogError) as raised:
        io.parse_json(text)
    assert str(raised.value) == reason


def test_an_integer_of_thousands_of_digits_is_refused():
    with pytest.raises(CatalogError, match="4300 digits"):
        io.parse_json("9" * 5000)


def test_brackets_in_texts_and_side_by_side_are_no_depth():
    assert io.parse_json("[" * 100 + "]" * 100) is not None
    assert io.parse_json('["' + "[" * 1000 + '"]') == ["[" * 1000]
    assert io.parse_json("[" + ",".join(["[[1]]"] * 500) + "]") == [[[1]]] * 500


@pytest.mark.parametrize("text", ['{"a": 1, "a": 2}', "[" * 100_000, '{"a": NaN}'])
def test_read_json_refuses_the_same(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(CatalogError, match=r"a\.json is not valid JSON \(.+\); delete it and run `dvc repro`\.$"):
        io.read_json(tmp_path / "a.json")


@pytest.mark.parametrize("line", ["[" * 100_000, '{"bias_type": "religion", "bias_type": "gender"}', '{"question": "a", "question": "b"}'])
def test_readers_of_data_sets_say_one_sentence(tmp_path, line):
    io.write_text(line + "\n", tmp_path / "a.jsonl")
    with pytest.raises(CatalogError, match=r"a\.jsonl, line 1,? is no "):
        stereoset_religion(tmp_path / "a.jsonl")
    with pytest.raises(CatalogError, match=r"a\.jsonl, line 1,? is no "):
        read_lines(tmp_path / "a.jsonl", ("question",))


def test_a_weights_file_with_a_header_of_any_depth_is_one_sentence(tmp_path):
    header = b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    io.write_bytes(len(header).to_bytes(8, "little") + header, tmp_path / "models/demo/small/a.safetensors")
    with pytest.raises(CatalogError, match="is not a whole safetensors file; run the stage"):
        describe_model(tmp_path / "models/demo/small", "demo", "small", root=tmp_path)
