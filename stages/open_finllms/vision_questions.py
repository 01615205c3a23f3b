"""Questions about a chart or table in the paper's seven categories, with what is right computed from its figures.

Each question has up to two forms. Asked openly, it is answered by one word of a few candidates (a colour, a direction, a place, a number as
a word). As a multiple choice it has two to four options, A to D; questions for a figure have that form alone. Nothing is asked where the
figures are so close that the picture would not tell.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from stages.open_finllms.vision_charts import Mark
from stages.open_finllms.vision_content import COLOURS, Content, outlier, together, trend

LETTERS = "ABCD"
KINDS = {  # kind -> category of the paper
    "trend": "correlations",
    "together": "correlations",
    "compare": "comparisons",
    "extreme": "extremum",
    "peak": "extremum",
    "top row": "extremum",
    "groups": "clusters",
    "biggest": "distributions",
    "quarter": "distributions",
    "outlier": "anomalies",
    "colour": "retrieval",
    "name": "retrieval",
    "place": "retrieval",
    "cell": "retrieval",
    "value": "retrieval",
    "count": "retrieval",
}
WAYS, ANSWERS, THIRDS, SIDES = ("up", "down"), ("yes", "no"), ("left", "middle", "right"), ("left", "right")
NUMBERS = ("two", "three", "four", "five", "six")
ORDINALS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_MARGIN = 0.1  # of the axis, or of a pie: what is closer is not compared


@dataclass(frozen=True)
class Question:
    kind: str
    text: str
    answer: str  # the right word or, of a figure, its text
    choices: tuple[str, ...]  # possible words; of a figure, texts that it is to be told from
    asked: tuple[int, ...]  # places of the marks that it is about
    word: bool = True  # may be asked openly
    options: tuple[str, ...] = ()
    letter: str = ""


def questions(content: Content, marks: Sequence[Mark], rng: random.Random) -> Iterator[Question]:
    """All questions that a picture can answer; options are still to be drawn."""
    kinds: dict[str, Callable[..., Iterator[Question]]] = {
        "line": _of_line if len(content.series) == 1 else _of_lines,
        "bar": _of_moves if len(content.series) == 1 and len(set(content.colours)) == 1 else _of_bars,
        "grouped": _of_groups,
        "pie": _of_pie,
        "table": _of_table,
    }
    yield from kinds[content.form](content, marks, rng)


def _far(values: Sequence[float], span: float) -> bool:
    """The first of sorted values is clear of the second."""
    return len(values) > 1 and abs(values[0] - values[1]) >= _MARGIN * span


def _at(marks: Sequence[Mark], kind: str, row: int = 0) -> int:
    return next(place for place, mark in enumerate(marks) if mark.kind == kind and mark.row == row)


def _named(rng: random.Random, count: int) -> int | None:
    """One of so many names, in a third of the pictures: names have to be read, so they are not to outnumber the rest."""
    place = rng.randrange(count)
    return place if rng.random() < 1 / 3 else None


def _of_line(content: Content, marks: Sequence[Mark], rng: random.Random) -> Iterator[Question]:
    values, at, peak = content.values[0], _at(marks, "line"), _at(marks, "peak")
    if way := trend(values):
        yield Question("trend", "Does the line go up or down?", way, WAYS, (at,))
    yield Question("colour", "What colour is the line?", content.colours[0], COLOURS, (at,))
    place = marks[peak].column / (len(values) - 1)
    if not 0.4 < place < 0.6:
        yield Question("peak", "Is the highest point on the left or on the right?", SIDES[place > 0.5], SIDES, (peak,))
    shown = rng.sample(range(len(values)), min(8, len(values)))
    figures = tuple(dict.fromkeys(f"${values[spot]:.2f}" for spot in (0, *shown)))
    yield Question("value", "What is the price on the first day?", figures[0], figures, (at,), word=False)


def _of_lines(content: Content, marks: Sequence[Mark], rng: random.Random) -> Iterator[Question]:
    rows, colours = content.values, content.colours
    span = max(map(max, rows)) - min(map(min, rows))
    order = sorted(range(len(rows)), key=lambda row: -rows[row][-1])
    ends = [rows[row][-1] for row in order]
    if len(rows) == 2:
        both = tuple(_at(marks, "line", row) for row in range(2))
        if answer := together(*rows):
            yield Question("together", "Do the two lines move together?", answer, ANSWERS, both)
        if _far(ends, span):
            yield Question("compare", "Which line ends higher, the {} or the {} one?", colours[order[0]], tuple(colours), both)
    elif _far(ends, span):
        yield Question("extreme", "What colour is the line that ends highest?", colours[order[0]], COLOURS, (_at(marks, "line", order[0]),))
    row = rng.randrange(len(rows))
    if way := trend(rows[row]):
        yield Question("trend", f"Does the {colours[row]} line go up or down?", way, WAYS, (_at(marks, "line", row),))
    if (named := _named(rng, len(rows))) is not None:
        yield Question(
            "name", f"What colour is the line of {content.series[named]}?", colours[named], COLOURS, (_at(marks, "line", named),)
        )


def _of_bars(content: Content, marks: Sequence[Mark], rng: random.Random) -> Iterator[Question]:
    values, colours = content.values[0], content.colours
    span = 1.2 * max(values)
    order = sorted(range(len(values)), key=lambda place: -values[place])
    if len(values) > 2:
        for word, ranked in (("highest", order), ("lowest", order[::-1])):
            if _far([values[place] for place in ranked], span):
                yield Question("extreme", f"What colour is the {word} bar?", colours[ranked[0]], COLOURS, (ranked[0],))
    one, other = sorted(rng.sample(range(len(values)), 2), key=lambda place: -values[place])
    if _far((values[one], values[other]), span):
        text = "Which bar is higher, the {} or the {} one?"
        yield Question("compare", text, colours[one], (colours[one], colours[other]), (one, other))
    ends = {"on the left": 0, "on the right": len(values) - 1} | ({"in the middle": len(values) // 2} if len(values) % 2 else {})
    where = rng.choice(list(ends))
    yield Question("colour", f"What colour is the bar {where}?", colours[ends[where]], COLOURS, (ends[where],))
    spot = rng.randrange(len(values))
    if 2 * spot != len(values) - 1:  # not in the middle
        text = f"Is the {colours[spot]} bar on the left or on the right?"
        yield Question("place", text, SIDES[2 * spot > len(values) - 1], SIDES, (spot,))
    yield Question("count", "How many bars are there?", NUMBERS[len(values) - 2], NUMBERS, tuple(range(len(values))))
    if (named := _named(rng, len(values))) is not None:
        yield Question("name", f"What colour is the bar of {content.labels[named]}?", colours[named], COLOURS, (named,))
    figures, high = tuple(dict.fromkeys(mark.text for mark in marks)), rng.randrange(len(values))
    if len(figures) > 1:
        yield Question("value", f"How high is the {colours[high]} bar?", marks[high].text, figures, (high,), word=False)


def _of_moves(content: Content, marks: Sequence[Mark], rng: random.Random) -> Iterator[Question]:
    peak = outlier(content.values[0])
    if peak is not None:
        text = "Where is the bar that stands out: left, middle or right?"
        yield Question("outlier", text, THIRDS[3 * peak // len(content.labels)], THIRDS, (peak,))
    yield Question("colour", "What colour are the bars?", content.colours[0], COLOURS, tuple(range(len(marks))))


def _of_groups(content: Content, marks: Sequence[Mark], rng: random.Random) -> Iterator[Question]:
    first, second = content.values
    span, groups = 1.4 * max(map(max, content.values)), len(content.labels)
    places = {(mark.row, mark.column): at for at, mark in enumerate(marks)}
    for column in rng.sample(range(groups), 2):
        if _far((first[column], second[column]), span):
            text = f"Which bar is higher in the {THIRDS[column]} group, the {{}} or the {{}} one?"
            higher = content.colours[0 if first[column] > second[column] else 1]
            yield Question("compare", text, higher, content.colours, (places[0, column], places[1, column]))
    gaps = [abs(one - other) for one, other in zip(first, second)]
    order = sorted(range(groups), key=lambda column: -gaps[column])
    if _far([gaps[column] for column in order], span):
        text = "In which group are the two bars farthest apart: left, middle or right?"
        yield Question("groups", text, THIRDS[order[0]], THIRDS, (places[0, order[0]], places[1, order[0]]))
    if (named := _named(rng, 2)) is not None:
        both = tuple(place for (row, _), place in places.items() if row == named)
        yield Question("name", f"What colour are the bars of {content.series[named]}?", content.colours[named], COLOURS, both)


def _of_pie(content: Content, marks: Sequence[Mark], rng: random.Random) -> Iterator[Question]:
    values, colours = content.values[0], content.colours
    order = sorted(range(len(values)), key=lambda place: -values[place])
    if len(values) > 2 and _far([values[place] for place in order], sum(values)):
        yield Question("biggest", "What colour is the biggest slice?", colours[order[0]], COLOURS, (order[0],))
    for place in rng.sample(range(len(values)), min(2, len(values))):
        share = values[place] / sum(values)
        if not 0.2 <= share <= 0.3:
            text = f"Is the {colours[place]} slice bigger than a quarter?"
            yield Question("quarter", text, ANSWERS[share < 0.25], ANSWERS, (place,))
    if (named := _named(rng, len(values))) is not None:
        yield Question("name", f'What colour is the slice "{content.labels[named]}"?', colours[named], COLOURS, (named,))


def _of_table(content: Content, marks: Sequence[Mark], rng: random.Random) -> Iterator[Question]:
    cells = [at for at, mark in enumerate(marks) if mark.kind == "cell"]
    places = {(marks[at].row, marks[at].column): at for at in cells}
    rows, columns = len(content.series), len(content.labels)
    for at in rng.sample(cells, min(3, len(cells))) if content.colours else ():
        mark = marks[at]
        if mark.colour:
            text = f"What colour is the cell in row {ORDINALS[mark.row - 1]}, column {ORDINALS[mark.column - 1]}?"
            yield Question("cell", text, mark.colour, content.colours, (at,))
    if rows - 2 < len(NUMBERS):
        yield Question("count", "How many rows of figures are there?", NUMBERS[rows - 2], NUMBERS, tuple(cells))
    at = rng.choice(cells)
    figures = tuple(dict.fromkeys(marks[cell].text for cell in cells))
    if len(figures) > 1:
        text = f"What is the figure of {marks[at].series} in column {marks[at].label}?"
        yield Question("value", text, marks[at].text, figures, (at,), word=False)
    column = rng.randrange(1, columns + 1)
    ranked = sorted(range(1, rows + 1), key=lambda row: -content.values[row - 1][column - 1])
    if content.values[ranked[0] - 1][column - 1] > content.values[ranked[1] - 1][column - 1]:  # figures are read, not compared by eye
        text = f"Which row has the highest figure in column {content.labels[column - 1]}?"
        yield Question("top row", text, content.series[ranked[0] - 1], content.series, (places[ranked[0], column],), word=False)


def balanced(found: Sequence[tuple[str, Question]], rng: random.Random) -> list[tuple[str, Question]]:
    """Questions with their image, so that neither the words of a question nor the place of an option tells the answer.

    Of each text whose answers come from a fixed few, as many questions are kept for each answer. In a comparison the right one of two
    colours is named first as often as second. Letters are dealt in equal numbers among questions with as many options.
    """
    kept = _equal(found, rng)
    first: dict[str, int] = defaultdict(int)
    dealt: dict[int, list[str]] = defaultdict(list)
    made = []
    for image, one in kept:
        if one.kind == "compare":
            shape = one.text
            wrong = next(colour for colour in one.choices if colour != one.answer)
            pair = (one.answer, wrong) if first[shape] % 2 == 0 else (wrong, one.answer)
            first[shape] += 1
            one = replace(one, text=shape.format(*pair), choices=pair)
        others = [choice for choice in one.choices if choice != one.answer]
        others = rng.sample(others, min(3, len(others)))
        letters = dealt[len(others)]
        if not letters:
            letters += rng.sample(LETTERS[: len(others) + 1], len(others) + 1)
        letter = letters.pop()
        spot = LETTERS.index(letter)
        made.append((image, replace(one, options=(*others[:spot], one.answer, *others[spot:]), letter=letter)))
    return made


def _equal(found: Sequence[tuple[str, Question]], rng: random.Random) -> list[tuple[str, Question]]:
    """Without what one answer to a text has more than another, and without a text that has one answer alone."""
    fixed = {WAYS, ANSWERS, THIRDS, SIDES, NUMBERS}
    places: dict[tuple[str, str], dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for place, (_, one) in enumerate(found):
        if one.kind == "cell":  # a rise as often as a fall, whatever its colour
            places[one.kind, ""][str(one.choices.index(one.answer))].append(place)
        elif one.choices in fixed:
            shape = (one.kind, one.text if one.kind not in ("trend", "quarter", "place") else "")  # of these a colour is in the text
            places[shape][one.answer].append(place)
    dropped: set[int] = set()
    for by_answer in places.values():
        least = min(len(spots) for spots in by_answer.values()) if len(by_answer) > 1 else 0
        for spots in by_answer.values():
            dropped.update(rng.sample(spots, len(spots) - least))
    return [one for place, one in enumerate(found) if place not in dropped]
