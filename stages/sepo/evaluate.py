"""Tables, results with intervals and pictures of the preference experiments. Imports no torch.

Reads what the policies say of the test pairs and what the oracles say of their tokens; the own tables are made in `tables` (policies and
methods), `contrasts` (comparisons that the claims rest on) and `tokens` (what selectors choose).
"""

from __future__ import annotations

import shutil
from pathlib import Path
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
from stages.sepo import contrasts, figures, judge, tables, tokens
from stages.sepo.settings import UNTRAINED, Params

SYSTEM, DATASET = "sepo", "preference_pairs"
FOLDERS = ("sepo_oracle", "sepo_policies")  # of models/
ANSWERS = {"run": pl.String, "id": pl.String, "answer": pl.String, "tokens": pl.Int64}


def raw_signals(profile: str) -> dict[str, pl.DataFrame]:
    """What the stages before have measured: pairs, scores of their tokens, and of the policies their runs and log-probabilities."""
    trained = ROOT / "models" / "sepo_policies" / profile
    found = {name: pl.read_parquet(trained / f"{name}.parquet") for name in ("runs", "experiments", "curves", "measured", "divergence")}
    said = trained / "answers.parquet"
    found["answers"] = pl.read_parquet(said) if said.exists() else pl.DataFrame(schema=ANSWERS)
    made, scores = (ROOT / "data" / name / profile for name in (DATASET, "token_scores"))
    found |= {"data": pl.read_parquet(made / "pairs.parquet"), "scored": pl.read_parquet(scores / "scores.parquet")}
    unread = pl.read_parquet(made / "dropped.parquet")
    return found | {"unread": unread, "left_out": pl.concat([pl.read_parquet(at / "left_out.parquet") for at in (scores, trained)])}


def own_tables(raw: dict[str, pl.DataFrame], params: Params, profile: str) -> dict[str, pl.DataFrame]:
    """Every table that `tables.yaml` declares."""
    pairs, runs, data = tables.per_pair(raw["measured"]), raw["runs"], raw["data"]
    documents, train = tables.per_document(pairs, data), params.train
    asked = {e.name: e.measured for e in train.experiments}
    found = tables.by_method(documents, runs, raw["experiments"], asked)
    random = tables.by_method(documents, runs, tables.same_seeds(runs, train.experiments, train.methods), asked)
    start, marks = {}, {}
    for name in dict.fromkeys(name for group in asked.values() for name in group):
        start[name] = tables.start_of(documents, name)
        own = pairs.filter((pl.col("run") == UNTRAINED) & (pl.col("set") == name)).select("id")
        marks[name] = tables.rule_marks(data.join(own, on="id", how="semi"))
    picked = tokens.tables(raw["scored"], data, params, ROOT / "models" / train.model / "base" / "tokenizer.json")
    return {
        "policies": tables.runs_table(documents, runs, raw["divergence"], raw["answers"]),
        "summary": tables.summary_table(found, start, tables.counts_table(runs, raw["experiments"])),
        "versus": tables.versus(found, "sepo"),
        "contrasts": contrasts.table(found, random, start, marks, train, params.oracle.oracles),
        "trivial": tables.trivial_table(marks),
        "kinds": tables.kinds_table(pairs, runs, data),
        "dropped": tables.dropped_table(raw["unread"], raw["left_out"]),
        "experiments": raw["experiments"],
        "answers": raw["answers"],
        "judged": verdicts(raw["answers"], data, params, profile),
        "curves": raw["curves"].select("run", "step", "loss", "lr"),
        **picked,
    }


def named(policy: dict[str, Any], p: Params) -> str:
    """A policy's method in `results`: its name, and what is not as usual for the method: shares, oracle, training set."""
    parts, usual = [policy["method"]], {m.name: m for m in p.train.methods}.get(policy["method"])
    for side in ("chosen", "rejected") if usual else ():
        if (share := policy[f"{side}_share"]) != getattr(usual, f"{side}_share"):
            parts.append(f"{share:.0%} of {side} tokens")
    if policy["oracle"] not in (None, p.oracle.oracles[0].name):
        parts.append(f"oracle {policy['oracle']}")
    if policy["trained_on"] not in (None, policy["set"]):
        parts.append(f"trained on {policy['trained_on']}")
    return ", ".join(parts)


