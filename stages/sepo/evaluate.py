"""Tables, results with intervals and pictures of the preference experiments. Imports no torch.

A pair counts as right where the mean log-probability of the chosen response's tokens (prompt excluded) lies above that of the rejected
one's. Accuracy of one policy has Wilson's interval; a method's mean over seeds, and its difference to another one on the same pairs, have
bootstrap intervals over pairs.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
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
    training_facts,
    wilson,
    write_descriptions,
    write_results,
    write_run,
    write_table,
)
from stages.sepo import figures, judge, tokens
from stages.sepo.settings import BASE, UNTRAINED, Params

SYSTEM = "sepo"
KEY = ["method", "oracle", "trained_on", "chosen_share", "rejected_share", "compute"]


def per_pair(measured: pl.DataFrame) -> pl.DataFrame:
    """run, set, id, margin (difference of mean log-probabilities), sum_margin, right, nll of the chosen response a token."""
    chosen, rejected = (pl.col(f"{side}_sum") / pl.col(f"{side}_tokens") for side in ("chosen", "rejected"))
    return measured.select(
        "run",
        "set",
        "id",
        margin=chosen - rejected,
        sum_margin=pl.col("chosen_sum") - pl.col("rejected_sum"),
        right=chosen > rejected,
        nll=-chosen,
    )


def runs_table(pairs: pl.DataFrame, runs: pl.DataFrame, kl: pl.DataFrame, lengths: pl.DataFrame) -> pl.DataFrame:
    """One row a policy and test set, with Wilson's interval of its accuracy; the untrained ones too."""
    found = pairs.group_by("run", "set", maintain_order=True).agg(
        n=pl.len().cast(pl.Int64),
        right=pl.col("right").sum().cast(pl.Int64),
        margin=pl.col("margin").mean(),
        sum_margin=pl.col("sum_margin").mean(),
        nll=pl.col("nll").mean(),
    )
    bounds = [wilson(k, n) for k, n in found.select("right", "n").iter_rows()]
    found = found.with_columns(
        accuracy=pl.col("right") / pl.col("n"),
        low=pl.Series([b[0] for b in bounds], dtype=pl.Float64),
        high=pl.Series([b[1] for b in bounds], dtype=pl.Float64),
    ).drop("right")
    own = kl.group_by("run", "set").agg(kl=pl.col("kl").mean())
    spoken = lengths.group_by("run").agg(answer_tokens=pl.col("tokens").mean())
    found = found.join(own, on=["run", "set"], how="left").join(spoken, on="run", how="left")
    found = found.join(runs.rename({"set": "trained_on"}), on="run", how="left")
    return found.with_columns(pl.col("method").fill_null(pl.col("run"))).sort("set", "run")


def compared(runs: pl.DataFrame, members: pl.DataFrame) -> pl.DataFrame:
    """experiment, run, and what a run is, with the columns of `KEY`: a row a policy of each experiment."""
    return members.join(runs.rename({"set": "trained_on"}), on="run")


def by_method(
    pairs: pl.DataFrame, runs: pl.DataFrame, members: pl.DataFrame, asked: Mapping[str, Sequence[str]]
) -> dict[tuple[str, str], dict[tuple, tuple[np.ndarray, np.ndarray]]]:
    """(experiment, test set) -> method's key -> means over seeds for each pair, in the order of their ids: (right (n,), margin (n,)).

    Args:
        asked: the test sets of each experiment; a policy that two experiments share may have been measured on more.
    """
    out: dict[tuple[str, str], dict[tuple, tuple[np.ndarray, np.ndarray]]] = {}
    for (experiment, *key), group in compared(runs, members).group_by("experiment", *KEY, maintain_order=True):
        own = pairs.filter(pl.col("run").is_in(group["run"].to_list()), pl.col("set").is_in(asked[experiment]))
        for (data,), part in own.group_by("set", maintain_order=True):
            means = part.group_by("id").agg(pl.col("right").mean(), pl.col("margin").mean()).sort("id")
            out.setdefault((experiment, data), {})[tuple(key)] = (means["right"].to_numpy(), means["margin"].to_numpy())
    return out


def difference(a: np.ndarray, b: np.ndarray) -> tuple[float, float, float]:
    """Mean of ``a - b`` over pairs and its bootstrap interval."""
    gap = a - b
    low, high = bootstrap(gap)
    return float(gap.mean()), low, high


