"""Where a LLaVA looks: every fast score against its definition, on random stock models of two classes."""

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_llava import llava as narrow
from tiny_looking import noise, processor, seeing
from transformers import AutoModelForImageTextToText, LlavaConfig, LlavaProcessor, SiglipVisionConfig
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from catalog.base.errors import CatalogError
from catalog.inside.attribution import head_position_vectors, head_vectors, increase
from catalog.vision import build
from stages.llava_vqa.looking import (
    attention_map,
    best_head,
    direct_map,
    head_map,
    language,
    look,
    look_all,
    positive_share,
    where_of,
)

pytestmark = pytest.mark.usefixtures("one_thread")
PROMPT = "USER: <image>\nWhat?\nASSISTANT:"
MODELS = [("llava", "llama"), ("llava", "llama_mha"), ("llava", "qwen2"), ("vip", "llama")]


@torch.inference_mode()
def eager(model, processor, image, prompt):
    """(attention weights (L, H, T) of the last position, logits (V,)) as the model itself gives them."""
    model.set_attn_implementation("eager")
    out = model(**build.inputs(processor, [image], [prompt]), output_attentions=True)
    model.set_attn_implementation("sdpa")
    return torch.stack([layer[0, :, -1] for layer in out.attentions]), out.logits[0, -1].float()


@pytest.mark.parametrize(("kind", "family"), MODELS)
@torch.inference_mode()
def test_attention_probability_and_parts_are_the_models_own(kind, family):
    model, process = seeing(kind, family)
    found = look(model, process, noise(), PROMPT)
    weights, logits = eager(model, process, noise(), PROMPT)
    assert torch.allclose(found.attention, weights, atol=1e-5)
    assert found.logprob == pytest.approx(float(logits.log_softmax(-1).max()), abs=1e-4)
    assert found.top == found.target == int(logits.argmax())
    v, run = found.view, found.trace
    for layer in range(v.n_layers):
        own = head_vectors(v, run, layer)[0]
        assert torch.allclose(head_position_vectors(v, run, layer, 0).sum(1), own, atol=1e-5)  # positions sum to heads
        assert torch.allclose(found.coefficients(layer).sum(1).flatten(), run.heads[layer, 0], atol=1e-5)
        block = v.attention(layer)
        bias = 0 if block.o_proj.bias is None else block.o_proj.bias
        assert torch.allclose(own.sum(0) + bias, block.o_proj(run.heads[layer, 0]), atol=1e-5)  # heads sum to the layer


@pytest.mark.parametrize(("kind", "family"), MODELS)
@pytest.mark.parametrize("target", [None, 5])
def test_fast_scores_are_the_definition(kind, family, target):
    model, process = seeing(kind, family)
    found = look(model, process, noise(), PROMPT, target)
    again = look(model, process, noise(), PROMPT, target)  # which has not computed all positions
    v, run, read = found.view, found.trace, found.lens
    for layer in range(v.n_layers):
        base = run.x[layer, 0]
        heads = increase(read, base, head_vectors(v, run, layer)[0], 0, found.target)
        assert torch.allclose(found.heads[layer], heads, atol=1e-5)
        direct = torch.stack([increase(read, base, row, 0, found.target) for row in head_position_vectors(v, run, layer, 0)])
        assert torch.allclose(found.positions[layer], direct, atol=1e-5)
        for head in range(v.n_heads):
            assert torch.allclose(again.position_scores(layer, head), direct[head], atol=1e-5)
    assert "positions" not in again.__dict__


