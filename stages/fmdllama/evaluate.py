"""Tables, results with intervals and pictures of FMDLlama. Imports no torch.

Reads what the models answered to the test items, adds what can be answered without a language model (`rivals`), and compares all of it on
the same items (`tables`, `contrasts`); says what the labels could be guessed from (`leakage`) and what the set holds (`corpus`).
"""

from __future__ import annotations

from typing import Any

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
from stages.fmdllama import contrasts, corpus, figures, leakage, rivals, tables
from stages.fmdllama.dataset import DATASET, SYSTEM, WORDING
from stages.fmdllama.reader import Reader
from stages.fmdllama.settings import Params
from stages.fmdllama.wording import read

FOLDERS = ("fmdllama", "fmdllama_answers")  # of models/
METRICS = {"accuracy": "accuracy", "macro_f1": "macro_f1", "nei_rest": "nei_against_rest", "true_false": "true_against_false"} | {
    name: f"explanation_{metric}"
    for name, metric in (("rouge1", "rouge1"), ("rouge2", "rouge2"), ("rougeL", "rouge_l"), ("bertscore", "bertscore"))
}
METRICS |= {"unreadable": "unreadable_rate", "challenge": "challenge_score"}


def raw_signals(profile: str) -> dict[str, pl.DataFrame]:
    """The items, what training wrote of the variants, and what the models answered."""
    tuned, answered = (ROOT / "models" / name / profile for name in FOLDERS)
    found = {"items": pl.read_parquet(ROOT / "data" / DATASET / profile / "items.parquet")}
    found |= {name: pl.read_parquet(tuned / f"{name}.parquet") for name in ("variants", "curves")}
    return found | {name: pl.read_parquet(answered / f"{name}.parquet") for name in ("likelihoods", "answers")}


def own_tables(raw: dict[str, pl.DataFrame], reader: Reader, params: Params) -> dict[str, pl.DataFrame]:
    """Every table that `tables.yaml` declares."""
    items, variants, main = raw["items"], raw["variants"], params.evaluate.main
    tables.check_main(main, variants)
    said = tables.predictions(items, rivals.labelled(items, reader), raw["likelihoods"], raw["answers"], variants, main)
    explained = tables.explanations(items, raw["answers"], rivals.explained(items, params.evaluate.copied_words))
    tested = tables.test_items(items)
    found, labels = tables.signals(said, explained, tested)
    return {
        "predictions": said,
        "answers": tables.answer_table(said, raw["answers"], explained),
        "scores": tables.score_table(found, labels, tested),
        "contrasts": contrasts.table(found, variants["variant"].to_list(), tested),
        "leakage": leakage.table(items),
        "data": corpus.table(items),
        "variants": variants.with_columns(main=pl.col("variant").is_in([name for name in main.values() if name])),
        "curves": raw["curves"].select("variant", "step", "loss"),
    }


def result_rows(scores: pl.DataFrame, probes: pl.DataFrame, profile: str) -> list[dict]:
    """Rows of `results`: every method on all items of its task and setting, and by group of kinds; every probe."""
    out = []
    groups = ["all", *tables.GROUPS]
    for item in scores.filter(pl.col("kind").is_in(groups)).iter_rows(named=True):
        experiment = item["task"] if item["task"] == "article" else f"{item['task']}, {item['setting']}"
        split = "test" if item["kind"] == "all" else f"test, {item['kind']}"
        method = item["method"] if item["decoding"] != "written" else f"{item['method']}, written"
        for column, metric in METRICS.items():
            if item[column] is not None:
                ci = (item.get(f"{column}_low"), item.get(f"{column}_high"))
                n = item["true_false_n"] if column == "true_false" else item["n"]
                out.append(row(SYSTEM, profile, experiment, DATASET, item["model"], method, metric, item[column], split=split, ci=ci, n=n))
    for item in probes.iter_rows(named=True):
        method = f"TF-IDF, {item['analyzer']}: {item['probe']}"
        ci = (item["low"], item["high"])
        out.append(row(SYSTEM, profile, "leakage", DATASET, None, method, "accuracy", item["accuracy"], ci=ci, n=item["n"]))
    return out


def run_facts(profile: str) -> dict[str, Any]:
    """What `run.json` says of training and measuring."""
    trained, answered = (read_json(ROOT / "models" / name / f"{profile}.run.json") for name in FOLDERS)
    facts = training_facts(trained["runs"]) | {"seconds": round(trained["seconds"] + answered["seconds"], 1)}
    facts["peak_memory_mb"] = max(trained["peak_memory_mb"], answered["peak_memory_mb"])
    return facts | {"variants": trained["runs"]}


def main(profile: str) -> None:
    """Write ``reports/fmdllama/<profile>/``."""
    params = profile_params(Params, SYSTEM, profile)
    raw = raw_signals(profile)
    names = pl.read_parquet(ROOT / "data" / "prices" / profile / "listings.parquet", columns=["name"])["name"].unique().to_list()
    t = own_tables(raw, Reader(read(ROOT / WORDING), names), params)
    write_results(result_rows(t["scores"], t["leakage"], profile), SYSTEM, profile)
    write_tables(t, SYSTEM, profile)
    for name, drawn in figures.draw(t).items():
        write_json(drawn, folder(SYSTEM, profile) / "plots" / f"{name}.json")
    described = [describe_dataset(ROOT / "data" / DATASET / profile / "items.parquet", DATASET, profile)]
    trained = ROOT / "models" / FOLDERS[0] / profile  # the other one holds answers, no weights
    write_descriptions(SYSTEM, profile, described, [describe_model(trained, FOLDERS[0], profile)])
    write_run(SYSTEM, profile, run_facts(profile))


if __name__ == "__main__":
    run(main)
