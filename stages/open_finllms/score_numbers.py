"""Scores of answers that are a number or a short text: questions, conversations, a sentiment between -1 and 1.

| | paper | strict |
|---|---|---|
| questions | the answer is the gold text, character by character | the same number, or the same text but for case and spaces |
| conversations | the same, turn by turn, earlier answers of the model in later questions | the same |
| sentiment | first number on the first line, *without its sign*; items without one are dropped | signed; none: the largest error |

Thousands separators, currency and percent signs are dropped, so that 5.2% is 5.20, and a number in brackets is negative. A fraction and a
percentage are different numbers, because a gold text 0.5 does not say which of the two it is. A number is right if it rounds to gold at
gold's last decimal; where gold has decimals, also within 1 in 10,000. An answer with two different numbers is none, unless one of them is
announced ("the answer is 5", "= 5").
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from catalog.base.errors import CatalogError
from stages.open_finllms.labels import announced_part, strict_label
from stages.open_finllms.score_common import Item, Score, Scored, by_unit, column, frame, interval, mean_score, missing_rate

_AMOUNT = r"(?:\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_NUMBER = re.compile(
    rf"(?<![\w.])(?P<open>\(\s*)?(?P<sign>[-+−–])?(?:[$€£¥]\s*)?(?P<sign2>[-−–])?(?P<amount>{_AMOUNT})(?![\w]|\.\d)\s*%?\s*(?P<close>\))?"
)
_UNSIGNED = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_TURN = re.compile(r"\{answer(\d+)\}")
_RELATIVE = 1e-4


def numbers(text: str) -> list[float]:
    """All numbers of a text, signed. A minus after a digit or letter is a dash: 0.2-0.5 has two positive numbers."""
    found = []
    for match in _NUMBER.finditer(text):
        value = float(match["amount"].replace(",", ""))
        negative = match["sign"] in ("-", "−", "–") or match["sign2"] is not None or (match["open"] and match["close"])
        found.append(-value if negative else value)
    return found


def one_number(output: str) -> tuple[float | None, str]:
    """The number that an answer gives, and a status: ok, several, unparsable, empty."""
    if not output.strip():
        return None, "empty"
    part = announced_part(output)
    parts = [part] if part is not None else [line for line in reversed(output.split("\n")) if line.strip()]
    for line in parts:
        found = set(numbers(line.rsplit("=", 1)[-1])) or set(numbers(line))
        if len(found) > 1:
            return None, "several"
        if found:
            return found.pop(), "ok"
    return None, "unparsable"


def as_number(gold: str) -> tuple[float, int] | None:
    """A gold text that is nothing but a number, with its decimals; None if it is something else."""
    match = _NUMBER.fullmatch(gold.strip())
    if match is None or (match["open"] is None) != (match["close"] is None):
        return None
    mantissa, _, power = match["amount"].lower().partition("e")
    return numbers(gold)[0], max(0, len(mantissa.partition(".")[2]) - int(power or 0))


def same_number(mine: float, gold: float, decimals: int) -> bool:
    """Whether a number is gold to gold's last decimal, or within 1 in 10,000 of a gold number that has decimals."""
    rounding = 0.5 * 10.0**-decimals * (1 + 1e-9)
    return abs(mine - gold) <= max(rounding, _RELATIVE * abs(gold) if decimals else 0.0)


def read_answer(output: str, gold: str, mode: str) -> tuple[str | None, str, bool]:
    """What an answer says, its status, and whether it is right."""
    if mode == "paper":
        text = output.strip()
        return text, "ok" if text else "empty", text == gold
    number = as_number(gold)
    if number is not None:
        mine, status = one_number(output)
        return (None if mine is None else repr(mine)), status, mine is not None and same_number(mine, *number)
    if gold.strip().lower() in ("yes", "no"):
        label, status = strict_label(output, ("yes", "no"))
        return label, status, label == gold.strip().lower()
    part = announced_part(output)
    text = _plain(output if part is None else part)
    return text or None, "ok" if text else "empty", bool(text) and text == _plain(gold)


def _plain(text: str) -> str:
    return " ".join(text.casefold().split()).strip(".。\"'“”")


def questions(items: Sequence[Item], mode: str) -> Scored:
    """Exact match."""
    scored, scores = _read(items, mode)
    return Scored((_exact(items, scored.items["score"], scores, "acc"),), scored.items)


def conversations(items: Sequence[Item], mode: str) -> Scored:
    """Exact match of questions that follow one another; columns dialogue_id and turn. Conversations are what is resampled."""
    places: dict[str, dict[int, Item]] = defaultdict(dict)
    for item in items:
        dialogue, turn = str(column(item, "dialogue_id")), int(column(item, "turn"))
        if turn in places[dialogue]:
            raise CatalogError(f"Conversation {dialogue} has turn {turn} twice (item {item.id}), so its answers cannot be told apart.")
        places[dialogue][turn] = item
    items = [_unit(item, str(item.row["dialogue_id"])) for item in items]
    scored, missing = _read(items, mode)
    right = dict(zip(scored.items["id"], scored.items["score"]))
    scores = [_exact(items, scored.items["score"], missing, "acc")]
    last = {max(turns.items())[1].id for turns in places.values()}
    groups: dict[str, list[Item]] = {"acc_last_turn": [item for item in items if item.id in last]}
    for item in sorted(items, key=lambda item: int(item.row["turn"])):
        groups.setdefault(f"acc_turn_{int(item.row['turn'])}", []).append(item)
    statuses = dict(zip(scored.items["id"], scored.items["status"]))
    for metric, some in groups.items():
        scores.append(_exact(some, [right[item.id] for item in some], missing_rate([statuses[item.id] for item in some]), metric))
    return Scored(tuple(scores), scored.items)


