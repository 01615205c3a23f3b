"""Tiny random LLaVAs of stock classes with a CLIP tower, for tests of where they look."""

import numpy as np
import torch
from PIL import Image
from tiny import tiny
from tiny_llava import tokenizer
from transformers import (
    AutoModelForImageTextToText,
    CLIPVisionConfig,
    LlavaConfig,
    LlavaProcessor,
    VipLlavaConfig,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from catalog.vision import build


def processor(side=56, patch=14, images=None):
    """As of llava-1.5: shortest edge and centre crop, the class token dropped."""
    images = images or CLIPImageProcessorPil(size={"shortest_edge": side}, crop_size={"height": side, "width": side})
    words = build.renamed(tokenizer(), "<unused>", build.IMAGE)
    return LlavaProcessor(
        images, words, patch_size=patch, vision_feature_select_strategy="default", num_additional_image_tokens=1, image_token="<image>"
    )


def seeing(kind="llava", family="llama", side=56, patch=14, dtype=torch.float32, layers=3):
    """(model, processor): a random LLaVA or VipLlava with a stock CLIP tower and a language model of 4 heads."""
    made = processor(side, patch)
    text = tiny(family, vocabulary=len(made.tokenizer), layers=layers).config
    text.max_position_embeddings = 1024
    tower = CLIPVisionConfig(
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=3,
        num_attention_heads=2,
        image_size=side,
        patch_size=patch,
        projection_dim=16,
    )
    parts = {"vision_config": tower, "text_config": text, "image_token_index": made.image_token_id}
    if kind == "llava":
        config = LlavaConfig(**parts, image_seq_length=(side // patch) ** 2, tie_word_embeddings=text.tie_word_embeddings)
    else:
        config = VipLlavaConfig(**parts, vision_feature_layers=[-1, -2], tie_word_embeddings=text.tie_word_embeddings)
    torch.manual_seed(3)
    model = AutoModelForImageTextToText.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.3)
    return model.to(dtype).eval(), made


def noise(width=70, height=56, seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))
