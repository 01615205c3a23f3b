"""Pictures of the system as Vega-Lite specifications: methods, the ratio sweep, reward concentration, hits, coloured tokens."""

from __future__ import annotations

import polars as pl

from catalog.report.labels import placed, words
from catalog.report.vega import OTHER, OWN, RULE, field, plain, spec

SELECTED = pl.col("selector") != "all"


def draw(t: dict[str, pl.DataFrame]) -> dict[str, dict]:
    """File name -> specification."""
    return {
        "1_methods": methods(t["summary"], t["trivial"]),
        "2_tokens": coloured(t["tokens"]),
        "3_reward_share": concentration(t["reward_share"]),
        "4_hits": hits(t["selection"]),
        "5_ratio": ratio(t["summary"]),
        "6_cost": cost(t["summary"]),
    }


def methods(summary: pl.DataFrame, trivial: pl.DataFrame) -> dict:
    """Held-out preference accuracy of every method with its interval, a panel a test set."""
    facets = []
    for (name,), part in summary.filter(pl.col("experiment") == "main").group_by("set", maintain_order=True):
        part = part.with_columns(kind=pl.when(SELECTED).then(pl.lit("selected tokens")).otherwise(pl.lit("all tokens")))
        start = part.select(value=pl.col("accuracy") - pl.col("accuracy_gain")).head(1)
        best = trivial.filter(pl.col("set") == name)["accuracy"].max()
        order = part.sort("accuracy", descending=True)["method"].to_list()
        rows = {"y": field("method", "nominal", None, sort=order)}
        colour = {"scale": {"domain": ["selected tokens", "all tokens"], "range": [OWN, OTHER]}}
        x = {"scale": {"zero": False}}
        bars = {"mark": {"type": "rule", "strokeWidth": 2}, "encoding": rows}
        bars["encoding"] = rows | {
            "x": field("accuracy_low", "quantitative", "held-out preference accuracy", **x),
            "x2": {"field": "accuracy_high"},
            "color": field("kind", "nominal", None, **colour),
        }
        dots = {"mark": {"type": "circle", "size": 80}}
        dots["encoding"] = rows | {"x": field("accuracy", "quantitative", **x), "color": field("kind", "nominal", None, **colour)}
        lines = [
            {
                "data": {"values": [{"at": round(value, 6), "what": what}]},
                "mark": {"type": "rule", "strokeDash": dash, "color": RULE, "tooltip": {"content": "data"}},
                "encoding": {"x": field("at", "quantitative")},
            }
            for value, what, dash in ((start["value"][0], "untrained policy", [4, 4]), (best, "best rule that reads nothing", [1, 3]))
        ]
        columns = ["method", "kind", "accuracy", "accuracy_low", "accuracy_high"]
        own = spec(name, "", part.select(columns).sort("method"))
        facets.append({"title": name, "data": own["data"], "height": 200, "layer": [*lines, bars, dots]})
    note = "Mean over seeds, 95 % intervals over documents. Dashed: the untrained policy; dotted: the best rule that reads nothing"
    return spec("Preference accuracy of every method", note, vconcat=facets)


