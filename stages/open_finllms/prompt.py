"""What the trading agent reads: one short prompt a day, made for models of 135 million parameters and up.

Both modes give the memories of the four layers and ask for one word. ``strict`` shows the day's notes first, says how old each memory is,
how the price moved over three days also where it did not, and names the position. ``paper`` follows the released code: memories have no
date, a layer with fewer than two is filled up by repeating (its validator refused a choice of one), a change of exactly zero over three
days is left out (a test for truth), and the position, which its instruction asks to consider, is not given. Its texts are our own.

``brief`` is a shorter ``strict`` for many decisions on a slow machine: the instruction is `SYSTEM`, which is the same in all prompts and so
is read once (`deciders.py`), memories have no headings, and neither date nor position is given. A date costs ten tokens, and it would tell
a language model what it may have read of the days that followed; the word hold of a position is what a small model then repeats.

A prompt has a limit in tokens. Where it is too long, whole memories go: the one with the lowest score of the layer that has most of them,
until it fits, so that each layer keeps its best. Instruction and question never go.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import date
from typing import NamedTuple

from catalog.base.errors import CatalogError
from stages.open_finllms.memory import NAMES, Found, Memory

CHARACTER = (
    "You have followed {name} for years: how its price answers news, in which weeks it is strong, how deep its losses run. "
    "You are an expert on {name}."
)
QUESTION = "Will the price rise or fall next? Answer with one word: buy, sell or hold."
SYSTEM = (
    "You trade one share. You read the notes of the day and older ones, and judge whether its price will rise or fall next. "
    "You answer with one word: buy, sell or hold."
)
ASKED = "Buy, sell or hold?"
NAMED = "Then give the numbers of the notes that you relied on."
TITLES = {
    "short": "Recent notes",
    "mid": "Notes that have mattered",
    "long": "Notes that have mattered most",
    "reflection": "What followed in the past",
}
RISK = (
    "When the price has risen over the past days you seek risk; when it has fallen you avoid it. "
    "Decide for buy or sell; hold only if it is really hard to say."
)
FORMS = ("full", "brief")
DIRECTIONS = {1: "buy", 0: "hold", -1: "sell"}


class Shown(NamedTuple):
    """A prompt, the ids of the memories in it, its tokens, and how many memories were left out for want of space."""

    prompt: str
    ids: list[int]
    tokens: int
    left_out: int


def built(
    name: str,
    day: date,
    memory: Memory,
    found: dict[str, list[Found]],
    today: Sequence[int],
    facts: dict[str, int | None],
    options,
    count: Callable[[str], int],
) -> Shown:
    """The prompt of a day.

    Args:
        found: the memories of each layer that the query found.
        today: ids of the day's notes; ``strict`` shows them apart.
        facts: ``momentum``, the sign of the change over three days or None, and ``position``.
        options: `stages.open_finllms.agent.Options`.
        count: tokens of a text.

    Raises:
        CatalogError: the prompt is too long without any memory.
    """
    kept = {layer: list(memories) for layer, memories in found.items()}
    fresh = list(today) if options.mode == "strict" else []
    write = _paper if options.mode == "paper" else _brief if options.form == "brief" else _strict
    left_out = 0
    while True:
        prompt = write(name, day, memory, kept, fresh, facts, options)
        tokens = count(prompt)
        if tokens <= options.limit:
            ids = [*fresh, *(one.id for memories in kept.values() for one in memories)]
            return Shown(prompt, ids, tokens, left_out)
        if not fresh and not any(kept.values()):
            raise CatalogError(
                f"A prompt without any memory has {tokens} tokens and the limit is {options.limit}; raise the limit of the trading prompt."
            )
        freed = 0  # counting a line costs less than counting the prompt again
        while freed < tokens - options.limit and (fresh or any(kept.values())):
            freed += max(1, count(_line(memory, _dropped(kept, fresh), day, options)))
            left_out += 1


def _dropped(kept: dict[str, list[Found]], fresh: list[int]) -> int:
    """Take the next memory to be left out from `kept`, or from `fresh` when that is empty; returns its id."""
    fullest = max(NAMES, key=lambda layer: len(kept.get(layer, [])))
    if not kept.get(fullest):
        return fresh.pop()
    worst = min(kept[fullest], key=lambda one: one.score)
    kept[fullest].remove(worst)
    return worst.id


def _strict(name, day, memory, kept, fresh, facts, options) -> str:
    about = "You trade one share." if options.anonymous else f"You trade one share, {name}. It is {day}."
    parts = [f"{about} The market has closed."]
    if fresh:
        parts.append("\n".join(["Today:", *(_line(memory, identity, day, options, dated=False) for identity in fresh)]))
    for layer in NAMES:
        if kept.get(layer):
            parts.append("\n".join([f"{TITLES[layer]}:", *(_line(memory, one.id, day, options) for one in kept[layer])]))
    state = [] if facts["momentum"] is None else [_moved(facts["momentum"])]
    state.append({1: "You hold the share.", 0: "You hold nothing.", -1: "You are short of the share."}[facts["position"]])
    return "\n\n".join([*parts, " ".join(state), _question(options)])


def _brief(name, day, memory, kept, fresh, facts, options) -> str:
    older = [_line(memory, one.id, day, options) for layer in NAMES for one in kept.get(layer, [])]
    parts = ["Today:", *(_line(memory, identity, day, options, dated=False) for identity in fresh)] if fresh else []
    parts += ["Before:", *older] if older else []
    last = [] if facts["momentum"] is None else [_moved(facts["momentum"])]
    return "\n".join([*parts, " ".join([*last, ASKED, *([NAMED] if options.cite == "named" else [])])])


def _paper(name, day, memory, kept, fresh, facts, options) -> str:
    parts = [RISK if options.anonymous else f"The share to be judged is {name} and today is {day}. {RISK}"]
    for layer in NAMES:
        lines = [_line(memory, one.id, day, options) for one in kept.get(layer, [])] or [f"- No {layer}-term information."]
        parts.append("\n".join([f"{TITLES[layer]}:", *(lines * 2 if len(lines) == 1 else lines)]))
    if facts["momentum"]:
        parts.append(_moved(facts["momentum"]))
    return "\n\n".join([*parts, _question(options)])


def _line(memory: Memory, identity: int, day: date, options, dated: bool = True) -> str:
    number = f"[{identity}] " if options.cite == "named" else ""
    age = (day - memory.dates[identity]).days  # a date costs ten tokens, and a small model cannot count with it
    when = "today: " if age == 0 else f"{age} day{'s' * (age != 1)} ago: "
    return f"- {number}{when * (dated and options.mode == 'strict')}{memory.texts[identity]}"


def _moved(sign: int) -> str:
    return f"Over the past three days the price has {('fallen', 'not changed', 'risen')[sign + 1]}."


def _question(options) -> str:
    return f"{QUESTION} {NAMED}" if options.cite == "named" else QUESTION


def cited(text: str | None, ids: Sequence[int]) -> list[int]:
    """The ids of a prompt that an answer names, each once."""
    numbers = {int(number) for number in re.findall(r"(?<![\d.,])\d+(?![\d.,]*\d|%)", text or "")}
    return [identity for identity in ids if identity in numbers]


def lesson(name: str, read: Sequence[str], change: float, direction: int | None) -> str:
    """What a day's notes were followed by, as it is known seven days later; direction is None where nothing was decided."""
    way = "did not move" if abs(change) < 0.0005 else f"{'rose' if change > 0 else 'fell'} {abs(change):.1%}"
    before = f"After “{read[0].rstrip('.')}” {name}" if read else name[0].upper() + name[1:]
    text = f"{before} {way} in seven days."
    if direction is None:
        return text
    gained = direction * change
    verdict = "" if not gained else ", which was right" if gained > 0 else ", which was wrong"
    return f"{text} The decision was {DIRECTIONS[direction]}{verdict}."


def hindsight(name: str, change: float, read: Sequence[str]) -> str:
    """What ``paper`` stores on a day of warm-up: the next day's change, which nobody knew then, and a reason for it."""
    right = "buy" if change > 0 else "sell"
    reason = f" The reason may be: {read[0]}" if read else ""
    return (
        f"{name[0].upper() + name[1:]} {'rose' if change > 0 else 'fell'} {abs(change):.1%} on the next day, so {right} was right.{reason}"
    )
