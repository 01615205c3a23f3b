"""Pictures of the system as Vega-Lite specifications that hold their own data: a layer x head heatmap, neuron coefficients, the chain
graph, verification curves, the LoRA sweep and its training curves."""

from __future__ import annotations

import polars as pl

from catalog.report.vega import OTHER, OWN, RULE, field, plain, spec

GREY = "#7f8c99"  # lines, labels and intervals: to be read on a light and on a dark page


def heatmap(table: pl.DataFrame, model: str) -> dict:
    """Fall of the right token's log-probability when a head is zeroed: layers across, heads down."""
    data = table.filter((pl.col("model") == model) & (pl.col("phase") == "scan") & (pl.col("operation") == "all"))
    data = data.select("layer", "head", "logprob_drop", "acc_abs_drop", "n").sort("layer", "head")
    return spec(
        f"Zeroing one head: fall of log p(right answer), {model}",
        "Layer by head heatmap of the head scan",
        data,
        mark={"type": "rect"},
        height=max(160, 16 * (data["head"].max() + 1)),
        encoding={
            "x": field("layer", "ordinal", "layer", axis={"labelAngle": 0}),
            "y": field("head", "ordinal", "head"),
            "color": field("logprob_drop", "quantitative", "nats", scale={"scheme": "redblue", "domainMid": 0, "reverse": True}),
            "tooltip": [
                field("layer", "ordinal", "layer"),
                field("head", "ordinal", "head"),
                field("logprob_drop", "quantitative", "fall of log p (nats)", format=".3f"),
                field("acc_abs_drop", "quantitative", "fall of accuracy", format=".1%"),
                field("n", "quantitative", "prompts"),
            ],
        },
    )


def coefficients(cna: pl.DataFrame, model: str, case: str, operation: str) -> dict:
    """Coefficients of a case's ten best CNA neurons with and without the head."""
    top = cna.filter((pl.col("model") == model) & (pl.col("case") == case) & (pl.col("operation") == operation)).sort("rank").head(10)
    head = f"{top['head_layer'][0]}_{top['head'][0]}"
    names = pl.format("{}_{}", "layer", "index").alias("neuron")
    parts = [
        top.select(names, "rank", "delta", "top_tokens", pl.col(column).alias("coefficient"), pl.lit(label).alias("run"))
        for column, label in (("coef_orig", "original"), ("coef_int", f"head {head} zeroed"))
    ]
    return spec(
        f"Ten neurons that lose most when head {head} is zeroed: {case}, {model}",
        "Coefficients of the top CNA neurons",
        pl.concat(parts),
        mark={"type": "bar"},
        height=320,
        encoding={
            "y": field("neuron", "nominal", "layer_neuron", sort={"field": "rank"}),
            "yOffset": field("run", "nominal"),
            "x": field("coefficient", "quantitative", "coefficient m"),
            "color": field("run", "nominal", "run", scale={"domain": ["original", f"head {head} zeroed"], "range": [OWN, RULE]}),
            "tooltip": [
                field("neuron", "nominal", "neuron"),
                field("coefficient", "quantitative", "coefficient", format=".3f"),
                field("delta", "quantitative", "lost importance (nats)", format=".4f"),
                field("top_tokens", "nominal", "promotes"),
            ],
        },
    )


STAGES = {1: "1 shallow neurons", 2: "2 positions read", 3: "3 heads", 4: "4 deep neurons"}


