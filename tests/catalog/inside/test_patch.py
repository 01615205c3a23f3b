"""Reversible patches of FFN neurons: factors, low precision, failures inside, files that are no patch."""

import pytest
import torch
from tiny import tiny

from catalog.base.errors import CatalogError
from catalog.base.io import write_safetensors
from catalog.inside.anatomy import next_logprobs, view
from catalog.inside.interventions import scale_neurons
from catalog.inside.patch import apply_patch, load_patch, make_patch, patched, revert_patch, save_patch

PROMPTS = [[3, 5, 7, 9], [3, 5, 8], [40, 1, 6]]
NEURONS = [(2, 9), (0, 4), (2, 1)]
FACTORS = [0.0, 0.3, -1.5]


@pytest.fixture(params=["llama", "qwen2", "gpt2"])
def v(request):
    return view(tiny(request.param))


def bits(v):
    return {name: tensor.clone().view(torch.uint8) for name, tensor in v.model.state_dict().items()}


def same(v, before):
    return all(torch.equal(tensor, before[name]) for name, tensor in bits(v).items())


def test_a_factor_each_is_a_scaling_by_hooks_of_each(v):
    (a, fa), (b, fb), (c, fc) = zip(NEURONS, FACTORS, strict=True)
    with scale_neurons(v, [a], fa), scale_neurons(v, [b], fb), scale_neurons(v, [c], fc):
        expected = next_logprobs(v, PROMPTS)
    clean = next_logprobs(v, PROMPTS)
    with patched(v, NEURONS, FACTORS) as patch:
        assert torch.allclose(next_logprobs(v, PROMPTS), expected, atol=1e-5)
    assert not torch.allclose(expected, clean, atol=1e-3) and torch.equal(next_logprobs(v, PROMPTS), clean)
    assert len(patch) == 3 and patch.layer.tolist() == [2, 0, 2] and patch.index.tolist() == [9, 4, 1]


def test_only_the_named_value_vectors_change(v):
    before, values = bits(v), [v.values(layer).clone() for layer in range(v.n_layers)]
    with patched(v, NEURONS, FACTORS):
        for layer in range(v.n_layers):
            changed = {k for k in range(v.n_ffn) if not torch.equal(v.values(layer)[:, k], values[layer][:, k])}
            assert changed == {k for a, k in NEURONS if a == layer}
        moved = [name for name, tensor in bits(v).items() if not torch.equal(tensor, before[name])]
        assert len(moved) == 2  # the down projections of two layers and nothing else
    assert same(v, before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_back_bit_for_bit_from_a_file_in_any_precision(v, tmp_path, dtype):
    v.model.to(dtype)
    before = bits(v)
    patch = make_patch(v, NEURONS, FACTORS)
    assert same(v, before)  # making changes nothing
    apply_patch(v, patch)
    once = bits(v)
    apply_patch(v, patch)
    assert same(v, once) and not same(v, before)
    save_patch(patch, tmp_path / "p.safetensors")
    loaded = load_patch(tmp_path / "p.safetensors", v)
    assert loaded.old.dtype == dtype and torch.equal(loaded.factor, patch.factor)
    revert_patch(v, loaded)
    assert same(v, before)
    revert_patch(v, loaded)
    assert same(v, before)
    apply_patch(v, loaded)
    assert same(v, once)


def test_the_weights_come_back_after_an_error(v):
    before = bits(v)
    with pytest.raises(ZeroDivisionError), patched(v, NEURONS):
        raise ZeroDivisionError
    assert same(v, before)


@pytest.mark.parametrize("neuron", [(-1, 0), (3, 0), (0, -1), (0, 40)])
def test_neurons_outside_the_model(v, neuron):
    with pytest.raises(CatalogError, match=f"no FFN neuron {neuron[0]}_{neuron[1]}; it has 3 layers of 40"):
        make_patch(v, [(0, 0), neuron])


def test_files_that_are_no_patch(v, tmp_path):
    with pytest.raises(CatalogError, match="no whole patch"):
        load_patch(tmp_path / "absent.safetensors")
    write_safetensors({"layer": torch.zeros(1, dtype=torch.long)}, tmp_path / "part.safetensors")
    with pytest.raises(CatalogError, match="no whole patch"):
        load_patch(tmp_path / "part.safetensors")
    patch = make_patch(v, [(1, 3)])
    for field, tensor in (("index", patch.index + 40), ("old", patch.old[:, :-1])):
        fields = {name: getattr(patch, name) for name in ("layer", "index", "factor", "old")} | {field: tensor}
        save_patch(type(patch)(**fields), tmp_path / "other.safetensors")
        with pytest.raises(CatalogError, match="another model"):
            load_patch(tmp_path / "other.safetensors", v)
