"""Pictures of the system as Vega-Lite specifications: accuracy, accuracy by kind, leakage, explanations, training curves."""

from __future__ import annotations

import polars as pl

from catalog.report.vega import OTHER, OWN, RULE, field, spec
from stages.fmdllama.tables import GROUPS

NAME = pl.when(pl.col("model").is_null()).then("method").otherwise(pl.format("{} ({})", "method", "model"))


def draw(t: dict[str, pl.DataFrame]) -> dict[str, dict]:
    """File name -> specification."""
    scores = t["scores"].with_columns(name=NAME)
    return {
        "1_accuracy": accuracy(scores),
        "2_kinds": kinds(scores),
        "3_statistics": statistics(scores),
        "4_leakage": leakage(t["leakage"]),
        "5_explanations": explanations(scores),
        "6_training": curves(t["curves"]),
    }


def dots(part: pl.DataFrame, value: str, title: str, rule: float | None, height: int = 240) -> dict:
    """Methods with their interval, best first; language models coloured; a line at chance."""
    part = part.with_columns(who=pl.when(pl.col("model").is_null()).then(pl.lit("no language model")).otherwise(pl.lit("language model")))
    order = part.sort(value, "name", descending=[True, False])["name"].to_list()
    rows = {"y": field("name", "nominal", None, sort=order, axis={"labelLimit": 260})}
    legend = {} if part["who"].n_unique() > 1 else {"legend": None}  # of one kind of method nothing needs to be told
    scale = {"domain": ["language model", "no language model"], "range": [OWN, OTHER]}
    colour = {"color": field("who", "nominal", None, scale=scale, **legend)}
    x = field(value, "quantitative", title, scale={"zero": False})
    bars = {"mark": {"type": "rule", "strokeWidth": 2}}
    bars["encoding"] = rows | colour | {"x": field(f"{value}_low", "quantitative", title, scale={"zero": False})}
    bars["encoding"]["x2"] = {"field": f"{value}_high"}
    marks = {"mark": {"type": "circle", "size": 80}, "encoding": rows | colour | {"x": x}}
    line = [] if rule is None else [chance(rule)]
    columns = ["name", "who", value, f"{value}_low", f"{value}_high", "n"]
    own = spec("", "", part.select(columns).sort("name"))
    return {"data": own["data"], "height": height, "layer": [*line, bars, marks]}


def chance(at: float) -> dict:
    """A dashed line."""
    mark = {"type": "rule", "strokeDash": [4, 4], "color": RULE}
    return {"data": {"values": [{"at": round(at, 6)}]}, "mark": mark, "encoding": {"x": field("at", "quantitative")}}


def accuracy(scores: pl.DataFrame) -> dict:
    """Accuracy of every method by the likeliest label, a panel a setting and one for the notes."""
    own = scores.filter(pl.col("accuracy").is_not_null(), pl.col("decoding") != "written", kind="all")
    panels = []
    for task, setting, title, rule in (
        ("claim", "retrieved", "claims, shown the retrieved sentences", 1 / 3),
        ("claim", "full", "claims, shown the whole context", 1 / 3),
        ("article", "full", "notes, True or Fake", 1 / 2),
    ):
        part = own.filter(task=task, setting=setting)
        if len(part):
            panels.append({"title": title} | dots(part, "accuracy", "accuracy", rule, 22 * len(part) + 20))
    return spec("Accuracy of every method", "95 % intervals over contexts; dashed: chance", vconcat=panels)


def kinds(scores: pl.DataFrame) -> dict:
    """Accuracy by kind of claim: the main variant, its model untuned, linear model, topic and reader."""
    own = scores.filter(
        pl.col("role").is_in(["main", "untuned", "classifier", "topic", "reader"]),
        ~pl.col("kind").is_in(["all", *GROUPS]),
        pl.col("decoding") != "written",
        task="claim",
    )
    names = [name for name in GROUPS["signs"] + GROUPS["numbers"] + GROUPS["others"] if name in own["kind"].to_list()]
    panels = []
    for (setting,), part in own.group_by("setting", maintain_order=True):
        cells = {"x": field("kind", "ordinal", None, sort=names), "y": field("name", "nominal", None, axis={"labelLimit": 260})}
        # The number stands in each cell, so that no legend is needed.
        fill = {"color": field("accuracy", "quantitative", scale={"scheme": "blues", "domain": [0, 1]}, legend=None)}
        tip = [field(name, "nominal") for name in ("name", "kind", "accuracy", "n")]
        box = {"mark": "rect", "encoding": cells | fill | {"tooltip": tip}}
        ink = {"condition": {"test": "datum.accuracy > 0.6", "value": "#fff"}, "value": "#111"}
        words = {"mark": "text", "encoding": cells | {"text": field("accuracy", "quantitative", format=".2f"), "color": ink}}
        data = spec("", "", part.select("name", "kind", "accuracy", "n").sort("name", "kind"))["data"]
        panels.append({"title": f"{setting} sentences" if setting == "retrieved" else "whole context", "data": data, "layer": [box, words]})
    return spec("Accuracy by kind of claim", "Signs to the left, numbers in the middle", vconcat=panels)


def statistics(scores: pl.DataFrame) -> dict:
    """NEI against rest, and True against False, of language models: what of the accuracy is which."""
    own = scores.filter(pl.col("model").is_not_null(), task="claim", kind="all", decoding="likelihood")
    panels = []
    for value, title, rule in (("nei_rest", "NEI against the rest", 2 / 3), ("true_false", "True against False", 1 / 2)):
        for (setting,), part in own.filter(pl.col(value).is_not_null()).group_by("setting", maintain_order=True):
            panels.append({"title": f"{title}, {setting}"} | dots(part, value, title, rule, 22 * len(part) + 20))
    note = "95 % intervals over contexts; dashed: what an answer without reading has"
    return spec("What the language models can tell apart", note, vconcat=panels)


def leakage(probes: pl.DataFrame) -> dict:
    """Accuracy of every probe with the interval of all together, and chance."""
    panels = []
    for (task,), part in probes.group_by("task", maintain_order=True):
        part = part.with_columns(name=pl.col("probe") + ", " + pl.col("analyzer").replace("char_wb", "characters").replace("word", "words"))
        part = part.with_columns(model=pl.lit(None, pl.String), accuracy_low=pl.col("joint_low"), accuracy_high=pl.col("joint_high"))
        title = "accuracy on claims" if task == "claim" else "accuracy on notes"
        panels.append(dots(part, "accuracy", title, part["chance"][0], 22 * len(part) + 20))
    return spec("Can the labels be guessed?", "Joint 95 % intervals over contexts; dashed: chance", vconcat=panels)


def explanations(scores: pl.DataFrame) -> dict:
    """ROUGE-1 of written explanations beside copies of the context."""
    own = scores.filter(pl.col("rouge1").is_not_null(), kind="all")
    panels = []
    for (setting,), part in own.group_by("setting", maintain_order=True):
        panels.append({"title": setting} | dots(part, "rouge1", "ROUGE-1 with the reference", None, 22 * len(part) + 20))
    return spec("Explanations, written and copied", "95 % intervals over contexts", vconcat=panels)


def curves(losses: pl.DataFrame) -> dict:
    """Training loss, a line a variant."""
    encoding = {
        "x": field("step", "quantitative", "step"),
        "y": field("loss", "quantitative", "loss (nats)"),
        "color": field("variant", "nominal", "variant"),
    }
    return spec("Training loss", "Weighted mean over the answers' tokens", losses, mark={"type": "line", "point": True}, encoding=encoding)
