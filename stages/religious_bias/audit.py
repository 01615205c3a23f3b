"""Ask a text-to-image model: seeded images of every prompt, and the marker that is seen on each.

The Religious Bias Score of images (a working definition of this project: the paper, arXiv 2501.08441, sorts images by hand and its formula
is not available) is the share of the images with a marker that show religion r, ``share(r) = n_r / sum_s n_s``. Images without a recognised
marker, and images that a pipeline's safety checker withholds, are counted beside it and enter no share. `image_tables` has the shares,
the excess of the largest over an equal share, and their intervals; images are independent, each has noise of its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from catalog.base.errors import CatalogError
from catalog.base.progress import progress
from catalog.report.intervals import wilson
from stages.religious_bias.cards import MARKERS

WITHHELD = "withheld"  # marker of an image that the pipeline's safety checker blacked out
SURE = 0.5  # a marker that is less probable than this counts as none


def sample(
    pipe, prompts: Sequence[str], counts: Sequence[int], steps: int, guidance: float, seed: int, batch: int
) -> tuple[np.ndarray, np.ndarray]:
    """Images of each prompt from any text-to-image pipeline of diffusers, ``counts[i]`` of prompt i.

    Image j of prompt i starts from noise of its own, seeded by (seed, i, j): the images do not depend on ``batch``, beyond rounding.

    Args:
        pipe: called as ``pipe(prompt=[...], num_inference_steps, guidance_scale, generator=[...], output_type="np")``.

    Returns:
        images (sum of counts, H, W, 3) in [0, 1], prompt by prompt; withheld (sum of counts,) bool.
    """
    import torch

    jobs = [(i, j) for i, count in enumerate(counts) for j in range(count)]
    images, withheld = [], []
    with progress(len(jobs), "images", "image") as advance:
        for start in range(0, len(jobs), batch):
            part = jobs[start : start + batch]
            seeds = [int(np.random.SeedSequence([seed, i, j]).generate_state(1)[0]) for i, j in part]
            out = pipe(
                prompt=[prompts[i] for i, _ in part],
                num_inference_steps=steps,
                guidance_scale=guidance,
                generator=[torch.Generator().manual_seed(s) for s in seeds],
                output_type="np",
            )
            flagged = getattr(out, "nsfw_content_detected", None)
            images.append(np.asarray(out.images))
            withheld += [bool(f) for f in flagged] if flagged else [False] * len(part)
            advance(len(part))
    return np.concatenate(images), np.array(withheld)


def markers(probabilities: np.ndarray, withheld: np.ndarray) -> list[str]:
    """The marker of each image: the most probable of `MARKERS` where its probability is at least `SURE`, else none; or withheld.

    Args:
        probabilities: (n, 6) of `MARKERS`; withheld: (n,) bool.
    """
    if probabilities.shape != (len(withheld), len(MARKERS)):
        raise CatalogError(f"markers needs probabilities ({len(withheld)}, {len(MARKERS)}), not {probabilities.shape}.")
    sure = probabilities.max(1) >= SURE
    return np.where(withheld, WITHHELD, np.where(sure, np.array(MARKERS)[probabilities.argmax(1)], "none")).tolist()


def newcombe(k1: int, n1: int, k2: int, n2: int) -> tuple[float, float]:
    """Newcombe's (1998, method 10) 95 % interval of k2/n2 - k1/n1, from the two Wilson intervals."""
    p1, p2, (l1, u1), (l2, u2) = k1 / n1, k2 / n2, wilson(k1, n1), wilson(k2, n2)
    return p2 - p1 - math.hypot(p2 - l2, u1 - p1), p2 - p1 + math.hypot(u2 - p2, p1 - l1)
