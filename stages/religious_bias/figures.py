"""Pictures of the system as Vega-Lite specifications: scores and log ratios by religion, image shares, mitigations, neuron edits."""

from __future__ import annotations

import polars as pl

from catalog.report.vega import OTHER, OWN, RULE, field, spec
from stages.religious_bias.dataset import RELIGIONS, STEMS

STEM_COLOURS = {"domain": list(STEMS), "range": [RULE, OTHER, OWN]}


def draw(t: dict[str, pl.DataFrame]) -> dict[str, dict]:
    """File name -> specification; a picture of a table without rows is left out."""
    out = {
        "1_log_ratios": log_ratios(t["gaps"]),
        "2_rbs": rbs(t["rbs"]),
        "3_mitigation": mitigation(t["mitigation"]),
        "4_images": images(t["images"]),
        "5_edits": edits(t["bridge"]),
    }
    return {name: s for name, s in out.items() if s["data"]["values"]}


def log_ratios(gaps: pl.DataFrame) -> dict:
    """Heat map: prior-corrected log ratio of each religion less the mean over religions, by model and stem."""
    data = gaps.filter(pl.col("score") == "log ratio").select("model", "stem", "religion", "mean", "diff", "ci_low", "ci_high")
    most = float(data["diff"].abs().max() or 1.0)
    scale = {"scheme": "redblue", "reverse": True, "domain": [-round(most, 3), round(most, 3)], "domainMid": 0}
    return spec(
        "More or less likely than in the neutral twin, against the mean of religions",
        "Prior-corrected log ratios by religion",
        data.sort("model", "stem", "religion"),
        mark="rect",
        width=240,
        encoding={
            "x": field("religion", "nominal", None, sort=list(RELIGIONS)),
            "y": field("stem", "nominal", "predicate", sort=list(STEMS)),
            "row": field("model", "nominal", None, header={"labelAngle": 0, "labelAlign": "left", "labelOrient": "top"}),
            "color": field("diff", "quantitative", "log ratio less mean (nats)", scale=scale),
            "tooltip": [
                field("religion", "nominal", "religion"),
                field("mean", "quantitative", "log ratio", format=".3f"),
                field("diff", "quantitative", "less the mean", format=".3f"),
                field("ci_low", "quantitative", "from", format=".3f"),
                field("ci_high", "quantitative", "to", format=".3f"),
            ],
        },
    )


def rbs(table: pl.DataFrame) -> dict:
    """RBS by religion and stem for each model and task, without mitigation."""
    mine = table.filter((pl.col("mitigation") == "none") & pl.col("rbs").is_not_null() & (pl.col("task") != "image"))
    data = mine.select("model", "task", "stem", "religion", "rbs", "ci_low", "ci_high", panel=pl.format("{}, {}", "model", "task"))
    base = {"x": field("religion", "nominal", None, sort=list(RELIGIONS)), "xOffset": field("stem", "nominal", sort=list(STEMS))}
    colour = field("stem", "nominal", "predicate", scale=STEM_COLOURS)
    height = field("rbs", "quantitative", "RBS (%)")
    bars = {"mark": {"type": "bar"}, "encoding": {**base, "y": height, "color": colour}}
    rules = {"mark": {"type": "rule"}, "encoding": {**base, "y": field("ci_low", "quantitative"), "y2": {"field": "ci_high"}}}
    return spec(
        "Religious Bias Score (our definition; intervals over templates)",
        "RBS by religion and stem",
        data.sort("panel", "stem", "religion"),
        facet=field("panel", "nominal", None),
        columns=2,
        spec={"width": 136, "height": 120, "layer": [bars, rules]},
    )


