"""Maps by other methods on a LLaVA of which the answer depends on one patch alone, and masking by hand."""

import numpy as np
import pytest
import torch
from tiny_llava import llava, picture

from catalog.vision import build
from catalog.vision.features import features
from stages.llava_vqa import looking, rivals

pytestmark = pytest.mark.usefixtures("one_thread")
TEXT = "USER: <image>\nWhat?\nASSISTANT:"


@pytest.fixture(scope="module")
def asked():
    model, processor = llava()
    model.float().requires_grad_(False)
    images = [picture(seed) for seed in range(4)]
    with torch.inference_mode():
        places = model.model.multi_modal_projector(features(model, processor, images, torch.float32))
    seen = looking.look(model, processor, images[0], TEXT)
    return model, processor, images, places, rivals.prompt(model, seen.ids, seen.image, places[0], seen.target), seen


def test_the_prompt_says_what_the_model_says(asked):
    model, _, _, places, prompt, seen = asked
    assert rivals.said(model, prompt, places[:1]).item() == pytest.approx(seen.logprob, abs=1e-4)


def test_masking_is_one_pass_more_than_patches_and_by_hand(asked, monkeypatch):
    model, processor, images, places, prompt, seen = asked
    mean = places.flatten(0, 1).mean(0)
    rows = []
    own = rivals.said
    monkeypatch.setattr(rivals, "said", lambda model, asked, part: rows.append(len(part)) or own(model, asked, part))
    found = rivals.causal(model, prompt, mean)
    assert sum(rows) == 10 and found.shape == (9,)
    other = places[0].clone()
    other[4] = mean
    with torch.inference_mode():
        ids = build.inputs(processor, [images[0]], [TEXT])["input_ids"][0]
        embedded = model.get_input_embeddings()(ids).clone()
        embedded[seen.image] = other
        out = model.lm_head(model.model.language_model(inputs_embeds=embedded[None]).last_hidden_state[0, -1]).log_softmax(-1)
    assert found[4].item() == pytest.approx(seen.logprob - out[seen.target].item(), abs=1e-4)


def test_all_orders_end_where_everything_is_masked(asked):
    model, _, _, places, prompt, seen = asked
    mean, shares = places.flatten(0, 1).mean(0), (0.0, 0.5, 1.0)
    up, down = (rivals.curve(model, prompt, mean, values, shares, False) for values in (np.arange(9.0), -np.arange(9.0)))
    assert up[0].item() == pytest.approx(np.exp(seen.logprob), abs=1e-5) and torch.allclose(up[[0, 2]], down[[0, 2]], atol=1e-6)
    shown = rivals.curve(model, prompt, mean, np.arange(9.0), shares, True)
    assert torch.allclose(shown[[2, 0]], up[[0, 2]], atol=1e-6) and abs(up[1] - down[1]) > 1e-7


def test_gradients_agree_with_small_steps(asked):
    model, _, _, places, prompt, _ = asked
    mean = places.flatten(0, 1).mean(0)
    found = rivals.input_x_gradient(*rivals.gradient(model, prompt), mean)
    step = 1e-2
    for patch in (0, 5):
        moved = places[0].clone()
        moved[patch] += step * (places[0, patch] - mean)
        less = places[0].clone()
        less[patch] -= step * (places[0, patch] - mean)
        with torch.inference_mode():
            up, down = rivals.said(model, prompt, torch.stack([moved, less]))
        assert found[patch].item() == pytest.approx((up - down).item() / (2 * step), rel=0.05, abs=1e-4)


def test_integrated_gradients_sum_to_what_the_image_brings(asked):
    model, _, _, places, prompt, seen = asked
    mean = places.flatten(0, 1).mean(0)
    found = rivals.integrated_gradients(model, prompt, mean, 32)
    with torch.inference_mode():
        bare = rivals.said(model, prompt, mean.expand_as(places[:1])).item()
    assert found.sum().item() == pytest.approx(seen.logprob - bare, abs=2e-3)


def test_rollout_is_a_share_of_attention_and_leaves_the_model_as_it_was(asked):
    model, _, _, _, prompt, _ = asked
    kind = model.model.language_model.config._attn_implementation
    found = rivals.rollout(model, prompt)
    assert (found > 0).all() and found.sum() < 1 and model.model.language_model.config._attn_implementation == kind


def test_the_centre_and_random_numbers():
    found = rivals.centre((3, 3)).reshape(3, 3)
    assert found.argmax() == 4 and found[0, 0] == found[2, 2] == pytest.approx(-(2**0.5))
    one = rivals.arbitrary("a", 9, 0)
    assert torch.equal(one, rivals.arbitrary("a", 9, 0)) and not torch.equal(one, rivals.arbitrary("b", 9, 0))


def test_a_planted_patch_is_found_by_masking_gradients_and_integrated_gradients(asked):
    """The token's log-probability is made a function of one patch: others must have no part in it."""
    model, _, _, places, prompt, _ = asked
    mean = places.flatten(0, 1).mean(0)
    planted = lambda model, asked, part: (part[:, 7] - mean).sum(-1)  # noqa: E731
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rivals, "said", planted)
        maps = [
            rivals.causal(model, prompt, mean),
            rivals.input_x_gradient(*rivals.gradient(model, prompt), mean),
            rivals.integrated_gradients(model, prompt, mean, 4),
        ]
    for found in maps:
        assert found.abs().argmax() == 7 and found[:7].abs().max() < 1e-5
        assert found[7].item() == pytest.approx((places[0, 7] - mean).sum().item(), rel=1e-4)
