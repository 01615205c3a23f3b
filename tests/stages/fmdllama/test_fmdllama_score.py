"""`python -m stages.fmdllama.score`: the table by hand, both ways of reading, inputs that broke other tools, and what it refuses."""

import json
import subprocess
import sys

import pytest

from catalog.base.errors import CatalogError
from catalog.base.params import ROOT
from catalog.report.intervals import wilson
from stages.fmdllama import score

GOLD = ["False", "False", "True", "True", "NEI", "NEI"]
TEXTS = [
    "Prediction: False.\nExplanation: the stock fell five percent",
    "I cannot say.",
    "Prediction: True.",
    "Prediction: True.",
    "Prediction: False.",
    "",
]
REFERENCE = "the stock rose five percent in march"


@pytest.fixture
def write(tmp_path):
    def put(rows, encoding="utf-8", name="answers.jsonl"):
        path = tmp_path / name
        path.write_bytes(
            "".join(f"{row if isinstance(row, str) else json.dumps(row, ensure_ascii=False)}\n" for row in rows).encode(encoding)
        )
        return str(path)

    return put


def answers(texts=TEXTS, gold=GOLD, **rest):
    return [{"id": n, "gold": one, "text": text} | rest for n, (one, text) in enumerate(zip(gold, texts))]


def scored(capsys, path, *options):
    score.main([path, "--json", *options])
    return json.loads(capsys.readouterr().out)["tasks"]


def test_scores_by_hand(capsys, write):
    rows = answers()
    rows[0]["explanation_gold"] = REFERENCE
    found = scored(capsys, write(rows))["claim"]
    assert found["n"] == found["contexts"] == 6 and found["labels"] == ["True", "False", "NEI"]
    assert found["statuses"] == {"ok": 4, "empty": 1, "no prediction": 1}
    expected = {"accuracy": 0.5, "micro_f1": 0.6, "micro_f1_union": 0.5, "macro_f1": 0.5, "macro_f1_union": 0.375, "unreadable": 1 / 3}
    expected |= {"f1_False": 0.5, "f1_True": 1.0, "f1_NEI": 0.0, "rouge1": 2 / 3, "rouge2": 0.4, "rougeL": 2 / 3}
    assert {name: found["scores"][name] for name in expected} == pytest.approx(expected)
    assert "challenge" not in found["scores"]  # five answers have no reference, so that the two parts would be of different items
    assert found["scores_interval"][0] < 0.5 < found["scores_interval"][1]
    assert found["majority"] == "False" and found["trivial"]["accuracy"] == pytest.approx(1 / 3)


def test_the_challenges_score_where_all_have_a_reference(capsys, write):
    rows = answers([f"Prediction: {label}.\nExplanation: {REFERENCE}" for label in GOLD], explanation_gold=REFERENCE)
    rows[0]["text"] = f"Prediction: NEI.\nExplanation: {REFERENCE}"
    found = scored(capsys, write(rows))["claim"]["scores"]
    assert (found["accuracy"], found["rouge1"]) == pytest.approx((5 / 6, 1.0)) and found["challenge"] == pytest.approx((5 / 6 + 1) / 2)


def test_answers_of_one_context_are_resampled_together(capsys, write):
    rows = [row | {"context_id": "A" if n < 3 else "B"} for n, row in enumerate(answers([f"Prediction: {label}" for label in GOLD]))]
    for row in rows[3:]:
        row["text"] = ""
    found = scored(capsys, write(rows))["claim"]
    assert (found["contexts"], found["scores_interval"]) == (2, [0.0, 1.0])
    alone = scored(capsys, write(answers([f"Prediction: {label}" for label in GOLD])))["claim"]
    assert alone["scores_interval"] == pytest.approx([wilson(6, 6)[0], 1.0], abs=0.05) and alone["scores_interval"][1] == 1.0


def test_both_ways_of_reading(capsys, write):
    path = write([{"gold": "True", "text": "Prediction:True"}, {"gold": "NEI", "text": "Prediction: NEI at best"}])
    assert scored(capsys, path)["claim"]["statuses"] == {"ok": 1, "unknown label": 1}
    paper = scored(capsys, path, "--mode", "paper")["claim"]
    assert paper["statuses"] == {"ok": 1, "no prediction": 1} and paper["scores"]["accuracy"] == 0.5