def _unit(item: Item, unit: str) -> Item:
    return Item(item.id, item.output, item.gold, item.row, item.choices, unit, item.absent)


def _read(items: Sequence[Item], mode: str) -> tuple[Scored, float]:
    parsed, statuses, right = zip(*(read_answer(item.output, item.gold, mode) for item in items))
    return Scored((), frame(items, parsed, statuses, right)), missing_rate(statuses)


def _exact(items: Sequence[Item], right: Sequence[float], missing: float, metric: str) -> Score:
    commonest = max(Counter(item.gold for item in items).values()) / len(items)
    return mean_score(metric, items, list(right), missing, commonest)


def by_turn(rows: Sequence[Mapping]) -> list[list[Mapping]]:
    """Rows of a conversation set by turn, in the order in which a model must answer them; every conversation has its turns without a gap.

    Raises:
        CatalogError: a conversation begins late or leaves a turn out.
    """
    turns: dict[str, list[int]] = defaultdict(list)
    for row in rows:
        turns[str(row["dialogue_id"])].append(int(row["turn"]))
    for dialogue, found in turns.items():
        if sorted(found) != list(range(len(found))):
            raise CatalogError(f"Conversation {dialogue} has the turns {sorted(found)}; they must count from 0 without a gap.")
    last = max((max(found) for found in turns.values()), default=-1)
    return [[row for row in rows if int(row["turn"]) == turn] for turn in range(last + 1)]


def fill_turn(prompt: str, answers: Sequence[str]) -> str:
    """A later question with the model's earlier answers in {answer0}, {answer1}, ...; every other brace stays as it is.

    The published code formats the whole prompt instead, which fails on other braces and would evaluate what stands in them.
    """

    def answer(match: re.Match) -> str:
        if int(match[1]) >= len(answers):
            raise CatalogError(f"A question refers to {match[0]}, but only {len(answers)} answers were given before it.")
        return answers[int(match[1])]

    return _TURN.sub(answer, prompt)


def paper_sentiment(output: str) -> float | None:
    """The first number of the first line, without sign, at most 1: -0.5 is read as 0.5."""
    found = _UNSIGNED.search(output.split("\n")[0])
    return None if found is None else min(float(found[0]), 1.0)


def strict_sentiment(output: str) -> tuple[float | None, str]:
    """The one number between -1 and 1, with its sign."""
    value, status = one_number(output)
    return (value, status) if value is None or -1 <= value <= 1 else (None, "unparsable")


def sentiment(items: Sequence[Item], mode: str) -> Scored:
    """Root mean squared error of a sentiment between -1 and 1.

    Paper: over the items with a number. Strict: over all items, an item without a number counting as far off as can be, |gold| + 1;
    rmse_answered leaves these out. `constant` is the error of the mean of the same gold values.
    """
    gold = []
    for item in items:
        number = as_number(item.gold)
        if number is None or not -1 <= number[0] <= 1:
            raise CatalogError(f"Item {item.id} has the target {item.gold!r}; a sentiment is a number from -1 to 1.")
        gold.append(number[0])
    if mode == "paper":
        read: list[tuple[float | None, str]] = [
            (value, "ok" if value is not None else "unparsable" if item.output.strip() else "empty")
            for item in items
            for value in [paper_sentiment(item.output)]
        ]
    else:
        read = [strict_sentiment(item.output) for item in items]
    values, statuses = zip(*read)
    missing = missing_rate(statuses)
    answered = [at for at, value in enumerate(values) if value is not None]
    errors = [None if value is None else (value - right) ** 2 for value, right in zip(values, gold)]
    rmse = _rmse("rmse" if mode == "paper" else "rmse_answered", items, gold, errors, answered, missing)
    scores = [rmse]
    if mode == "strict":
        penalised = [(abs(right) + 1) ** 2 if error is None else error for error, right in zip(errors, gold)]
        scores.insert(0, _rmse("rmse", items, gold, penalised, range(len(items)), missing))
    return Scored(tuple(scores), frame(items, [None if v is None else repr(v) for v in values], statuses, errors))


def _rmse(metric: str, items, gold, errors, of: Sequence[int], missing: float) -> Score:
    if not len(of):
        return Score(metric, None, None, None, 0, missing, 0, "error")
    some = np.array([errors[at] for at in of])
    sums = by_unit([items[at] for at in of], np.column_stack([some, np.ones(len(some))]))
    ends = interval(sums, _root_mean)
    value = float(_root_mean(sums.sum(0, keepdims=True))[0])
    return Score(metric, value, *ends, len(of), missing, len(sums), "error", float(np.std(sorted(gold[at] for at in of))))


_root_mean: Callable[[np.ndarray], np.ndarray] = lambda total: np.sqrt(total[:, 0] / total[:, 1])  # noqa: E731
