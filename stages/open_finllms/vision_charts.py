"""Contents drawn as pictures of a few hundred pixels, in several styles, with the box of every mark.

All text of the data is shown as written. matplotlib would read what stands between two dollar signs as mathematics ("From $5 to $9"), so
that reading is switched off for every text at once. The font is DejaVu Sans, which comes with matplotlib, so that a picture is the same
anywhere.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from stages.open_finllms.vision_content import Content

DPI = 100
_RC = {"text.parse_math": False, "font.family": ["DejaVu Sans"], "axes.unicode_minus": False, "text.usetex": False}
_PAD = 6  # pixels around a point


@dataclass(frozen=True)
class Style:
    """How a picture looks, whatever it shows."""

    paper: str
    ink: str
    palette: dict[str, str]
    font: float  # points
    grid: str = ""  # axis of the grid: x, y, both or none
    open: bool = False  # without the upper and right edge
    width: float = 1.8  # of lines, points
    bars: float = 0.7  # width of bars, of their distance
    edge: bool = False  # bars and slices have an edge
    hole: bool = False  # a pie is a ring
    marker: str = ""
    legend: str = "upper left"


_VIVID = {"red": "#e00000", "orange": "#ff8c00", "green": "#009000", "blue": "#0030e0", "purple": "#800090", "pink": "#ff80c0"}
_USUAL = {"red": "#d62728", "orange": "#ff7f0e", "green": "#2ca02c", "blue": "#1f77b4", "purple": "#9467bd", "pink": "#e377c2"}
_MUTED = {"red": "#c44e52", "orange": "#dd8452", "green": "#55a868", "blue": "#4c72b0", "purple": "#8172b3", "pink": "#da8bc3"}
_LIGHT = {"red": "#ff4040", "orange": "#ffa030", "green": "#40d040", "blue": "#5090ff", "purple": "#b060ff", "pink": "#ffa0d8"}
STYLES = {
    "plain": Style("#ffffff", "#000000", _USUAL, 6.5),
    "ruled": Style("#ffffff", "#303030", _VIVID, 6.5, grid="y", open=True, width=2.2, bars=0.6, edge=True),
    "soft": Style("#f2f2f7", "#202020", _MUTED, 6, grid="both", open=True, bars=0.8, legend="upper right"),
    "report": Style("#fffdf2", "#401010", _USUAL, 7, open=True, width=1.4, marker="o", hole=True),
    "dark": Style("#181c24", "#e8e8e8", _LIGHT, 6.5, grid="y", width=2, bars=0.65),
    "poster": Style("#e8f0ea", "#103020", _VIVID, 7.5, grid="x", width=2.6, bars=0.5, edge=True, hole=True, legend="upper right"),
}


@dataclass(frozen=True)
class Mark:
    """A thing in a picture: its box in pixels, the right and lower edge exclusive, and what it stands for."""

    kind: str  # line, peak, bar, slice, cell, header
    series: str
    label: str
    row: int
    column: int
    colour: str | None
    text: str
    values: tuple[float, ...]
    box: tuple[float, float, float, float] = field(default=(0.0, 0.0, 0.0, 0.0))


def draw(content: Content, style: str, size: int) -> tuple[bytes, list[Mark]]:
    """A picture as PNG, and its marks."""
    look = STYLES[style]
    with mpl.rc_context(_RC | {"font.size": look.font}):
        figure = Figure(figsize=(size / DPI, size / DPI), dpi=DPI, facecolor=look.paper)
        canvas = FigureCanvasAgg(figure)
        marks = _table(figure, content, look, size) if content.form == "table" else _chart(figure, content, look, size)
        canvas.draw()
        pixels = np.asarray(canvas.buffer_rgba())[:, :, :3]
    written = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(written, "PNG")
    return written.getvalue(), marks


def _chart(figure: Figure, content: Content, look: Style, size: int) -> list[Mark]:
    axes = figure.add_axes((0.04, 0.03, 0.92, 0.85) if content.form == "pie" else (0.16, 0.13, 0.77, 0.75), facecolor=look.paper)
    figure.text(0.5, 0.94, content.title, ha="center", va="center", color=look.ink)
    return {"line": _lines, "bar": _bars, "grouped": _bars, "pie": _slices}[content.form](axes, content, look, size)


def _dress(axes: Axes, look: Style) -> None:
    axes.tick_params(colors=look.ink, length=2, width=0.6, pad=1.5)
    for side, spine in axes.spines.items():
        spine.set(color=look.ink, linewidth=0.6, visible=not (look.open and side in ("top", "right")))
    if look.grid:
        axes.grid(axis=look.grid, color=look.ink, alpha=0.15, linewidth=0.6)
        axes.set_axisbelow(True)


def _legend(axes: Axes, handles: list[Any], names: tuple[str, ...], look: Style) -> None:
    axes.legend(handles, names, loc=look.legend, frameon=False, labelcolor=look.ink, handlelength=1, borderpad=0.1, labelspacing=0.2)


def _box(axes: Axes, size: int, x: tuple[float, float], y: tuple[float, float], pad: float = 0.0) -> tuple[float, float, float, float]:
    """Box in pixels of a rectangle in the units of the axes, inside the picture."""
    (left, low), (right, high) = axes.transData.transform([(min(x), min(y)), (max(x), max(y))])
    inside = [min(max(value, 0.0), float(size)) for value in (left - pad, size - high - pad, right + pad, size - low + pad)]
    return tuple(round(value, 1) for value in inside)  # type: ignore[return-value]


def _lines(axes: Axes, content: Content, look: Style, size: int) -> list[Mark]:
    places = range(len(content.labels))
    drawn = [
        axes.plot(places, row, color=look.palette[colour], linewidth=look.width, marker=look.marker, markersize=2.5)[0]
        for row, colour in zip(content.values, content.colours)
    ]
    _dress(axes, look)
    shown = [0, len(content.labels) // 2, len(content.labels) - 1]
    axes.set_xticks(shown, [content.labels[place] for place in shown])
    if len(content.series) == 1:
        axes.yaxis.set_major_formatter(lambda value, _: f"${value:g}")
    low, high = min(map(min, content.values)), max(map(max, content.values))
    axes.set(
        xlim=(-0.5, len(content.labels) - 0.5),
        ylim=(low - 0.08 * (high - low), high + (0.08 if len(content.series) == 1 else 0.3) * (high - low)),
    )
    if len(content.series) > 1:
        _legend(axes, drawn, content.series, look)
    marks = []
    for at, (name, row, colour) in enumerate(zip(content.series, content.values, content.colours)):
        marks.append(Mark("line", name, "", at, 0, colour, "", row, _box(axes, size, (0, len(row) - 1), (min(row), max(row)), look.width)))
        peak = int(np.argmax(row))
        box = _box(axes, size, (peak, peak), (row[peak], row[peak]), _PAD)
        marks.append(Mark("peak", name, content.labels[peak], at, peak, colour, f"{row[peak]:g}", (row[peak],), box))
    return marks


def _bars(axes: Axes, content: Content, look: Style, size: int) -> list[Mark]:
    many, groups = len(content.series), len(content.labels)
    width = look.bars / many
    edge = {"edgecolor": look.ink, "linewidth": 0.8} if look.edge else {}
    spots, handles = [], []
    for row, values in enumerate(content.values):
        colours = [content.colours[row] if many > 1 else content.colours[column] for column in range(groups)]
        lefts = [column - look.bars / 2 + row * width for column in range(groups)]
        handles.append(axes.bar(lefts, values, width, align="edge", color=[look.palette[colour] for colour in colours], **edge))
        spots += [(row, column, lefts[column], value, colours[column]) for column, value in enumerate(values)]
    _dress(axes, look)
    axes.set_xticks(range(groups), content.labels)
    axes.set(xlim=(-0.6, groups - 0.4), ylim=(0, (1.2 if many == 1 else 1.4) * max(map(max, content.values))))
    if many > 1:
        _legend(axes, handles, content.series, look)
    return [
        Mark(
            "bar", content.series[row], content.labels[column], row, column, colour, f"{value:g}", (value,),
            _box(axes, size, (left, left + width), (0, value)),
        )
        for row, column, left, value, colour in spots
    ]  # fmt: skip


def _slices(axes: Axes, content: Content, look: Style, size: int) -> list[Mark]:
    wedge: dict[str, Any] = {"edgecolor": look.ink if look.edge else look.paper, "linewidth": 0.8}
    if look.hole:
        wedge["width"] = 0.55
    values = content.values[0]
    colours = [look.palette[colour] for colour in content.colours]
    pieces = axes.pie(
        values, labels=content.labels, colors=colours, startangle=90, radius=0.9, labeldistance=1.06, wedgeprops=wedge,
        textprops={"color": look.ink},
    )[0]  # fmt: skip
    axes.set(xlim=(-1.45, 1.45), ylim=(-1.15, 1.15))
    axes.apply_aspect()
    marks = []
    for column, (piece, value) in enumerate(zip(pieces, values)):
        around = piece.get_path().get_extents(piece.get_transform())
        box = tuple(round(float(v), 1) for v in (around.x0, size - around.y1, around.x1, size - around.y0))
        marks.append(Mark("slice", "parts", content.labels[column], 0, column, content.colours[column], f"{value:g}", (value,), box))
    return marks


def written(value: float, content: Content) -> str:
    """A cell as it is shown: counts without, changes with a sign and a decimal."""
    return f"{value:.0f}" if content.origin == "german" else f"{value:+.1f}"


def _table(figure: Figure, content: Content, look: Style, size: int) -> list[Mark]:
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, size), ylim=(size, 0))
    axes.axis("off")
    axes.text(size / 2, 12, content.title, ha="center", va="center", color=look.ink)
    rows, columns = len(content.series) + 1, len(content.labels) + 1
    left, top, head = 4, 24, 56
    high = min((size - top - 4) / rows, 34)
    wide = (size - head - 2 * left) / (columns - 1)
    font = look.font if columns <= 5 and rows <= 7 else 5
    marks, patches, colours = [], [], []
    for row in range(rows):
        for column in range(columns):
            x = left if column == 0 else left + head + (column - 1) * wide
            box = (x, top + row * high, x + (head if column == 0 else wide), top + (row + 1) * high)
            value = content.values[row - 1][column - 1] if row and column else None
            name = content.series[row - 1] if row else ""
            label = content.labels[column - 1] if column else ""
            text = written(value, content) if value is not None else name or label
            shade = content.colours[0 if value > 0 else 1] if content.colours and value else None  # no change has no shade
            patches.append(Rectangle(box[:2], box[2] - box[0], high))
            colours.append(look.palette[shade] if shade else look.paper)
            inner = "#ffffff" if shade and look.paper != "#181c24" else "#000000" if shade else look.ink
            weight = "bold" if row == 0 else "normal"
            axes.text(
                (box[0] + box[2]) / 2, (box[1] + box[3]) / 2, text, ha="center", va="center", fontsize=font, color=inner, weight=weight
            )
            values = () if value is None else (value,)
            kind = "header" if value is None else "cell"
            marks.append(Mark(kind, name, label, row, column, shade, text, values, tuple(round(v, 1) for v in box)))
    axes.add_collection(PatchCollection(patches, facecolors=colours, edgecolors=look.ink, linewidths=0.6, zorder=0))
    return marks