def chain_graph(nodes: pl.DataFrame, edges: pl.DataFrame, model: str, operation: str) -> dict:
    """The four-stage chain: stages across, deep neurons spread by layer, edges as lines."""
    pick = lambda table: table.filter((pl.col("model") == model) & (pl.col("operation") == operation))  # noqa: E731
    own, links = pick(nodes), pick(edges)
    case = own["case"][0]
    deep = own.filter(pl.col("stage") == 4)
    low, high = deep["layer"].min(), max(deep["layer"].max(), deep["layer"].min() + 1)
    own = own.with_columns(
        x=pl.when(pl.col("stage") == 4).then(4 + 1.6 * (pl.col("layer") - low) / (high - low)).otherwise(pl.col("stage").cast(pl.Float64))
    ).sort("stage", "layer", "index", "position")
    own = own.with_columns(y=(pl.int_range(pl.len()) + 0.5).over("stage") / pl.len().over("stage"))
    own = own.with_columns(
        label=pl.when(pl.col("stage") == 2)
        .then(pl.format("“{}”", pl.col("token").str.strip_chars()))
        .otherwise(pl.format("{}_{}", "layer", "index")),
        kind=pl.col("stage").replace_strict(STAGES, return_dtype=pl.String),
    )
    ends = own.select("node", "x", "y")
    strongest = links.select("source", "target", "weight").with_columns(
        share=pl.col("weight").abs() / pl.col("weight").abs().max().over("target")
    )
    lines = strongest.join(ends, left_on="source", right_on="node").join(ends, left_on="target", right_on="node", suffix="2")
    axis = {
        "values": [1, 2, 3, 4.8],
        "labelExpr": "{1: ['shallow', 'neurons'], 2: ['positions', 'read'], 3: 'heads', 4.8: ['deep neurons,', 'by layer']}[datum.value]",
    }
    x = field(
        "x",
        "quantitative",
        None,
        scale={"domain": [0.7, 6.0]},
        axis={**axis, "grid": False, "orient": "top", "ticks": False, "domain": False},
    )
    y = field("y", "quantitative", None, scale={"domain": [0, 1]}, axis=None)
    tooltip = [
        field("node", "nominal", "node"),
        field("layer", "ordinal", "layer"),
        field("token", "nominal", "at token"),
        field("score", "quantitative", "score", format=".3f"),
        field("top_tokens", "nominal", "promotes"),
    ]
    return spec(
        f"How {model} answers {case}: the four-stage chain",
        "Typed graph of shallow neurons, positions, heads and deep neurons",
        height=420,
        layer=[
            {
                "data": {"values": plain(lines.sort("source", "target"))},
                "mark": {"type": "rule", "color": GREY},
                "encoding": {
                    "x": x,
                    "y": y,
                    "x2": {"field": "x2"},
                    "y2": {"field": "y2"},
                    "opacity": field("share", "quantitative", scale={"range": [0.1, 0.7]}, legend=None),
                    "strokeWidth": field("share", "quantitative", scale={"range": [0.5, 3]}, legend=None),
                },
            },
            {
                "data": {"values": plain(own)},
                "mark": {"type": "circle", "size": 220, "opacity": 1},
                "encoding": {
                    "x": x,
                    "y": y,
                    "tooltip": tooltip,
                    "color": field("kind", "nominal", None, scale={"range": ["#5b8c5a", "#d9a441", RULE, OWN]}, legend=None),
                },
            },
            {
                "data": {"values": plain(own)},
                "mark": {"type": "text", "dy": -14, "fontSize": 10, "color": GREY},
                "encoding": {"x": x, "y": y, "text": {"field": "label", "type": "nominal"}, "tooltip": tooltip},
            },
        ],
    )


def verification(table: pl.DataFrame, model: str) -> dict:
    """Relative fall of accuracy by set size when the CNA neurons are masked or are all that is kept, against random sets."""
    data = table.filter((pl.col("model") == model) & (pl.col("operation") == "all") & pl.col("protocol").is_in(["mask", "keep"]))
    parts = [
        data.select("size", "protocol", pl.col(column).alias("drop"), pl.lit(label).alias("neurons"), "cases")
        for column, label in (("rel", "CNA neurons"), ("random_rel", "random neurons"))
    ]
    return spec(
        f"Accuracy lost by masking or keeping only the top neurons, {model}",
        "Verification curves",
        pl.concat(parts).sort("protocol", "neurons", "size"),
        mark={"type": "line", "point": True},
        height=260,
        encoding={
            "x": field("size", "quantitative", "neurons in the set"),
            "y": field("drop", "quantitative", "relative fall of accuracy", axis={"format": "%"}),
            "color": field("neurons", "nominal", "set", scale={"domain": ["CNA neurons", "random neurons"], "range": [OWN, OTHER]}),
            "strokeDash": field("protocol", "nominal", "protocol"),
            "shape": field("protocol", "nominal", "protocol"),
            "tooltip": [
                field("size", "quantitative"),
                field("protocol", "nominal"),
                field("neurons", "nominal"),
                field("drop", "quantitative", format=".1%"),
            ],
        },
    )


