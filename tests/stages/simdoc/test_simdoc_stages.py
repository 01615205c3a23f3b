"""The stages of simdoc with tiny random models: what they write, twice the same, and samples with their advantage."""

import dataclasses
import json

import numpy as np
import polars as pl
import pytest
from safetensors.torch import load
from tiny_simdoc import SMALL, C, P
from tiny_text import decoder, encoder, words_tokenizer

from stages.simdoc import measure
from stages.simdoc import train as stage
from stages.simdoc.settings import Variant


def sentence(rng):
    return " ".join(rng.choice(["The cat", "The dog", "It"]).split()) + " " + " ".join(rng.choice(["sat", "ran", "fell", "rose"], 3)) + "."


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with a tiny corpus, model and encoder; the folders of the stages lie in it."""
    rng = np.random.default_rng(0)
    rows, pairs, shuffled = [], [], []
    for number in range(9):
        split = ("train", "validation", "test")[min(2, number // 4)]
        texts = {level: "\n\n".join(" ".join(sentence(rng) for _ in range(2)) for _ in range(2)) for level in ("hard", "middle", "easy")}
        for level, text in texts.items():
            rows.append((f"d{number}", "t", level, text, split, 16, 4))
            parts = text.replace("\n\n", " ").replace(". ", ".|").split("|")
            for version in range(3):
                order = parts if not version else parts[version:] + parts[:version]
                shuffled.append((f"d{number}", level, split, version, order, int(not version)))
        pairs += [(f"d{number}", split, a, b, texts[a], texts[b]) for a, b in (("hard", "easy"), ("hard", "middle"))]
    folder = tmp_path / "data/simdoc_pairs/small"
    folder.mkdir(parents=True)
    columns = ["id", "topic", "level", "text", "split", "words", "sentences"]
    pl.DataFrame(rows, columns, orient="row").write_parquet(folder / "documents.parquet")
    names = ["id", "split", "source_level", "target_level", "source", "target"]
    pl.DataFrame(pairs, names, orient="row").write_parquet(folder / "pairs.parquet")
    pl.DataFrame(shuffled, ["id", "level", "split", "version", "sentences", "label"], orient="row").write_parquet(
        folder / "shuffled.parquet"
    )
    pl.DataFrame(schema=dict.fromkeys(("step", "id", "what"), pl.String)).write_parquet(folder / "notes.parquet")
    variants = (Variant("multi-task", 0.5, 0.0, "none", None), Variant("simplify-only", 0.0, 0.0, "none", None))
    variants += (Variant("reinforced", 0.5, 0.1, "reinforce", "multi-task"), Variant("constant", 0.5, 0.1, "constant", None))
    reinforce = dataclasses.replace(P.reinforce, rounds=2, documents=2, steps=2, max_new_tokens=4)
    pairs_of = (("hard", "easy"), ("hard", "middle"))
    systems = tuple(dataclasses.replace(s, pairs=pairs_of[: len(s.pairs)], rerank=min(s.rerank, 2)) for s in SMALL.measure.systems)
    params = dataclasses.replace(
        SMALL,
        data=dataclasses.replace(SMALL.data, levels=("hard", "middle", "easy"), pairs=pairs_of),
        coherence=dataclasses.replace(C, epochs=2),
        train=dataclasses.replace(P, variants=variants, reinforce=reinforce),
        measure=dataclasses.replace(SMALL.measure, systems=systems, max_new_tokens=4, shot_tokens=40),
        evaluate=dataclasses.replace(SMALL.evaluate, between="middle", draws=50),
    )
    for module in (stage, measure):
        monkeypatch.setattr(module, "ROOT", tmp_path)
        monkeypatch.setattr(module, "profile_params", lambda *_: params)
        monkeypatch.setattr(module, "load_encoder", lambda name: encoder())
        monkeypatch.setattr(module, "load_model", lambda name: (decoder(), words_tokenizer()))
    monkeypatch.setattr(stage, "checkpoint_folder", lambda *a, extra, **_: tmp_path / ".checkpoints" / extra[0]["name"])
    monkeypatch.setattr(stage, "finish", lambda *_: None)
    return tmp_path, params


def test_samples_bring_the_advantage_of_their_document(project):
    _, params = project
    pairs = pl.read_parquet(stage.ROOT / "data/simdoc_pairs/small/pairs.parquet").filter(split="train", target_level="easy")
    given = iter([[0.75, None], [0.5, 0.5]])  # drawn, then greedy
    trainer = stage.Trainer("small", params, pairs, lambda texts: next(given))
    examples = trainer.sampled(trainer.model, pairs.head(2), 0)
    assert [example["advantage"] for example in examples] == [0.25, 0.25, 0.0, 0.0]  # two paragraphs a document
    asked = trainer.tokenizer.decode(examples[1]["sample_input_ids"]).split()
    assert asked[:2] == ["simplify", "to"] and examples[1]["sample_labels"][-1] == trainer.tokenizer.eos_token_id
    assert {"simplify_labels", "classify_labels", "sample_labels"} <= set(examples[0])


def files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def apart(one, other):
    """The largest difference between weights of the same names."""
    assert one.keys() == other.keys()
    return max(float((one[name] - other[name]).abs().max()) for name in one)


def test_the_stages_write_the_same_bytes_twice_and_constant_learns_what_none_does(project):
    root, params = project
    written = []
    for _ in range(2):
        stage.main("small")
        measure.main("small")
        folders = ("models/simdoc_coherence/small", "models/simdoc_simplifier/small", "data/simdoc_outputs/small")
        written.append([files(root / name) for name in folders])
        for path in (root / ".checkpoints").rglob("done*"):
            path.unlink()
    assert written[0] == written[1]
    trained = written[0][1]
    weights = {path.parts[0]: load(data) for path, data in trained.items() if path.name == "adapter_model.safetensors"}
    # A constant added to the loss changes no gradient but in its last bits, and those differ from CPU to CPU. Adam divides a gradient by
    # its own size, so where it is next to nothing a bit may grow to a share of a step (1e-3); other objectives differ by whole steps.
    close = {name: apart(weights["multi-task"], tensors) for name, tensors in weights.items() if name != "multi-task"}
    assert close["constant"] < 0.1 * min(close["simplify-only"], close["reinforced"])
    curves = pl.read_parquet(root / "models/simdoc_simplifier/small/curves.parquet")
    assert curves.filter(variant="reinforced")["step"].to_list() == [1, 2, 3, 4]
    losses = {name: curves.filter(variant=name)["loss"].to_numpy() for name in ("constant", "multi-task")}
    assert ((losses["constant"] - losses["multi-task"]) > 0).all()
    learnt = pl.read_parquet(root / "models/simdoc_simplifier/small/levels.parquet")
    assert set(learnt["level"]) == {"hard", "middle", "easy"} and set(learnt["classified"]) == {min(learnt["texts"])}
    outputs = pl.read_parquet(root / "data/simdoc_outputs/small/outputs.parquet")
    assert {"identity", "first 65 %", "middle", "reference", "zero-shot", "few-shot", "multi-task rerank"} <= set(outputs["system"])
    reference = outputs.filter(system="reference")
    assert reference["bert_f1"].to_numpy() == pytest.approx(np.ones(len(reference)), abs=1e-6)
    assert outputs.filter(system="identity")["bert_source"].min() == pytest.approx(1, abs=1e-6)
    assert outputs.filter(system="few-shot")["shown"].min() > 0
    chosen = pl.read_parquet(root / "data/simdoc_outputs/small/candidates.parquet")
    assert chosen.group_by("id").agg(pl.col("chosen").sum())["chosen"].unique().to_list() == [1]
    lines = (root / "data/simdoc_outputs/small/predictions.jsonl").read_text().splitlines()
    assert len(lines) == outputs.filter(pl.col("setting") != "trivial").height and "output" in json.loads(lines[0])
