"""Vega-Lite specifications of the app's own pictures, as dicts; Streamlit's theme gives fonts and both colour modes."""

from typing import Any

OURS = "#4263eb"
REPORTED = "#f08c00"
BASELINE = "#868e96"
HOLDS_COLORS = {"holds": "#2f9e44", "does not hold": "#e8590c", "not measured": "#adb5bd"}

_SERIES = ["paper", "ours", "baseline"]
_SERIES_COLORS = {"domain": _SERIES, "range": [REPORTED, OURS, BASELINE]}
_SERIES_SHAPES = {"domain": _SERIES, "range": ["diamond", "circle", "square"]}


def ledger(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """One square a claim, one line a system and profile, coloured by whether the claim holds.

    Args:
        rows: label (of the line), position (1-based place of the claim in its card), state (a key of HOLDS_COLORS),
            and the texts shown at the pointer: system, claim, profile, paper, ours, baseline.
    """
    labels = list(dict.fromkeys(row["label"] for row in rows))
    quiet = {"title": None, "ticks": False, "domain": False, "grid": False}
    return {
        "data": {"values": rows},
        "width": {"step": 27},
        "height": {"step": 27},
        "mark": {"type": "square", "size": 400, "opacity": 1},
        "encoding": {
            "x": {"field": "position", "type": "ordinal", "axis": quiet | {"labels": False}},
            "y": {
                "field": "label",
                "type": "nominal",
                "sort": labels,
                "axis": quiet | {"labelLimit": 200, "labelFontSize": 13},
            },
            "color": {
                "field": "state",
                "type": "nominal",
                "legend": {"title": None, "orient": "bottom", "symbolSize": 140},
                "scale": {"domain": list(HOLDS_COLORS), "range": list(HOLDS_COLORS.values())},
            },
            "tooltip": [{"field": name} for name in ("system", "claim", "state", "profile", "paper", "ours", "baseline")],
        },
    }


def three_values(
    reported: float | None,
    ours: float | None,
    baseline: float | None,
    low: float | None,
    high: float | None,
    title: str,
) -> dict[str, Any]:
    """A strip with the paper's figure, ours and the trivial baseline's on one axis; absent figures are left out.

    Args:
        low, high: range of the metric, the ends of the axis where the figures use much of it; None is no bound.
        title: of the axis: the metric and its unit.
    """
    pairs = [("baseline", baseline), ("paper", reported), ("ours", ours)]
    rows = [{"series": name, "value": float(value)} for name, value in pairs if value is not None]
    figures = [row["value"] for row in rows]
    start, end = min([*figures, 0.0]), max([*figures, 0.0])
    if low is not None and high is not None and low <= start and end <= high and (end - start) > 0.15 * (high - low):
        start, end = low, high
    if start == end:
        end = start + 1
    margin = 0.03 * (end - start)
    scale = {"domain": [start - margin, end + margin], "nice": False, "zero": False}
    x = {
        "field": "value",
        "type": "quantitative",
        "scale": scale,
        "axis": {
            "title": title,
            "titleFontSize": 11,
            "titlePadding": 4,
            "grid": False,
            "tickCount": 4,
            "labelFontSize": 10,
            "domain": False,
            "ticks": False,
        },
    }
    return {
        "data": {"values": rows},
        "height": 62,  # axis and its title included
        "layer": [
            {
                "data": {"values": [{"from": start, "to": end}]},
                "mark": {"type": "rule", "strokeWidth": 2, "opacity": 0.25},
                "encoding": {"x": x | {"field": "from"}, "x2": {"field": "to"}, "color": {"value": BASELINE}},
            },
            {
                "mark": {"type": "point", "filled": True, "size": 150, "opacity": 1, "strokeWidth": 3},
                "encoding": {
                    "x": x,
                    "color": {"field": "series", "type": "nominal", "scale": _SERIES_COLORS, "legend": None},
                    "shape": {"field": "series", "type": "nominal", "scale": _SERIES_SHAPES, "legend": None},
                    "tooltip": [{"field": "series", "title": " "}, {"field": "value", "format": ".4~g"}],
                },
            },
        ],
    }


def ranking(rows: list[dict[str, Any]], title: str, lower_is_better: bool, domain: tuple[float, float]) -> dict[str, Any]:
    """Horizontal bars of one benchmark with their intervals, the best first and solid.

    Args:
        rows: label, value, ci_low, ci_high (None where unknown), n, rank (1 is the best, None without a direction).
        title: of the value axis.
        domain: ends of the value axis, the same for all benchmarks shown together.
    """
    order = "ascending" if lower_is_better else "descending"
    tooltip = [{"field": "label", "title": "method"}, {"field": "n"}]
    tooltip += [{"field": name, "format": ".4~g"} for name in ("value", "ci_low", "ci_high")]
    x = {
        "field": "value",
        "type": "quantitative",
        "scale": {"domain": list(domain), "nice": False},
        "axis": {"title": title, "tickCount": 5},
    }
    return {
        "data": {"values": rows},
        "height": {"step": 22},
        "encoding": {
            "y": {
                "field": "label",
                "type": "nominal",
                "sort": {"field": "value", "op": "max", "order": order},
                "axis": {"title": None, "labelLimit": 220, "ticks": False, "domain": False},
            },
        },
        "layer": [
            {
                "mark": {"type": "bar", "cornerRadiusEnd": 3, "height": 13, "color": OURS},
                "encoding": {
                    "x": x,
                    "tooltip": tooltip,
                    "opacity": {"condition": {"test": "datum.rank === 1", "value": 1}, "value": 0.45},
                },
            },
            {
                "transform": [{"filter": "isValid(datum.ci_low) && isValid(datum.ci_high)"}],
                "mark": {"type": "rule", "strokeWidth": 1.5, "color": BASELINE},
                "encoding": {"x": x | {"field": "ci_low"}, "x2": {"field": "ci_high"}},
            },
        ],
    }


def durations(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Horizontal bars of the seconds of each run. Rows: label, seconds, shown (the time as text), device."""
    return {
        "data": {"values": rows},
        "height": {"step": 26},
        "encoding": {
            "y": {
                "field": "label",
                "type": "nominal",
                "sort": None,
                "axis": {"title": None, "labelLimit": 220, "ticks": False, "domain": False},
            },
            "x": {"field": "seconds", "type": "quantitative", "axis": {"title": "seconds", "tickCount": 5}},
            "tooltip": [
                {"field": "label", "title": "system"},
                {"field": "shown", "title": "time"},
                {"field": "device"},
            ],
        },
        "layer": [
            {"mark": {"type": "bar", "cornerRadiusEnd": 3, "height": 14, "color": OURS}},
            {
                "mark": {"type": "text", "align": "left", "dx": 5, "color": BASELINE},
                "encoding": {"text": {"field": "shown"}},
            },
        ],
    }
