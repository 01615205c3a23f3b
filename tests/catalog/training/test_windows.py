"""Training of a model whose attention reaches back a few tokens only: as the model has it, or refused, never with another reach."""

import pytest
import torch
from tiny_training import copying, preferences
from transformers import MistralConfig, MistralForCausalLM, Qwen2Config, Qwen2ForCausalLM

from catalog.base.errors import CatalogError
from catalog.training import losses, packing, pairs

SHAPE = {"vocab_size": 60, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}


def mistral(window):
    torch.manual_seed(0)
    return MistralForCausalLM(MistralConfig(**SHAPE, num_key_value_heads=2, initializer_range=0.4, sliding_window=window)).eval()


def test_a_shared_prompt_is_refused_where_the_window_is_shorter_than_its_row():
    examples = preferences(4)
    apart, shared = (pairs.pair_collate(shared=on)(examples) for on in (False, True))
    wide, narrow = mistral(64), mistral(4)
    with torch.no_grad():
        found = [losses.label_log_probs(wide, batch)[0].sort().values for batch in (apart, shared)]
        torch.testing.assert_close(*found, atol=1e-4, rtol=0)
        # The window matters, and rows of one text keep it.
        ids = torch.tensor([examples[0]["chosen_input_ids"]])
        assert (narrow(ids).logits - wide(ids).logits).abs().max() > 0.1
        assert not torch.allclose(losses.label_log_probs(narrow, apart)[0], losses.label_log_probs(wide, apart)[0], atol=1e-2)
        with pytest.raises(CatalogError, match="longer than this model's attention window of 4; give each text a row of its own"):
            losses.label_log_probs(narrow, shared)


@pytest.mark.parametrize("used", [True, False])
def test_it_is_the_window_of_layers_that_use_one(used):
    torch.manual_seed(0)
    config = Qwen2Config(**SHAPE, num_key_value_heads=2, use_sliding_window=used, sliding_window=4, max_window_layers=1)
    model, shared = Qwen2ForCausalLM(config).eval(), pairs.pair_collate(shared=True)(preferences(4))
    if used:
        with pytest.raises(CatalogError, match="longer than this model's attention window of 4"):
            losses.label_log_probs(model, shared)
    else:
        assert losses.label_log_probs(model, shared)[0].isfinite().all()


def test_packed_examples_keep_their_window():
    """Positions that begin again tell transformers where an example begins, under a window too."""
    examples, model = copying(6), mistral(4)
    with torch.no_grad():
        packed, owner = losses.label_log_probs(model, losses.tensors_of(packing.pack(examples, 64)))
        for i, example in enumerate(examples):
            ids, start = torch.tensor([example["input_ids"]]), len(example["input_ids"]) // 2
            alone = model(ids).logits[0, start - 1 : -1].log_softmax(-1).gather(1, ids[0, start:, None])[:, 0]
            torch.testing.assert_close(packed[owner == i], alone, atol=1e-4, rtol=0)
