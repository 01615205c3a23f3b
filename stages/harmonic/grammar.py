"""Which tokens may follow inside a value: categories by a trie, numbers by their range and decimals.

A :class:`Value` accepts exactly the texts that a column can hold. It is walked token by token: `steps` gives the tokens that may follow and
`ends` whether the value may be complete here. Every walk can be finished, so a sampler never runs into a dead end.
"""

from __future__ import annotations

from decimal import Decimal
from functools import lru_cache

from stages.harmonic.serialise import Pieces

State = tuple[int, ...]  # token ids of the value so far


class Value:
    """What one column may hold, as token sequences."""

    def __init__(self, pieces: Pieces, at: int):
        self.pieces, self.at = pieces, at
        self.column = pieces.schema.columns[at]
        self.trie: dict[State, set[int]] = {}  # of levels and of the missing cell
        self.whole: dict[State, str | None] = {}
        for level, ids in pieces.levels[at].items():
            self.whole[tuple(ids)] = level
            for n, token in enumerate(ids):
                self.trie.setdefault(tuple(ids[:n]), set()).add(token)
        self.character = {token: c for c, token in pieces.characters.items()}
        self.known: dict[State, tuple[list[int], bool]] = {}

    def follow(self, state: State) -> tuple[list[int], bool]:
        """(tokens that may follow, whether the value may end here), tokens in ascending order."""
        if state not in self.known:
            tokens, ends = set(self.trie.get(state, ())), state in self.whole
            if self.column.numeric:
                lead = tuple(self.pieces.lead)
                if len(state) < len(lead) and state == lead[: len(state)]:
                    tokens.add(lead[len(state)])
                elif state[: len(lead)] == lead and all(t in self.character for t in state[len(lead) :]):
                    text = "".join(self.character[t] for t in state[len(lead) :])
                    following, done = number_steps(text, self.column.low, self.column.high, self.column.decimals)
                    tokens |= {self.pieces.characters[c] for c in following}
                    ends = ends or done
            self.known[state] = sorted(tokens), ends
        return self.known[state]

    def read(self, state: State) -> str | float | None:
        """The value that a finished walk stands for."""
        if state in self.whole:
            return self.whole[state]
        text = "".join(self.character[t] for t in state[len(self.pieces.lead) :])
        return float(text)

    def forced(self, state: State) -> list[int]:
        """Tokens that must follow from here, as long as there is no choice."""
        out: list[int] = []
        while True:
            tokens, ends = self.follow((*state, *out))
            if ends or len(tokens) != 1:
                return out
            out += tokens


@lru_cache(maxsize=100_000)
def number_steps(text: str, low: float, high: float, decimals: int) -> tuple[str, bool]:
    """Characters that may follow ``text`` on the way to a number within ``low`` and ``high``, and whether ``text`` is one already.

    Numbers have at most ``decimals`` decimals, no leading zeros and no trailing ones (33.5, not 33.50), as they are written in the rows.
    """
    bounds = _bounds(low, high, decimals)
    allowed = [c for c in ".-0123456789" if _completes(text + c, *bounds, decimals)]
    return "".join(allowed), _is_number(text, *bounds, decimals)


def _bounds(low: float, high: float, decimals: int) -> tuple[Decimal, Decimal]:
    return Decimal(f"{low:.{decimals}f}"), Decimal(f"{high:.{decimals}f}")


def _is_number(text: str, low: Decimal, high: Decimal, decimals: int) -> bool:
    body = text.removeprefix("-")
    whole, dot, part = body.partition(".")
    if not whole.isdigit() or (len(whole) > 1 and whole[0] == "0") or (dot and (not part.isdigit() or part[-1] == "0")):
        return False
    if len(part) > decimals or (text[:1] == "-" and not Decimal(body)):
        return False
    return low <= Decimal(text) <= high


def _completes(text: str, low: Decimal, high: Decimal, decimals: int) -> bool:
    """Whether some number within the bounds begins with ``text``: its completions of each length fill an interval of the grid."""
    if text == "-":
        return low < 0
    negative, body = text[:1] == "-", text.removeprefix("-")
    if not body or not body[0].isdigit() or body.count(".") > 1 or not set(body) <= set("0123456789."):
        return False
    whole, dot, part = body.partition(".")
    if len(whole) > 1 and whole[0] == "0":
        return False
    if (dot and not decimals) or len(part) > decimals:
        return False
    # The numbers of this sign, as multiples of the last decimal.
    unit = 10**decimals
    first, last = (int((bound * unit).to_integral_value()) for bound in (low, high))
    least, most = (max(1, -last), -first) if negative else (max(0, first), last)
    if most < least:
        return False
    if dot:  # the rest of the decimals, of which the last one written is not zero
        start = int(whole + part) * 10 ** (decimals - len(part))
        end = start + 10 ** (decimals - len(part)) - 1
        # A dot must be followed by a decimal other than zero somewhere, so the whole number itself is no completion.
        start = start + 1 if int(part or "0") == 0 else start
        if part and part[-1] == "0" and int(part) != 0 and start % 10 ** (decimals - len(part)) == 0:
            start += 1
        return max(start, least) <= min(end, most)
    widest = len(str(most // unit))
    for extra in range(widest - len(whole) + 1):
        start = int(whole) * 10**extra * unit
        end = (int(whole) + 1) * 10**extra * unit - 1
        if max(start, least) <= min(end, most):
            return True
        if whole == "0":
            break
    return False
