"""The paper's method: instruction tuning on (context, claim) -> (label, explanation), and answers by likelihood.

Claims on one context stand in one row of a batch (`catalog.training.branches`): what their prompts begin with is computed once. The loss of
a batch is the weighted mean of ``-log p`` over the answers' tokens (the paper's conditional LM loss has the weight 1 everywhere): with a
lower weight on explanations, of some forty tokens, the one token that is the label is not drowned by them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from catalog.base.errors import CatalogError
from catalog.base.progress import progress
from catalog.models.inference import chat_ids
from catalog.training.branches import branch_collate, join
from catalog.training.losses import Batch, label_log_probs, label_logits
from catalog.training.packing import IGNORE
from stages.fmdllama.prompts import LABELS, answer, cut_context, prompt

FORMS = ("label first", "quote first")  # the paper's order; the explanation before the label, which can then be read off it
TOGETHER = {"retrieved": 3, "full": 9}  # items of a row: shown the whole context, they have most of their prompts in common
Item = Mapping[str, Any]


def prompt_ids(tokenizer: Any, item: Item, setting: str, room: int, longest: int, before: Sequence[Item] = ()) -> list[int]:
    """Tokens of a prompt in the model's chat template, its context cut where prompt and answer would be longer than ``longest``.

    Args:
        room: tokens kept for the answer.
        before: solved items, as turns of the conversation before it.
    """
    turns = [
        {"role": role, "content": text}
        for solved in before
        for role, text in (("user", prompt(solved, setting)), ("assistant", answer(solved["label"], solved["explanation"])))
    ]

    def ids_of(asked: Item) -> list[int]:
        return chat_ids(tokenizer, [*turns, {"role": "user", "content": prompt(asked, setting)}])

    ids = ids_of(item)
    if len(ids) + room <= longest:
        return ids
    bare = ids_of({**item, "context": [""], "retrieved": [0]})
    front = next((i for i, (a, b) in enumerate(zip(ids, bare)) if a != b), len(bare))
    behind = next((i for i, (a, b) in enumerate(zip(reversed(ids), reversed(bare))) if a != b), 0)
    return cut_context(ids, front, min(behind, len(bare) - front), room, longest)


def target(item: Item, form: str, explained: bool) -> tuple[str, str, str]:
    """Text of an answer in three parts: what stands before its label, the label, and what follows it."""
    if form not in FORMS:
        raise CatalogError(f"The form {form!r} of answers is unknown; use {' or '.join(FORMS)}.")
    explanation = item["explanation"] if explained and item["task"] == "claim" else None
    if form == "quote first" and explanation is not None:
        return f"Explanation: {explanation}\nPrediction:", f" {item['label']}", "."
    before, label, after = answer(item["label"], explanation).partition(item["label"])
    return before.rstrip(), f" {label}", after


def ending(tokenizer: Any, item: Item, form: str, explained: bool, weight: float) -> dict[str, list]:
    """Tokens, labels and weights of an answer and the end of its turn. The label's tokens weigh 1, all others ``weight``."""
    parts = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in target(item, form, explained)]
    ids = [token for part in parts for token in part] + [tokenizer.eos_token_id]
    weights = [weight] * len(ids)
    first = len(parts[0])
    weights[first : first + len(parts[1])] = [1.0] * len(parts[1])
    return {"input_ids": ids, "labels": list(ids), "weight": weights}


def rows(prompts: Sequence[Sequence[int]], answers: Sequence[Mapping[str, list]]) -> dict[str, list]:
    """One row of a batch: what all prompts begin with, then each prompt's rest with its answer."""
    same = next((i for i, tokens in enumerate(zip(*prompts)) if len(set(tokens)) > 1), min(map(len, prompts)))
    same = max(1, min(same, min(map(len, prompts)) - 1))
    endings = []
    for ids, text in zip(prompts, answers, strict=True):
        rest = list(ids[same:])
        endings.append(
            {
                "input_ids": rest + text["input_ids"],
                "labels": [IGNORE] * len(rest) + text["labels"],
                **({"weight": [0.0] * len(rest) + text["weight"]} if "weight" in text else {}),
            }
        )
    return join(list(prompts[0][:same]), endings)


def groups(items: Sequence[Item], setting: str) -> list[list[int]]:
    """Positions of the items that share a row: those of one context, in parts of at most `TOGETHER` items.

    Every item of a row pays for the attention mask over all of them, so that what they share must be worth it.
    """
    by_context: dict[str, list[int]] = {}
    for number, item in enumerate(items):
        by_context.setdefault(item["context_id"], []).append(number)
    most = TOGETHER[setting]
    return [members[i : i + most] for members in by_context.values() for i in range(0, len(members), most)]


def examples(
    tokenizer: Any, items: Sequence[Item], setting: str, form: str, weight: float, longest: int, explained: Sequence[bool]
) -> list[dict[str, list]]:
    """A training example for each of `groups`: its items in one row, in their order. See `ending` for the arguments."""
    pairs = []
    for item, with_text in zip(items, explained, strict=True):
        text = ending(tokenizer, item, form, with_text, weight)
        pairs.append((prompt_ids(tokenizer, item, setting, len(text["input_ids"]), longest), text))
    return [rows(*zip(*(pairs[i] for i in members))) for members in groups(items, setting)]


def weighted_loss(model: Any, batch: Batch) -> torch.Tensor:
    """Weighted mean of ``-log p`` (nats) over the labelled tokens of a batch."""
    log_probs, _ = label_log_probs(model, batch)
    weights = batch["weight"][batch["labels"] != IGNORE]
    return -(weights * log_probs).sum() / weights.sum()


@torch.inference_mode()
def label_scores(
    model: Any, tokenizer: Any, items: Sequence[Item], setting: str, longest: int, at_once: int = 6, before: Sequence[Item] = ()
) -> np.ndarray:
    """Log-probability (nats) of each label's first token where the answer has its label: (items, labels of the task).

    Args:
        items: of one task. at_once: rows of a forward pass. before: solved items, see `prompt_ids`.

    Raises:
        CatalogError: two labels begin with the same token, so that its probability cannot tell them apart.
    """
    labels = LABELS[items[0]["task"]]
    opening = tokenizer(target(items[0], FORMS[0], False)[0], add_special_tokens=False)["input_ids"]
    firsts = [tokenizer(f" {label}", add_special_tokens=False)["input_ids"][0] for label in labels]
    if len(set(firsts)) < len(labels):
        raise CatalogError(f"The tokenizer begins two of the labels {', '.join(labels)} with one token; use another model or other labels.")
    # The label asked about does not matter: what is read is the whole distribution at its place.
    asked = {"input_ids": [*opening, firsts[0]], "labels": [*[IGNORE] * len(opening), firsts[0]]}
    room = len(asked["input_ids"])
    scores = np.zeros((len(items), len(labels)))
    parts = groups(items, setting)
    with progress(len(parts), f"labels, {setting}", "row") as advance:
        for start in range(0, len(parts), at_once):
            part = parts[start : start + at_once]
            made = [
                rows([prompt_ids(tokenizer, items[i], setting, room, longest, before) for i in members], [asked] * len(members))
                for members in part
            ]
            batch = {key: value.to(model.device) for key, value in branch_collate(made).items()}
            logits, _, example = label_logits(model, batch)
            found = logits.log_softmax(-1)[:, firsts].float().cpu().numpy()
            for group, members in enumerate(part):
                scores[members] = found[(example == group).cpu().numpy()]
            advance(len(part))
    return scores