def test_labels_that_are_given(capsys, write):
    rows = [
        {"gold": "true", "prediction": "TRUE"},
        {"gold": "Not enough information", "prediction": None},
        {"gold": "False", "prediction": "nei"},
    ]
    found = scored(capsys, write(rows))["claim"]
    assert found["statuses"] == {"ok": 2, "empty": 1} and found["scores"]["accuracy"] == pytest.approx(1 / 3)
    rows = [{"gold": "Half", "prediction": "Half"}, {"gold": "Whole", "prediction": "half"}]
    assert scored(capsys, write(rows), "--labels", "Half,Whole")["claim"]["scores"]["accuracy"] == 0.5


def test_tasks_are_scored_apart(capsys, write):
    rows = [
        {"id": 1, "gold": "True", "text": "Prediction: 1. True"},
        {"id": 1, "task": "article", "gold": "Fake", "text": "Prediction: 0. Fake"},
    ]
    rows.append({"id": 2, "task": "article", "gold": "True", "text": "Prediction: False"})
    found = scored(capsys, write(rows))
    assert found["claim"]["n"] == 1 and found["article"]["n"] == 2
    assert found["article"]["labels"] == ["True", "Fake"] and found["article"]["statuses"] == {"ok": 1, "unknown label": 1}


# Inputs that broke other tools


def test_a_label_is_not_looked_for_in_prose(capsys, write):
    """HazyResearch/legalbench#53: a class counted as found wherever its name occurs, also where it is denied."""
    texts = ["Prediction: False.\nExplanation: It is not true that rates doubled.", "It would be wrong to call this true."]
    found = scored(capsys, write(answers(texts, ["False", "True"])))["claim"]
    assert found["statuses"] == {"ok": 1, "no prediction": 1} and found["scores"]["accuracy"] == 0.5


def test_rouge_of_other_scripts_has_its_own_name(capsys, write):
    """huggingface/evaluate#256: tokens of a-z and 0-9 alone; identical Chinese texts had 0, mixed ones a score of what was left."""
    rows = [
        {"gold": "True", "text": f"Prediction: True\nExplanation: {said}", "explanation_gold": reference}
        for said, reference in (("虧損5", "營收5"), ("營收", "營收"))
    ]
    found = scored(capsys, write(rows))["claim"]
    assert (found["explanations"], found["not_scorable"]) == (2, 1)
    assert found["scores"]["rouge1"] == 1.0  # of the one that the published metric can score, on its digit
    assert found["scores"]["unicode_rouge1"] == pytest.approx((1 / 3 + 1) / 2)
    none = scored(capsys, write(rows[1:]))["claim"]
    assert none["not_scorable"] == 1 and "rouge1" not in none["scores"] and "challenge" not in none["scores"]


def test_lines_of_an_explanation_are_kept(capsys, write):
    """Lightning-AI/torchmetrics#904: with line ends lost, ROUGE-Lsum is ROUGE-L."""
    found = scored(capsys, write([{"gold": "True", "text": "Prediction: True\nExplanation: c d\na b", "explanation_gold": "a b\nc d"}]))
    assert (found["claim"]["scores"]["rougeL"], found["claim"]["scores"]["rougeLsum"]) == pytest.approx((0.5, 1.0))


