"""A tiny random LLaVA and pictures, for tests: a Llama of three layers, a narrow tower, a tokenizer of characters."""

import numpy as np
import torch
from PIL import Image
from tiny import tiny
from tiny_tokenizers import characters

from catalog.vision import build
from catalog.vision.tower import LITE0, LiteTower, LiteTowerConfig

LETTERS = [*"\0abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ:?\n."]


def tower(seed=0):
    """A random tower of an eighth of the width, for images of 96 pixels: 3 x 3 places."""
    torch.manual_seed(seed)
    made = LiteTower(LiteTowerConfig(**LITE0 | {"width_coefficient": 0.125, "image_size": 96}))
    with torch.no_grad():
        for module in made.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight.fill_(1)
                module.momentum = 1.0  # one batch decides, so that the image gets through all layers
        made.train()(torch.rand(8, 3, 96, 96) * 2 - 1)
    return made.eval()


def tokenizer():
    made = characters(LETTERS, eos_token="</s>", pad_token="</s>", unk_token=LETTERS[0])
    made.add_special_tokens({"additional_special_tokens": ["<unused>"]})
    return made


def llava(seed=0):
    """(model, processor) with 9 image tokens."""
    tok = tokenizer()
    return build.make(tiny("llama", vocabulary=len(tok)), tok, tower(seed), unused="<unused>", seed=seed)


def picture(seed=0, size=96):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8))
