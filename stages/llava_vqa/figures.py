"""Pictures of the system as Vega-Lite specifications: answers, pointing, deletion and insertion curves, heads, training."""

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
        "2_types": types(t["answers"]),
        "3_pointing": pointing(t["tool_eval"]),
        "4_curves": curves(t["curves"], t["tool_eval"]),
        "5_heads": heads(t["heads"]),
        "6_training": training(t["training"]),
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
    """Accuracy on questions about one object, a panel a split, with what does not look at the scene."""
    own = table.filter(pl.col("method").is_in(list(CONDITIONS)), subset="located")
    own = own.with_columns(name=pl.col("method").replace(CONDITIONS), own=pl.col("method") == "image")
    panels = []
    for (split,), part in own.sort("split", "method").group_by("split", maintain_order=True):
        panels.append({"title": split} | dots(part, "name", "accuracy", "accuracy", list(CONDITIONS.values())))
    return spec("Answers about colour, kind and place", "95 % intervals over scenes", vconcat=panels)


def types(table: pl.DataFrame) -> dict:
    """Accuracy by type of question: the model, and three ways to answer without looking at the scene."""
    shown = {name: CONDITIONS[name] for name in ("image", "any object of the scene", "no image", "chance")}
    own = table.filter(pl.col("method").is_in(list(shown)), pl.col("subset").is_in(TYPES))
    own = own.with_columns(name=pl.col("method").replace(shown)).sort("split", "subset", "name")
    colour = field("name", "nominal", None, scale={"domain": list(shown.values()), "range": [OWN, RULE, "#8a8378", OTHER]})
    panels = []
    for (split,), part in own.group_by("split", maintain_order=True):
        rows = {"y": field("subset", "nominal", None, sort=list(TYPES)), "color": colour}
        x = field("accuracy", "quantitative", "accuracy")
        bars = {"mark": {"type": "rule", "strokeWidth": 2, "opacity": 0.6}}
        bars["encoding"] = rows | {"x": field("accuracy_low", "quantitative", "accuracy"), "x2": {"field": "accuracy_high"}}
        marks = {"mark": {"type": "circle", "size": 70, "opacity": 1}, "encoding": rows | {"x": x}}
        data = spec("", "", part.select("subset", "name", "accuracy", "accuracy_low", "accuracy_high", "n"))["data"]
        panels.append({"title": split, "data": data, "height": 180, "layer": [bars, marks]})
    return spec("Answers by type of question", "95 % intervals over scenes", vconcat=panels)


def pointing(table: pl.DataFrame) -> dict:
    """Hits and IoU of every method's maps, best first."""
    own = table.filter(subset="located").with_columns(own=pl.col("role").is_in(["paper", "direct"])).sort("split", "method")
    panels = []
    for value, title in (("hit", "highest patch on the asked object"), ("iou", "IoU of the highest patches")):
        for (split,), part in own.filter(pl.col(value).is_not_null()).group_by("split", maintain_order=True):
            order = part.sort(value, "method", descending=[True, False])["method"].to_list()
            panels.append({"title": f"{title}, {split}"} | dots(part, "method", value, "share", order))
    return spec("Does the map point at the object that was asked about?", "95 % intervals over scenes of several objects", vconcat=panels)


def curves(table: pl.DataFrame, scored: pl.DataFrame) -> dict:
    """Probability of the answer while patches are masked or shown in the order of each map."""
    roles = scored.select("method", "role").unique()
    own = table.join(roles, on="method", how="left").sort("method", "split", "kind", "share")
    names = own.filter(pl.col("role").is_in(["paper", "direct"]))["method"].unique().sort().to_list()
    panels = []
    for kind, title in (("deletion", "masked, the highest first"), ("insertion", "shown, the highest first")):
        for (split,), part in own.filter(kind=kind).group_by("split", maintain_order=True):
            encoding = {
                "x": field("share", "quantitative", f"share of patches {title}"),
                "y": field("value", "quantitative", "probability of the answer"),
                "color": field("method", "nominal", "map"),
                "size": {"condition": {"test": {"field": "method", "oneOf": names}, "value": 3}, "value": 1},
            }
            data = spec("", "", part.select("method", "share", "value"))["data"]
            panels.append({"title": f"{kind}, {split}", "data": data, "mark": {"type": "line"}, "encoding": encoding})
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
        panels.append({"title": condition, "data": spec("", "", part)["data"], "mark": "rect", "height": 300, "encoding": encoding})
    return spec("Which heads raise the answer's probability?", "Mean log-probability increase of the answer by each head", hconcat=panels)


def training(losses: pl.DataFrame) -> dict:
    """Training loss, a panel a stage."""
    panels = []
    for (phase,), part in losses.group_by("phase", maintain_order=True):
        encoding = {"x": field("step", "quantitative", "step"), "y": field("loss", "quantitative", "loss")}
        data = spec("", "", part.select("step", "loss"))["data"]
        panels.append({"title": phase, "data": data, "mark": {"type": "line"}, "encoding": encoding})
    return spec("Training loss", "The projector by itself, then the language model with it", hconcat=panels)
