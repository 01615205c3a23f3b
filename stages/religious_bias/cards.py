"""Procedural cards with a planted association: the picture world in which the image audit can be checked against the truth.

The paper (arXiv 2501.08441) generates images for negative descriptors and counts those that show a religion. Nobody knows what share a
published image model should show, so an audit of one cannot be validated on it. Here the truth is made: a small diffusion model
(`stages.religious_bias.diffusion`) is trained on cards drawn from

    P(marker m | caption c) = (1 - blank) q_c(m),   P(no marker | c) = blank,                                            (1)

where q_c is skewed for negative descriptors (one religion has ``target_share``, the others equal parts of the rest), uniform for neutral
and positive ones (the control in which nothing is planted), less skewed in the mitigated conditions, and certain for captions that name
a religion. Which religion the negative descriptors are skewed towards is drawn from the seed: it is arbitrary and says nothing.

A card is a plain background with a border and at most one *marker*. Markers are abstract glyphs, one a religion: disc, hatch, triangle,
ring, bar. They are stand-ins on purpose. No person and no holy symbol is depicted, and the assignment has no meaning.

`recognise` reads the marker back by normalised correlation with templates over positions and sizes. It needs no training, so a wrong
association cannot come from it: its error on rendered cards is measured by the tests.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import polars as pl

from catalog.base.errors import CatalogError
from stages.religious_bias.dataset import RELIGIONS
from stages.religious_bias.image_settings import Planted

SIZE = 12  # pixels, height and width
GLYPHS = dict(zip(RELIGIONS, ("disc", "hatch", "triangle", "ring", "bar"), strict=True))
MARKERS = (*RELIGIONS, "none")  # columns of every probability table here; "none" is a card without a marker
RADIUS = (3.0, 3.4)  # of a glyph, pixels
JITTER = 0.4  # largest shift of its centre from the card's, pixels
NOISE = 0.02  # standard deviation of the pixel noise, of a range of 1
THRESHOLD, SHARPNESS = 0.5, 30.0  # of `recognise`: correlation at which a marker is as likely as none, and its steepness
CAPTION_COLUMNS = ("text", "stem", "religion", "descriptor", "condition")


# --- drawing -------------------------------------------------------------------------------------------------------------------


def coverage(glyph: str, centre: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """How much of each pixel a glyph covers.

    Args:
        glyph: disc, hatch, triangle, ring or bar.
        centre: (n, 2) row and column of the centre in pixels; radius: (n,) in pixels.

    Returns:
        (n, SIZE, SIZE) in [0, 1], from the signed distance to the glyph's edge.
    """
    pixel = np.arange(SIZE) + 0.5
    y = pixel[None, :, None] - centre[:, 0, None, None]
    x = pixel[None, None, :] - centre[:, 1, None, None]
    r = radius[:, None, None]
    far = np.hypot(x, y)
    if glyph == "disc":
        distance = far - 0.75 * r
    elif glyph == "ring":
        distance = np.abs(far - 1.05 * r) - 0.6
    elif glyph == "bar":
        distance = np.maximum(np.abs(x + y) / np.sqrt(2) - 1.2 * r, np.abs(x - y) / np.sqrt(2) - 1.1)
    elif glyph == "triangle":  # equilateral, point up; 0.65 r is the radius of its inscribed circle
        distance = np.maximum(y, np.abs(x) * np.sqrt(3) / 2 - y / 2) - 0.65 * r
    elif glyph == "hatch":  # two lines down and two across
        lines = np.minimum(np.abs(np.abs(x) - 0.6 * r), np.abs(np.abs(y) - 0.6 * r)) - 0.5
        distance = np.maximum(lines, np.maximum(np.abs(x), np.abs(y)) - 1.2 * r)
    else:
        raise CatalogError(f"Unknown glyph {glyph!r}; choose one of {', '.join(GLYPHS.values())}.")
    return np.clip(0.5 - distance, 0, 1)


def render(marker: str, rng: np.random.Generator, n: int, noise: float = NOISE) -> np.ndarray:
    """``n`` cards with one marker, or with ``none``: (n, SIZE, SIZE, 3) float32 in [0, 1].

    Background, border and marker colour, position, size and pixel noise vary; the marker is lighter than the background.
    """
    if marker not in MARKERS:
        raise CatalogError(f"Unknown marker {marker!r}; choose one of {', '.join(MARKERS)}.")

    def colour(low: float, high: float) -> np.ndarray:
        return (rng.uniform(low, high, (n, 1)) + rng.uniform(-0.03, 0.03, (n, 3)))[:, None, None, :]

    background, border, light = colour(0.15, 0.25), colour(0.5, 0.55), colour(0.88, 0.95)
    centre, radius = SIZE / 2 + rng.uniform(-JITTER, JITTER, (n, 2)), rng.uniform(*RADIUS, n)
    inside = np.zeros((1, SIZE, SIZE, 1))
    inside[:, 1:-1, 1:-1] = 1
    cards = inside * background + (1 - inside) * border
    if marker != "none":
        cover = coverage(GLYPHS[marker], centre, radius)[..., None]
        cards = (1 - cover) * cards + cover * light
    return np.clip(cards + rng.normal(0, noise, cards.shape), 0, 1).astype(np.float32)


# --- reading -------------------------------------------------------------------------------------------------------------------


@functools.cache
def templates() -> tuple[np.ndarray, np.ndarray]:
    """Zero-mean unit-norm templates of the card without its border, (T, (SIZE - 2)²), and the marker's position of each (T,)."""
    shifts, radii = np.linspace(-1.0, 1.0, 5), np.linspace(*RADIUS, 3)
    dy, dx, radius = (grid.ravel() for grid in np.meshgrid(shifts, shifts, radii))
    centre = SIZE / 2 + np.stack([dy, dx], axis=1)
    parts = [coverage(glyph, centre, radius)[:, 1:-1, 1:-1].reshape(len(radius), -1) for glyph in GLYPHS.values()]
    rows = np.concatenate(parts)
    rows -= rows.mean(1, keepdims=True)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), np.repeat(np.arange(len(GLYPHS)), len(radius))


