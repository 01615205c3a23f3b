"""Pictures of the system as Vega-Lite specifications: utility against privacy, distances, likelihoods of members, training."""

from __future__ import annotations

import polars as pl

from catalog.report.labels import placed, words
from catalog.report.vega import OTHER, OWN, RULE, field, spec
from stages.harmonic.schema import COPY, HOLDOUT


def draw(t: dict[str, pl.DataFrame], likely: pl.DataFrame, curves: pl.DataFrame, llm: set[str]) -> dict[str, dict]:
    """File name -> specification; ``llm`` are the methods whose rows a language model wrote."""
    return {
        "1_trade": trade(t["utility"], t["privacy"], llm),
        "2_distances": distances(t["distances"]),
        "3_members": members(likely),
        "4_attacks": attacks(t["privacy"], llm),
        "5_training": training(curves),
    }


def kind(llm: set[str]) -> pl.Expr:
    """What a method is, for its colour."""
    at = pl.col("method")
    real, model = at.is_in([COPY, HOLDOUT]), at.is_in(sorted(llm))
    return pl.when(real).then(pl.lit("real rows")).when(model).then(pl.lit("LLM")).otherwise(pl.lit("other"))


COLOURS = {"scale": {"domain": ["LLM", "other", "real rows"], "range": [OWN, OTHER, RULE]}}


def trade(utility: pl.DataFrame, privacy: pl.DataFrame, llm: set[str]) -> dict:
    """Every method a point: how useful, how much of its training rows it gives away."""
    useful = utility.filter(pl.col("protocol") == "strict")
    if "mcc" not in useful.columns:
        return spec("Utility against privacy", "No classification among the tables", pl.DataFrame({"x": []}), mark="point")
    useful = useful.group_by("table", "method").agg(mcc=pl.col("mcc").mean())
    safe = privacy.group_by("table", "method").agg(auc=pl.col("auc").mean())
    data = useful.join(safe, on=["table", "method"]).with_columns(kind=kind(llm)).sort("table", "method")
    size, facets = {"width": 380, "height": 230}, []
    for (name,), part in data.group_by("table", maintain_order=True):
        part, *scales = placed(part, "auc", "mcc", "method", also=0.5, **size)
        place = {
            "x": field("auc", "quantitative", "membership AUC (0.5: nothing given away)", scale=scales[0]),
            "y": field("mcc", "quantitative", "utility: mean MCC on real test rows", scale=scales[1]),
        }
        nothing = {"data": {"values": [{"auc": 0.5}]}, "mark": {"type": "rule", "strokeDash": [4, 4], "color": RULE}}
        nothing["encoding"] = {"x": place["x"]}
        dots = {"mark": {"type": "circle", "size": 70, "opacity": 0.9}}
        dots["encoding"] = place | {"color": field("kind", "nominal", None, **COLOURS)}
        own = spec(name, "", part)
        facets.append({"title": name, "data": own["data"], **size, "layer": [nothing, dots, words("method", place)]})
    return spec("Utility against privacy: every method a point", "Upper left is best: useful and private", vconcat=facets)


def distances(table: pl.DataFrame) -> dict:
    """Distribution of the distance to the nearest training row, a line a method."""
    shown = ["harmonic", "great", "smote", "cart", "marginals", HOLDOUT]
    data = table.filter(pl.col("method").is_in(shown)).select("table", "method", "to_train").sort("table", "method", "to_train")
    data = data.with_columns(
        share=((pl.col("to_train").rank("ordinal")) / pl.len()).over("table", "method"),
        at=pl.col("to_train").rank("ordinal").over("table", "method"),
    )
    step = pl.col("at").max().over("table", "method") // 60 + 1
    data = data.filter((pl.col("at") % step == 0) | (pl.col("at") == 1)).select("table", "method", "to_train", "share")
    facets = []
    for (name,), part in data.group_by("table", maintain_order=True):
        own = spec(name, "", part)
        line = {
            "mark": {"type": "line", "interpolate": "step-after"},
            "encoding": {
                "x": field("to_train", "quantitative", "Gower distance to the nearest training row"),
                "y": field("share", "quantitative", "share of rows nearer than this"),
                "color": field("method", "nominal", None, sort=shown),
            },
        }
        facets.append({"title": name, "data": own["data"], "height": 160, **line})
    return spec("How near synthetic rows are to real ones", "Left of holdout rows: nearer than other people", vconcat=facets)


def members(likely: pl.DataFrame) -> dict:
    """What fine-tuning gained on rows it has seen and on rows it has not, a box a generator."""
    data = likely.filter((pl.col("form") == "strict") & (pl.col("part") != "synthetic")).select(
        who=pl.col("generator") + " (" + pl.col("table") + ")",
        part="part",
        gain=(pl.col("base_nll") - pl.col("nll")) / pl.col("tokens"),
    )
    return spec(
        "What fine-tuning gained on seen and on unseen rows",
        "Boxes apart mean that the generator knows its training rows",
        data.sort("who", "part", "gain"),
        mark={"type": "boxplot", "size": 9, "outliers": {"size": 6, "opacity": 0.4}},
        encoding={
            "x": field("gain", "quantitative", "gain in log-likelihood (nats a token)", scale={"zero": False}),
            "y": field("who", "nominal"),
            "yOffset": field("part", "nominal", None, sort=["train", "holdout"]),
            "color": field("part", "nominal", None, scale={"domain": ["train", "holdout"], "range": [RULE, OTHER]}),
        },
    )


def attacks(privacy: pl.DataFrame, llm: set[str]) -> dict:
    """Membership AUC by distance with its interval, a row a method."""
    data = privacy.group_by("table", "method").agg(pl.col("auc", "auc_low", "auc_high").mean()).with_columns(kind=kind(llm))
    data = data.sort("table", "auc", "method")
    order = data.group_by("method").agg(pl.col("auc").mean()).sort("auc")["method"].to_list()
    facets = []
    for (name,), part in data.group_by("table", maintain_order=True):
        own = spec(name, "", part)
        y = field("method", "nominal", None, sort=order)
        bar = {
            "mark": {"type": "rule"},
            "encoding": {
                "x": field("auc_low", "quantitative", "membership AUC", scale={"zero": False}),
                "x2": {"field": "auc_high"},
                "y": y,
            },
        }
        dot = {
            "mark": {"type": "circle", "size": 60, "opacity": 1},
            "encoding": {
                "x": field("auc", "quantitative", "membership AUC"),
                "y": y,
                "color": field("kind", "nominal", None, **COLOURS),
            },
        }
        facets.append({"title": name, "data": own["data"], "layer": [bar, dot]})
    return spec("Can an attacker tell who was in the training table?", "0.5 is chance; intervals are DeLong's", vconcat=facets)


def training(curves: pl.DataFrame) -> dict:
    """Loss of each generator by step."""
    data = curves.select(pl.col("step"), pl.col("loss"), who=pl.col("generator") + " (" + pl.col("table") + ")").sort("who", "step")
    return spec(
        "Training of the generators",
        "Negative log-likelihood of the answer's tokens",
        data,
        mark="line",
        encoding={
            "x": field("step", "quantitative", "optimiser step"),
            "y": field("loss", "quantitative", "loss (nats a token)"),
            "color": field("who", "nominal"),
        },
    )
