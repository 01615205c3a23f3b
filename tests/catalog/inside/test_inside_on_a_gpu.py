"""What looks into a model and changes it, on a (faked) GPU: nothing is left on the CPU, and the numbers are the CPU's."""

import pytest
import torch
from faked_gpu import GPU, faked_gpu
from tiny import tiny

from catalog.inside.anatomy import forest, next_logprobs, view
from catalog.inside.attribution import (
    head_position_scores,
    head_scores,
    layer_scores,
    lens,
    output_value,
    predicted,
    query_layers,
    query_neurons,
    trace,
)
from catalog.inside.interventions import head_scan, keep_neurons, neuron_masks, pruned, scale_heads, scale_neurons
from catalog.inside.neurons import bases, comparative_neurons, geometry, likely_tokens, neuron_scores, top_neurons
from catalog.inside.patch import apply_patch, load_patch, make_patch, patched, revert_patch, save_patch

PROMPTS = [[3, 5, 7, 9, 2], [3, 5, 7, 11], [3, 5, 8, 9, 2, 4], [40, 1]]


def attribution(v):
    """Numbers of every function, as tensors."""
    tree = forest(PROMPTS, v.device)
    run = trace(v, tree, attention=True)
    read = lens(v, run)
    targets = predicted(run, read)
    target = targets[0].item()
    with scale_heads(v, [(1, 2)]):
        other = trace(v, tree)
    known = bases(run, read), bases(other, read)
    geo = geometry(v, read, likely_tokens(list(known), 10))
    found = [*layer_scores(run, read, 0, target), head_scores(v, run, read, 0, target), head_position_scores(v, run, read, 1, 0, target)]
    found += [query_layers(v, run, 0, 1, 3), query_neurons(v, run, 2, 1, 3, 1.0), output_value(v, 1, run.x[0, :2])]
    found += [neuron_scores(v, run, read, targets), top_neurons(v, run, read, 0, target, 10).score]
    return [*found, comparative_neurons(v, run, other, read, 0, target, 12, geo, base=known).score]


def interventions(v, folder):
    found = [next_logprobs(v, PROMPTS), head_scan(v, PROMPTS, lambda logp, group: logp.amax(-1))]
    masks = torch.ones(1, v.n_layers, v.n_ffn, device=v.device).index_fill_(2, torch.tensor([3], device=v.device), 0.0)
    for change in (keep_neurons(v, [(1, 2)], [1]), scale_neurons(v, [(0, 1)]), neuron_masks(v, masks), patched(v, [(0, 1), (1, 4)], 0.5)):
        with change:
            found.append(next_logprobs(v, PROMPTS))
    if v.family == "llama":
        with pruned(v, [(1, 2)], [1]):
            found.append(next_logprobs(v, PROMPTS))
    save_patch(make_patch(v, [(0, 1)]), folder / "patch.safetensors")
    patch = load_patch(folder / "patch.safetensors", v)
    apply_patch(v, patch)
    found.append(next_logprobs(v, PROMPTS))
    revert_patch(v, patch)
    return found


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_numbers_on_a_gpu_are_those_of_the_cpu(family, tmp_path):
    def all_of(device):
        v = view(tiny(family).to(device))
        return [*attribution(v), *interventions(v, tmp_path)]

    expected = all_of("cpu")
    with faked_gpu():
        found = all_of("cuda")
        assert {tensor.device for tensor in found} == {GPU}
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
