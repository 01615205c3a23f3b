"""The stages of the language models with a tiny one: what they write, that they learn, both profiles, two processes, bad input."""

import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import finllama_project as project
import polars as pl
import pytest
import torch

from catalog.base.errors import CatalogError
from catalog.models.inference import generate, log_likelihood
from catalog.models.lm import load_lm
from stages.open_finllms import instruct, models, perplexity, pretrain

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def home(tmp_path, monkeypatch):
    """(root, use): `use` sets other parameters."""
    project.make(tmp_path)

    def use(profile="small", **changed):
        project.at_home(tmp_path, project.params(profile, **changed), monkeypatch.setattr)
        return tmp_path

    use()
    return tmp_path, use


def files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_arms_are_trained_saved_and_scored_and_the_same_bytes_twice(home):
    root, _ = home
    written = []
    for _ in range(2):
        pretrain.main("small")
        perplexity.main("small")
        written.append([files(root / "models" / name / "small") for name in ("finllama", "finllama_perplexity")])
    assert written[0] == written[1]

    folder = root / "models/finllama/small"
    blocks = pl.read_parquet(folder / "blocks.parquet")
    assert blocks.rows() == [("none", "prices", 6, 96, 1.0), ("replay", "general", 2, 32, 0.25), ("replay", "prices", 6, 96, 0.75)]
    curves = pl.read_parquet(folder / "curves.parquet")
    assert curves.group_by("arm").agg(pl.col("step").max()).sort("arm").rows() == [("none", 3), ("replay", 4)]
    scores = pl.read_parquet(root / "models/finllama_perplexity/small/likelihoods.parquet")
    assert scores.select("arm", "id").n_unique() == len(scores) == 3 * 5
    row = scores.filter(arm="before", id="h0").to_dicts()[0]  # <td>91.5</td> five times, the first 24 characters but one
    text = ("<td>91.5</td>" * 5)[1:24]
    assert (row["tokens"], row["digits"]) == (23, sum(character.isdigit() for character in text))
    assert row["digits_logprob"] > row["logprob"] > -23 * 20
    model, tokenizer = load_lm(root / "models/tiny/base", dtype="float32", device="cpu", root=root)
    ids = tokenizer("<td>91.5</td>" * 5)["input_ids"][:24]
    with torch.no_grad():
        said = model(torch.tensor([ids])).logits[0].log_softmax(-1)
    assert row["logprob"] == pytest.approx(sum(float(said[i, token]) for i, token in enumerate(ids[1:])), abs=1e-4)


def test_what_is_read_becomes_likelier_and_replay_keeps_the_rest(home):
    root, use = home
    use(rate=0.01, pretrain={"epochs": 30})
    pretrain.main("small")
    perplexity.main("small")
    scores = pl.read_parquet(root / "models/finllama_perplexity/small/likelihoods.parquet")
    mean = {row[:2]: row[2] for row in scores.group_by("arm", "part").agg(pl.col("logprob").sum() / pl.col("tokens").sum()).iter_rows()}
    assert mean["none", "prices"] > mean["before", "prices"] + 1
    assert mean["replay", "general"] > mean["none", "general"] + 1


def test_upper_layers_alone_are_trained_where_the_parameters_say_so(home):
    """Of three layers, those above a third: the lowest, and the embeddings, stay as they were."""
    root, use = home
    use(rate=0.01, pretrain={"layers_from": 0.34})
    pretrain.main("small")
    before = load_lm(root / "models/tiny/base", dtype="float32", device="cpu", root=root)[0].state_dict()
    after = load_lm(root / "models/finllama/small/none", dtype="float32", device="cpu", root=root)[0].state_dict()
    rounding = {"atol": 0, "rtol": 2**-8}  # weights are saved in bfloat16
    changed = {name.split(".")[2] for name in before if not torch.allclose(before[name], after[name], **rounding)}
    assert changed == {"1", "2"}


def test_profile_full_runs_with_stand_ins(home, monkeypatch):
    """Every block, activation checkpointing, micro-batches of one, and saved checkpoints."""
    root, use = home
    asked = []
    monkeypatch.setattr(pretrain, "require_full", asked.append)
    monkeypatch.setattr(perplexity, "require_full", asked.append)
    monkeypatch.setattr(instruct, "require_gpu", lambda: asked.append("gpu"))
    use("full", pretrain={"finance_blocks": 0, "save_steps": 1}, instruct={"save_steps": 1})
    pretrain.main("full")
    perplexity.main("full")
    instruct.main("full")
    assert asked == ["tiny", "tiny", "gpu"]
    assert pl.read_parquet(root / "models/finllama/full/blocks.parquet").filter(arm="none")["blocks"].item() > 6
    assert (root / "models/finllama_instruct/full/adapter/adapter_model.safetensors").is_file()
    assert not (root / ".checkpoints/open_finllms_pretrain").exists()


