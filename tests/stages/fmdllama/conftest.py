"""A tokenizer of the words of these tests and a tiny random model for it."""

import re

import pytest
import torch
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from stages.fmdllama.prompts import ASKED

CHAT = "{% for m in messages %}<user>{{ m['content'] }}{% endfor %}{% if add_generation_prompt %}<model>{% endif %}"
TEXT = (
    f"{ASKED} Lines: Reason: Prediction: \n It was up down; the claim says open context leaves it Context: Text: Claim: Explanation: "
    "A B C rose fell by 1 2 3 4 % . in May June That bears the claim out Fake"
)


@pytest.fixture(scope="session")
def tokenizer():
    """Words, each with the space before it; marks and line ends by themselves; whatever else is [UNK]."""
    pieces = re.findall(r" ?[A-Za-z]+| ?[^\sA-Za-z]|\n", TEXT)
    words = dict.fromkeys(
        ["</s>", "[UNK]", "<user>", "<model>", *(form for piece in pieces for form in (piece.strip(" "), f" {piece.strip(' ')}"))]
    )
    raw = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    raw.pre_tokenizer = pre_tokenizers.Split(Regex(r"<user>|<model>| ?[A-Za-z]+| ?[^\sA-Za-z]|\n"), "isolated")
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, eos_token="</s>", pad_token="</s>", unk_token="[UNK]", chat_template=CHAT, padding_side="left"
    )


@pytest.fixture
def model(tokenizer):
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    config = LlamaConfig(vocab_size=len(tokenizer), initializer_range=0.3, bos_token_id=None, eos_token_id=0, pad_token_id=0, **sizes)
    return LlamaForCausalLM(config).eval()
