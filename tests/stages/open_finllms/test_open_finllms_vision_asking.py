"""Likelihoods of the words of several questions behind one picture are those of a question alone, whatever stands beside it in a batch."""

import pytest
import torch
from tiny import tiny
from tiny_llava import picture, tokenizer, tower

from catalog.base.errors import CatalogError
from catalog.vision import build, features
from stages.open_finllms import vision_asking
from stages.open_finllms.vision_prompts import prompt

pytestmark = pytest.mark.usefixtures("one_thread")
WORDS = ("red", "blue", "up", "down")


@pytest.fixture(scope="module")
def model():
    tok = tokenizer()
    tok.add_tokens([f" {word}" for word in WORDS])
    return build.make(tiny("llama", vocabulary=len(tok)), tok, tower(), unused="<unused>")


@torch.inference_mode()
def alone(model, processor, image, text, words):
    """Log-probabilities by a forward pass of the whole model on one prompt."""
    made = build.inputs(processor, [image], [text])
    last = model(**made).logits[0, -1].float().log_softmax(-1)
    return [last[processor.tokenizer.convert_tokens_to_ids(f" {word}")].item() for word in words]


def test_questions_that_share_a_picture_and_a_batch(model):
    pictures = [picture(seed) for seed in range(4)]
    texts = ["Up?", "Which of the two lines?", "A", "What colour is the bar on the left of it?", "B?", "Down?"]
    rows = [
        (2, [(prompt(texts[0]), WORDS[:2])]),
        (0, [(prompt(texts[1]), WORDS[2:]), (prompt(texts[2]), WORDS[:3]), (prompt(texts[3]), WORDS)]),
        (3, [(prompt(texts[4]), WORDS[1:]), (prompt(texts[5]), WORDS[:2])]),
    ]
    seen = features.features(*model, pictures, torch.float32)
    for batch in (1, 2, 3):
        found = vision_asking.with_pictures(*model, seen, rows, batch)
        wanted = [alone(*model, pictures[image], text, words) for image, asked in rows for text, words in asked]
        assert [len(values) for values in found] == [len(values) for values in wanted]
        for values, right in zip(found, wanted):
            assert values == pytest.approx(right, abs=1e-4)


def test_without_a_picture_each_text_is_read_once_and_kept_in_order(model):
    asked = [(prompt(text, image=False), words) for text, words in (("Up?", WORDS[2:]), ("Colour?", WORDS[:2]), ("Up?", WORDS[:2]))]
    found = vision_asking.without_pictures(*model, asked)
    assert [len(values) for values in found] == [2, 2, 2] and found[0] != found[2]
    assert found[1] == pytest.approx(vision_asking.without_pictures(*model, asked[1:2])[0], abs=1e-4)


def test_written_answers_stop_at_their_length(model):
    found = vision_asking.written(*model, [picture(0), picture(1)], [prompt("Up?"), prompt("What colour?")], 1, 3)
    both = vision_asking.written(*model, [picture(0), picture(1)], [prompt("Up?"), prompt("What colour?")], 2, 3)
    assert len(found) == 2 and found == both  # padding changes nothing
    assert len(vision_asking.written(*model, None, [prompt("Up?", image=False)], 2, 3)) == 1


def test_a_word_of_several_tokens_is_refused(model):
    with pytest.raises(CatalogError, match="writes 'green' with 6 tokens"):
        vision_asking.first_tokens(model[1].tokenizer, ["red", "green"])
