"""Tables, results with intervals, and pictures of the system, from the raw signals of `measure` and `train`. Runs no model.

The item behind every interval is a word (a question, a paragraph): a word's prompts are averaged first. Differences to the unedited model
and between selections are paired by word. *Spread* is the standard deviation over words of the signed log-odds: an edit that pushes every
word to one side lowers it without lowering mean |d|, and the other way round, so both are always shown.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from catalog.base.errors import run
from catalog.base.io import read_json, write_json
from catalog.base.params import ROOT, profile_params
from catalog.report.intervals import clustered_share
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
from stages.gender_bias import figures, tables
from stages.gender_bias.contrasts import answered, contrasts
from stages.gender_bias.settings import Params
from stages.gender_bias.tables import DOSES

SYSTEM = "gender_bias"
MODELS = ("gender_edit", "gender_tuned")
DATA = (("commonwords", "prompts.parquet"), ("capability", "choice.parquet"))
RAW = "words factual neutral choice arithmetic reverse neurons hierarchy proto_a calibration calibration_edit".split()


def results(profile: str, t: dict[str, pl.DataFrame]) -> list[dict]:
    """Headline numbers. Random draws are separate seeds."""
    out = []

    def add(experiment: str, r: dict, metric: str, value: float, ci=(None, None), n=None, dataset="commonwords", method=None) -> None:
        method = r["method"] if method is None else method
        out.append(row(SYSTEM, profile, experiment, dataset, r["model"], method, metric, value, seed=r.get("seed", 0), ci=ci, n=n))

    for r in t["bias"].iter_rows(named=True):
        name = "bias" if r["category"] == "all" else f"bias: {r['category']}"
        if r["method"] in DOSES or (r["category"] != "all" and r["method"] not in ("none", "combined")):
            continue
        for metric, column in (
            ("log_odds_abs", "mean_abs_d"), ("log_odds_spread", "spread"), ("log_odds_mean", "mean_d"),
            ("share_over_log2", "share_over_log2"), ("entropy_gap", "entropy_gap"),
        ):  # fmt: skip
            add(name, r, metric, r[column], (r[f"{column}_low"], r[f"{column}_high"]), r["n"])
    for r in t["edits"].filter(~pl.col("method").is_in(DOSES)).iter_rows(named=True):
        add("edit", r, "log_odds_abs_drop_rel", r["abs_d_drop"], (r["abs_d_drop_low"], r["abs_d_drop_high"]), r["n"])
        add("edit", r, "log_odds_spread_drop_rel", r["spread_drop"], (r["spread_drop_low"], r["spread_drop_high"]), r["n"])
        ci = (r["perplexity_change_low"], r["perplexity_change_high"])
        add("edit", r, "perplexity_change_rel", r["perplexity_change"], ci, r["paragraphs"], "capability")
        add("edit", r, "perplexity", r["perplexity"], n=r["paragraphs"], dataset="capability")
        add("edit", r, "agreement", r["agreement"], n=r["paragraphs"], dataset="capability")
        add("factual control", r, "log_odds_factual", r["factual"], (r["factual_low"], r["factual_high"]), r["factual_words"])
        add("factual control", r, "accuracy", r["factual_right"], n=r["factual_words"])
    for r in t["capability"].filter(~pl.col("method").is_in(DOSES)).iter_rows(named=True):
        dataset = "arithmetic" if r["set"] == "arithmetic" else "capability"
        add(f"capability: {r['set']}", r, "accuracy", r["accuracy"], (r["ci_low"], r["ci_high"]), r["n"], dataset)
    for r in t["hierarchy"].iter_rows(named=True):
        ratio = r["perplexity"] / r["perplexity_before"] - 1
        add("hierarchy", r, "perplexity_change_rel", ratio, n=r["paragraphs"], dataset="capability", method=f"{r['group']} neurons off")
        add("hierarchy", r, "share", r["deeper_changed"], n=r["prompts"], method=f"{r['group']} neurons off")
    for r in t["proto_a"].filter((pl.col("prompt") == "all") & (pl.col("tokens") == "first")).iter_rows(named=True):
        add("proto-A", r, "log_odds_mean", r["bias"], n=r["professions"], method=f"{r['method']}, {r['gender']}")
    for (kind,), part in t["calibration"].group_by("kind", maintain_order=True):
        r = {"model": None, "method": f"{kind} words"}
        # Words of one model share its weights and the held-out frames, so the item is a model.
        models = part.group_by("seed", maintain_order=True).agg(pl.col("inside", "called_biased").sum(), size=pl.len())
        for metric, column in (("interval_coverage", "inside"), ("share_called_biased", "called_biased")):
            ci = clustered_share(models[column].to_list(), models["size"].to_list())
            add("calibration", r, metric, part[column].mean(), ci, len(models), dataset=None)
    return out


def build(source: Path, prompts: pl.DataFrame, items: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """Every own table, by name, from the signals in ``source``, the prompts and the multiple-choice items."""
    raw = {name: pl.read_parquet(source / f"{name}.parquet") for name in RAW}
    about = prompts.select("id", "category", "word", "template", "unseen_template", "gender")
    prompt_level = raw["words"].join(about.drop("gender"), on="id", maintain_order="left")
    words = tables.by_word(prompt_level)
    factual = raw["factual"].join(about.select("id", "word", "gender"), on="id", maintain_order="left")
    choice = raw["choice"].join(items.select("id", options=pl.col("options").list.len()), on="id", maintain_order="left")
    edits = tables.edits(words, factual, raw["neutral"])
    return {
        "words": figures.word_table(prompt_level),
        "bias": tables.bias(words.filter(~pl.col("method").is_in(DOSES))),
        "edits": edits,
        "selection": tables.against(words),
        "neurons": raw["neurons"],
        "hierarchy": tables.hierarchy(raw["hierarchy"]),
        "capability": tables.capability(choice, raw["arithmetic"]),
        "dose": figures.dose_table(edits),
        "proto_a": tables.proto(raw["proto_a"]),
        "reverse": tables.reversed_bias(raw["reverse"]),
        "contrasts": contrasts(words, factual, answered(raw["choice"], raw["arithmetic"]), raw),
        "calibration": raw["calibration"],
        "calibration_edit": raw["calibration_edit"],
    }


def main(profile: str) -> None:
    params = profile_params(Params, SYSTEM, profile)
    data, models = ROOT / "data", ROOT / "models"
    prompts, items = (pl.read_parquet(data / name / profile / file) for name, file in DATA)
    t = build(models / "gender_edit" / profile, prompts, items)
    write_results(results(profile, t), SYSTEM, profile)
    write_tables(t, SYSTEM, profile)
    curves = pl.read_parquet(models / "gender_tuned" / profile / "curves.parquet")
    for name, spec in figures.draw(t, curves, params.measure.rows[0].model).items():
        write_json(spec, folder(SYSTEM, profile) / "plots" / f"{name}.json")
    write_descriptions(
        SYSTEM,
        profile,
        [describe_dataset(data / name / profile / file, name, profile) for name, file in DATA],
        [describe_model(models / name / profile, name, profile) for name in MODELS],
    )
    runs = read_json(models / "gender_tuned" / f"{profile}.run.json")["runs"]
    measured = read_json(models / "gender_edit" / f"{profile}.run.json")
    write_run(SYSTEM, profile, training_facts(runs, measured) | {"measure": measured, "training": runs})


if __name__ == "__main__":
    run(main)
