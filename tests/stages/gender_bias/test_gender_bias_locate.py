"""Locating neurons, weighing the edit and the hierarchy experiment, end to end on a tiny random model."""

import dataclasses

import pytest
import torch
from tiny import tiny

from catalog.base.params import profile_params
from catalog.inside.anatomy import view
from catalog.inside.interventions import scale_neurons
from catalog.inside.scan import finish, probe
from catalog.inside.two_targets import find
from stages.gender_bias.locate import cards, hierarchy, part, search, selections, weighed
from stages.gender_bias.settings import Params

TEXTS = [f"ab{chr(97 + i)}xy" for i in range(24)]


class Letters:
    """A tokenizer of letters."""

    def __call__(self, text, add_special_tokens=True):
        ids = [[3 + ord(c) % 50 for c in t if c != " "] for t in ([text] if isinstance(text, str) else text)]
        return {"input_ids": ids[0] if isinstance(text, str) else ids}

    def decode(self, token):
        return str(token)


@pytest.fixture(scope="module")
def located():
    p = dataclasses.replace(profile_params(Params, "gender_bias", "small").measure, neutral_every=1, perplexity_limit=1.0)
    v, tokenizer = view(tiny("llama")), Letters()
    found = find(v, tokenizer, (11, 12), TEXTS, ["qwertyuiop", "asdfghjkl"], search(p))
    report = probe(v, tokenizer(["zxcvbnmqw"])["input_ids"], every=1)
    return v, tokenizer, p, found, report


def test_the_scan_measures_what_switching_off_does(located):
    v, _, p, found, _ = located
    depth = round(p.shallow * v.n_layers)
    assert all(layer >= depth for layer, _ in found.pool) and all(layer < depth for layer, _ in found.early)
    assert found.effects.shape == (len(found.pool), 24) and (found.damage >= -1e-6).all()


def test_the_combined_edit_lowers_the_bias_within_its_budget(located):
    v, _, p, found, report = located
    budget, shares = weighed(v, found, report, p)
    assert float((shares.square() * found.damage).sum()) <= budget * 1.01 and budget in p.kl_budgets
    sets = selections(v, found, budget, shares, p)
    size = len(sets["combined"].neurons)
    assert all(len(sets[name].neurons) == size for name in ("logit", "causal", "logit, matched", "causal, matched"))
    assert (found.d + shares @ found.effects).abs().mean() < found.d.abs().mean()
    few = part(v, found, shares, 3, budget, p)
    assert len(few.neurons) <= 3 and set(few.neurons) <= set(sets["combined"].neurons)
    table = cards(found, [f"w{i}" for i in range(24)], sets, p, "m")
    assert len(table) == len(found.pool) and table["combined_rank"].drop_nulls().sort().to_list() == list(range(1, size + 1))


def test_hierarchy_compares_groups_of_one_size(located):
    v, tokenizer, p, found, report = located
    nll = -finish(v, report, 0, lambda logp: logp).gather(1, report.after[:, None])[:, 0].double()
    table = hierarchy(
        v, tokenizer, found, TEXTS, report, nll, dataclasses.replace(p, general_kl=9.0), "m", torch.Generator().manual_seed(0)
    )
    assert table["group"].to_list() == ["general", "gender", "random"] and set(table["n"]) == {p.hierarchy_neurons}
    assert all(len(row) == 12 and 0 <= min(row) and max(row) <= 1 for row in table["changed"]) and max(table["changed"][0]) > 0
    assert table["nll_before"].n_unique() == 1 and table["tokens"].to_list() == [[8]] * 3
    assert table["nll_before"][0].to_list() == pytest.approx([float(nll.sum())])
    chosen = [tuple(map(int, name.split("_"))) for name in table["neurons"][0]]
    with scale_neurons(v, chosen):
        off = -finish(v, report, 0, lambda logp: logp).gather(1, report.after[:, None])[:, 0].double()
    assert table["nll"][0].to_list() == pytest.approx([float(off.sum())], rel=1e-5)


@pytest.mark.parametrize("profile", ["small", "full"])
def test_the_search_is_the_profiles_own(profile):
    p = profile_params(Params, "gender_bias", profile).measure
    how = search(p)
    assert (how.logit_candidates, how.causal_candidates, how.query_candidates) == (
        p.logit_candidates,
        p.causal_candidates,
        p.query_candidates,
    )
    assert (how.query_prompts, how.scan_paragraphs, how.neutral_every) == (p.query_prompts, p.scan_paragraphs, p.neutral_every)
    assert (how.shallow, how.early_candidates) == (p.shallow, p.general_candidates)
