"""Numbers with their intervals on a line, as SVG: light enough for a page of fifty, and in both colour modes.

Positions are percentages, so a strip takes the width it is given. Only numbers go in; all words stand in Markdown beside it.
"""

from collections.abc import Sequence

OURS = "#4263eb"
REPORTED = "#f08c00"
AGAINST = "#868e96"
VERDICT_COLORS = {"holds": "#2f9e44", "fails": "#e03131", "undecided": "#7950f2", "not measured": "#adb5bd"}

_DIAMOND = '<path d="M0 -7 L7 0 L0 7 L-7 0 Z" fill="{}"/>'
_CIRCLE = '<circle r="6" fill="{}"/>'
_SQUARE = '<rect x="-5.5" y="-5.5" width="11" height="11" fill="{}"/>'
MARKS = {"paper": (_DIAMOND, REPORTED), "ours": (_CIRCLE, OURS), "against": (_SQUARE, AGAINST)}

Interval = tuple[float, float | None, float | None]  # value, low, high


def scale(numbers: Sequence[float], low: float | None = None, high: float | None = None) -> tuple[float, float]:
    """Ends of an axis that shows all numbers and zero; those of the metric's range where the numbers use much of it."""
    start, end = min([*numbers, 0.0]), max([*numbers, 0.0])
    if low is not None and high is not None and low <= start and end <= high and (end - start) > 0.15 * (high - low):
        start, end = low, high
    if start == end:
        end = start + 1
    return start, end


def values(paper: float | None, ours: Interval | None, against: Interval | None, low: float | None, high: float | None, alt: str) -> str:
    """The paper's number, ours and what it is compared with on one line; intervals as bars behind the marks.

    Args:
        low, high: range of the metric, or None.
        alt: the same in words, for those who do not see it.
    """
    shown = [(name, item) for name, item in (("against", against), ("paper", paper and (paper, None, None)), ("ours", ours)) if item]
    if paper == 0:
        shown.insert(1, ("paper", (0.0, None, None)))
    numbers = [number for _, item in shown for number in item if number is not None]
    ends = scale(numbers, low, high)
    parts = [_axis(ends)]
    parts += [_bar(item[1], item[2], ends, MARKS[name][1]) for name, item in shown if item[1] is not None and item[1] != item[2]]
    parts += [_mark(item[0], ends, MARKS[name][0].format(MARKS[name][1])) for name, item in shown]
    return _svg(parts, alt)


def effect(measured: Interval, bounds: Sequence[float], verdict: str, alt: str) -> str:
    """An effect with its interval, its bounds as dashed lines, in the colour of the verdict."""
    numbers = [number for number in measured if number is not None]
    start, end = min([*numbers, *bounds]), max([*numbers, *bounds])
    room = 0.25 * (end - start) or 1.0
    ends = (start - room, end + room)
    colour = VERDICT_COLORS[verdict]
    parts = [_axis(ends, ticks=False)]
    for bound in bounds:
        x = _percent(bound, ends)
        parts.append(f'<line x1="{x}" x2="{x}" y1="2" y2="26" stroke="currentColor" stroke-width="1.5" stroke-dasharray="3 2"/>')
        parts.append(f'<text x="{x}" y="38" text-anchor="middle" {_FONT}>{short(bound)}</text>')
    if measured[1] is not None and measured[1] != measured[2]:
        parts.append(_bar(measured[1], measured[2], ends, colour))
    parts.append(_mark(measured[0], ends, _CIRCLE.format(colour)))
    return _svg(parts, alt)


_FONT = 'font-size="11" fill="currentColor" opacity="0.75" font-family="inherit"'


def short(value: float) -> str:
    """A number of three significant digits."""
    return f"{value:.3g}"


def _percent(value: float, ends: tuple[float, float]) -> str:
    return f"{4 + 92 * (value - ends[0]) / (ends[1] - ends[0]):.2f}%"


def _axis(ends: tuple[float, float], ticks: bool = True) -> str:
    line = '<line x1="4%" x2="96%" y1="14" y2="14" stroke="currentColor" stroke-width="2" opacity="0.2"/>'
    if not ticks:
        return line
    middle = [0.0] if ends[0] < 0 < ends[1] else []
    labels = [(ends[0], "start"), *((value, "middle") for value in middle), (ends[1], "end")]
    return line + "".join(
        f'<text x="{_percent(at, ends)}" y="38" text-anchor="{anchor}" {_FONT}>{short(at)}</text>' for at, anchor in labels
    )


def _bar(low: float, high: float, ends: tuple[float, float], colour: str) -> str:
    x1, x2 = _percent(low, ends), _percent(high, ends)
    return f'<line x1="{x1}" x2="{x2}" y1="14" y2="14" stroke="{colour}" stroke-width="5" stroke-linecap="round" opacity="0.45"/>'


def _mark(value: float, ends: tuple[float, float], shape: str) -> str:
    return f'<svg x="{_percent(value, ends)}" y="14" overflow="visible">{shape}</svg>'


def _svg(parts: list[str], alt: str) -> str:
    words = alt.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    return f'<svg width="100%" height="42" role="img" aria-label="{words}">{"".join(parts)}</svg>'
