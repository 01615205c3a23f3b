"""Tables for the eye and pictures of the system as Vega-Lite specifications: dose-response, words before and after, neurons by layer,
bias by category, every method against perplexity."""

from __future__ import annotations

import polars as pl

from catalog.report import labels
from catalog.report.vega import OTHER, OWN, RULE, field, plain, spec
from stages.gender_bias.tables import DOSES


def word_table(prompts: pl.DataFrame) -> pl.DataFrame:
    """One row a prompt: d and the probabilities of the unedited model, and d after the combined edit."""
    base = prompts.filter(pl.col("method") == "none")
    after = prompts.filter(pl.col("method") == "combined").select("model", "id", pl.col("d").alias("d_combined"))
    table = base.join(after, on=["model", "id"], how="left", maintain_order="left")
    return table.select(
        "model", "category", "word", "template", "unseen_template", "d", "d_combined", "d_synonyms",
        p_man=pl.col("logp_man").exp(), p_woman=pl.col("logp_woman").exp(),
    )  # fmt: skip


def dose_table(edits: pl.DataFrame) -> pl.DataFrame:
    """Effect by number of edited neurons: the combined selection and the logit-based ranking; 0 neurons is the unedited model."""
    columns = ["abs_d_drop", "abs_d_drop_low", "abs_d_drop_high", "spread_drop", "perplexity_change", "agreement", "factual_change"]
    at = pl.col("method")
    named = edits.with_columns(
        selection=pl.when(at.is_in(["combined", "dose combined"])).then(pl.lit("combined")).when(at.is_in(["logit", "dose logit"])).then(
            pl.lit("logit")
        )
    )  # fmt: skip
    table = named.filter(pl.col("selection").is_not_null()).select("model", "selection", "neurons", *columns)
    dosed = edits.filter(at.is_in(DOSES))["model"].unique()
    start = pl.DataFrame({"model": sorted(dosed.to_list())}).join(pl.DataFrame({"selection": ["combined", "logit"]}), how="cross")
    zero = {name: pl.lit(1.0 if name == "agreement" else 0.0) for name in columns}
    start = start.with_columns(neurons=pl.lit(0, pl.Int32), **zero)
    return pl.concat([table.filter(pl.col("model").is_in(dosed.implode())), start]).unique(["model", "selection", "neurons"])


def draw(t: dict[str, pl.DataFrame], curves: pl.DataFrame, model: str) -> dict[str, dict]:
    """File name -> specification. ``model`` is the one with every experiment."""
    return {
        "1_words": words(t["words"], model),
        "2_methods": methods(t["edits"], model),
        "3_dose": dose(t["dose"], model),
        "4_neurons": neurons(t["neurons"], model),
        "5_categories": categories(t["bias"]),
        "6_training": training(curves),
    }


def words(table: pl.DataFrame, model: str) -> dict:
    """Log-odds of each held-out word before and after the combined edit."""
    mine = table.filter(pl.col("model") == model).group_by("category", "word").agg(pl.col("d", "d_combined").mean())
    data = mine.sort("category", "word")
    domain = [float(min(data["d"].min(), data["d_combined"].min())) - 0.2, float(max(data["d"].max(), data["d_combined"].max())) + 0.2]
    axis = {"scale": {"domain": [round(x, 2) for x in domain]}}
    dots = {
        "mark": {"type": "point", "filled": True, "opacity": 0.7, "size": 45},
        "encoding": {
            "x": field("d", "quantitative", "log p(man) - log p(woman), unedited (nats)", **axis),
            "y": field("d_combined", "quantitative", "after the combined edit (nats)", **axis),
            "color": field("category", "nominal", "category"),
            "shape": field("category", "nominal", "category"),
            "tooltip": [
                field("word", "nominal", "word"),
                field("category", "nominal", "category"),
                field("d", "quantitative", "before", format=".2f"),
                field("d_combined", "quantitative", "after", format=".2f"),
            ],
        },
    }
    zero = {"mark": {"type": "rule", "color": OTHER}, "data": {"values": [{}]}, "encoding": {"y": {"datum": 0}}}
    same = {
        "mark": {"type": "line", "color": OTHER, "strokeDash": [4, 4]},
        "data": {"values": [{"x": x} for x in axis["scale"]["domain"]]},
        "encoding": {"x": field("x", "quantitative"), "y": field("x", "quantitative")},
    }
    title = f"Held-out words before and after the edit, {model}: on the line nothing changed, at zero the bias is gone"
    return spec(title, "Log-odds of each word before and after", data, height=360, layer=[zero, same, dots])


def methods(edits: pl.DataFrame, model: str) -> dict:
    """Every method: fall of mean |d| against the change of perplexity."""
    data = edits.filter((pl.col("model") == model) & ~pl.col("method").is_in(DOSES) & (pl.col("method") != "none"))
    data = data.select("method", "seed", "abs_d_drop", "abs_d_drop_low", "abs_d_drop_high", "spread_drop", "perplexity_change", "agreement")
    several = pl.len().over("method") > 1
    label = pl.when(several).then(pl.format("{} {}", "method", pl.col("seed") + 1)).otherwise(pl.col("method"))
    size = {"width": 400, "height": 360}
    data = data.sort("method", "seed").with_columns(label=label)
    data, across, up = labels.placed(data, "perplexity_change", "abs_d_drop", "label", also=0.0, **size)
    place = {
        "x": field("perplexity_change", "quantitative", "change of perplexity on neutral text", axis={"format": "+.0%"}, scale=across),
        "y": field("abs_d_drop", "quantitative", "fall of mean |log-odds| on held-out words", axis={"format": ".0%"}, scale=up),
    }
    own = {"condition": {"test": "datum.method == 'combined'", "value": RULE}, "value": OWN}
    tips = [
        field("label", "nominal", "method"),
        field("abs_d_drop", "quantitative", "fall of mean |d|", format=".1%"),
        field("spread_drop", "quantitative", "fall of the spread", format=".1%"),
        field("perplexity_change", "quantitative", "perplexity", format="+.2%"),
        field("agreement", "quantitative", "same next token", format=".1%"),
    ]
    point = {"mark": {"type": "point", "filled": True, "size": 70}, "encoding": place | {"color": own, "tooltip": tips}}
    ends = {"y": place["y"] | {"field": "abs_d_drop_low"}, "y2": {"field": "abs_d_drop_high"}}
    bar = {"mark": {"type": "rule", "clip": True}, "encoding": {"x": place["x"], **ends, "color": own}}
    title = f"Less bias at what price, {model} (95 % intervals over words)"
    layers = {"data": {"values": plain(data)}, **size, "layer": [bar, point, labels.words("label", place)]}
    return spec(title, "Methods by bias and perplexity", vconcat=[layers])


