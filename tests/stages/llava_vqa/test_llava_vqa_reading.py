"""Likelihoods of answers in rows that share an image: those of each prompt and answer alone."""

import pytest
import torch
from tiny_llava import llava, picture

from catalog.vision import build
from catalog.vision.features import features
from stages.llava_vqa import prompts, reading

pytestmark = pytest.mark.usefixtures("one_thread")
QUESTIONS, WORDS = ["abc?", "what is it?"], [["ab", "b", "c"], ["a", "dd"]]


@torch.inference_mode()
def alone(model, processor, image, text, word):
    whole, asked = (build.inputs(processor, [image] if image else None, [part]) for part in (text + prompts.answer(word), text))
    said = model(**whole).logits[0].float().log_softmax(-1)
    ids, start = whole["input_ids"][0], asked["input_ids"].shape[1]
    return float(sum(said[at - 1, ids[at]] for at in range(start, len(ids))))


@pytest.mark.parametrize("shown", ["image", "text", "nothing"])
def test_answers_have_the_likelihoods_that_they_have_alone(shown):
    model, processor = llava()
    model.float()
    images = [picture(0), picture(1)]
    with torch.inference_mode():
        places = model.model.multi_modal_projector(features(model, processor, images, torch.float32))
    form = {"image": prompts.with_image, "text": lambda q: prompts.with_text("a cat", q), "nothing": prompts.without}[shown]
    texts = [form(question) for question in QUESTIONS]
    eyes = lambda i: places[i] if shown == "image" else None  # noqa: E731
    rows = [reading.asked(processor.tokenizer, texts, WORDS, eyes(i), processor.image_token_id) for i in range(2)]
    found = reading.score(reading.Reader.of_llava(model), rows, processor.image_token_id)
    expected = [
        [
            [alone(model, processor, images[i] if shown == "image" else None, text, word) for word in words]
            for text, words in zip(texts, WORDS)
        ]
        for i in range(2)
    ]
    for own, theirs in zip(found, expected, strict=True):
        for one, other in zip(own, theirs, strict=True):
            assert one == pytest.approx(other, abs=1e-3)


def test_an_answer_of_two_tokens_is_read_behind_its_first():
    one = reading.Asked([[1, 2, 3], [1, 2, 4]], [[[7, 8], [7, 9]], [[5]]])
    row, plan, last = reading.layout(one, None)
    assert row["input_ids"] == [1, 2, 3, 7, 4]  # the beginning, the first question with 7, inside of which it is read, the second question
    assert plan == [[[(0, 7), (1, 8)], [(0, 7), (1, 9)]], [[(2, 5)]]]
    assert last == [2, 3, 4]
