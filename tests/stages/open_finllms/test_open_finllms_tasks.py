"""The registry of tasks: what it holds, what is refused, and how prompts are made from rows."""

import json
import shutil

import polars as pl
import pytest
import yaml

from catalog.base.errors import CatalogError
from stages.open_finllms import tasks
from stages.open_finllms.scoring import SCORERS, score
from stages.open_finllms.task_rows import read_rows

ROW = {"id": 1, "query": "Good or bad?\nText: it rose\nAnswer:", "answer": "good", "choices": ["bad", "good"], "gold": 1, "text": "it rose"}


def write(folder, changes=None, base="fpb", name="my_task.yaml", drop=()):
    content = yaml.safe_load((tasks.FOLDER / f"{base}.yaml").read_text()) | {"task": "my_task"} | (changes or {})
    path = folder / name
    path.write_text(yaml.safe_dump({key: value for key, value in content.items() if key not in drop}))
    return path


def test_every_set_of_the_paper_is_there():
    found = tasks.load()
    with_tag = {tag: {name for name, task in found.items() if tag in task.tag} for tag in ("zero_shot", "few_shot", "instruct")}
    assert with_tag["instruct"] == {
        "fiqasa", "fomc", "fpb", "headlines", "finer_ord", "ner", "convfinqa", "finqa", "ectsum", "edtsum",
        "sm_acl", "sm_bigdata", "sm_cikm", "australian", "german",
    }  # fmt: skip
    assert with_tag["few_shot"] == {"fpb_5shot", "fiqasa_5shot", "headlines_5shot", "ner_20shot"}
    # 19 sets whose size the paper gives, and two without.
    assert sum("n" in found[name].metadata for name in with_tag["zero_shot"]) == 19 and len(with_tag["zero_shot"]) == 21
    assert found["fpb_5shot"].num_fewshot == 5 and found["ner_20shot"].num_fewshot == 20
    assert found["ner_20shot"].scorer == "entities" and found["ner_20shot"].dataset_path == "TheFinAI/flare-ner"
    assert {task.scorer for task in found.values()} == set(SCORERS)  # no scorer without a task
    assert all(task.mode == ("paper", "strict") for task in found.values())


def test_tasks_that_print_chance_as_50_have_the_scaled_mcc():
    found = tasks.load()
    for name in ("lendingclub", "ccf", "ccfraud", "polish", "taiwan", "portoseguro", "travelinsurance"):
        assert "mcc_50" in [entry["metric"] for entry in found[name].metric_list] and found[name].scorer_options["mcc"]


@pytest.mark.parametrize(
    ("changes", "drop", "said"),
    [
        ({}, ("scorer",), "has no scorer; a task needs"),
        ({"scorer": "accuracy"}, (), "names the scorer accuracy, which there is not"),
        ({"scorrer": "classes"}, (), "has scorrer, which no task has"),
        ({"mode": "lenient"}, (), "has the mode lenient"),
        ({"mode": []}, (), "has the mode none"),
        ({"metric_list": [{"metric": "rmse"}]}, (), "lists the metric"),
        ({"scorer_options": {"labels": ["O"]}}, (), "sets labels for the scorer classes"),
        ({"scorer": "tagging", "metric_list": [{"metric": "f1"}]}, (), "no scorer_options.labels"),
        ({}, ("doc_to_choice",), "no doc_to_choice"),
        ({"doc_to_text": "{{query"}, (), "doc_to_text, is no Jinja template"),
        ({"doc_to_text": "{% for %}"}, (), "doc_to_text, is no Jinja template"),
        ({"num_fewshot": "five"}, (), "num_fewshot is 'five'"),
        ({"output_type": "multiple_choice"}, (), "output_type multiple_choice"),
        ({"metadata": {"n": 3}}, (), "no metadata.version"),
        ({"include": "none.yaml"}, (), "no task file"),
        ({"include": "../other/base.yaml"}, (), "from another folder"),
    ],
)
def test_a_task_that_is_refused(tmp_path, changes, drop, said):
    with pytest.raises(CatalogError, match=said) as caught:
        tasks.load_task(write(tmp_path, changes, drop=drop))
    assert "\n" not in str(caught.value)


def test_folders_that_are_refused(tmp_path):
    with pytest.raises(CatalogError, match="has no task"):
        tasks.load(tmp_path)
    write(tmp_path)
    write(tmp_path, name="other.yaml")
    with pytest.raises(CatalogError, match="my_task.yaml and other.yaml both name their task my_task"):
        tasks.load(tmp_path)
    (tmp_path / "other.yaml").write_text("a: [")
    with pytest.raises(CatalogError, match="other.yaml is not YAML"):
        tasks.load(tmp_path)
    (tmp_path / "other.yaml").write_text("- a")
    with pytest.raises(CatalogError, match="fields of a task"):
        tasks.load(tmp_path)


