"""A word tokenizer and tiny random models for tests that go from text to text."""

import torch
from tiny_tokenizers import byte_level
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

WORDS = "simplify read classify to hard easy middle : . the cat dog sat ran on a mat big small house was it and then rain fell sun rose"
CHAT = "{% for m in messages %}<s>{{ m['content'] }}{% endfor %}{% if add_generation_prompt %}>{% endif %}"
SPECIAL = ["[PAD]", "[EOS]", "[UNK]", "[CLS]", "[SEP]"]


def words_tokenizer(kind="decoder"):
    """One token a word. decoder: nothing around a text; encoder: [CLS] and [SEP]; t5: an end token behind it."""
    vocabulary = {word: i for i, word in enumerate(dict.fromkeys([*SPECIAL, *WORDS.split(), "\n"]))}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split("\n", "isolated"), pre_tokenizers.Split(" ", "removed")])
    made.decoder = decoders.WordPiece(prefix="##", cleanup=False)
    if kind == "encoder":
        made.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", None, [("[CLS]", 3), ("[SEP]", 4)])
    if kind == "t5":
        made.post_processor = processors.TemplateProcessing("$A [EOS]", None, [("[EOS]", 1)])
    names = {"pad_token": "[PAD]", "eos_token": "[EOS]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=made, padding_side="left" if kind == "decoder" else "right", **names)


def char_tokenizer() -> PreTrainedTokenizerFast:
    """One token a character: <s> 0, </s> 1, then a-z, space, newline, digits."""
    tokens = ["<s>", "</s>", *"abcdefghijklmnopqrstuvwxyzĠĊ0123456789"]
    return byte_level(tokens, bos_token="<s>", eos_token="</s>", chat_template=CHAT)


def decoder(layers=2, seed=0):
    torch.manual_seed(seed)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": layers, "num_attention_heads": 4, "num_key_value_heads": 2}
    config = LlamaConfig(vocab_size=48, initializer_range=0.2, bos_token_id=None, eos_token_id=1, pad_token_id=0, **sizes)
    return LlamaForCausalLM(config).eval()


def t5(seed=0):
    torch.manual_seed(seed)
    sizes = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4}
    config = T5Config(vocab_size=48, dropout_rate=0.0, decoder_start_token_id=0, pad_token_id=0, eos_token_id=1, **sizes)
    return T5ForConditionalGeneration(config).eval()


def encoder(seed=0):
    """(model, tokenizer) in place of the sentence encoder."""
    torch.manual_seed(seed)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 12}
    return BertModel(BertConfig(vocab_size=48, **sizes)).eval(), words_tokenizer("encoder")
