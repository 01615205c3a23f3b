"""Tables of scores from the synthetic tables: utility, privacy, likelihoods, likeness, and what sampling cost. Runs no model.

``method`` is a generator, ``real`` the training rows themselves, ``majority`` no classifier at all. The release "holdout rows" is half of
the holdout; the other half are its non-members, so that it is compared with people who are in neither.
"""

from __future__ import annotations

import json

import numpy as np
import polars as pl

from catalog.report.results import wilson
from stages.harmonic import fidelity, privacy, utility
from stages.harmonic.distances import coded_together, gower
from stages.harmonic.schema import HOLDOUT, Source, half
from stages.harmonic.serialise import row_text, rows_of
from stages.harmonic.settings import Evaluate, Table

SMALL_GRIDS = {
    "lr": {"C": [0.01, 1, 100]},
    "svm": {"C": [1], "kernel": ["linear", "rbf"]},
    "rf": {"n_estimators": [50], "max_depth": [None, 10], "min_samples_split": [2, 10]},
    "xgb": {"n_estimators": [50], "learning_rate": [0.05, 0.1], "max_depth": [3, 7]},
}


def utilities(
    made: Source, synthetic: pl.DataFrame, p: Evaluate, name: str
) -> tuple[pl.DataFrame, dict[tuple[str, str, int], utility.Utility]]:
    """table, method, seed, protocol, classifier and metrics; and what they are made of by (protocol, method, seed)."""
    train, test, schema = made.part("train"), made.part("test"), made.schema
    found: dict[tuple[str, str, int], utility.Utility] = {("strict", "majority", 0): utility.majority(train, test, schema)}
    found["strict", "real", 0] = utility.strict(train, train, test, schema)
    for (method, seed), part in synthetic.group_by("method", "seed", maintain_order=True):
        found["strict", method, seed] = utility.strict(train, part, test, schema)
    if schema.task == "classification":
        grids = utility.PAPER_GRIDS if p.paper_grid == "whole" else SMALL_GRIDS
        for method in p.paper_methods:
            part = train if method == "real" else synthetic.filter((pl.col("method") == method) & (pl.col("seed") == p.report_seed))
            if len(part):
                found["paper", method, 0] = utility.paper(part, test, schema, grids=grids, piece=p.paper_rows)
    rows = []
    for (protocol, method, seed), scores in found.items():
        for row in scores.rows:
            row = {"table": name, "method": method, "seed": seed, "protocol": protocol} | row
            row["parameters"] = json.dumps(row["parameters"], sort_keys=True) if row.get("parameters") else None
            rows.append(row)
    return pl.DataFrame(rows, infer_schema_length=None), found


