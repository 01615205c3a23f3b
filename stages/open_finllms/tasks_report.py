"""The offline tasks in the system's report: own tables, result rows and a picture. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from catalog.base.params import ROOT
from catalog.report.results import describe_dataset, row
from catalog.report.vega import OTHER, field, plain, spec
from stages.open_finllms import printed_mcc
from stages.open_finllms.scoring import SCORERS
from stages.open_finllms.task_gains import gains
from stages.open_finllms.task_scores import WORDS, predictions, score_table, scored
from stages.open_finllms.tasks import FOLDER
from stages.open_finllms.tasks import load as load_tasks

SYSTEM = "open_finllms"
TASKS, INSTRUCTIONS, ANSWERS = "finance_tasks", "finance_instructions", "finance_answers"
TUNED = ("finllama", "finllama_instruct")
METRICS = {
    ("score", False): "task_score",
    ("score", True): "task_score_change",
    ("readable", False): "readable_share",
    ("readable", True): "readable_change",
}
COLOURS = {"before": "#868e96", TUNED[0]: "#2f6f9f", TUNED[1]: "#b4483a", WORDS: "#7a8b3c"}


def build(profile: str, base: str) -> dict[str, pl.DataFrame]:
    """The own tables tasks, predictions, gains, instructions, repeats and printed_mcc."""
    items = pl.read_parquet(ROOT / "data" / TASKS / profile / "items.parquet")
    answers = pl.read_parquet(ROOT / "models" / ANSWERS / profile / "answers.parquet")
    files = load_tasks(FOLDER / "offline")
    found = scored(items, answers, files)
    said = predictions(found, items)
    choice = sorted({name for name, *_ in found if SCORERS[files[name].scorer].choices and not files[name].num_fewshot})
    merged = ROOT / "data" / INSTRUCTIONS / profile
    return {
        "tasks": score_table(found, files),
        "predictions": said,
        "gains": gains(said, base, TUNED, WORDS, choice),
        "instructions": pl.read_parquet(merged / "sources.parquet"),
        "repeats": pl.read_parquet(merged / "duplicates.parquet"),
        "printed_mcc": printed_mcc.table(),
    }


def results(profile: str, t: dict[str, pl.DataFrame], base: str) -> Iterator[dict]:
    """Mean item scores over the tasks and their paired differences; single tasks stand in the table `tasks`."""
    for one in t["gains"].filter(pl.col("overall") & (pl.col("model") != "all")).iter_rows(named=True):
        metric = METRICS[one["measure"], one["other"] is not None]
        less = (
            "" if one["other"] is None else f" less {one['other']}" if one["other"] != one["model"] else f" less mode {one['other_mode']}"
        )
        named = one["model"] if one["model"] in (base, *TUNED) else None
        yield row(
            SYSTEM, profile, f"tasks, {one['comparison']}, mode {one['mode']}", TASKS, named, one["model"] + less, metric, one["value"],
            ci=(one["low"], one["high"]), n=one["n"],
        )  # fmt: skip


def draw(t: dict[str, pl.DataFrame], base: str) -> dict[str, dict]:
    """Main metric of each task in mode strict, with what a constant answer gets."""
    data = t["tasks"].filter(pl.col("main") & (pl.col("mode") == "strict")).select(
        "task", "model", "metric", "value", "low", "high", "constant", "n", "missing"
    )  # fmt: skip
    names = [base, *TUNED, WORDS]
    across = {"x": field("value", "quantitative", "score (mode strict, 95 %)"), "y": field("model", "nominal", None, sort=names)}
    colour = field("model", "nominal", None, scale={"domain": names, "range": list(COLOURS.values())}, legend=None)
    tips = [
        field("model", "nominal", "model"),
        field("metric", "nominal", "metric"),
        field("value", "quantitative", "score", format=".3f"),
        field("constant", "quantitative", "constant answer", format=".3f"),
        field("missing", "quantitative", "no answer", format=".2f"),
        field("n", "quantitative", "items"),
    ]
    views = []
    for name in sorted(data["task"].unique()):
        mine = data.filter(pl.col("task") == name)
        ends = {"x": field("low", "quantitative", "score (mode strict, 95 %)"), "x2": {"field": "high"}, "y": across["y"]}
        bar = {"mark": {"type": "rule"}, "encoding": ends | {"color": colour}}
        point = {
            "mark": {"type": "point", "filled": True, "size": 60, "opacity": 1},
            "encoding": across | {"color": colour, "tooltip": tips},
        }
        constant = {
            "mark": {"type": "tick", "color": OTHER, "thickness": 2},
            "encoding": {"x": field("constant", "quantitative", "score (mode strict, 95 %)"), "y": across["y"]},
        }
        title = f"{name}: {mine['metric'][0]}, {mine['n'].max()} items"
        views.append({"title": title, "height": 22 * len(mine), "data": {"values": plain(mine)}, "layer": [constant, bar, point]})
    title = "Scores of the tasks with 95 % intervals; a grey tick is the best constant answer"
    return {"tasks": spec(title, "Models by task", vconcat=views)}


def described(profile: str) -> list[dict]:
    """Built files of the two data sets, for the catalog; the answers are no weights."""
    files = {TASKS: ("items",), INSTRUCTIONS: ("items", "sources", "duplicates")}
    return [
        describe_dataset(ROOT / "data" / name / profile / f"{table}.parquet", name, profile)
        for name, tables in files.items()
        for table in tables
    ]
