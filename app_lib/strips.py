"""Numbers with their intervals on a line, as a few HTML boxes: light enough for a page of fifty, and in both colour modes.

Positions are percentages, so a strip takes the width it is given. Only numbers go in; all words stand in Markdown beside it.
"""

from collections.abc import Sequence

OURS = "#4263eb"
REPORTED = "#f08c00"
AGAINST = "#868e96"
VERDICT_COLORS = {"holds": "#2f9e44", "fails": "#e03131", "undecided": "#7950f2", "not measured": "#adb5bd"}

_DIAMOND = "width:10px;height:10px;transform:translate(-50%,-50%) rotate(45deg)"
_CIRCLE = "width:12px;height:12px;border-radius:50%;transform:translate(-50%,-50%)"
_SQUARE = "width:11px;height:11px;transform:translate(-50%,-50%)"
MARKS = {"paper": (_DIAMOND, REPORTED), "ours": (_CIRCLE, OURS), "against": (_SQUARE, AGAINST)}

_LINE, _PALE = "top:4px;height:18px", "rgba(255,255,255,0.7)"
_NOTHING = "#d9d9d9"  # of a patch with the value 0: the picture itself, which is drawn grey

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
    marks = {"against": against, "paper": None if paper is None else (paper, None, None), "ours": ours}
    shown = [(name, item) for name, item in marks.items() if item is not None]
    numbers = [number for _, item in shown for number in item if number is not None]
    ends = scale(numbers, low, high)
    parts = [_axis(ends)]
    parts += [_bar(item[1], item[2], ends, MARKS[name][1]) for name, item in shown if item[1] is not None and item[1] != item[2]]
    parts += [_mark(item[0], ends, *MARKS[name]) for name, item in shown]
    return _picture(parts, alt)


def effect(measured: Interval, bounds: Sequence[float], verdict: str, alt: str) -> str:
    """An effect with its interval, its bounds as dashed lines, in the colour of the verdict."""
    numbers = [number for number in measured if number is not None]
    start, end = min([*numbers, *bounds]), max([*numbers, *bounds])
    room = 0.25 * (end - start) or 1.0
    ends = (start - room, end + room)
    colour = VERDICT_COLORS[verdict]
    parts = [_axis(ends, ticks=False)]
    for bound in bounds:
        parts.append(_box(bound, ends, "top:1px;height:26px;border-left:2px dashed currentColor;opacity:0.7"))
        parts.append(_label(bound, ends))
    if measured[1] is not None and measured[1] != measured[2]:
        parts.append(_bar(measured[1], measured[2], ends, colour))
    parts.append(_mark(measured[0], ends, _CIRCLE, colour))
    return _picture(parts, alt)


def signed(least: float, most: float, against: str, towards: str, alt: str) -> str:
    """The colours of a map's values, from the largest against to the largest for; a map without negative values has one half of it.

    Args:
        least, most: smallest and largest value of the map.
        against, towards: colours of negative and of positive values, as `#rrggbb`.
    """
    end = max(abs(least), abs(most)) or 1.0
    ends = (-end if least < 0 else 0.0, end)
    colours = ",".join([*([against] if least < 0 else []), _NOTHING, towards])
    parts = [_box(ends[0], ends, f"right:4%;{_LINE};border-radius:3px;background:linear-gradient(90deg,{colours})")]
    if least < 0:
        parts.append(
            _box(ends[0], ends, f"width:46%;{_LINE};background:repeating-linear-gradient(135deg,transparent 0 6px,{_PALE} 6px 8px)")
        )
        parts.append(_label(0.0, ends))
    return _picture([*parts, _label(ends[0], ends, "0"), _label(ends[1], ends, "-100%")], alt)


def short(value: float) -> str:
    """A number of three significant digits."""
    return f"{value:.3g}"


def _percent(value: float, ends: tuple[float, float]) -> float:
    return 4 + 92 * (value - ends[0]) / (ends[1] - ends[0])


def _box(value: float, ends: tuple[float, float], style: str, text: str = "") -> str:
    return f'<span style="position:absolute;left:{_percent(value, ends):.2f}%;{style}">{text}</span>'


def _label(value: float, ends: tuple[float, float], shift: str = "-50%") -> str:
    return _box(value, ends, f"top:27px;font-size:11px;line-height:13px;opacity:0.75;transform:translateX({shift})", short(value))


def _axis(ends: tuple[float, float], ticks: bool = True) -> str:
    line = '<span style="position:absolute;left:4%;right:4%;top:13px;height:2px;background:currentColor;opacity:0.2"></span>'
    if not ticks:
        return line
    apart = 0.12 * (ends[1] - ends[0])  # nearer to an end, zero's label would lie on the other
    middle = [_label(0.0, ends)] if ends[0] < -apart and apart < ends[1] else []
    return "".join([line, _label(ends[0], ends, "0"), *middle, _label(ends[1], ends, "-100%")])


def _bar(low: float, high: float, ends: tuple[float, float], colour: str) -> str:
    width = _percent(high, ends) - _percent(low, ends)
    return _box(low, ends, f"width:{width:.2f}%;top:11px;height:6px;border-radius:3px;opacity:0.45;background:{colour}")


def _mark(value: float, ends: tuple[float, float], shape: str, colour: str) -> str:
    return _box(value, ends, f"top:14px;background:{colour};{shape}")


def _picture(parts: list[str], alt: str) -> str:
    words = alt.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    return f'<div role="img" aria-label="{words}" style="position:relative;height:42px">{"".join(parts)}</div>'