def dose(table: pl.DataFrame, model: str) -> dict:
    """Dose-response: bias, spread and perplexity by number of neurons switched off."""
    wide = table.filter(pl.col("model") == model).rename(
        {"abs_d_drop": "fall of mean |d|", "spread_drop": "fall of the spread", "perplexity_change": "rise of perplexity"}
    )
    long = wide.unpivot(
        ["fall of mean |d|", "fall of the spread", "rise of perplexity"], index=["selection", "neurons"], variable_name="measure"
    ).sort("measure", "selection", "neurons")
    return spec(
        f"Dose-response: neurons switched off, {model}",
        "Bias and perplexity by number of edited neurons",
        long,
        mark={"type": "line", "point": True},
        height=120,
        encoding={
            "x": field("neurons", "quantitative", "neurons switched off", scale={"type": "symlog"}),
            "y": field("value", "quantitative", None, axis={"format": ".0%"}),
            "color": field("selection", "nominal", "selection", scale={"domain": ["combined", "logit"], "range": [RULE, OWN]}),
            "facet": field("measure", "nominal", None, columns=2),
            "tooltip": [
                field("selection", "nominal", "selection"),
                field("neurons", "quantitative", "neurons"),
                field("value", "quantitative", "value", format=".3f"),
            ],
        },
        resolve={"scale": {"y": "independent"}},
        width=108,
    )


def neurons(cards: pl.DataFrame, model: str) -> dict:
    """Scanned neurons: layer across, what switching one off does to the bias, coloured by class."""
    data = cards.filter(pl.col("model") == model).select(
        "layer", "index", "class", "fall", "neutral_kl", "promotes", "activated_by", chosen=pl.col("combined_rank").is_not_null()
    )
    data = data.with_columns(neuron=pl.format("{}_{}", "layer", "index")).sort("layer", "index")
    return spec(
        f"Neurons scanned one by one, {model}: fall of mean |d| when one is off",
        "Neurons by layer and causal effect",
        data,
        mark={"type": "point", "filled": True},
        height=320,
        encoding={
            "x": field("layer", "quantitative", "layer"),
            "y": field("fall", "quantitative", "fall of mean |d| (nats)"),
            "color": field("class", "nominal", "class", scale={"domain": ["gender", "general", "other"], "range": [OWN, RULE, OTHER]}),
            "shape": field("chosen", "nominal", "edited"),
            "size": field("neutral_kl", "quantitative", "KL on neutral text"),
            "tooltip": [
                field("neuron", "nominal", "neuron"),
                field("fall", "quantitative", "fall of mean |d|", format=".4f"),
                field("neutral_kl", "quantitative", "KL on neutral text", format=".5f"),
                field("promotes", "nominal", "promotes"),
                field("activated_by", "nominal", "activated by"),
            ],
        },
    )


def categories(bias: pl.DataFrame) -> dict:
    """Mean |d| by category and model, unedited and after the combined edit."""
    data = bias.filter(pl.col("method").is_in(["none", "combined"]) & (pl.col("category") != "all")).select(
        "model", "category", "mean_abs_d", "mean_abs_d_low", "mean_abs_d_high", method=pl.col("method").replace({"none": "unedited"})
    )
    base = {"x": field("category", "nominal", None), "xOffset": field("method", "nominal", sort=["unedited", "combined"])}
    colour = field("method", "nominal", None, scale={"domain": ["unedited", "combined"], "range": [OTHER, OWN]})
    height = field("mean_abs_d", "quantitative", "mean |log-odds| (nats)")
    bars = {"mark": {"type": "bar"}, "encoding": {**base, "y": height, "color": colour}}
    rules = {
        "mark": {"type": "rule"},
        "encoding": {**base, "y": field("mean_abs_d_low", "quantitative"), "y2": {"field": "mean_abs_d_high"}},
    }
    facet = {"column": field("model", "nominal", None)}
    inner = {"width": 145, "height": 200, "layer": [bars, rules]}
    return spec("Bias by category of words", "Mean log-odds by category", data.sort("model", "category", "method"), facet=facet, spec=inner)


def training(curves: pl.DataFrame) -> dict:
    """Training loss of the two fine-tuning baselines."""
    return spec(
        "Fine-tuning on balanced text",
        "Training loss",
        curves.select("variant", "step", "loss").sort("variant", "step"),
        mark={"type": "line", "point": True},
        height=220,
        encoding={
            "x": field("step", "quantitative", "step"),
            "y": field("loss", "quantitative", "loss (nats a token)", scale={"zero": False}),
            "color": field("variant", "nominal", "model"),
            "shape": field("variant", "nominal", "model"),
        },
    )