def test_line_separators_within_a_text_end_no_line(capsys, write):
    assert scored(capsys, write([{"gold": "True", "text": "Prediction: True\nExplanation: a\u2028b\x0bc"}]))["claim"]["statuses"] == {
        "ok": 1
    }


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_byte_order_marks_and_windows_line_ends(capsys, tmp_path, encoding):
    path = tmp_path / "answers.jsonl"
    path.write_bytes("".join(json.dumps(row) + "\r\n" for row in answers()).encode(encoding))
    assert scored(capsys, str(path))["claim"]["scores"]["accuracy"] == 0.5


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"gold": "True", "text": "x"}, '{"gold": "True", '], "Line 2 of .* cannot be read as JSON"),
        (['{"gold": "True", "gold": "False", "text": "x"}'], "Line 1 of .* twice"),
        (["", "3"], "Line 2 of .* is no JSON object"),
        (['[{"gold": "True", "text": "x"}]'], "begins with a list"),
        ([{"text": "x"}], "Line 1 of .* lacks gold"),
        ([{"gold": "True"}], "Line 1 of .* lacks text or prediction"),
        ([{"gold": "True", "text": "x", "prediction": "True"}], "both text and prediction"),
        ([{"gold": "Half", "text": "x"}], 'gold label "Half", which is none of True, False, NEI'),
        ([{"gold": None, "text": "x"}], "gold label null"),
        ([{"gold": "True", "prediction": "Mostly True"}], 'prediction "Mostly True", which is none of'),
        ([{"gold": "True", "text": 3}], "has 3 for text, which must be a text"),
        ([{"gold": "True", "text": "x", "task": "poem"}], "the task 'poem'; the tasks are claim and article"),
        ([{"gold": "True", "text": "x", "id": 1}, {"gold": "True", "text": "y", "id": "1"}], "The id '1' stands twice"),
        ([{"gold": "True", "text": "x", "id": 1}, {"gold": "True", "text": "y"}], "have an id and others have none"),
        ([{"gold": "True", "text": "x", "task": ["claim"]}], r"the task \['claim'\]"),
        ([{"gold": "True", "text": "x", "explanation": "y"}], "an explanation beside the text that it is read from"),
        ([{"gold": "True", "text": "x", "context_id": 1}, {"gold": "True", "text": "y"}], "have a context_id and others have none"),
        ([{"gold": "True", "text": "x", "id": [1]}], r"has the id \[1\]"),
        ([" ", ""], "is empty"),
    ],
)
def test_what_cannot_be_scored_is_refused_with_its_line(write, rows, message):
    with pytest.raises(CatalogError, match=message):
        score.main([write(rows)])


def test_files_that_cannot_be_read(write, tmp_path):
    with pytest.raises(CatalogError, match="does not exist"):
        score.main([str(tmp_path / "none.jsonl")])
    with pytest.raises(CatalogError, match="is a folder"):
        score.main([str(tmp_path)])
    with pytest.raises(CatalogError, match="holds zero bytes or many control characters"):
        score.main([write(answers(), encoding="utf-16-le")])
    path = write([*answers(), {"gold": "True", "text": "café"}], encoding="latin-1")
    with pytest.raises(CatalogError, match=r"not UTF-8 at byte [\d,]+ \(0xe9, in line 7\)"):
        score.main([path])


def test_fields_that_are_not_read_are_told(capsys, write):
    score.main([write(answers(explanation_Gold="It rose.", note=None)), "--json"])
    assert json.loads(capsys.readouterr().out)["notes"][0] == "Fields not read: explanation_Gold (6 lines), note (6 lines)."
    score.main([write(answers())])
    assert "not read" not in capsys.readouterr().out


def test_labels_of_the_command_line(capsys, write):
    path = write(answers())
    assert scored(capsys, path, "--labels", "true,false,nei")["claim"] == scored(capsys, path)["claim"]
    for labels, message in (
        ("True", "names no two different labels"),
        ("True,,NEI", "names no two"),
        ("True,true", "names no two"),
        ("True,False", '"NEI", which is none of'),
    ):
        with pytest.raises(CatalogError, match=message):
            score.main([path, "--labels", labels])
    with pytest.raises(CatalogError, match="The label Half is not looked for in texts"):
        score.main([write([{"gold": "Half", "text": "Prediction: Half"}]), "--labels", "Half,Whole"])


def test_the_table_of_a_process_is_aligned_and_an_error_is_one_sentence(write):
    command = [sys.executable, "-m", "stages.fmdllama.score"]
    done = subprocess.run([*command, write(answers(explanation_gold=REFERENCE))], cwd=ROOT, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert lines[0] == "claim: 6 answers, gold labels True, False, NEI" and done.stderr == ""
    table = [line for line in lines if line.startswith("  ")]
    assert len({len(line) for line in table}) == 1  # all columns end where the others do
    values = {line[2:26].strip(): line[26:].split() for line in table}
    assert values["accuracy"][0] == "0.5000" and values["macro F1, all classes"][0] == "0.3750" and values["ROUGE-1"][1] == "-"
    assert "read: 4 ok, 1 empty, 1 no prediction" in lines
    done = subprocess.run([*command, "none.jsonl"], cwd=ROOT, capture_output=True, text=True)
    assert (
        done.returncode == 1
        and done.stdout == ""
        and done.stderr.startswith("Error: none.jsonl does not exist")
        and done.stderr.count("\n") == 1
    )


def test_the_command_does_not_import_torch():
    code = "import sys, stages.fmdllama.score, stages.fmdllama.evaluate; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
