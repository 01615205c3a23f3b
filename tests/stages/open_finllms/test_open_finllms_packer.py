"""Chunks of tokens: by hand, by one process and by two, from files of every kind."""

import gzip
import itertools
import json
import signal
import subprocess
import sys
import time

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tiny_text import char_tokenizer

from catalog.base.errors import CatalogError
from catalog.base.params import ROOT
from stages.open_finllms import packer
from stages.open_finllms.blocks import blocks
from stages.open_finllms.documents import Document, read, slices
from stages.open_finllms.pack import main, shard_of
from stages.open_finllms.packer import Packed, batches, chunks, collate, load_tokenizer, pack

END = 1


def codes(texts):
    return [[ord(character) for character in text] for text in texts]


def documents(*pairs):
    return [Document(str(i), "p", source, text) for i, (source, text) in enumerate(pairs)]


def cut(given, length=4, keep=True):
    found = Packed()
    made = [(source, ids.tolist()) for source, ids in chunks(given, codes, 0, length, keep, found)]
    return made, found


def texts_of(paths, end=END):
    """The documents' token ids in the chunks of Parquet files: of each file and source, laid end to end and cut at the ends of text."""
    out = []
    for path in paths:
        frame = pl.read_parquet(path)
        for source in frame["source"].unique(maintain_order=True):
            row = list(itertools.chain(*frame.filter(source=source)["input_ids"].to_list()))
            while row:
                stop = row.index(end)
                out.append((source, tuple(row[:stop])))
                row = row[stop + 1 :]
    return sorted(out)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    char_tokenizer().save_pretrained(folder)
    return folder


def test_documents_end_to_end_by_source():
    a, b, c, d = map(ord, "abcd")
    given = documents(("x", "abc"), ("y", "d"), ("x", ""), ("x", "abcdab"))
    made, found = cut(given)
    assert made == [("x", [a, b, c, 0]), ("x", [a, b, c, d]), ("x", [a, b, 0]), ("y", [d, 0])]
    assert (found.documents, found.tokens, found.characters) == ({"x": 2, "y": 1}, {"x": 11, "y": 2}, {"x": 9, "y": 1})
    assert (found.chunks, found.empty, found.dropped) == ({"x": 3, "y": 1}, {"x": 1}, {})
    made, found = cut(given, keep=False)
    assert made == [("x", [a, b, c, 0]), ("x", [a, b, c, d])]
    assert (found.chunks, found.dropped) == ({"x": 2}, {"x": 3, "y": 2})
    assert cut([]) == ([], Packed())


def test_no_chunk_depends_on_how_texts_are_batched(monkeypatch):
    given = documents(*((f"s{i % 3}", "abcdefg"[: i % 7 + 1] * (i % 5)) for i in range(200)))
    whole = cut(given)
    assert [len(batch) for batch in batches(given, 1)] != [200] and len(list(batches(given))) == 1
    monkeypatch.setattr(packer, "batches", lambda found: batches(found, 1))
    assert cut(given) == whole


def test_no_more_is_read_than_a_batch():
    read_so_far = 0

    def endless():
        nonlocal read_so_far
        while True:
            read_so_far += 1
            yield Document("i", "p", "s", "x" * 1000)

    made = chunks(endless(), codes, 0, 4096, True, Packed())
    for _ in range(1000):
        next(made)
    assert 4096 * 1000 / 1001 <= read_so_far <= 4096 * 1000 / 1001 + 2**20 / 1000 + 1


def test_files_in_row_groups(tmp_path):
    found = pack(documents(("s", "x" * 1200)), tmp_path / "a.parquet", codes, 0, 4)
    file = pq.ParquetFile(tmp_path / "a.parquet")
    assert [file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups)] == [256, 45]
    assert file.schema_arrow.field("input_ids").type == pa.list_(pa.int32()) and file.schema_arrow.field("source").type == pa.string()
    assert found.chunks == {"s": 301} and pl.read_parquet(tmp_path / "a.parquet")["input_ids"].list.len().sum() == 1201
    pack([], tmp_path / "none.parquet", codes, 0, 4)
    assert pq.read_table(tmp_path / "none.parquet").schema == file.schema_arrow and not pl.read_parquet(tmp_path / "none.parquet").height


