"""Attribution: hand-computed scores, identities (parts sum to the whole, bounds, certified top-k), interventions."""

import math

import pytest
import torch
from tiny import tiny

from catalog.base.errors import CatalogError
from catalog.inside.anatomy import forest, forests, next_logprobs, view
from catalog.inside.attribution import (
    Lens,
    attention_neurons,
    head_position_scores,
    head_position_vectors,
    head_scores,
    head_vectors,
    increase,
    layer_scores,
    lens,
    output_value,
    predicted,
    query_layers,
    query_neurons,
    top_tokens,
    trace,
)
from catalog.inside.interventions import head_scan, keep_neurons, pruned, random_neurons, scale_heads, scale_neurons
from catalog.inside.neurons import (
    bases,
    bennett_gap,
    bounds,
    comparative_neurons,
    geometry,
    likely_tokens,
    neuron_scores,
    top_neurons,
)

FAMILIES = ("llama", "llama_mha", "qwen2", "gpt2")
PROMPTS = [[3, 5, 7, 9, 2], [3, 5, 7, 11], [3, 5, 8, 9, 2, 4], [40, 1]]
LOG3 = math.log(3)


def plain(v: int = 2, d: int = 2, sigma: float = 1.0, norm: str = "frozen", eps: float = 0.0) -> Lens:
    return Lens(torch.eye(v, d), torch.ones(d), torch.tensor([sigma]), None, False, norm, eps)


@pytest.fixture(scope="module", params=FAMILIES)
def v(request):
    return view(tiny(request.param))


@pytest.fixture(scope="module")
def run(v):
    return trace(v, forest(PROMPTS), attention=True)


@pytest.fixture(scope="module")
def read(v, run):
    return lens(v, run, layernorm="faithful")


# --- by hand ---------------------------------------------------------------------------------------------------------------


def test_increase_by_hand():
    base, part = torch.zeros(2), torch.tensor([[LOG3, 0.0]])
    assert increase(plain(), base, part, 0, 0).item() == pytest.approx(math.log(1.5))
    assert increase(plain(), base, part, 0, 1).item() == pytest.approx(-math.log(2))
    both = increase(plain(), base, 2 * part, 0, 0).item()
    assert both == pytest.approx(math.log(1.8)) and both != pytest.approx(2 * math.log(1.5))  # scores do not add up
    assert increase(plain(), base, part * -1, 0, 1).item() == pytest.approx(math.log(1.5))  # m = -1 promotes the bottom token


def test_frozen_and_recomputed_norm_by_hand():
    final = torch.tensor([3.0, 4.0])
    sigma = plain().rms(final).item()
    assert 1 / sigma == pytest.approx(0.2828427)
    z = torch.tensor([0.3, 0.4])
    assert plain(sigma=sigma).logits(z, 0).softmax(-1)[1].item() == pytest.approx(0.507071, abs=1e-6)
    assert plain(norm="recompute").logits(z, 0).softmax(-1)[1].item() == pytest.approx(0.570243, abs=1e-6)


def test_centring_by_hand():
    read = Lens(torch.eye(2), torch.ones(2), torch.ones(1), None, True, "frozen", 0.0)
    assert read.fold(torch.tensor([1.0, 3.0])).tolist() == [-1.0, 1.0]
    a, b = torch.tensor([1.0, 3.0]), torch.tensor([5.0, -2.0])
    assert torch.allclose(read.fold(a + b), read.fold(a) + read.fold(b))
    direction = torch.tensor([0.3, 2.0])
    assert torch.dot(read.unfold(direction), a).item() == pytest.approx(torch.dot(direction, read.fold(a)).item())


class TwoTokens:
    """The two-token world of the hand cases as a view: one layer, one neuron with value (log 3, 0)."""

    n_layers, n_ffn, d_model = 1, 1, 2

    def values(self, layer):
        return torch.tensor([[LOG3], [0.0]])


