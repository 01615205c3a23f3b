"""Model runs of the stages on a (faked) GPU: nothing is left on the CPU, and the numbers are the CPU's."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from faked_gpu import faked_gpu
from tiny_pairs import made, of_loss
from tiny_text import decoder, encoder, t5, words_tokenizer
from tiny_training import LORA, tiny

from catalog.inside.anatomy import view
from catalog.models import encoder as embed
from catalog.training import adapters, pairs
from catalog.training import train as training
from stages.arithmetic.method import Case, mask_out, masked_runs, verify_case
from stages.harmonic import decode as cells
from stages.religious_bias import cards, diffusion, image_models, mlm, zero_shot
from stages.religious_bias.dataset import build
from stages.religious_bias.image_settings import Cards, Planted
from stages.religious_bias.settings import Data
from stages.sepo import method, scoring
from stages.simdoc import decode

sys.path.insert(0, str(Path(__file__).parent / "religious_bias"))
from tiny_mlm import PROMPTS, bert, wordpiece  # noqa: E402, I001


def same(run, atol=1e-5):
    """``run(device)`` gives arrays, the same on both devices."""
    expected = run("cpu")
    with faked_gpu():
        found = run("cuda")
    assert len(found) == len(expected) > 0
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(np.asarray(ours), np.asarray(theirs), atol=atol)


def test_arithmetic_verification():
    def run(device):
        v = view(tiny().to(device))
        prompt, neurons = [3, 5, 7, 9], [(2, i) for i in range(12)]
        logp, _ = masked_runs(v, prompt, torch.stack([mask_out(v, neurons[:3]), mask_out(v, [])]))
        before = torch.ones(v.n_layers, v.n_ffn, device=v.device)
        case = Case(prompt, 5, before, before * 0.5, neurons, [1 - i / 20 for i in range(12)])
        rows = verify_case(v, case, (10, 5), 1, torch.Generator().manual_seed(0))
        return [logp.cpu(), [row["logprob"] for row in rows if row.get("logprob") is not None]]

    same(run)


def test_sepo_scores():
    def run(device):
        model = tiny().to(device)
        found = [scores[side] for scores in scoring.token_log_probs(model, made(), 0) for side in pairs.SIDES]
        with adapters.lora(model, replace(LORA, lora_dropout=0.0)) as adapted:
            with torch.no_grad():
                for name, parameter in adapted.named_parameters():
                    if "lora_B" in name:
                        parameter.fill_(0.2)
            return [*found, scoring.divergence(adapted, made(), 0)]

    same(run)


@pytest.mark.parametrize("name", method.LOSSES)
def test_sepo_losses(name):
    settings = replace(LORA, steps=3, batch_size=3, lora_layers=(), lora_dropout=0.0, log_steps=1)

    def run(device):
        with adapters.lora(tiny().to(device), settings) as adapted:
            loss = method.loss_of(of_loss(name, beta=1.0))
            return [
                point["loss"] for point in training.train(adapted, made(), settings, loss_fn=loss, collate=pairs.pair_collate()).history
            ]

    same(run)


def test_masked_language_models():
    def run(device):
        model, tokenizer = bert().to(device), wordpiece()
        quality = mlm.quality(model, tokenizer, ["the cat sat on the mat"], 0)
        return [mlm.mask_logprobs(model, tokenizer, PROMPTS), quality.per_text]

    same(run)


def test_cards_are_drawn_as_on_the_cpu(tmp_path):
    small = Cards(
        planted=Planted(target_share=0.6, mitigated={}, blank=0.1), cards_open=2, cards_named=1, channels=(8, 8), text_width=16,
        text_layers=1, steps=2, batch_size=4, learning_rate=0.01, caption_dropout=0.1,
    )  # fmt: skip
    asked = cards.captions(build(Data(None, None, None, None, None, ("none",), ("none",))), ("none",))
    diffusion.train_cards(asked, small, 0)[0].save_pretrained(str(tmp_path / "cards"), safe_serialization=True)

    def run(device):
        pipe = image_models.load_pipeline(tmp_path / "cards", "small", device=device)
        assert pipe.unet.device.type == device and pipe.unet.dtype == torch.float32
        generators = [torch.Generator().manual_seed(i) for i in range(2)]
        texts = asked["text"].to_list()[:2]
        given = {"num_inference_steps": 2, "generator": generators, "output_type": "np"}
        return [pipe(texts, guidance_scale=scale, **given).images for scale in (1.0, 3.0)]

    same(run, 1e-4)


def test_an_image_model_of_the_hub_is_in_float16_on_a_gpu(monkeypatch):
    asked = []
    monkeypatch.setattr(image_models, "require_image_model", lambda *_: None)
    monkeypatch.setattr(image_models.DiffusionPipeline, "from_pretrained", lambda *_, **given: asked.append(given["dtype"]) or Pipe())
    image_models.load_pipeline("stable_diffusion", "full", device="cpu")
    with faked_gpu():
        image_models.load_pipeline("stable_diffusion", "full")
    assert asked == [torch.float32, torch.float16]


class Pipe:
    """In place of a pipeline of the hub."""

    def set_progress_bar_config(self, **_):
        pass

    def to(self, device):
        return self


def test_pictures_are_named_by_clip():
    from transformers import CLIPConfig, CLIPModel

    torch.manual_seed(0)
    text = {"vocab_size": 60, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision = {
        "image_size": 32,
        "patch_size": 16,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    config = CLIPConfig(text_config=text | {"eos_token_id": 1}, vision_config=vision, projection_dim=8)
    model = CLIPModel(config).eval()
    rows = [(religion, form, f"{religion} {form}") for religion in zero_shot.RELIGIONS for form in zero_shot.SIGNS]
    forms = pl.DataFrame(rows, ["religion", "form", "text"], orient="row")
    images = np.random.default_rng(0).random((3, 40, 36, 3))
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    def run(device):
        other = CLIPModel(config).eval()
        other.load_state_dict(state)
        return [zero_shot.zero_shot(images, forms, other.to(device), words_tokenizer())]

    same(run)


def test_simdoc_embeds_and_writes():
    texts = {}

    def run(device):
        model, tokenizer = encoder()
        read = model.to(device), tokenizer
        texts[device] = [decode.answers(decoder().to(device), words_tokenizer(), [[5, 6], [7]], 3, temperature=t) for t in (0.0, 1.0)]
        texts[device].append(decode.answers(t5().to(device), words_tokenizer("t5"), [[5, 6], [7]], 3))
        return [*embed.by_document(read, [["the cat sat", "it ran"], []]), *embed.token_embeddings(read, ["the cat sat", ""])]

    same(run)
    assert texts["cuda"] == texts["cpu"]


def test_cells_of_a_table_are_decoded_from_a_packed_cache():
    def run(device):
        model = tiny().to(device)
        with cells._packed_attention(model), torch.no_grad():
            cache = cells._Cache(model, 3, 0)
            cache.begin([5, 6, 7])
            first = cache.feed([[8, 9], [10], []])
            return [first.cpu(), cache.feed([[11], [], [12, 13, 14]]).cpu()]

    same(run)
