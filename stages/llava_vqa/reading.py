"""Likelihoods of the answers to choose from, for all questions about an image at once.

What the prompts of an image begin with, the image or the text, stands once in a row, and every question behind sees that and itself alone
(`catalog.training.branches`). An answer of several tokens is the product of their probabilities.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from catalog.base.progress import progress
from catalog.models.answers import inner_ids
from catalog.models.devices import tokens_at_once
from catalog.models.inference import batches_by_length
from catalog.training.branches import branch_collate, join
from catalog.training.packing import IGNORE
from stages.llava_vqa.prompts import answer

PATCH = "patch"  # key of a row: 1 + the number of the image token that stands at a place, 0 for a word
AT_ONCE = 4096  # tokens of a batch


@dataclass(frozen=True)
class Reader:
    """A language model, with or without eyes: what is run."""

    decoder: Any
    head: Any
    embed: Any

    @classmethod
    def of_llava(cls, model: Any) -> Reader:
        """The inner language model of a LLaVA."""
        return cls(model.model.language_model, model.lm_head, model.get_input_embeddings())

    @classmethod
    def of_lm(cls, model: Any) -> Reader:
        """A causal language model."""
        return cls(model.get_decoder(), model.get_output_embeddings(), model.get_input_embeddings())


class Asked(NamedTuple):
    """Questions about one image: tokens of their prompts, which begin alike, and the answers to choose from of each."""

    prompts: list[list[int]]
    answers: list[list[list[int]]]
    places: Tensor | None = None  # (I, d) what stands for the image tokens, None without an image


def asked(
    tokenizer: Any, prompts: Sequence[str], candidates: Sequence[Sequence[str]], places: Tensor | None = None, token: int | None = None
) -> Asked:
    """Tokens of the prompts and answers about one image.

    Args:
        places: projected features of the image. token: id that stands for them once in each prompt.
    """
    ids = tokenizer(list(prompts))["input_ids"]
    if places is not None:
        ids = [[part for one in row for part in ([token] * len(places) if one == token else [one])] for row in ids]
    return Asked(ids, [inner_ids(tokenizer, [answer(word) for word in words]) for words in candidates], places)


def common(rows: Sequence[Sequence[int]]) -> int:
    """How many tokens all rows begin with, at least one of each left over."""
    shortest = min(map(len, rows))
    same = next((i for i, tokens in enumerate(zip(*rows)) if len(set(tokens)) > 1), shortest)
    return max(1, min(same, shortest - 1))


def layout(one: Asked, token: int | None) -> tuple[dict[str, list], list[list[list[tuple[int, int]]]], list[int]]:
    """A row for the questions about an image.

    Returns:
        The row of `join`; for each question and answer the pairs (ending, token) whose probabilities make it up; and the place in the row
        of the last token of each ending.
    """
    start = common(one.prompts)
    endings: dict[tuple[int, tuple[int, ...]], int] = {}
    plan = []
    for number, (prompt, answers) in enumerate(zip(one.prompts, one.answers, strict=True)):
        plan.append([])
        for ids in answers:
            pairs = []
            for place, wanted in enumerate(ids):
                behind = (number, (*prompt[start:], *ids[:place]))
                pairs.append((endings.setdefault(behind, len(endings)), wanted))
            plan[-1].append(pairs)
    whole = [behind for behind in endings if not any(_begins(other, behind) for other in endings)]  # others are read inside these
    texts = [list(tokens) for _, tokens in whole]
    row = join(one.prompts[0][:start], [{"input_ids": text, "labels": [IGNORE] * len(text)} for text in texts])
    shown = [place for place, one_id in enumerate(row["input_ids"]) if one.places is not None and one_id == token]
    row[PATCH] = [0] * len(row["input_ids"])
    for number, place in enumerate(shown):
        row[PATCH][place] = 1 + number
    begins = (start + np.cumsum([0, *map(len, texts)])).tolist()
    homes = (next(i for i, other in enumerate(whole) if other == behind or _begins(other, behind)) for behind in endings)
    last = [begins[home] + len(tokens) - 1 for home, (_, tokens) in zip(homes, endings, strict=True)]
    return row, plan, last


def _begins(longer: tuple[int, tuple[int, ...]], behind: tuple[int, tuple[int, ...]]) -> bool:
    """Whether an ending, (question, tokens), begins with another one of its question and goes on."""
    return longer[0] == behind[0] and len(longer[1]) > len(behind[1]) and longer[1][: len(behind[1])] == behind[1]


@torch.inference_mode()
def score(reader: Reader, rows: Sequence[Asked], token: int | None = None, desc: str = "answers") -> list[list[list[float]]]:
    """Log-probability (nats) of each answer to each question about each image.

    Args:
        token: id of an image token.
    """
    laid = [layout(one, token) for one in rows]
    device = reader.embed.weight.device
    found: list[list[list[float]]] = [[] for _ in rows]
    with progress(len(rows), desc, "image") as advance:
        for batch in batches_by_length([len(row["input_ids"]) for row, _, _ in laid], tokens_at_once(device, AT_ONCE)):
            logits = _last_logits(reader, [laid[i][0] for i in batch], [rows[i].places for i in batch], [laid[i][2] for i in batch], device)
            for i, said in zip(batch, logits, strict=True):
                found[i] = [[float(sum(said[ending, wanted] for ending, wanted in pairs)) for pairs in answers] for answers in laid[i][1]]
            advance(len(batch))
    return found


def _last_logits(
    reader: Reader, rows: Sequence[dict], places: Sequence[Tensor | None], last: Sequence[Sequence[int]], device: torch.device
) -> list[Tensor]:
    """Of each row log-probabilities (endings, V) behind the last token of each ending, float32 on the CPU."""
    batch = {name: tensor.to(device) for name, tensor in branch_collate(rows).items()}
    hidden = reader.embed(batch["input_ids"])
    if places[0] is not None:
        patch = batch[PATCH]
        for row, one in enumerate(places):
            hidden[row, patch[row] > 0] = one.to(device, hidden.dtype)[patch[row][patch[row] > 0] - 1]
    out = reader.decoder(
        inputs_embeds=hidden, attention_mask=batch["attention_mask"], position_ids=batch["position_ids"], use_cache=False
    ).last_hidden_state
    return [reader.head(out[row, torch.tensor(at, device=device)]).float().log_softmax(-1).cpu() for row, at in enumerate(last)]
