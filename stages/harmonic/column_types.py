"""Whether a column is one of numbers or a category, and its numbers.

The parameters or an ARFF file may declare it; otherwise its cells decide, and only where they leave no doubt:

* Numbers: every cell is one and can be written back as it was read.
* A category: no cell looks like a number; or few different ones do, such as `3+` among grades (a note says so); or all cells are digits of
  one length that begin with zeros or have more digits than a float holds, which are codes such as `00501` (a note says so).
* Anything else is refused until it is corrected or declared: numbers with `N/A` among them, `$1.5`, `12%` or `1,234`, which would be a
  category of thousands of levels, and whole numbers with a single `007`.

A number beyond 1e100, or nearer to zero than 1e-100, is refused wherever it would be read as one.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from decimal import Decimal

from catalog.base.errors import CatalogError
from stages.harmonic.cells import shown

NUMBER = re.compile(r"\s*[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?\s*")
# A number in other clothes: a sign or a currency in front, separators of thousands or a decimal comma, a unit behind.
_GROUPED = r"\d{1,3}(?:(?:,\d{2,3})+|(?:\.\d{3})+|(?:['’_ \u00a0\u202f]\d{3})+)|\d+"
AMOUNT = re.compile(  # a currency already replaced by ¤
    rf"\s*\(?[-+−–<>=~≤≥±¤ ]*(?:[A-Z]{{3}}\s?)?[-+]?(?:{_GROUPED})?(?:[.,]\d+)?(?:[eE][-+]?\d+)?\s*[%‰°¤+]?\s*[^\W\d_]{{0,7}}\.?\)?\s*"
)
THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(?:\.\d{3})+")  # 1.234: with a point, or twelve hundred and thirty-four
LARGEST = 1e100  # beyond it, and nearer to zero than its inverse, squares and their sums soon leave the range of a float
LEVELS = 20  # more levels than this are a suspicious category, and fewer if they are half of the cells
REMEDY = "name the column under `categorical` if it is a category"


def is_number(cell: str) -> bool:
    return NUMBER.fullmatch(cell) is not None


def plain(cell: str, form: str) -> str:
    """A number with a decimal point where the form has a comma; other cells as they are."""
    other = cell.replace(",", ".")
    return other if form == "csv2" and "." not in cell and is_number(other) else cell


def to_float(cell: str, name: str, at: str, remedy: str = "correct it") -> float:
    """The number that a cell of the column ``name`` holds; ``at``, where it stands, and ``remedy`` are for the message.

    Raises:
        CatalogError: one beyond `LARGEST` or nearer to zero than its inverse; distances and deviations square it.
    """
    number = float(cell)
    zero = not re.search("[^0]", re.sub(r"[-+.\s]", "", re.split("[eE]", cell)[0]))  # as it is written: 1e-400 is none
    if not zero and not 1 / LARGEST <= abs(number) <= LARGEST:
        size, bound = ("large", f"at most {LARGEST:g}") if abs(number) > 1 else ("small", f"at least {1 / LARGEST:g}")
        raise CatalogError(f"Column {name} has {shown(cell)} in {at}, which is too {size} to compute with ({bound}); {remedy}.")
    return number


def numbers(
    name: str, cells: list[str | None], declared: bool | None, form: str, place: Callable[[int], str], tell: Callable[[str], None]
) -> list[float | None] | None:
    """The numbers of a column, None for a missing one; or None if the column is a category.

    Args:
        cells: texts, None for a missing cell.
        declared: True for numbers, False for a category, None if nobody declares the column.
        form: of the file; in csv2 a comma is the decimal point.
        place: where a cell stands, in words, from its index.
        tell: is called with each note.

    Raises:
        CatalogError: see the module; the sentence names the column, a cell and its row.
    """
    if declared is False:
        return None
    read = [cell if cell is None else plain(cell, form) for cell in cells]
    strange = [i for i, cell in enumerate(read) if cell is not None and not is_number(cell)]
    if strange and declared:
        cell, at = shown(cells[strange[0]]), place(strange[0])
        raise CatalogError(
            f"Column {name} should hold numbers but has {cell} in {at}: write it as a plain number, "
            "list it under `missing` if it marks a missing cell, or take the column out of `numeric`."
        )
    if strange:
        _category(name, read, strange, place, tell)
        return None
    if form == "csv2":
        check_points(name, cells, place)
    remedy = "correct it" if declared else f"correct it, or {REMEDY}"
    found = [cell if cell is None else to_float(cell, name, place(i), remedy) for i, cell in enumerate(read)]
    odd = [i for i, cell in enumerate(read) if cell is not None and not _written_back(cell)]
    if odd and declared is None:
        _codes(name, read, odd, place, tell)
        return None
    if rounded := [i for i in odd if found[i] != Decimal(read[i].strip())]:
        cell, at = shown(cells[rounded[0]]), place(rounded[0])
        tell(f"Column {name} is one of numbers as declared, but {cell} in {at} has more digits than 64 bits hold and is rounded.")
    return found


def check_points(name: str, cells: list[str | None], place: Callable[[int], str]) -> None:
    """Refuse numbers of csv2 whose points may part thousands (`1.234`), unless another cell of the column shows that they do not.

    In a column with `7.4` or `0.076` and without a comma the point can only be the decimal one.
    """
    points = [i for i, cell in enumerate(cells) if cell is not None and "." in cell]
    commas = [i for i, cell in enumerate(cells) if cell is not None and "," in cell]
    if points and (commas or all(THOUSANDS.fullmatch(cells[i].strip()) for i in points)):
        cell, at = shown(cells[points[0]]), place(points[0])
        beside = f" beside {shown(cells[commas[0]])} in {place(commas[0])}" if commas else ""
        raise CatalogError(
            f"Column {name} has {cell} in {at}{beside}, and in a table of the form csv2 the point may be a decimal one or part thousands: "
            "write its numbers with a decimal comma and no separator of thousands."
        )


def _written_back(cell: str) -> bool:
    """Whether a number is the same when it is written again: no leading zeros, and no more digits of a whole number than a float holds."""
    whole = cell.strip().lstrip("+-")
    return not re.match(r"0\d", whole) and (not whole.isdigit() or Decimal(float(whole)) == Decimal(whole))


def _amount(cell: str) -> bool:
    """Whether a cell is a number, or one in other clothes: `$1.5`, `12%`, `1,234`, `3 kg`, `3+`."""
    cell = "".join("¤" if unicodedata.category(sign) == "Sc" else sign for sign in cell)
    return AMOUNT.fullmatch(cell) is not None and any(sign.isdigit() for sign in cell)


def _many(different: int, known: int) -> bool:
    return different >= max(2, min(LEVELS, known / 2))


def _category(name: str, read: list[str | None], strange: list[int], place: Callable[[int], str], tell: Callable[[str], None]) -> None:
    """A column with cells that are no numbers: refuse it if it may be one of numbers after all, and note what is worth a look."""
    known = [cell for cell in read if cell is not None]
    levels = set(known)
    like = {cell for cell in levels if _amount(cell)}
    cell, at = shown(read[strange[0]]), place(strange[0])
    if _many(len(like), len(known)):
        count = sum(cell in like for cell in known)
        raise CatalogError(
            f"Column {name} may be one of numbers or a category: {cell} in {at} is no plain number, though {count} of its {len(known)} "
            f"cells are or look like one; write them plainly (1234.5), list under `missing` what marks a missing cell, or {REMEDY}."
        )
    if any(is_number(level) for level in like):
        tell(f"Column {name} is read as a category of {len(levels)} levels since {cell} in {at} is no number; confirm it by `categorical`.")
    elif len(levels) > LEVELS and len(levels) > len(known) / 2:
        tell(
            f"Column {name} is read as a category, with {len(levels)} levels in {len(known)} cells, such as {cell} in {at}; "
            "leave it out of the table if it is a name, a date or a text, or confirm it by `categorical`."
        )


def _codes(name: str, read: list[str | None], odd: list[int], place: Callable[[int], str], tell: Callable[[str], None]) -> None:
    """A column of numbers some of which cannot be written back: codes if all have one length, refused otherwise."""
    known = [cell for cell in read if cell is not None]
    cell, at = shown(read[odd[0]]), place(odd[0])
    if all(cell.isdigit() for cell in known) and len(set(map(len, known))) == 1:
        tell(
            f"Column {name} is read as a category of {len(set(known))} codes, since all have {len(known[0])} digits and {cell} in {at} "
            f"would not be the same as a number; confirm it by `categorical`, or name it under `numeric`."
        )
        return
    raise CatalogError(
        f"Column {name} is one of numbers, but {cell} in {at} would not be the same as a number, and may be a code: correct it, "
        "name the column under `numeric` if it is a number all the same, or under `categorical` if these are codes."
    )