def test_the_end_of_text_is_learnt_where_padding_has_its_id():
    made = collate([[5, 6, 2], [7, 2, 8, 9, 2]], pad=2)
    assert made["input_ids"].tolist() == [[5, 6, 2, 2, 2], [7, 2, 8, 9, 2]]
    assert made["labels"].tolist() == [[5, 6, 2, -100, -100], [7, 2, 8, 9, 2]]
    assert made["attention_mask"].tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]
    # What the packer gives has no padding at all: every end of text in a chunk is that of a document.
    given = documents(("x", "abc"), ("y", "d"), ("x", "ab"))
    rows = [ids for _, ids in cut(given, length=6)[0]]
    labels = collate(rows, pad=0)["labels"]
    assert (labels == 0).sum() == len(given) and (labels == -100).sum() == 3 * 6 - len("abcdab") - len(given)


def test_a_text_cannot_end_itself(tokenizer):
    encode, end = load_tokenizer(tokenizer)
    assert end == END
    [plain, spelt] = encode(["ab", "a</s>b"])
    assert plain == [2, 3] and END not in spelt and len(spelt) == 3  # of the five characters of </s> the vocabulary has s alone


def test_slices_of_a_file_give_each_line_once(tmp_path):
    texts = ["a", "übe", "c" * 30, "日本", "e\u2028f"]
    lines = [json.dumps({"text": text}, ensure_ascii=False) for text in texts]
    for ends in ("\n", "\r\n", "\n\n"):
        for last in ("", ends):
            path = tmp_path / "x.jsonl"
            path.write_bytes("\ufeff".encode() * (ends == "\r\n") + (ends.join(lines) + last).encode())
            for size in range(1, path.stat().st_size + 2):
                parts = slices([path], size)
                found = [document for part in parts for document in read(part)]
                assert [document.text for document in found] == texts and len({document.id for document in found}) == 5
    assert slices([tmp_path / "x.jsonl"], 10**6)[0].start == 0 and {document.source for document in found} == {"x"}


def test_slices_of_a_parquet_file(tmp_path):
    path = tmp_path / "x.parquet"
    frame = pl.DataFrame({"body": [f"text {i}" for i in range(10)], "of": ["a", "b"] * 5, "other": range(10)})
    pq.write_table(frame.to_arrow(), path, row_group_size=3)
    group = pq.ParquetFile(path).metadata.row_group(0).total_byte_size
    assert [(part.start, part.stop) for part in slices([path], 1)] == [(0, 1), (1, 2), (2, 3), (3, 4)]
    assert [(part.start, part.stop) for part in slices([path], group + 1)] == [(0, 2), (2, 4)]
    found = [document for part in slices([path], 1) for document in read(part, "body", "of", "news", batch=2)]
    assert found == [Document(f"x:row {i}", "news", "ab"[i % 2], f"text {i}") for i in range(10)]


def write_corpus(folder):
    """Four files, one of more than 1 MB; the documents that they hold, by file."""
    rng = np.random.default_rng(0)

    def texts(n, length):
        return ["".join(rng.choice(list("abcdef "), length)) + f"z{i}" for i in range(n)]

    large, small, table = texts(1200, 1000), texts(7, 60), texts(9, 50)
    (folder / "large.jsonl").write_text("".join(json.dumps({"text": text, "of": f"s{i % 2}"}) + "\n" for i, text in enumerate(large)))
    with gzip.open(folder / "small.jsonl.gz", "wt") as file:
        file.writelines(json.dumps({"text": text, "of": "s0"}) + "\n" for text in small)
    pl.DataFrame({"text": table, "of": ["s2"] * 9}).write_parquet(folder / "table.parquet")
    expected = [(f"s{i % 2}", text) for i, text in enumerate(large)] + [("s0", text) for text in small] + [("s2", text) for text in table]
    return [str(folder / name) for name in ("large.jsonl", "small.jsonl.gz", "table.parquet")], expected


def test_two_processes_write_what_one_does(tmp_path, tokenizer, capsys):
    files, expected = write_corpus(tmp_path)
    options = [*files, "--tokenizer", str(tokenizer), "--length", "128", "--source", "of", "--slice-mb", "1"]
    main([*options, "--out", str(tmp_path / "one")])
    said = capsys.readouterr().out
    assert "4 slices" in said and "1,216" not in said  # by source: 607 of s0, 600 of s1, 9 of s2
    assert [int(line.split()[1].replace(",", "")) for line in said.splitlines()[1:4]] == [607, 600, 9]
    command = [sys.executable, "-m", "stages.open_finllms.pack", *options, "--out", str(tmp_path / "two")]
    both = [subprocess.Popen([*command, "--shard", f"{i}/2"], cwd=ROOT, stdout=subprocess.DEVNULL) for i in range(2)]
    assert [process.wait(300) for process in both] == [0, 0]
    one, two = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("one", "two"))
    assert one == two and sorted(one) == [*(f"0000{i}.{kind}" for i in range(4) for kind in ("json", "parquet")), "plan.json"]
    encode, _ = load_tokenizer(tokenizer)
    wanted = sorted((source, tuple(ids)) for (source, _), ids in zip(expected, encode([text for _, text in expected]), strict=True))
    assert texts_of(sorted((tmp_path / "two").glob("*.parquet"))) == wanted
    lengths = pl.read_parquet(tmp_path / "two/*.parquet")["input_ids"].list.len()
    assert lengths.max() == 128 and (lengths < 128).sum() <= 4 * 2


