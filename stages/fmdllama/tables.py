"""The tables `predictions`, `answers` and `scores`: what every method says of every test item, and how good that is.

`signals` is what scores and contrasts are both taken from: for each method, statistic and test item a part and a whole, whose sums over
items make the statistic. An item that a method was not asked about counts in neither.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import polars as pl

from catalog.base.errors import CatalogError
from stages.fmdllama import clusters, rivals, scores
from stages.fmdllama.prompts import LABELS

UNTUNED, FEW_SHOT = "untuned", "few-shot"  # methods of stage fmdllama_measure beside the variants
GROUPS = {  # kinds of claims by what has to be compared
    "signs": ("direction", "sign", "compare-by-sign"),
    "numbers": ("threshold", "level", "compare-by-number", "extreme"),
    "others": ("volatility", "streak", "drawdown"),
}
KEY = ("task", "setting", "method", "model", "decoding")
COLUMNS = ("task", "id", "setting", "method", "model", "decoding", "role", "label", "gold", "kind", "polarity", "status")
WITH_INTERVAL = ("accuracy", "unreadable", "nei_rest", "true_false", "rouge1", "challenge")
ALONE = ("rouge2", "rougeL", "bertscore", "empty", "words")
Pair = tuple[np.ndarray, np.ndarray]  # part and whole, (test items of the task,) each
ROLES = {rivals.READER: "reader", rivals.MAJORITY: "trivial", rivals.OVERLAP: "topic", **dict.fromkeys(rivals.CLASSIFIERS, "classifier")}


class Method(NamedTuple):
    """A row of `KEY` and its role."""

    task: str
    setting: str
    method: str
    model: str | None
    decoding: str
    role: str


def check_main(main: Mapping[str, str | None], variants: pl.DataFrame) -> None:
    """Raise a CatalogError unless ``main`` names a trained variant, or None, for each setting and for the task of notes."""
    known, wanted = variants["variant"].to_list(), ("retrieved", "full", "article")
    if set(main) != set(wanted):
        raise CatalogError(f"evaluate.main of fmdllama has the keys {', '.join(main) or 'none'}; they must be {', '.join(wanted)}.")
    if absent := [name for name in main.values() if name is not None and name not in known]:
        raise CatalogError(f"evaluate.main of fmdllama names the variant {absent[0]}; those trained are {', '.join(known)}.")


def predictions(
    items: pl.DataFrame, labelled: pl.DataFrame, likelihoods: pl.DataFrame, answers: pl.DataFrame, variants: pl.DataFrame, main: Mapping
) -> pl.DataFrame:
    """All labels of test items, the table `predictions`: the columns of `COLUMNS`.

    A note has no sentences to be retrieved: it was asked once a setting, and the first answer is kept, under ``full``.
    """
    model, status = pl.lit(None, pl.String).alias("model"), pl.lit(None, pl.String).alias("status")
    columns = ["task", "id", "setting", "method", "model", "decoding", "label", "status"]
    parts = [
        labelled.with_columns(model, status, decoding=pl.lit("none")).select(columns),
        likelihoods.with_columns(status, decoding=pl.lit("likelihood")).select(columns),
        answers.with_columns(decoding=pl.lit("written")).select(columns),
    ]
    found = pl.concat(parts).with_columns(setting=pl.when(task="article").then(pl.lit("full")).otherwise("setting"))
    found = found.unique(["id", *KEY], keep="first", maintain_order=True)
    test = items.filter(split="test").select("task", "id", "kind", "polarity", gold="label")
    found = found.join(test, on=["task", "id"], how="left", maintain_order="left")
    if len(unknown := found.filter(pl.col("gold").is_null())):
        raise CatalogError(f"The answers are to {unknown['id'][0]}, which is no test item of fmdid; run stage fmdllama_measure again.")
    models = dict(variants.select("variant", "model").iter_rows())
    roles = [role(*row, models, main) for row in found.select(KEY[:4]).iter_rows()]
    return found.with_columns(role=pl.Series(roles, dtype=pl.String)).select(COLUMNS)


def role(task: str, setting: str, method: str, model: str | None, models: Mapping[str, str], main: Mapping[str, str | None]) -> str:
    """What a method is to the claims: ``main``, its model ``untuned`` or ``few-shot``, another one, or what needs no language model."""
    if model is None:
        return ROLES.get(method, "copy")
    asked = main["article" if task == "article" else setting]
    if method == asked:
        return "main"
    return method if method in (UNTUNED, FEW_SHOT) and asked is not None and model == models[asked] else "other"


def explanations(items: pl.DataFrame, answers: pl.DataFrame, copies: pl.DataFrame) -> pl.DataFrame:
    """Scores of every explanation of a test claim: `KEY`, role-less, id, text, gold text, ROUGE, BERTScore, whether empty, words."""
    columns = ["task", "id", "setting", "method", "model", "decoding", "explanation", "bertscore"]
    blank = {"model": pl.lit(None, pl.String), "decoding": pl.lit("none"), "bertscore": pl.lit(None, pl.Float64)}
    asked = answers.filter(task="claim").with_columns(decoding=pl.lit("written"))
    found = pl.concat([asked.select(columns), copies.with_columns(**blank).select(columns)])
    gold = items.filter(task="claim").select("id", gold_explanation="explanation")
    found = found.join(gold, on="id", how="left", maintain_order="left").with_columns(pl.col("explanation").fill_null(""))
    rouge = scores.rouge(found["gold_explanation"].to_list(), found["explanation"].to_list())
    values = {name: [None if score is None else score[name] for score in rouge] for name in scores.ROUGE}
    return found.with_columns(
        **{name: pl.Series(value, dtype=pl.Float64) for name, value in values.items()},
        empty=(pl.col("explanation").str.strip_chars() == "").cast(pl.Float64),
        words=pl.col("explanation").str.count_matches(r"\S+").cast(pl.Float64),
    )


class Items(NamedTuple):
    """Test items of one task, in order."""

    place: dict[str, int]
    gold: np.ndarray
    kind: np.ndarray
    context: np.ndarray  # number of its context, from 0
    kinds: dict[str, np.ndarray]  # `all`, groups and kinds -> which items


def test_items(items: pl.DataFrame) -> dict[str, Items]:
    """The test items of each task that has any."""
    found = {}
    for (task,), part in items.filter(split="test").group_by("task", maintain_order=True):
        kind = part["kind"].to_numpy()
        groups = GROUPS if task == "claim" else {}
        kinds = {"all": np.ones(len(part), bool)} | {name: np.isin(kind, members) for name, members in groups.items()}
        kinds |= {name: kind == name for name in dict.fromkeys(kind.tolist())}
        context = np.unique(part["context_id"].to_numpy(), return_inverse=True)[1]
        place = {key: number for number, key in enumerate(part["id"])}
        kinds = {name: mask for name, mask in kinds.items() if mask.any()}
        found[task] = Items(place, part["label"].to_numpy().astype(object), kind, context, kinds)
    return found


def signals(said: pl.DataFrame, explained: pl.DataFrame, tested: Mapping[str, Items]) -> tuple[dict, dict]:
    """Statistic -> (part, whole) of each method; and its labels, None where it gave none or was not asked.

    Args:
        said: `predictions`. explained: `explanations`.
    """
    found: dict[Method, dict[str, Pair]] = {}
    labels: dict[Method, np.ndarray] = {}
    roles = {}
    for (*key, own), part in said.group_by(*KEY, "role", maintain_order=True):
        method, test = Method(*key, own), tested[key[0]]
        where = [test.place[name] for name in part["id"]]
        label = np.full(len(test.gold), None, object)
        label[where] = part["label"].to_list()
        asked = np.zeros(len(label))
        asked[where] = 1
        found[method] = of_labels(test.gold, label, asked, key[0])
        labels[method], roles[tuple(key)] = label, own
    for key, part in explained.group_by(*KEY, maintain_order=True):
        method, test = Method(*key, roles.get(key, "copy")), tested[key[0]]
        where = [test.place[name] for name in part["id"]]
        own = found.setdefault(method, {})
        for name in (*scores.ROUGE, "bertscore", "empty", "words"):
            value, whole = np.zeros(len(test.gold)), np.zeros(len(test.gold))
            value[where] = part[name].fill_null(0.0).to_numpy()
            whole[where] = part[name].is_not_null().cast(pl.Float64).to_numpy()
            own[name] = (value, whole)
        if "accuracy" in own:
            whole = own["rouge1"][1] * own["accuracy"][1]
            own["challenge"] = ((own["rouge1"][0] + own["accuracy"][0]) / 2 * whole, whole)
    return found, labels


def of_labels(gold: np.ndarray, label: np.ndarray, asked: np.ndarray, task: str) -> dict[str, Pair]:
    """Part and whole of the statistics of labels; an answer without a label is wrong in each but `true_false`, which it is not in."""
    given = np.array([name is not None for name in label], dtype=np.float64)
    right = np.array([one == other for one, other in zip(gold, label)], dtype=np.float64)
    found = {"accuracy": (right, asked), "unreadable": (asked * (1 - given), asked)}
    if task == "claim":
        found["nei_rest"] = (given * ((gold == "NEI") == (label == "NEI")), asked)
        either = np.isin(gold, ("True", "False")) & np.array([name in ("True", "False") for name in label])
        found["true_false"] = (right * either, either.astype(np.float64))
    return found


def score_table(
    found: Mapping[Method, Mapping[str, Pair]], labels: Mapping[Method, np.ndarray], tested: Mapping[str, Items]
) -> pl.DataFrame:
    """The table `scores`: every method on all test items of its task, on groups of kinds, and on each kind."""
    rows = []
    for method, own in found.items():
        test = tested[method.task]
        for kind, mask in test.kinds.items():
            whole = next(iter(own.values()))[1] * mask
            if not whole.any():
                continue
            row = {**method._asdict(), "kind": kind, "n": int(whole.sum()), "contexts": len(np.unique(test.context[whole > 0]))}
            row |= statistics(own, test.context, mask)
            if method in labels:
                row |= macro(test.gold, labels[method], test.context, whole > 0, LABELS[method.task])
            rows.append(row)
    schema = {**dict.fromkeys((*KEY, "role", "kind"), pl.String), "n": pl.Int64, "contexts": pl.Int64, "true_false_n": pl.Int64}
    numbers = [name + end for name in (*WITH_INTERVAL, "macro_f1") for end in ("", "_low", "_high")] + [*ALONE, "macro_f1_union"]
    return pl.DataFrame([dict.fromkeys([*schema, *numbers]) | row for row in rows], schema=schema | dict.fromkeys(numbers, pl.Float64))


def statistics(own: Mapping[str, Pair], context: np.ndarray, mask: np.ndarray) -> dict[str, float | int]:
    """All statistics of a method on some items."""
    row: dict[str, float | int] = {}
    for name, (part, whole) in own.items():
        total = float((whole * mask).sum())
        if total == 0:
            continue
        row[name] = float((part * mask).sum()) / total
        if name in WITH_INTERVAL:
            row |= dict(zip((name, f"{name}_low", f"{name}_high"), clusters.ratio(context, part * mask, whole * mask)))
        if name == "true_false":
            row["true_false_n"] = int((whole * mask).sum())
    return row


def macro(gold: np.ndarray, label: np.ndarray, context: np.ndarray, asked: np.ndarray, names: Sequence[str]) -> dict[str, float]:
    """Macro-F1 over the gold labels with its interval, and over all classes that occur."""
    own = np.unique(context[asked], return_inverse=True)[1]
    value = clusters.macro_f1(own, gold[asked], label[asked], list(names))
    union = scores.classification(gold[asked].tolist(), label[asked].tolist(), names)["macro_f1_union"]
    return dict(zip(("macro_f1", "macro_f1_low", "macro_f1_high"), value)) | {"macro_f1_union": union}


def answer_table(said: pl.DataFrame, answers: pl.DataFrame, explained: pl.DataFrame) -> pl.DataFrame:
    """The table `answers`: every decoded answer, as it was written and as it was read, with its reference and its scores."""
    own = [*KEY, "id"]
    texts = answers.select("task", "setting", "method", "model", "id", "text").with_columns(decoding=pl.lit("written"))
    asked = said.filter(decoding="written").select(*own, "role", "status", "label", "gold")
    scored = explained.select(*own, "explanation", "gold_explanation", *scores.ROUGE, "bertscore")
    return asked.join(texts, on=own, how="left", maintain_order="left").join(scored, on=own, how="left", maintain_order="left")