def privacies(made: Source, synthetic: pl.DataFrame, declared: Table, p: Evaluate, name: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Privacy scores of every release, and the distances of each row of the reported ones."""
    train, holdout, schema = made.part("train"), made.part("holdout"), made.schema
    rows, distances = [], []
    for (method, seed), part in synthetic.group_by("method", "seed", maintain_order=True):
        others = half(holdout)[1] if method == HOLDOUT else holdout
        equal = train.head(len(others)), others.head(len(train))
        near = privacy.dcr(part, *equal, schema)
        whole = privacy.dcr(part, train, others, schema)
        members, strangers = (privacy.distance_scores(frame, part, schema) for frame in (train, others))
        low, high = privacy.auc_interval(members, strangers)
        row = {
            "table": name, "method": method, "seed": seed, "n": len(part),
            "dcr_train": whole["syn_train_median"], "dcr_train_p05": whole["syn_train_p05"],
            "dcr_holdout": near["syn_holdout_median"], "dcr_holdout_p05": near["syn_holdout_p05"],
            "yardstick": whole["holdout_train_median"], "yardstick_p05": whole["holdout_train_p05"],
            "closer_to_train": near["closer_to_train"], "ties": near["ties"],
            "copy_rate": whole["copy_rate"], "nndr": whole["nndr_median"],
            "nrs": privacy.nrs(part, train, schema)["nrs"],
            "auc": privacy.membership_auc(members, strangers), "auc_low": low, "auc_high": high,
            "tpr_at_1": privacy.tpr_at_fpr(members, strangers),
        }  # fmt: skip
        ci = wilson(round(near["closer_to_train"] * near["n"]), near["n"])
        row |= {"closer_low": ci[0], "closer_high": ci[1]}
        row |= dict.fromkeys(("dcr_paper", "levatt_auc", "levatt_low", "levatt_high", "disclosed", "disclosed_baseline"))
        if seed == p.report_seed:
            row |= _slow(part, train, others, made, declared)
            distances.append(
                part.select("method", "number").with_columns(
                    pl.lit(name).alias("table"),
                    to_train=pl.Series(whole["rows"]["syn_train"]),
                    to_holdout=pl.Series(whole["rows"]["syn_holdout"]),
                )
            )
        rows.append(row | _prompts(part, train, made))
    return pl.DataFrame(rows, infer_schema_length=None), pl.concat(distances)


def _slow(part: pl.DataFrame, train: pl.DataFrame, others: pl.DataFrame, made: Source, declared: Table) -> dict:
    """Scores that are measured on one release of each method: the released form of DCR, edit distances, disclosure."""
    schema = made.schema
    texts = [[row_text(row, schema) for row in rows_of(frame, schema)] for frame in (train, others, part)]
    members, strangers = (privacy.levatt(these, texts[2]) for these in texts[:2])
    low, high = privacy.auc_interval(members, strangers)
    row = {"levatt_auc": privacy.membership_auc(members, strangers), "levatt_low": low, "levatt_high": high}
    unique = part.select(schema.names).unique(keep="none")
    row["dcr_paper"] = privacy.dcr_paper(part.select(schema.names), train)["dcr"] if len(unique) > 1 else None
    if declared.known and not schema[declared.sensitive].numeric:
        told = privacy.attribute_disclosure(part, train, others, schema, declared.sensitive, list(declared.known))
        row |= {"disclosed": told["train_share"], "disclosed_baseline": told["holdout_share"]}
    return row


def _prompts(part: pl.DataFrame, train: pl.DataFrame, made: Source) -> dict:
    """Distance of sampled rows to the rows their own prompts showed, beside that to as many rows that other prompts showed."""
    shown = part["prompt_rows"].to_list()
    if not shown or not shown[0]:
        return {"prompt_distance": None, "other_distance": None, "prompt_copies": None}
    place = {number: i for i, number in enumerate(train["id"])}
    syn, real = coded_together([part, train], made.schema)
    whole = gower(syn, real, made.schema)
    own = np.array([whole[i, [place[n] for n in ids]].min() for i, ids in enumerate(shown)])
    turned = [*shown[1:], shown[0]]  # the prompt of the next row
    other = np.array([whole[i, [place[n] for n in ids]].min() for i, ids in enumerate(turned)])
    return {"prompt_distance": float(np.median(own)), "other_distance": float(np.median(other)), "prompt_copies": float((own == 0).mean())}


def leakage(likely: pl.DataFrame) -> pl.DataFrame:
    """DLT of each generator and form: perplexities, the paper's difference, the gap with its interval, the membership attack by row."""
    rows = []
    for (table, generator, form), part in likely.group_by("table", "generator", "form", maintain_order=True):
        by = {name: part.filter(pl.col("part") == name) for name in ("train", "holdout", "synthetic")}
        token = {name: (frame["nll"] / frame["tokens"]).to_numpy() for name, frame in by.items()}
        base = {name: (by[name]["base_nll"] / by[name]["tokens"]).to_numpy() for name in ("train", "holdout")}
        with_syn = len(token["synthetic"]) > 0
        found = privacy.dlt(token["train"], token["holdout"], token["synthetic"] if with_syn else token["holdout"])
        if not with_syn:
            found |= dict.fromkeys(("ppl_syn", "nll_syn", "dlt_paper", "dlt_paper_base2"))
        # That a row is improbable to any model says nothing of membership: the score is what fine-tuning gained on it. In the released
        # form, which knows no other model, it is the likelihood itself.
        known = form == "strict"
        gain = {name: (base[name] if known else 0) - token[name] for name in ("train", "holdout")}
        low, high = privacy.auc_interval(gain["train"], gain["holdout"])
        plain = privacy.membership_auc(-token["train"], -token["holdout"])
        rows.append(
            {"table": table, "generator": generator, "form": form, "n": len(token["train"])}
            | found
            | {f"base_nll_{name}": float(base[name].mean()) if known else None for name in ("train", "holdout")}
            | {
                "auc": privacy.membership_auc(gain["train"], gain["holdout"]),
                "auc_low": low,
                "auc_high": high,
                "auc_plain": plain,
                "tpr_at_1": privacy.tpr_at_fpr(gain["train"], gain["holdout"]),
            }  # fmt: skip
        )
    return pl.DataFrame(rows, infer_schema_length=None)


def likeness(made: Source, synthetic: pl.DataFrame, declared: Table, p: Evaluate, name: str) -> pl.DataFrame:
    """sdmetrics' scores of the reported releases."""
    train, schema = made.part("train"), made.schema
    rows = []
    for (method, seed), part in synthetic.filter(pl.col("seed") == p.report_seed).group_by("method", "seed", maintain_order=True):
        part = part.select(schema.names)
        like, valid = fidelity.quality(train, part, schema), fidelity.diagnostic(train, part, schema)
        told = fidelity.detection(train, part, schema)
        row = {"table": name, "method": method, "seed": seed, "column_shapes": like["column_shapes"], "pair_trends": like["pair_trends"]}
        row |= {"quality": like["overall"], "validity": valid["validity"], "detection_auc": told["auc"], "disclosure_protection": None}
        if declared.known and not schema[declared.sensitive].numeric:
            row["disclosure_protection"] = fidelity.disclosure(train, part, schema, list(declared.known), [declared.sensitive])["score"]
        rows.append(row)
    return pl.DataFrame(rows, infer_schema_length=None)


def llm_accuracy(read: pl.DataFrame) -> pl.DataFrame:
    """LLE: share of right answers of each reading with Wilson's interval; a missing answer counts as wrong."""
    rows = []
    for (table, method), part in read.group_by("table", "method", maintain_order=True):
        for reading in ("strict", "paper", "word", "majority"):
            right, n = int((part[reading] == part["gold"]).fill_null(False).sum()), len(part)
            low, high = wilson(right, n)
            rows.append(
                {
                    "table": table,
                    "method": method,
                    "reading": reading,
                    "accuracy": right / n,
                    "low": low,
                    "high": high,
                    "n": n,
                    "missing": part[reading].null_count() / n,
                }  # fmt: skip
            )
    return pl.DataFrame(rows)


def published(made: Source, synthetic: pl.DataFrame, p: Evaluate, name: str, real: tuple[str, ...]) -> pl.DataFrame:
    """Synthetic rows with where they come from; real rows are left out."""
    part = synthetic.filter((pl.col("seed") == p.report_seed) & ~pl.col("method").is_in(list(real)))
    rows = [row_text(row, made.schema) for row in rows_of(part, made.schema)]
    return part.select("method", "seed", "number", "prompt_rows").with_columns(pl.lit(name).alias("table"), row=pl.Series(rows))
