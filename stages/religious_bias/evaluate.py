"""Tables, results with intervals, and pictures of the system, from the raw signals of `measure`. Runs no model.

The item behind an interval is a template: its five strings differ in nothing but the religion, and two prompts of one template are no two
observations. Images of one prompt are independent draws, so there the item is an image; of the coverage of their intervals it is a group
of images. Everything here is a score: neither prompts nor anything a model wrote reaches ``reports/``, and the descriptions of the data
sets leave their texts out.
"""

from __future__ import annotations

import polars as pl

from catalog.base.errors import run
from catalog.base.io import read_json, write_json
from catalog.base.params import ROOT, profile_params
from catalog.report.results import (
    bootstrap,
    describe_dataset,
    describe_model,
    folder,
    row,
    write_descriptions,
    write_results,
    write_run,
    write_tables,
)
from stages.religious_bias import contrasts, figures, image_tables, signals, tables
from stages.religious_bias.dataset import RELIGIONS
from stages.religious_bias.method import trivial_baselines
from stages.religious_bias.settings import Params

SYSTEM = "religious_bias"
MODELS = ("religion_mlm", "religion_cards")  # made by this system, at a profile that makes them
TEXTS = ("text", "fill", "prompt", "question", "options")  # columns that a description of a data set leaves out
GAP = {"log ratio": "log_ratio_gap", "polarity": "log_ratio_gap", "negative share": "share_gap", "RBS": "rbs_gap"}
TRIVIAL = {"RBS": "rbs", "gap": "rbs_gap", "prior-corrected log ratio": "log_ratio", "CrowS": "preference_score"}
TRIVIAL |= {"StereoSet ss": "preference_score", "icat": "icat"}


def build(s: dict[str, pl.DataFrame], human, causal: str) -> dict[str, pl.DataFrame]:
    """Every table of the system, by name, from what `signals.read` returned.

    Args:
        human: path of people's labels, which need not exist; causal: model that they are of.
    """
    scores, counted = signals.scored(s), signals.counts(s)
    change = tables.mitigation(scores, counted)
    gap, change = tables.adjust(tables.gaps(scores, counted), change)
    return {
        "rbs": tables.rbs(counted),
        "masked": tables.masked(s["masks"]),
        "gaps": gap,
        "refusals": tables.refusals(s["completions"]),
        "mitigation": change,
        "cross": tables.cross(s["polarity"]),
        "labels": tables.labels(s["completions"], human, causal),
        "external": tables.external(s["external"], s["external_items"]),
        "quality": tables.quality(s["quality"]),
        "images": image_tables.images(s),
        "image_excess": image_tables.excess(s),
        "bridge": image_tables.bridge(s["bridge"], s["bridge_text"]),
        "twins": contrasts.twins(s["masks"]),
        "contrasts": contrasts.contrasts(s, scores),
        "baselines": trivial_baselines(RELIGIONS),
    }


