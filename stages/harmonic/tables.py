"""The own tables of the evaluation: utility, privacy, likelihoods, likeness, what sampling cost, what was trained on. Runs no model.

``method`` is a generator, ``real`` the training rows themselves, ``majority`` no classifier at all. The release "holdout rows" is half of
the holdout; the other half are its non-members, so that it is compared with people who are in neither.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from catalog.report.results import wilson
from stages.harmonic import fidelity, privacy, utility
from stages.harmonic.distances import coded_together, gower
from stages.harmonic.schema import HOLDOUT, Source, half
from stages.harmonic.serialise import row_text, rows_of
from stages.harmonic.settings import Evaluate, Sampler, Table
from stages.harmonic.validate import parse

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


@dataclass(frozen=True)
class Attacks:
    """What single rows say of privacy, by (method, release): the items that `contrasts` resamples."""

    people: dict[tuple[str, int], tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)  # scores of train and of holdout rows
    prompts: dict[tuple[str, int], tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)  # distances to the own and the next prompt


def privacies(made: Source, synthetic: pl.DataFrame, declared: Table, p: Evaluate, name: str) -> tuple[pl.DataFrame, pl.DataFrame, Attacks]:
    """Privacy scores of every release, the distances of each row of the reported ones, and the scores of single rows."""
    train, holdout, schema = made.part("train"), made.part("holdout"), made.schema
    rows, distances, attacks = [], [], Attacks()
    for (method, seed), part in synthetic.group_by("method", "seed", maintain_order=True):
        others = half(holdout)[1] if method == HOLDOUT else holdout
        equal = train.head(len(others)), others.head(len(train))
        near = privacy.dcr(part, *equal, schema)
        whole = privacy.dcr(part, train, others, schema)
        members, strangers = (privacy.distance_scores(frame, part, schema) for frame in (train, others))
        low, high = privacy.auc_interval(members, strangers)
        attacks.people[method, seed] = members, strangers
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
        row |= dict.fromkeys(("prompt_distance", "other_distance", "prompt_copies"))
        if seed == p.report_seed:
            row |= _slow(part, train, others, made, declared)
            distances.append(
                part.select("method", "number").with_columns(
                    pl.lit(name).alias("table"),
                    to_train=pl.Series(whole["rows"]["syn_train"]),
                    to_holdout=pl.Series(whole["rows"]["syn_holdout"]),
                )
            )
        own, other = _prompts(part, train, made)
        if own is not None:
            attacks.prompts[method, seed] = own, other
            row |= {"prompt_distance": float(np.median(own)), "other_distance": float(np.median(other))}
            row["prompt_copies"] = float((own == 0).mean())
        rows.append(row)
    return pl.DataFrame(rows, infer_schema_length=None), pl.concat(distances), attacks


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


def _prompts(part: pl.DataFrame, train: pl.DataFrame, made: Source) -> tuple[np.ndarray, np.ndarray] | tuple[None, None]:
    """Distance of each sampled row to the rows its own prompt showed, and to those the next row's prompt showed; None without prompts."""
    shown = part["prompt_rows"].to_list()
    if not shown or not shown[0]:
        return None, None
    place = {number: i for i, number in enumerate(train["id"])}
    syn, real = coded_together([part, train], made.schema)
    whole = gower(syn, real, made.schema)
    own = np.array([whole[i, [place[n] for n in ids]].min() for i, ids in enumerate(shown)])
    turned = [*shown[1:], shown[0]]  # the prompt of the next row
    other = np.array([whole[i, [place[n] for n in ids]].min() for i, ids in enumerate(turned)])
    return own, other


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


def fitting(made: Source, synthetic: pl.DataFrame, name: str) -> pl.DataFrame:
    """table, method, seed, fitting: rows of each LLM's release that are rows of the table by the check for free text, each cell as it is.

    The sampler's grammar and this check are two programs: that rows are valid by construction is looked at and not assumed.
    """
    rows = []
    releases = synthetic.filter(pl.col("prompt_rows").is_not_null()).group_by("method", "seed", maintain_order=True)
    for (method, seed), part in releases:
        cells = rows_of(part, made.schema)
        fit = sum(parse(row_text(row, made.schema), made.schema)[0] == row for row in cells)
        rows.append({"table": name, "method": method, "seed": seed, "fitting": fit})
    return pl.DataFrame(rows, schema={"table": pl.String, "method": pl.String, "seed": pl.Int64, "fitting": pl.Int64})


def sampled(counts: pl.DataFrame, fit: pl.DataFrame, samplers: tuple[Sampler, ...]) -> pl.DataFrame:
    """What sampling cost, with how each sampler was set and how many of its rows fit the table."""
    kinds = [{"table": s.table, "method": s.method, "decoding": s.decoding, "prompts": s.prompts} for s in samplers]
    return counts.join(pl.DataFrame(kinds), on=["table", "method"], how="left").join(fit, on=["table", "method", "seed"], how="left")


def instructions(benches: dict[str, Source], examples: pl.DataFrame) -> pl.DataFrame:
    """table, generator: train rows that became targets or were dropped, neighbours' share of the label, tokens."""
    rows = []
    for r in examples.iter_rows(named=True):
        near = benches[r["table"]].near
        rows.append(
            {
                "table": r["table"],
                "generator": r["generator"],
                "train_rows": len(near),
                "kept_by_filter": int(near["kept"].sum()),
                "same_label": float(near["same_label"].mean()),
                "examples": r["examples"],
                "tokens": r["tokens"],
                "answer_tokens": r["answer_tokens"],
            }  # fmt: skip
        )
    return pl.DataFrame(rows)


def counted(benches: dict[str, Source]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """table, split: rows, columns, missing cells; and table, split, class: rows."""
    rows, classes = [], []
    for name, made in benches.items():
        for (split,), part in made.rows.group_by("split", maintain_order=True):
            at = {"table": name, "split": split}
            if made.schema.task == "classification":
                classes += [at | {"class": label, "rows": count} for label, count in part[made.schema.target].value_counts().iter_rows()]
            missing = sum(part[column].null_count() for column in made.schema.names)
            rows.append(at | {"rows": len(part), "columns": len(made.schema.columns), "missing": missing})
    return pl.DataFrame(rows), pl.DataFrame(classes, schema=dict.fromkeys(("table", "split", "class"), pl.String) | {"rows": pl.Int64})
