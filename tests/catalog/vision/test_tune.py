"""Both stages of a LLaVA's training on tiny random models: what is learnt, from which tokens, and what stays as it was."""

import numpy as np
import pytest
import torch
from tiny_llava import llava, picture

from catalog.base.errors import CatalogError
from catalog.training.settings import Settings
from catalog.vision import build
from catalog.vision.align import NOTHING, align, places_words
from catalog.vision.features import features, standardise
from catalog.vision.tune import PLACE, Collate, Thinning, examples, own_rate, thinned, tune

pytestmark = pytest.mark.usefixtures("one_thread")
PROMPT = "U: <image>\n{}?\nA:"
SETTINGS = Settings(
    steps=30, batch_size=2, row_tokens=0, learning_rate=1e-2, lora_rank=4, lora_targets=("q_proj", "v_proj", "down_proj"), dtype="float32"
)


def test_features_are_what_the_projector_gets():
    model, processor = llava()
    standardise(model, processor, [picture(n) for n in range(3)])
    kept = features(model, processor, [picture(0), picture(1)], torch.float32)
    given = []
    hook = model.model.multi_modal_projector.register_forward_hook(lambda module, arguments, out: given.append(arguments[0]))
    with torch.inference_mode():
        model(**build.inputs(processor, [picture(0), picture(1)], [PROMPT.format("a")] * 2))
    hook.remove()
    assert torch.allclose(given[0], kept, atol=1e-4)


def test_questions_stand_behind_one_image_and_only_answers_are_learnt():
    _, processor = llava()
    (row,) = examples(processor, 9, [(2, [(PROMPT.format("a"), "x"), (PROMPT.format("bc"), "yz")])])
    assert row[PLACE][:12] == [0, 0, 0, *range(19, 28)]  # "U: ", then rows 18 to 26 of the features, counted from one
    assert sum(label != -100 for label in row["labels"]) >= 2 + 3  # each answer and its end token
    whole = processor.tokenizer(PROMPT.format("bc"))["input_ids"]
    second = [token for token, ending in zip(row["input_ids"], row["ending"], strict=True) if ending == 2]
    assert second[: len(whole) - 4] == whole[4:]
    with pytest.raises(CatalogError, match="needs one <image>"):
        examples(processor, 9, [(0, [("no image", "x")])])
    with pytest.raises(CatalogError, match="same words before"):
        examples(processor, 9, [(0, [(PROMPT.format("a"), "x"), ("V: <image>", "x")])])


def test_thinning_leaves_tokens_out_and_moves_no_position():
    _, processor = llava()
    (row,) = examples(processor, 9, [(0, [(PROMPT.format("a"), "x")])])
    things = np.array([-1, 0, 0, 0, -1, 1, 1, -1, -1])
    for seed in range(5):
        few = thinned(row, 5, np.random.default_rng(seed), things)
        shown = few[PLACE][few[PLACE] > 0] - 1
        assert len(shown) == 5
        assert {0, 1} <= set(things[shown].tolist()) and min((things[shown] == 0).sum(), (things[shown] == 1).sum()) == 2
        assert (few["place"][few[PLACE] > 0] == shown + 3).all()  # as in the whole
        for key in ("input_ids", "labels"):  # what is learnt, and the token before it, are the same
            learnt, full = few["labels"] != -100, np.array(row["labels"]) != -100
            assert (few[key][few["before"][learnt]] == np.array(row[key])[np.array(row["before"])[full]]).all()


def test_only_the_first_batches_are_thinned():
    _, processor = llava()
    rows = examples(processor, 9, [(0, [(PROMPT.format("a"), "x")])])
    collate = Collate(Thinning(4, 0.5), 4, seed=0)
    widths = [collate(rows)["input_ids"].shape[1] for _ in range(4)]
    assert widths == [widths[2] - 5] * 2 + [widths[2]] * 2
    assert collate.tokens == sum(widths)


def test_a_module_with_a_rate_of_its_own():
    layer = torch.nn.Linear(2, 1)
    before = layer.weight.detach().clone()
    with own_rate(layer, 0.1):
        assert torch.allclose(layer.weight, before)
        optimiser = torch.optim.Adam(layer.parameters(), lr=1e-2)
        layer(torch.ones(1, 2)).sum().backward()
        optimiser.step()
    assert torch.allclose(before - layer.weight, torch.full((1, 2), 1e-3), atol=1e-6)  # Adam's first step is the rate
    assert [name for name, _ in layer.named_parameters()] == ["weight", "bias"]


