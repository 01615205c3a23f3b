"""What the tests of the training path share: settings, a tiny model, a copying task. Also importable by the script in test_resume.py."""

import random
from dataclasses import replace
from pathlib import Path

import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from catalog.training.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
VOCABULARY = 60
LORA = Settings(
    steps=8,
    batch_size=8,
    learning_rate=1e-2,
    lora_rank=4,
    lora_targets=("q_proj", "v_proj"),
    lora_layers=(1,),
    lora_dropout=0.1,
    log_steps=2,
    dtype="float32",  # what is compared here holds to float32's rounding; bfloat16 has a test of its own
)
FULL = replace(LORA, lora_rank=0, lora_layers=(), lora_dropout=0.0)


def tiny(kind="llama", seed=0):
    """A random model of three layers with tied embeddings."""
    torch.manual_seed(seed)
    if kind == "gpt2":
        sizes = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
        config = GPT2Config(vocab_size=VOCABULARY, initializer_range=0.3, bos_token_id=0, eos_token_id=1, **sizes)
        return GPT2LMHeadModel(config).eval()
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.2,
        bos_token_id=0,
        eos_token_id=1,
        tie_word_embeddings=True,
    )
    return LlamaForCausalLM(config).eval()


def copying(count=40, seed=0):
    """Examples to learn: a few random tokens, then the same again, which is the answer."""
    rng = random.Random(seed)
    examples = []
    for _ in range(count):
        ids = [rng.randrange(2, VOCABULARY) for _ in range(rng.randrange(2, 9))]
        examples.append({"input_ids": [*ids, *ids], "labels": [*[-100] * len(ids), *ids]})
    return examples


def preferences(count=40, seed=0):
    """Pairs to learn: behind a few random tokens the same again is chosen, and the same backwards rejected."""
    rng = random.Random(seed)
    pairs = []
    for _ in range(count):
        ids = [rng.randrange(2, VOCABULARY) for _ in range(rng.randrange(3, 9))]
        hidden = [-100] * len(ids)
        pair = {}
        for side, answer in (("chosen", [*ids, 1]), ("rejected", [*ids[::-1], 1])):
            pair |= {f"{side}_input_ids": [*ids, *answer], f"{side}_labels": [*hidden, *answer]}
        pairs.append(pair)
    return pairs


def bits(tensors):
    """The bytes of named tensors."""
    return {name: tensor.detach().numpy().tobytes() for name, tensor in tensors.items()}
