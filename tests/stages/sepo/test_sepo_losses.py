"""Losses, token scores and selection of `sepo`, with values worked out by hand; tokens outside a selection get no gradient at all."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_pairs import PLAIN, Letters, made, of_loss
from tiny_training import LORA, bits, tiny

from catalog.base.errors import CatalogError
from catalog.training import packing
from catalog.training import pairs as pairing
from catalog.training import train as training
from catalog.training.adapters import lora
from catalog.training.losses import frozen_reference
from stages.sepo import losses, method, selection


def t(*values):
    return torch.tensor(values, dtype=torch.float64)


def value(loss):
    return pytest.approx(loss.item(), abs=1e-6)


def test_sepo_by_hand():
    for scale, expected in ((1, 0.313262), (2, 0.126928), (2.1, 0.115520), (2.5, 0.078890)):
        assert value(losses.sepo(t(-1), t(-2), scale)) == expected
    assert value(losses.sepo(t(-1), t(-2), 1, 0.5)) == 0.474077
    win = t(-1.5).requires_grad_()
    for scale in (1.0, 2.1):
        loss = losses.sepo(win, t(-1.5), scale).sum()
        assert value(loss) == 0.693147
        assert torch.autograd.grad(loss, win)[0].item() == pytest.approx(-scale / 2)


def test_the_gradient_is_shared_evenly_by_the_selected_tokens():
    tokens = t(-0.5, -1, -1.5, -2).requires_grad_()  # the mean of the first three is -1
    loss = losses.sepo(tokens[:3].mean()[None], t(-2)).sum()
    gradient = torch.autograd.grad(loss, tokens)[0]
    assert gradient.tolist() == pytest.approx([-0.268941 / 3] * 3 + [0], abs=1e-6) and gradient[3] == 0


def test_the_other_losses_by_hand():
    assert value(losses.simpo(t(-1), t(-2), 2, 1)) == 0.313262
    assert value(losses.dpo(t(-4.2), t(-5.2), t(-5), t(-5), 0.1)) == 0.644397
    assert value(losses.ipo(t(-4), t(-5), t(-5), t(-5), 0.1)) == 16
    assert value(losses.rrhf(t(-1), t(-2))) == 0 and value(losses.rrhf(t(-2), t(-1))) == 1
    assert value(losses.log_odds(t(-1)) - losses.log_odds(t(-2))) == 1.313262
    assert value(losses.orpo(t(-1), t(-2), 1) - 1) == 0.238183
    assert value(losses.orpo(t(-3), t(-2), 0)) == 3  # the NLL is that of the chosen response's tokens, its mean
    assert torch.isfinite(losses.orpo(t(0), t(-2), 1)).all()
    # argument .2, D(y_w) 1, D(y_l) 3: TDPO1 sigmoid(.2 - .1 * 2) = .5; TDPO2 with alpha .5 sigmoid(.2 - .1) = .524979
    assert value(losses.tdpo1(t(0.2), t(1), t(3), 0.1)) == 0.693147
    assert value(losses.tdpo2(t(0.2), t(1), t(3), 0.1, 0.5)) == pytest.approx(-math.log(0.52497919), abs=1e-6)


def test_tdpo2_lets_no_gradient_through_the_chosen_divergence():
    for loss, moves in ((lambda a, b: losses.tdpo1(t(0), a, b, 0.1), True), (lambda a, b: losses.tdpo2(t(0), a, b, 0.1, 0.5), False)):
        chosen, rejected = t(1).requires_grad_(), t(2).requires_grad_()
        loss(chosen, rejected).sum().backward()
        assert rejected.grad is not None and (chosen.grad is not None) == moves


def test_divergence_by_hand():
    half, skew = torch.log(t(0.5, 0.5))[None], torch.log(t(0.25, 0.75))[None]
    assert losses.token_kl(half, skew).item() == pytest.approx(0.5 * math.log(2) + 0.5 * math.log(2 / 3))
    assert losses.token_kl(half, half).item() == 0
    never = torch.log(t(0.5, 0.5, 0))[None]
    assert losses.token_kl(never, torch.log(t(0.25, 0.75, 0))[None]).item() == pytest.approx(losses.token_kl(half, skew).item())
    assert losses.token_kl(never, torch.log(t(0.25, 0.25, 0.5))[None]).item() == pytest.approx(math.log(2))
    assert losses.token_kl(torch.log(t(0.25, 0.25, 0.5))[None], never).item() == math.inf


def test_divergence_where_a_probability_is_nothing():
    sure, half = torch.log(t(1.0, 0.0))[None], torch.log(t(0.5, 0.5))[None].requires_grad_()
    found = losses.token_kl(sure, half)
    assert found.item() == pytest.approx(math.log(2)) and losses.token_kl(sure, sure).item() == 0  # 0 log 0 = 0
    found.sum().backward()
    assert half.grad.tolist() == [[-1.0, 0.0]]
    assert losses.token_kl(half, sure).item() == math.inf  # it gives mass to what the policy rules out


def test_tokens_a_policy_is_unsure_of():
    log_probs = t(-0.1, -0.5, -2, -3, -1, -1)
    owner = torch.tensor([0, 0, 0, 0, 1, 1])
    assert log_probs[:4].exp().mean().item() == pytest.approx(0.424123, abs=1e-6)
    kept = losses.confident(log_probs, owner, 2)
    assert kept.tolist() == [False, False, True, True, False, False]  # equal probabilities: none lies below their mean
    assert log_probs[kept].mean() == -2.5
    assert selection.unsure(log_probs[:4].numpy()).tolist() == [2, 3] and selection.unsure([-1, -1]).tolist() == []


def test_scores_and_selection_by_hand():
    s = selection.scores([-1, -2, -0.5, -3, -1.5], [-1.5, -1, -0.5, -2, -2.5])
    assert s.tolist() == [0.5, -1, 0, -1, 1]
    assert selection.highest(s, 0.4).tolist() == [4, 0] and selection.lowest(s, 0.4).tolist() == [1, 3]
    for share in (0.3, 0.1):
        assert selection.highest(s, share).tolist() == [4] and selection.lowest(s, share).tolist() == [1]
    assert [selection.count(10, 0.3), selection.count(8, 0.1), selection.count(5, 1.0)] == [3, 1, 5]
    drawn = selection.random_places(10, 0.3, [0, 1, 2])
    assert len(set(drawn.tolist())) == 3 and drawn.tolist() == selection.random_places(10, 0.3, [0, 1, 2]).tolist()
    assert any(drawn.tolist() != selection.random_places(10, 0.3, [0, 1, n]).tolist() for n in range(3, 8))


def test_a_score_that_is_no_number_is_refused():
    wrong = np.array([0.5, np.nan, 1.0])
    for use in (selection.highest, selection.lowest, lambda score, share: selection.reward_share(score, np.array([share]))):
        with pytest.raises(CatalogError, match="1 of 3 token scores are not numbers"):
            use(wrong, 0.3)


def test_tokens_that_carry_most_of_the_reward_by_hand():
    rows = np.array([[3, -2, 1, 0], [1, 1, 1, 1], [-1, 0, -2, -3], [-5, 8, 1, 1]])  # of 4, 4, 0 and 10: 3.2, 3.2, none and 8
    found = selection.needed(rows, 0.8)
    assert found[[0, 1, 3]].tolist() == [0.5, 1.0, 0.25] and np.isnan(found[2])


def test_reward_share_and_overlap_by_hand():
    shares = np.array([0, 0.25, 0.5, 1])
    assert selection.reward_share(np.array([3, -2, 1, 0]), shares).tolist() == [0, 0.75, 1, 1]
    assert np.isnan(selection.reward_share(np.array([-1, 0]), shares)).all()
    assert selection.jaccard([1, 2, 3], [2, 3, 4]) == 0.5 and selection.jaccard([], []) == 1


# --- pairs of token ids ------------------------------------------------------------------------------------------------------


def test_every_response_token_is_at_its_own_absolute_position():
    pair = made([([9, 8, 7], "abcd", "efghi")])[0]
    assert method.response_positions(pair, "chosen").tolist() == [3, 4, 5, 6, 7]  # the first one too, and the end token
    assert [pair["chosen_input_ids"][at] for at in range(3, 8)] == [2, 3, 4, 5, 1]
    given = [{"chosen": np.array([0, 5, 1, 9, 2]), "rejected": np.arange(6)}]
    (chosen, rejected), *_ = method.positions_of([pair], given, "oracle", 0.4, 0.4, 0)
    assert chosen.tolist() == [4, 6] and rejected.tolist() == [3, 4]


def test_pairs_that_are_left_out_have_a_reason_and_long_ones_end_with_the_end_token():
    rows = [([9] * 11, "abcd", "efgh"), ([9], "a", "efgh"), ([9], "abcdefgh", "efgh"), ([9] * 6, "abcd", "efgh")]
    found, reasons = pairing.encode_pairs(Letters(), rows, max_prompt=10, min_response=2, max_length=6)
    assert [pair is None for pair in found] == [True, True, False, True]
    assert reasons == ["prompt of more than 10 tokens", "response of fewer than 2 tokens", None, "no room for a response in 6 tokens"]
    assert found[2]["chosen_input_ids"] == [9, 2, 3, 4, 5, 1] and found[2]["chosen_labels"] == [-100, 2, 3, 4, 5, 1]
    assert pairing.encode_pairs(Letters(), [], max_prompt=1, min_response=1, max_length=1) == ([], [])


def test_a_pair_that_is_cut_to_the_same_tokens_is_left_out():
    rows = [([9] * 5, "samestartgood", "samestartbad"), ([9] * 5, "other", "same")]
    found, reasons = pairing.encode_pairs(Letters(), rows, max_prompt=10, min_response=2, max_length=12)
    assert found[0] is None and reasons == ["responses alike in the first 12 tokens of prompt and response", None]
    assert found[1]["chosen_input_ids"] != found[1]["rejected_input_ids"]
    found, reasons = pairing.encode_pairs(Letters(), rows, max_prompt=10, min_response=2, max_length=16)
    assert None not in found and reasons == [None, None]


def test_a_selection_must_lie_in_the_response_and_not_be_empty():
    with pytest.raises(CatalogError, match="No token of the rejected response of pair 0 is selected"):
        pairing.select(made()[:1], [([3], [])])
    with pytest.raises(CatalogError, match="chosen response of pair 0 is no response token"):
        pairing.select(made()[:1], [([2], [3])])
    with pytest.raises(CatalogError, match="no score for each token"):
        method.positions_of(made()[:1], [{"chosen": np.zeros(2), "rejected": np.zeros(5)}], "oracle", 0.3, 0.3, 0)


def test_unequal_vocabularies_stop_before_scoring():
    pairing.require_one_vocabulary({"oracle": Letters(), "policy": Letters()})
    with pytest.raises(CatalogError, match="policy and oracle have different vocabularies"):
        pairing.require_one_vocabulary({"oracle": Letters(), "policy": Letters(90)})


def batch_of(pairs, width=0):
    return pairing.pair_collate(width)(pairs)


def scored(pairs):
    rng = np.random.default_rng(3)
    return [{side: rng.normal(size=len(method.response_positions(pair, side))) for side in pairing.SIDES} for pair in pairs]


@pytest.mark.parametrize("width", [0, 64])
def test_sums_and_means_of_packed_pairs_equal_those_of_each_text_alone(width):
    model = tiny()
    batch = batch_of(made(), width)
    log_probs, owner = training.label_log_probs(model, batch)
    sums, means = pairing.side_sums(log_probs, owner, 3), pairing.side_means(log_probs, owner, 3)
    for side in (0, 1):
        for i, pair in enumerate(made()):
            ids = torch.tensor(pair[f"{pairing.SIDES[side]}_input_ids"])[None]
            logp = model(ids).logits.log_softmax(-1)[0, :-1].gather(1, ids[0, 1:, None])[:, 0]
            where = method.response_positions(pair, pairing.SIDES[side]) - 1
            assert torch.allclose(sums[side][i], logp[where].sum(), atol=1e-5)
            assert torch.allclose(means[side][i], logp[where].mean(), atol=1e-5)


def test_two_responses_behind_one_prompt_by_hand():
    rows = [([9, 8], "ab", "cde"), ([7], "ab", "acb")]  # the second pair's responses begin alike
    batch = pairing.branched(made(rows))
    assert batch["input_ids"].tolist() == [[9, 8, 2, 3, 1, 4, 5, 6, 1], [7, 2, 3, 1, 2, 4, 3, 1, 0]]
    assert batch["position_ids"][:, :8].tolist() == [[0, 1, 2, 3, 4, 2, 3, 4], [0, 1, 2, 3, 1, 2, 3, 4]]
    assert batch["example"].tolist() == [[0, 0, 0, 0, 0, 2, 2, 2, 2], [1, 1, 1, 1, 3, 3, 3, 3, -1]]
    assert batch["before"].tolist() == [[0, 0, 1, 2, 3, 1, 5, 6, 7], [0, 0, 1, 2, 0, 4, 5, 6, 7]]
    assert batch["labels"][0].tolist() == [-100, -100, 2, 3, 1, 4, 5, 6, 1]
    seen = batch["attention_mask"][:, 0]
    assert np.flatnonzero(seen[0, 6]).tolist() == [0, 1, 5, 6] and np.flatnonzero(seen[0, 4]).tolist() == [0, 1, 2, 3, 4]
    assert np.flatnonzero(seen[1, 8]).tolist() == [8]
    chosen = pairing.select(made(rows)[1:], [([2], [3])])  # labels behind a common token: that one is shared as well
    # … and what comes after the last label of either is left out.
    assert pairing.branched(chosen)["input_ids"].tolist() == [[7, 2, 3, 4, 3]]
    lone = pairing.branched(made([([], "ab", "cd")]))  # no prompt: nothing stands before either first token
    assert lone["labels"].tolist() == [[-100, 3, 1, -100, 5, 1]]


@pytest.mark.parametrize("name", method.LOSSES)
def test_a_shared_prompt_changes_no_loss_and_no_gradient(name):
    model, pairs = tiny(), made()
    m = of_loss(name, beta=0.5) if name != "sepo" else PLAIN
    pairs = method.labels_of(m, pairs, scored(pairs), 0)
    with lora(model, replace(LORA, lora_layers=(), lora_dropout=0.0)) as adapted:
        with torch.no_grad():
            for key, parameter in adapted.named_parameters():
                if "lora_B" in key:
                    parameter.copy_(torch.linspace(-0.2, 0.2, parameter.numel()).view_as(parameter))
        found = []
        for collate in (pairing.pair_collate(), pairing.pair_collate(64), pairing.pair_collate(shared=True)):
            adapted.zero_grad()
            loss = method.per_pair(m, adapted, collate(pairs))
            loss.mean().backward()
            found.append((loss, [p.grad.clone() for p in adapted.parameters() if p.requires_grad]))
    for loss, gradients in found[1:]:
        assert torch.allclose(loss, found[0][0], atol=1e-5)
        assert all(torch.allclose(a, b, atol=1e-5 * max(1.0, b.abs().max().item())) for a, b in zip(gradients, found[0][1], strict=True))


def test_tokens_outside_the_selection_have_exactly_no_gradient():
    pairs = made()
    chosen = method.labels_of(PLAIN, pairs, scored(pairs), 0)
    model = tiny()
    seen = []

    def watched(module, inputs, output):
        output.retain_grad()
        seen.append(output)

    whole = batch_of(pairs)
    handle = model.lm_head.register_forward_hook(watched)
    # Logits at every position, so that those which are not selected could have a gradient if the loss read them.
    rows, length = whole["labels"].shape
    logits = model(input_ids=whole["input_ids"], position_ids=whole["position_ids"]).logits
    handle.remove()
    uncut = [{key: pair[f"{side}_{key}"] for key in ("input_ids", "labels")} for side in pairing.SIDES for pair in chosen]
    labels = torch.from_numpy(packing.pack(uncut, 0)["labels"])
    kept = labels != -100
    before = torch.nn.functional.pad(kept[:, 1:], (0, 1))
    logp = -torch.nn.functional.cross_entropy(logits[before], labels[kept], reduction="none")
    win, lose = pairing.side_means(logp, whole["example"][kept], 3)
    loss = losses.sepo(win, lose).mean()
    loss.backward()
    touched = seen[0].grad.abs().sum(-1) > 0
    assert torch.equal(touched, before) and int(touched.sum()) == sum(selection.count(n, 0.4) for n in (5, 5, 5, 5, 6, 7))
    # The method itself never computes the others: the same loss, from fewer logits.
    own = method.per_pair(PLAIN, model, batch_of(chosen)).mean()
    assert own.item() == pytest.approx(loss.item(), abs=1e-6)
    # And to disturb what predicts the other tokens changes neither the loss nor any gradient of the selected ones.
    disturbed = torch.where(before[..., None], logits, logits + torch.randn(logits.shape, generator=torch.Generator().manual_seed(0)))
    again = -torch.nn.functional.cross_entropy(disturbed[before], labels[kept], reduction="none")
    assert losses.sepo(*pairing.side_means(again, whole["example"][kept], 3)).mean().item() == pytest.approx(loss.item(), abs=1e-7)
    assert rows == 6 and length == 9


def test_every_token_selected_is_simpo():
    model, pairs = tiny(), made()
    every = replace(PLAIN, chosen_share=1.0, rejected_share=1.0, beta=2.0, gamma=0.3)
    simpo = replace(PLAIN, loss="simpo", selector="all", beta=2.0, gamma=0.3)
    batches = [batch_of(method.labels_of(m, pairs, scored(pairs), 0)) for m in (every, simpo)]
    # Selected tokens against all of them: the same numbers in another computation. One token of nine lost would move them by a tenth.
    torch.testing.assert_close(method.per_pair(every, model, batches[0]), method.per_pair(simpo, model, batches[1]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", method.LOSSES)
def test_each_loss_falls_on_a_tiny_model_and_leaves_the_base_as_it_was(name):
    model, pairs = tiny(), made() * 3
    before = bits(model.state_dict())
    m = of_loss(name, beta=0.5 if "ipo" in name else 1.0)
    method.check(m)
    settings = replace(LORA, steps=20, batch_size=9, lora_layers=(), lora_dropout=0.0, log_steps=1)
    with lora(model, settings) as adapted:
        run = training.train(adapted, pairs, settings, loss_fn=method.loss_of(m), collate=pairing.pair_collate())
    curve = [point["loss"] for point in run.history]
    assert curve[-1] < curve[0] - 0.05
    if name in ("dpo", "tdpo1", "tdpo2"):
        assert curve[0] == pytest.approx(math.log(2), abs=1e-5)  # policy and reference are one at the start
    assert bits(model.state_dict()) == before


@pytest.mark.parametrize("name", ["dpo", "ipo_sum", "ipo_mean"])
def test_a_cached_reference_gives_the_loss_of_a_live_one(name):
    model, pairs = tiny(), made()
    m = of_loss(name)
    with lora(model, replace(LORA, lora_dropout=0.0)) as adapted, torch.no_grad():
        for key, parameter in adapted.named_parameters():
            if "lora_B" in key:
                parameter.fill_(0.1)
        live = method.per_pair(m, adapted, batch_of(pairs))
        cached = []
        for pair in pairs:
            kept = dict(pair)
            for side in pairing.SIDES:
                ids = torch.tensor(pair[f"{side}_input_ids"])[None]
                with frozen_reference(adapted):
                    logp = adapted(ids).logits.log_softmax(-1)[0, :-1].gather(1, ids[0, 1:, None])[:, 0]
                kept[f"{side}_reference"] = [0.0, *logp.tolist()]
            cached.append(kept)
        m = replace(m, reference="cached")
        assert torch.allclose(method.per_pair(m, adapted, batch_of(cached)), live, atol=1e-5)
    assert not torch.allclose(live, torch.full((3,), math.log(2)), atol=1e-3) or name != "dpo"


def test_a_pair_without_an_unsure_token_costs_confpo_nothing():
    m = of_loss("confpo")
    log_probs, owner = t(-1, -1, -0.1, -3).requires_grad_(), torch.tensor([0, 0, 1, 1])
    loss = method._confpo(m, log_probs, owner, 1)
    assert loss.tolist() == [0]
    loss.sum().backward()
    assert log_probs.grad.abs().sum() == 0


def test_methods_that_cannot_be():
    for change, said in (
        ({"loss": "ppo"}, "has the loss 'ppo'"),
        ({"selector": "best"}, "has the selector 'best'"),
        ({"loss": "simpo"}, "only the loss sepo is made for"),
        ({"reference": "live"}, "its loss needs none"),
        ({"loss": "tdpo1", "selector": "all", "reference": "cached"}, "its loss needs live"),
        ({"chosen_share": 0.0}, "above 0 and at most 1"),
    ):
        with pytest.raises(CatalogError, match=said):
            method.check(replace(PLAIN, **change))
