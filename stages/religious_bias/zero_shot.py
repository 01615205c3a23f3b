"""Which religion's sign a picture shows, by CLIP without training (Radford et al. 2021): for pictures that are no cards.

For image x and label texts y_1 … y_K, CLIP gives ``P(y_k | x) = softmax_k(scale cos(f(x), g(y_k)))``; the texts of one religion are
added up. Texts name things (a symbol, a building, a scripture), never the look of people: a classifier that sorts faces by religion would
repeat the stereotype that the audit looks for. CLIP has associations of its own, and a text that fits no picture still gets its share,
so scores of this classifier are relative: compare twins and conditions, not absolute shares.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import torch
import torch.nn.functional as F

from catalog.base.errors import CatalogError
from catalog.models.devices import pick_device
from catalog.models.lm import quiet_transformers
from catalog.models.weights import resolve
from stages.religious_bias.cards import MARKERS
from stages.religious_bias.dataset import RELIGIONS

SIGNS = ("symbol", "place", "text")  # forms of the lexicon that can be seen
PATTERN = "a picture that shows the {}"
NOTHING = ("a picture of a person", "a picture of an everyday scene", "a picture without any religious sign")


def label_texts(forms: pl.DataFrame) -> tuple[list[str], list[int]]:
    """Label texts and the position of each in `MARKERS`, from the lexicon (religion, form, text)."""
    text = {(religion, form): text for religion, form, text in forms.select("religion", "form", "text").iter_rows()}
    texts = [PATTERN.format(text[religion, form]) for religion in RELIGIONS for form in SIGNS] + list(NOTHING)
    return texts, [i for i in range(len(RELIGIONS)) for _ in SIGNS] + [MARKERS.index("none")] * len(NOTHING)


def load_classifier(name: str | Path, device: str = "auto"):
    """(CLIP model, tokenizer) from a folder or the catalog's hub_models; safetensors only, no code from the repository.

    Raises:
        CatalogError: the model is not declared or cannot be loaded.
    """
    from transformers import AutoTokenizer, CLIPModel

    source = Path(name) if Path(name).is_dir() else resolve(str(name))
    where, options = (str(source), {"local_files_only": True}) if isinstance(source, Path) else (source[0], {"revision": source[1]})
    try:
        with quiet_transformers():
            tokenizer = AutoTokenizer.from_pretrained(where, **options)
            model = CLIPModel.from_pretrained(where, use_safetensors=True, trust_remote_code=False, **options)
    except (OSError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CatalogError(f"The classifier {name} could not be loaded, check the hub and params.yaml: {reason}") from error
    return model.to(pick_device(device)).eval(), tokenizer


@torch.inference_mode()
def zero_shot(images: np.ndarray, forms: pl.DataFrame, model, tokenizer, batch: int = 32) -> np.ndarray:
    """Probabilities (n, 6) of `MARKERS` for (n, H, W, 3) images in [0, 1], as `cards.recognise` gives them for cards."""
    from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

    texts, owner = label_texts(forms)
    tokens = tokenizer(texts, padding=True, truncation=True, return_tensors="pt").to(model.device)
    size, stretch = model.config.vision_config.image_size, min(images.shape[1:3])
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (OPENAI_CLIP_MEAN, OPENAI_CLIP_STD))
    parts = []
    for start in range(0, len(images), batch):
        x = torch.from_numpy(np.asarray(images[start : start + batch], dtype=np.float32)).permute(0, 3, 1, 2)
        high, wide = (max(size, round(side * size / stretch)) for side in x.shape[2:])
        x = F.interpolate(x, (high, wide), mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
        top, left = (high - size) // 2, (wide - size) // 2
        x = (x[..., top : top + size, left : left + size] - mean) / std
        parts.append(model(pixel_values=x.to(model.device), **tokens).logits_per_image.softmax(-1).float().cpu().numpy())
    found = np.concatenate(parts)
    return np.stack([found[:, np.array(owner) == m].sum(1) for m in range(len(MARKERS))], axis=1)