@pytest.mark.parametrize(("kind", "family"), MODELS)
@pytest.mark.parametrize("against", [None, 9])
@torch.inference_mode()
def test_the_direct_effect_is_its_definition_in_double_precision(kind, family, against):
    """The vectors are taken out of the model's own final residual, and its own norm and unembedding give the probabilities."""
    model, process = seeing(kind, family)
    found = look(model, process, noise(), PROMPT, 5, against)
    double, _ = seeing(kind, family, dtype=torch.float64)
    inner, kept = double.model.language_model, {}
    handles = [inner.norm.register_forward_pre_hook(lambda _, args: kept.update(z=args[0][0, -1]))]
    for number, block in enumerate(inner.layers):
        handles.append(block.self_attn.v_proj.register_forward_hook(lambda _, args, out, number=number: kept.update({number: out[0]})))
    weights, _ = eager(double, process, noise(), PROMPT)
    for handle in handles:
        handle.remove()
    group, size = found.view.n_heads // found.view.n_kv, found.view.d_head

    @torch.inference_mode()
    def score(z):
        logp = double.lm_head(inner.norm(z)).log_softmax(-1)
        return float(logp[5] - (0 if against is None else logp[against]))

    for patch, position in enumerate(found.image.tolist()):
        moved = torch.zeros_like(kept["z"])
        for number, block in enumerate(inner.layers):
            for head in range(found.view.n_heads):
                value = kept[number][position, head // group * size : (head // group + 1) * size]
                moved += weights[number, head, position] * (block.self_attn.o_proj.weight[:, head * size : (head + 1) * size] @ value)
        assert float(found.direct[patch]) == pytest.approx(score(kept["z"]) - score(kept["z"] - moved), abs=1e-4)


def test_a_pair_is_the_difference_of_two_words():
    model, process = seeing()
    first, second = (look(model, process, noise(), PROMPT, token) for token in (5, 9))
    pair = look(model, process, noise(), PROMPT, 5, 9)
    for name in ("heads", "positions", "direct"):
        assert torch.allclose(getattr(pair, name), getattr(first, name) - getattr(second, name), atol=2e-5)
    other = look(model, process, noise(), PROMPT, 9, 5)
    assert torch.allclose(other.direct, -pair.direct, atol=1e-5)
    assert torch.allclose(pair.position_scores(1, 2), pair.positions[1, 2])


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_batch_is_its_questions_one_by_one(side):
    model, process = seeing()
    process.tokenizer.padding_side = side
    asked = [PROMPT, "USER: <image>\nWhere is it now?\nASSISTANT: on", "<image>a"]
    images = [noise(seed=seed) for seed in range(3)]
    for number, found in enumerate(look_all(model, process, images, asked, [None, 3, None], [None, None, 4])):
        alone = look(model, process, images[number], asked[number], [None, 3, None][number], [None, None, 4][number])
        assert found.ids.tolist() == alone.ids.tolist() and found.image.tolist() == alone.image.tolist()
        assert (found.target, found.against, found.top) == (alone.target, alone.against, alone.top)
        for name in ("heads", "positions", "direct", "attention"):
            assert torch.allclose(getattr(found, name), getattr(alone, name), atol=1e-4), name


def test_image_positions_are_the_expanded_block_wherever_it_stands():
    model, process = seeing()
    for before in ("", "USER: ", "A long text before it. "):
        found = look(model, process, noise(), f"{before}<image>\nWhat?")
        assert found.image.tolist() == list(range(len(before), len(before) + 16)) and found.grid == (4, 4)


def test_llava_15_has_576_patches_for_an_image_of_any_size():
    model, process = seeing(side=336, layers=1)
    for size in ((300, 200), (200, 300), (336, 336)):
        found = look(model, process, noise(*size), PROMPT)
        assert len(found.image) == 576 and found.grid == (24, 24)
        assert direct_map(found).shape == (24, 24) and (found.pixels, found.patch) == ((336, 336), 14)
    box = where_of(found, process, Image.new("RGB", (640, 480))).boxes()
    assert box[0, 0] == pytest.approx([80, 0, 100, 20]) and box[23, 23] == pytest.approx([540, 460, 560, 480])


def test_siglip_has_729_patches_and_no_class_token():
    base, _ = seeing(layers=1)
    words = build.renamed(processor().tokenizer, "<image>", "<image>")
    images = SiglipImageProcessorPil(size={"height": 384, "width": 384})
    process = LlavaProcessor(images, words, patch_size=14, vision_feature_select_strategy="full", num_additional_image_tokens=0)
    tower = SiglipVisionConfig(
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=384,
        patch_size=14,
        vision_use_head=False,
    )
    config = LlavaConfig(
        vision_config=tower,
        text_config=base.config.text_config,
        image_token_index=process.image_token_id,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
    )
    found = look(AutoModelForImageTextToText.from_config(config).eval(), process, noise(300, 200), PROMPT)
    assert len(found.image) == 729 and found.grid == (27, 27)
    assert where_of(found, process, noise(300, 200)).boxes()[26, 26] == pytest.approx(
        [26 * 14 * 300 / 384, 26 * 14 * 200 / 384, 378 * 300 / 384, 378 * 200 / 384]
    )


def test_a_map_is_rows_by_columns_of_an_oblong_grid():
    """The tower of this project takes any multiple of 32 pixels: 2 rows of 3 places, and a value is read in its row."""
    model, process = narrow()
    process.image_processor.crop_size = {"height": 64, "width": 96}
    found = look(model, process, noise(96, 96), PROMPT)
    assert found.grid == (2, 3) and len(found.image) == 6
    assert direct_map(found)[1, 0] == found.direct[3]
    assert attention_map(found)[0, 2] == pytest.approx(float(found.attention.mean((0, 1))[found.image[2]]))
    assert where_of(found, process, noise(96, 96)).boxes()[1, 2] == pytest.approx([64, 48, 96, 80])


def test_the_best_heads_and_their_maps():
    model, process = seeing()
    found = look(model, process, noise(), PROMPT)
    order = sorted((-float(found.heads[at]), at) for at in np.ndindex(3, 4))
    assert best_head(found) == order[0][1]
    assert best_head(found, 3) == [at for _, at in order[:3]]
    one, two = best_head(found, 2)
    summed = found.positions[one][found.image] + found.positions[two][found.image]
    assert torch.allclose(head_map(found, [one, two]), summed.reshape(4, 4), atol=1e-5)
    assert (head_map(found, [order[-1][1]]) < 0).any()  # signed
    positive = [-score for score, _ in order if score < 0]
    assert positive_share(found, [one]) == pytest.approx(positive[0] / sum(positive))
    assert torch.allclose(attention_map(found, [one]), found.attention[one][found.image].reshape(4, 4))


def test_one_forward_pass_of_the_tower_and_of_every_block():
    model, process = seeing()
    language(model)  # checks the model once, with passes of its own
    calls = {"tower": 0, "block": 0}

    def count(name):
        return lambda *_: calls.__setitem__(name, calls[name] + 1)

    handles = [
        model.model.vision_tower.register_forward_hook(count("tower")),
        model.model.language_model.layers[0].register_forward_hook(count("block")),
    ]
    found = look(model, process, noise(), PROMPT)
    _ = head_map(found, best_head(found, 2)), direct_map(found), found.positions
    for handle in handles:
        handle.remove()
    assert calls == {"tower": 1, "block": 1}
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.model.language_model.modules())


