"""The two-way task: notes on a share's month, true ones and fakes whose figures contradict each other in one place.

A true note and its fake are twins: the same share, month, words and figures but one. So nothing but arithmetic tells them apart, and
every note can be judged from its own text: does the percentage fit the two prices, do the days add up, is the last close in the range?
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from stages.fmdllama.wording import dollars, month_name, signed

PLACES = ("change", "days", "range")  # what a fake gets wrong
LEAST, MOST = 2.0, 9.0  # percentage points by which a fake's change is off


def figures(fact: dict[str, Any]) -> dict[str, Any]:
    """The figures a true note prints; those that follow from others are computed from the printed ones."""
    return {key: fact[key] for key in ("before", "last", "change", "high", "low", "days", "up")} | {"down": fact["days"] - fact["up"]}


def faked(true: dict[str, Any], place: str, rng: np.random.Generator) -> dict[str, Any]:
    """The figures with one of them changed so that it contradicts the others."""
    fake = dict(true)
    if place == "change":
        off = round(float(rng.uniform(LEAST, MOST)), 1)
        flipped = -true["change"]
        # A flipped sign where that is far enough off, else another size.
        fake["change"] = (
            flipped if abs(true["change"]) >= LEAST and rng.integers(2) else round(true["change"] + off * rng.choice((-1, 1)), 1)
        )
    elif place == "days":
        steps = [step for step in (-3, -2, 2, 3) if 0 <= true["up"] + step <= true["days"]]
        fake["up"] = true["up"] + int(rng.choice(steps))
    else:  # the last close lies outside the range of closes
        share = float(rng.uniform(0.01, 0.04))
        side = "high" if rng.integers(2) else "low"
        fake[side] = round(true["last"] * (1 - share if side == "high" else 1 + share), 2)
        if side == "high":
            fake["low"] = min(fake["low"], fake["high"])
        else:
            fake["high"] = max(fake["high"], fake["low"])
    return fake


def consistent(shown: dict[str, Any]) -> bool:
    """Whether a note's figures fit together: what a careful reader would check."""
    change = (shown["last"] / shown["before"] - 1) * 100
    return (
        abs(change - shown["change"]) <= 0.06
        and shown["up"] + shown["down"] == shown["days"]
        and shown["low"] <= shown["last"] <= shown["high"]
    )


def text(sentences: list[str], share: str, fact: dict[str, Any], shown: dict[str, Any]) -> list[str]:
    """Sentences of a note with its figures filled in."""
    fields = {
        "x": share,
        "m": month_name(fact["month"]),
        "p0": dollars(shown["before"]),
        "p1": dollars(shown["last"]),
        "s": signed(shown["change"]),
        "hi": dollars(shown["high"]),
        "lo": dollars(shown["low"]),
        "n": shown["days"],
        "up": shown["up"],
        "dn": shown["down"],
    }
    return [sentence.format(**fields) for sentence in sentences]


def notes(
    monthly: pl.DataFrame, names: dict[str, str], wordings: list[list[str]], count: int, split: str, rng: np.random.Generator
) -> list[dict[str, Any]]:
    """``count`` true notes and as many fakes of them, as rows of the data set; no share's month is used twice."""
    usable = monthly.filter((pl.col("change").abs() >= 0.5) & (pl.col("last") >= 5))
    chosen = usable[sorted(rng.permutation(len(usable))[:count].tolist())]
    rows = []
    for number, fact in enumerate(chosen.iter_rows(named=True)):
        place = PLACES[number % len(PLACES)]
        template = int(rng.integers(len(wordings)))
        true = figures(fact)
        for label, shown in (("True", true), ("Fake", faked(true, place, rng))):
            sentences = text(wordings[template], names[fact["asset"]], fact, shown)
            rows.append(
                {
                    "task": "article",
                    "id": f"{split}-{number:04d}-{place}-{label}",
                    "split": split,
                    "kind": place,
                    "template": f"article/{template}",
                    "assets": [fact["asset"]],
                    "month": f"{fact['month']:%Y-%m}",
                    "context_id": f"{split}-a{number:04d}",
                    "context": sentences,
                    "label": label,
                }
            )
    return rows
