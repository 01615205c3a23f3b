"""Tables, results with intervals and pictures of llava_vqa. Imports no torch.

Reads the scenes, what the small LLaVA answers under each condition, where each method says that it looks, and what its heads carry; holds
answers against those that need no look at the scene, and maps against the masks of what was asked about.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from catalog.base.errors import run
from catalog.base.io import read_json, write_json
from catalog.base.params import ROOT, profile_params
from catalog.report.results import (
    describe_dataset,
    describe_model,
    folder,
    row,
    training_facts,
    write_descriptions,
    write_results,
    write_run,
    write_tables,
)
from stages.llava_vqa import comparators, figures, leakage, map_tables, mechanics, tables
from stages.llava_vqa.settings import Evaluate, Params

SYSTEM, DATASET, MODEL = "llava_vqa", "scenes", "llava_small"
FOLDERS = (MODEL, "llava_answers", "llava_maps", "llava_mechanism")  # of models/
READ = {"data/scenes": ("images", "objects", "questions"), "models/llava_small": ("curves",)}
READ |= {"models/llava_answers": ("answers",), "models/llava_maps": ("maps", "curves")}
READ |= {"models/llava_mechanism": ("heads", "projections", "mechanism")}
ROLES = {"image": "model", "text": "text", "untrained": "untreated"} | dict.fromkeys(("swapped", "no image"), "control")
ROLES["text before training"] = "untreated"
ROLES |= dict.fromkeys(comparators.NAMES, "simple")
MEASURES = {"hit": "pointing_hit", "iou": "patch_iou", "correlation": "causal_correlation", "deletion": "deletion_area"}
MEASURES |= {"insertion": "insertion_area"}
COUNTS = {"correlation": "correlation_n", "deletion": "curves_n", "insertion": "curves_n"}  # column of tool_eval with their n


def raw_signals(profile: str) -> dict[str, pl.DataFrame]:
    """The scenes and every raw signal, by folder and file as in `READ`."""
    return {
        f"{place.rsplit('/', 1)[1]}.{name}": pl.read_parquet(ROOT / place / profile / f"{name}.parquet")
        for place, names in READ.items()
        for name in names
    }


def own_tables(raw: dict[str, pl.DataFrame], p: Evaluate) -> dict[str, pl.DataFrame]:
    """Every table that `tables.yaml` declares."""
    questions, images, objects = (raw[f"scenes.{name}"] for name in ("questions", "images", "objects"))
    test = tables.asked(questions, objects)
    said = tables.predictions(test, raw["llava_answers.answers"], questions["id"].to_list())
    t, right = of_answers(test, said, questions)
    t |= of_maps(raw, test, right, said, p)
    t["contrasts"] = pl.concat([t["contrasts"], t.pop("map_contrasts")])
    t |= {name: raw[f"llava_mechanism.{name}"] for name in ("heads", "projections")}
    t["mechanism"] = mechanics.mechanism(raw["llava_mechanism.mechanism"], questions)
    t["leakage"] = leakage.leakage(questions)
    t["training"] = raw["llava_small.curves"].select("phase", "step", "loss")
    return t


def of_answers(test: pl.DataFrame, said: pl.DataFrame, questions: pl.DataFrame) -> tuple[dict[str, pl.DataFrame], np.ndarray]:
    """The tables of answers, and whether the model is right on each question of ``test``."""
    asked = tables.of_answers(test)
    simple = comparators.rates(questions, tables.SPLITS)
    rates = pl.concat([said.select("method", "question", pl.col("right").cast(pl.Float64)), simple])
    values = tables.spread(asked.id, rates, "right")
    measures = {"accuracy": values}
    found = {
        "predictions": said,
        "answers": tables.means(asked, measures).with_columns(role=pl.col("method").replace_strict(ROLES, return_dtype=pl.String)),
        "contrasts": tables.contrasts(asked, measures, ["image"], ROLES),
    }
    return found, values["image"]


def of_maps(
    raw: dict[str, pl.DataFrame], test: pl.DataFrame, right: np.ndarray, said: pl.DataFrame, p: Evaluate
) -> dict[str, pl.DataFrame]:
    """The tables of maps."""
    maps, curves = raw["llava_maps.maps"], raw["llava_maps.curves"]
    role = map_tables.roles(maps, p)
    truth = map_tables.Truth(test, raw["scenes.images"], raw["scenes.objects"], p.covered)
    scores = map_tables.score_table(maps, map_tables.areas(curves), truth, p, role)
    asked = tables.of_maps(test, right)
    measures = {name: tables.spread(asked.id, scores, name) for name in map_tables.SCORES}
    subjects = [name for name, own in role.items() if own in ("paper", "direct")]
    compared = {name: measures[name] for name in MEASURES}
    group = test.filter(asked.groups[tables.LOCATED]).select("image", "split", question="id")
    shown = {own: name for name, own in role.items() if own in ("paper", "direct", "attention")}
    sure = said.filter(method="image").select("question", "logprob")
    return {
        "map_scores": scores.join(test.select("image", "split", "type", "objects", question="id"), on="question", how="left"),
        "tool_eval": tables.means(asked, measures, {"correlation_n": "correlation", "curves_n": "deletion"})
        .with_columns(role=pl.col("method").replace_strict(role, return_dtype=pl.String))
        .join(maps.group_by("method").agg(forwards=pl.col("forwards").cast(pl.Float64).mean()), on="method", how="left"),
        "map_contrasts": tables.contrasts(asked, compared, subjects, role),
        "sensitivity": map_tables.sensitivity(maps, truth, p, group),
        "curves": map_tables.curve_table(curves, group),
        "absent": map_tables.absent_table(scores, test, sure),
        "patches": map_tables.patches(maps, test, raw["scenes.images"], shown),
    }


def result_rows(t: dict[str, pl.DataFrame], profile: str) -> list[dict]:
    """Rows of `results`: every method's accuracy and maps, by split and group of questions."""
    out = []
    for item in t["answers"].iter_rows(named=True):
        where, ci = f"{item['split']}, {item['subset']}", (item["accuracy_low"], item["accuracy_high"])
        model = None if item["role"] == "simple" else MODEL
        shared = {"split": where, "ci": ci, "n": item["n"]}
        out.append(row(SYSTEM, profile, "answers", DATASET, model, item["method"], "accuracy", item["accuracy"], **shared))
    for item in t["tool_eval"].iter_rows(named=True):
        where = f"{item['split']}, {item['subset']}"
        for name, metric in MEASURES.items():
            if item[name] is not None:
                n = item[COUNTS.get(name, "n")]
                shared = {"split": where, "ci": (item[f"{name}_low"], item[f"{name}_high"]), "n": n}
                out.append(row(SYSTEM, profile, "maps", DATASET, MODEL, item["method"], metric, item[name], **shared))
    for item in t["absent"].iter_rows(named=True):
        shared = {"split": item["split"], "ci": (item["low"], item["high"]), "n": item["n"]}
        method = item["method"] if item["score"] == "logprob" else f"{item['method']}, {item['score']}"
        out.append(row(SYSTEM, profile, "absent objects", DATASET, MODEL, method, "absence_auroc", item["auroc"], **shared))
    for item in t["mechanism"].iter_rows(named=True):
        for name, method in (("value", item["quantity"]), ("control", f"{item['quantity']}: control")):
            if item[name] is not None:
                shared = {"split": item["condition"], "ci": (item[f"{name}_low"], item[f"{name}_high"]), "n": item["n"]}
                out.append(
                    row(SYSTEM, profile, "mechanism", DATASET, MODEL, method, mechanics.metric(item["quantity"]), item[name], **shared)
                )
    return out


