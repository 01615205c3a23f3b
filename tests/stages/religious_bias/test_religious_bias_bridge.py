"""The neuron edit of religion on a tiny model with the project's own prompts: what is read and where, and that changes are undone."""

import re

import polars as pl
import pytest
import torch
from tiny import tiny
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from catalog.base.errors import CatalogError
from catalog.base.params import profile_params
from catalog.inside.anatomy import next_logprobs, view
from catalog.inside.patch import make_patch
from stages.religious_bias import bridge
from stages.religious_bias.dataset import build
from stages.religious_bias.settings import Bridge, Data, Params

HOW = Bridge(6, 6, 4, query_prompts=2, scan_paragraphs=2, neutral_every=1, shallow=0.34, kl_budget=1.0)
NEUTRAL = pl.DataFrame(
    {"split": ["locate", "locate", "evaluate"], "text": ["a world of people", "people in a world", "the people of the world"]}
)


@pytest.fixture(scope="module")
def prompts():
    return build(Data(None, 1, 1, 1, 1, ("none", "instruction"), ("none",)))


def whole_words(texts, extra=()):
    """A tokenizer of whole words."""
    words = sorted({word for text in texts for word in re.findall(r"\w+|[^\w\s]", text)} | set(extra))
    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(["<end>", "<unknown>", *words])}, unk_token="<unknown>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<end>", pad_token="<end>", unk_token="<unknown>")


def test_prompts_end_before_the_mask_and_twins_stay_in_one_half(prompts):
    table = bridge.prompts_of(prompts)
    assert len(table) and not table["text"].str.contains(r"\[MASK\]").any() and (table["text"] == table["text"].str.strip_chars()).all()
    assert table.group_by("word").agg(pl.col("half").n_unique())["half"].unique().to_list() == [1]
    assert table.group_by("word").agg(pl.col("stem").sort())["stem"].to_list() == [["negative", "neutral", "positive"]] * (len(table) // 3)
    assert set(table["half"]) == {0, 1}


def test_every_method_is_measured_and_the_weights_come_back(prompts):
    table = bridge.prompts_of(prompts)
    tokenizer = whole_words([*table["text"], *NEUTRAL["text"]], (*bridge.PAIR, "a"))
    v = view(tiny("llama", len(tokenizer), layers=4))
    before = {name: tensor.clone() for name, tensor in v.model.state_dict().items()}
    rows, text = bridge.bridge(v, tokenizer, prompts, NEUTRAL, make_patch(v, [(1, 3), (2, 5)], 0.0), HOW, 0, "tiny")
    assert all(torch.equal(tensor, before[name]) for name, tensor in v.model.state_dict().items())
    methods = ["none", "religion edit", "random", "gender edit"]
    assert rows["method"].unique(maintain_order=True).to_list() == text["method"].to_list() == methods
    logp = next_logprobs(v, tokenizer(table["text"].to_list())["input_ids"])
    one, other = (tokenizer(word)["input_ids"][0] for word in bridge.PAIR)
    assert rows.filter(method="none")["d"].to_list() == pytest.approx((logp[:, one] - logp[:, other]).tolist(), abs=1e-4)
    ids = tokenizer(NEUTRAL["text"][2])["input_ids"]
    clean = v.model(torch.tensor([ids])).logits[0].log_softmax(-1)
    assert text["nll"][0] == pytest.approx(-sum(float(clean[t, ids[t + 1]]) for t in range(len(ids) - 1)), abs=1e-3)
    assert text["tokens"].to_list() == [len(ids) - 1] * 4
    square = {m: float((part["d"] ** 2).mean()) for (m,), part in rows.filter(half=0).group_by("method")}
    assert square["religion edit"] < square["none"] and square["gender edit"] != square["none"]
    counts = dict(rows.select("method", "neurons").unique().iter_rows())
    assert counts["none"] is None and counts["gender edit"] == 2 and counts["random"] == counts["religion edit"] > 0


def test_a_model_without_the_words_is_named(prompts):
    tokenizer = whole_words(bridge.prompts_of(prompts)["text"])
    v = view(tiny("llama", len(tokenizer)))
    with pytest.raises(CatalogError, match="Muslims or Christians is not a single token of tiny"):
        bridge.bridge(v, tokenizer, prompts, NEUTRAL, make_patch(v, [(1, 3)], 0.0), HOW, 0, "tiny")


@pytest.mark.parametrize("profile", ["small", "full"])
def test_the_parameters_of_both_profiles_are_read(profile):
    p = profile_params(Params, "religious_bias", profile).measure
    assert 0 < p.bridge.shallow < 1 and p.bridge.kl_budget == 0.008 and p.bridge.query_candidates <= p.bridge.logit_candidates
