"""Vega-Lite specifications of the app's own pictures, as dicts; Streamlit's theme gives fonts and both colour modes."""

from typing import Any

from app_lib.strips import AGAINST, OURS, VERDICT_COLORS

SHAPES = {"holds": "circle", "fails": "cross", "undecided": "diamond", "not measured": "square"}


def ledger(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """One mark a claim, one line a system and profile; its verdict is told by shape and colour, checks of ours are smaller.

    Args:
        rows: label (of the line), position (1-based place in the line), verdict, by (paper or project), and the texts shown at the
            pointer: system, claim, profile, paper, ours, compared.
    """
    labels = list(dict.fromkeys(row["label"] for row in rows))
    quiet = {"title": None, "ticks": False, "domain": False, "grid": False}
    legend = {"title": None, "orient": "bottom", "symbolSize": 120, "columns": 2}

    def scale(values: list[str]) -> dict[str, Any]:
        return {"domain": list(SHAPES), "range": values}

    return {
        "data": {"values": rows},
        "height": {"step": 27},
        "mark": {"type": "point", "filled": True, "opacity": 1, "strokeWidth": 3},
        "encoding": {
            "x": {"field": "position", "type": "ordinal", "axis": quiet | {"labels": False}},
            "y": {
                "field": "label",
                "type": "nominal",
                "sort": labels,
                "axis": quiet | {"labelLimit": 200, "labelFontSize": 13},
            },
            "size": {"field": "by", "type": "nominal", "legend": None, "scale": {"domain": ["paper", "project"], "range": [150, 50]}},
            "shape": {"field": "verdict", "type": "nominal", "legend": legend, "scale": scale(list(SHAPES.values()))},
            "color": {"field": "verdict", "type": "nominal", "legend": legend, "scale": scale(list(VERDICT_COLORS.values()))},
            "tooltip": [{"field": name} for name in ("system", "claim", "verdict", "profile", "paper", "ours", "compared")],
        },
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
                "mark": {"type": "rule", "strokeWidth": 1.5, "color": AGAINST},
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
                "mark": {"type": "text", "align": "left", "dx": 5, "color": AGAINST},
                "encoding": {"text": {"field": "shown"}},
            },
        ],
    }
