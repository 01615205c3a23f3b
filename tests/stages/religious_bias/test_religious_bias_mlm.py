"""Masked LM: what is read at a mask is what the model gives; quality counts it; adaptation learns and repeats."""

import math
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
from tiny import tiny as tiny_causal
from tiny_mlm import PROMPTS, SHAPE, VOCABULARY, WORDS, bert, byte_level, direct, wordpiece
from transformers import (
    AlbertConfig,
    AlbertForMaskedLM,
    BertConfig,
    BertModel,
    DistilBertConfig,
    DistilBertForMaskedLM,
    RobertaConfig,
    RobertaForMaskedLM,
)

from catalog.base.errors import CatalogError
from catalog.models import devices
from catalog.training.packing import IGNORE
from stages.religious_bias import adapt, mlm
from stages.religious_bias.settings import Mlm

P = Mlm(
    model="tiny",
    steps=20,
    sequence=18,
    batch_size=8,
    learning_rate=1e-2,
    warmup=0.1,
    weight_decay=0.0,
    dropout=0.1,
    train_embeddings=True,
    held_out=10,
    log_steps=5,
    dtype="float32",
)


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def model():
    return bert()


@pytest.fixture(scope="module")
def tokenizer():
    return wordpiece()


# --- one mask -----------------------------------------------------------------------------------------------------------------------


def test_the_mask_of_a_prompt_becomes_the_tokenizers_own(tokenizer):
    assert mlm.mask_id_prompt(tokenizer, "the [MASK] sat.") == [2, 5, 4, 10, 17, 3]
    other = byte_level()
    ids = mlm.mask_id_prompt(other, "the [MASK] sat.")
    assert ids.count(4) == 1 and "".join(other.convert_ids_to_tokens(ids)) == "<s>theĠ<mask>Ġsat.</s>"
    for text, times in {"no gap": 0, "[MASK] and [MASK]": 2}.items():
        with pytest.raises(CatalogError, match=f"exactly once.* {times} times"):
            mlm.mask_id_prompt(tokenizer, text)
    with pytest.raises(CatalogError, match="other masks"):
        mlm.mask_id_prompt(other, "<mask> and [MASK]")
    with pytest.raises(CatalogError, match="no mask token"):
        mlm.mask_id_prompt(byte_level(None), "a [MASK]")


