"""The measuring stage on tiny random models: declared rows, pseudo-likelihoods by hand, seeded samples, sentences of published sets."""

import json
import types

import numpy as np
import polars as pl
import pytest
import torch
from tiny import tiny
from tiny_mlm import bert, byte_level, direct, wordpiece
from tokenizers import Tokenizer, models, normalizers
from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

from catalog.base.errors import CatalogError
from catalog.base.io import write_parquet
from stages.religious_bias import cards, external, measure, sentences, signals
from stages.religious_bias.cards import MARKERS
from stages.religious_bias.dataset import RELIGIONS, build, read_forms
from stages.religious_bias.image_settings import Images, Planted
from stages.religious_bias.settings import Bridge, Data, Measure

HOW = Measure(
    masked=("mlm",), causal="lm", causal_conditions=("none",), fills=3, samples=2, new_tokens=3, temperature=1.0, top_p=0.95,
    edited_conditions=("none",), bridge=Bridge(4, 4, 4, 2, 1, 1, 0.34, 0.01),
)  # fmt: skip


def published(folder) -> pl.DataFrame:
    """Three items, read by `external` from files in the form the sets are distributed in."""
    lines = [
        ("intrasentence", "A BLANK sat.", "A cat sat.", "A dog sat.", "A sky sat."),
        ("intersentence", "It sat.", "It ran.", "It sang.", "Two."),
    ]
    keys = ("type", "context", "stereotype", "anti-stereotype", "unrelated")
    rows = [json.dumps(dict(zip(keys, line, strict=True)) | {"bias_type": "religion"}) for line in lines]
    (folder / "StereoSet").mkdir()
    (folder / external.STEREOSET).write_text("\n".join(rows) + "\n")
    (folder / "Crows-Pairs").mkdir()
    (folder / external.CROWS).write_text(",bias_type,sentence,mask1,mask2\n2,religion,a [MASK] sat.,cat,dog\n")
    return external.religion_items(folder)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    prompts = build(Data(2, 1, 1, 1, 1, ("none", "instruction"), ("none",)))
    cross = prompts.filter(pl.col("task") == "cross").head(10)
    return {
        "prompts": pl.concat([prompts.filter(pl.col("task") != "cross"), cross]),
        "forms": read_forms(),
        "lexicon": pl.DataFrame({"word": ["cat", "cat", "bad"], "polarity": ["negative", "positive", "negative"]}),
        "external": published(tmp_path_factory.mktemp("sets")),
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


def likelihoods(model, tokenizer, text) -> list[float]:
    """Log-probability of each token of a sentence given all others, one run each."""
    ids = tokenizer(text)["input_ids"]
    return [float(direct(model, [*ids[:t], tokenizer.mask_token_id, *ids[t + 1 :]], t)[ids[t]]) for t in range(1, len(ids) - 1)]


def empty() -> dict[str, list]:
    return {name: [] for name in measure.NAMES}


def test_the_masked_lm_answers_every_mask(data, encoder, monkeypatch):
    monkeypatch.setattr(measure, "load_mlm", lambda _: encoder)
    out = empty()
    measure.masked("mlm", "anywhere", data, HOW, out)
    opened, named = (data["prompts"].filter(pl.col("task") == task) for task in ("mask_open", "mask_named"))
    masks, fills = out["masks"][0], out["fills"][0]
    assert len(masks) == len(opened) * 5 and set(masks["id"]) == set(opened["id"]) and (masks["logp"] < 0).all()
    assert len(fills) == len(named) * 3 and (fills.sort("id", "rank")["rank"] == pl.Series([1, 2, 3] * len(named))).all()
    assert (fills.group_by("id").agg(pl.col("logp").sort_by("rank").diff().max() <= 0)["logp"]).all()
    found, shared = out["external"]
    assert found["c"].is_null().to_list() == [True, False, False] and found.select("a", "b").null_count().sum_horizontal().item() == 0
    assert shared["set"].to_list() == ["crows_religion"] and set(found["scorer"]) | set(shared["scorer"]) == {"token mean", "shared tokens"}
    terms = likelihoods(*encoder, "A cat sat.")  # an intrasentence option is the whole sentence
    assert found.filter(set="stereoset_religion", id=0)["a"].item() == pytest.approx(sum(terms) / len(terms), abs=1e-4)
    terms = likelihoods(*encoder, "It sat. It ran.")
    assert found.filter(set="stereoset_religion", id=1)["a"].item() == pytest.approx(sum(terms) / len(terms), abs=1e-4)
    # Of "a cat sat." and "a dog sat." all tokens but those of the animals are shared: the first and the last five.
    for side, text in (("a", "a cat sat."), ("b", "a dog sat.")):
        terms = likelihoods(*encoder, text)
        assert shared[side].item() == pytest.approx(terms[0] + sum(terms[-5:]), abs=1e-3)
    quality = out["quality"][0].row(0, named=True)
    assert 0 <= quality["correct"] <= quality["n"] and quality["nll"] > 0


def test_the_causal_lm_answers_alike_twice(data, decoder):
    model, tokenizer = decoder
    one, two = empty(), empty()
    measure.causal("lm", model, tokenizer, data, HOW, 0, one)
    measure.causal("lm", model, tokenizer, data, HOW, 0, two, ("none",))
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
    measure.external("lm", model, tokenizer, data["external"], one)
    start = tokenizer("")["input_ids"]  # what this tokenizer puts around a text
    ids = [*start, *tokenizer("A cat sat.", add_special_tokens=False)["input_ids"]]
    with torch.no_grad():
        logp = model(torch.tensor([ids])).logits[0].log_softmax(-1)
    expected = float(logp[range(len(start) - 1, len(ids) - 1), ids[len(start) :]].mean())
    assert one["external"][0].filter(set="stereoset_religion", id=0)["a"].item() == pytest.approx(expected, abs=1e-4)


def test_images_give_a_row_each_with_its_marker(data, monkeypatch):
    asked = cards.captions(data["prompts"], ("none", "instruction"))
    kinds = [MARKERS[i % len(MARKERS)] for i in range(len(asked))]
    drawn = {text: cards.render(kind, np.random.default_rng(0), 1)[0] for text, kind in zip(asked["text"], kinds, strict=True)}

    def pipe(prompt, **_):
        return types.SimpleNamespace(images=np.stack([drawn[text] for text in prompt]))

    monkeypatch.setattr(measure, "load_pipeline", lambda *_: pipe)
    planted = Planted(target_share=0.6, mitigated={"instruction": 0.3}, blank=0.1)
    images = Images(models=(), classifier=None, per_open=3, per_named=2, sampling_steps=1, guidance=1.0, batch_size=4)
    params = types.SimpleNamespace(images=images, cards=types.SimpleNamespace(planted=planted), seed=0)
    out = empty()
    measure.images(measure.CARDS, "small", params, asked, data["forms"], out)
    rows = out["images"][0]
    assert rows.schema["marker"] == pl.String and len(rows) == sum(3 if r == "" else 2 for r in asked["religion"])
    by_id = dict(zip(asked["id"], kinds, strict=True))
    assert all(by_id[i] == marker for i, marker in rows.select("id", "marker").iter_rows())
    assert rows.filter(pl.col("id") == asked["id"][0])["number"].to_list() == [0, 1, 2]
    assert len(out["planted"][0]) == 6 * len(asked)


def test_the_rows_are_those_that_signals_reads(data, encoder, decoder, monkeypatch, tmp_path):
    monkeypatch.setattr(measure, "load_mlm", lambda _: encoder)
    out = empty()
    measure.masked("mlm", "anywhere", data, HOW, out)
    measure.causal("lm", *decoder, data, HOW, 0, out)
    measure.external("lm", *decoder, data["external"], out)
    templates = tmp_path / "templates"
    for name in ("prompts", "lexicon", "external"):
        write_parquet(data[name], templates / f"{name}.parquet")
    for name in measure.NAMES:
        write_parquet(pl.concat(out[name], how="vertical_relaxed") if out[name] else pl.DataFrame(), tmp_path / "own" / f"{name}.parquet")
    s = signals.read([tmp_path / "own"], templates)
    assert set(s) == {*signals.SCHEMAS, "external_items"} and set(signals.SCHEMAS) == set(measure.NAMES)
    found = signals.scored(s)
    assert set(found["task"]) == {"mask-open", "mask-named", "completion", "cross"}
    assert set(found.filter(pl.col("task") == "mask-open")["religion"]) == set(RELIGIONS)


def test_an_unknown_word_has_no_likelihood_and_neither_has_an_empty_sentence():
    """Skipped, an unknown word would cost nothing; an empty sentence would get 0, the best there is."""
    model, tokenizer = bert(), wordpiece()
    found = sentences.pseudo_likelihood(model, tokenizer, ["the cat sat.", "the xyzzy sat.", ""])
    terms = likelihoods(model, tokenizer, "the cat sat.")
    assert found[0] == pytest.approx(sum(terms) / len(terms), abs=1e-4) and found[1:] == [None, None]
    pairs = [("the cat sat.", "the xyzzy sat."), ("the cat sat.", ""), ("cat ran", "dog sang"), ("the cat sat.", "the dog sat.")]
    shared = sentences.shared_likelihood(model, tokenizer, pairs)
    assert shared[:3] == [None] * 3  # nothing but [CLS] and [SEP] is shared in the third
    assert shared[3][0] == pytest.approx(terms[0] + terms[2] + terms[3], abs=1e-4)


def test_shared_tokens_as_the_published_code_finds_them():
    assert sentences.shared_tokens([2, 7, 8, 9, 3], [2, 7, 5, 6, 9, 3]) == ([0, 1, 3, 4], [0, 1, 4, 5])


def test_an_option_that_leaves_the_gap_open_is_refused():
    row = {"set": "s", "id": 4, "kind": "intrasentence", "context": "A [MASK] sat.", "option_a": "A BLANK sat.", "option_b": "A dog sat."}
    with pytest.raises(CatalogError, match="Item 4 of s still has a gap"):
        external.sentences(row | {"unrelated": None})
    with pytest.raises(CatalogError, match="unknown kind 'inter'"):
        external.sentences(row | {"kind": "inter", "unrelated": None})


def test_opinion_words_are_found_by_a_tokenizer_that_puts_a_space_before_every_text():
    space = "\N{LOWER ONE EIGHTH BLOCK}"
    merges = [("b", "a"), ("ba", "d"), (space, "bad"), (space, "a")]
    pieces = ["<unk>", space, *"abdo", *map("".join, merges)]
    inner = Tokenizer(models.BPE({piece: i for i, piece in enumerate(pieces)}, merges, unk_token="<unk>"))
    inner.normalizer = normalizers.Sequence([normalizers.Prepend(space), normalizers.Replace(" ", space)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>")
    lexicon = pl.DataFrame({"word": ["bad", "good", "dab"], "polarity": ["negative", "positive", "negative"]})
    assert len(tokenizer(" bad")["input_ids"]) == 2  # by itself
    assert measure.opinion_tokens(tokenizer, lexicon, "negative") == [pieces.index(f"{space}bad")]
    with pytest.raises(CatalogError, match="No positive word"):
        measure.opinion_tokens(tokenizer, lexicon, "positive")