def test_two_processes_train_as_one(home, tmp_path_factory):
    root, use = home
    pretrain.main("small")
    other = tmp_path_factory.mktemp("two")
    project.make(other)
    command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", "accelerate/ddp.yaml", "--num_processes", "2"]
    paths = [str(ROOT), str(ROOT / "tests"), str(Path(__file__).parent)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    script = str(Path(project.__file__))
    subprocess.run([*command, "--main_process_port", "0", script, str(other), "small"], cwd=ROOT, env=environment, check=True, timeout=200)
    ours, theirs = (pl.read_parquet(place / "models/finllama/small/curves.parquet") for place in (other, root))
    assert ours.drop("loss").equals(theirs.drop("loss"))
    assert ours["loss"].to_list() == pytest.approx(theirs["loss"].to_list(), abs=1e-4)


def test_instructions_are_learnt_and_the_three_models_load_by_name(home):
    root, use = home
    use(instruct={"epochs": 60, "learning_rate": 0.02})
    pretrain.main("small")
    instruct.main("small")
    found = pl.read_parquet(root / "models/finllama_instruct/small/items.parquet")
    assert found.select("task", "source", "available", "too_long", "read").rows() == [("colour", "made", 3, 0, 3), ("sum", "made", 3, 0, 3)]
    assert found["answer_tokens"].to_list() == [12, 3]  # blue three times, 2 three times; the end of the text is not counted
    assert models.names("small") == ("tiny", "finllama", "finllama_instruct")
    answers = {}
    for name in models.names("small"):
        model, tokenizer = models.load(name, "small", root)
        prompts = [models.prompt_ids(tokenizer, f"what is {asked}?") for asked, _ in project.TASKS.values()]
        answers[name] = generate(model, tokenizer, prompts, 6)
    assert answers["finllama_instruct"] == ["blue", "2"]
    assert answers["finllama"] != answers["finllama_instruct"] != answers["tiny"]


def test_a_saved_adapter_that_is_added_to_the_weights_says_what_it_did_when_trained(home):
    """Log-likelihoods with the adapter beside the weights, and inside them as `load` gives it."""
    from catalog.training.adapters import saved_lora

    root, use = home
    use(instruct={"epochs": 5, "learning_rate": 0.02})
    pretrain.main("small")
    instruct.main("small")
    pairs = [("what is the sky?", " blue")]
    merged, tokenizer = models.load("finllama_instruct", "small", root)
    plain, _ = models.load("finllama", "small", root)
    with saved_lora(plain, root / "models/finllama_instruct/small/adapter") as adapted:
        beside = log_likelihood(adapted, tokenizer, pairs).total
    torch.testing.assert_close(log_likelihood(merged, tokenizer, pairs).total, beside, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(log_likelihood(plain, tokenizer, pairs).total, beside, atol=1e-2)


def test_a_model_without_a_chat_template_is_asked_in_plain_text(home):
    root, _ = home
    _, tokenizer = load_lm(root / "models/tiny/base", dtype="float32", device="cpu", root=root)
    assert tokenizer.decode(models.prompt_ids(tokenizer, "hm?")) == "<s>hm?>"
    tokenizer.chat_template = None
    assert tokenizer.decode(models.prompt_ids(tokenizer, "hm?")) == "hm?\n"


def test_items_are_drawn_evenly_over_tasks():
    """Five of a task of eight and one of two: both of the small one, three of the large."""
    tasks = ["big"] * 8 + ["small"] * 2
    drawn = instruct.spread(tasks, 5, 0)
    assert len(drawn) == 5 and drawn == sorted(drawn) and [8, 9] == [i for i in drawn if i >= 8]
    assert drawn == instruct.spread(tasks, 5, 0) != instruct.spread(tasks, 5, 1)
    assert instruct.spread(tasks, 0, 0) == instruct.spread(tasks, 99, 0) == list(range(10))


def test_items_that_are_too_long_are_left_out_whole_and_counted(home):
    root, _ = home
    items = instruct.read_items("small")
    _, tokenizer = load_lm(root / "models/tiny/base", dtype="float32", device="cpu", root=root)
    p = replace(project.params().instruct, max_prompt=len(models.prompt_ids(tokenizer, "what is sky then?")))
    fitting = instruct.fitting(items, tokenizer, p)
    # "what is sky?" and "… then?" fit, "… then then?" does not; nor do the longer sums with "then"
    assert fitting.filter("fits")["id"].to_list() == ["colour0", "colour1", "sum0"]
    table = instruct.counts(fitting, [0, 2])
    assert table.select("task", "available", "too_long", "read").rows() == [("colour", 3, 1, 1), ("sum", 3, 2, 1)]


def test_everyday_documents_are_different_questions_with_their_answers(home):
    root, _ = home
    assert [text.text for text in perplexity.everyday(root)] == ["tie a rope\nwith a knot. then pull", "dry a mat\nin the sun"]


def test_a_line_separator_within_a_string_ends_no_line(home, tmp_path, monkeypatch):
    row = {"question": "dry\u2028a mat", "answer": "A. in the sun"}
    (tmp_path / "piqa.jsonl").write_text(json.dumps(row, ensure_ascii=False), encoding="utf-8")
    monkeypatch.setattr(perplexity, "PIQA", tmp_path / "piqa.jsonl")
    monkeypatch.setattr(perplexity, "require_dep", lambda *_: None)
    assert [text.text for text in perplexity.everyday(tmp_path)] == ["dry\u2028a mat\nin the sun"]


@pytest.mark.parametrize(
    ("spoil", "stage", "said"),
    [
        ("data/finance_corpus/small/documents.parquet", pretrain, "documents.parquet is not there; run `dvc repro open_finllms_corpus`"),
        ("data/finance_corpus/small/documents.parquet", perplexity, "documents.parquet is not there; run `dvc repro open_finllms_corpus`"),
        ("models/finllama/small/replay", perplexity, "finllama/small/none is not there; run `dvc repro open_finllms_pretrain`"),
        (
            "data/finance_instructions/small/items.parquet",
            instruct,
            "items.parquet is not there; run `dvc repro open_finllms_instructions`",
        ),
        ("models/finllama/small/replay", instruct, "finllama/small/replay is not there; run `dvc repro open_finllms_pretrain`"),
    ],
)
def test_what_is_absent_is_named_with_the_stage_that_makes_it(home, spoil, stage, said):
    root, _ = home
    if (root / spoil).is_file():
        (root / spoil).unlink()
    with pytest.raises(CatalogError, match=said):
        stage.main("small")


def test_too_few_held_out_documents(home):
    root, _ = home
    with pytest.raises(CatalogError, match="The part general has 1 held-out documents, not 3; lower perplexity.documents.general"):
        perplexity.held_out("small", replace(project.params().perplexity, documents={"general": 3}))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda items: items.drop("task"), "has no column task; it needs id, source, task, split, prompt, answer"),
        (lambda items: items.filter(split="test"), "has no item of the split train"),
        (lambda items: items.with_columns(answer=pl.lit(" ")), "The item colour0 of .* has an empty answer"),
        (lambda items: items.with_columns(prompt=pl.lit(None, dtype=pl.String)), "The item colour0 of .* has an empty prompt"),
    ],
)
def test_instructions_that_cannot_be_learnt_from(home, change, said):
    root, _ = home
    path = root / "data/finance_instructions/small/items.parquet"
    change(pl.read_parquet(path)).write_parquet(path)
    with pytest.raises(CatalogError, match=said):
        instruct.read_items("small")


def test_another_name_than_the_three_is_refused(home):
    root, _ = home
    with pytest.raises(CatalogError, match="There is no model 'gpt' here; use tiny, finllama or finllama_instruct"):
        models.load("gpt", "small", root)
    with pytest.raises(CatalogError, match="finllama_instruct/small/adapter is not there; run `dvc repro open_finllms_instruct`"):
        models.load("finllama_instruct", "small", root)


def test_the_papers_values_stand_in_profile_full():
    full = project.profile_params(project.Params, "open_finllms", "full")
    p, t = full.pretrain, full.instruct
    assert (p.model, p.layers_from, p.epochs, p.schedule, p.warmup, p.weight_decay, p.arms["replay"].learning_rate, p.block_tokens) == (
        "llama3_8b", 0, 1, "cosine", 0.05, 1e-5, 1e-5, 8192,
    )  # fmt: skip
    assert (t.rank, t.alpha, t.dropout, t.epochs, t.learning_rate, t.schedule, len(t.targets)) == (64, 128, 0, 2, 2e-4, "cosine", 7)
    assert math.isclose(p.arms["replay"].general, 18 / 70, abs_tol=1e-4)
