"""Training examples: labels on the answer alone, rows, the order of an epoch, batches of like length."""

import numpy as np
import pytest
from tiny_tokenizers import QWEN_WORDS, SPACE, byte_level, sentencepiece

from catalog.base.errors import CatalogError
from catalog.training import packing, pairs


class Words:
    """A tokenizer of whole words: 'a' is 11, 'b' 12, …; it puts a begin token 7 before a text."""

    eos_token_id = 9

    def __call__(self, text, add_special_tokens=True):
        if isinstance(text, list):
            return {"input_ids": [self(item, add_special_tokens)["input_ids"] for item in text]}
        return {"input_ids": [7] * add_special_tokens + [ord(word) - 86 for word in text.split()]}

    def convert_ids_to_tokens(self, token):
        return chr(token + 86)


def test_only_the_answer_has_labels():
    examples = packing.encode(Words(), [("a b", "c"), ([5, 6], [8]), ("", "a b")])
    assert examples == [
        {"input_ids": [7, 11, 12, 13, 9], "labels": [-100, -100, -100, 13, 9]},
        {"input_ids": [5, 6, 8, 9], "labels": [-100, -100, 8, 9]},
        {"input_ids": [7, 11, 12, 9], "labels": [-100, 11, 12, 9]},
    ]
    assert packing.encode(Words(), [("a b", "c d")], end=False, max_length=4)[0]["input_ids"] == [7, 11, 12, 13]
    # Nothing predicts the very first token.
    assert packing.encode(Words(), [([], [4, 5])])[0]["labels"] == [-100, 5, 9]
    with pytest.raises(CatalogError, match="example 1 has no token to learn"):
        packing.encode(Words(), [("a", "b"), ("a b c", "d")], max_length=4)


def llama():
    """As Llama's, a space before every text: <s> 0, </s> 1, line break 2, space 3, then a 4, b 5, c 6, d 7 and " cd" 8."""
    tokens = ["<s>", "</s>", "<0x0A>", SPACE, *"abcd", f"{SPACE}cd"]
    merges = [("c", "d"), (SPACE, "cd")]
    return sentencepiece(tokens, merges, around="<s> $A", bos_token="<s>", eos_token="</s>")


def test_an_answer_has_the_tokens_that_stand_behind_its_prompt():
    tokenizer = llama()
    assert tokenizer("b", add_special_tokens=False)["input_ids"] == [3, 5]  # by itself
    examples = packing.encode(tokenizer, [("a", "b"), ("a", " cd"), ([4], "b"), ([4], [5]), ("", "b"), ([], "b")])
    assert [example["input_ids"] for example in examples] == [
        [0, 3, 4, 5, 1],
        [0, 3, 4, 8, 1],
        [4, 5, 1],
        [4, 5, 1],
        [0, 3, 5, 1],  # a text of its own
        [3, 5, 1],
    ]
    assert examples[0]["labels"] == [-100, -100, -100, 5, 1] and examples[4]["labels"] == [-100, 3, 5, 1]
    assert packing.encode(tokenizer, [("a", "b")], end=False)[0]["input_ids"] == tokenizer("ab")["input_ids"]


def test_bytes_are_the_same_alone_and_behind_a_prompt():
    tokenizer = byte_level(["<s>", "</s>", *"abcdĠĊ"], [("c", "d"), ("Ġ", "cd"), ("Ċ", "Ċ")], words=QWEN_WORDS, eos_token="</s>")
    texts = [("a", "b"), ("a b", " cd"), ("a\n", "\n cd"), ("a ", "cd\n"), ("", " cda"), ("a", "\n\nb")]
    plain = [[tokenizer(text)["input_ids"] for text in pair] for pair in texts]
    found = packing.encode(tokenizer, texts, end=False)
    assert [example["input_ids"] for example in found] == [[*prompt, *answer] for prompt, answer in plain]


def test_both_answers_of_a_pair_have_the_tokens_that_stand_behind_their_prompt():
    tokenizer = llama()
    (pair,), _ = pairs.encode_pairs(tokenizer, [([0, 3, 4], "b", " cd")], max_prompt=9, min_response=1, max_length=9)
    assert (pair["chosen_input_ids"], pair["rejected_input_ids"]) == ([0, 3, 4, 5, 1], [0, 3, 4, 8, 1])


def test_packing_worked_out_by_hand():
    examples = [
        {"input_ids": [1, 2], "labels": [1, 2], "weight": [0.5, 0.25]},
        {"input_ids": [3, 4, 5], "labels": [-100, 4, 5], "weight": [0, 1, 1]},
        {"input_ids": [6], "labels": [6], "weight": [1]},
    ]
    rows = packing.pack(examples, 4)
    # Longest first: example 1 and, in the free place, example 2; then example 0.
    assert rows["input_ids"].tolist() == [[3, 4, 5, 6], [1, 2, 0, 0]]
    assert rows["labels"].tolist() == [[-100, 4, 5, -100], [-100, 2, -100, -100]]
    assert rows["position_ids"].tolist() == [[0, 1, 2, 0], [0, 1, 0, 1]]
    assert rows["example"].tolist() == [[1, 1, 1, 2], [0, 0, -1, -1]]
    assert rows["weight"].tolist() == [[0, 1, 1, 1], [0.5, 0.25, 0, 0]]
    assert (rows["labels"].dtype, rows["weight"].dtype) == (np.int64, np.float32)
    # A row for each example: the padding counts on, so that no mask is made.
    alone = packing.pack(examples, 0)
    assert alone["input_ids"].shape == (3, 3) and (alone["position_ids"] == [0, 1, 2]).all()


def test_the_order_is_whole_epochs_from_the_seed():
    drawn = packing.order(5, 12, seed=1)
    assert sorted(drawn[:5]) == sorted(drawn[5:10]) == [0, 1, 2, 3, 4]
    assert drawn[:5].tolist() != drawn[5:10].tolist()
    assert drawn.tolist() == packing.order(5, 12, seed=1).tolist() != packing.order(5, 12, seed=2).tolist()


def test_examples_of_like_length_share_a_batch_and_each_is_met_once():
    lengths = [5, 1, 4, 2, 3, 6, 8, 7, 9]
    indices = packing.grouped(packing.order(9, 9, 0), lengths, 2, 0)
    assert sorted(indices.tolist()) == list(range(9))
    batches = [{lengths[i] for i in indices[k : k + 2]} for k in (0, 2, 4, 6)]
    assert sorted(map(sorted, batches)) == [[2, 3], [4, 5], [6, 7], [8, 9]] and lengths[indices[8]] == 1
    assert packing.grouped(packing.order(9, 9, 0), lengths, 2, 0).tolist() == indices.tolist()
    windows = packing.grouped(np.arange(9), lengths, 2, 0, window=2)
    assert sorted(windows[:4].tolist()) == [0, 1, 2, 3]  # an example stays in its window
