"""Runs that resume from kept streams equal whole runs."""

import pytest
import torch
from tiny import tiny

from catalog.inside import scan
from catalog.inside.anatomy import next_logprobs, view
from catalog.inside.interventions import scale_neurons
from catalog.inside.patch import patched

PROMPTS = [[3, 5, 7, 9], [3, 5, 8], [40, 1, 6]]


@pytest.fixture(scope="module", params=["llama", "qwen2", "gpt2"])
def v(request):
    return view(tiny(request.param))


def test_a_scan_equals_switching_one_neuron_off_at_a_time(v):
    p = scan.probe(v, PROMPTS)
    pool = [(layer, index) for layer in range(v.n_layers) for index in (0, 7, 39)]
    calls = []
    found = scan.neuron_scan(v, p, pool, lambda logp, first: logp, lambda: calls.append(1))
    for k, neuron in enumerate(pool):
        with scale_neurons(v, [neuron]):
            expected = next_logprobs(v, PROMPTS)
        assert torch.allclose(found[k], expected[p.rows], atol=1e-4)
    assert len(calls) == len(pool)


def test_log_odds_need_no_softmax(v):
    p = scan.probe(v, PROMPTS)
    pool, pair = [(0, 3), (1, 7), (v.n_layers - 1, 9)], (4, 11)
    found = scan.neuron_scan(v, p, pool, pair, lambda: None)
    for k, neuron in enumerate(pool):
        with scale_neurons(v, [neuron]):
            logp = next_logprobs(v, PROMPTS)[p.rows]
            resumed = scan.odds(v, p, neuron[0], pair)
        assert torch.allclose(found[k], logp[:, 4] - logp[:, 11], atol=1e-4)
        assert torch.allclose(resumed, logp[:, 4] - logp[:, 11], atol=1e-4)


def test_an_edit_measured_from_its_layer_equals_a_whole_run(v):
    p = scan.probe(v, PROMPTS)
    with patched(v, [(1, 5), (2, 8)], [0.0, 0.5]):
        resumed = scan.finish(v, p, 1, lambda logp: logp)
        whole = next_logprobs(v, PROMPTS)
    assert torch.allclose(resumed, whole[p.rows], atol=1e-5)


def test_running_text_is_read_at_every_nth_token(v):
    p = scan.probe(v, PROMPTS, every=2)
    read = sorted(zip(p.rows.tolist(), p.after.tolist(), strict=True))
    assert read == [(0, 5), (0, 9), (1, 5), (2, 1)]
