"""Files of preference pairs as users have them: what they are is told by their content, and what is wrong is one sentence."""

import gzip
import json

import polars as pl
import pytest

from catalog.base.errors import CatalogError
from stages.sepo.layouts import OTHER_PROMPT, PARTED, read_pairs, read_summaries

ROW = {"prompt": "p", "chosen": "a", "rejected": "b"}


def lines(path, *rows):
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows), encoding="utf-8")
    return path


# --- what a file is -------------------------------------------------------------------------------------------------------------------


def test_a_byte_order_mark_and_whole_surrogate_pairs_are_read(tmp_path):
    text = '{"prompt": "p", "chosen": "\\ud83d\\ude00", "rejected": "\\u00e9"}'
    (tmp_path / "bom.jsonl").write_bytes(b"\xef\xbb\xbf" + text.encode())
    with gzip.open(tmp_path / "bom.jsonl.gz", "wb") as file:
        file.write(b"\xef\xbb\xbf" + text.encode())
    for name in ("bom.jsonl", "bom.jsonl.gz"):
        assert read_pairs(tmp_path / name, "jsonl")[0].select("chosen", "rejected").rows() == [("\N{GRINNING FACE}", "é")]


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(CatalogError, match="There is no file"):
        read_pairs(tmp_path / "none.jsonl", "jsonl")
    with pytest.raises(CatalogError, match="no layout 'csv'"):
        read_pairs(tmp_path / "none.jsonl", "csv")
    with pytest.raises(CatalogError, match="has no rows"):
        read_pairs(lines(tmp_path / "empty.jsonl", ""), "jsonl")
    good = json.dumps(ROW).encode() + b"\n"
    for text, byte in [
        ('{"prompt": "ä"}'.encode("latin-1"), r"13 \(0xe4\)"),
        ('{"prompt": "Кот"}'.encode("cp1251"), r"13 \(0xca\)"),
        ('{"prompt": "é'.encode()[:-1], r"13 \(0xc3\)"),
    ]:
        (tmp_path / "other.jsonl").write_bytes(good + text)
        with pytest.raises(CatalogError, match=f"other.jsonl, line 2 is not UTF-8 at its byte {byte}; save the file as UTF-8"):
            read_pairs(tmp_path / "other.jsonl", "jsonl")
    with pytest.raises(CatalogError, match="the id '1' stands twice"):
        read_summaries(lines(tmp_path / "s.jsonl", *[{"id": "1", "document": "d", "summary": "s"}] * 2))
    with pytest.raises(CatalogError, match="s.jsonl, line 1: the id is '', but must be"):
        read_summaries(lines(tmp_path / "s.jsonl", {"id": " ", "document": "d", "summary": "s"}))


@pytest.mark.parametrize("name", ["p.jsonl", "p.jsonl.gz", "P.JSONL.GZ", "p.parquet"])
def test_a_packed_file_is_known_by_its_content(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(gzip.compress(json.dumps(ROW).encode()))
    if name.endswith("parquet"):
        with pytest.raises(CatalogError, match="p.parquet is no Parquet file"):
            read_pairs(path, "jsonl")
    else:
        assert read_pairs(path, "jsonl")[0]["chosen"].to_list() == ["a"]


def test_what_is_packed_twice_is_refused_as_such(tmp_path):
    pl.DataFrame([ROW]).write_parquet(tmp_path / "p.parquet")
    for content in ((tmp_path / "p.parquet").read_bytes(), gzip.compress(json.dumps(ROW).encode())):
        (tmp_path / "p.gz").write_bytes(gzip.compress(content))
        with pytest.raises(CatalogError, match="p.gz is a packed file or Parquet within gzip; unpack it once"):
            read_pairs(tmp_path / "p.gz", "jsonl")


@pytest.mark.parametrize("name", ["p.parquet", "P.PARQUET", "p.jsonl", "p"])
def test_parquet_is_known_by_its_content(tmp_path, name):
    pl.DataFrame([ROW]).write_parquet(tmp_path / name)
    assert read_pairs(tmp_path / name, "jsonl")[0]["chosen"].to_list() == ["a"]


@pytest.mark.parametrize(("name", "said"), [("p.JSONL.GZ", "damaged or no gzip file"), ("p.PARQUET", "is no Parquet file")])
def test_a_file_that_is_not_what_its_name_says_is_refused(tmp_path, name, said):
    with pytest.raises(CatalogError, match=f"{name} is {said}|{name} {said}"):
        read_pairs(lines(tmp_path / name, ROW), "jsonl")


# --- rows -----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ('{"prompt": "p", "chosen": "a", "rejected": "b", "chosen": "c"}', "the key 'chosen' occurs twice in one object"),
        ('{"prompt": ' + "[" * 100_000, "it is nested more than"),
        ('{"prompt": ' + "[" * 100_000 + "]" * 100_000 + "}", "it is nested more than"),
    ],
)
def test_json_that_loses_a_key_or_has_no_end_is_one_sentence(tmp_path, row, said):
    with pytest.raises(CatalogError, match=f"^x.jsonl, line 2 cannot be read as JSON: {said}.*; correct the row.$"):
        read_pairs(lines(tmp_path / "x.jsonl", ROW, row), "jsonl")