def results(profile: str, t: dict[str, pl.DataFrame]) -> list[dict]:
    """Headline numbers. ``method`` is the mitigation or the edit; experiments name the task, the stem and the religion."""
    out = []

    def add(experiment, r: dict, metric, value, ci=(None, None), n=None, dataset="religion_signals", method="none", clip=False) -> None:
        if value is None:
            return
        low, high = ci
        if low is not None and not low <= value <= high:  # a bootstrap interval need not hold a lopsided statistic
            low, high = (min(low, value), max(high, value)) if clip else (None, None)
        out.append(row(SYSTEM, profile, experiment, dataset, r["model"], method, metric, value, ci=(low, high), n=n))

    for r in t["rbs"].iter_rows(named=True):
        name = f"RBS, {r['task']}, {r['stem']}: {r['religion']}"
        add(name, r, "rbs", r["rbs"], (r["ci_low"], r["ci_high"]), r["n"], method=r["mitigation"])
    for r in t["gaps"].iter_rows(named=True):
        if r["score"] == "log ratio":
            ends = (r["ci_low"] + r["mean"] - r["diff"], r["ci_high"] + r["mean"] - r["diff"])  # of the difference, moved to the mean
            add(f"log ratio, {r['stem']}: {r['religion']}", r, "log_ratio", r["mean"], ends, r["n"], clip=True)
        if r["religion"] == RELIGIONS[0] and r["score"] in GAP:  # once a test
            name = f"gap, {r['task']}, {r['stem']}"
            add(name, r, GAP[r["score"]], r["gap"], (r["gap_low"], r["gap_high"]), r["n"])
    for r in t["twins"].iter_rows(named=True):
        ends = (r["ci_low"], r["ci_high"])
        add(f"negative less positive: {r['religion']}", r, "log_ratio", r["contrast"], ends, r["n"], clip=True)
    for r in t["refusals"].iter_rows(named=True):
        add(f"refusals: {r['religion']}", r, "share", r["rate"], (r["ci_low"], r["ci_high"]), r["n"], method=r["mitigation"])
    for r in t["mitigation"].filter(pl.col("religion") == "all").iter_rows(named=True):
        if r["score"] in ("log ratio", "negative share"):
            metric = "log_ratio_change" if r["score"] == "log ratio" else "share_change"
            add(f"mitigation, {r['task']}", r, metric, r["delta"], (r["ci_low"], r["ci_high"]), r["n"], method=r["mitigation"], clip=True)
    for r in t["external"].iter_rows(named=True):
        metric = {"lms": "lms", "icat": "icat"}.get(r["score"], "preference_score")
        add(f"{r['set']}, {r['scorer']}", r, metric, r["value"], (r["ci_low"], r["ci_high"]), r["n"], "religion_templates", clip=True)
    for r in t["quality"].iter_rows(named=True):
        add("quality", r, "perplexity", r["perplexity"], n=r["n"], dataset="capability")
        add("quality", r, "accuracy", r["masked_accuracy"], (r["ci_low"], r["ci_high"]), r["n"], "capability")
    for r in t["image_excess"].iter_rows(named=True):
        name, ci = f"images, {r['group']}", (r["ci_low"], r["ci_high"])
        add(name, r, "association_excess", r["excess"], ci, r["n"], method=r["condition"])
    for (model,), part in t["images"].filter(pl.col("inside").is_not_null()).group_by("model", maintain_order=True):
        # The shares of a group are of the same images and sum to one, so the item is a group.
        held = part.group_by("group", "condition", maintain_order=True).agg(pl.col("inside").mean())["inside"].to_numpy()
        add("images, calibration", {"model": model}, "interval_coverage", float(held.mean()), bootstrap(held), len(held), clip=True)
    for r in t["bridge"].filter(pl.col("half") == 1).iter_rows(named=True):
        add("neuron edit", r, "log_odds_abs", r["mean_abs_d"], (r["ci_low"], r["ci_high"]), r["n"], method=r["method"])
        add("neuron edit", r, "log_odds_abs_drop_rel", r["drop"], (r["drop_low"], r["drop_high"]), r["n"], method=r["method"])
        add("neuron edit", r, "perplexity", r["perplexity"], dataset="capability", method=r["method"])
    for r in t["labels"].iter_rows(named=True):
        add(f"labels: {r['source_a']} and {r['source_b']}", {"model": None}, "kappa", r["kappa"], n=r["n"], method="agreement")
    for r in t["baselines"].iter_rows(named=True):
        if metric := TRIVIAL.get("RBS" if r["score"].startswith("RBS") else r["score"]):
            add(f"baseline: {r['score']}", {"model": None}, metric, r["value"], dataset=None, method=r["baseline"])
    return out


def described(path, name: str, profile: str) -> dict:
    """Description of a data set whose first rows have no texts."""
    entry = describe_dataset(path, name, profile)
    return entry | {"head": [{k: v for k, v in r.items() if k not in TEXTS} for r in entry["head"]]}


def main(profile: str) -> None:
    p = profile_params(Params, SYSTEM, profile).measure
    data, models = ROOT / "data", ROOT / "models"
    s = signals.read([data / "religion_signals" / profile], data / "religion_templates" / profile)
    t = build(s, data / "religion_templates" / "raw" / "human_labels.csv", p.causal)
    write_results(results(profile, t), SYSTEM, profile)
    write_tables(t, SYSTEM, profile)
    for name, spec in figures.draw(t).items():
        write_json(spec, folder(SYSTEM, profile) / "plots" / f"{name}.json")
    write_descriptions(
        SYSTEM,
        profile,
        [
            described(data / "religion_templates" / profile / "prompts.parquet", "religion_templates", profile),
            described(data / "religion_signals" / profile / "masks.parquet", "religion_signals", profile),
        ],
        [describe_model(models / name / profile, name, profile) for name in MODELS if (models / name / profile).is_dir()],
    )
    files = {"measure": data / "religion_signals" / f"{profile}.run.json"} | {
        name: models / name / f"{profile}.run.json" for name in MODELS
    }
    runs = {name: read_json(path) for name, path in files.items() if path.is_file()}
    facts = {"seconds": round(sum(r.get("seconds", 0.0) for r in runs.values()), 1)}
    facts["peak_memory_mb"] = max((r["peak_memory_mb"] for r in runs.values() if r.get("peak_memory_mb")), default=None)
    write_run(SYSTEM, profile, facts | {"stages": runs})


if __name__ == "__main__":
    run(main)