def test_bounds_by_hand():
    from catalog.inside.attribution import Trace

    zero = torch.zeros(1, 1, 2)
    run = Trace(torch.zeros(2, 1, 2), zero, zero, torch.ones(1, 1, 1), zero, torch.tensor([0]))
    b = bounds(TwoTokens(), run, plain(), 0, 0)
    assert b.upper.item() == pytest.approx(0.549306, abs=1e-6)
    geo = geometry(TwoTokens(), plain(), torch.tensor([0, 1]))
    gap = bennett_gap(b.t, b.mean, b.logp, geo).item()
    # X = t (P - E P) = +-log(3)/2, Var = .301737. Bennett with b = max X = .549306 gives .381468; `reach` bounds b by the norms
    # |v| |W_U[j] - mean| = log(3) / sqrt(2) = .776836, which gives UB - log(1 + .301737 * .659097) = .367924.
    assert geo.reach.item() == pytest.approx(0.776836, abs=1e-6)
    assert b.upper.item() - gap == pytest.approx(0.367924, abs=1e-5)
    assert b.upper.item() - gap <= math.log(1.5) <= b.upper.item()


def test_kv_head_of_grouped_heads():
    v = view(tiny("llama"))
    assert [v.kv_head(j) for j in range(4)] == [0, 0, 1, 1]
    wide = type(v)(**{**v.__dict__, "n_heads": 32, "n_kv": 8})
    assert wide.kv_head(22) == 5


# --- identities --------------------------------------------------------------------------------------------------------------


def test_forest_equals_separate_forward_passes(v):
    tree = forest(PROMPTS)
    assert len(tree.ids) == 5 + 1 + 4 + 2  # shared prefixes are laid out once
    whole = next_logprobs(v, PROMPTS)
    split = next_logprobs(v, PROMPTS, max_positions=6)
    for i, prompt in enumerate(PROMPTS):
        expected = v.model(torch.tensor([prompt])).logits[0, -1].log_softmax(-1)
        assert torch.allclose(whole[i], expected, atol=1e-5)
        assert torch.allclose(split[i], expected, atol=1e-5)
    assert sorted(i for group, _ in forests(PROMPTS, 6) for i in group) == [0, 1, 2, 3]
    with pytest.raises(CatalogError, match="at least one token"):
        forest([[1], []])


def test_parts_sum_to_the_whole(v, run, read):
    for layer in range(v.n_layers):
        bias = getattr(v.o_proj(layer), "bias", None)
        heads = head_vectors(v, run, layer)
        total = heads.sum(1) + (0 if bias is None else bias.detach())
        assert torch.allclose(total, run.attn[layer, run.last], atol=1e-5)
        for prompt in range(len(PROMPTS)):
            moved = head_position_vectors(v, run, layer, prompt)
            assert torch.allclose(moved.sum(1), heads[prompt], atol=1e-5)
            columns = v.o_weight(layer).unflatten(-1, (v.n_heads, v.d_head))
            single = torch.einsum("hsk,dhk->hsd", attention_neurons(v, run, layer, prompt), columns)
            assert torch.allclose(single, moved, atol=1e-5)
        bias = getattr(v.down_proj(layer), "bias", None)
        neurons = run.coef[layer] @ v.values(layer).T + (0 if bias is None else bias.detach())
        assert torch.allclose(neurons, run.ffn[layer], atol=1e-5)
        assert torch.allclose(run.x[layer] + run.attn[layer] + run.ffn[layer], run.x[layer + 1], atol=1e-5)
    for i, prompt in enumerate(PROMPTS):
        assert torch.allclose(read.logits(run.x[-1, run.last[i]], i), v.model(torch.tensor([prompt])).logits[0, -1], atol=1e-4)


@pytest.mark.parametrize("norm", ["frozen", "recompute"])
def test_cumulant_equals_definition(v, run, norm):
    read = lens(v, run, norm=norm)
    targets = predicted(run, read)
    scores = neuron_scores(v, run, read, targets, layers=[1], chunk=17)
    for p, at in enumerate(run.last.tolist()):
        parts = (v.values(1) * run.coef[1, at]).T
        expected = increase(read, run.mid[1, at], parts, p, targets[p])
        assert torch.allclose(scores[p, 0], expected, atol=1e-5)


def test_certified_top_equals_brute_force(v, run, read):
    targets = predicted(run, read)
    scores = neuron_scores(v, run, read, targets)
    for p in range(len(PROMPTS)):
        for k in (1, 10, 50):
            top = top_neurons(v, run, read, p, targets[p].item(), k)
            best = scores[p].flatten().topk(k)
            assert top.certified == k and top.evaluated >= k
            assert torch.allclose(top.score, best.values, atol=1e-5)
            assert set((top.layer * v.n_ffn + top.index).tolist()) == set(best.indices.tolist())
            assert torch.equal(top.coef[0], run.coef[top.layer, run.last[p], top.index])


