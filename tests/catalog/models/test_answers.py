"""The tokens of an answer behind its prompt, with the two kinds of tokenizer that language models have."""

import pytest
from tiny_tokenizers import QWEN_WORDS, SPACE, byte_level, sentencepiece

from catalog.base.errors import CatalogError
from catalog.models.answers import answer_ids, inner_ids, next_token


@pytest.fixture
def llama():
    """As Llama's: a space before every text, digits one by one, and <s> in front."""
    merges = [("i", "s"), ("a", "n"), ("m", "an"), (SPACE, "is"), (SPACE, "man"), (SPACE, "-"), ("=", "-")]
    return sentencepiece(["<s>", "<0x0A>", SPACE, *"0123456789+-=:aimns"], merges, around="<s> $A", bos_token="<s>")


@pytest.fixture
def qwen():
    """As Qwen's and SmolLM2's: bytes, digits one by one, a space merged with the word or sign that follows it."""
    merges = [("i", "s"), ("a", "n"), ("m", "an"), ("Ġ", "is"), ("Ġ", "man"), ("Ġ", "-"), ("=", "-")]
    return byte_level(["<s>", *"0123456789+-=aimnsĠĊ"], merges, words=QWEN_WORDS, bos_token="<s>")


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


def test_texts_inside_another_one_have_no_space_of_the_tokenizers_own(llama, qwen):
    assert [names(llama, ids) for ids in inner_ids(llama, ["man", " man", "7", ""])] == [["man"], [f"{SPACE}man"], ["7"], []]
    texts = ["man", " man", "-25", " -", "\nis", "\n\n 7", "", "=- is"]
    assert inner_ids(qwen, texts) == qwen(texts)["input_ids"]  # bytes: a text is the same everywhere
    assert inner_ids(llama, []) == []
    older = sentencepiece(["<s>", "<0x0A>", SPACE, *"man"], [("m", "a"), ("ma", "n"), (SPACE, "man")], twice=True)
    assert names(older, older(" man")["input_ids"]) == [SPACE, f"{SPACE}man"]
    assert [names(older, ids) for ids in inner_ids(older, ["man", " man"])] == [["man"], [f"{SPACE}man"]]


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
