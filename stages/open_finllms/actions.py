"""The answer of a language model as an action: buy, hold or sell.

Two modes. ``paper`` is what the released code of FinMem does: the exact string "buy" is buy, the exact string "hold" and an empty or failed
answer are hold, and *everything else is sell*, so that "Buy" and "strong buy" sell. ``strict`` reads the answer as a person would and never
invents one: what names no single action is no action. What a simulation then does (stay flat, or keep the position) is a choice of
`stages.open_finllms.trading`, and each such answer is counted.

How ``strict`` reads, on text without differences of case and width (Unicode NFKC):

1. A JSON object with a field such as "investment_decision", or lines such as "Rating: Sell", are read by those values alone.
2. The text is cut into clauses. An action word counts where it stands alone ("buyers" or "sell-off" do not), is not negated in its
   clause ("do not buy", 不宜買進) and carries no degree: "strong buy" is a grade of another scale, not one of the three answers.
3. One action that is left is the answer; none is ``unparsed``; two different ones are ``several``.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable
from datetime import date

import polars as pl

from catalog.base.errors import CatalogError

ACTIONS = ("buy", "hold", "sell")
DIRECTION = {"buy": 1, "hold": 0, "sell": -1}
# ok: read as such. other: ran as sell in mode paper though it was no "sell". The rest name no action in mode strict.
STATUSES = ("ok", "other", "empty", "unparsed", "several")
SCHEMA = {"date": pl.Date, "action": pl.String, "parsed": pl.String, "status": pl.String}

_WORDS = {
    "buy": r"(?<![\w-])buy(?![\w-])|买入|買入|买进|買進",
    "sell": r"(?<![\w-])sell(?![\w-])|卖出|賣出",
    "hold": r"(?<![\w-])hold(?![\w-])|持有|续抱|續抱|观望|觀望",
}
_ACTION = re.compile("|".join(f"(?P<{name}>{pattern})" for name, pattern in _WORDS.items()))
_FIELDS = (
    "investment_decision|investment decision|final transaction proposal|transaction proposal|recommendation|decision|rating|action|verdict|"
    "评级|評級|建议|建議|决策|決策|操作|结论|結論"
)
_LABEL = re.compile(rf"(?<!\w)(?:{_FIELDS})[\"'*_\s]*[:=](?P<value>[^\n]*)")
_CLAUSE = re.compile(r"[,.;:!?。…\n()\[\]{}|—–]|(?<!\w)(?:but|because|although|though|while)(?!\w)|而是|但是|但|所以|因此")
_NOT_BEFORE = re.compile(
    r"(?<!\w)(?:not|no|never|neither|nor|nothing|hardly|unwise|cannot|avoid|against|without|refrain|rather than|instead of|stop|dont|doesnt"
    r"|too \w+ to)(?!\w)|n't(?!\w)"
    r"|[不勿莫未没沒毋]|(?<![特分个個级級类類区區])[别別]|避免|无需|無需|无须|無須|禁止|停止"
)
_NOT_AFTER = re.compile(r"^\s*(?:(?:is|are|was|would be|seems|looks)\s+not(?!\w)|(?:is|are|was)n't(?!\w)|不)")
_DEGREE = re.compile(
    r"(?:(?<!\w)(?:strong(?:ly)?|moderate(?:ly)?|weak(?:ly)?|conviction|speculative|partial(?:ly)?)\s+|[强強]烈|大力|谨慎|謹慎)$"
)
_DOUBLE = re.compile(r"不得不|毫不")  # "cannot but" and "not in the least (hesitating)": no negation of what follows


def parse(text: str | None, mode: str = "strict") -> tuple[str | None, str]:
    """The action that an answer names, or None, and the status of the answer (`STATUSES`).

    Args:
        text: the raw answer; None where the model failed to give one.
        mode: ``paper`` (exact strings, everything else sells) or ``strict``.
    """
    if mode not in ("paper", "strict"):
        raise CatalogError(f"There is no mode {mode!r} to read an action; use paper or strict.")
    if mode == "paper":
        if not text:
            return "hold", "empty"
        return (text, "ok") if text in ACTIONS else ("sell", "other")
    plain = unicodedata.normalize("NFKC", text or "").replace("’", "'").casefold().strip()
    if not plain:
        return None, "empty"
    values = _json_values(plain) or [match["value"] for match in _LABEL.finditer(plain)]
    found = {action for value in values or [plain] for action in _named(value)}
    if len(found) == 1:
        return found.pop(), "ok"
    return None, "several" if found else "unparsed"


def decisions(days: Iterable[date], answers: Iterable[str | None], mode: str = "strict") -> pl.DataFrame:
    """The answers of consecutive days as decisions: date, action (the raw text), parsed, status."""
    rows = [(day, text, *parse(text, mode)) for day, text in zip(days, answers, strict=True)]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def _json_values(text: str) -> list[str]:
    """The fields of a JSON object in the text that name the decision."""
    start, end = text.find("{"), text.rfind("}")
    try:
        value = json.loads(text[start : end + 1]) if 0 <= start < end else None
    except (ValueError, RecursionError):  # no JSON, or nested thousands of levels deep
        return []
    fields = set(_FIELDS.split("|"))
    return [str(field) for key, field in value.items() if key.strip() in fields] if isinstance(value, dict) else []


def _named(text: str) -> list[str]:
    """The actions that a text names and neither negates nor grades."""
    found = []
    for clause in _CLAUSE.split(_DOUBLE.sub("", text)):
        for match in _ACTION.finditer(clause):
            if match.lastgroup in found:
                continue  # a model that repeats a word thousands of times says it once
            before, after = clause[: match.start()], clause[match.end() :]
            if not (_NOT_BEFORE.search(before) or _NOT_AFTER.search(after) or _DEGREE.search(before)):
                found.append(match.lastgroup)
    return found
