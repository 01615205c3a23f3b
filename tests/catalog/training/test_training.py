"""The training path: masking and packing, the loss at labels only, LoRA, full fine-tuning. `test_resume.py` kills it."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import peft
import pytest
import torch
from tiny_training import FULL, LORA, bits, copying, tiny
from transformers import LlamaForCausalLM

from catalog.base.errors import CatalogError
from catalog.models.logits import ROWS
from catalog.training import adapters, flops, losses, packing, tail
from catalog.training import train as training
from catalog.training.adapters import settings_of, upper_layers
from catalog.training.attention import float32_gradients
from catalog.training.settings import Settings

pytestmark = pytest.mark.usefixtures("one_thread")


def train_lora(model, settings, **keywords):
    with adapters.lora(model, settings) as adapted:
        return training.train(adapted, copying(), settings, **keywords)


def no_number(model, batch):
    return losses.answer_loss(model, batch) * torch.nan


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
@pytest.mark.parametrize("width", [0, 20, 256])
def test_packed_loss_and_gradient_equal_the_plain_ones(kind, width):
    examples = copying(6)
    model, plain = tiny(kind), tiny(kind)
    loss = losses.answer_loss(model, losses.tensors_of(packing.pack(examples, width)))
    loss.backward()
    total, count = 0.0, 0
    for example in examples:
        ids, labels = torch.tensor([example["input_ids"]]), torch.tensor([example["labels"]])
        number = int((labels != -100).sum())
        total, count = total + plain(input_ids=ids, labels=labels).loss * number, count + number
    (total / count).backward()
    torch.testing.assert_close(loss, total / count, atol=1e-6, rtol=1e-6)
    for one, other in zip(model.parameters(), plain.parameters()):
        torch.testing.assert_close(one.grad, other.grad, atol=1e-6, rtol=1e-4)


def test_packed_examples_do_not_see_each_other_and_logits_are_at_labels_only():
    model, examples = tiny(), copying(5)
    widths = []
    handle = model.lm_head.register_forward_hook(lambda module, inputs, output: widths.append(output.shape[:-1]))

    def scores(rows):
        with torch.no_grad():
            log_probs, owner = losses.label_log_probs(model, losses.tensors_of(packing.pack(rows, 256)))
        return [log_probs[owner == i] for i in range(len(rows))]

    before = scores(examples)
    handle.remove()
    assert widths == [(sum(label != -100 for example in examples for label in example["labels"]),)]
    changed = [*examples[:2], copying(1, seed=9)[0], *examples[3:]]
    after = scores(changed)
    for i in (0, 1, 3, 4):
        torch.testing.assert_close(after[i], before[i], atol=1e-5, rtol=0)


def test_lora_learns_repeats_to_the_bit_and_leaves_the_base_model_as_it_was():
    model = tiny()
    before, flags = bits(model.state_dict()), [p.requires_grad for p in model.parameters()]
    settings = replace(LORA, steps=20, lora_layers=(), learning_rate=3e-2, lora_targets=("q_proj", "v_proj", "o_proj"))
    first, second = train_lora(model, settings), train_lora(model, settings)
    assert bits(first.tensors) == bits(second.tensors)
    assert first.history == second.history
    assert bits(model.state_dict()) == before
    assert [p.requires_grad for p in model.parameters()] == flags and not model.training
    assert not any("lora" in name for name, _ in model.named_modules()) and model.config.use_cache
    assert first.history[-1]["loss"] < first.history[0]["loss"] - 0.1
    assert bits(train_lora(model, replace(settings, seed=1)).tensors) != bits(first.tensors)
    assert [point["step"] for point in first.history] == [1, *range(2, 21, 2)]
    lengths = [len(example["input_ids"]) for example in copying()]
    assert first.history[-1]["tokens"] == sum(lengths[i] for i in packing.order(40, 160, 0)) == first.info["tokens"]
    assert first.info["device"] == "cpu" and first.info["dtype"] == "float32" and first.info["tokens_per_second"] > 0
    assert first.info["trainable_parameters"] == sum(tensor.numel() for tensor in first.tensors.values())


def test_full_fine_tuning_learns_and_micro_batches_do_not_change_it():
    whole, split = tiny(), tiny()
    one = training.train(whole, copying(), replace(FULL, steps=20))
    two = training.train(split, copying(), replace(FULL, steps=20, micro_batch=2, row_tokens=0))
    assert one.history[-1]["loss"] < one.history[0]["loss"] - 0.3
    for name, tensor in one.tensors.items():
        torch.testing.assert_close(tensor, two.tensors[name], atol=2e-4, rtol=0)
    np.testing.assert_allclose(*[[point["loss"] for point in run.history] for run in (one, two)], atol=1e-4)


def test_activation_checkpointing_does_not_change_the_result():
    plain, saving = (train_lora(tiny(), replace(LORA, activation_checkpointing=on)) for on in (False, True))
    for name, tensor in plain.tensors.items():
        torch.testing.assert_close(tensor, saving.tensors[name], atol=1e-5, rtol=0)


def test_bfloat16_autocast_leaves_no_trace_on_the_model():
    settings, ids = replace(FULL, dtype="bfloat16"), torch.arange(2, 12)[None]
    model, failed = tiny(), tiny()
    run = training.train(model, copying(), settings)
    assert run.info["dtype"] == "bfloat16 autocast"
    assert all(tensor.dtype == torch.float32 for tensor in run.tensors.values())
    with pytest.raises(CatalogError, match="loss is nan"):
        training.train(failed, copying(), settings, loss_fn=no_number)
    fresh = tiny()
    fresh.load_state_dict(run.tensors)
    failed.load_state_dict(run.tensors)  # the step that was no number has spoilt its own
    with torch.no_grad():
        assert torch.equal(model(ids).logits, fresh(ids).logits)
        assert torch.equal(failed(ids).logits, fresh(ids).logits)


def test_nothing_below_the_adapted_layer_takes_part_in_the_backward_pass():
    model, needed = tiny(), {}
    handles = [
        layer.register_forward_hook(lambda module, inputs, output, i=i: needed.update({i: output.requires_grad}))
        for i, layer in enumerate(model.model.layers)
    ]
    train_lora(model, replace(LORA, steps=1))
    for handle in handles:
        handle.remove()
    assert needed == {0: False, 1: True, 2: True}


def test_a_lora_that_fits_nothing_is_an_error(tmp_path):
    model = tiny()
    for wrong, said in {
        ("q_proj", "c_attn"): "'c_attn' is not in this model",
        ("c_attn",): "does not fit this model",
    }.items():
        with pytest.raises(CatalogError, match=said), adapters.lora(model, replace(LORA, lora_targets=wrong)):
            pass
    with pytest.raises(CatalogError, match="'7' is not in this model"):
        adapters.lora(model, replace(LORA, lora_layers=(1, 7))).__enter__()
    other = train_lora(model, replace(LORA, lora_layers=(2,), steps=1)).tensors
    with pytest.raises(CatalogError, match="belong to another model"), adapters.lora(model, LORA, other):
        pass
    assert not any("lora" in name for name, _ in model.named_modules())
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(CatalogError, match="holds no whole LoRA"), adapters.saved_lora(model, tmp_path):
        pass


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # PEFT's, in from_pretrained
def test_a_saved_lora_is_read_here_and_by_peft_with_the_same_bytes_each_time(tmp_path):
    model, ids = tiny(), torch.arange(2, 12)[None]
    with adapters.lora(model, LORA) as adapted:
        run = training.train(adapted, copying(), LORA)
        with torch.no_grad():
            expected = model.eval()(ids).logits
    for name in ("one", "two"):
        adapters.save_lora(run.tensors, LORA, "models/tiny/base", tmp_path / name)
    files = [{path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("one", "two")]
    assert files[0] == files[1] and set(files[0]) == {"adapter_config.json", "adapter_model.safetensors"}
    assert str(tmp_path) not in files[0]["adapter_config.json"].decode()
    with torch.no_grad():
        bare = model(ids).logits
        with adapters.saved_lora(model, tmp_path / "one"):
            assert torch.equal(model(ids).logits, expected)
        assert torch.equal(model(ids).logits, bare) and not torch.equal(bare, expected)
        assert torch.equal(peft.PeftModel.from_pretrained(tiny(), tmp_path / "one").eval()(ids).logits, expected)


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_a_folded_lora_says_the_same_and_leaves_the_weights_bit_for_bit(kind):
    model, ids = tiny().to(kind), torch.arange(2, 12)[None]
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with adapters.lora(model, LORA) as adapted, torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.fill_(0.05)
        bare = adapted.eval()(ids).logits
        with adapters.folded(adapted):
            assert not torch.equal(
                model.model.layers[1].self_attn.q_proj.base_layer.weight, before["model.layers.1.self_attn.q_proj.weight"]
            )
            close = {"atol": 1e-5} if kind == torch.float32 else {"atol": 0.1, "rtol": 0.05}
            assert torch.allclose(adapted(ids).logits, bare, **close)
        assert torch.equal(adapted(ids).logits, bare)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_layers_that_are_trained_through_attend_in_float32(monkeypatch):
    seen, real = [], torch.nn.functional.scaled_dot_product_attention
    model, ids = tiny().to(torch.bfloat16), torch.arange(2, 12)[None]

    def watched(query, key, value, **options):
        seen.append(query.dtype)
        return real(query, key, value, **options)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", watched)
    with adapters.lora(model, replace(LORA, lora_layers=(1,))) as adapted:
        with float32_gradients(adapted):
            out = adapted(ids).logits
            out.float().sum().backward()
        assert seen == [torch.bfloat16, torch.float32, torch.float32]  # nothing below layer 1 has a gradient
        again = adapted(ids).logits
        assert torch.allclose(out, again, atol=0.1, rtol=0.05)
        with float32_gradients(adapted, enabled=False):
            assert model.config._attn_implementation == "sdpa"
    assert seen[3:] == [torch.bfloat16] * 3 and model.config._attn_implementation == "sdpa"


@pytest.mark.parametrize("width", [0, 64])
def test_training_the_upper_layers_alone_gives_the_weights_of_ordinary_training(monkeypatch, width):
    settings = replace(LORA, lora_layers=(1, 2), lora_dropout=0.0, row_tokens=width)
    weights = []
    for once in (False, True):
        model, examples = tiny(), copying()
        if once:
            examples = tail.lower_once(model, examples, settings.lora_layers)
            assert examples[0]["hidden"].shape == (len(examples[0]["input_ids"]), 32)
            # Nothing below may be run again: a weight there that is spoilt changes nothing.
            with torch.no_grad():
                model.model.layers[0].mlp.down_proj.weight.fill_(float("nan"))
        with adapters.lora(model, settings) as adapted:
            weights.append(training.train(adapted, examples, settings).tensors)
    assert all(torch.allclose(tensor, weights[1][name], atol=1e-4) for name, tensor in weights[0].items())
    assert "forward" not in vars(model.model.layers[0])
    with pytest.raises(CatalogError, match="need the layers of the LoRA"), adapters.lora(tiny(), replace(LORA, lora_layers=())) as adapted:
        training.train(adapted, examples, replace(settings, lora_layers=()))
    assert "hidden" not in tail.lower_once(tiny(), copying(), ())[0]
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert "hidden" not in tail.lower_once(tiny(), copying(), (1,))[0]


def test_flops_of_a_token_by_hand():
    model = tiny()  # three layers: q, o 32x32, k, v 16x32, three times 48x32; head 60x32
    layer, head = 2 * 1024 + 2 * 512 + 3 * 1536, 1920
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    assert flops.flops_per_token(model) == 6 * (3 * layer + head)
    assert flops.flops_per_token(model, context=10) == 6 * (3 * layer + head) + 3 * 3 * 4 * 32 * 10
    with adapters.lora(model, replace(LORA, lora_layers=(1,))) as adapted:  # q: 32->4->32, v: 32->4->16
        added = 4 * 32 + 4 * 32 + 4 * 32 + 4 * 16
        assert flops.flops_per_token(adapted) == 2 * layer + 4 * (2 * layer + head) + 6 * added
        assert flops.flops_per_token(adapted, first=1) == 4 * (2 * layer + head) + 6 * added
    assert flops.utilisation(model, 1000, 1.0, torch.device("cpu")) is None


def test_upper_layers():
    assert upper_layers(30, 0.8) == tuple(range(24, 30)) and upper_layers(30, 0) == ()


def test_settings_come_from_a_systems_parameters():
    fit = SimpleNamespace(model="x", epochs=2.0, learning_rate=0.5, rank=4, alpha=8, targets=("up_proj",), layers_from=0.5)
    assert settings_of(fit, n_layers=6, seed=3, epochs=1.0) == Settings(
        epochs=1.0, learning_rate=0.5, lora_rank=4, lora_alpha=8, lora_targets=("up_proj",), lora_layers=(3, 4, 5), seed=3
    )
    whole = SimpleNamespace(rank=0, layers_from=0.5)
    assert settings_of(whole, SimpleNamespace(betas=(0.8, 0.9)), n_layers=6) == Settings(betas=(0.8, 0.9))


def test_a_saved_model_is_whole_and_stores_tied_weights_once(tmp_path):
    model = tiny()
    run = training.train(model, copying(), FULL)

    class NoFiles:
        def save_pretrained(self, folder):
            (folder / "tokenizer.json").write_text("{}")

    for name in ("one", "two"):
        adapters.save_model(model, NoFiles(), tmp_path / name, run.tensors, dtype="bfloat16")
    files = [{path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("one", "two")]
    assert files[0] == files[1] and {"config.json", "model.safetensors", "tokenizer.json"} <= set(files[0])
    loaded = LlamaForCausalLM.from_pretrained(tmp_path / "one", use_safetensors=True)
    assert len(files[0]["model.safetensors"]) < 2 * sum(p.numel() for p in model.parameters()) + 8000
    for name, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, run.tensors[name].bfloat16())
    assert model.config.dtype != torch.bfloat16


def preference_loss(model, batch):
    """DPO on pairs: chosen are the even examples of a batch, rejected the odd ones; beta 1."""

    def margin():
        log_probs, owner = losses.label_log_probs(model, batch)
        sums = torch.zeros(int(batch["example"].max()) + 1).index_add(0, owner, log_probs).view(-1, 2)
        return sums[:, 0] - sums[:, 1]

    with losses.frozen_reference(model):
        reference = margin()
    assert not reference.requires_grad
    return -torch.nn.functional.logsigmoid(margin() - reference).mean()


def test_a_loss_and_a_collate_of_ones_own_with_a_frozen_reference():
    texts = copying(40)
    pairs = [{"chosen_input_ids": a["input_ids"], "chosen": a, "rejected": b} for a, b in zip(texts[::2], texts[1::2])]

    def collate(batch):
        return losses.tensors_of(packing.pack([pair[side] for pair in batch for side in ("chosen", "rejected")], 256))

    model = tiny()
    before = bits(model.state_dict())
    runs = []
    settings = replace(LORA, steps=20, lora_layers=(), lora_dropout=0.0)
    for micro in (0, 4):
        with adapters.lora(model, settings) as adapted:
            runs.append(training.train(adapted, pairs, replace(settings, micro_batch=micro), loss_fn=preference_loss, collate=collate))
    found = [[point["loss"] for point in run.history] for run in runs]
    assert found[0][0] == pytest.approx(np.log(2), abs=1e-6)  # policy and reference are equal at the start
    assert found[0][-1] < 0.5
    np.testing.assert_allclose(*found, atol=1e-3)
    assert bits(model.state_dict()) == before


def test_settings_that_do_not_fit_and_a_loss_that_is_no_number():
    model = tiny()
    for change, said in {
        (("schedule", "square"),): "Unknown schedule",
        (("batch_size", 8), ("micro_batch", 3)): "no multiple of micro_batch 3",
        (("steps", 0), ("epochs", 0.0)): "nothing to train",
        (("log_steps", 0),): "must be at least 1",
    }.items():
        with pytest.raises(CatalogError, match=said):
            training.train(model, copying(), replace(FULL, **dict(change)))
    with pytest.raises(CatalogError, match="no training examples"):
        training.train(model, [], FULL)
    with pytest.raises(CatalogError, match="loss is nan at step 1; lower"):
        training.train(model, copying(), FULL, loss_fn=no_number)


def test_picked_log_probabilities_and_their_gradient_are_those_of_a_whole_softmax():
    torch.manual_seed(0)
    rows = torch.tensor([0, 5, 36, 5, 17, 16, 15, 40])  # out of order, one twice, on both sides of where a part ends
    labels = torch.tensor([3, 0, 8, 0, 2, 1, 4, 7])
    logits = torch.randn(41, 9, requires_grad=True)
    weight = torch.arange(1.0, 9.0)
    expected = logits.log_softmax(-1)[rows, labels]
    found = losses._Picked.apply(logits, rows, labels)
    torch.testing.assert_close(found, expected)
    (whole,) = torch.autograd.grad((expected * weight).sum(), logits)
    (parted,) = torch.autograd.grad((found * weight).sum(), logits)
    torch.testing.assert_close(parted, whole)
    assert 41 > 2 * ROWS and (parted[1] == 0).all()


def test_products_are_in_the_type_of_the_parameters_unless_a_run_names_its_own(monkeypatch):
    monkeypatch.setattr(training, "load_shared", lambda: {"dtype": "bfloat16"})
    for own, expected in ((None, "bfloat16 autocast"), ("float32", "float32")):
        settings = replace(LORA, steps=1, dtype=own)
        with adapters.lora(tiny(), settings) as adapted:
            assert training.train(adapted, copying(), settings).info["dtype"] == expected