@pytest.mark.parametrize(
    ("value", "shown"), [("", "''"), (" ", "' '"), ({"a": 1}, "{'a': 1}"), ([1], r"\[1\]"), (True, "True"), (1.0, "1.0")]
)
def test_only_texts_and_whole_numbers_are_ids(tmp_path, value, shown):
    with pytest.raises(CatalogError, match=f"^x.jsonl, line 2: the id is {shown}, but must be a text that is not empty, or a whole number"):
        read_pairs(lines(tmp_path / "x.jsonl", ROW | {"id": 7}, ROW | {"id": value}), "jsonl")


def test_an_id_that_is_the_number_of_a_row_without_one_is_refused_as_such(tmp_path):
    for rows in ([ROW | {"id": "2"}, ROW], [ROW, ROW | {"id": 1}]):
        with pytest.raises(
            CatalogError, match="line 2: the id '[12]' stands twice, as rows without an id have their number; give every row"
        ):
            read_pairs(lines(tmp_path / "x.jsonl", *rows), "jsonl")
    with pytest.raises(CatalogError, match="line 2: the id '1' stands twice; give each row its own"):
        read_pairs(lines(tmp_path / "x.jsonl", ROW | {"id": "1"}, ROW | {"id": 1}), "jsonl")


def test_both_dialogues_must_answer_the_prompt(tmp_path):
    def row(prompt, first, second):
        said = [
            [{"role": "user", "content": asked}, {"role": "assistant", "content": reply}] for asked, reply in zip((first, second), "ab")
        ]
        return {"prompt": prompt, "chosen": said[0], "rejected": said[1]}

    path = lines(tmp_path / "u.jsonl", row("Why?", "Why?", "Why? \n"), row("Why?", "Why?", "How?"), row("Why?", "How?", "How?"))
    rows, dropped = read_pairs(path, "ultrafeedback")
    assert rows.select("id", "prompt").rows() == [("1", "Why?")]
    assert dropped.rows() == [("2", PARTED), ("3", OTHER_PROMPT)]
    with pytest.raises(CatalogError, match="u.jsonl, line 1, rejected: 'content' must be a text but is None"):
        read_pairs(lines(path, row("Why?", "Why?", None)), "ultrafeedback")


# --- properties -----------------------------------------------------------------------------------------------------------------------


def test_order_another_row_and_reading_what_was_read_change_no_pair(tmp_path):
    given = [{"id": f"p{i}", "prompt": f"q{i} é", "chosen": f" yes {i}\u2028", "rejected": "no" if i % 3 else f"yes {i}"} for i in range(9)]

    def read(rows, name="p.jsonl"):
        pairs, dropped = read_pairs(lines(tmp_path / name, *rows), "jsonl")
        return pairs, {row[0]: row[1:] for row in pairs.drop("row").rows()}, dict(dropped.rows())

    pairs, found, dropped = read(given)
    assert len(found) + len(dropped) == 9 and len(dropped) == 3
    assert read(given[::-1])[1:] == (found, dropped)
    longer = read([{"id": "new", "prompt": "x", "chosen": "a", "rejected": "b"}, *given])
    assert longer[1].pop("new") and longer[1:] == (found, dropped)
    again = read(pairs.select("id", "prompt", "chosen", "rejected").to_dicts())
    assert again[1] == found and not again[2]
