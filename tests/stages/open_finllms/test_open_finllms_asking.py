"""Every task file, of the paper's sets and offline, is asked by a tiny model and scored; long prompts; conversations."""

import dataclasses
import json
from functools import partial

import pytest
from tiny_text import decoder, words_tokenizer

from catalog.base.errors import CatalogError
from stages.open_finllms import asking, models, tasks
from stages.open_finllms.scoring import score

OFFLINE = tasks.FOLDER / "offline"
TEXT = "the cat sat on a mat"


def published(task):
    """Seven rows in the published columns of a task's set."""
    found = []
    for at in range(7):
        query = f"read and classify\n{TEXT} {'big small hard easy house rain sun'.split()[at]}\nAnswer:"
        row = {"id": f"q{at}", "query": query, "answer": "0.5", "text": TEXT, "choices": ["positive", "negative"], "gold": at % 2}
        row |= {"instruction": "read", "context": f"{TEXT} {at}", "question": "is it big", "unit": "u", "question_id": f"k{at}"}
        row |= {"ground_truth": 1.5, "tables": [], "paragraphs": [TEXT], "claim": TEXT, "dialogue_id": f"d{at // 2}", "turn": at % 2}
        scorer = task.scorer
        if scorer in ("headlines", "stock", "credit"):
            choices = {"headlines": ["Yes", "No"], "stock": ["Rise", "Fall"], "credit": ["good", "bad"]}[scorer]
            row |= {"choices": choices, "label_type": "price up"}
        if scorer == "entities":
            row |= {"label": ["O"] * 5 + ["B-ORG"], "answer": "mat, ORG"}
        if scorer == "tagging":
            row |= {"token": TEXT.split(), "label": ["O"] * 6, "answer": "the:O"}
        if scorer == "relations":
            row |= {"label": ["on: cat, mat"], "answer": "on: cat, mat"}
        if scorer == "extracts":
            row |= {"text": "the cat sat\nit ran", "label": [1, 0], "answer": "1\n0"}
        if task.task == "finfact":
            row |= {"label": "true"}
        if task.dataset_path == "parquet":
            target = row["choices"][at % 2] if row["choices"] and scorer in ("classes", "headlines", "stock", "credit") else row["answer"]
            row |= {"gold": target}
        found.append(row)
    return found


def of_file(task, folder):
    """The task's rows from a file in the layout that it has."""
    layout = task.dataset_kwargs.get("layout")
    if layout == "phrasebank":
        path = folder / "sentences.txt"
        path.write_text("".join(f"{TEXT} {word}@{label}\n" for word, label in (("big", "positive"), ("small", "neutral"))))
    elif layout == "tatqa":
        path = folder / "tatqa.json"
        questions = [{"uid": f"q{at}", "question": f"rain {at}", "answer": 5, "scale": "", "answer_type": "span"} for at in range(2)]
        table = {"uid": "t", "table": [["", "it"], ["cat", "5"]]}
        path.write_text(json.dumps([{"table": table, "paragraphs": [{"order": 1, "text": TEXT}], "questions": questions}]))
    else:
        path = folder / "rows.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in published(task)))
    return tasks.rows(task, path)


@pytest.fixture(scope="module")
def tiny():
    tokenizer = words_tokenizer()
    return decoder(layers=1), tokenizer, partial(models.prompt_ids, tokenizer)


