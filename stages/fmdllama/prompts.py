"""Prompts and answers of both tasks: what is asked and the lines of the answer as the system's message, then context and claim, or a note.

The answer of the paper has two lines, ``Prediction:`` and ``Explanation:``. Here a line ``Reason:`` may stand before them: in a few words
what the sentences come to and what the claim says, from which the label follows. Training and inference take the same prompt, byte for
byte. The context stands before the claim, not behind it as in the paper, so that the claims on one context begin alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from catalog.base.errors import CatalogError

SETTINGS = ("retrieved", "full")  # the sentences on the claim's shares and months alone; the whole context
FORMS = {"label first": ("Prediction",), "reason first": ("Reason", "Prediction")}  # lines of an answer; the first is the paper's order
LABELS = {"claim": ("True", "False", "NEI"), "article": ("True", "Fake")}
ASKED = {
    "claim": "Is the claim True, False or NEI (not enough information)?",
    "article": "Is the text True or Fake?",
}
Item = Mapping[str, Any]


class Target(NamedTuple):
    """An answer in parts, whose tokens are made apart: joined they are the text."""

    opening: str  # `Reason:`, or nothing
    reason: str
    before: str  # up to the label
    label: str
    after: str


def shown(item: Item, setting: str) -> list[str]:
    """Sentences of an item's context that a setting shows, in their order."""
    if setting not in SETTINGS:
        raise CatalogError(f"The setting {setting!r} is unknown; use {' or '.join(SETTINGS)}.")
    if setting == "full" or item["task"] == "article":
        return list(item["context"])
    return [item["context"][i] for i in item["retrieved"]]


def form_of(item: Item, form: str) -> str:
    """The form an item is answered in: a note, and a claim of published data, has no reason that could stand first."""
    if form not in FORMS:
        raise CatalogError(f"The form {form!r} of answers is unknown; use {' or '.join(FORMS)}.")
    return form if item["task"] == "claim" else "label first"


def prompt(item: Item, setting: str, form: str = "label first", explained: bool = False) -> list[dict[str, str]]:
    """What a model is asked: the messages of a conversation.

    Args:
        explained: an explanation is asked for as well.
    """
    lines = [*FORMS[form_of(item, form)], *(["Explanation"] if explained and item["task"] == "claim" else [])]
    system = f"{ASKED[item['task']]} Lines: {' '.join(f'{line}:' for line in lines)}"
    text = " ".join(shown(item, setting))
    user = f"Text: {text}" if item["task"] == "article" else f"Context: {text}\nClaim: {item['claim']}"
    return [{"role": "system", "content": system}, {"role": "user", "content": user}]


def target(item: Item, form: str, explained: bool = False) -> Target:
    """What a model should answer."""
    opening, reason, before = "", "", "Prediction:"
    if form_of(item, form) == "reason first":
        if not item.get("reason"):
            raise CatalogError(f"Item {item.get('id')} has no reason, which the form {form!r} puts first; use label first.")
        opening, reason, before = "Reason:", f" {item['reason']}", "\nPrediction:"
    after = f".\nExplanation: {item['explanation']}" if explained and item["task"] == "claim" else "."
    return Target(opening, reason, before, f" {item['label']}", after)


def answer(item: Item, form: str = "label first", explained: bool = False) -> str:
    """The same as one text."""
    return "".join(target(item, form, explained))


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