def mitigation(table: pl.DataFrame) -> dict:
    """Change of each score under each mitigation, over all religions."""
    data = table.filter(pl.col("religion") == "all").with_columns(panel=pl.format("{}: {}", "task", "score"))
    data = data.select("model", "panel", "mitigation", "delta", "ci_low", "ci_high", "p_holm", "before", "after")
    base = {"y": field("mitigation", "nominal", None), "yOffset": field("model", "nominal")}
    colour = field("model", "nominal", "model")
    tips = [field(name, "quantitative", name, format=".3f") for name in ("before", "after", "delta", "p_holm")]
    zero = {"mark": {"type": "rule", "color": OTHER}, "encoding": {"x": {"datum": 0}}}
    points = {
        "mark": {"type": "point", "filled": True, "size": 70},
        "encoding": {**base, "x": field("delta", "quantitative", "change against none"), "color": colour, "tooltip": tips},
    }
    bars = {
        "mark": {"type": "rule"},
        "encoding": {**base, "x": field("ci_low", "quantitative"), "x2": {"field": "ci_high"}, "color": colour},
    }
    return spec(
        "Mitigation by the prompt: below 0 is less bias (95 % intervals over templates)",
        "Change under mitigation",
        data.sort("panel", "model", "mitigation"),
        facet=field("panel", "nominal", None),
        columns=1,
        spec={"width": 200, "height": 90, "layer": [zero, bars, points]},
        resolve={"scale": {"x": "independent"}},
    )


def images(table: pl.DataFrame) -> dict:
    """Measured share of each marker with its interval, and the planted share, by group and condition."""
    mine = table.filter(pl.col("group").is_in(list(STEMS)))
    data = mine.select("religion", "share", "ci_low", "ci_high", "planted", panel=pl.format("{}, mitigation {}", "group", "condition"))
    base = {"x": field("religion", "nominal", None, sort=[*RELIGIONS, "none"])}
    height = field("share", "quantitative", "share of images")
    bars = {"mark": {"type": "bar", "color": OTHER}, "encoding": {**base, "y": height}}
    ends = {"y": field("ci_low", "quantitative"), "y2": {"field": "ci_high"}}
    rules = {"mark": {"type": "rule"}, "encoding": {**base, **ends}}
    tip = field("planted", "quantitative", "planted", format=".3f")
    truth = {
        "mark": {"type": "tick", "color": RULE, "thickness": 3},
        "encoding": {**base, "y": field("planted", "quantitative"), "tooltip": tip},
    }
    return spec(
        "Markers on images: measured (bars) and planted (red)",
        "Planted and measured image shares",
        data.sort("panel", "religion"),
        facet=field("panel", "nominal", None),
        columns=2,
        spec={"width": 134, "height": 110, "layer": [bars, rules, truth]},
    )


def edits(table: pl.DataFrame) -> dict:
    """Mean |log-odds| between two religions on held-out frames, by neuron edit."""
    data = table.filter(pl.col("half") == 1).select(
        "model", "method", "neurons", "mean_abs_d", "ci_low", "ci_high", "mean_d", "drop", "perplexity"
    )
    base = {"x": field("method", "nominal", None, sort=["none", "religion edit", "random", "gender edit"])}
    tips = [field("neurons", "quantitative", "neurons"), field("drop", "quantitative", "fall", format=".1%")]
    tips.append(field("mean_d", "quantitative", "mean log-odds", format=".3f"))
    tips.append(field("perplexity", "quantitative", "perplexity", format=".2f"))
    own = {"condition": {"test": "datum.method == 'religion edit'", "value": OWN}, "value": OTHER}
    y = field("mean_abs_d", "quantitative", "mean |log-odds| (nats)")
    bars = {"mark": {"type": "bar"}, "encoding": {**base, "y": y, "color": own, "tooltip": tips}}
    rules = {"mark": {"type": "rule"}, "encoding": {**base, "y": field("ci_low", "quantitative"), "y2": {"field": "ci_high"}}}
    return spec(
        "Neuron edits: log-odds of Muslims against Christians, held-out frames",
        "Neuron edits and religion",
        data.sort("model", "method"),
        facet={"column": field("model", "nominal", None)},
        spec={"width": 300, "height": 240, "layer": [bars, rules]},
    )
