"""Put questions to FinLLaVA: the likeliest of a few words, or an answer as it is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from catalog.base.errors import CatalogError
from catalog.base.progress import progress
from catalog.models.answers import inner_ids
from catalog.models.inference import last_logits
from catalog.training.branches import branch_collate
from catalog.training.losses import label_logits
from catalog.vision import build, tune

Asked = tuple[str, Sequence[str]]  # prompt, words that may answer it


def first_tokens(tokenizer: Any, words: Sequence[str]) -> dict[str, int]:
    """The token of each word behind a prompt.

    Raises:
        CatalogError: a word of several tokens, whose likelihood one position does not tell.
    """
    found = dict(zip(words, inner_ids(tokenizer, [f" {word}" for word in words])))
    for word, ids in found.items():
        if len(ids) != 1:
            raise CatalogError(f"FinLLaVA's tokenizer writes {word!r} with {len(ids)} tokens; answers to open questions have one.")
    return {word: ids[0] for word, ids in found.items()}


@torch.inference_mode()
def with_pictures(model: Any, processor: Any, seen: Tensor, rows: Sequence[tuple[int, Sequence[Asked]]], batch: int) -> list[list[float]]:
    """Log-probabilities of the words of each question, all questions about a picture behind its one prefix.

    Args:
        seen: (pictures, places, numbers) of `catalog.vision.features.features`.
        rows: (number of the picture, its questions).
        batch: pictures at once.
    """
    speaker, tokenizer, places = tune.language_model(model), processor.tokenizer, seen.shape[1]
    tokens = first_tokens(tokenizer, sorted({word for _, asked in rows for _, words in asked for word in words}))
    joined = tune.examples(processor, places, [(image, [(prompt, f" {words[0]}") for prompt, words in asked]) for image, asked in rows])
    order = sorted(range(len(rows)), key=lambda place: len(joined[place]["input_ids"]))  # like lengths side by side, less padding
    found: dict[int, list[list[float]]] = {}
    flat = seen.flatten(0, 1)
    with progress(len(rows), "questions about pictures", "picture") as advance:
        for start in range(0, len(order), batch):
            some = order[start : start + batch]
            made = {key: value.to(model.device) for key, value in branch_collate([joined[place] for place in some]).items()}
            logits, _, example = label_logits(speaker, made | {"hidden": embedded(model, made, flat)})
            logits = logits[example.argsort(stable=True)][::2]  # rows come by length; each answer has its word and its end
            asked = [(place, words) for place in some for _, words in rows[place][1]]
            for (place, words), values in zip(asked, logits.log_softmax(-1), strict=True):
                found.setdefault(place, []).append(values[[tokens[word] for word in words]].tolist())
            advance(len(some))
    return [values for place in range(len(rows)) for values in found[place]]


def embedded(model: Any, batch: Mapping[str, Tensor], flat: Tensor) -> Tensor:
    """(rows, T, width): embeddings of words, and projected features where a picture is."""
    patch = batch[tune.PLACE]
    projector = model.model.multi_modal_projector
    seen = projector(flat[patch[patch > 0].cpu() - 1].to(patch.device, projector.linear_1.weight.dtype))
    hidden = model.get_input_embeddings()(batch["input_ids"])
    return hidden.masked_scatter((patch > 0)[..., None].expand_as(hidden), seen.to(hidden.dtype))


def without_pictures(model: Any, processor: Any, asked: Sequence[Asked]) -> list[list[float]]:
    """The same for prompts of text alone; each text is read once."""
    speaker, tokenizer = tune.language_model(model), processor.tokenizer
    tokens = first_tokens(tokenizer, sorted({word for _, words in asked for word in words}))
    prompts = list(dict.fromkeys(prompt for prompt, _ in asked))
    rows = dict(zip(prompts, last_logits(speaker, tokenizer, prompts).float().log_softmax(-1)))
    return [rows[prompt][[tokens[word] for word in words]].tolist() for prompt, words in asked]


@torch.inference_mode()
def written(
    model: Any, processor: Any, pictures: Sequence[Any] | None, prompts: Sequence[str], batch: int, new_tokens: int
) -> list[str]:  # fmt: skip
    """Answers in writing, greedily.

    Args:
        pictures: one for each prompt, or None for prompts of text alone.
    """
    found = []
    for start in range(0, len(prompts), batch):
        some = None if pictures is None else pictures[start : start + batch]
        made = build.inputs(processor, some, prompts[start : start + batch])
        made = {key: value.to(model.device) for key, value in made.items()}
        if "pixel_values" in made:
            made["pixel_values"] = made["pixel_values"].to(model.dtype)
        out = model.generate(**made, max_new_tokens=new_tokens, do_sample=False, pad_token_id=processor.tokenizer.pad_token_id)
        found += processor.tokenizer.batch_decode(out[:, made["input_ids"].shape[1] :], skip_special_tokens=True)
    return [text.strip() for text in found]