def test_alignment_learns_the_words_of_a_place_and_nothing_else_changes():
    model, _ = llava()
    torch.manual_seed(0)
    kinds = torch.arange(200) % 4
    words = torch.stack([torch.tensor([3, 9, 20, NOTHING])[kinds], torch.full((200,), NOTHING)], 1)
    words[:, 1] = torch.where(kinds < 3, 11 + (torch.arange(200) % 2), NOTHING)
    seen = torch.nn.functional.one_hot(kinds * 2 + torch.arange(200) % 2, model.config.vision_config.hidden_size).float()
    table = model.get_input_embeddings().weight.clone()
    curve = align(model, seen, words, steps=60, batch=64, rate=1e-2)
    assert curve[-1]["hits"] == 1.0 and curve[-1]["loss"] < curve[0]["loss"]
    assert torch.equal(table, model.get_input_embeddings().weight)
    empty = model.model.multi_modal_projector(seen[3]).norm()
    assert empty < 0.5 * model.model.multi_modal_projector(seen[0]).norm()


def test_the_words_of_a_place_are_those_of_the_object_that_covers_most():
    covered = torch.tensor([[0.5, 0.1, 0.0], [0.3, 0.2, 0.1]])
    assert places_words(covered, [(7, 8), (5, 6)]).tolist() == [[7, 8], [5, 6], [NOTHING, NOTHING]]


def test_tuning_learns_the_answer_from_the_image_and_the_saved_model_gives_it(tmp_path):
    model, processor = llava()
    pictures = [picture(0), picture(1)]
    standardise(model, processor, pictures)
    seen = features(model, processor, pictures)
    rows = examples(processor, 9, [(n, [(PROMPT.format("a"), answer), (PROMPT.format("b"), answer)]) for n, answer in enumerate("xy")])
    tower = {name: value.clone() for name, value in model.model.vision_tower.state_dict().items()}
    run = tune(model, seen, rows, SETTINGS, projector_rate=5e-3, thinning=Thinning(4, 0.3))
    assert run.history[-1]["loss"] < 0.2 * run.history[0]["loss"]
    assert all(torch.equal(value, tower[name]) for name, value in model.model.vision_tower.state_dict().items())
    assert not any("lora" in name or "parametrizations" in name for name, _ in model.named_parameters())
    build.save(model, processor, tmp_path / "model")
    read, read_processor = build.load(tmp_path / "model", dtype="float32", device="cpu")
    with torch.inference_mode():
        given = build.inputs(read_processor, pictures, [PROMPT.format("a")] * 2)
        logits = read(**given).logits
        assert torch.equal(logits, model(**given).logits)
    wanted = [label for row in rows for label in [next(i for i in row["labels"] if i != -100)]]
    assert [int(i) for i in logits[:, -1].argmax(-1)] == wanted
    with pytest.raises(CatalogError, match="save_steps to 0"):
        tune(model, seen, rows, Settings(steps=1, save_steps=1), projector_rate=1e-3)


def test_a_llava_of_the_published_shape_is_tuned_as_well():
    """CLIP's tower with a first place that is dropped and the last layer but one: that of llava-1.5-7b, tiny and random."""
    from tiny import tiny
    from tiny_llava import tokenizer
    from transformers import CLIPVisionConfig, LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    tok = build.renamed(tokenizer(), "<unused>", "<image>")
    clip = CLIPVisionConfig(
        hidden_size=16, intermediate_size=24, num_hidden_layers=3, num_attention_heads=2, image_size=42, patch_size=14, projection_dim=16
    )
    text = tiny("llama", vocabulary=len(tok)).config
    config = LlavaConfig(vision_config=clip, text_config=text, image_token_index=tok.convert_tokens_to_ids("<image>"), image_seq_length=9)
    torch.manual_seed(0)
    model = LlavaForConditionalGeneration(config).eval()
    images = CLIPImageProcessorPil(size={"shortest_edge": 42}, crop_size={"height": 42, "width": 42})
    processor = LlavaProcessor(images, tok, patch_size=14, vision_feature_select_strategy="default", num_additional_image_tokens=1)
    pictures = [picture(0), picture(1)]
    seen = features(model, processor, pictures, torch.float32)
    assert seen.shape == (2, 9, 16)
    rows = examples(processor, 9, [(n, [(PROMPT.format("a"), answer)]) for n, answer in enumerate("xy")])
    before = {name: value.clone() for name, value in model.model.vision_tower.state_dict().items()}
    run = tune(model, seen, rows, SETTINGS, projector_rate=5e-3)
    assert run.history[-1]["loss"] < run.history[0]["loss"]
    assert all(torch.equal(value, before[name]) for name, value in model.model.vision_tower.state_dict().items())
