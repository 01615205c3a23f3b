"""The paper's method: instruction tuning on (context, claim) -> answer. Prompts as tokens, training examples and the loss.

The loss of a batch is the weighted mean of ``-log p`` over the answers' tokens (the paper's conditional LM loss has the weight 1
everywhere): with a lower weight on explanations, of some thirty tokens, the label is not drowned by them. Shown the retrieved sentences,
every item has a row of its own, since prompts are short. Shown the whole context, the items of one context share a row, in which what
their prompts begin with stands once (`catalog.training.branches`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from catalog.models.inference import chat_ids
from catalog.training.branches import branch_collate, join
from catalog.training.losses import Batch, label_log_probs, tensors_of
from catalog.training.packing import IGNORE, pack
from stages.fmdllama.prompts import cut_context, prompt, target

TOGETHER = {"retrieved": 1, "full": 9}  # items of a training example
Item = Mapping[str, Any]


def prompt_ids(
    tokenizer: Any,
    item: Item,
    setting: str,
    form: str,
    room: int,
    longest: int,
    explained: bool = False,
    before: Sequence[Mapping[str, str]] = (),
) -> list[int]:
    """Tokens of a prompt in the model's chat template, its context cut where prompt and answer would be longer than ``longest``.

    Args:
        room: tokens kept for the answer. before: messages between the system's and the user's: solved items.
    """

    def ids_of(asked: Item) -> list[int]:
        system, user = prompt(asked, setting, form, explained)
        return chat_ids(tokenizer, [system, *before, user])

    ids = ids_of(item)
    if len(ids) + room <= longest:
        return ids
    bare = ids_of({**item, "context": [""], "retrieved": [0]})
    front = next((i for i, (a, b) in enumerate(zip(ids, bare)) if a != b), len(bare))
    behind = next((i for i, (a, b) in enumerate(zip(reversed(ids), reversed(bare))) if a != b), 0)
    return cut_context(ids, front, min(behind, len(bare) - front), room, longest)


def ending(tokenizer: Any, item: Item, form: str, explained: bool, weights: tuple[float, float]) -> dict[str, list]:
    """Tokens, labels and weights of an answer and the end of its turn.

    Args:
        weights: of a token before the label and of one behind it; the label's own weigh 1.
    """
    parts = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in target(item, form, explained)]
    ids = [token for part in parts for token in part] + [tokenizer.eos_token_id]
    before, label = sum(map(len, parts[:3])), len(parts[3])
    weight = [weights[0]] * before + [1.0] * label + [weights[1]] * (len(ids) - before - label)
    return {"input_ids": ids, "labels": list(ids), "weight": weight}


def rows(prompts: Sequence[Sequence[int]], answers: Sequence[Mapping[str, list]]) -> dict[str, list]:
    """One row of a batch: what all prompts begin with, then each prompt's rest with its answer."""
    same = common(prompts)
    endings = []
    for ids, text in zip(prompts, answers, strict=True):
        rest = list(ids[same:])
        weights = [0.0] * len(rest) + text["weight"]
        endings.append({"input_ids": rest + text["input_ids"], "labels": [IGNORE] * len(rest) + text["labels"], "weight": weights})
    return join(list(prompts[0][:same]), endings)


def common(prompts: Sequence[Sequence[int]]) -> int:
    """How many tokens all prompts begin with: at least one, and fewer than the shortest has."""
    shortest = min(map(len, prompts))
    same = next((i for i, tokens in enumerate(zip(*prompts)) if len(set(tokens)) > 1), shortest)
    return max(1, min(same, shortest - 1))


def spread(values: Sequence[Any], count: int) -> list[Any]:
    """So many of the values, at even distances, since contexts of one kind of claim may stand together; all of them for 0."""
    if not count or count >= len(values):
        return list(values)
    return [values[i * len(values) // count] for i in range(count)]


def groups(items: Sequence[Item], most: int) -> list[list[int]]:
    """Positions of the items of each context and task, in parts of at most ``most`` items."""
    by_context: dict[tuple[str, str], list[int]] = {}
    for number, item in enumerate(items):
        by_context.setdefault((item["task"], item["context_id"]), []).append(number)
    return [members[i : i + most] for members in by_context.values() for i in range(0, len(members), most)]


def examples(
    tokenizer: Any, items: Sequence[Item], setting: str, form: str, weights: tuple[float, float], longest: int, explained: Sequence[bool]
) -> list[dict[str, list]]:
    """A training example for each of `groups`: its items in one row, in their order. See `ending` for the arguments."""
    pairs = []
    for item, with_text in zip(items, explained, strict=True):
        text = ending(tokenizer, item, form, with_text, weights)
        pairs.append((prompt_ids(tokenizer, item, setting, form, len(text["input_ids"]), longest, with_text), text))
    if TOGETHER[setting] == 1:
        return [
            {
                "input_ids": ids + text["input_ids"],
                "labels": [IGNORE] * len(ids) + text["labels"],
                "weight": [0.0] * len(ids) + text["weight"],
            }
            for ids, text in pairs
        ]
    return [rows(*zip(*(pairs[i] for i in members))) for members in groups(items, TOGETHER[setting])]


def collate(made: Sequence[Mapping[str, list]]) -> Batch:
    """A batch of examples, each in a row of its own: attention over a row that short ones share costs more than padding."""
    return branch_collate(made) if "ending" in made[0] else tensors_of(pack(made, 0))


def weighted_loss(model: Any, batch: Batch) -> torch.Tensor:
    """Weighted mean of ``-log p`` (nats) over the labelled tokens of a batch."""
    log_probs, _ = label_log_probs(model, batch)
    weights = batch["weight"][batch["labels"] != IGNORE]
    return -(weights * log_probs).sum() / weights.sum()
