"""Tiny tokenizers of the two kinds that language models have, and one of single characters, for tests that look at single tokens.

Each takes its tokens in the order of their ids; what `merges` make has the ids after them. `around` is what stands around a text, such as
``<s> $A``. Further options are those of transformers: `bos_token`, `chat_template`, ….
"""

from collections.abc import Sequence
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

Merges = Sequence[tuple[str, str]]
SPACE = "\N{LOWER ONE EIGHTH BLOCK}"  # a space in the tokens of SentencePiece; in those of bytes it is Ġ, and a line break Ċ
QWEN_WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def sentencepiece(
    tokens: Sequence[str], merges: Merges = (), *, twice: bool = False, around: str = "", **options: Any
) -> PreTrainedTokenizerFast:
    """As Llama's: SentencePiece with a space before every text. For a line break `tokens` need <0x0A>.

    twice: a text that begins with a space gets another one, as in the files of Llama 2.
    """
    backend = Tokenizer(models.BPE(_vocabulary(tokens, merges), list(merges), byte_fallback=True))
    if twice:
        backend.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)])
    else:
        backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=False)
    return _finished(backend, around, options)


def byte_level(tokens: Sequence[str], merges: Merges = (), *, words: str = "", around: str = "", **options: Any) -> PreTrainedTokenizerFast:
    """As GPT-2's and Qwen's: bytes, merged inside words that take the space before them. `words`: the pattern of a word, GPT-2's own by
    default."""
    backend = Tokenizer(models.BPE(_vocabulary(tokens, merges), list(merges)))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=not words)
    if words:
        backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(words), "isolated"), backend.pre_tokenizer])
    backend.decoder = decoders.ByteLevel()
    return _finished(backend, around, options)


def characters(tokens: Sequence[str], *, around: str = "", **options: Any) -> PreTrainedTokenizerFast:
    """One token a character; one that is not among `tokens` becomes the first of them."""
    backend = Tokenizer(models.WordLevel(_vocabulary(tokens), unk_token=tokens[0]))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    return _finished(backend, around, options)


def _vocabulary(tokens: Sequence[str], merges: Merges = ()) -> dict[str, int]:
    return {token: i for i, token in enumerate(dict.fromkeys([*tokens, *map("".join, merges)]))}


def _finished(backend: Tokenizer, around: str, options: dict[str, Any]) -> PreTrainedTokenizerFast:
    if around:
        special = [(token, backend.token_to_id(token)) for token in dict.fromkeys(around.split()) if token != "$A"]
        backend.post_processor = processors.TemplateProcessing(around, special_tokens=special)
    return PreTrainedTokenizerFast(tokenizer_object=backend, **options)