def test_log_probabilities_are_the_models_own_alone_and_in_batches(model, tokenizer):
    together = mlm.mask_logprobs(model, tokenizer, PROMPTS)
    assert together.shape == (3, len(VOCABULARY)) and together.dtype == torch.float32
    for i, text in enumerate(PROMPTS):
        ids = mlm.mask_id_prompt(tokenizer, text)
        torch.testing.assert_close(together[i], direct(model, ids, ids.index(4)), atol=1e-5, rtol=0)
        torch.testing.assert_close(together[i], mlm.mask_logprobs(model, tokenizer, [text], max_tokens=1)[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(together.exp().sum(1), torch.ones(3))
    assert torch.equal(mlm.mask_logprobs(model, tokenizer, PROMPTS, [7, 5]), together[:, [7, 5]])
    assert mlm.mask_logprobs(model, tokenizer, []).shape == (0, len(VOCABULARY))
    assert not model.base_model._forward_hooks  # the model is as it was
    with pytest.raises(CatalogError, match="at most 64"):
        mlm.mask_logprobs(model, tokenizer, ["cat " * 70 + "[MASK]"])


@pytest.mark.parametrize(
    ("config", "cls"),
    [
        (RobertaConfig(**SHAPE | {"max_position_embeddings": 66, "pad_token_id": 1}), RobertaForMaskedLM),
        (AlbertConfig(**SHAPE, embedding_size=8), AlbertForMaskedLM),
        (DistilBertConfig(vocab_size=len(VOCABULARY), dim=16, n_layers=2, n_heads=2, hidden_dim=32), DistilBertForMaskedLM),
    ],
)
def test_other_families_give_their_own_logits_at_the_marked_positions_and_are_loaded(config, cls, tokenizer, tmp_path):
    torch.manual_seed(1)
    cls(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    model, read = mlm.load_mlm(tmp_path, dtype="float32", device="cpu")
    ids = torch.randint(5, len(VOCABULARY), (3, 9))
    at = torch.rand(3, 9) < 0.4
    with torch.no_grad():
        torch.testing.assert_close(mlm.logits_at(model, at, input_ids=ids), model(ids).logits[at], atol=1e-5, rtol=1e-5)
    run = adapt.adapt(model, read, [" ".join(WORDS)] * 20, replace(P, steps=2), 0)
    assert [point["step"] for point in run.history] == [1, 2] or len(run.history) == 1


# --- quality ------------------------------------------------------------------------------------------------------------------------


def test_quality_counts_what_the_model_gets_right(model, tokenizer):
    texts = ["the cat sat on the mat.", "it", "a big old dog ran under the red tree and sang, and the bird saw it."]
    found = mlm.quality(model, tokenizer, texts, seed=3)
    assert found.per_text[:, 0].tolist() == [1, 1, 3]  # 15 % of 7, 1 and 18 tokens
    assert found.masked == 5 and found.correct == found.per_text[:, 1].sum() and found.top1 == found.correct / 5
    assert found.perplexity == pytest.approx(math.exp(found.per_text[:, 2].sum() / 5))
    # "it" has one token, so what is masked in it is known
    assert found.per_text[1, 2] == pytest.approx(-direct(model, [2, 4, 3], 1)[VOCABULARY.index("it")].item(), abs=1e-5)
    np.testing.assert_allclose(mlm.quality(model, tokenizer, texts, seed=3, max_tokens=1).per_text, found.per_text, atol=1e-5)
    assert not np.allclose(mlm.quality(model, tokenizer, texts, seed=4).per_text, found.per_text)
    for wrong, said in (([], "no text"), (["cat", ""], "Text 1 has no token")):
        with pytest.raises(CatalogError, match=said):
            mlm.quality(model, tokenizer, wrong, seed=0)


# --- adaptation ---------------------------------------------------------------------------------------------------------------------


def sentences(count=60):
    """Ordinary text with something to learn: the animal decides the verb."""
    rng = np.random.default_rng(0)
    verbs = {"cat": "sat on the mat", "dog": "ran under the tree", "bird": "sang , and it saw the cat"}
    return [f"the {'big old' if rng.random() < 0.5 else 'red'} {animal} {verbs[animal]} ." for animal in rng.choice(list(verbs), count)]


def test_sequences_hold_the_texts_in_order_between_special_tokens(tokenizer):
    ids = adapt.sequences(tokenizer, ["the cat", "a dog sat", "it"], 6)
    assert ids.tolist() == [[2, 5, 7, 3, 6, 3], [2, 8, 10, 3, VOCABULARY.index("it"), 3]]  # a separator of its own behind each text
    for texts, length in ((["cat"], 18), ([], 18), (["cat"], 2)):
        with pytest.raises(CatalogError, match="do not fill one sequence"):
            adapt.sequences(tokenizer, texts, length)


def test_masks_are_fifteen_per_cent_and_eighty_ten_ten(tokenizer):
    rng = np.random.default_rng(1)
    ids = np.hstack([np.full((2000, 1), 2), rng.integers(5, len(VOCABULARY), (2000, 40)), np.full((2000, 1), 3)])
    ids[:, 20] = 3
    inputs, labels = adapt.mask(ids, tokenizer, 0)
    chosen = labels != IGNORE
    assert (chosen.sum(1) == 6).all() and not chosen[:, [0, 20, -1]].any()
    assert (labels[chosen] == ids[chosen]).all() and (inputs[~chosen] == ids[~chosen]).all()
    assert (inputs[chosen] >= 4).all()
    masked = (inputs[chosen] == 4).mean()
    kept = (inputs[chosen] == ids[chosen]).mean()
    assert masked == pytest.approx(0.8, abs=0.01)
    assert kept == pytest.approx(0.1 + 0.1 / (len(VOCABULARY) - 5), abs=0.01)
    places = chosen.mean(0)[[t for t in range(1, 41) if t != 20]]
    assert places.min() > 0.1 and places.max() < 0.2  # every position is as likely
    few = np.array([[2, 7, *[3] * 39, 3]])  # hardly anything that may be masked
    assert (adapt.mask(few, tokenizer, 0)[1] != IGNORE).sum() == 1
    again, other = adapt.mask(ids, tokenizer, 0), adapt.mask(ids, tokenizer, 1)
    assert (again[0] == inputs).all() and (other[0] != inputs).any()


def test_a_sequence_that_is_read_again_is_masked_anew(tokenizer):
    examples = adapt.examples_of(tokenizer, sentences(), P, seed=0)
    count = len(adapt.sequences(tokenizer, sentences(), P.sequence))
    assert len(examples) >= P.steps * P.batch_size > count and len(examples) % count == 0
    assert (examples[0]["labels"] != examples[count]["labels"]).any()


def test_adaptation_learns_repeats_to_the_bit_and_does_not_depend_on_micro_batches(tokenizer, monkeypatch):
    texts = sentences()
    models_ = [bert(), bert()]
    runs = [adapt.adapt(model, tokenizer, texts, P, seed=0) for model in models_]
    assert runs[0].history[-1]["loss"] < runs[0].history[0]["loss"] - 0.5
    assert runs[0].history == runs[1].history
    for name, tensor in runs[0].tensors.items():
        assert tensor.numpy().tobytes() == runs[1].tensors[name].numpy().tobytes()
    before, after = (mlm.quality(model, tokenizer, texts[:20], seed=0) for model in (bert(), models_[0]))
    assert after.perplexity < before.perplexity and after.top1 > before.top1
    assert not models_[0].training and not models_[0].base_model._forward_hooks
    # Dropout draws differ with the batch; without it, halves of a batch give the gradient of the whole.
    whole, split, settings, short = bert(), bert(), adapt.Settings, replace(P, steps=5, dropout=0.0)
    adapt.adapt(whole, tokenizer, texts, short, seed=0)
    monkeypatch.setattr(adapt, "Settings", lambda **fields: settings(**fields, micro_batch=4))
    adapt.adapt(split, tokenizer, texts, short, seed=0)
    others = dict(split.named_parameters())
    for name, parameter in whole.named_parameters():
        if not name.endswith("key.bias"):  # a softmax does not see it: its gradient is rounding alone, which AdamW blows up
            torch.testing.assert_close(parameter, others[name], atol=1e-3, rtol=0)


def test_word_embeddings_stay_and_the_model_has_its_settings_again(tokenizer):
    model, asked = bert(), replace(P, steps=2, train_embeddings=False, dropout=0.3)
    words, place = (model.bert.embeddings.word_embeddings.weight, model.bert.embeddings.position_embeddings.weight)
    before = words.clone(), place.clone()
    seen = []
    handle = model.bert.embeddings.dropout.register_forward_hook(lambda module, *_: seen.append((module.p, module.training)))
    adapt.adapt(model, tokenizer, sentences(), asked, seed=0)
    handle.remove()
    assert torch.equal(words, before[0]) and not torch.equal(place, before[1])
    assert seen == [(0.3, True)] * 2
    assert words.requires_grad and {module.p for module in model.modules() if isinstance(module, torch.nn.Dropout)} == {0.1}
    with pytest.raises(CatalogError, match="nothing to adapt"):
        adapt.adapt(model, tokenizer, sentences(), replace(P, steps=0), seed=0)


def test_whole_documents_are_held_out():
    paragraphs = pl.DataFrame({"source": list("aabcbcd"), "text": list("1234567")})
    assert adapt.hold_out(paragraphs, 1) == (list("123456"), ["7"])
    assert adapt.hold_out(paragraphs, 2) == (list("1235"), list("467"))  # d alone is too few
    assert adapt.hold_out(paragraphs, 0) == (list("1234567"), [])
    with pytest.raises(CatalogError, match="no documents to train on"):
        adapt.hold_out(paragraphs, 6)


# --- loading ------------------------------------------------------------------------------------------------------------------------


def test_a_masked_lm_is_loaded_from_a_folder_or_as_an_asset(model, tokenizer, tmp_path):
    root = tmp_path
    folder = root / "data" / "assets" / "bert"
    (root / "params.yaml").write_text('{"device": "cpu", "dtype": "float32", "assets": {"bert": {"files": {"config.json": {}}}}}')
    with pytest.raises(CatalogError, match="run `dvc repro fetch@bert`"):
        mlm.load_mlm("bert", root=root)
    (root / "stages" / "another").mkdir(parents=True)
    (root / "stages" / "another" / "params.yaml").write_text("small: [")  # a broken file of another system stops nobody here
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    for name in ("bert", folder):
        loaded, read = mlm.load_mlm(name, root=root)
        again, before = mlm.mask_logprobs(loaded, read, PROMPTS), mlm.mask_logprobs(model, tokenizer, PROMPTS)
        torch.testing.assert_close(again, before, atol=1e-5, rtol=0)  # weights of a file lie elsewhere in memory
        assert not loaded.training and read.padding_side == "right"
    (root / "stages" / "another" / "params.yaml").unlink()
    with pytest.raises(CatalogError, match="No model 'other'"):
        mlm.load_mlm("other", root=root)
    (folder / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(CatalogError, match="could not be loaded, run `dvc repro -f fetch@bert`"):
        mlm.load_mlm("bert", root=root)


def test_a_masked_lm_runs_in_as_many_threads_as_a_causal_one(model, tokenizer, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    monkeypatch.setattr(devices, "cpus", lambda: 3)
    monkeypatch.delenv("OMP_NUM_THREADS")
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "params.yaml").write_text("{device: cpu, dtype: bfloat16}")
    assert mlm.load_mlm(tmp_path, root=tmp_path)[0].dtype == torch.bfloat16 and asked == [3]


def test_what_is_no_masked_lm_is_not_loaded(tokenizer, tmp_path):
    headless, causal, unmasked, pickled = (tmp_path / name for name in ("headless", "causal", "unmasked", "pickled"))
    BertModel(BertConfig(**SHAPE)).save_pretrained(headless)
    tokenizer.save_pretrained(headless)
    with pytest.raises(CatalogError, match="no weights .*no trained masked LM"):
        mlm.load_mlm(headless, dtype="float32", device="cpu")
    tiny_causal("llama").save_pretrained(causal)
    tokenizer.save_pretrained(causal)
    with pytest.raises(CatalogError, match="could not be loaded, make this folder again"):
        mlm.load_mlm(causal, dtype="float32", device="cpu")
    bert().save_pretrained(unmasked)
    byte_level(None).save_pretrained(unmasked)
    with pytest.raises(CatalogError, match="needs a mask token"):
        mlm.load_mlm(unmasked, dtype="float32", device="cpu")
    bert().config.save_pretrained(pickled)
    tokenizer.save_pretrained(pickled)
    torch.save(bert().state_dict(), pickled / "pytorch_model.bin")
    with pytest.raises(CatalogError, match="could not be loaded"):
        mlm.load_mlm(pickled, dtype="float32", device="cpu")
