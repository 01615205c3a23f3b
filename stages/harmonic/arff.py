"""Read ARFF, Weka's form of a table, and KEEL's .dat, which is ARFF with ranges behind the types.

An `@attribute` line gives a column its name and its type: numeric, real or integer for a number, `{a, b}` for a category with these values,
string or date for a text. The types hold as declared:

* A cell of a category is one of the declared values or missing; any other is refused. `None` and `NA` are values where they are declared.
* An unquoted `?` is missing. ARFF knows no other mark; those that the parameter `missing` lists count too, with a note.
* `%` begins a comment. By the description of the format only a whole line can be one; Weka's reader also drops the rest of a line behind a
  `%` in it, and would read `100%` as 100. The two readings differ, so an unquoted cell with a `%` is refused.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable

from catalog.base.errors import CatalogError
from stages.harmonic.cells import ARFF, Cell, Rows, checked, records, shown, some

QUOTED = r"'((?:\\.|[^'\\])*)'|\"((?:\\.|[^\"\\])*)\""
ATTRIBUTE = re.compile(rf"^[ \t]*@attribute\s+(?:{QUOTED}|([^\s{{'\"]+))[ \t]*([^\r\n]*)", re.IGNORECASE | re.MULTILINE)
DATA = re.compile(r"^[ \t]*@data\b[^\r\n]*", re.IGNORECASE | re.MULTILINE)
VALUE = re.compile(rf"\s*(?:{QUOTED}|([^\s,{{}}'\"%][^,\t{{}}%]*))\s*")
NUMBERS, TEXTS = ("numeric", "real", "integer"), ("string", "date")


def read_arff(text: str, where: str, missing: tuple[str, ...], tell: Callable[[str], None]) -> tuple[list[str], Rows, dict[str, bool]]:
    """Columns, rows, and whether a column is declared as one of numbers. Cells that are declared values count as quoted: never missing.

    Args:
        where: name of the file, for messages.
        missing: what an unquoted missing cell reads.
        tell: is called with each note.

    Raises:
        CatalogError: no ARFF file, a sparse one, an unknown type, an undeclared value, a `%` in an unquoted cell.
    """
    head = DATA.search(text)
    found = ATTRIBUTE.findall(text[: head.start()] if head else "")
    if not found:
        raise CatalogError(f"{where} has no @attribute or no @data line, so it is no ARFF file; set its form to csv.")
    header = [re.sub(r"\\(.)", r"\1", one or two or three) for one, two, three, _ in found]
    kinds = [_kind(name, kind, where) for name, (*_, kind) in zip(header, found)]
    rows = list(records(text[head.end() :], ARFF, where))
    if rows and rows[0][0].text.startswith("{") and not rows[0][0].quoted:
        raise CatalogError(f"{where} is a sparse ARFF file, whose rows leave zeros out; save it in full (Weka's SparseToNonSparse).")
    other = Counter()  # marks of a missing cell that ARFF does not know
    rows = [
        [_cell(cell, name, kind, missing, f"row {number} of {where}", other) for cell, name, kind in zip(row, header, kinds)]
        for number, row in enumerate(checked(rows, len(header), where), 1)
    ]
    if other:
        marks = some([f"{mark!r} in {count} cells" for mark, count in other.items()])
        tell(f"{where} has cells that are missing by `missing`, though in ARFF only ? is: {marks}.")
    return header, rows, {name: kind is True for name, kind in zip(header, kinds)}


def _kind(name: str, kind: str, where: str) -> bool | dict[str, None]:
    """True for a number, False for a text, the declared values (in their order) of a category."""
    if kind.startswith("{"):
        return dict.fromkeys(_values(name, kind, where))
    word = (re.match(r"[A-Za-z]*", kind) or [""])[0].lower()
    if word not in NUMBERS + TEXTS:
        raise CatalogError(
            f"{where} declares {name} as {shown(kind)}, which is no type that can be read; "
            f"declare it as {', '.join(NUMBERS + TEXTS)} or {{its values}}."
        )
    return word in NUMBERS


def _values(name: str, kind: str, where: str) -> list[str]:
    """Values of `{a, 'b c', "d"}`."""
    values, at = [], 1
    while match := VALUE.match(kind, at):
        one, two, three = match.groups()
        values.append(three.strip() if three is not None else re.sub(r"\\(.)", r"\1", one if one is not None else two))
        at = match.end()
        at += len(re.match(r"[\s,]*", kind[at:])[0])
    rest = kind[at:].lstrip()
    if not values or not rest.startswith("}") or rest[1:].lstrip()[:1] not in ("", "%"):
        raise CatalogError(
            f"The values that {where} declares for {name} cannot be read: {shown(kind)}; "
            "give them on one line between { and }, with commas between them, and quote those with a comma, a quote, a brace or a %."
        )
    return values


def _cell(cell: Cell, name: str, kind: bool | dict[str, None], missing: tuple[str, ...], at: str, other: Counter[str]) -> Cell:
    """A cell as its column declares it."""
    if not cell.quoted:
        if cell.text == "?":
            return cell
        if "%" in cell.text:
            raise CatalogError(
                f"The cell {shown(cell.text)} of {name} in {at} has a % outside quotes, where Weka would begin a comment: "
                "give a comment a line of its own, or quote the cell."
            )
    if isinstance(kind, dict) and cell.text in kind:
        return Cell(cell.text, True)
    if not cell.quoted and cell.text in missing:
        other[cell.text] += 1
        return cell
    if isinstance(kind, dict):
        raise CatalogError(
            f"Column {name} has {shown(cell.text)} in {at}, which its @attribute line does not declare ({some(list(kind))}); "
            "correct the cell, or declare the value."
        )
    return cell
