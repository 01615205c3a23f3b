"""The tokens of an answer behind its prompt, with the two kinds of tokenizer that language models have."""

import pytest
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from catalog.base.errors import CatalogError
from catalog.models.answers import answer_ids, next_token

SPACE = "\N{LOWER ONE EIGHTH BLOCK}"


@pytest.fixture
def llama():
    """As Llama's: SentencePiece with a space before every text, digits one by one, and <s> in front."""
    tokens = ["<s>", "<0x0A>", SPACE, *"0123456789+-=:aimns", "is", "an", "man", f"{SPACE}is", f"{SPACE}man", f"{SPACE}-", "=-"]
    merges = [("i", "s"), ("a", "n"), ("m", "an"), (SPACE, "is"), (SPACE, "man"), (SPACE, "-"), ("=", "-")]
    raw = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, merges, byte_fallback=True))
    raw.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=False)
    raw.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 0)])
    return PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<s>")


@pytest.fixture
def qwen():
    """As Qwen's and SmolLM2's: bytes, digits one by one, a space merged with the word or sign that follows it."""
    tokens = ["<s>", *"0123456789+-=aimnsĠĊ", "is", "an", "man", "Ġis", "Ġman", "Ġ-", "=-"]
    merges = [("i", "s"), ("a", "n"), ("m", "an"), ("Ġ", "is"), ("Ġ", "man"), ("Ġ", "-"), ("=", "-")]
    raw = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, merges))
    words = Regex(r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
    raw.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(words, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<s>")


def names(tokenizer, ids):
    return tokenizer.convert_ids_to_tokens(ids)


def test_llama_answers_differ_by_their_digit(llama):
    assert names(llama, llama("7", add_special_tokens=False)["input_ids"]) == [SPACE, "7"]  # by itself: every answer begins alike
    assert names(llama, answer_ids(llama, "3+4=", "7")) == ["7"]
    assert names(llama, answer_ids(llama, "3+4 is ", "7")) == ["7"]
    assert names(llama, answer_ids(llama, "35+7=", "42")) == ["4", "2"]
    assert len({next_token(llama, "3+4=", str(digit)) for digit in range(10)}) == 10


def test_byte_level_answers_are_those_of_the_answer_alone(qwen):
    for prompt in ("3+4=", "3+4 is "):
        assert answer_ids(qwen, prompt, "42") == qwen("42")["input_ids"]
    assert next_token(qwen, "3+4=", "42") == qwen("4")["input_ids"][0]


def test_a_word_takes_its_space(llama, qwen):
    assert names(llama, answer_ids(llama, "3 is", " man")) == [f"{SPACE}man"]
    assert names(qwen, answer_ids(qwen, "3 is", " man")) == ["Ġman"]


@pytest.mark.parametrize("kind", ["llama", "qwen"])
@pytest.mark.parametrize(("prompt", "answer"), [("3 is ", "man"), ("12-37=", "-25"), ("12-37 is ", "-25")])
def test_a_merged_border_is_refused_or_forced(kind, prompt, answer, request):
    tokenizer = request.getfixturevalue(kind)
    with pytest.raises(CatalogError, match=f"merges the end of '{prompt}' with the answer '{answer}'"):
        next_token(tokenizer, prompt, answer)
    expected = ["-", "2", "5"] if answer == "-25" else ["man"]
    assert names(tokenizer, answer_ids(tokenizer, prompt, answer, apart=True)) == expected


@pytest.mark.parametrize("kind", ["llama", "qwen"])
def test_an_empty_answer_is_refused(kind, request):
    with pytest.raises(CatalogError, match="answer behind '3=' is empty"):
        answer_ids(request.getfixturevalue(kind), "3=", "")
