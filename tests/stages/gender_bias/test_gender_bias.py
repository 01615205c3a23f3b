"""Values of gender_bias worked out by hand, identities of its scores, selection, edits and tables."""

import math

import numpy as np
import polars as pl
import pytest
import torch
from tiny import tiny

from catalog.base.errors import CatalogError
from catalog.inside import two_targets
from catalog.inside.anatomy import forest, next_logprobs, view
from catalog.inside.attribution import lens, trace
from catalog.inside.interventions import scale_neurons
from catalog.inside.neurons import neuron_scores
from catalog.inside.patch import apply_patch, load_patch, make_patch, patched, revert_patch, save_patch
from stages.gender_bias import method, tables
from stages.gender_bias.bench import targets
from stages.gender_bias.word_stats import change, gap, spread

PROMPTS = [[3, 5, 7, 9], [3, 5, 8], [40, 1, 6]]
MAN, WOMAN = 11, 12


@pytest.fixture(scope="module", params=["llama", "qwen2", "gpt2"])
def v(request):
    return view(tiny(request.param))


@pytest.fixture(scope="module")
def parts(v):
    run = trace(v, forest(PROMPTS), attention=True)
    return run, lens(v, run, layernorm="faithful")


# --- scores -------------------------------------------------------------------------------------------------------------------


def test_two_target_scores_are_the_difference_of_both_importances(v, parts):
    run, read = parts
    scores = two_targets.two_target_scores(run, read, two_targets.directions(v, read, MAN, WOMAN))
    each = [neuron_scores(v, run, read, torch.full((len(PROMPTS),), target)) for target in (MAN, WOMAN)]
    assert torch.allclose(scores, each[0] - each[1], atol=2e-5)
    swapped = two_targets.two_target_scores(run, read, two_targets.directions(v, read, WOMAN, MAN))
    assert torch.allclose(scores, -swapped)
    across = read.unfold(read.unembed[MAN] - read.unembed[WOMAN])
    bias = 0 if v.family == "llama" else v.down_proj(1).bias.detach() @ across  # GPT-2 adds a bias that is no neuron's
    written = (run.ffn[1, run.last] @ across - bias) / read.sigma
    assert torch.allclose(scores[:, 1].sum(-1), written, atol=2e-5)


def test_two_targets_by_hand():
    # W_U = I, base 0, m v = (log 3, 0): Imp is log 1.5 for the first token and -log 2 for the second.
    assert math.log(1.5) + math.log(2) == pytest.approx(math.log(3)) == pytest.approx(1.098612, abs=1e-6)


def test_gradient_scores_are_the_slope_of_switching_a_neuron_off(v):
    tree = forest(PROMPTS)
    clean = next_logprobs(v, PROMPTS)
    d = clean[:, MAN] - clean[:, WOMAN]
    scores = two_targets.gradient_scores(v, tree, d, MAN, WOMAN)
    for layer, index in ((0, 3), (2, 17)):
        with scale_neurons(v, [(layer, index)], 0.99):
            less = next_logprobs(v, PROMPTS)
        slope = (d.sign() * (d - (less[:, MAN] - less[:, WOMAN]))).mean() / 0.01
        assert scores[layer, index].item() == pytest.approx(slope.item(), rel=0.05, abs=2e-3)


def test_entropy_gap_by_hand():
    d = torch.tensor([math.log(2), 0.0, -math.log(2)], dtype=torch.float64)
    expected = [0.056633, 0.0, 0.056633]
    assert method.entropy_gap(d).tolist() == pytest.approx(expected, abs=1e-6)
    assert gap(pl.Series(d.tolist())).to_list() == pytest.approx(expected, abs=1e-6)
    assert gap(pl.Series([800.0])).to_list() == pytest.approx([math.log(2)])
    assert method.over_log2(torch.tensor([0.7, -0.7, 0.69])).tolist() == [True, True, False]


# --- patches ------------------------------------------------------------------------------------------------------------------