def test_yaml_cannot_run_code(tmp_path):
    (tmp_path / "t.yaml").write_text("task: !!python/object/apply:os.getcwd []")
    with pytest.raises(CatalogError, match="not YAML"):
        tasks.load(tmp_path)


# --- Templates and rows ---------------------------------------------------------------------------------------------------------


def test_a_row_becomes_a_prompt_a_target_and_choices(tmp_path):
    task = tasks.load_task(write(tmp_path))
    (row,) = tasks.prepared(task, [ROW], "rows")
    assert (row["id"], row["prompt"], row["gold"], row["choices"]) == ("1", ROW["query"], "good", ["bad", "good"])
    assert score(task.scorer, [row], {"1": "Good."}, "strict")["acc"].value == 1


def test_texts_stay_as_they_are(tmp_path):
    task = tasks.load_task(write(tmp_path, {"doc_to_text": "Text: {{text}}\n"}))
    text = "<b>A & B</b> {{ 7 * 7 }} {% raw %} {answer0}"
    assert tasks.prepared(task, [ROW | {"text": text}], "rows")[0]["prompt"] == f"Text: {text}\n"


@pytest.mark.parametrize(
    "template",
    ["{{ ''.__class__.__mro__ }}", "{{ text.format.__globals__ }}", "{{ choices.append('x') }}", "{{ text | attr('__class__') }}"],
)
def test_a_template_cannot_leave_its_sandbox(tmp_path, template):
    task = tasks.load_task(write(tmp_path, {"doc_to_text": template}))
    row = dict(ROW, choices=["bad", "good"])
    with pytest.raises(CatalogError, match="the template"):
        tasks.prepared(task, [row], "rows")
    assert row["choices"] == ["bad", "good"]


@pytest.mark.parametrize(
    ("template", "changes", "said"),
    [
        (
            "{{sentence}}",
            {},
            "Row 1 of rows.jsonl lacks sentence, which task my_task reads; its columns are answer, choices, gold, id, query, text",
        ),
        ("{{range(3)}}", {}, "lacks range"),
        ("{{query}}", {"query": None}, "a column that it prints is empty"),
        ("{{query}}", {"id": None}, "id is empty"),
        ("{{query}}", {"choices": "good, bad"}, "must be a list"),
        ("{{query}}", {"choices": []}, "must be a list"),
        ("{{query}}", {"gold": -1}, "gold is -1"),  # would be the last choice
        ("{{query}}", {"gold": 2}, "gold is 2"),
    ],
)
def test_rows_that_do_not_fit(tmp_path, template, changes, said):
    task = tasks.load_task(write(tmp_path, {"doc_to_text": template}))
    with pytest.raises(CatalogError, match=said) as caught:
        tasks.prepared(task, [ROW | changes], "rows.jsonl")
    assert "\n" not in str(caught.value)


def test_fact_checks_in_the_hubs_and_the_authors_words():
    task = tasks.load()["finfact"]
    rows = [{"claim": "It rose.", "label": label} for label in ("true", "False", "neutral", "NEI")]
    found = tasks.prepared(task, rows, "rows")
    assert [row["gold"] for row in found] == ["0", "1", "2", "2"] and [row["id"] for row in found] == ["1", "2", "3", "4"]
    answers = {"1": "0", "2": "False", "3": "not enough information", "4": "1"}
    assert score(task.scorer, found, answers, "strict", task.scorer_options)["acc"].value == 3 / 4
    with pytest.raises(CatalogError, match="row 1 of rows: the template cannot be filled"):
        tasks.prepared(task, [{"claim": "", "label": "mixed"}], "rows")


def test_examples_are_no_questions_and_the_same_for_all(tmp_path):
    task = tasks.load_task(write(tmp_path, {"num_fewshot": 2}))
    rows = tasks.prepared(task, [ROW | {"id": at, "query": f"Q{at}"} for at in range(6)], "rows")
    first, second = tasks.prompts(task, rows[:2], rows, seed=1)
    before = first.removesuffix("Q0")
    assert second == before + "Q1" and before.count(" good\n\n") == 2 and "Q0" not in before and "Q1" not in before
    assert tasks.prompts(task, rows[:2], rows, seed=1)[0] == first
    with pytest.raises(CatalogError, match="needs 2 examples that are no questions, but there are 1"):
        tasks.prompts(task, rows[:5], rows)


# --- Files ----------------------------------------------------------------------------------------------------------------------


