"""A LLaVA (https://arxiv.org/abs/2310.03744) of parts: an image tower, a projector of two layers, and a language model; loading and saving.

All classes are those of the transformers library but the tower (`catalog.vision.tower`). The image's features stand in the prompt where
``<image>`` does, one token for each place of the grid, row by row.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import catalog.vision.tower  # noqa: F401  registers the tower's class
from catalog.base.errors import CatalogError, keep_freed_memory
from catalog.base.io import atomic_dir
from catalog.base.params import ROOT
from catalog.models.devices import place, set_up
from catalog.models.lm import quiet_transformers, resolve, set_seed

IMAGE = "<image>"
UNUSED = "<file_sep>"  # a special token of SmolLM2's that no text holds


def make(lm: Any, tokenizer: Any, tower: Any, *, unused: str = UNUSED, seed: int = 0) -> tuple[Any, Any]:
    """(LlavaForConditionalGeneration, LlavaProcessor) of a causal language model of the Llama family and a tower.

    The projector is random. The language model's modules are taken over, not copied, in their type; the tower stays in its own.

    Args:
        unused: a special token of the tokenizer that becomes ``<image>``, so that no row is added to the embeddings.

    Raises:
        CatalogError: the tokenizer has no such special token.
    """
    from transformers import LlavaConfig, LlavaForConditionalGeneration

    processor = processor_of(tokenizer, tower.config, unused)
    rows = tower.config.image_size // tower.config.patch_size
    config = LlavaConfig(
        vision_config=tower.config,
        text_config=lm.config,
        image_token_index=processor.image_token_id,
        image_seq_length=rows * rows,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        tie_word_embeddings=lm.config.tie_word_embeddings,
    )
    set_seed(seed)
    with torch.device("meta"):
        model = LlavaForConditionalGeneration(config)
    projector = type(model.model.multi_modal_projector)(config)
    model.model.vision_tower, model.model.language_model, model.lm_head = tower, lm.model, lm.lm_head
    model.model.multi_modal_projector = projector.to(lm.dtype)
    model.generation_config = lm.generation_config
    model.config.text_config._name_or_path = ""  # where it was loaded from says nothing to others
    return model.to(lm.device).eval(), processor


def processor_of(tokenizer: Any, tower: Any, unused: str = UNUSED) -> Any:
    """The stock processor for a tower of configuration `tower`: images scaled and cut to its size, values -1 to 1."""
    from transformers import LlavaProcessor
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    size = tower.image_size
    images = CLIPImageProcessorPil(
        size={"shortest_edge": size}, crop_size={"height": size, "width": size}, image_mean=[0.5] * 3, image_std=[0.5] * 3
    )
    return LlavaProcessor(
        image_processor=images,
        tokenizer=renamed(tokenizer, unused, IMAGE),
        patch_size=tower.patch_size,
        vision_feature_select_strategy="full",
        image_token=IMAGE,
        num_additional_image_tokens=0,
    )


def renamed(tokenizer: Any, old: str, new: str) -> Any:
    """The tokenizer with its special token `old` called `new`; all ids stay.

    Raises:
        CatalogError: `old` is no special token of it.
    """
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    content = json.loads(tokenizer.backend_tokenizer.to_str())
    entry = next((token for token in content["added_tokens"] if token["content"] == old and token["special"]), None)
    if entry is None:
        raise CatalogError(f"The tokenizer has no special token {old!r} to stand for an image; name one that no text uses.")
    entry["content"] = new
    vocabulary = content["model"]["vocab"]
    if isinstance(vocabulary, dict) and old in vocabulary:
        vocabulary[new] = vocabulary.pop(old)
    kept = {name: getattr(tokenizer, name) for name in ("bos_token", "eos_token", "unk_token", "pad_token", "model_max_length")}
    made = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(content)), padding_side="left", **kept)
    made.chat_template = None  # the prompts of LLaVA-1.5 are plain text
    return made


def load(
    name: str | Path, dtype: str | torch.dtype | None = None, *, device: Any = None, attention: str = "sdpa", root: Path = ROOT
) -> tuple[Any, Any]:
    """(model in evaluation mode, processor that pads on the left) of a saved folder, or of a model of `hub_models` in params.yaml.

    Args:
        name: a folder that `save` wrote (or any of a LLaVA in the library's format), or a catalog name.
        dtype, device: as of `catalog.models.lm.load_lm`.
        attention: ``sdpa``, or ``eager`` where attention weights are read.

    Raises:
        CatalogError: the model is undeclared, not built, damaged, or no LLaVA.
    """
    from transformers import AutoModelForImageTextToText, AutoProcessor

    source = Path(name) if Path(name).is_dir() else resolve(str(name), root)
    device, dtype = set_up(dtype, device, root)
    if device.type == "cpu":
        keep_freed_memory()
    where, options = (str(source), {"local_files_only": True}) if isinstance(source, Path) else (source[0], {"revision": source[1]})
    try:
        with quiet_transformers():
            processor = AutoProcessor.from_pretrained(where, trust_remote_code=False, **options)
            model = AutoModelForImageTextToText.from_pretrained(
                where, dtype=dtype, use_safetensors=True, attn_implementation=attention, trust_remote_code=False, **options
            )
    except (OSError, ValueError, RuntimeError, ImportError, KeyError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CatalogError(
            f"The model {name} could not be loaded; run the stage that trains it again, or check the hub: {reason}"
        ) from error
    processor.tokenizer.padding_side = "left"
    if processor.tokenizer.pad_token is None:
        processor.tokenizer.pad_token = processor.tokenizer.eos_token
    place(model, device)
    return model.eval(), processor


def save(model: Any, processor: Any, folder: str | Path) -> None:
    """Write a `from_pretrained` folder: weights in the types they have, configuration, tokenizer and image processor."""
    with atomic_dir(folder) as temporary, quiet_transformers():
        model.save_pretrained(temporary)
        processor.save_pretrained(temporary)


def inputs(processor: Any, images: Sequence[Any] | None, prompts: Sequence[str]) -> dict[str, Tensor]:
    """Tensors for a model's forward pass or `generate`: `input_ids`, `attention_mask` and, with images, `pixel_values`.

    Args:
        images: PIL images, one for each ``<image>`` of the prompts, in their order; none for prompts of text alone.

    Raises:
        CatalogError: another number of images than of ``<image>``.
    """
    token = processor.image_token
    places = sum(prompt.count(token) for prompt in prompts)
    if places != len(images or ()):
        raise CatalogError(f"The prompts have {places} times {token} for {len(images or ())} images; give one image for each.")
    options = {"text": list(prompts), "return_tensors": "pt", "padding": True}
    made = processor(images=[image.convert("RGB") for image in images], **options) if images else processor(**options)
    return {name: made[name] for name in ("input_ids", "attention_mask", "pixel_values") if name in made}
