"""`python -m stages.fmdllama.attempt VARIANT [name=value …]`: train a variant once and score it on the split `valid`, and write nothing.

Choices of form, number of items and rate are made so, never on the test items. `name=value` changes a field of the variant or of the
group `train` of params.yaml: ``form='reason first' contexts=80 learning_rate=0.0005``. `--limit` asks about so many contexts.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl

from catalog.base.errors import CatalogError, run
from catalog.base.params import ROOT, profile_params
from catalog.models.devices import peak_memory_mb
from catalog.models.lm import load_lm
from catalog.training.adapters import folded, lora, save_lora, saved_lora
from catalog.training.train import train
from stages.fmdllama.measure import Asked, likelihoods, of_contexts
from stages.fmdllama.method import collate, examples, weighted_loss
from stages.fmdllama.reasons import label
from stages.fmdllama.settings import Params, Train, Variant
from stages.fmdllama.tables import GROUPS, of_labels
from stages.fmdllama.train import check, chosen, explained, settings


def changed(params: Params, name: str, changes: list[str]) -> tuple[Train, Variant]:
    """The group `train` and the variant of that name, with the changes.

    Raises:
        CatalogError: no such variant or field, or a value that cannot be read.
    """
    variants = {v.name: v for v in params.train.variants}
    if name not in variants:
        raise CatalogError(f"There is no variant {name}; params.yaml has {', '.join(variants)}.")
    t, v = params.train, variants[name]
    for change in changes:
        field, _, text = change.partition("=")
        try:
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            value = text
        owner = next((owner for owner in (v, t) if field in {one.name for one in dataclasses.fields(owner)}), None)
        if owner is None:
            raise CatalogError(f"{field!r} is no field of a variant or of the group train; correct {change!r}.")
        if owner is v:
            v = dataclasses.replace(v, **{field: value})
        else:
            t = dataclasses.replace(t, **{field: value})
    return dataclasses.replace(t, variants=(v,)), v


def shares(rows: list[dict[str, Any]], items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Accuracy, NEI against the rest and True against False of answers, on all claims and on each group of kinds."""
    gold, label, kind = (np.array([row[key] for row in part], object) for part, key in ((items, "label"), (rows, "label"), (items, "kind")))
    found = []
    for group, kinds in {"all": None, **GROUPS}.items():
        mask = np.ones(len(gold)) if kinds is None else np.isin(kind, kinds).astype(float)
        parts = of_labels(gold, label, mask, "claim")
        values = {name: (parts[name][0] * mask, parts[name][1] * mask) for name in ("accuracy", "nei_rest", "true_false")}
        row = {name: float(part.sum() / whole.sum()) if whole.sum() else None for name, (part, whole) in values.items()}
        found.append({"kinds": group, "n": int(mask.sum())} | row)
    return found


def main(profile: str, name: str, changes: list[str], limit: int) -> None:
    """Print training time, loss and the shares on `valid`."""
    params = profile_params(Params, "fmdllama", profile)
    t, v = changed(params, name, changes)
    check(t)
    items = pl.read_parquet(ROOT / "data" / "fmdid" / profile / "items.parquet")
    asked = of_contexts(items.filter(task="claim", split="valid").to_dicts(), limit)
    model, tokenizer = load_lm(v.model)
    rows = chosen(v, items)
    made = examples(
        tokenizer, rows, v.setting, v.form, (t.reason_weight, t.explanation_weight), t.longest, explained(len(rows), t.explain_every)
    )
    s = settings(t, model.config.num_hidden_layers, params.seed)
    with lora(model, s) as adapted:
        found = train(adapted, made, s, loss_fn=weighted_loss, collate=collate, desc=v.name)
    print(f"{len(rows)} items, {found.info['seconds']} s, {found.info['tokens_per_second']} tokens/s, loss {found.history[-1]['loss']:.3f}")
    began = time.perf_counter()
    with TemporaryDirectory() as folder:
        save_lora(found.tensors, s, v.model, Path(folder) / "adapter")
        with saved_lora(model, Path(folder) / "adapter") as adapted, folded(adapted) as merged:
            answers = likelihoods(merged, tokenizer, Asked(v.name, v.model, v.setting), asked, v.form, params.measure, t.longest)
    print(pl.DataFrame(shares(answers, asked)))
    if v.form == "reason first":
        by_rule = [{**row, "label": label(row["reason"])} for row in answers]
        print("read off the reasons by rule:", pl.DataFrame(shares(by_rule, asked)), sep="\n")
    print(f"scored in {time.perf_counter() - began:.1f} s; at most {peak_memory_mb()} MB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="python -m stages.fmdllama.attempt", description="Train a variant once and score it on the split valid."
    )
    parser.add_argument("variant", help="of params.yaml: reasoned or labelled")
    parser.add_argument(
        "changes", nargs="*", metavar="name=value", help="a field of the variant or of the group train, such as contexts=110"
    )
    parser.add_argument("--profile", default="small")
    parser.add_argument("--limit", type=int, default=30, help="validation contexts; 0 for all (default: 30)")
    arguments = parser.parse_args()
    run(lambda _: main(arguments.profile, arguments.variant, arguments.changes, arguments.limit), [arguments.profile])