def sweep(table: pl.DataFrame, model: str) -> dict:
    """Accuracy after a LoRA on one layer, with intervals; the line is the base model."""
    own = table.filter(pl.col("model") == model).sort("layer", "rate")
    x = field("layer", "ordinal", "layer that has the LoRA", axis={"labelAngle": 0})
    scale = {"domain": [0, 1]}
    bars = {
        "x": x,
        "y": field("acc", "quantitative", "accuracy", axis={"format": "%"}, scale=scale),
        "xOffset": field("rate", "nominal", "learning rate"),
    }
    return spec(
        f"LoRA on one attention layer, {model}",
        "Accuracy by layer of the LoRA",
        height=260,
        layer=[
            {
                "data": {"values": plain(own.filter(pl.col("layer") >= 0))},
                "layer": [
                    {"mark": {"type": "bar", "color": OWN}, "encoding": bars},
                    {
                        "mark": {"type": "rule", "color": GREY, "size": 2},
                        "encoding": {**bars, "y": field("ci_low", "quantitative", "accuracy"), "y2": {"field": "ci_high"}},
                    },
                ],
            },
            {
                "data": {"values": plain(own.filter(pl.col("layer") < 0))},
                "mark": {"type": "rule", "color": RULE, "strokeDash": [6, 4], "size": 2},
                "encoding": {"y": field("acc", "quantitative"), "tooltip": [field("acc", "quantitative", "base model", format=".1%")]},
            },
        ],
    )


def curves(table: pl.DataFrame) -> dict:
    """Loss of every LoRA run against tokens read."""
    name = pl.format("{} {}, layer {}, lr {}", "model", "variant", "layer", "rate").alias("run")
    return spec(
        "Training curves",
        "Loss by tokens read",
        table.select(name, "step", "tokens", "loss", "lr").sort("run", "step"),
        mark={"type": "line", "point": True},
        height=240,
        encoding={
            "x": field("tokens", "quantitative", "tokens read"),
            "y": field("loss", "quantitative", "loss (nats a token)"),
            "color": field("run", "nominal", "run"),
            "shape": field("run", "nominal", "run"),
            "tooltip": [field("run", "nominal"), field("step", "quantitative"), field("loss", "quantitative", format=".3f")],
        },
    )


def draw(t: dict[str, pl.DataFrame], training: pl.DataFrame) -> dict[str, dict]:
    """Every picture by name; the numbers in front are the order in which the app shows them."""
    out = {}
    for model in t["head_scan"]["model"].unique().sort():
        out[f"1_heads_{model}"] = heatmap(t["head_scan"], model)
        out[f"4_verify_{model}"] = verification(t["verify"], model)
    first = t["cna"].group_by("model", "operation", maintain_order=True).first().sort("model", "operation")
    for model, operation, case in first.select("model", "operation", "case").iter_rows():
        if model == t["prune"]["model"][0] and operation == "+":
            out["2_neurons_add"] = coefficients(t["cna"], model, case, operation)
    for model, operation in t["chain"].select("model", "operation").unique().sort("model", "operation").iter_rows():
        if operation == "+":
            out[f"3_chain_{model}"] = chain_graph(t["chain"], t["chain_edges"], model, operation)
    for model in t["lora"].filter(pl.col("layer") >= 0)["model"].unique().sort():
        out[f"5_lora_{model}"] = sweep(t["lora"], model)
    out["6_training"] = curves(training)
    return out