def test_a_patch_is_a_scaling_and_comes_off_bit_for_bit(v, tmp_path):
    before = {name: tensor.clone() for name, tensor in v.model.state_dict().items()}
    neurons = [(0, 4), (2, 9)]
    with scale_neurons(v, neurons, 0.0):
        expected = next_logprobs(v, PROMPTS)
    patch = make_patch(v, neurons)
    apply_patch(v, patch)
    once = next_logprobs(v, PROMPTS)
    apply_patch(v, patch)
    assert torch.equal(next_logprobs(v, PROMPTS), once) and torch.allclose(once, expected, atol=1e-5)
    save_patch(patch, tmp_path / "p.safetensors")
    revert_patch(v, load_patch(tmp_path / "p.safetensors", v))
    assert all(torch.equal(tensor, before[name]) for name, tensor in v.model.state_dict().items())
    with patched(v, neurons, 1.0):
        assert all(torch.equal(tensor, before[name]) for name, tensor in v.model.state_dict().items())


@pytest.mark.parametrize(
    ("neurons", "factor", "said"),
    [
        ([], 0.0, "at least one"),
        ([(0, 1), (0, 1)], 0.0, "twice"),
        ([(9, 1)], 0.0, "no FFN neuron 9_1"),
        ([(0, 1)], [0.0, 1.0], "2 factors"),
    ],
)
def test_patches_that_cannot_be(v, neurons, factor, said):
    with pytest.raises(CatalogError, match=said):
        make_patch(v, neurons, factor)


def test_a_damaged_patch_or_another_models(v, tmp_path):
    (tmp_path / "bad.safetensors").write_bytes(b"nothing")
    with pytest.raises(CatalogError, match="no whole patch"):
        load_patch(tmp_path / "bad.safetensors")
    patch = make_patch(v, [(2, 3)])
    save_patch(type(patch)(patch.layer + 5, patch.index, patch.factor, patch.old), tmp_path / "other.safetensors")
    with pytest.raises(CatalogError, match="another model"):
        load_patch(tmp_path / "other.safetensors", v)


# --- selection ----------------------------------------------------------------------------------------------------------------


def test_choosing_by_the_sum_does_not_overshoot():
    d = torch.tensor([1.0, 1.0, 1.0, 1.0])
    effects = torch.tensor([[-0.9] * 4, [-0.9] * 4, [-0.1] * 4])
    assert method.choose(d, effects, torch.zeros(3), 3, 1.0) == [0, 2]  # the second would push every word past zero
    assert method.choose(d, effects, torch.tensor([2.0, 0.5, 0.6]), 3, 1.0) == [1]  # within the budget
    shares = two_targets.weigh(d, effects, torch.full((3,), 1e-6), 1.0)
    assert float((d + shares @ effects).abs().max()) < 1e-3 and float(shares.min()) >= 0 and float(shares.max()) <= 1


def test_weights_keep_to_the_budget_and_prefer_the_cheap():
    generator = torch.Generator().manual_seed(0)
    d, effects = torch.randn(30, generator=generator), 0.2 * torch.randn(12, 30, generator=generator)
    damage = torch.rand(12, generator=generator) * 0.01
    shares = two_targets.weigh(d, effects, damage, 0.002)
    assert 0 < float((shares.square() * damage).sum()) <= 0.002 * 1.001
    left = (d + shares @ effects).square().mean()
    more = two_targets.weigh(d, effects, damage, 0.02)
    assert (d + more @ effects).square().mean() < left < d.square().mean()
    twins = torch.stack([effects[0], effects[0]])
    cheap, dear = two_targets.weigh(-effects[0], twins, torch.tensor([0.001, 0.1]), 0.0002, least=0.0).tolist()
    assert cheap > 10 * dear


def test_order_and_classes():
    scores = torch.tensor([[0.1, 0.5], [0.5, -1.0]])
    assert two_targets.top(scores, 9) == [(0, 1), (1, 0), (0, 0)]
    assert method.classify(torch.tensor([0.2, 0.2, 0.0]), torch.tensor([0.1, 0.0, 0.0]), 0.1, 0.05) == ["general", "gender", "other"]
    assert two_targets.aligned(torch.tensor([[[1.0]], [[3.0]]]), torch.tensor([2.0, -1.0])).item() == pytest.approx((1 - 3) / 2)


def test_a_model_without_the_words_is_named():
    class Letters:
        def __call__(self, text, add_special_tokens=False):
            return {"input_ids": [1] * len(text.strip())}

    with pytest.raises(CatalogError, match="not single tokens of spelled"):
        targets(Letters(), "spelled", pl.DataFrame({"male": ["boy"], "female": ["girl"]}))


