"""Tiny random models of the supported families, built from configurations: no download, well under a second each."""

import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM


def tiny(family: str, vocabulary: int = 61, layers: int = 3):
    """A random model with distinct, not too small weights. Families: llama (grouped-query), llama_mha, qwen2 (biases), gpt2."""
    torch.manual_seed(7)
    if family == "gpt2":
        config = GPT2Config(
            vocab_size=vocabulary, n_embd=24, n_layer=layers, n_head=4, n_positions=64, n_inner=40, bos_token_id=0, eos_token_id=0
        )
        model = GPT2LMHeadModel(config)
    else:
        kind, cls = (Qwen2Config, Qwen2ForCausalLM) if family == "qwen2" else (LlamaConfig, LlamaForCausalLM)
        config = kind(
            vocab_size=vocabulary,
            hidden_size=24,
            intermediate_size=40,
            num_hidden_layers=layers,
            num_attention_heads=4,
            num_key_value_heads=4 if family == "llama_mha" else 2,
            max_position_embeddings=64,
            bos_token_id=0,
            eos_token_id=0,
            tie_word_embeddings=family == "qwen2",
        )
        model = cls(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.25)
            elif "norm" in name or "ln_" in name:
                parameter.uniform_(0.6, 1.4) if name.endswith("weight") else parameter.uniform_(-0.2, 0.2)
            else:
                parameter.uniform_(-0.2, 0.2)
    return model.eval()