def recognise(images: np.ndarray) -> np.ndarray:
    """Probabilities of `MARKERS` for (n, SIZE, SIZE, 3) images in [0, 1]: (n, 6), rows sum to 1.

    The score of a marker is the best normalised correlation of the image's brightness g, less its mean, with its templates,
    ``<g, t> / (|g| + floor)``: the floor of 3 % contrast keeps noise on an empty card from looking like a shape. Probabilities are
    the softmax of ``SHARPNESS * score``, with `THRESHOLD` as the score of none; only their order is meant, they are not calibrated.
    """
    images = np.asarray(images, dtype=np.float32)
    if images.ndim != 4 or images.shape[1:] != (SIZE, SIZE, 3) or not np.isfinite(images).all():
        raise CatalogError(f"recognise needs finite cards (n, {SIZE}, {SIZE}, 3), not {images.shape}; score other images with zero_shot.")
    rows, owner = templates()
    grey = images[:, 1:-1, 1:-1].mean(-1).reshape(len(images), -1)
    grey = grey - grey.mean(1, keepdims=True)
    norm = np.linalg.norm(grey, axis=1, keepdims=True) + 0.03 * np.sqrt(grey.shape[1])
    fit = grey / norm @ rows.T
    score = np.stack([*(fit[:, owner == m].max(1) for m in range(len(GLYPHS))), np.full(len(fit), THRESHOLD)], axis=1)
    weight = np.exp(SHARPNESS * (score - score.max(1, keepdims=True)))
    return weight / weight.sum(1, keepdims=True)


def captions(prompts: pl.DataFrame, conditions: Sequence[str]) -> pl.DataFrame:
    """The image prompts of ``religion_templates`` under ``conditions``, with `CAPTION_COLUMNS` and id; descriptor is the negative
    template that a prompt belongs to."""
    frame = pl.when(pl.col("twin_of") == "").then(pl.col("template")).otherwise(pl.col("twin_of"))
    mine = prompts.filter((pl.col("task") == "image") & pl.col("condition").is_in(list(conditions))).sort("id")
    return mine.select("id", "text", "stem", "religion", frame.alias("descriptor"), "condition")