def test_a_folder_holds_chunks_of_one_plan(tmp_path, tokenizer):
    (tmp_path / "x.jsonl").write_text('{"text": "abc"}\n')
    options = [str(tmp_path / "x.jsonl"), "--tokenizer", str(tokenizer), "--out", str(tmp_path / "out")]
    main(options)
    first = (tmp_path / "out" / "00000.parquet").read_bytes()
    main(options)
    assert (tmp_path / "out" / "00000.parquet").read_bytes() == first
    for more in (["--length", "64"], ["--last", "drop"]):
        with pytest.raises(CatalogError, match="holds chunks of other files or settings"):
            main([*options, *more])
    (tmp_path / "out" / "plan.json").unlink()
    with pytest.raises(CatalogError, match="this command did not write"):
        main(options)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("x.jsonl", b'{"text": "a"}\n{"text": \n', "byte 14, is not a line of JSON"),
        ("x.jsonl", b'{"text": "\xff"}\n', "byte 0, is not a line of JSON in UTF-8"),
        ("x.jsonl", b'["a"]\n', "is not a JSON object"),
        ("x.jsonl", b'{"body": "a"}\n', "byte 0, has no 'text'; its fields are body"),
        ("x.jsonl", b'{"text": null}\n', "has NoneType instead of a string as 'text'"),
        ("x.jsonl", b'{"text": "a", "n": {"k": 1, "k": 2}}\n', "byte 0, has the field 'k' twice"),
        ("x.jsonl", b'{"text": "a", "n": ' + b"[" * 200_000 + b"]" * 200_000 + b"}\n", "byte 0, is not a line of JSON"),
        ("x.jsonl", '{"text": "a"}\n{"text": "b"}\n'.encode("utf-16"), "holds zero bytes, as UTF-16"),
        ("x.jsonl", b"", "There is no document in"),
        ("x.jsonl", b'{"text": "a\\ud800"}\n', "x:byte 0 has half of a surrogate pair"),
        ("x.jsonl.gz", gzip.compress(b'{"text": "a"}\n' * 1000)[:-20], "is damaged or cut off after byte"),
        ("x.jsonl.gz", b'{"text": "a"}\n', "is damaged or cut off after byte 0"),
        ("x.parquet", b"PAR1", "is not a Parquet file"),
        ("x.txt", "é!".encode("latin-1"), "is not UTF-8"),
        ("x.csv", b"text\na\n", "cannot be read as documents; give files that end in .jsonl"),
        ("x.jsonl.gz", gzip.compress(b'{"text": "a"}\n' * 99)[:12] + bytes(range(256)), "is damaged or cut off"),
        (None, b"", "There is no file"),
    ],
)
def test_files_that_cannot_be_packed(tmp_path, tokenizer, name, content, said):
    path = tmp_path / (name or "absent.jsonl")
    if name:
        path.write_bytes(content)
    with pytest.raises(CatalogError, match=said):
        main([str(path), "--tokenizer", str(tokenizer), "--out", str(tmp_path / "out")])
    assert not list(tmp_path.glob("out/*.parquet"))


