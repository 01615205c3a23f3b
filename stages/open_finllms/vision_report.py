"""FinLLaVA in the system's report: own tables, result rows and a picture. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from catalog.base.params import ROOT
from catalog.report.results import describe_dataset, describe_model, row
from catalog.report.vega import OTHER, field, spec
from stages.open_finllms.vision_prompts import OPEN
from stages.open_finllms.vision_read import DATASET, TABLES, read
from stages.open_finllms.vision_scores import BLIND, EVERY, EYE, MODEL, READ, SWAPPED, predictions, scores

SYSTEM, ANSWERS = "open_finllms", "finllava_answers"
GROUPS = (EYE, READ, EVERY)


def build(profile: str, seed: int) -> dict[str, pl.DataFrame]:
    """The own tables vision_predictions and vision_scores."""
    tables = read(profile)
    answers = pl.read_parquet(ROOT / "models" / ANSWERS / profile / "answers.parquet")
    said = predictions(tables, answers)
    return {"vision_predictions": said, "vision_scores": scores(said, tables["questions"], seed)}


def results(profile: str, t: dict[str, pl.DataFrame]) -> Iterator[dict]:
    """Means over kinds and differences; single kinds stand in the table `vision_scores`."""
    for one in t["vision_scores"].filter(pl.col("kind").is_in(GROUPS)).iter_rows(named=True):
        model = MODEL if one["method"] in (MODEL, SWAPPED, BLIND) else None
        metric = "accuracy" if one["less"] is None else "accuracy_change"
        method = one["method"] if one["less"] is None else f"{one['method']} less {one['less']}"
        yield row(
            SYSTEM, profile, f"charts, {one['form']}, {one['kind']}", DATASET, model, method, metric, one["value"], split=one["split"],
            ci=(one["low"], one["high"]), n=one["n"],
        )  # fmt: skip


def draw(t: dict[str, pl.DataFrame]) -> dict[str, dict]:
    """Accuracy by kind of question, with the picture and without, on the split test."""
    found = t["vision_scores"].filter(pl.col("less").is_null() & (pl.col("form") == OPEN) & (pl.col("split") == "test"))
    data = found.filter(~pl.col("kind").is_in(GROUPS)).select("kind", "method", "value", "low", "high", "n", "chance")
    order = data.filter(method=MODEL).sort("value", descending=True)["kind"].to_list()
    names = [MODEL, BLIND, "constant", "words", "pixels"]
    shown = data.filter(pl.col("method").is_in(names))
    axes = {"x": field("value", "quantitative", "share of right answers (95 %)"), "y": field("kind", "nominal", None, sort=order)}
    colours = {"domain": names, "range": ["#b4483a", "#868e96", OTHER, "#7a8b3c", "#2f6f9f"]}
    tips = [field(name, "nominal", name) for name in ("kind", "method")]
    tips += [field(name, "quantitative", name, format=".3f") for name in ("value", "low", "high", "chance")]
    across = {**axes, "yOffset": field("method", "nominal", None, sort=names)}
    colour = field("method", "nominal", None, scale=colours)
    bar = {"x": field("low", "quantitative", axes["x"]["title"]), "x2": {"field": "high"}, "color": colour}
    layers = [
        {"mark": {"type": "rule", "opacity": 0.6}, "encoding": {**across, **bar}},
        {"mark": {"type": "point", "filled": True, "size": 40}, "encoding": {**across, "color": colour, "tooltip": tips}},
    ]
    title = "FinLLaVA on shares and days it was not trained on, by kind of question"
    return {"charts": spec(title, "Right answers by kind of question and method", shown, layer=layers)}


def described(profile: str) -> tuple[list[dict], list[dict]]:
    """Descriptions of the data set's files and of the models."""
    data = [describe_dataset(ROOT / "data" / DATASET / profile / f"{name}.parquet", DATASET, profile) for name in TABLES]
    return data, [describe_model(ROOT / "models" / MODEL / profile, MODEL, profile)]
