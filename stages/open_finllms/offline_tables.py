"""Tasks on rows of real prices: questions with a numeric answer on an HTML table, and whether a share rises or falls on the next day.

The movement follows the rule of the set ACL18: the next close at least 0.55 % above the last one is Rise, at least 0.5 % below it Fall, and
days between are not used. As many Rise as Fall are drawn. The figures before it are as in the benchmark: changes of the close in per
cent with one decimal, and how far the mean of the last 5 and 10 closes lies from the close.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from datetime import date
from typing import Any

from stages.open_finllms.html_table import TAIL, head_html, row_html
from stages.open_finllms.offline_facts import Facts
from stages.open_finllms.offline_notes import instruction
from stages.open_finllms.offline_wordings import TABLE_QUESTIONS
from stages.open_finllms.settings import Tasks

Row = dict[str, Any]
MEANS = (5, 10)  # days of the running means


def answer(kind: str, closes: Sequence[float], place: int) -> str:
    """The right answer, from closes as printed.

    >>> answer("difference", [10.0, 10.5, 9.75], 0), answer("rises", [10.0, 10.5, 9.75], 0)
    ('-0.25', '1')
    """
    numbers = {
        "lookup": f"{closes[place]:.2f}",
        "highest": f"{max(closes):.2f}",
        "lowest": f"{min(closes):.2f}",
        "difference": f"{round(closes[-1] - closes[0], 2) + 0.0:.2f}",
        "rises": str(sum(later > earlier for earlier, later in zip(closes, closes[1:]))),
    }
    return numbers[kind]


def table_qa(facts: Facts, split: str, rng: random.Random, p: Tasks) -> Iterator[Row]:
    """Two questions of different kinds on each table; all kinds occur as often."""
    number = 0
    kinds: list[str] = []
    while True:
        asset, days, closes = facts.window(split, rng, p.rows)
        closes = [round(close, 2) for close in closes]
        if len(set(closes)) < len(closes):
            continue
        number += 1
        dates = [f"{day.day} {day:%B}" for day in days]
        table = head_html(["Date", "Close"]) + "\n".join(row_html([at, f"{close:.2f}"]) for at, close in zip(dates, closes)) + "\n" + TAIL
        kinds = kinds or rng.sample(sorted(TABLE_QUESTIONS), len(TABLE_QUESTIONS))
        first = kinds.pop()
        kinds = kinds or [kind for kind in rng.sample(sorted(TABLE_QUESTIONS), len(TABLE_QUESTIONS)) if kind != first]
        for kind in (first, kinds.pop()):
            place = rng.randrange(len(days))
            wording = rng.choice(TABLE_QUESTIONS[kind][split])
            yield {
                "instruction": instruction("table_qa", split, rng),
                "context": f"{facts.names[asset]}, {days[0].year}\n{table}",
                "question": wording.format(day=dates[place]),
                "gold": answer(kind, closes, place),
                "label_type": kind,
                "type": "numeric questions on tables",
                "unit": f"table {number}",
                "template": wording,
                "asset": asset,
                "date": str(days[-1]),
            }


def movement(last: float, following: float, p: Tasks) -> str | None:
    """Rise, Fall, or None for a move between the two bounds."""
    change = following / last - 1
    return "Rise" if change >= p.rise else "Fall" if change <= p.fall else None


def stock_table(days: Sequence[date], closes: Sequence[float], shown: int) -> str:
    """The last `shown` days: date, change of the close, and the running means less the close, all in per cent."""
    lines = ["date,close," + ",".join(f"inc-{n}" for n in MEANS)]
    for at in range(len(days) - shown, len(days)):
        change = 100 * (closes[at] / closes[at - 1] - 1)
        means = [100 * (sum(closes[at - n + 1 : at + 1]) / n / closes[at] - 1) for n in MEANS]
        lines.append(f"{days[at]:%m-%d}," + ",".join(f"{number + 0.0:.1f}" for number in (change, *means)))
    return "\n".join(lines)


def stock(facts: Facts, split: str, rng: random.Random, p: Tasks) -> Iterator[Row]:
    """Rise and Fall in turn. Nothing of the next day is shown."""
    while True:
        for wanted in ("Rise", "Fall"):
            while True:
                asset, days, closes = facts.window(split, rng, p.window + 1)
                if movement(closes[-2], closes[-1], p) == wanted:
                    break
            yield {
                "instruction": instruction("stock", split, rng).format(asset=facts.names[asset]),
                "context": stock_table(days[:-1], closes[:-1], p.shown),
                "choices": ["Rise", "Fall"],
                "gold": wanted,
                "type": "stock movement",
                "template": "csv",
                "asset": asset,
                "date": str(days[-1]),
            }