@pytest.mark.parametrize("folder", [tasks.FOLDER, OFFLINE])
def test_every_task_file_is_asked_and_scored(tiny, folder, tmp_path):
    model, tokenizer, ids = tiny
    found = tasks.load(folder)
    assert len(found) == (40 if folder == tasks.FOLDER else 11)
    for name, task in found.items():
        place = tmp_path / name
        place.mkdir()
        rows = of_file(task, place)
        examples = []
        if task.num_fewshot:
            examples = [row | {"prompt": f"{row['prompt']} {at}", "id": f"e{at}"} for at, row in enumerate(rows * 3)]
        short = {"generation_kwargs": dict(task.generation_kwargs) | {"max_gen_toks": 3}}  # the same path, in seconds
        answered = asking.ask(model, tokenizer, [(dataclasses.replace(task, **short), rows, examples)], ids, longest=4000)
        assert sorted(question.id for question, _ in answered) == sorted(row["id"] for row in rows)
        assert not any(question.truncated for question, _ in answered), name
        for mode in ("paper", "strict"):
            scored = score(task.scorer, rows, {question.id: output for question, output in answered}, mode, task.scorer_options)
            unread = mode == "paper" and task.scorer == "sentiment"  # drops answers without a number, and words are all that this model has
            assert scored.items.height == len(rows) and scored[task.metric_list[0]["metric"]].n == (0 if unread else len(rows)), name


def test_a_long_prompt_is_cut_in_two_ways(tiny):
    model, tokenizer, ids = tiny
    task = tasks.load(OFFLINE)["summaries"]
    row = {"id": "a", "instruction": "read the cat", "context": "dog " * 30 + "sun", "gold": "sun", "unit": "a", "split": "test"}
    (made,) = tasks.prepared(task, [row], "here")
    whole = ids(made["prompt"])
    asked = asking.question("summaries", made, made["prompt"], ids, 20, "context")
    left = asking.question("summaries", made, made["prompt"], ids, 20, "left")
    assert asked.truncated and asked.tokens == len(whole) and len(asked.ids) == 20
    assert list(asked.ids[:3]) == whole[:3] and list(asked.ids[-2:]) == whole[-2:]  # instruction and end are kept
    assert left.ids == tuple(whole[-20:])  # the instruction is gone
    fits = asking.question("summaries", made, made["prompt"], ids, len(whole), "context")
    assert not fits.truncated and list(fits.ids) == whole and fits.digest == asked.digest
    with pytest.raises(CatalogError, match="Question a of summaries has .* tokens without its context, and 3 are allowed"):
        asking.question("summaries", made, made["prompt"], ids, 3, "context")
    with pytest.raises(CatalogError, match="cut by context or left, not by 'right'"):
        asking.question("summaries", made, made["prompt"], ids, 3, "right")
    answered = asking.ask(model, tokenizer, [(task, [made], [])], ids, longest=20)
    assert [question.cut for question, _ in answered] == ["context", "left"]  # asked twice


def test_what_is_cut_of_a_published_prompt():
    row = {"id": "1", "query": "Do it.\nText: a b c\nd e\nAnswer:"}
    assert asking.parts(row, row["query"]) == ("Do it.\n", "Text: a b c\nd e", "\nAnswer:")
    assert asking.parts(row | {"text": "b c"}, row["query"]) == ("Do it.\nText: a ", "b c", "\nd e\nAnswer:")
    assert asking.parts(row, "one line") == ("", "one line", "")


def test_answers_go_into_the_later_prompts_of_their_own_conversation(tiny, monkeypatch):
    _, tokenizer, ids = tiny
    seen = []

    def echo(model, tokenizer, prompts, new, **rest):
        seen.append([tokenizer.decode(prompt) for prompt in prompts])
        return [f" {text.split()[0]} " for text in seen[-1]]

    monkeypatch.setattr(asking, "generate", echo)
    task = tasks.load()["convfinqa"]
    rows = [
        {"id": f"{d}{t}", "query": query, "answer": "1", "dialogue_id": d, "turn": t}
        for d, first in (("x", "cat"), ("y", "dog"))
        for t, query in enumerate([first, "sun {answer0}"])
    ]
    answered = asking.ask(None, tokenizer, [(task, tasks.prepared(task, rows, "here"), [])], ids, longest=50)
    assert [question.id for question, _ in answered] == ["x0", "y0", "x1", "y1"]
    assert [text.split()[-1] for text in seen[1]] == ["cat", "dog"]
    assert [output for _, output in answered] == [" cat ", " dog ", " sun ", " sun "]
