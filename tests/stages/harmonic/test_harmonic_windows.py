"""The packed cache under models whose layers see some of the tokens only: as the model itself has it, or refused."""

import numpy as np
import pytest
import torch
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from catalog.base.errors import CatalogError
from stages.harmonic import decode

SHAPE = {
    "vocab_size": 60,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "initializer_range": 0.4,
}
ONE_LAYER = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 5, "head_dim": 8}
WINDOWED = {
    "mistral": (MistralForCausalLM, MistralConfig(**SHAPE, sliding_window=5)),
    "qwen2": (Qwen2ForCausalLM, Qwen2Config(**SHAPE, use_sliding_window=True, sliding_window=5, max_window_layers=1)),
    "gemma3": (Gemma3ForCausalLM, Gemma3TextConfig(**SHAPE, **ONE_LAYER)),
    "wide": (MistralForCausalLM, MistralConfig(**SHAPE, sliding_window=64)),
}


def built(kind):
    torch.manual_seed(0)
    cls, config = WINDOWED[kind]
    return cls(config).eval()


@pytest.mark.parametrize("pack", [4096, 30])  # in one forward pass, and row by row
@pytest.mark.parametrize("kind", WINDOWED)
def test_a_pack_sees_what_whole_rows_see_under_a_window(kind, pack, monkeypatch):
    monkeypatch.setattr(decode, "PACK", pack)
    model, rng = built(kind), np.random.default_rng(0)
    begin = rng.integers(2, 60, size=7).tolist()
    rows = [rng.integers(2, 60, size=length).tolist() for length in (4, 25, 11)]
    with decode._packed_attention(model), torch.no_grad():
        cache = decode._Cache(model, 3, 0)
        cache.begin(begin)
        got = [cache.feed(feed) for feed in ([rows[0][:1], rows[1][:20], []], [rows[0][1:], [], rows[2]], [[], rows[1][20:], []])]
    with torch.no_grad():
        whole = [model(torch.tensor([begin + row])).logits[0, len(begin) :] for row in rows]
    expected = [[whole[0][0], whole[1][19]], [whole[0][-1], whole[2][-1]], [whole[1][-1]]]
    for logits, wanted in zip(got, expected, strict=True):
        torch.testing.assert_close(logits, torch.stack(wanted), atol=1e-4, rtol=1e-4)


def test_the_window_of_these_models_matters():
    ids = torch.tensor([np.random.default_rng(0).integers(2, 60, size=25).tolist()])
    with torch.no_grad():
        assert (built("mistral")(ids).logits - built("wide")(ids).logits)[0, -1].abs().max() > 0.1


def test_attention_that_sampling_does_not_know_is_refused():
    capped = Gemma2ForCausalLM(Gemma2Config(**SHAPE, **ONE_LAYER, attn_logit_softcapping=5.0)).eval()
    with decode._packed_attention(capped), torch.no_grad(), pytest.raises(CatalogError, match="cap or sinks.*use decoding: free"):
        decode._Cache(capped, 1, 0).feed([[3, 4]])
    odd = built("wide")
    odd.config.layer_types = ["chunked_attention", "full_attention"]
    with pytest.raises(CatalogError, match="has chunked_attention layers.*use one with full or sliding attention"):
        decode._Cache(odd, 1, 0)
