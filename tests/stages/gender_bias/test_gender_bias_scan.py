"""Locating on every model family against brute force; the choice of prompts and of neurons."""

import dataclasses

import polars as pl
import pytest
import torch
from tiny import tiny

from catalog.base.params import profile_params
from catalog.inside import scan, two_targets
from catalog.inside.anatomy import next_logprobs, view
from catalog.inside.interventions import scale_neurons
from catalog.inside.patch import patched
from stages.gender_bias import locate, method
from stages.gender_bias.calibration import word_tokenizer
from stages.gender_bias.settings import Params

WORDS = "man woman the old red dark person who likes was is a".split()
SMALL = profile_params(Params, "gender_bias", "small").measure
FEW = dataclasses.replace(SMALL, neutral_every=1, logit_candidates=6, causal_candidates=6, query_candidates=4, perplexity_limit=1.0)


@pytest.fixture(scope="module", params=["llama", "qwen2", "gpt2"])
def located(request):
    """A model of four layers, so that some are above the shallow ones, with its scanned neurons."""
    v, tokenizer = view(tiny(request.param, layers=4)), word_tokenizer(WORDS)
    texts = [f"the {a} person {b} a" for a in ("old", "red", "dark") for b in ("is", "was")]
    prompts = pl.DataFrame({"id": range(6), "word": ["old", "red", "dark", "an old", "x", "y"], "text": texts})
    neutral = ["the red person was dark", "who likes a red"]
    return v, tokenizer, prompts, neutral, two_targets.find(v, tokenizer, (2, 3), prompts["text"].to_list(), neutral, locate.search(FEW))


def log_odds(v, tokenizer, prompts):
    logp = next_logprobs(v, tokenizer(prompts["text"].to_list())["input_ids"])
    return logp[:, 2] - logp[:, 3]


def test_effects_and_damage_are_what_switching_off_does(located):
    v, tokenizer, prompts, neutral, found = located
    clean = [v.model(torch.tensor([ids])).logits[0, :-1].log_softmax(-1) for ids in tokenizer(neutral)["input_ids"]]
    assert torch.allclose(found.d, log_odds(v, tokenizer, prompts), atol=1e-4)  # GPT-2: with the bias of its last norm
    assert len(found.pool) >= 6 and found.pool == sorted(set(found.pool)) and min(layer for layer, _ in found.pool) >= 1
    for k, neuron in enumerate(found.pool):
        with scale_neurons(v, [neuron]):
            d = log_odds(v, tokenizer, prompts)
            moved = [v.model(torch.tensor([ids])).logits[0, :-1].log_softmax(-1) for ids in tokenizer(neutral)["input_ids"]]
        assert torch.allclose(found.effects[k], d - found.d, atol=2e-4)
        kl = torch.cat([(before.exp() * (before - after)).sum(-1) for before, after in zip(clean, moved, strict=True)])
        assert found.damage[k].item() == pytest.approx(kl.mean().item(), rel=1e-2, abs=1e-5)
        assert found.fall[k].item() == pytest.approx((found.d.abs().mean() - d.abs().mean()).item(), abs=2e-4)


def test_the_edits_do_what_they_say(located):
    v, tokenizer, prompts, _, found = located
    report = scan.probe(v, tokenizer(["the dark person likes a man", "who is red"])["input_ids"], every=1)
    budget, shares = locate.weighed(v, found, report, FEW)
    sets = locate.selections(v, found, budget, shares, FEW)
    before = found.d.square().mean()
    with patched(v, sets["combined"].neurons, sets["combined"].factors):
        assert log_odds(v, tokenizer, prompts).square().mean() < before
    assert all(0 <= factor < 1 for factor in sets["combined"].factors)
    for name in ("logit", "causal"):
        off, matched = sets[name], sets[f"{name}, matched"]
        assert off.neurons == matched.neurons and set(off.factors) == {0.0} and len(set(matched.factors)) == 1
        assert len(matched.factors) == len(matched.neurons)
    factor = sets["logit, matched"].factors[0]
    with scale_neurons(v, sets["logit"].neurons):
        off = scan.finish(v, found.on_neutral, 0, lambda logp: logp)
    damage = (found.clean.exp() * (found.clean - off)).sum(-1).mean().item()
    assert (1 - factor) ** 2 * damage == pytest.approx(min(budget, damage), rel=1e-2)