def test_scores_of_a_bfloat16_model_are_float32():
    model, process = seeing()
    half, _ = seeing(dtype=torch.bfloat16)
    found, whole = (look(each, process, noise(), PROMPT, 5) for each in (half, model))
    assert {found.direct.dtype, found.heads.dtype, found.positions.dtype, found.attention.dtype} == {torch.float32}
    assert torch.allclose(found.direct, whole.direct, atol=0.1) and found.logprob == pytest.approx(whole.logprob, abs=0.3)


def test_what_cannot_be_mapped_gets_one_sentence():
    model, process = seeing()
    crops = LlavaProcessor(LlavaNextImageProcessorPil(), process.tokenizer, patch_size=14, vision_feature_select_strategy="default")
    with pytest.raises(CatalogError, match="LlavaNextImageProcessorPil cuts an image into several crops"):
        look(model, crops, noise(), PROMPT)
    model.config.image_grid_pinpoints = [[56, 112]]
    with pytest.raises(CatalogError, match="LlavaConfig cuts an image into several crops"):
        look(model, process, noise(), PROMPT)
    del model.config.image_grid_pinpoints
    for prompt in ("What?", "<image><image>What?"):
        with pytest.raises(CatalogError, match="needs <image> once"):
            look(model, process, noise(), prompt)
    for token in (-1, 10_000):
        with pytest.raises(CatalogError, match="not in the model's vocabulary"):
            look(model, process, noise(), PROMPT, token)
    process.num_additional_image_tokens = 0  # the class token is dropped though there is none
    with pytest.raises(CatalogError, match="another number of image tokens than the tower gives"):
        look(model, process, noise(), PROMPT)
    with pytest.raises(CatalogError, match="no language model behind an image tower"):
        look(model.model.language_model, process, noise(), PROMPT)


def test_a_class_token_among_the_patches_is_refused():
    model, process = seeing()
    model.config.vision_feature_select_strategy = process.vision_feature_select_strategy = "full"
    with pytest.raises(CatalogError, match="17 tokens, which do not fill the grid of 4 x 4 patches"):
        look(model, process, noise(), PROMPT)