# --- tables -------------------------------------------------------------------------------------------------------------------


def words_of(method_name, values, seed=0):
    rows = [
        {"model": "m", "method": method_name, "seed": seed, "neurons": None, "category": "traits", "word": word, "unseen_template": i == 1,
         "d": d, "logp_man": math.log(0.2), "logp_woman": math.log(0.1), "d_synonyms": 0.5}
        for word, pair in values.items() for i, d in enumerate(pair)
    ]  # fmt: skip
    return pl.DataFrame(rows, schema_overrides={"neurons": pl.Int32})


def test_bias_and_edits_by_hand(monkeypatch):
    monkeypatch.setattr(tables, "bootstrap", lambda *args, **more: (0.0, 0.0))  # of two words there is nothing to resample
    prompts = pl.concat([words_of("none", {"a": (1.0, 3.0), "b": (-1.0, -1.0)}), words_of("combined", {"a": (0.5, 0.5), "b": (-1.0, 0.0)})])
    words = tables.by_word(prompts)
    table = tables.bias(words).filter((pl.col("category") == "all") & (pl.col("method") == "none")).row(0, named=True)
    assert table["mean_abs_d"] == pytest.approx(1.5) and table["mean_d"] == pytest.approx(0.5) and table["n"] == 2
    assert table["spread"] == pytest.approx(math.sqrt(4.5)) and table["mass"] == pytest.approx(0.3)
    assert table["share_over_log2"] == 1 and table["abs_d_unseen"] == pytest.approx(2.0)
    factual = pl.DataFrame(
        {"model": "m", "method": ["none", "none", "combined", "combined"], "seed": 0, "neurons": None, "id": [1, 2, 1, 2],
         "word": ["uncle", "queen"] * 2, "gender": ["man", "woman"] * 2,
         "d": [2.0, -2.0, 1.0, 0.5]}, schema_overrides={"neurons": pl.Int32},
    )  # fmt: skip
    neutral = pl.DataFrame(
        {"model": "m", "method": ["none", "none", "combined", "combined"], "seed": 0, "neurons": None, "paragraph": [0, 1, 0, 1],
         "tokens": 10, "nll": [20.0, 20.0, 20.0, 21.0], "agree": [10, 10, 9, 8]}, schema_overrides={"neurons": pl.Int32},
    )  # fmt: skip
    r = tables.edits(words, factual, neutral).filter(pl.col("method") == "combined").row(0, named=True)
    assert r["abs_d_drop"] == pytest.approx(1 - 0.5 / 1.5) and r["spread_drop"] == pytest.approx(1 - 1.0 / 3.0)
    assert r["perplexity_change"] == pytest.approx(math.exp(1 / 20) - 1) and r["agreement"] == pytest.approx(0.85)
    assert (r["factual_before"], r["factual"], r["factual_right"]) == pytest.approx((2.0, 0.25, 0.5))
    pair = tables.against(words).filter(pl.col("other") == "none").row(0, named=True)
    assert pair["abs_d_difference"] == pytest.approx(-1.0)


def test_proto_total_is_the_mean_of_both_genders():
    raw = pl.DataFrame(
        {"model": "m", "method": "none", "profession": ["nurse", "maid", "miner"], "gender": ["woman", "woman", "man"], "prompt_id": 1,
         "first": [1.0, 2.0, 0.5], "whole": [1.0, 1.0, 1.0]}
    )  # fmt: skip
    table = tables.proto(raw).filter((pl.col("tokens") == "first") & (pl.col("prompt") == "all"))
    assert dict(table.select("gender", "bias").iter_rows()) == pytest.approx({"woman": 1.5, "man": 0.5, "total": 1.0})
    assert (1.26 - 0.81) / 1.26 == pytest.approx(0.357, abs=1e-3)


def test_statistics_take_resamples():
    values = np.array([[[2.0, 1.0], [2.0, 0.0]], [[1.0, 1.0], [1.0, 1.0]]])
    assert change(values, axis=1).tolist() == pytest.approx([0.75, 0.0])
    assert spread(np.array([[1.0, 3.0]]), axis=1).tolist() == pytest.approx([math.sqrt(2)])