def summary_table(found: dict, pairs: pl.DataFrame, counts: pl.DataFrame) -> pl.DataFrame:
    """One row an experiment, test set and method: means over seeds, intervals over pairs, differences to the untrained policy."""
    rows = []
    for (experiment, data), methods in found.items():
        reference = pairs.filter((pl.col("run") == UNTRAINED) & (pl.col("set") == data)).sort("id")
        start = reference["right"].cast(pl.Float64).to_numpy(), reference["margin"].to_numpy()
        for key, (right, margin) in methods.items():
            item: dict[str, Any] = dict(zip(KEY, key, strict=True)) | {"experiment": experiment, "set": data, "n": len(right)}
            for name, values, before in (("accuracy", right, start[0]), ("margin", margin, start[1])):
                low, high = bootstrap(values)
                gain, gain_low, gain_high = difference(values, before)
                item |= {name: float(values.mean()), f"{name}_low": low, f"{name}_high": high}
                item |= {f"{name}_gain": gain, f"{name}_gain_low": gain_low, f"{name}_gain_high": gain_high}
            rows.append(item)
    first = ["experiment", "set", *KEY, "seeds", "steps", "relative_cost", "tokens_used", "n"]
    table = pl.DataFrame(rows, infer_schema_length=None).join(counts, on=["experiment", *KEY], how="left", nulls_equal=True)
    return table.select(*first, pl.exclude(first)).sort("experiment", "set", *KEY, nulls_last=True)


def versus(found: dict, one: str) -> pl.DataFrame:
    """Paired differences of method ``one`` to every other method of the first experiment: accuracy and margin, intervals over pairs."""
    rows = []
    for (experiment, data), methods in found.items():
        own = [values for key, values in methods.items() if key[0] == one]
        if experiment != "main" or not own:
            continue
        for key, values in methods.items():
            if key[0] != one:
                item = {"method": one, "other": key[0], "set": data}
                for name, place in (("accuracy", 0), ("margin", 1)):
                    gap, low, high = difference(own[0][place], values[place])
                    item |= {f"{name}_difference": gap, f"{name}_low": low, f"{name}_high": high}
                rows.append(item)
    return pl.DataFrame(rows).sort("set", "other")


def trivial_table(pairs: pl.DataFrame, sets: list[str], ids: dict[str, list[str]]) -> pl.DataFrame:
    """Rules that read nothing: accuracy on the test pairs (a tie is half right), with Wilson's interval of the rounded count."""
    rules = {
        "fewer words": lambda text: -len(text.split()),
        "more words": lambda text: len(text.split()),
        "fewer characters": lambda text: -len(text),
        "no 'not'": lambda text: -(" not " in f" {text} " or "n't" in text),
    }
    rows = []
    for data in sets:
        part = pairs.filter((pl.col("set") == data) & pl.col("id").is_in(ids[data]))
        for name, score in rules.items():
            marks = [
                (score(chosen) > score(rejected)) + 0.5 * (score(chosen) == score(rejected))
                for chosen, rejected in part.select("chosen", "rejected").iter_rows()
            ]
            low, high = wilson(round(sum(marks)), len(marks))
            rows.append({"set": data, "rule": name, "n": len(marks), "accuracy": float(np.mean(marks)), "low": low, "high": high})
        rows.append({"set": data, "rule": "coin", "n": len(part), "accuracy": 0.5, "low": 0.5, "high": 0.5})
    return (
        pl.DataFrame(rows)
        .with_columns(low=pl.min_horizontal("low", "accuracy"), high=pl.max_horizontal("high", "accuracy"))
        .sort("set", "rule")
    )


def kinds_table(pairs: pl.DataFrame, runs: pl.DataFrame, data: pl.DataFrame) -> pl.DataFrame:
    """Accuracy by what was changed in a constructed pair: method, kind, n, accuracy (means over seeds)."""
    named = runs.select("run", "method").vstack(pl.DataFrame({"run": [UNTRAINED, BASE], "method": [UNTRAINED, BASE]}))
    joined = pairs.join(named, on="run").join(data.select("id", "kind"), on="id").drop_nulls("kind")
    return joined.group_by("method", "kind").agg(n=pl.col("id").n_unique(), accuracy=pl.col("right").mean()).sort("method", "kind")