def run_facts(profile: str) -> dict[str, Any]:
    """What `run.json` says of training and measuring, and the seconds that a map takes by each method."""
    trained, *others = (read_json(ROOT / "models" / name / f"{profile}.run.json") for name in FOLDERS)
    seconds = round(sum(part["seconds"] for part in (trained, *others)), 1)
    facts = training_facts(trained["runs"], *others) if trained["runs"] else {}  # at profile full nothing is trained
    peak = max(part["peak_memory_mb"] for part in (trained, *others))
    return facts | {"seconds": seconds, "peak_memory_mb": peak, "seconds_a_map": others[1]["seconds_a_map"]}


def main(profile: str) -> None:
    """Write ``reports/llava_vqa/<profile>/``."""
    params = profile_params(Params, SYSTEM, profile)
    raw = raw_signals(profile)
    t = own_tables(raw, params.evaluate)
    write_results(result_rows(t, profile), SYSTEM, profile)
    write_tables(t, SYSTEM, profile)
    for name, drawn in figures.draw(t).items():
        write_json(drawn, folder(SYSTEM, profile) / "plots" / f"{name}.json")
    described = [describe_dataset(ROOT / "data" / DATASET / profile / f"{name}.parquet", DATASET, profile) for name in READ["data/scenes"]]
    write_descriptions(SYSTEM, profile, described, [describe_model(ROOT / "models" / MODEL / profile, MODEL, profile)])
    write_run(SYSTEM, profile, run_facts(profile))


if __name__ == "__main__":
    run(main)
