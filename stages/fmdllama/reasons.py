"""The label that follows from a reason of the form ``Told: …; claimed: ….``, by rule.

Told another matter than the claim's, a context leaves it open: NEI. Told what is claimed, True; told otherwise, False. On the reasons of
the data set this gives every label (a test), so on reasons that a model has written it tells what the reading of the sentences is worth,
apart from the last step, the comparison.
"""

from __future__ import annotations

import re

# What a sentence of another aspect is about, as `dataset.py` puts it: a price, a move, a run, …
MATTER = re.compile(r"\ban? (?:price|move|change|swing|run|dip)\b")
_FORM = re.compile(r"Told: (.+); claimed: (.+?)\.?")


def label(reason: str) -> str | None:
    """True, False or NEI; None for a text of another form."""
    found = _FORM.fullmatch(reason.strip())
    if found is None:
        return None
    told, claimed = found[1], found[2]
    return "NEI" if MATTER.search(told) else "True" if f" {told}".endswith(f" {claimed}") else "False"
