"""What the objects stand on: a plain colour, a pattern, or a piece of a photograph, all muted so that no object colour is mistaken."""

from __future__ import annotations

from functools import cache

import numpy as np
from PIL import Image, ImageFilter

BACKGROUNDS = ("plain", "texture", "photo")
PHOTOGRAPHS = ("china.jpg", "flower.jpg")  # scikit-learn's two photographs, CC BY 2.0; the pictures' authors stand in the data card


@cache
def photograph(name: str) -> np.ndarray:
    """One of the two photographs that scikit-learn carries: rows x columns x RGB."""
    from sklearn.datasets import load_sample_image

    return np.array(load_sample_image(name))


def background(kind: str, size: int, rng: np.random.Generator) -> np.ndarray:
    """`size` x `size` x RGB of 0 to 255."""
    tone = rng.uniform(120, 205) + rng.uniform(-14, 14, 3)
    if kind == "plain":
        return np.broadcast_to(tone, (size, size, 3)).round().astype(np.uint8)
    if kind == "texture":
        return _texture(tone, size, rng)
    picture = photograph(PHOTOGRAPHS[rng.integers(len(PHOTOGRAPHS))])
    side = int(rng.integers(min(picture.shape[:2]) // 2, min(picture.shape[:2])))
    top, left = (int(rng.integers(0, length - side + 1)) for length in picture.shape[:2])
    piece = Image.fromarray(picture[top : top + side, left : left + side]).resize((size, size), Image.Resampling.BILINEAR)
    piece = np.asarray(piece.filter(ImageFilter.GaussianBlur(size / 150)), float)
    grey = piece.mean(2, keepdims=True)
    muted = grey + 0.35 * (piece - grey)  # a third of its colour
    muted = tone.mean() + 0.45 * (muted - muted.mean())  # under half of its contrast
    return muted.clip(0, 255).round().astype(np.uint8)


def _texture(tone: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """Stripes, checks or blots in two tones of one muted colour."""
    rows, columns = np.mgrid[0:size, 0:size]
    period, angle = rng.uniform(10, 40) * size / 224, rng.uniform(0, np.pi)
    along = (columns * np.cos(angle) + rows * np.sin(angle)) * 2 * np.pi / period
    across = (rows * np.cos(angle) - columns * np.sin(angle)) * 2 * np.pi / period
    pattern = rng.integers(3)
    if pattern == 0:
        wave = np.sin(along)
    elif pattern == 1:
        wave = np.sign(np.sin(along) * np.sin(across))
    else:
        coarse = Image.fromarray(rng.uniform(0, 255, (12, 12)).astype(np.uint8)).resize((size, size), Image.Resampling.BICUBIC)
        wave = np.asarray(coarse, float) / 127.5 - 1
    return (tone + rng.uniform(8, 22) * wave[..., None]).clip(0, 255).round().astype(np.uint8)