def test_four_kinds_of_file_give_the_same_rows(tmp_path):
    table = [ROW, ROW | {"id": 2, "gold": 0, "answer": "bad"}]
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps(row) for row in table) + "\n\n")
    (tmp_path / "a.json").write_text(json.dumps(table))
    pl.DataFrame(table).write_parquet(tmp_path / "a.parquet")
    pl.DataFrame([row | {"choices": json.dumps(row["choices"])} for row in table]).write_csv(tmp_path / "a.csv")
    task = tasks.load_task(write(tmp_path))
    found = [tasks.rows(task, tmp_path / f"a.{kind}") for kind in ("jsonl", "json", "parquet", "csv")]
    for rows in found:
        assert [(row["id"], row["gold"], row["prompt"], row["choices"]) for row in rows] == [
            ("1", "good", ROW["query"], ["bad", "good"]),
            ("2", "bad", ROW["query"], ["bad", "good"]),
        ]


def test_a_csv_keeps_ids_and_a_line_end_of_unicode_is_none(tmp_path):
    (tmp_path / "a.csv").write_text("id,query\n007,x\n")
    assert read_rows(tmp_path / "a.csv") == [{"id": "007", "query": "x"}]
    (tmp_path / "a.jsonl").write_text('{"id": 1, "query": "a\u2028b"}\r\n', encoding="utf-8-sig")
    assert read_rows(tmp_path / "a.jsonl") == [{"id": 1, "query": "a\u2028b"}]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl", '{"id": 1}\n{"id": ', "Line 2 of .* is not JSON"),
        ("a.jsonl", '{"id": 1}\n[1]', "Line 2 of .* is list, but a row is an object"),
        ("a.jsonl", "\n", "has no rows"),
        ("a.json", '{"id": 1}', "must hold a list of objects"),
        ("a.txt", "x", "ends in .txt"),
        ("a.parquet", "x", "cannot be read as Parquet"),
        ("a.csv", "", "cannot be read as CSV"),
        ("a.csv", 'id,choices\n1,"[yes"\n', "Row 1, choices, of .* is not JSON"),
    ],
)
def test_files_that_are_refused(tmp_path, name, content, said):
    (tmp_path / name).write_text(content)
    with pytest.raises(CatalogError, match=said) as caught:
        read_rows(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_file_of_another_encoding_or_none(tmp_path):
    (tmp_path / "a.jsonl").write_bytes('{"id": "Müller"}'.encode("latin-1"))
    with pytest.raises(CatalogError, match="is not UTF-8"):
        read_rows(tmp_path / "a.jsonl")
    with pytest.raises(CatalogError, match="There is no file"):
        read_rows(tmp_path / "b.jsonl")
    found = tasks.load()
    with pytest.raises(CatalogError, match="TheFinAI/en-fpb on the hub"):
        tasks.rows(found["fpb"])
    with pytest.raises(CatalogError, match="There is no file"):
        tasks.rows(found["mc"], root=tmp_path)


def test_phrasebank_as_its_authors_publish_it(tmp_path):
    path = tmp_path / "Sentences.txt"
    path.write_bytes("Müller's sales rose @ 5 % .@positive\r\nIt is so .@neutral\r\n".encode("latin-1"))
    rows = tasks.rows(tasks.load()["phrasebank"], path)
    assert [(row["id"], row["gold"]) for row in rows] == [("1", "positive"), ("2", "neutral")]
    assert "Sentence: Müller's sales rose @ 5 % .\nAnswer:" in rows[0]["prompt"]
    path.write_text("It rose .@good\n")
    with pytest.raises(CatalogError, match="Line 1 of .* does not end in @"):
        read_rows(path, "phrasebank")
    with pytest.raises(CatalogError, match="no layout x"):
        read_rows(path, "x")


def test_tatqa_as_its_authors_publish_it(tmp_path):
    part = {
        "table": {"uid": "t1", "table": [["", "2019"], ["Sales", "$ 5"]]},
        "paragraphs": [{"uid": "p2", "order": 2, "text": "Second."}, {"uid": "p1", "order": 1, "text": "First."}],
        "questions": [
            {"uid": "q1", "question": "Sales?", "answer": 5, "scale": "million", "answer_type": "arithmetic"},
            {"uid": "q2", "question": "Which?", "answer": ["a", "b"], "scale": "", "answer_type": "multi-span"},
        ],
    }
    path = tmp_path / "tatqa.json"
    path.write_text(json.dumps([part]))
    rows = tasks.rows(tasks.load()["tatqa"], path)
    assert [(row["id"], row["gold"], row["unit"]) for row in rows] == [("q1", "5", "t1"), ("q2", "a; b", "t1")]
    assert " | 2019\nSales | $ 5\nFirst.\nSecond.\nQuestion: Sales?" in rows[0]["prompt"]
    path.write_text(json.dumps([{"table": {}}]))
    with pytest.raises(CatalogError, match="Entry 1 of .* is not laid out as TAT-QA"):
        read_rows(path, "tatqa")


def test_the_registry_can_be_copied_and_extended(tmp_path):
    shutil.copytree(tasks.FOLDER, tmp_path / "tasks")
    write(tmp_path / "tasks", {"include": "german.yaml"}, base="ner_20shot")
    assert tasks.load(tmp_path / "tasks")["my_task"].scorer == "credit"
