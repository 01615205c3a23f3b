"""Print what the catalog found: for each system its main claim, the paper's number, ours with its interval, and what it is compared with.

`python -m catalog.database.summary` reads the built database.
"""

import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

import duckdb

from catalog.base.errors import run
from catalog.database import content, db

HEADER = ("system", "profile", "main claim", "reported", "ours", "against", "verdict")
_CLAIM_WIDTH = 60


def rows(con: duckdb.DuckDBPyConnection) -> list[tuple[str, ...]]:
    """Return one row of texts, in the columns of `HEADER`, for each system and each profile it was measured at.

    A system without results has one row with dashes.
    """
    found = con.execute(
        """
        SELECT s.system, c.profile, coalesce(c.text, s.summary), c.reported, c.ours, c.ours_low, c.ours_high, c.against, c.against_name,
            c.verdict
        FROM systems AS s
        LEFT JOIN comparison AS c ON c.system = s.system AND c.is_main
        ORDER BY s.sort_order, s.system, c.profile DESC
        """
    ).fetchall()
    return [
        (
            system,
            profile or "–",
            shorten(text, _CLAIM_WIDTH),
            number(reported),
            with_interval(ours, low, high),
            number(against) if against is None else f"{number(against)} ({name})",
            verdict or "not measured",
        )
        for system, profile, text, reported, ours, low, high, against, name, verdict in found
    ]


def with_interval(value: float | None, low: float | None, high: float | None) -> str:
    """A number and its interval in brackets; the number alone where it has none."""
    if value is None or low is None or low == high:
        return number(value)
    return f"{number(value)} [{number(low)}, {number(high)}]"


def counts(con: duckdb.DuckDBPyConnection) -> str:
    """How many claims of the papers hold, fail and stay undecided, and how many checks of ours hold, in one sentence."""
    verdicts = dict.fromkeys(("holds", "fails", "undecided", "not measured"), 0)
    tally = {"paper": dict(verdicts), "project": dict(verdicts)}
    for by, verdict, count in con.execute("SELECT claimed_by, verdict, count(*) FROM claims GROUP BY ALL").fetchall():
        tally[by][verdict] = count
    paper, ours = tally["paper"], tally["project"]
    missing = f", {paper['not measured']} {'was' if paper['not measured'] == 1 else 'were'} not measured" if paper["not measured"] else ""
    return (
        f"Of {sum(paper.values())} claims of the papers {paper['holds']} hold, {paper['fails']} fail, {paper['undecided']} are undecided"
        f"{missing}; of {sum(ours.values())} checks of ours {ours['holds']} hold, {ours['fails']} fail, {ours['undecided']} are undecided."
    )


def number(value: float | None) -> str:
    """A number in three significant digits; a dash for None."""
    if value is None:
        return "–"
    return f"{value:.0f}" if 1000 <= abs(value) < 1e15 else f"{value:.3g}"


def shorten(text: str, width: int) -> str:
    """The text on one line, cut at a word where it is longer than `width`."""
    text = " ".join(text.split())
    return text if len(text) <= width else text[: width - 1].rsplit(" ", 1)[0] + "…"


def text_table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Lay out a table in plain text: columns two blanks apart, a rule below the header, numbers to the right.

    Args:
        header: column names.
        rows: cells; None is shown as NULL, control characters as blanks, floats in four significant digits.
    """
    values = [list(row) for row in rows]
    cells = [[str(name) for name in header]] + [[_cell(value) for value in row] for row in values]
    widths = [max(_width(row[i]) for row in cells) for i in range(len(header))]
    right = [any(row[i] is not None for row in values) and all(_is_number(row[i]) for row in values) for i in range(len(header))]
    lines = []
    for row in cells:
        padded = [
            " " * (width - _width(cell)) + cell if align else cell + " " * (width - _width(cell))
            for cell, width, align in zip(row, widths, right)
        ]
        lines.append("  ".join(padded).rstrip())
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def main() -> None:
    """Print the table and the command that opens the app."""
    content.require_current()
    with db.reading() as con:
        found = rows(con)
        counted = counts(con)
    print(text_table(HEADER, found))
    print(f"\n{counted} To look at everything: make app")


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))


def _cell(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.4g}"
    # Texts of the database are not to steer a terminal.
    return "".join(" " if unicodedata.category(letter).startswith("C") else letter for letter in str(value))


def _width(text: str) -> int:
    """Columns that a text takes in a terminal: wide letters take two, combining marks none."""
    return sum(0 if unicodedata.combining(letter) else 1 + (unicodedata.east_asian_width(letter) in "WF") for letter in text)


if __name__ == "__main__":
    run(main)
