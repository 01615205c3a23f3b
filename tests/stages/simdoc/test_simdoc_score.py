"""`python -m stages.simdoc.score`: forms of files, the table beside trivial systems, rows of documents, and what it refuses."""

import gzip
import json
import subprocess
import sys

import polars as pl
import pytest

from catalog.base.errors import CatalogError
from catalog.base.params import ROOT
from stages.simdoc import score

SOURCES = [
    "The old museum in Paris opened in 1950. It attracts 1,000 visitors every day and sells tickets online. Guards watch the paintings.",
    "A bridge was built by the Romans in the year 120. It fell. It was built again.",
]
OUTPUTS = [
    "The old museum in Paris opened in 1950. It sells tickets online.",
    "The Romans built a bridge in 120. It fell.",
]
REFERENCES = [
    "The museum in Paris opened in 1950. It sells tickets online. Guards watch.",
    "The Romans built a bridge in 120. It fell. People built it again.",
]


@pytest.fixture
def write(tmp_path):
    def put(name, texts, ids=None, encoding="utf-8"):
        path = tmp_path / name
        if name.endswith(".jsonl"):
            rows = [{"text": text} | ({"id": name} if ids else {}) for name, text in zip(ids or texts, texts)]
            texts = [json.dumps(row) for row in rows]
        path.write_bytes("".join(f"{text}\n" for text in texts).encode(encoding))
        return str(path)

    return put


def scored(capsys, *argv):
    score.main([*map(str, argv), "--json"])
    return json.loads(capsys.readouterr().out)


