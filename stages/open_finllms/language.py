"""Tables, results and facts of the language models: what the corpus holds, what each arm read, and perplexity before and after.

Perplexity is that of all tokens of a part, exp(-sum of log-likelihoods / sum of tokens). Intervals resample documents; two models are
compared on the same resampled documents, so that what makes a document hard for both cancels.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
import polars as pl

from catalog.base.io import read_json
from catalog.base.params import ROOT
from catalog.report.describe import describe_dataset, describe_model
from catalog.report.intervals import bootstrap
from catalog.report.results import row, training_facts

SYSTEM, CORPUS, FINLLAMA, PERPLEXITY, INSTRUCT = (
    "open_finllms",
    "finance_corpus",
    "finllama",
    "finllama_perplexity",
    "finllama_instruct",
)
BEFORE, NONE = "before", "none"
GROUPS = {"finance": ("prices", "indicators"), **{part: (part,) for part in ("prices", "indicators", "general", "everyday")}}
COUNTED = {"all": ("tokens", "logprob"), "digits": ("digits", "digits_logprob")}


def raw(profile: str) -> dict[str, pl.DataFrame]:
    """The Parquet files that the stages of this part write."""
    corpus, trained = ROOT / "data" / CORPUS / profile, ROOT / "models" / FINLLAMA / profile
    found = {name: pl.read_parquet(corpus / f"{name}.parquet") for name in ("parts", "drops")}
    found |= {name: pl.read_parquet(trained / f"{name}.parquet") for name in ("blocks", "curves")}
    found["likelihoods"] = pl.read_parquet(ROOT / "models" / PERPLEXITY / profile / "likelihoods.parquet")
    tuned = ROOT / "models" / INSTRUCT / profile
    return found | {f"instruct_{name}": pl.read_parquet(tuned / f"{name}.parquet") for name in ("items", "curves")}


def tables(found: dict[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
    """The own tables of this part by name."""
    curves = [
        found["curves"].select(pl.concat_str(pl.lit("pre-training, "), "arm").alias("run"), "step", "tokens", "loss", rate="lr"),
        found["instruct_curves"].select(pl.lit("instructions").alias("run"), "step", "tokens", "loss", rate="lr"),
    ]
    return {
        "corpus": found["parts"],
        "corpus_rules": found["drops"],
        "pretraining": found["blocks"],
        "perplexity": levels(found["likelihoods"]),
        "perplexity_changes": changes(found["likelihoods"]),
        "instructions_read": found["instruct_items"],
        "training_curves": pl.concat(curves),
    }


def sums(likelihoods: pl.DataFrame, part: str, counted: str) -> pl.DataFrame:
    """source, id, tokens and the log-likelihood under each model (a column each) of the documents of a group that have such tokens.

    All models have read the same tokens of the same documents, or the pivot is not whole and polars says so.
    """
    tokens, logprob = COUNTED[counted]
    mine = likelihoods.filter(pl.col("part").is_in(GROUPS[part]) & (pl.col(tokens) > 0))
    return mine.pivot("arm", index=["part", "source", "id", tokens], values=logprob).rename({tokens: "tokens"}).sort("part", "id")


def models(likelihoods: pl.DataFrame) -> list[str]:
    """Before and the arms, in the order in which they were scored."""
    return likelihoods["arm"].unique(maintain_order=True).to_list()


def perplexity(values: np.ndarray, axis: int = -2) -> np.ndarray:
    """``(…, documents, 2)`` of tokens and log-likelihood -> ``(…)``."""
    totals = values.sum(axis=axis)
    return np.exp(-totals[..., 1] / totals[..., 0])


def change(values: np.ndarray, axis: int = -2) -> np.ndarray:
    """``(…, documents, 3)`` of tokens and log-likelihoods of two models -> perplexity of the first over that of the second, less 1."""
    totals = values.sum(axis=axis)
    return np.expm1((totals[..., 2] - totals[..., 1]) / totals[..., 0])


def levels(likelihoods: pl.DataFrame) -> pl.DataFrame:
    """Perplexity of every model on every part, with its change from before."""
    rows = []
    for part, counted in product(GROUPS, COUNTED):
        table = sums(likelihoods, part, counted)
        for arm in models(likelihoods) if len(table) else ():
            found = {"arm": arm, "part": part, "counted": counted, "documents": len(table), "tokens": int(table["tokens"].sum())}
            found |= _measured(table.select("tokens", arm).to_numpy(), perplexity, "perplexity", "low", "high")
            pair = table.select("tokens", arm, pl.col(BEFORE).alias("other")).to_numpy()
            names = ("change", "change_low", "change_high")
            rows.append(found | (dict.fromkeys(names) if arm == BEFORE else _measured(pair, change, *names)))
    return pl.DataFrame(rows, infer_schema_length=None)


def changes(likelihoods: pl.DataFrame) -> pl.DataFrame:
    """Every two models on the same documents: the later one against each that was scored before it."""
    rows = []
    names = models(likelihoods)
    for (part, counted), (i, arm) in product(product(GROUPS, COUNTED), enumerate(names)):
        table = sums(likelihoods, part, counted)
        for other in names[:i] if len(table) else ():
            pair = table.select("tokens", arm, pl.col(other).alias("other")).to_numpy()
            found = {"arm": arm, "other": other, "part": part, "counted": counted, "documents": len(table)}
            rows.append(found | _measured(pair, change, "value", "low", "high"))
    return pl.DataFrame(rows)


def _measured(values: np.ndarray, statistic: Any, name: str, low: str, high: str) -> dict[str, float]:
    bounds = bootstrap(values.reshape(len(values), -1), lambda drawn, axis: statistic(drawn))
    return {name: float(statistic(values)), low: bounds[0], high: bounds[1]}


def results(profile: str, model: str, t: dict[str, pl.DataFrame]) -> Iterator[dict]:
    """Perplexities and their changes from before, of all tokens; everyday text is of no data set of the project."""
    for one in t["perplexity"].filter(counted="all").iter_rows(named=True):
        dataset = None if one["part"] == "everyday" else CORPUS
        name = model if one["arm"] == BEFORE else FINLLAMA
        method = "before" if one["arm"] == BEFORE else f"pre-trained, {one['arm']}"
        place = (SYSTEM, profile, "language modelling", dataset, name, method)
        where = {"split": f"held out, {one['part']}", "n": one["documents"]}
        yield row(*place, "perplexity", one["perplexity"], ci=(one["low"], one["high"]), **where)
        if one["change"] is not None:
            yield row(*place, "perplexity_change", one["change"], ci=(one["change_low"], one["change_high"]), **where)


def described(profile: str) -> tuple[list[dict], list[dict]]:
    """What the catalog shows of the corpus and of the models: for `write_descriptions`."""
    data = ROOT / "data" / CORPUS / profile / "documents.parquet"
    models = [describe_model(ROOT / "models" / name / profile, name, profile) for name in (FINLLAMA, INSTRUCT)]
    return [describe_dataset(data, CORPUS, profile)], models


def run_facts(profile: str) -> dict[str, Any]:
    """What `run.json` says of training and scoring."""
    found = [read_json(ROOT / "models" / name / f"{profile}.run.json") for name in (FINLLAMA, PERPLEXITY, INSTRUCT)]
    runs = [one for made in found for one in made.get("runs", [])]
    facts = training_facts(runs) | {"seconds": round(sum(made["seconds"] for made in found), 1)}
    return facts | {"peak_memory_mb": max(made["peak_memory_mb"] for made in found), "runs": runs}