def test_bounds_hold(v, run, read):
    targets = predicted(run, read)
    scores = neuron_scores(v, run, read, targets)
    geo = geometry(v, read, likely_tokens([bases(run, read)], 10))
    for p in range(len(PROMPTS)):
        b = bounds(v, run, read, p, targets[p].item())
        gap = bennett_gap(b.t, b.mean, b.logp, geo)
        assert (scores[p] <= b.upper + 1e-5).all() and (b.upper - gap <= scores[p] + 1e-5).all()
        assert (gap >= 0).all()


def test_rounding_orders_ties_as_the_authors_do(run, v, read):
    target = predicted(run, read)[0].item()
    top = top_neurons(v, run, read, 0, target, v.n_layers * v.n_ffn, decimals=1)
    rounded = (top.score * 10).round()
    flat = top.layer * v.n_ffn + top.index
    assert (rounded[:-1] >= rounded[1:]).all()
    tied = rounded[:-1] == rounded[1:]
    assert tied.any() and (flat[:-1][tied] > flat[1:][tied]).all()


def test_comparative_neurons_equal_two_runs(v, run, read):
    with scale_heads(v, [(1, 2)]):
        other = trace(v, forest(PROMPTS))
    targets = predicted(run, read)
    difference = neuron_scores(v, run, read, targets) - neuron_scores(v, other, read, targets)
    known = bases(run, read), bases(other, read)
    geo = geometry(v, read, likely_tokens(list(known), 10))
    for p in range(len(PROMPTS)):
        top = comparative_neurons(v, run, other, read, p, targets[p].item(), 12, geo)
        shared = comparative_neurons(v, run, other, read, p, targets[p].item(), 12, geo, base=known)
        assert torch.allclose(top.score, shared.score, atol=1e-6)
        assert torch.allclose(difference[p][shared.layer, shared.index], shared.score, atol=1e-5)  # near ties may change places
        best = difference[p].flatten().topk(12)
        assert torch.allclose(top.score, best.values, atol=1e-5) and top.certified == 12
        same = comparative_neurons(v, run, run, read, p, targets[p].item(), 5, geo)
        assert same.score.abs().max() < 1e-6  # CNA of a model with itself
        limited = comparative_neurons(v, run, other, read, p, targets[p].item(), 12, geo, limit=80)
        assert limited.evaluated <= 120 and limited.certified <= 12
        if limited.certified:
            assert torch.allclose(limited.score[: limited.certified], best.values[: limited.certified], atol=1e-5)


def test_layer_head_and_position_scores(v, run, read):
    target = predicted(run, read)[0].item()
    attn, ffn = layer_scores(run, read, 0, target)
    heads = head_scores(v, run, read, 0, target)
    assert attn.shape == ffn.shape == (v.n_layers,) and heads.shape == (v.n_layers, v.n_heads)
    at = run.last[0]
    expected = increase(read, run.x[1, at], run.attn[1, at][None], 0, target)
    assert torch.allclose(attn[1], expected[0])
    direct = torch.stack([increase(read, run.x[2, at], row, 0, target) for row in head_position_vectors(v, run, 2, 0)])
    assert torch.allclose(head_position_scores(v, run, read, 2, 0, target), direct, atol=1e-5)


def test_query_scores(v, run, read):
    shares = query_layers(v, run, 0, 2, 5)
    assert shares.shape[1] == 1 + 2 * 2 + 1 and torch.allclose(shares.sum(1), torch.ones(len(shares)), atol=1e-4)
    scores = query_neurons(v, run, 1, 2, 3, imp=0.5)
    key = v.v_weight(2)[3]
    by_hand = run.coef[0, 1, 4] * (v.values(0)[:, 4] @ key) / (run.x[2, 1] @ key) * 0.5
    assert scores.shape == (2, v.n_ffn) and torch.allclose(scores[0, 4], by_hand, atol=1e-5)


