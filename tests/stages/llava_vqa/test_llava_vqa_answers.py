"""Answers under every condition, swapped images, and what the model writes by itself."""

import json

import polars as pl
import pytest
import torch
from tiny import tiny
from tiny_told import llava, scenes

from catalog.base.errors import CatalogError
from catalog.vision import build
from stages.llava_vqa import answers, prompts
from stages.llava_vqa.settings import Answers

pytestmark = pytest.mark.usefixtures("one_thread")


def question(id, answer, type="colour", asked=(0,), split="seen", candidates=("red", "blue")):
    return {"id": id, "answer": answer, "type": type, "asked": list(asked), "split": split, "candidates": list(candidates)}


def test_the_likeliest_answer_is_right_or_wrong_or_has_no_right_one():
    found = {"a": [question("a1", "red"), question("a2", "red")], "b": [question("b1", None)]}
    rows = answers.rows_of("image", found, [[[-0.5, -1.0], [-3.0, -2.0]], [[-2.0, -1.0]]])
    assert [(row["question"], row["answer"], row["correct"]) for row in rows] == [
        ("a1", "red", True),
        ("a2", "blue", False),
        ("b1", "blue", None),
    ]
    assert rows[1]["logprob"] == [-3.0, -2.0] and {row["model"] for row in rows} == {"llava_small"}


def test_the_first_images_of_each_split():
    found = {name: [question(name, "red", split=name[0])] for name in ("s1", "s2", "s3", "u1")}
    assert list(answers.first(found, 2)) == ["s1", "s2", "u1"]


def test_a_swapped_image_is_of_the_split_and_gives_as_few_right_answers_as_there_are():
    objects = pl.DataFrame(
        [
            ("a", 0, "cup", "red", "top left"),
            ("b", 0, "ball", "red", "top left"),
            ("c", 0, "cup", "blue", "top left"),
            ("d", 0, "cup", "green", "top right"),
        ],
        schema=["image", "object", "kind", "colour", "place"],
        orient="row",
    )
    found = {
        "a": [question("1", "red")],
        "b": [question("2", "ball", "kind")],
        "c": [question("3", "top left", "place")],
        "d": [question("4", None, "absent", ()), question("5", "yes", "presence")],
    }
    wanted, has = answers.facts(found, objects)
    assert wanted == {"a": {("colour", "red")}, "b": {("kind", "ball")}, "c": {("place", "cup", "top left")}, "d": set()}
    assert has["a"] == {("colour", "red"), ("kind", "cup"), ("place", "cup", "top left")}
    splits = dict.fromkeys("abcd", "seen")
    assert answers.swapped("abcd", splits) == {"a": "c", "b": "d", "c": "a", "d": "b"}  # half of four further on
    assert answers.swapped("abcd", splits, wanted, has) == {"a": "c", "b": "d", "c": "b", "d": "b"}  # a has a cup at the top left too
    assert answers.swapped("abcd", {"a": "seen", "b": "seen", "c": "unseen", "d": "unseen"}) == {"a": "b", "b": "a", "c": "d", "d": "c"}
    with pytest.raises(CatalogError, match="one image"):
        answers.swapped("a", {"a": "seen"})


@torch.inference_mode()
def test_what_is_written_is_the_likeliest_token_each_time():
    model, processor = llava()
    images, _, questions = scenes(2)
    found = answers.by_image(questions)
    shown = dict(zip(found, answers.pictures(images, list(found))))
    said = answers.written(model, processor, found, shown)
    row = found["seen-1"][1]
    ids = build.inputs(processor, [shown["seen-1"]], [prompts.with_image(row["question"])])
    made = []
    for _ in range(answers.NEW_TOKENS):
        token = int(model(**ids).logits[0, -1].argmax())
        if token == processor.tokenizer.eos_token_id:
            break
        made.append(token)
        ids["input_ids"] = torch.cat([ids["input_ids"], torch.tensor([[token]])], 1)
        ids["attention_mask"] = torch.ones_like(ids["input_ids"])
    assert said[row["id"]] == processor.tokenizer.decode(made, skip_special_tokens=True).strip()
    assert list(said) == questions["id"].to_list()


def test_the_stage_writes_all_conditions(tmp_path, monkeypatch):
    """Of a tiny LLaVA whose language model is the untrained one and whose projector is the aligned one, so that pairs must agree."""
    from safetensors.torch import save_file

    model, processor = llava()
    images, objects, questions = scenes(4)
    folder = tmp_path / "data" / "scenes" / "small"
    folder.mkdir(parents=True)
    for name, frame in (("images", images), ("objects", objects), ("questions", questions)):
        frame.write_parquet(folder / f"{name}.parquet")
    place = tmp_path / "models" / "llava_small" / "small"
    place.mkdir(parents=True)
    save_file(
        {name: tensor.contiguous() for name, tensor in model.model.multi_modal_projector.state_dict().items()},
        place / "projector_aligned.safetensors",
    )
    params = type("P", (), {"answers": Answers("lm", 3, 2), "train": None})
    monkeypatch.setattr(answers, "ROOT", tmp_path)
    monkeypatch.setattr(answers, "profile_params", lambda *_: params)
    monkeypatch.setattr(answers, "trained", lambda *_: (model, processor))
    lm = tiny("llama", vocabulary=len(processor.tokenizer)).float()
    monkeypatch.setattr(answers, "load_lm", lambda name: (lm, None))
    answers.main("small")
    rows = pl.read_parquet(tmp_path / "models" / "llava_answers" / "small" / "answers.parquet")
    assert rows.schema == answers.SCHEMA and not rows.select("model", "condition", "question").is_duplicated().any()
    counts = dict(rows.group_by("condition").len().iter_rows())
    assert counts == {"image": 8} | dict.fromkeys(("swapped", "no image", "text", "text before training", "untrained"), 6)
    of = {name: part.sort("question")["logprob"].to_list() for (name,), part in rows.group_by("condition")}
    of = {name: torch.tensor(values) for name, values in of.items()}
    assert torch.allclose(of["text"], of["text before training"], atol=1e-4)
    assert torch.allclose(of["image"][:6], of["untrained"], atol=1e-3)
    assert not torch.allclose(of["image"][:6], of["swapped"], atol=1e-3)
    assert not torch.allclose(of["image"][:6], of["no image"], atol=1e-3)
    written = rows.filter(pl.col("generated").is_not_null())
    assert len(written) == 4 and set(written["condition"]) == {"image"}
    facts = json.loads((tmp_path / "models" / "llava_answers" / "small.run.json").read_text())
    assert facts["written_answers"] == 4 and facts["written_as_likeliest"] == (written["generated"] == written["answer"]).mean()
