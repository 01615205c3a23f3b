"""The probe on tiny random models: rows as declared, pseudo-likelihoods by hand, seeded samples, the published sets' sentences."""

import types

import numpy as np
import polars as pl
import pytest
import torch
from tiny import tiny
from tiny_mlm import byte_level, direct
from transformers import BertConfig, BertForMaskedLM

from catalog.base.io import write_parquet
from stages.religious_bias import cards, probe, signals
from stages.religious_bias.cards import MARKERS
from stages.religious_bias.dataset import RELIGIONS, build, read_forms
from stages.religious_bias.image_settings import Images, Planted
from stages.religious_bias.settings import Data, Probe

HOW = Probe(
    masked=("mlm",), causal="lm", causal_conditions=("none",), fills=3, samples=2, new_tokens=3, temperature=1.0, top_p=0.95,
    edited_conditions=("none",), bridge_candidates=4, kl_budget=0.01,
)  # fmt: skip


@pytest.fixture(scope="module")
def data():
    prompts = build(Data(2, 1, 1, 1, 1, ("none", "instruction"), ("none",)))
    cross = prompts.filter(pl.col("task") == "cross").head(10)
    items = [
        (0, "stereoset", "intrasentence", "A BLANK sat.", "cat", "dog", "sky"),
        (1, "stereoset", "intersentence", "It sat.", "It ran.", "It sang.", "Two."),
        (2, "crows", "mask", "A [MASK] sat.", "cat", "dog", None),
    ]
    return {
        "prompts": pl.concat([prompts.filter(pl.col("task") != "cross"), cross]),
        "forms": read_forms(),
        "lexicon": pl.DataFrame({"word": ["a", "b", "bad"], "polarity": ["negative", "positive", "negative"]}),
        "external": pl.DataFrame(items, schema="id set kind context option_a option_b unrelated".split(), orient="row"),
        "texts": ["It sat on the mat.", "A cat ran."],
        "held_out": ["It sat on the mat and sang.", "A cat ran under the tree."],
    }


@pytest.fixture(scope="module")
def encoder():
    tokenizer = byte_level()
    tokenizer.model_max_length = 512
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, "initializer_range": 0.5}
    config = BertConfig(vocab_size=len(tokenizer), max_position_embeddings=512, pad_token_id=1, **shape)
    return BertForMaskedLM(config).eval(), tokenizer


@pytest.fixture(scope="module")
def decoder():
    tokenizer = byte_level(None)
    tokenizer.model_max_length = 512
    model = tiny("llama", len(tokenizer), 2)
    return model, tokenizer


def empty() -> dict[str, list]:
    return {name: [] for name in probe.NAMES}


def test_the_masked_lm_answers_every_mask(data, encoder, monkeypatch):
    monkeypatch.setattr(probe, "load_mlm", lambda _: encoder)
    out = empty()
    probe.masked("mlm", "anywhere", data, HOW, out)
    opened, named = (data["prompts"].filter(pl.col("task") == task) for task in ("mask_open", "mask_named"))
    masks, fills = out["masks"][0], out["fills"][0]
    assert len(masks) == len(opened) * 5 and set(masks["id"]) == set(opened["id"]) and (masks["logp"] < 0).all()
    assert len(fills) == len(named) * 3 and (fills.sort("id", "rank")["rank"] == pl.Series([1, 2, 3] * len(named))).all()
    assert (fills.group_by("id").agg(pl.col("logp").sort_by("rank").diff().max() <= 0)["logp"]).all()
    found = out["external"][0].sort("id")
    assert found["c"].is_null().to_list() == [False, False, True] and found.select("a", "b").null_count().sum_horizontal().item() == 0
    model, tokenizer = encoder
    ids = tokenizer("A cat sat.")["input_ids"]
    parts = []
    for at in range(1, len(ids) - 1):
        hidden = [*ids[:at], tokenizer.mask_token_id, *ids[at + 1 :]]
        parts.append(float(direct(model, hidden, at)[ids[at]]))
    assert found["a"][0] == pytest.approx(sum(parts) / len(parts), abs=1e-4)
    quality = out["quality"][0].row(0, named=True)
    assert 0 <= quality["correct"] <= quality["n"] and quality["nll"] > 0