def test_output_value_and_top_tokens(v, read):
    vector = torch.randn(1, v.d_model, generator=torch.Generator().manual_seed(1))
    value = (vector @ v.v_weight(1).T).unflatten(-1, (v.n_kv, v.d_head))
    by_head = sum(value[0, v.kv_head(j)] @ v.o_weight(1)[:, j * v.d_head : (j + 1) * v.d_head].T for j in range(v.n_heads))
    assert torch.allclose(output_value(v, 1, vector)[0], by_head, atol=1e-5)

    class Names:
        def decode(self, token):
            return f"t{token}"

    best = (read.unembed @ read.fold(vector[0])).argmax().item()
    assert top_tokens(read, Names(), vector, 3)[0][0] == f"t{best}"


# --- interventions -----------------------------------------------------------------------------------------------------------


def zeroed(v, what: str, layer: int, columns: slice | list[int]):
    """Set columns of a projection's weight to zero for good, on a model of its own."""
    module = v.o_proj(layer) if what == "head" else v.down_proj(layer)
    with torch.no_grad():
        if v.family == "gpt2":
            module.weight[columns] = 0
        else:
            module.weight[:, columns] = 0


@pytest.mark.parametrize("family", FAMILIES)
def test_hooks_equal_zeroed_columns_and_are_reversible(family):
    model, twin = tiny(family), tiny(family)
    v, w = view(model), view(twin)
    before = next_logprobs(v, PROMPTS)
    zeroed(w, "head", 1, slice(2 * v.d_head, 3 * v.d_head))
    with scale_heads(v, [(1, 2)]):
        assert torch.allclose(next_logprobs(v, PROMPTS), next_logprobs(w, PROMPTS), atol=1e-6)
    zeroed(w, "neuron", 2, [3, 30])
    with scale_heads(v, [(1, 2)]), scale_neurons(v, [(2, 3), (2, 30)]):
        assert torch.allclose(next_logprobs(v, PROMPTS), next_logprobs(w, PROMPTS), atol=1e-6)
    assert torch.equal(next_logprobs(v, PROMPTS), before)
    with pytest.raises(RuntimeError, match="stop"), scale_neurons(v, [(0, 0)]):
        raise RuntimeError("stop")
    assert torch.equal(next_logprobs(v, PROMPTS), before)  # an error inside leaves no hook behind


def test_head_scan_equals_one_head_at_a_time(v):
    read = lambda logp, group: logp[..., :7]  # noqa: E731
    found = head_scan(v, PROMPTS, read, max_positions=7, rows=12)
    assert found.shape == (v.n_layers * v.n_heads, len(PROMPTS), 7)
    for row in (0, 3, 6, 11):
        with scale_heads(v, [(row // v.n_heads, row % v.n_heads)]):
            assert torch.allclose(found[row], next_logprobs(v, PROMPTS)[:, :7], atol=1e-5)
    some = head_scan(v, PROMPTS, read, heads=[(2, 1), (0, 3)])
    assert torch.allclose(some, found[[2 * v.n_heads + 1, 3]], atol=1e-5)


def test_keep_and_prune(v):
    before = next_logprobs(v, PROMPTS)
    everything = [(layer, k) for layer in (1, 2) for k in range(v.n_ffn)]
    with keep_neurons(v, everything, [1, 2]):
        assert torch.allclose(next_logprobs(v, PROMPTS), before, atol=1e-6)
    some = [(1, 4), (1, 20), (2, 0)]
    with keep_neurons(v, some, [1, 2]):
        kept = next_logprobs(v, PROMPTS)
    assert not torch.allclose(kept, before, atol=1e-3)
    if v.family == "llama":
        with pruned(v, some, [1, 2]):
            assert v.down_proj(1).weight.shape[1] == 2
            assert torch.allclose(next_logprobs(v, PROMPTS), kept, atol=1e-5)
        assert torch.equal(next_logprobs(v, PROMPTS), before)
    else:
        with pytest.raises(CatalogError, match="gated"), pruned(v, some, [1, 2]):
            pass


def test_random_neurons_are_distinct_and_in_their_layers():
    found = random_neurons(30, [2, 5], 40, torch.Generator().manual_seed(0))
    assert len(set(found)) == 30 and {layer for layer, _ in found} == {2, 5} and max(k for _, k in found) < 40
    assert found == random_neurons(30, [2, 5], 40, torch.Generator().manual_seed(0))
