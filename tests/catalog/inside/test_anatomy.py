"""Which models are read piece by piece, and up to which length: the rest is refused with a sentence, never read wrongly."""

import pytest
import torch
from tiny import tiny
from torch import nn
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from catalog.base.errors import CatalogError
from catalog.inside.anatomy import layers, next_logprobs, view
from catalog.inside.interventions import head_scan

SHAPE = {
    "vocab_size": 40,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "initializer_range": 0.4,
}
PROMPT = [3, 5, 7, 9, 11, 13, 15, 17, 19, 21]


def built(cls, config):
    torch.manual_seed(1)
    return cls(config).eval()


def own(model, prompt):
    with torch.no_grad():
        return model(torch.tensor([prompt])).logits[0, -1].log_softmax(-1)


WINDOWED = {
    "mistral": lambda: built(MistralForCausalLM, MistralConfig(**SHAPE, sliding_window=4)),
    "qwen2, upper layers": lambda: built(
        Qwen2ForCausalLM, Qwen2Config(**SHAPE, use_sliding_window=True, sliding_window=4, max_window_layers=1)
    ),
}


@pytest.mark.parametrize("kind", WINDOWED)
def test_a_prompt_longer_than_the_attention_window_is_refused(kind):
    model = WINDOWED[kind]()
    v = view(model)
    assert v.longest == 4
    torch.testing.assert_close(next_logprobs(v, [PROMPT[:4]])[0], own(model, PROMPT[:4]), atol=1e-5, rtol=0)
    for run in (lambda: next_logprobs(v, [PROMPT[:2], PROMPT]), lambda: head_scan(v, [PROMPT[:5]], lambda logp, group: logp.amax(-1))):
        with pytest.raises(CatalogError, match="this model reads 4 at a time"):
            run()
    # What would be said of it otherwise: the window does matter.
    free = type(model)(type(model.config)(**{**model.config.to_dict(), "sliding_window": None, "layer_types": None})).eval()
    free.load_state_dict(model.state_dict())
    assert (own(free, PROMPT) - own(model, PROMPT)).abs().max() > 0.1


def test_without_a_window_any_length_is_read():
    for model in (built(MistralForCausalLM, MistralConfig(**SHAPE, sliding_window=None)), built(Qwen2ForCausalLM, Qwen2Config(**SHAPE))):
        v = view(model)
        assert v.longest is None
        torch.testing.assert_close(next_logprobs(v, [PROMPT])[0], own(model, PROMPT), atol=1e-5, rtol=0)


def test_learnt_positions_and_stretched_rotations_have_an_end():
    assert view(tiny("gpt2")).longest == 64
    with pytest.raises(CatalogError, match="has 65 tokens.*reads 64 at a time"):
        next_logprobs(view(tiny("gpt2")), [[1] * 65])
    rope = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}
    assert view(built(LlamaForCausalLM, LlamaConfig(**SHAPE, rope_parameters=rope))).longest == 64
    rope = {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}
    model = built(LlamaForCausalLM, LlamaConfig(**SHAPE, rope_parameters=rope, head_dim=10, attention_bias=True, mlp_bias=True))
    v = view(model)
    assert v.longest is None  # the same at any length
    torch.testing.assert_close(next_logprobs(v, [PROMPT])[0], own(model, PROMPT), atol=1e-5, rtol=0)


def scaled_embeddings(model):
    def scale(module, args, given):
        given["inputs_embeds"] = 3.0 * module.embed_tokens(given.pop("input_ids"))
        return args, given

    model.model.register_forward_pre_hook(scale, with_kwargs=True)


def capped_logits(model):
    def cap(module, args, output):
        output.logits = 2.0 * torch.tanh(output.logits / 2.0)
        return output

    model.register_forward_hook(cap)


class Parallel(nn.Module):
    """A block that adds something beside attention and FFN."""

    def __init__(self, block):
        super().__init__()
        self.block = block

    def forward(self, hidden, **given):
        return self.block(hidden, **given) + 0.5 * hidden


def parallel(model):
    model.model.layers[-1] = Parallel(model.model.layers[-1])
    for name in ("self_attn", "mlp", "input_layernorm", "post_attention_layernorm"):
        setattr(model.model.layers[-1], name, getattr(model.model.layers[-1].block, name))


@pytest.mark.parametrize("change", [scaled_embeddings, capped_logits, parallel])
def test_a_model_that_computes_more_than_its_parts_is_refused(change):
    model = built(LlamaForCausalLM, LlamaConfig(**SHAPE))
    view(model)
    change(model)
    with pytest.raises(CatalogError, match="off its own, so it has a part that attribution does not know"):
        view(model)


def test_adapters_and_quantised_weights_are_refused():
    from peft import LoraConfig, get_peft_model

    model = built(LlamaForCausalLM, LlamaConfig(**SHAPE))
    adapted = get_peft_model(model, LoraConfig(target_modules=["o_proj"], layers_to_transform=[1]))
    with pytest.raises(CatalogError, match="Layer 1 has peft's Linear where .* take an adapter off"):
        view(model)
    assert len(layers(model)) == 3  # training below an adapter needs no more than the blocks
    adapted.unload()
    assert view(model).n_layers == 3


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_rounding_is_no_reason(dtype):
    for family in ("llama", "qwen2", "gpt2"):
        model = tiny(family).to(dtype)
        model.train()
        assert view(model).n_layers == 3 and model.training


def test_unknown_families_are_refused_by_name():
    model = built(GPT2LMHeadModel, GPT2Config(vocab_size=20, n_embd=8, n_layer=1, n_head=2))
    model.config.model_type = "gpt_neox"
    for read in (view, layers):
        with pytest.raises(CatalogError, match="does not know the model family 'gpt_neox'"):
            read(model)
