"""Pictures of the system as Vega-Lite specifications: simplicity against meaning, grades, coherence, reading levels, training."""

from __future__ import annotations

import polars as pl

from catalog.report.labels import placed, words
from catalog.report.vega import OTHER, OWN, RULE, field, spec

KINDS = {"trivial": "trivial", "zero-shot": "language model", "few-shot": "language model", "fine-tuned": "language model"}


def draw(t: dict[str, pl.DataFrame], judged: pl.DataFrame, curves: pl.DataFrame) -> dict[str, dict]:
    """File name -> specification."""
    return {
        "1_trade": trade(t["main"]),
        "2_grade": grade(t["main"]),
        "3_dsari": dsari(t["main"]),
        "4_coherence": coherence(judged, t["documents"]),
        "5_levels": levels(t["confusion"]),
        "6_training": training(curves),
    }


def first_pair(main: pl.DataFrame) -> pl.DataFrame:
    """Rows of the first pair, with the kind of each system."""
    human = pl.col("system").is_in(["reference", "intermediate"])
    kind = pl.when(human).then(pl.lit("person")).otherwise(pl.col("setting").replace_strict(KINDS, default="language model"))
    return of_first_pair(main).with_columns(kind=kind)


def of_first_pair(frame: pl.DataFrame) -> pl.DataFrame:
    """Rows of the pair of levels that most systems were tried on."""
    levels = ["source_level", "target_level"]
    counts = frame.group_by(levels).agg(pl.col("system").n_unique()).sort("system", *levels, descending=[True, False, False])
    return frame.join(counts.head(1).select(levels), on=levels, how="semi", maintain_order="left")


COLOURS = {"scale": {"domain": ["language model", "trivial", "person"], "range": [OWN, OTHER, RULE]}}


def trade(main: pl.DataFrame) -> dict:
    """Every system a point: how simple its texts are, how much they are like their sources."""
    data = first_pair(main).select("system", "kind", "fkgl", "meaning", "dsari").sort("system")
    size = {"width": 400, "height": 320}
    data, *scales = placed(data.drop_nulls(["fkgl", "meaning"]), "fkgl", "meaning", "system", size=10, reverse=True, **size)
    place = {
        "x": field("fkgl", "quantitative", "Flesch-Kincaid grade (lower is simpler)", scale=scales[0]),
        "y": field("meaning", "quantitative", "BERTScore with the source", scale=scales[1]),
    }
    dots = {
        "mark": {"type": "circle", "size": 90, "opacity": 0.9},
        "encoding": place | {"color": field("kind", "nominal", None, **COLOURS)},
    }
    title, note = "Simplicity against meaning preservation", "Right: simpler; up: closer to the source. The reference is what a person did"
    own = spec("", "", data)
    return spec(title, note, vconcat=[{"data": own["data"], **size, "layer": [dots, words("system", place, 10)]}])


def grade(main: pl.DataFrame) -> dict:
    """Grade of each system, with that of the reference as a line."""
    data = first_pair(main).select("system", "kind", "fkgl").sort("system")
    goal = data.filter(pl.col("system") == "reference").select("fkgl")
    bars = {
        "mark": {"type": "bar", "height": 12},
        "encoding": {
            "x": field("fkgl", "quantitative", "Flesch-Kincaid grade of the outputs"),
            "y": field("system", "nominal", None, sort="-x"),
            "color": field("kind", "nominal", None, **COLOURS),
        },
    }
    rule = {
        "data": {"values": [{"fkgl": round(value, 6)} for value in goal["fkgl"]]},
        "mark": {"type": "rule", "strokeDash": [4, 4], "color": RULE},
        "encoding": {"x": field("fkgl", "quantitative")},
    }
    return spec("Grade of each system's texts", "The line is the reference's grade", data, layer=[bars, rule])


def dsari(main: pl.DataFrame) -> dict:
    """D-SARI in both forms, a row a system."""
    data = first_pair(main).select("system", released="dsari", robust="dsari_robust").unpivot(index="system", variable_name="form")
    return spec(
        "D-SARI of each system in both forms",
        "In the released form a perfect output stays below 100",
        data.sort("system", "form"),
        mark={"type": "point", "filled": True, "size": 70},
        encoding={
            "x": field("value", "quantitative", "D-SARI", scale={"domain": [0, 100]}),
            "y": field("system", "nominal", None, sort={"field": "value", "order": "descending"}),
            "color": field("form", "nominal", None, scale={"domain": ["released", "robust"], "range": [OWN, OTHER]}),
            "shape": field("form", "nominal", None, scale={"domain": ["released", "robust"]}),
        },
    )


def coherence(judged: pl.DataFrame, documents: pl.DataFrame) -> dict:
    """Scores of the coherence model: originals, shuffles, and the texts of each system on one pair."""
    test = judged.filter(pl.col("split") == "test").select(
        what=pl.when(pl.col("version") == 0).then(pl.lit("originals")).otherwise(pl.lit("shuffled originals")), score="score"
    )
    some = of_first_pair(documents).select(what="system", score="coherence")
    data = pl.concat([test, some]).drop_nulls().sort("what", "score")
    return spec(
        "Coherence model on originals, shuffles and outputs",
        "One half: it cannot tell",
        data,
        mark={"type": "boxplot", "size": 10, "color": OWN, "outliers": {"size": 8, "opacity": 0.5}},
        encoding={"x": field("score", "quantitative", "coherence"), "y": field("what", "nominal", None)},
    )


def levels(confusion: pl.DataFrame) -> dict:
    """Confusion of reading levels, a square a reader."""
    facets = []
    for (reader,), part in confusion.group_by("reader", maintain_order=True):
        own = spec(reader, "", part)
        order = part["level"].unique(maintain_order=True).to_list()
        place = {
            "x": field("named", "nominal", "named", sort=order),
            "y": field("level", "nominal", "level", sort=order),
        }
        count = field("documents", "quantitative", None)
        square = {"mark": "rect", "encoding": place | {"color": count | {"scale": {"scheme": "blues"}, "legend": None}}}
        number = {"mark": "text", "encoding": place | {"text": count}}
        facets.append({"title": reader, "data": own["data"], "width": 120, "height": 120, "layer": [square, number]})
    return spec("Reading levels named by each reader", "Documents of the test split", concat=facets, columns=2)


def training(curves: pl.DataFrame) -> dict:
    """Loss of each variant by step."""
    return spec(
        "Training of the simplifiers",
        "The whole objective; variants with another weight of readability are on another scale",
        curves.select("variant", "step", "loss").sort("variant", "step"),
        mark="line",
        encoding={
            "x": field("step", "quantitative", "optimiser step"),
            "y": field("loss", "quantitative", "loss (nats a token)"),
            "color": field("variant", "nominal"),
        },
    )
