"""A tiny random LLaVA with a token for each word, and scenes of words, for tests that need whole words as answers."""

import numpy as np
import polars as pl
from tiny import tiny
from tiny_llava import picture, tower
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from catalog.vision import build
from stages.llava_vqa.masks import encode
from stages.llava_vqa.scenes import png

COLOURS, KINDS = ["red", "blue", "green"], ["cup", "ball", "tree"]
WORDS = ["?unknown", "\n", ":", "?", ".", *(f" {w}" for w in [*COLOURS, *KINDS, "is", "the", "colour", "The"]), "USER", "What", "ASSISTANT"]


def llava(seed=0):
    """(model, processor) with 9 image tokens."""
    backend = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token=WORDS[0]))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(" ?[A-Za-z]+|[^A-Za-z]"), "isolated")
    words = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>", pad_token="</s>", unk_token=WORDS[0])
    words.add_special_tokens({"additional_special_tokens": ["<unused>"]})
    model, processor = build.make(tiny("llama", vocabulary=len(words)), words, tower(seed), unused="<unused>", seed=seed)
    model.config.text_config.max_position_embeddings = 256
    return model.float(), processor


def scenes(count=4):
    """images, objects, questions: two objects a scene, of 32 pixels in two corners, and a question about the colour of each."""
    images, objects, questions = [], [], []
    for number in range(count):
        name = f"seen-{number}"
        images.append({"image": name, "split": "seen", "width": 96, "height": 96, "png": png(picture(number))})
        told = []
        for thing, (x, y) in enumerate([(0, 0), (64, 64)]):
            mask = np.zeros((96, 96), bool)
            mask[y : y + 32, x : x + 32] = True
            kind, colour = KINDS[(number + thing) % 3], COLOURS[(number // 2 + thing) % 3]
            place = ("top left", "bottom right")[thing]
            objects.append({"image": name, "object": thing, "kind": kind, "colour": colour, "place": place, "mask": encode(mask)})
            told.append((kind, colour))
        text = " ".join(f"The {kind} is {colour}." for kind, colour in told)
        for thing, (kind, colour) in enumerate(told):
            key = {"id": f"{name}-colour-{thing}", "image": name, "split": "seen", "type": "colour", "answer": colour, "asked": [thing]}
            questions.append(key | {"question": f"What is the colour the {kind}?", "candidates": COLOURS, "text": text})
    return pl.DataFrame(images), pl.DataFrame(objects, schema_overrides={"mask": pl.List(pl.Int32)}), pl.DataFrame(questions)