def test_table_of_a_process_has_the_trivial_systems_and_the_settings(write):
    files = ["--source", write("s.lines", SOURCES), "--output", write("o.lines", OUTPUTS), "--reference", write("r.lines", REFERENCES)]
    done = subprocess.run([sys.executable, "-m", "stages.simdoc.score", *files], cwd=ROOT, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert lines[0] == "2 documents (lines), references: 1" and done.stderr == ""
    assert lines[2].split("  ")[-1].strip() == "reference" and "identity" in lines[2] and "first 65 %" in lines[2]
    values = {line[:30].strip(): line[30:].split() for line in lines if line.startswith("  ")}
    assert values["D-SARI robust"][3] == values["BLEU"][3] == "100.00"
    assert values["compression"][1] == values["content words kept"][1] == "1.00"
    assert any("13a" in line for line in lines) and lines[-1].startswith("BLEU: nrefs:1|case:lc|eff:no|tok:13a")


def test_the_command_does_not_import_torch():
    code = "import sys, stages.simdoc.score; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_a_user_error_of_a_process_is_one_sentence_and_code_1(tmp_path):
    command = [sys.executable, "-m", "stages.simdoc.score", "--source", str(tmp_path / "none.txt"), "--output", "o"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("Error: ") and "none.txt does not exist" in done.stderr and done.stderr.count("\n") == 1


def test_json_holds_the_metrics_of_measure(capsys, write):
    files = ["--source", write("s.lines", SOURCES), "--output", write("o.lines", OUTPUTS), "--reference", write("r.lines", REFERENCES)]
    found = scored(capsys, *files)
    assert (found["documents"], found["form"], found["references"]) == (2, "lines", 1)
    assert list(found["systems"]) == ["output", "identity", "first 65 %", "reference"]
    assert found["systems"]["output"] == score.measure(SOURCES, OUTPUTS, [[text] for text in REFERENCES])[0]
    labelled = {key for metrics in score.TABLE.values() for _, key in metrics}
    assert all(labelled <= set(total) for total in found["systems"].values())
    identity = found["systems"]["identity"]
    assert identity["sari_add"] == identity["dsari_delete"] == identity["numbers_new"] == 0 and identity["copied"] == 1
    lead = found["systems"]["first 65 %"]
    assert (lead["sentences_source"], lead["sentences_output"]) == (3, 1)  # 65 % of 3 is 1.95


def test_forms_give_the_same_scores(capsys, write):
    def run(ending, ids=None):
        files = [write(f"{name}.{ending}", texts, ids) for name, texts in zip("sor", (SOURCES, OUTPUTS, REFERENCES))]
        return scored(capsys, "--source", files[0], "--output", files[1], "--reference", files[2])

    lines = run("lines")
    for found in (run("jsonl"), run("jsonl", ["a", "b"])):
        assert found["form"] == "jsonl" and found["systems"] == lines["systems"]


def test_documents_with_ids_are_matched_by_them(capsys, write):
    source = write("s.jsonl", SOURCES, ["a", "b"])
    straight = scored(capsys, "--source", source, "--output", write("o.jsonl", OUTPUTS, ["a", "b"]))
    swapped = scored(capsys, "--source", source, "--output", write("x.jsonl", OUTPUTS[::-1], ["b", "a"]))
    assert swapped == straight
    by_place = scored(capsys, "--source", source, "--output", write("y.jsonl", OUTPUTS[::-1]))
    assert by_place["systems"]["output"]["content_kept"] < straight["systems"]["output"]["content_kept"]


def test_one_document_of_one_sentence_as_text(capsys, write):
    files = [write("s.txt", ["The cat sat."]), write("o.txt", ["The cat sat."]), write("r.txt", ["A cat sat."])]
    found = scored(capsys, "--source", files[0], "--output", files[1], "--reference", files[2])
    assert (found["documents"], found["form"]) == (1, "text")
    assert len({json.dumps(found["systems"][name]) for name in ("output", "identity", "first 65 %")}) == 1
    assert found["systems"]["output"]["repetition"] is None
    score.main(["--source", files[0], "--output", files[1]])
    out = capsys.readouterr().out
    assert out.startswith("1 document (text), references: 0\n") and "SARI" not in out and "reference " not in out
    assert next(line for line in out.splitlines() if "repetition" in line).split()[1:] == ["-", "-", "-"]


def test_a_text_of_several_lines_is_one_document_unless_told_otherwise(capsys, write):
    files = ["--source", write("s.txt", SOURCES), "--output", write("o.txt", OUTPUTS)]
    assert scored(capsys, *files)["documents"] == 1
    assert scored(capsys, *files, "--form", "lines")["documents"] == 2


def test_several_references_and_mixed_encodings(capsys, write):
    other = ["The museum “opened” – 1950.", "It’s a bridge."]
    files = ["--source", write("s.lines", SOURCES), "--output", write("o.lines", OUTPUTS)]
    utf8 = scored(capsys, *files, "--reference", write("r.lines", REFERENCES), write("q.lines", other))
    assert utf8["references"] == 2 and utf8["settings"]["BLEU"].startswith("nrefs:2|")
    utf16 = scored(capsys, *files, "--reference", write("r.lines", REFERENCES), "--reference", write("p.lines", other, encoding="utf-16"))
    assert utf16 == utf8
    refused(r"p.lines is not UTF-8 at byte 12 \(0x93, in line 1\)", *files, "--reference", write("p.lines", other, encoding="cp1252"))
    # the first reference is scored against both
    assert utf8["systems"]["reference"]["words_output"] == sum(len(text.split()) for text in REFERENCES) / 2
    assert utf8["systems"]["reference"]["bleu"] == pytest.approx(100) and utf8["systems"]["reference"]["dsari_robust"] < 100


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_the_order_of_documents_and_one_more_change_no_other(capsys, write, tmp_path, ending):
    more = ["A third text. It is here to be counted.", "A third text.", "A third text is here."]

    def run(order):
        given = {"a": (SOURCES[0], OUTPUTS[0], REFERENCES[0]), "b": (SOURCES[1], OUTPUTS[1], REFERENCES[1]), "c": more}
        files = [write(f"{name}{order}.jsonl", [given[key][i] for key in order], order) for i, name in enumerate("sor")]
        path = tmp_path / f"{order}.{ending}"
        found = scored(capsys, "--source", files[0], "--output", files[1], "--reference", files[2], "--documents", path)
        rows = pl.read_parquet(path) if ending == "parquet" else pl.read_ndjson(path)
        return found["systems"], {(row["system"], row["id"]): row for row in rows.to_dicts()}

    one, each = run("ab")
    turned, same = run("ba")
    assert same == each and turned.keys() == one.keys()
    for name in one:
        assert turned[name] == pytest.approx(one[name], rel=1e-12)
    _, longer = run("cab")
    assert {key: longer[key] for key in each} == each and len(longer) == len(each) * 3 / 2


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_rows_of_documents_are_written(capsys, write, tmp_path, ending):
    path = tmp_path / f"rows.{ending}"
    files = ["--source", write("s.jsonl", SOURCES, ["a", "b"]), "--output", write("o.jsonl", OUTPUTS, ["a", "b"])]
    found = scored(capsys, *files, "--reference", write("r.jsonl", REFERENCES, ["b", "a"]), "--documents", path)
    rows = pl.read_parquet(path) if ending == "parquet" else pl.read_ndjson(path)
    assert rows["id"].to_list() == ["a", "b"] * 4 and rows["system"].unique(maintain_order=True).to_list() == list(found["systems"])
    one = rows.filter(system="output", id="a").to_dicts()[0]
    _, each = score.measure(SOURCES, OUTPUTS, [[text] for text in REFERENCES[::-1]])
    assert {name: one[name] for name in each[0]} == pytest.approx(each[0])
    assert one["dsari_source_words"] == len(SOURCES[0].split()) and one["sentences_output"] == 2
    assert rows.filter(system="output")["dsari"].mean() == pytest.approx(found["systems"]["output"]["dsari"])


def test_a_file_that_is_scored_is_not_overwritten(capsys, write):
    source, output = write("s.jsonl", SOURCES), write("o.jsonl", OUTPUTS)
    before = open(source, "rb").read()
    with pytest.raises(CatalogError, match="is one of the files to score"):
        scored(capsys, "--source", source, "--output", output, "--documents", source)
    assert open(source, "rb").read() == before


def test_measure_takes_empty_outputs(write):
    total, rows = score.measure(SOURCES, ["", OUTPUTS[1]], [[text] for text in REFERENCES])
    assert rows[0]["rouge_l"] == rows[0]["bleu"] == 0 and rows[0]["fkgl"] is None and rows[0]["dsari_lp1"] == 0
    assert total["fkgl"] == rows[1]["fkgl"]


def test_an_output_may_be_empty_or_in_other_letters_and_has_no_grade_then(capsys, write, tmp_path):
    source = write("s.lines", SOURCES)
    for name, content in [
        ("o.lines", f"{OUTPUTS[0]}\n\n"),
        ("p.lines", f"{OUTPUTS[0]}\n猫坐在垫子上。 它睡着了。\n"),
        ("o.jsonl", f'{json.dumps({"text": OUTPUTS[0]})}\n{{"text": ""}}\n'),
    ]:
        path = tmp_path / name
        path.write_text(content, encoding="utf-8")
        rows = tmp_path / "rows.jsonl"
        found = scored(capsys, "--source", source, "--output", path, "--documents", rows)
        alone = score.measure(SOURCES[:1], OUTPUTS[:1])[0]
        assert found["documents"] == 2 and found["systems"]["output"]["fkgl"] == pytest.approx(alone["fkgl"])
        lines = [json.loads(line) for line in rows.read_text().splitlines()]
        assert [lines[1][metric] for metric in ("fkgl", "smog", "sentence_length")] == [None] * 3 and lines[0]["fkgl"] is not None
    empty = tmp_path / "o.txt"
    empty.write_bytes(b"")
    one = scored(capsys, "--source", write("s.txt", SOURCES[:1]), "--output", empty)
    assert one["systems"]["output"]["compression"] == 0 and one["systems"]["output"]["fkgl"] is None


def test_a_table_is_text_only_if_told_so(capsys, write):
    files = ["--source", write("s.csv", SOURCES), "--output", write("o.csv", OUTPUTS)]
    refused("is a table", *files)
    assert scored(capsys, *files, "--form", "lines")["documents"] == 2


def test_a_byte_order_mark_changes_nothing(capsys, write):
    plain = [write("s.jsonl", SOURCES, ["a", "b"]), write("o.jsonl", OUTPUTS, ["a", "b"])]
    marked = [write(f"m{name}.jsonl", texts, ["a", "b"], encoding="utf-8-sig") for name, texts in (("s", SOURCES), ("o", OUTPUTS))]
    one, other = (scored(capsys, "--source", files[0], "--output", files[1]) for files in (plain, marked))
    assert one == other


def refused(match, *argv):
    with pytest.raises(CatalogError, match=match):
        score.main([*map(str, argv)])


def test_files_that_do_not_go_together_are_refused(write):
    source = write("s.jsonl", SOURCES, ["a", "b"])
    refused(r"s.jsonl has 2 \(jsonl\) and .*o.txt 1 \(text\)", "--source", source, "--output", write("o.txt", OUTPUTS))
    refused("lacks the document 'b'", "--source", source, "--output", write("o.jsonl", OUTPUTS, ["a", "c"]))
    refused("has 2 .* and .* 1 ", "--source", source, "--output", source, "--reference", write("r.jsonl", REFERENCES[:1], ["a"]))


def test_defective_files_are_refused(write, tmp_path):
    good = write("s.lines", SOURCES)
    for name, content, match in [
        ("gap.lines", b"One.\n\nTwo.\n", "Document 2 of .*gap.lines is empty"),
        ("dots.jsonl", b'{"text": "One."}\n{"text": " ... "}', "Document 2 of .*dots.jsonl is empty"),
        ("empty.txt", b"", "empty.txt is empty"),
        ("chinese.lines", "The cat sat.\n猫坐在垫子上。\n".encode(), "Document 2 of .*chinese.lines is not in Latin letters"),
    ]:
        path = tmp_path / name
        path.write_bytes(content)
        refused(match, "--source", path, "--output", good)
        refused(match, "--source", good, "--output", good, "--reference", path)
    for name, content, match in [
        ("array.json", b'[{"text": "One."}, {"text": "Two."}]', "array.json is one JSON value; write JSON lines"),
        ("array.txt", b'["One.", "Two."]\n', "array.txt is one JSON value; write JSON lines"),
        ("pretty.jsonl", b'{\n "text": "One."\n}\n', "pretty.jsonl is one JSON value; write JSON lines"),
        ("table.csv", b"id,text\n1,One.\n", "table.csv is a table; write its texts as JSON lines"),
        ("table.TSV", b"id\ttext\n1\tOne.\n", "table.TSV is a table"),
        ("cut.jsonl", b'{"text": "One \\ud83d"}\n', "Line 1 of .*cut.jsonl .* is half a character"),
        ("key.jsonl", b'{"text": "One.", "text": "Two."}\n', "Line 1 of .*key.jsonl .* the key 'text' occurs twice"),
        ("key.txt", b'{"text": "One.", "text": "Two."}\n', "Line 1 of .*key.txt .* the key 'text' occurs twice"),
        ("deep.jsonl", b'{"text": ' + b"[" * 100_000, "Line 1 of .*deep.jsonl .* nested more than"),
        ("deep.lines", b'{"text": ' * 100_000, "Line 1 of .*deep.lines .* nested more than"),
        ("list.jsonl", b'{"id": [1], "text": "One."}\n', r"Line 1 of .*list.jsonl has the id \[1\]; an id must be"),
        ("table.jsonl", b"PAR1\x15\x04\x00", "table.jsonl is a Parquet table"),
        ("packed.JSONL.GZ", gzip.compress(b'{"text": "One."}\n'), "packed.JSONL.GZ is packed by gzip; unpack it"),
        ("binary.txt", b"\x00\x01", "binary"),
        ("broken.jsonl", b'{"text": "One."}\n{"text": ', "Line 2 of .*broken.jsonl cannot be read as JSON"),
        ("number.jsonl", b'{"text": 1}\n', "Line 1 of .*number.jsonl is no JSON object with a text"),
        ("half.jsonl", b'{"text": "One."}\n{"id": 1, "text": "Two."}', "Line 2 of .*half.jsonl has an id and others have none"),
        ("twice.jsonl", b'{"id": "x", "text": "One."}\n{"id": "x", "text": "Two."}', "The id 'x' stands twice"),
    ]:
        path = tmp_path / name
        path.write_bytes(content)
        refused(match, "--source", path, "--output", good)
        refused(match, "--source", good, "--output", path)


def test_rows_to_another_kind_of_file_are_refused_before_scoring(tmp_path):
    refused("end its name in .parquet or .jsonl", "--source", "none", "--output", "none", "--documents", tmp_path / "rows.csv")


def test_rows_that_cannot_be_written_are_refused(write, tmp_path):
    good = write("s.lines", SOURCES)
    refused("cannot be written", "--source", good, "--output", good, "--documents", f"{good}/rows.jsonl")


def test_unknown_arguments_end_with_code_2(capsys):
    with pytest.raises(SystemExit) as caught:
        score.main(["--source", "a"])
    assert caught.value.code == 2 and "--output" in capsys.readouterr().err


def test_files_with_windows_line_ends_and_other_separators(capsys, tmp_path):
    source, output = tmp_path / "s.lines", tmp_path / "o.jsonl"
    source.write_bytes("\r\n".join(SOURCES).encode())
    rows = [json.dumps({"text": text + "\u2028And more."}, ensure_ascii=False) + "\n" for text in OUTPUTS]
    output.write_text("".join(rows), encoding="utf-8")
    found = scored(capsys, "--source", source, "--output", output)
    assert found["documents"] == 2 and found["systems"]["output"]["sentences_output"] == 3
