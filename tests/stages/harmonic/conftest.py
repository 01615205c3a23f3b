"""A tiny random language model with a token a byte."""

import pytest
import torch
from tiny_tokenizers import byte_level
from tokenizers import pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM


@pytest.fixture(scope="module")
def tokenizer():
    """A token a byte, with a chat template."""
    tokens = ["<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    chat = "{% for m in messages %}<s>{{ m['content'] }}\n{% endfor %}{% if add_generation_prompt %}>{% endif %}"
    return byte_level(tokens, bos_token="<s>", eos_token="</s>", pad_token="</s>", chat_template=chat)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    config = LlamaConfig(vocab_size=258, max_position_embeddings=2048, bos_token_id=0, eos_token_id=1, initializer_range=0.3, **sizes)
    return LlamaForCausalLM(config).eval()