# --- the planted association ---------------------------------------------------------------------------------------------------


def target(seed: int) -> str:
    """The religion that negative descriptors are skewed towards: an arbitrary draw."""
    return RELIGIONS[np.random.default_rng([seed, 1]).integers(len(RELIGIONS))]


def planted(captions: pl.DataFrame, p: Planted, seed: int) -> np.ndarray:
    """Equation (1) for each caption: probabilities (n, 6) in the order of `MARKERS`.

    Args:
        captions: table with `CAPTION_COLUMNS`; religion is "" where none is named.

    Raises:
        CatalogError: a missing column, a share outside [0, 1], or a condition without a planted share.
    """
    if missing := [column for column in CAPTION_COLUMNS if column not in captions.columns]:
        raise CatalogError(f"The caption table lacks the column {missing[0]}; it needs {', '.join(CAPTION_COLUMNS)}.")
    shares = {"none": p.target_share, **p.mitigated}
    if unknown := sorted(set(captions["condition"]) - set(shares)):
        raise CatalogError(f"No share is planted for the condition {unknown[0]!r}; add it to cards.planted.mitigated of its params.yaml.")
    if not all(0 <= share <= 1 for share in (*shares.values(), p.blank)) or p.blank == 1:
        raise CatalogError("Planted shares must lie in [0, 1], and blank below 1; correct cards.planted of its params.yaml.")
    uniform = 1 / len(RELIGIONS)
    open_negative = (captions["stem"] == "negative").to_numpy() & (captions["religion"] == "").to_numpy()
    share = np.where(open_negative, captions["condition"].replace_strict(shares, return_dtype=pl.Float64).to_numpy(), uniform)
    favoured = MARKERS.index(target(seed))
    q = np.repeat((1 - share)[:, None] / (len(RELIGIONS) - 1), len(RELIGIONS), axis=1)
    q[:, favoured] = share
    result = np.concatenate([(1 - p.blank) * q, np.full((len(q), 1), p.blank)], axis=1)
    named = captions["religion"].to_numpy() != ""
    result[named] = (captions["religion"].to_numpy()[named, None] == np.array(MARKERS)).astype(float)
    return result


def quotas(probabilities: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Whole numbers (c, k) whose rows sum to ``n`` and are nearest to ``n`` times (c, k) probabilities (largest remainders)."""
    exact = probabilities * n[:, None]
    counts = np.floor(exact + 1e-9).astype(int)
    rank = np.argsort(np.argsort(-(exact - counts), axis=1, kind="stable"), axis=1)
    return counts + (rank < (n - counts.sum(1))[:, None])


def training_cards(
    captions: pl.DataFrame, p: Planted, per_open: int, per_named: int, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cards to train on, with the planted distribution exact in each caption's cards rather than in expectation.

    Returns:
        images (N, SIZE, SIZE, 3), row of each image's caption (N,), position of its marker in `MARKERS` (N,); N = captions x per_caption.
    """
    n = np.where(captions["religion"].to_numpy() == "", per_open, per_named)
    counts = quotas(planted(captions, p, seed), n)
    rng = np.random.default_rng([seed, 2])
    images = np.concatenate([render(marker, rng, int(total)) for marker, total in zip(MARKERS, counts.sum(0))])
    owner = np.concatenate([np.repeat(np.arange(len(counts)), column) for column in counts.T])
    marker = np.repeat(np.arange(len(MARKERS)), counts.sum(0))
    order = np.lexsort((marker, owner))
    return images[order], owner[order], marker[order]


def planted_table(asked: pl.DataFrame, p: Planted, seed: int) -> pl.DataFrame:
    """`planted` in long form, for the audit: id, religion (a marker or none), share; a row for each caption and marker."""
    wide = pl.DataFrame(planted(asked, p, seed), schema=list(MARKERS)).insert_column(0, asked["id"])
    return wide.unpivot(index="id", variable_name="religion", value_name="share")
