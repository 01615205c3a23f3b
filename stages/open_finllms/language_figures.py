"""Pictures of the language models as Vega-Lite specifications: perplexity before and after, and the loss of training."""

from __future__ import annotations

import polars as pl

from catalog.report.vega import OTHER, field, plain, spec

COLOURS = ("#b4483a", "#2f6f9f", "#7a8b3c", "#8c6bb1", "#868e96")
DASHES = ([1, 0], [6, 3], [2, 2], [8, 2, 2, 2], [12, 4])
SHAPES = ("circle", "diamond", "triangle-up", "square")
PARTS = ("prices", "indicators", "general", "everyday")
TITLES = {"prices": "tables of prices", "indicators": "tables of indicators", "general": "news", "everyday": "everyday questions"}


def draw(t: dict[str, pl.DataFrame]) -> dict[str, dict]:
    """File name -> specification."""
    return {"perplexity": changes(t["perplexity"], t["training_curves"]), "training": curves(t["training_curves"])}


def changes(perplexity: pl.DataFrame, training: pl.DataFrame) -> dict:
    """Change of perplexity from before, by part and arm, with its interval; a view for each learning rate, with a scale of its own."""
    mine = perplexity.filter((pl.col("counted") == "all") & pl.col("change").is_not_null() & pl.col("part").is_in(PARTS))
    highest = training.group_by("run").agg(pl.col("rate").max()).with_columns(pl.col("run").str.strip_prefix("pre-training, "))
    data = mine.join(highest, left_on="arm", right_on="run", maintain_order="left").with_columns(pl.col("part").replace_strict(TITLES))
    rates = data["rate"].unique(maintain_order=True).to_list()
    title = "Perplexity after continual pre-training, by arm"
    said = "Change from before on the same held-out documents, with 95 % intervals"
    return spec(
        title,
        said,
        vconcat=[_view(data.filter(pl.col("rate") == rate), rate) for rate in rates],
        resolve={"scale": {"color": "independent", "shape": "independent"}},
    )


def _view(data: pl.DataFrame, rate: float) -> dict:
    arms = data["arm"].unique(maintain_order=True).to_list()
    rows = [TITLES[part] for part in PARTS]
    place = {"y": field("part", "nominal", None, sort=rows), "yOffset": field("arm", "nominal", None, sort=arms)}
    across = field("change", "quantitative", "change of perplexity from before training", axis={"format": "+.0%"})
    colour = {"domain": arms, "range": list(COLOURS[: len(arms)])}
    shape = {"domain": arms, "range": list(SHAPES[: len(arms)])}
    tips = [field("part", "nominal", "held out"), field("arm", "nominal", "arm"), field("documents", "quantitative", "documents")]
    tips += [
        field(name, "quantitative", said, format="+.2%")
        for name, said in (("change", "change"), ("change_low", "from"), ("change_high", "to"))
    ]
    looks = {"color": field("arm", "nominal", "arm", scale=colour)}
    bar = {
        "mark": {"type": "rule", "strokeWidth": 2},
        "encoding": place | looks | {"x": across | {"field": "change_low"}, "x2": {"field": "change_high"}},
    }
    point = {
        "mark": {"type": "point", "filled": True, "size": 70, "opacity": 1},
        "encoding": place | looks | {"x": across, "shape": field("arm", "nominal", "arm", scale=shape), "tooltip": tips},
    }
    zero = {"mark": {"type": "rule", "color": OTHER}, "data": {"values": [{}]}, "encoding": {"x": {"datum": 0}}}
    columns = data.select("arm", "part", "documents", "change", "change_low", "change_high")
    return {"title": f"learning rate {rate:g}", "height": 150, "data": {"values": plain(columns)}, "layer": [zero, bar, point]}


def curves(training: pl.DataFrame) -> dict:
    """Loss by tokens read, of every run."""
    runs = training["run"].unique(maintain_order=True).to_list()
    scale = {"domain": runs, "range": [COLOURS[i % len(COLOURS)] for i in range(len(runs))]}
    dash = {"domain": runs, "range": [DASHES[i % len(DASHES)] for i in range(len(runs))]}
    encoding = {
        "x": field("tokens", "quantitative", "tokens read"),
        "y": field("loss", "quantitative", "loss, nats a token"),
        "color": field("run", "nominal", None, scale=scale),
        "strokeDash": field("run", "nominal", None, scale=dash),
        "tooltip": [
            field("run", "nominal", "run"),
            field("step", "quantitative", "step"),
            field("loss", "quantitative", "loss", format=".3f"),
        ],
    }
    return spec(
        "Loss in training",
        "Loss of each optimiser step; blocks differ in how hard they are",
        training.select("run", "step", "tokens", "loss"),
        height=240,
        mark={"type": "line", "strokeWidth": 1.8},
        encoding=encoding,
    )
