"""Pictures of the system as Vega-Lite specifications: answers by type, pointing, deletion and insertion curves, heads, training."""

from __future__ import annotations

import polars as pl

from catalog.report.vega import OTHER, OWN, RULE, field, spec

CONDITIONS = {  # method of the table answers -> how it is called in a picture
    "image": "the small LLaVA",
    "any object of the scene": "any object of the scene",
    "swapped": "shown another scene",
    "no image": "shown nothing",
    "untrained": "projector only",
    "majority": "usual answer",
    "text classifier": "question's words alone",
    "chance": "chance",
}
TYPES = ("colour", "kind", "place", "count", "presence", "same")


def draw(t: dict[str, pl.DataFrame]) -> dict[str, dict]:
    """File name -> specification."""
    return {
        "1_answers": answers(t["answers"]),
        "2_pointing": pointing(t["tool_eval"]),
        "3_curves": curves(t["curves"], t["tool_eval"]),
        "4_heads": heads(t["heads"]),
        "5_training": training(t["training"]),
    }


def dots(part: pl.DataFrame, name: str, value: str, title: str, order: list[str]) -> dict:
    """Dots with intervals, a row each of ``name``; what is ours is coloured (column ``own``)."""
    rows = {"y": field(name, "nominal", None, sort=order, axis={"labelLimit": 220})}
    scale = {"domain": [True, False], "range": [OWN, OTHER]}
    rows |= {"color": field("own", "nominal", None, scale=scale, legend=None)}
    bars = {"mark": {"type": "rule", "strokeWidth": 2}}
    bars["encoding"] = rows | {"x": field(f"{value}_low", "quantitative", title), "x2": {"field": f"{value}_high"}}
    marks = {"mark": {"type": "circle", "size": 70, "opacity": 1}, "encoding": rows | {"x": field(value, "quantitative", title)}}
    data = spec("", "", part.select(name, "own", value, f"{value}_low", f"{value}_high", "n").sort(name))["data"]
    return {"data": data, "height": 20 * len(part) + 10, "layer": [bars, marks]}


def answers(table: pl.DataFrame) -> dict:
    """Accuracy by type of question, a panel a type and split, with what does not look at the scene."""
    own = table.filter(pl.col("method").is_in(list(CONDITIONS)))
    own = own.with_columns(name=pl.col("method").replace(CONDITIONS), own=pl.col("method") == "image")
    panels = []
    for type in TYPES:
        row = []
        for split in own["split"].unique().sort():
            part = own.filter(subset=type, split=split)
            if len(part):
                row.append({"title": f"{type}, {split}"} | dots(part, "name", "accuracy", "accuracy", list(CONDITIONS.values())))
        if row:
            panels.append({"hconcat": row})
    return spec("Answers by type of question", "95 % intervals over scenes; scenes that training does not show", vconcat=panels)


def pointing(table: pl.DataFrame) -> dict:
    """Hits and IoU of every method's maps, best first."""
    own = table.filter(subset="located").with_columns(own=pl.col("role").is_in(["paper", "direct"]))
    panels = []
    for split in own["split"].unique().sort():
        row = []
        for value, title in (("hit", "highest patch on the asked object"), ("iou", "IoU of the highest patches")):
            part = own.filter(pl.col(value).is_not_null(), split=split)
            if len(part):
                order = part.sort(value, "method", descending=[True, False])["method"].to_list()
                row.append({"title": f"{title}, {split}"} | dots(part, "method", value, "share", order))
        if row:
            panels.append({"hconcat": row})
    return spec("Does the map point at the object that was asked about?", "95 % intervals over scenes of several objects", vconcat=panels)


def curves(table: pl.DataFrame, scored: pl.DataFrame) -> dict:
    """Probability of the answer while patches are masked or shown in the order of each map."""
    roles = scored.select("method", "role").unique()
    own = table.join(roles, on="method", how="left").sort("method", "split", "kind", "share")
    names = own.filter(pl.col("role").is_in(["paper", "direct"]))["method"].unique().sort().to_list()
    panels = []
    for kind, title in (("deletion", "masked, the highest first"), ("insertion", "shown, the highest first")):
        row = []
        for split in own["split"].unique().sort():
            part = own.filter(kind=kind, split=split).select("method", "share", "value")
            encoding = {
                "x": field("share", "quantitative", f"share of patches {title}"),
                "y": field("value", "quantitative", "probability of the answer"),
                "color": field("method", "nominal", "map"),
                "size": {"condition": {"test": {"field": "method", "oneOf": names}, "value": 3}, "value": 1},
            }
            if len(part):
                data = spec("", "", part)["data"]
                row.append({"title": f"{kind}, {split}", "data": data, "mark": {"type": "line"}, "encoding": encoding})
        if row:
            panels.append({"hconcat": row})
    return spec("Masking and showing patches in the order of each map", "Means over questions; intervals are in the table", vconcat=panels)


def heads(table: pl.DataFrame) -> dict:
    """Log-probability increase of every head, a panel a condition."""
    panels = []
    for condition in table["condition"].unique().sort():
        part = table.filter(condition=condition).sort("layer", "head").select("layer", "head", "imp")
        top = max(abs(part["imp"].min()), abs(part["imp"].max())) or 1.0
        colour = {"scale": {"domain": [-round(top, 6), 0, round(top, 6)], "range": [RULE, "#f6f3ee", OWN]}}
        encoding = {
            "x": field("head", "ordinal", "head"),
            "y": field("layer", "ordinal", "layer"),
            "color": field("imp", "quantitative", "nats", **colour),
        }
        panels.append({"title": condition, "data": spec("", "", part)["data"], "mark": "rect", "encoding": encoding})
    own = {"hconcat": panels, "resolve": {"scale": {"color": "independent"}}}
    return spec("Which heads raise the answer's probability?", "Mean log-probability increase of the answer by each head", **own)


def training(losses: pl.DataFrame) -> dict:
    """Training loss, a panel a stage."""
    panels = []
    for (phase,), part in losses.group_by("phase", maintain_order=True):
        encoding = {"x": field("step", "quantitative", "step"), "y": field("loss", "quantitative", "loss")}
        data = spec("", "", part.select("step", "loss"))["data"]
        panels.append({"title": phase, "data": data, "mark": {"type": "line"}, "encoding": encoding})
    return spec("Training loss", "The projector by itself, then the language model with it", hconcat=panels)