def result_rows(
    table: pl.DataFrame, trivial: pl.DataFrame, picked: dict[str, pl.DataFrame], profile: str, members: pl.DataFrame, model: str
) -> list[dict]:
    """Rows of `results`."""
    out = []
    experiments = {}
    for experiment, name in members.select("experiment", "run").iter_rows():
        experiments.setdefault(name, experiment)

    def add(experiment: str, data: str, method: str, metric: str, value: float, ci=(None, None), n=None, seed=0) -> None:
        out.append(row(SYSTEM, profile, experiment, data, model, method, metric, value, ci=ci, n=n, seed=seed))

    for r in table.iter_rows(named=True):
        experiment = experiments.get(r["run"], "main")
        method = r["run"].removesuffix(f"_seed{r['seed']}").replace(f"_seed{r['seed']}_", "_") if r["seed"] is not None else r["run"]
        seed = r["seed"] or 0
        add(experiment, r["set"], method, "preference_accuracy", r["accuracy"], (r["low"], r["high"]), r["n"], seed)
        add(experiment, r["set"], method, "preference_margin", r["margin"], n=r["n"], seed=seed)
        add(experiment, r["set"], method, "chosen_nll", r["nll"], n=r["n"], seed=seed)
        if r["kl"] is not None:
            add(experiment, r["set"], method, "kl_to_reference", max(r["kl"], 0.0), seed=seed)
    for r in trivial.iter_rows(named=True):
        add("main", r["set"], r["rule"], "preference_accuracy", r["accuracy"], (r["low"], r["high"]), r["n"])
    for r in picked["selection"].iter_rows(named=True):
        if r["hits"] is not None:
            where = f"{r['selector']}, {r['side']}, {r['share']:g}"
            add("selection", r["set"], where, "selection_hit", r["hits"], (r["hits_low"], r["hits_high"]), r["pairs"])
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
    trained = ROOT / "models" / "sepo_policies" / profile
    names = ("runs", "experiments", "curves", "measured", "divergence")
    raw = {name: pl.read_parquet(trained / f"{name}.parquet") for name in names}
    said = trained / "answers.parquet"
    answers = (
        pl.read_parquet(said)
        if said.exists()
        else pl.DataFrame(schema={"run": pl.String, "id": pl.String, "answer": pl.String, "tokens": pl.Int64})
    )
    data = pl.read_parquet(ROOT / "data" / "preference_pairs" / profile / "pairs.parquet")
    scored = pl.read_parquet(ROOT / "data" / "token_scores" / profile / "scores.parquet")
    pairs = per_pair(raw["measured"])
    runs = raw["runs"]
    asked = {e.name: e.measured for e in params.train.experiments}
    sets = list(dict.fromkeys(name for group in asked.values() for name in group))
    found = by_method(pairs, runs, raw["experiments"], asked)
    counts = (
        compared(runs, raw["experiments"])
        .group_by("experiment", *KEY)
        .agg(
            seeds=pl.len().cast(pl.Int64),
            steps=pl.col("steps").max(),
            relative_cost=pl.col("relative_cost").mean(),
            tokens_used=pl.col("tokens_used").mean(),
        )
    )
    ids = {name: pairs.filter((pl.col("run") == UNTRAINED) & (pl.col("set") == name))["id"].to_list() for name in sets}
    picked = tokens.tables(scored, data, params, ROOT / "models" / params.train.model / "base" / "tokenizer.json")
    t = {
        "policies": runs_table(pairs, runs, raw["divergence"], answers),
        "summary": summary_table(found, pairs, counts),
        "versus": versus(found, "sepo"),
        "trivial": trivial_table(data, sets, ids),
        "kinds": kinds_table(pairs, runs, data),
        "experiments": raw["experiments"],
        "answers": answers,
        "judged": verdicts(answers, data, params, profile),
        "curves": raw["curves"].select("run", "step", "loss", "lr"),
        **picked,
    }
    keys = {
        "policies": ["set", "run"],
        "summary": ["experiment", "set", *KEY],
        "versus": ["set", "other"],
        "trivial": ["set", "rule"],
        "kinds": ["method", "kind"],
        "experiments": ["experiment", "run"],
        "answers": ["run", "id"],
        "judged": ["run", "id"],
        "curves": ["run", "step"],
        "selection": ["set", "selector", "side", "share"],
        "reward_share": ["oracle", "set", "side", "tokens"],
        "overlap": ["set", "side", "one", "other"],
        "tokens": ["id", "side", "position"],
    }
    rows = result_rows(t["policies"], t["trivial"], picked, profile, raw["experiments"], params.train.model)
    for r in judge.win_rates(t["judged"]):
        rows.append(row(SYSTEM, profile, "judge", sets[0], params.train.model, r["run"], "win_rate", r["value"], ci=r["ci"], n=r["n"]))
    write_results(rows, SYSTEM, profile)
    for name, key in keys.items():
        write_table(t[name], SYSTEM, profile, name, key)
    for name, drawn in figures.draw(t).items():
        write_json(drawn, folder(SYSTEM, profile) / "plots" / f"{name}.json")
    described = [describe_dataset(ROOT / "data" / "preference_pairs" / profile / "pairs.parquet", "preference_pairs", profile)]
    described += [describe_dataset(ROOT / "data" / "token_scores" / profile / "scores.parquet", "token_scores", profile)]
    models = [describe_model(ROOT / "models" / name / profile, name, profile) for name in ("sepo_oracle", "sepo_policies")]
    write_descriptions(SYSTEM, profile, described, models)
    oracle, policies = (read_json(ROOT / "models" / name / f"{profile}.run.json") for name in ("sepo_oracle", "sepo_policies"))
    facts = training_facts([*oracle["runs"], *policies["runs"]]) | {"seconds": round(oracle["seconds"] + policies["seconds"], 1)}
    facts["peak_memory_mb"] = max(oracle["peak_memory_mb"], policies["peak_memory_mb"])
    write_run(SYSTEM, profile, facts | {"oracles": oracle["runs"], "policies": policies["runs"]})
    shutil.rmtree(judge_folder(profile), ignore_errors=True)


if __name__ == "__main__":
    run(main)