def coloured(tokens: pl.DataFrame) -> dict:
    """Responses with each token coloured by the oracle's score; selected tokens framed, changed ones underlined."""
    facets = []
    for (name,), part in list(tokens.group_by("id", maintain_order=True))[:4]:
        part = part.with_columns(place=pl.int_range(pl.len()).over("side"), token=pl.col("token").str.strip_chars().replace("", "⏎"))
        part = part.with_columns(line=pl.col("side") + " " + (pl.col("place") // 8 + 1).cast(pl.String), column=pl.col("place") % 8)
        at = {"x": field("column", "ordinal", None, axis=None), "y": field("line", "ordinal", None)}
        limit = round(max(abs(part["score"].min()), abs(part["score"].max()), 0.01), 3)
        ground = {"mark": {"type": "rect", "strokeWidth": 2}}
        ground["encoding"] = at | {
            "color": field("score", "quantitative", "score", scale={"scheme": "redblue", "domain": [-limit, limit]}),
            "stroke": {"condition": {"test": "datum.selected", "value": "#111"}, "value": "transparent"},
            "tooltip": [
                field(n, k) for n, k in (("token", "nominal"), ("score", "quantitative"), ("selected", "nominal"), ("changed", "nominal"))
            ],
        }
        letters = {"mark": {"type": "text", "fontSize": 10, "limit": 52}}
        letters["encoding"] = at | {
            "text": field("token", "nominal"),
            "color": {
                "condition": [
                    {"test": f"abs(datum.score) > {0.55 * limit:.6f}", "value": "#fff"},
                    {"test": "datum.changed", "value": "#b00020"},
                ],
                "value": "#111",
            },
        }
        columns = ["line", "column", "token", "score", "selected", "changed"]
        own = spec(name, "", part.select(columns))
        facets.append({"title": name, "data": own["data"], "width": 430, "height": {"step": 24}, "layer": [ground, letters]})
    note = "Blue: the oracle finds a token better than the reference does; red: worse. Framed: selected. Red letters: the changed span"
    return spec("What the oracle scores in four test pairs", note, vconcat=facets, resolve={"scale": {"color": "independent"}})


def concentration(shares: pl.DataFrame) -> dict:
    """Reward share against token share, a line a side and oracle."""
    line = {"mark": {"type": "line", "point": True}}
    encoding = {
        "x": field("tokens", "quantitative", "share of the tokens, best first"),
        "y": field("reward", "quantitative", "share of the positive reward"),
        "color": field("oracle", "nominal", "oracle"),
        "strokeDash": field("side", "nominal", "side"),
        "shape": field("side", "nominal", "side"),
    }
    even = {"data": {"values": [{"tokens": 0, "reward": 0}, {"tokens": 1, "reward": 1}]}, "mark": {"type": "line", "color": RULE}}
    even["encoding"] = {"x": field("tokens", "quantitative"), "y": field("reward", "quantitative")}
    data = shares.select("oracle", "set", "side", "tokens", "reward")
    own = spec("How few tokens carry the reward", "The red line: reward spread evenly", data, height=260)
    return own | {"layer": [even, line | {"encoding": encoding}]}


def hits(selection: pl.DataFrame) -> dict:
    """How often a selection holds a token of the changed span, against chance."""
    data = selection.drop_nulls("hits").select("set", "selector", "side", "taken", "hits", "hits_by_chance")
    encoding = {
        "shape": field("selector", "nominal", "selector"),
        "x": field("taken", "quantitative", "share of the tokens selected"),
        "y": field("hits", "quantitative", "selections that hold the change", scale={"domain": [0, 1]}),
        "color": field("selector", "nominal", "selector"),
    }
    chance = {"mark": {"type": "line", "strokeDash": [4, 4], "color": RULE}}
    chance["encoding"] = {"x": field("taken", "quantitative"), "y": field("hits_by_chance", "quantitative")}
    layers = [{"mark": {"type": "line", "point": True}, "encoding": encoding}, chance]
    panels = [
        {"title": side, "data": {"values": plain(part)}, "height": 220, "layer": layers}
        for (side,), part in data.group_by("side", maintain_order=True)
    ]
    return spec("Do the selected tokens hold the change?", "Dashed: as many tokens drawn at random", hconcat=panels)


def ratio(summary: pl.DataFrame) -> dict:
    """Margin gain over the untrained policy against the share of tokens, a panel a side."""
    panels = []
    for experiment, column in (("chosen ratio", "chosen_share"), ("rejected ratio", "rejected_share")):
        part = summary.filter(pl.col("experiment") == experiment).select(
            "set", column, "margin_gain", "margin_gain_low", "margin_gain_high"
        )
        x = field(column, "quantitative", f"{column.replace('_', ' ')} of tokens")
        y = field("margin_gain", "quantitative", "gain in margin (nats a token)")
        line = {"mark": {"type": "line", "point": True}, "encoding": {"x": x, "y": y, "color": field("set", "nominal")}}
        band = {
            "mark": {"type": "rule"},
            "encoding": {"x": x, "y": field("margin_gain_low", "quantitative"), "color": field("set", "nominal")},
        }
        band["encoding"]["y2"] = {"field": "margin_gain_high"}
        own = spec(experiment, "", part)
        panels.append({"title": experiment, "data": own["data"], "height": 220, "layer": [line, band]})
    return spec("How many tokens to select", "The other side at its usual share; intervals over documents", hconcat=panels)


def cost(summary: pl.DataFrame) -> dict:
    """Margin gain against the cost of a step, every method a point."""
    data = summary.filter(pl.col("experiment") == "main").select("set", "method", "relative_cost", "margin_gain")
    size, panels = {"width": 440, "height": 240}, []
    for (name,), part in data.group_by("set", maintain_order=True):
        part, *scales = placed(part, "relative_cost", "margin_gain", "method", **size)
        place = {
            "x": field("relative_cost", "quantitative", "FLOPs of a step, DPO with a live reference is 1", scale=scales[0]),
            "y": field("margin_gain", "quantitative", "gain in margin (nats a token)", scale=scales[1]),
        }
        dots = {"mark": {"type": "circle", "size": 70}, "encoding": place}
        own = spec(name, "", part)
        panels.append({"title": name, "data": own["data"], **size, "layer": [dots, words("method", place)]})
    return spec("What a step costs and what it brings", "Cost of the policy's step alone; the oracle's is on the card", vconcat=panels)
