"""Which part of an image makes a LLaVA say a word: a picture, and all scores as JSON.

    python -m stages.llava_vqa.explain --model models/llava_small/small/model --image photo.jpg --question "What colour is the cup?"
    python -m stages.llava_vqa.explain --model llava_15_7b --image photo.jpg --question "What is the color of the dog?" \\
        --prefix "The color of the dog is" --target brown --against black --method best-head --out dog

The model is asked once; the word is its likeliest next token, or the one that `--target` names. With `--against`, the map shows what speaks
for the one rather than the other. Methods: `all-heads`, the direct effect of each patch through all attention heads, the default;
`best-head`, the paper's map of the one head that raises the word most; `top-heads`, the sum of several; `attention`, the mean over all
heads, for comparison. `catalog.inside` and `stages.llava_vqa.looking` explain the scores, nats of log-probability.

The folder gets `overlay.png`, in the original's pixels (as a viewer shows the file), and `scores.json`.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np

from catalog.base.errors import CatalogError, run
from stages.llava_vqa import prompts

METHODS = ("all-heads", "best-head", "top-heads", "attention")
UNITS = {"attention": "mean attention weight"}


def token_of(tokenizer: Any, prompt: str, word: str) -> int:
    """Id of a word that is one token behind the prompt; a space goes before it unless one is there.

    Raises:
        CatalogError: it is none or several tokens.
    """
    from catalog.models.answers import answer_ids

    if not word.strip():
        raise CatalogError("The target is empty; name a word that is one token.")
    behind = word if word[0].isspace() or prompt[-1:].isspace() else f" {word}"
    ids = answer_ids(tokenizer, prompt, behind)
    if len(ids) > 1:
        parts = ", ".join(repr(tokenizer.decode([token])) for token in ids)
        raise CatalogError(f"{word!r} is {len(ids)} tokens of this model ({parts}), and a map is of one; name one of them.")
    return ids[0]


def prompt_of(processor: Any, question: str, prefix: str = "", form: str | None = None) -> str:
    """The prompt of LLaVA-1.5, or `form` with ``<image>`` and ``{question}`` filled in, and where the answer begins, `prefix`."""
    if not question.strip():
        raise CatalogError("The question is empty; ask one.")
    made = prompts.with_image(question)
    if form is not None:
        if form.count(prompts.IMAGE) != 1 or form.count("{question}") != 1:
            raise CatalogError(f"The form of the prompt needs {prompts.IMAGE} and {{question}} once each.")
        made = form.replace("\\n", "\n").replace("{question}", question.strip())
    token = processor.image_token
    if any(mark in text for mark in {token, prompts.IMAGE} for text in (prefix, question)):
        raise CatalogError(f"The question and the prefix must not hold {prompts.IMAGE}, which stands for the image; remove it.")
    prefix = prefix.rstrip()  # the space before the next word belongs to its token
    if prefix and not prefix[0].isspace() and not made[-1:].isspace():
        prefix = f" {prefix}"
    return made.replace(prompts.IMAGE, token) + prefix


def map_of(look: Any, method: str, count: int = 10) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """(rows, columns) of one of `METHODS`, and the heads it is made of (none: all)."""
    from stages.llava_vqa.looking import attention_map, best_head, direct_map, head_map

    if method == "all-heads":
        return direct_map(look).cpu().numpy(), []
    if method == "attention":
        return attention_map(look).cpu().numpy(), []
    if method not in METHODS:
        raise CatalogError(f"There is no method {method!r}; choose one of {', '.join(METHODS)}.")
    heads = best_head(look, 1 if method == "best-head" else count)
    return head_map(look, heads).cpu().numpy(), heads


def patches(values: np.ndarray, attention: np.ndarray, where: Any) -> list[dict]:
    """A row for each patch: where it is in the grid and on the original, its score, its share after min-max, its mean attention."""
    from stages.llava_vqa.overlay import normalised

    shares, boxes, shown = normalised(values)[0], where.clipped(), where.shown()
    return [
        {
            "row": row,
            "column": column,
            **dict(zip(("x0", "y0", "x1", "y1"), boxes[row, column].round(2).tolist(), strict=True)),
            "shown": round(float(shown[row, column]), 4),
            "score": float(values[row, column]),
            "normalised": float(shares[row, column]),
            "attention": float(attention[row, column]),
        }
        for row, column in np.ndindex(values.shape)
    ]


def explain(model: Any, processor: Any, image: Any, prompt: str, *, target: str | None = None, against: str | None = None,
            method: str = "all-heads", count: int = 10) -> tuple[Any, dict]:  # fmt: skip
    """(picture, scores as they go into the JSON file) of an RGB image without tags and a prompt.

    Raises:
        CatalogError: the model cannot be mapped, or a word is not one token of it.
    """
    from stages.llava_vqa.looking import attention_map, look, positive_share, where_of
    from stages.llava_vqa.overlay import draw, is_constant

    tokenizer = processor.tokenizer
    ids = [None if word is None else token_of(tokenizer, prompt, word) for word in (target, against)]
    begun = time.perf_counter()
    found = look(model, processor, image, prompt, *ids)
    values, heads = map_of(found, method, count)
    seconds = time.perf_counter() - begun
    where = where_of(found, processor, image)
    text = [position for position in range(len(found.ids)) if position not in set(found.image.tolist())]
    scores = sum(found.position_scores(*head) for head in heads) if heads else None
    report = {
        "prompt": prompt,
        "top": tokenizer.decode([found.top]),
        "target": tokenizer.decode([found.target]),
        "target_id": found.target,
        "probability": float(np.exp(found.logprob)),
        "against": None if found.against is None else tokenizer.decode([found.against]),
        "method": method,
        "unit": UNITS.get(method, "nats"),
        "heads": [
            {
                "layer": layer,
                "head": head,
                "score": float(found.heads[layer, head]),
                "attention": float(found.attention[layer, head, found.image].sum()),
            }
            for layer, head in heads
        ],
        "share_of_positive_heads": positive_share(found, heads) if heads else None,
        "constant": is_constant(values),
        "sum": float(values.sum()),
        "patches": patches(values, attention_map(found).cpu().numpy(), where),
        "text_positions": [
            {
                "position": position,
                "token": tokenizer.decode([found.ids[position]]),
                "score": None if scores is None else float(scores[position]),
                "attention": float(found.attention[:, :, position].mean()),
            }
            for position in text
        ],
        "settings": {
            "class": type(model).__name__,
            "dtype": str(model.dtype).removeprefix("torch."),
            "device": str(model.device),
            "norm": "recomputed" if method == "all-heads" else "frozen",
            "eps": found.view.eps,
            "image_size": list(where.size),
            "pixels": list(where.pixels),
            "grid": list(where.grid),
            "patch": list(where.patch),
            "scale": list(where.scale),
            "shift": list(where.shift),
        },
        "forwards": 1,
        "seconds": round(seconds, 4),
    }
    return draw(image, where, values), report


def sentence(report: dict) -> str:
    """A few lines for a terminal."""
    lines = [f"Next word: {report['top']!r}. Looked for: {report['target']!r}, probability {report['probability']:.3g}."]
    if report["against"] is not None:
        lines[0] += f" Against: {report['against']!r}."
    for head in report["heads"][:3]:
        lines.append(
            f"Head {head['layer']}.{head['head']}: {head['score']:+.3f} nats; {head['attention']:.0%} of its attention is on the image."
        )
    if report["constant"]:
        return "\n".join([*lines, "Every patch has the same score: the map is constant and says nothing."])
    unit = "" if report["unit"] == "nats" else " of attention"
    ranked = sorted(report["patches"], key=lambda patch: -patch["score"])
    for name, some in (("For it", ranked[:3]), ("Against it", ranked[::-1][:1])):
        for patch in some:
            if name == "Against it" and patch["score"] >= 0:
                continue
            box = f"x {patch['x0']:.0f}-{patch['x1']:.0f}, y {patch['y0']:.0f}-{patch['y1']:.0f}"
            hidden = " (padding, no part of the image)" if patch["shown"] == 0 else ""
            lines.append(f"{name}: {patch['score']:+.4f}{unit} at {box}{hidden}")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> None:
    from catalog.base.io import write_json
    from catalog.vision import build
    from catalog.vision.images import WHITE, open_image

    parser = argparse.ArgumentParser(prog="python -m stages.llava_vqa.explain", description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="folder of a LLaVA, or a name of params.yaml")
    parser.add_argument("--image", required=True, type=Path)
    parser.add_argument("--question", required=True)
    parser.add_argument("--prefix", default="", help="how the answer begins; the next word is explained")
    parser.add_argument("--target", help="word to explain, one token; by default the model's likeliest")
    parser.add_argument("--against", help="explain what speaks for the target rather than this word")
    parser.add_argument("--method", choices=METHODS, default="all-heads")
    parser.add_argument("--heads", type=int, default=10, help="number of heads of the method top-heads")
    parser.add_argument("--prompt", help="form of the prompt, with <image> and {question}; by default that of LLaVA-1.5")
    parser.add_argument("--dtype", help="float32, bfloat16 or float16; by default what params.yaml says")
    parser.add_argument("--out", type=Path, default=Path("where_it_looks"), help="folder of overlay.png and scores.json")
    args = parser.parse_args(argv)
    if args.heads < 1:
        raise CatalogError("The number of heads is at least 1; give --heads a larger one.")
    image = open_image(args.image)
    if not args.question.strip():
        raise CatalogError("The question is empty; ask one.")
    model, processor = build.load(args.model, args.dtype)
    prompt = prompt_of(processor, args.question, args.prefix, args.prompt)
    picture, report = explain(
        model, processor, image, prompt, target=args.target, against=args.against, method=args.method, count=args.heads
    )
    report = {"image": str(args.image), "model": args.model, "question": args.question, **report}
    report["settings"]["background_of_transparency"] = list(WHITE)
    if args.out.exists() and not args.out.is_dir():
        raise CatalogError(f"{args.out} is a file; give another folder with --out.")
    args.out.mkdir(parents=True, exist_ok=True)
    picture.save(args.out / "overlay.png")
    write_json(report, args.out / "scores.json")
    print(sentence(report))
    print(f"{args.out / 'overlay.png'}, {args.out / 'scores.json'} ({report['seconds']:.2f} s, one forward pass)")


if __name__ == "__main__":
    run(lambda: main(), [])