def test_the_causal_lm_answers_alike_twice(data, decoder):
    model, tokenizer = decoder
    one, two = empty(), empty()
    probe.causal("lm", model, tokenizer, data, HOW, 0, one)
    probe.causal("lm", model, tokenizer, data, HOW, 0, two, ("none",))
    shares = one["masks"][0].with_columns(pl.col("logp").exp()).group_by("id").agg(pl.col("logp").sum())
    assert shares["logp"].to_list() == pytest.approx([1.0] * len(shares))
    asked = data["prompts"].filter(pl.col("task") == "completion")
    assert [len(table) for table in one["completions"]] == [len(asked)] * 2
    few = asked.filter(pl.col("condition") == "none")
    assert [len(table) for table in two["completions"]] == [len(few)] * 2 and len(few) < len(asked)
    assert one["masks"][0].equals(two["masks"][0]) and one["polarity"][0].equals(two["polarity"][0])
    assert not one["completions"][0]["text"].equals(one["completions"][1]["text"])  # another seed
    row = one["quality"][0].row(0, named=True)
    assert row["correct"] is None and row["nll"] > 0
    probe.external("lm", model, tokenizer, data["external"], one)
    start = tokenizer("")["input_ids"]  # what this tokenizer puts around a text
    ids = [*start, *tokenizer("A cat sat.", add_special_tokens=False)["input_ids"]]
    with torch.no_grad():
        logp = model(torch.tensor([ids])).logits[0].log_softmax(-1)
    expected = float(logp[range(len(start) - 1, len(ids) - 1), ids[len(start) :]].mean())
    assert one["external"][0].sort("id")["a"][0] == pytest.approx(expected, abs=1e-4)


def test_images_give_a_row_each_with_its_marker(data, monkeypatch):
    asked = cards.captions(data["prompts"], ("none", "instruction"))
    kinds = [MARKERS[i % len(MARKERS)] for i in range(len(asked))]
    drawn = {text: cards.render(kind, np.random.default_rng(0), 1)[0] for text, kind in zip(asked["text"], kinds, strict=True)}

    def pipe(prompt, **_):
        return types.SimpleNamespace(images=np.stack([drawn[text] for text in prompt]))

    monkeypatch.setattr(probe, "load_pipeline", lambda *_: pipe)
    planted = Planted(target_share=0.6, mitigated={"instruction": 0.3}, blank=0.1)
    images = Images(models=(), classifier=None, per_open=3, per_named=2, sampling_steps=1, guidance=1.0, batch_size=4)
    params = types.SimpleNamespace(images=images, cards=types.SimpleNamespace(planted=planted), seed=0)
    out = empty()
    probe.images(probe.CARDS, "small", params, asked, data["forms"], out)
    rows = out["images"][0]
    assert rows.schema["marker"] == pl.String and len(rows) == sum(3 if r == "" else 2 for r in asked["religion"])
    by_id = dict(zip(asked["id"], kinds, strict=True))
    assert all(by_id[i] == marker for i, marker in rows.select("id", "marker").iter_rows())
    assert rows.filter(pl.col("id") == asked["id"][0])["number"].to_list() == [0, 1, 2]
    assert len(out["planted"][0]) == 6 * len(asked)


def test_the_rows_are_those_that_signals_reads(data, encoder, decoder, monkeypatch, tmp_path):
    monkeypatch.setattr(probe, "load_mlm", lambda _: encoder)
    out = empty()
    probe.masked("mlm", "anywhere", data, HOW, out)
    probe.causal("lm", *decoder, data, HOW, 0, out)
    probe.external("lm", *decoder, data["external"], out)
    templates = tmp_path / "templates"
    for name in ("prompts", "lexicon", "external"):
        write_parquet(data[name], templates / f"{name}.parquet")
    for name in probe.NAMES:
        write_parquet(pl.concat(out[name], how="vertical_relaxed") if out[name] else pl.DataFrame(), tmp_path / "own" / f"{name}.parquet")
    s = signals.read([tmp_path / "own"], templates)
    assert set(s) == {*signals.SCHEMAS, "external_items"} and set(signals.SCHEMAS) == set(probe.NAMES)
    found = signals.scored(s)
    assert set(found["task"]) == {"mask-open", "mask-named", "completion", "cross"}
    assert set(found.filter(pl.col("task") == "mask-open")["religion"]) == set(RELIGIONS)
