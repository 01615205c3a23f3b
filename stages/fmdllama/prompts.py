"""Prompts and answers of both tasks, in the form of the paper: a task line, the form of the answer, then the text; two lines of answer.

Training and inference take the same prompt, byte for byte. The context stands before the claim, not behind it as in the paper, so that
the claims on one context share the beginning of their prompts and it is computed once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from catalog.base.errors import CatalogError

SETTINGS = ("retrieved", "full")  # the sentences on the claim's shares and months alone; the whole context
LABELS = {"claim": ("True", "False", "NEI"), "article": ("True", "Fake")}
CLAIM = (
    "Task: Decide from the context whether the claim is True, False or NEI (not enough information), and explain why.\n"
    "Answer in this form:\nPrediction: [True, False or NEI]\nExplanation: [why]\n"
)
ARTICLE = "Task: Decide whether the text is True or Fake. Answer in this form:\nPrediction: [True or Fake]\n"


def shown(item: Mapping[str, Any], setting: str) -> list[str]:
    """Sentences of an item's context that a setting shows, in their order."""
    if setting not in SETTINGS:
        raise CatalogError(f"The setting {setting!r} is unknown; use {' or '.join(SETTINGS)}.")
    if setting == "full" or item["task"] == "article":
        return list(item["context"])
    return [item["context"][i] for i in item["retrieved"]]


def prompt(item: Mapping[str, Any], setting: str) -> str:
    """What a model is asked."""
    text = " ".join(shown(item, setting))
    if item["task"] == "article":
        return f"{ARTICLE}Text: {text}"
    return f"{CLAIM}Context: {text}\nClaim: {item['claim']}"


def answer(label: str, explanation: str | None = None) -> str:
    """What a model should answer; an article's label is not explained."""
    return f"Prediction: {label}." if explanation is None else f"Prediction: {label}.\nExplanation: {explanation}"


def cut_context(tokens: Sequence[int], before: int, behind: int, answer_tokens: int, longest: int) -> list[int]:
    """Token ids of a prompt cut to a length by taking tokens out of the end of its context, never from its form, its claim or the answer.

    Args:
        tokens: of the prompt. before, behind: how many of them stand before and behind the context.
        answer_tokens: room to be kept for the answer. longest: tokens of prompt and answer together.

    Raises:
        CatalogError: prompt and answer are too long even without the context.
    """
    room = longest - answer_tokens - before - behind
    if room < 0:
        raise CatalogError(
            f"A prompt has {before + behind} tokens beside its context and its answer {answer_tokens}, more than {longest} in all; "
            "raise the maximal length."
        )
    end = len(tokens) - behind
    return [*tokens[: min(end, before + room)], *tokens[end:]]
