"""Side by side on one LLaVA, image and question: what a map costs against one forward pass, and against masking each patch in turn.

    PYTHONPATH=. python benchmarks/vision.py                      # models/llava_small if it is built, else SmolLM2 behind a random tower
    PYTHONPATH=. python benchmarks/vision.py llava_15_7b          # a model of params.yaml, or a folder
    PYTHONPATH=. python benchmarks/vision.py --dtype float32

(a) One forward pass of the model, as it predicts the next word. (b) The direct effect of every patch through all heads. (c) The paper's
map: all heads scored, then the positions of the best one. (d) Scores of all positions in all heads. (e) Causal masking: the image's
features are computed once, then the language model runs with each patch's embedding replaced by the mean patch, in batches, and once with
none replaced: rows x columns + 1 passes. Each is the median of five rounds in which they take turns, (d) and (e) of one. The last line
compares (b) with (e): their Spearman correlation.
"""

from __future__ import annotations

import argparse
import statistics
import sys

import numpy as np
import torch
from PIL import Image
from scipy.stats import spearmanr

from benchmarks.timing import clock
from catalog.base.params import ROOT
from catalog.models.lm import load_lm
from catalog.vision import build
from catalog.vision.tower import LITE0, LiteTower, LiteTowerConfig
from stages.llava_vqa.looking import best_head, head_map, language, look
from stages.llava_vqa.prompts import with_image

SMALL = ROOT / "models" / "llava_small" / "small" / "model"


def model_of(name: str | None, dtype: str | None):
    """(what it is, model, processor)."""
    if name is not None or SMALL.is_dir():
        return name or "llava_small", *build.load(name or SMALL, dtype, device="cpu")
    lm, tokenizer = load_lm("smollm2", dtype=dtype, device="cpu")
    torch.manual_seed(0)
    return "smollm2 behind a random tower", *build.make(lm, tokenizer, LiteTower(LiteTowerConfig(**LITE0)).eval().to(lm.dtype))


def picture() -> Image.Image:
    """A blue square and a red one on a noisy ground."""
    made = Image.fromarray(np.random.default_rng(0).integers(120, 200, (224, 224, 3), dtype=np.uint8))
    made.paste((30, 60, 220), (24, 30, 88, 94))
    made.paste((220, 40, 30), (130, 120, 200, 190))
    return made


@torch.inference_mode()
def masked(model, tensors: dict, target: int, batch: int = 8) -> torch.Tensor:
    """What log p(target) loses when each patch is the mean patch: (I,)."""
    features = model.model.get_image_features(pixel_values=tensors["pixel_values"], return_dict=True).pooler_output
    features = torch.cat(list(features)).to(model.dtype)
    whole = model.get_input_embeddings()(tensors["input_ids"])[0]
    image = (tensors["input_ids"][0] == model.config.image_token_id).nonzero()[:, 0]
    whole = whole.index_copy(0, image, features)
    rows = [whole]
    for position in image:
        changed = whole.clone()
        changed[position] = features.mean(0)
        rows.append(changed)
    scores = []
    for group in torch.stack(rows).split(batch):
        logits = model(inputs_embeds=group, logits_to_keep=1, use_cache=False).logits[:, -1].float()
        scores.append(logits.log_softmax(-1)[:, target])
    scores = torch.cat(scores)
    return scores[0] - scores[1:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", help="a folder or a name of params.yaml")
    parser.add_argument("--dtype")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    what, model, processor = model_of(args.model, args.dtype)
    image, prompt = picture(), with_image("What colour is the square?")
    language(model)  # checks the model once, with passes of its own
    tensors = build.inputs(processor, [image], [prompt])

    @torch.inference_mode()
    def forward():
        made = build.inputs(processor, [image], [prompt])
        return model(**made, logits_to_keep=1, use_cache=False).logits[0, -1].float().log_softmax(-1)

    def best():
        found = look(model, processor, image, prompt)
        return head_map(found, [best_head(found)])

    ways = {
        "(a) one forward pass": forward,
        "(b) direct effect of every patch, all heads": lambda: look(model, processor, image, prompt),
        "(c) the paper's map: the best head's positions": best,
    }
    found = look(model, processor, image, prompt)
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(args.rounds + 1):
        for name, way in ways.items():
            times[name].append(clock(way)[0])
    seconds = {name: statistics.median(some[1:]) for name, some in times.items()}  # the first round warms up
    seconds["(d) all positions in all heads"] = clock(lambda: look(model, processor, image, prompt).positions)[0]
    seconds["(e) masking each patch"], causal = clock(lambda: masked(model, tensors, found.target))
    v = found.view
    print(
        f"{what}, {str(model.dtype).removeprefix('torch.')}: {v.n_layers} layers x {v.n_heads} heads, vocabulary "
        f"{len(found.lens.unembed):,}, {len(found.image)} of {len(found.ids)} tokens are the image's; "
        f"{torch.get_num_threads()} threads; torch {torch.__version__}"
    )
    one = seconds["(a) one forward pass"]
    for name, some in seconds.items():
        print(f"{name:<56} {some:9.3f} s   {some / one:7.2f} forward passes")
    for name in list(ways)[1:]:
        print(f"    masking takes {seconds['(e) masking each patch'] / seconds[name]:.1f} times as long as {name[:3]}")
    print(f"    Spearman correlation of (b) with (e): {spearmanr(found.direct, causal).statistic:.2f}")


if __name__ == "__main__":
    sys.exit(main())