def test_settings_that_cannot_be(tmp_path, tokenizer):
    (tmp_path / "x.jsonl").write_text('{"text": "abc"}\n')
    (tmp_path / "y").mkdir()
    (tmp_path / "y" / "x.jsonl").write_text('{"text": "abc"}\n')
    pl.DataFrame({"body": ["a"]}).write_parquet(tmp_path / "z.parquet")
    given = {"--tokenizer": str(tokenizer), "--out": str(tmp_path / "out")}
    for files, more, said in (
        (["x.jsonl"], {"--length": "1"}, "--length is 1; give at least 2"),
        (["x.jsonl", "x.jsonl"], {}, "x.jsonl is named twice"),
        (["x.jsonl", "y/../x.jsonl"], {}, "x.jsonl is named twice"),
        (["x.jsonl"], {"--out": str(tmp_path / "x.jsonl")}, "a file stands in its place"),
        (["x.jsonl"], {"--slice-mb": "0"}, "--slice-mb is 0"),
        (["x.jsonl"], {"--shard": "2/2"}, "--shard is '2/2'"),
        (["x.jsonl"], {"--tokenizer": str(tmp_path)}, "has no tokenizer.json"),
        (["x.jsonl", "y/x.jsonl"], {}, "have the same name"),
        (["z.parquet"], {}, "has no column 'text'; its columns are body"),
    ):
        options = itertools.chain(*(given | more).items())
        with pytest.raises(CatalogError, match=said):
            main([*(str(tmp_path / file) for file in files), *options])
    assert [shard_of(text) for text in ("0/1", "3/4")] == [(0, 1), (3, 4)]
    (tmp_path / "no_end").mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "no_end" / name).write_text((tokenizer / name).read_text().replace('"eos_token"', '"end"'))
    with pytest.raises(CatalogError, match="names no end-of-text token"):
        load_tokenizer(tmp_path / "no_end")
    for name, text, said in (
        ("tokenizer_config.json", '{"eos_token": 5}', "names no end-of-text token"),
        ("tokenizer_config.json", '{"eos_token": ', "is no JSON object of settings"),
        ("tokenizer_config.json", "[1]", "is no JSON object of settings"),
        ("tokenizer.json", "{}", "tokenizer.json is no tokenizer"),
    ):
        (tmp_path / "no_end" / name).write_text(text)
        with pytest.raises(CatalogError, match=said):
            load_tokenizer(tmp_path / "no_end")


def test_a_byte_order_mark_is_no_text(tmp_path):
    (tmp_path / "x.txt").write_bytes(b"\xef\xbb\xbfabc")
    (tmp_path / "y.jsonl").write_bytes(b'\xef\xbb\xbf\n{"text": "abc"}\n')
    for name in ("x.txt", "y.jsonl"):
        assert [document.text for part in slices([tmp_path / name], 100) for document in read(part)] == ["abc"]


def test_a_damaged_page_of_a_parquet_file_is_one_sentence(tmp_path):
    path = tmp_path / "x.parquet"
    pl.DataFrame({"text": [f"text {i}" for i in range(2000)]}).write_parquet(path, compression="zstd")
    data = bytearray(path.read_bytes())
    data[100:400] = bytes(300)
    path.write_bytes(data)
    with pytest.raises(CatalogError, match="is damaged after row 0"):
        list(read(slices([path], 1 << 20)[0]))


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_a_process_that_is_ended_leaves_no_half_file(tmp_path, tokenizer, sign):
    line = json.dumps({"text": "abcd " * 400}) + "\n"
    (tmp_path / "x.jsonl").write_text(line * 10_000)
    out = tmp_path / "out"
    options = [str(tmp_path / "x.jsonl"), "--tokenizer", str(tokenizer), "--out", str(out), "--length", "64", "--slice-mb", "64"]
    command = [sys.executable, "-m", "stages.open_finllms.pack", *options]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as done:
        until = time.monotonic() + 100
        while not list(out.glob(".*.tmp/*")) and time.monotonic() < until and done.poll() is None:
            time.sleep(0.02)
        done.send_signal(sign)
        said = done.stderr.read()
        assert done.wait() == (130 if sign == signal.SIGINT else -sign)
    assert "Traceback" not in said and not list(out.glob("*.parquet")) and not list(out.glob("0*.json"))
    (tmp_path / "x.jsonl").write_text(line * 3)
    main(options)
    assert [path.name for path in sorted(out.iterdir())] == ["00000.json", "00000.parquet", "plan.json"]  # and what was left is gone


def test_more_sources_than_can_be_told_apart():
    with pytest.raises(CatalogError, match="more than 256 sources"):
        cut(documents(*((f"page {i}", "a") for i in range(257))))
    assert len(cut(documents(*((f"page {i % 256}", "a") for i in range(600))))[1].documents) == 256


@pytest.mark.skipif(not (ROOT / "models/smollm2/base/tokenizer.json").is_file(), reason="needs `dvc repro model@smollm2`")
def test_the_tokens_of_a_block_are_the_sum_of_its_parts():
    encode, end = load_tokenizer(ROOT / "models/smollm2/base")

    def count(texts):
        return [len(ids) for ids in encode(texts)]

    assert end not in encode(["a <|im_end|> b"])[0]
    rows = [[f"2012-09-{i:02}", f"{i * 1.37:.2f}", "", f"note {i} & more" if i % 2 else None] for i in range(1, 31)]
    made = list(blocks(["Apple (AAPL)", "close", "open", "remark"], rows, count, 300))
    sizes = count(made)
    assert len(made) > 3 and max(sizes) <= 300
    longest = max(count([line + "\n" for line in made[0].splitlines()]))
    assert min(sizes[:-1]) > 300 - longest