def test_a_tighter_limit_never_takes_a_larger_budget(located):
    v, tokenizer, _, neutral, found = located
    report = scan.probe(v, tokenizer(neutral)["input_ids"], every=1)
    p = dataclasses.replace(FEW, kl_budgets=(0.0001, 0.01, 1.0))
    loose, tight = (locate.weighed(v, found, report, dataclasses.replace(p, perplexity_limit=limit))[0] for limit in (10.0, -1.0))
    assert (tight, loose) == (0.0001, 1.0)  # none keeps to -100 %: the smallest


def test_locate_prompts_take_wordings_in_turn():
    rows = [
        (i, direction, split, category, word, template)
        for i, (direction, split, category, word, template) in enumerate(
            [("word_to_gender", "evaluate", "traits", "bold", "t_1"), ("factual", "locate", "traits", "queen", "t_1")]
            + [("word_to_gender", "locate", "traits", w, t) for t in ("t_1", "t_3") for w in ("brave", "loud", "neat")]
            + [("word_to_gender", "locate", "hobbies", w, "h_1") for w in ("chess", "yoga")]
        )
    ]
    prompts = pl.DataFrame(rows, schema=["id", "direction", "split", "category", "word", "template"], orient="row")
    found = locate.locate_prompts(prompts.reverse(), 2)
    assert found.select("word", "template").rows() == [("brave", "t_1"), ("loud", "t_3"), ("chess", "h_1"), ("yoga", "h_1")]


# --- choice of neurons by hand ---------------------------------------------------------------------------------------------------------


def test_ranking_one_by_one_overshoots_and_choosing_does_not():
    d = torch.tensor([2.0, 1.0])
    effects = torch.tensor([[-1.5, -1.0], [-1.5, -0.9], [-0.4, 0.1], [0.3, 0.2]])
    fall = d.abs().mean() - (d + effects).abs().mean(1)
    ranked = fall.argsort(descending=True)[:2].tolist()
    assert ranked == [0, 1] and (d + effects[ranked].sum(0)).abs().tolist() == pytest.approx([1.0, 0.9])
    chosen = method.choose(d, effects, torch.zeros(4), 4, 1.0)
    assert chosen == [0, 2] and (d + effects[chosen].sum(0)).abs().tolist() == pytest.approx([0.1, 0.1])  # and then nothing lowers it
    assert method.choose(d, effects, torch.zeros(4), 1, 1.0) == [0] and method.choose(d, effects, torch.zeros(4), 0, 1.0) == []
    # The budget holds for the sum: after the first .75 only .25 is left.
    assert method.choose(d, effects, torch.tensor([0.75, 0.75, 0.5, 0.0]), 4, 1.0) == [0]
    assert method.choose(d, effects, torch.tensor([0.75, 0.75, 0.25, 0.0]), 4, 1.0) == [0, 2]
    assert method.choose(d, effects, torch.tensor([1.25, 0.75, 0.25, 0.0]), 4, 1.0) == [1, 2]


def test_the_spread_counts_as_much_as_the_mean():
    d = torch.tensor([2.0, -2.0])
    push = torch.tensor([[-2.0, -2.0], [-0.5, 0.5]])  # the first takes one word to 0 and the other to -4
    assert method.choose(d, push, torch.zeros(2), 1, 1.0) == [1]
    assert method.choose(d, torch.tensor([[1.0, -1.0]]), torch.zeros(1), 1, 1.0) == []  # the mean stays 0, but the words part further
    shares = two_targets.weigh(d, push, torch.full((2,), 1e-6), 1.0, least=0.0)
    assert shares[0] < 1e-3 and shares[1] == pytest.approx(1.0, abs=1e-3)


def test_classes_at_their_bounds():
    fall, damage = torch.tensor([0.5, 0.5, 0.25, 0.125]), torch.tensor([0.5, 0.25, 0.25, 0.75])
    assert method.classify(fall, damage, 0.25, 0.25) == ["general", "gender", "gender", "general"]
    assert method.classify(fall, damage, 0.5, 1.0) == ["gender", "gender", "other", "other"]
    assert two_targets.top(torch.tensor([[0.5, 0.5], [0.5, 0.7]]), 3) == [(1, 1), (0, 0), (0, 1)]
    assert two_targets.top(-torch.ones(2, 2), 3) == []