def result_rows(t: dict[str, pl.DataFrame], profile: str, p: Params) -> list[dict]:
    """Rows of `results`: every policy and every rule on each test set, what selectors hit, and what a judge says."""
    out = []
    first: dict[str, str] = {}  # run -> the first experiment that it belongs to
    for experiment, name in t["experiments"].select("experiment", "run").iter_rows():
        first.setdefault(name, experiment)

    def add(experiment: str, data: str, method: str, metric: str, value: float, **rest: Any) -> None:
        own = {"model": p.train.model, "split": f"{data} test"} | rest
        out.append(row(SYSTEM, profile, experiment, DATASET, own.pop("model"), method, metric, value, **own))

    for r in t["policies"].iter_rows(named=True):
        where = (first.get(r["run"], "main"), r["set"], named(r, p))
        rest = {"n": r["n"], "seed": r["seed"] or 0}
        add(*where, "preference_accuracy", r["accuracy"], ci=(r["low"], r["high"]), **rest)
        add(*where, "preference_margin", r["margin"], ci=(r["margin_low"], r["margin_high"]), **rest)
        add(*where, "chosen_nll", r["nll"], **rest)
        if r["kl"] is not None:
            add(*where, "kl_to_reference", max(r["kl"], 0.0), seed=rest["seed"])
    for r in t["trivial"].iter_rows(named=True):
        add("main", r["set"], r["rule"], "preference_accuracy", r["accuracy"], ci=(r["low"], r["high"]), n=r["n"], model=None)
    for r in t["selection"].drop_nulls("hits").iter_rows(named=True):
        share = "" if r["share"] is None else f"{r['share']:.0%} of "
        where = ("selection", r["set"], f"{r['selector']}, {share}{r['side']} tokens")
        add(*where, "selection_hit", r["hits"], ci=(r["hits_low"], r["hits_high"]), n=r["documents"])
    called = {r["run"]: (r["set"], named(r, p)) for r in reversed(t["policies"].to_dicts())}
    for r in judge.win_rates(t["judged"]):
        data, method = called[r["run"]]
        add("judge", data, method, "win_rate", r["value"], ci=r["ci"], n=r["n"])
    return out


def judge_folder(profile: str) -> Path:
    """Where the replies of a judge stand until the stage is done: with the checkpoints, outside what DVC deletes."""
    return ROOT / ".checkpoints" / "sepo_judge" / profile


def verdicts(answers: pl.DataFrame, data: pl.DataFrame, params: Params, profile: str) -> pl.DataFrame:
    """What the judge says, or an empty table without one."""
    if params.judge is None:
        return pl.DataFrame(schema=judge.JUDGED)
    return judge.judged(answers, data.select("id", "prompt"), params.judge, kept=judge_folder(profile) / "replies.jsonl")


def main(profile: str) -> None:
    params = profile_params(Params, SYSTEM, profile)
    t = own_tables(raw_signals(profile), params, profile)
    write_results(result_rows(t, profile, params), SYSTEM, profile)
    write_tables(t, SYSTEM, profile)
    for name, drawn in figures.draw(t).items():
        write_json(drawn, folder(SYSTEM, profile) / "plots" / f"{name}.json")
    built = ROOT / "data"
    described = [
        describe_dataset(built / name / profile / f"{file}.parquet", name, profile)
        for name, file in ((DATASET, "pairs"), ("token_scores", "scores"))
    ]
    write_descriptions(SYSTEM, profile, described, [describe_model(ROOT / "models" / name / profile, name, profile) for name in FOLDERS])
    oracle, policies = (read_json(ROOT / "models" / name / f"{profile}.run.json") for name in FOLDERS)
    facts = training_facts([*oracle["runs"], *policies["runs"]]) | {"seconds": round(oracle["seconds"] + policies["seconds"], 1)}
    facts["peak_memory_mb"] = max(oracle["peak_memory_mb"], policies["peak_memory_mb"])
    write_run(SYSTEM, profile, facts | {"oracles": oracle["runs"], "policies": policies["runs"]})
    shutil.rmtree(judge_folder(profile), ignore_errors=True)


if __name__ == "__main__":
    run(main)
