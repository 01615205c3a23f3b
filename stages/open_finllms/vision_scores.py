"""FinLLaVA's answers against what is right, against controls, and against answers that look at no picture, or at no word.

Comparators, besides FinLLaVA with another picture and with none:

- constant: the best answer that never changes, chosen for each kind of question in hindsight;
- words: the commonest answer to the same text in training, else to its kind;
- pixels: the answer of the training picture that is most alike, pixel by pixel, to a question of the same kind. It reads nothing.

Intervals are over pictures, whose questions share a fate. Means over kinds weigh kinds alike.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import polars as pl

from catalog.report.intervals import clustered_share
from stages.open_finllms.vision_letters import NONE, PROMPTS, letter
from stages.open_finllms.vision_prompts import OPEN
from stages.open_finllms.vision_read import picture

MODEL, SWAPPED, BLIND, CONSTANT, WORDS, PIXELS = "finllava", "another picture", "no picture", "constant", "words", "pixels"
CONDITIONS = {"image": MODEL, "swapped": SWAPPED, "no image": BLIND}
BY_EYE = ("trend", "extreme", "compare", "colour")  # what can be told without reading; the claims are about these
EVERY, EYE, READ, MEAN, BEST = "all kinds", "by eye", "others", "mean of prompts", "best prompt"
_DRAWS, _SIDE = 2000, 28
PREDICTIONS = {
    **dict.fromkeys(("method", "form", "question", "split", "image", "category", "kind", "output", "answer", "gold"), pl.String),
    "right": pl.Boolean,
}
SCORES = {
    **dict.fromkeys(("split", "form", "kind", "method", "less"), pl.String),
    **dict.fromkeys(("value", "low", "high"), pl.Float64),
    "n": pl.Int64,
    "pictures": pl.Int64,
    "chance": pl.Float64,
    "unreadable": pl.Float64,
}


# --- Answers that look at no picture, or at no word -----------------------------------------------------------------------------


def constant(questions: Sequence[dict[str, Any]]) -> dict[str, str]:
    """The best word, or the best place among the words of a question, for each kind."""
    by_kind: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for one in questions:
        by_kind[one["kind"]].append(one)
    found = {}
    for part in by_kind.values():
        word, hits = Counter(one["answer"] for one in part).most_common(1)[0]
        place, at = Counter(one["candidates"].index(one["answer"]) for one in part).most_common(1)[0]
        usual = {one["id"]: word if hits >= at else one["candidates"][min(place, len(one["candidates"]) - 1)] for one in part}
        found |= usual
    return found


def by_words(train: Sequence[dict[str, Any]], questions: Sequence[dict[str, Any]]) -> dict[str, str]:
    """The commonest answer in training to the same text, else to the kind."""
    texts: dict[str, Counter] = defaultdict(Counter)
    for one in train:
        texts[one["question"]][one["answer"]] += 1
        texts[one["kind"]][one["answer"]] += 1
    return {one["id"]: (texts.get(one["question"]) or texts.get(one["kind"]) or Counter([""])).most_common(1)[0][0] for one in questions}


def small(png: bytes) -> np.ndarray:
    """A picture as a few numbers."""
    return np.asarray(picture(png).resize((_SIDE, _SIDE)), dtype=np.float32).ravel() / 255


def nearest(train: pl.DataFrame, images: pl.DataFrame, asked: Sequence[dict], known: Sequence[dict]) -> dict[str, dict]:
    """For each question the training question of its kind whose picture is most alike."""
    vectors = {name: small(png) for name, png in pl.concat([train, images]).select("image", "png").iter_rows()}
    by_kind: dict[str, list[dict]] = defaultdict(list)
    for one in known:
        by_kind[one["kind"]].append(one)
    found = {}
    for kind, part in by_kind.items():
        there = np.stack([vectors[one["image"]] for one in part])
        for one in asked:
            if one["kind"] == kind:
                found[one["id"]] = part[int(((there - vectors[one["image"]]) ** 2).sum(1).argmin())]
    return found


# --- Predictions ----------------------------------------------------------------------------------------------------------------


def predictions(tables: dict[str, pl.DataFrame], answers: pl.DataFrame) -> pl.DataFrame:
    """Every answer of every method, open or as a letter, beside what is right."""
    questions = {one["id"]: one for one in tables["questions"].iter_rows(named=True)}
    train = [one for one in questions.values() if one["split"] == "train"]
    rows = []
    for method, form, name, output in said(answers):
        rows.append(_row(questions[name], method, form, output))
    open_ids = {row["question"] for row in rows if row["form"] == OPEN}
    openly = [questions[name] for name in sorted(open_ids)]
    by_letter = [questions[name] for name in sorted({row["question"] for row in rows if row["form"] != OPEN})]
    images = tables["images"]
    near = nearest(
        images.filter(split="train"), images.filter(pl.col("split") != "train"), [*openly, *by_letter], train
    )  # fmt: skip
    for split in sorted({one["split"] for one in openly}):
        rows += [
            _row(questions[name], CONSTANT, OPEN, word) for name, word in constant([one for one in openly if one["split"] == split]).items()
        ]
    rows += [_row(questions[name], WORDS, OPEN, word) for name, word in by_words([one for one in train if one["answer"]], openly).items()]
    rows += [_row(one, PIXELS, OPEN, near[one["id"]]["gold"] if one["id"] in near else "") for one in openly]
    usual = Counter(one["letter"] for one in by_letter).most_common(1)[0][0] if by_letter else NONE
    for form in PROMPTS:
        rows += [_row(one, CONSTANT, form, usual) for one in by_letter]
        for one in by_letter:
            alike = near[one["id"]]["gold"] if one["id"] in near else ""
            rows.append(_row(one, PIXELS, form, "ABCD"[one["options"].index(alike)] if alike in one["options"] else NONE))
    return pl.DataFrame(rows, schema=PREDICTIONS).sort("form", "method", "question")


def said(answers: pl.DataFrame) -> Iterator[tuple[str, str, str, str]]:
    """(method, form, question, output) of each row of `answers.parquet`."""
    for one in answers.iter_rows(named=True):
        yield CONDITIONS[one["condition"]], one["form"], one["question"], one["output"]


def _row(one: dict[str, Any], method: str, form: str, output: str) -> dict[str, Any]:
    answer = output if form == OPEN else letter(output, len(one["options"]))
    gold = one["answer"] if form == OPEN else one["letter"]
    same = {name: one[name] for name in ("split", "image", "category", "kind")}
    return same | {
        "method": method,
        "form": form,
        "question": one["id"],
        "output": output,
        "answer": answer,
        "gold": gold,
        "right": answer == gold,
    }


# --- Scores ---------------------------------------------------------------------------------------------------------------------


class Hits:
    """Right answers of one method on one form and split, pictures x kinds."""

    def __init__(self, frame: pl.DataFrame, pictures: list[str], kinds: list[str]) -> None:
        self.kinds = kinds
        self.right, self.asked = (np.zeros((len(pictures), len(kinds))) for _ in range(2))
        rows, columns = {name: at for at, name in enumerate(pictures)}, {name: at for at, name in enumerate(kinds)}
        for image, kind, right in frame.select("image", "kind", "right").iter_rows():
            self.asked[rows[image], columns[kind]] += 1
            self.right[rows[image], columns[kind]] += right

    def mean(self, weights: np.ndarray, kinds: Sequence[str]) -> np.ndarray:
        """Mean over kinds of the share of right answers, for each row of weights of the pictures."""
        at = [self.kinds.index(kind) for kind in kinds]
        asked = weights @ self.asked[:, at]
        shares = np.divide(weights @ self.right[:, at], asked, out=np.zeros_like(asked), where=asked > 0)
        drawn = (asked > 0).sum(-1)  # a kind of few questions may be in no picture of a resample
        return np.divide(shares.sum(-1), drawn, out=np.full(len(asked), np.nan), where=drawn > 0)


def scores(said: pl.DataFrame, questions: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Shares of right answers by kind, means over kinds, and differences from FinLLaVA's comparators on the same pictures."""
    sizes = dict(questions.select("id", pl.col("candidates").list.len()).iter_rows())
    options = dict(questions.select("id", pl.col("options").list.len()).iter_rows())
    rows: list[dict] = []
    for (split, form), part in said.group_by("split", "form", maintain_order=True):
        choices = sizes if form == OPEN else options
        part = part.with_columns(chance=pl.Series([1 / choices[name] for name in part["question"]]))
        rows += list(_of(split, form, part, seed))
    rows += list(_over_prompts(said.filter(pl.col("form") != OPEN), options, seed))
    return pl.DataFrame(rows, schema=SCORES).sort("split", "form", "kind", "method", "less", nulls_last=False)


def _groups(kinds: list[str], form: str) -> dict[str, list[str]]:
    groups = {kind: [kind] for kind in kinds} if form == OPEN else {}
    eye = [kind for kind in kinds if kind in BY_EYE]
    rest = [kind for kind in kinds if kind not in BY_EYE]
    return groups | {name: some for name, some in ((EYE, eye), (READ, rest), (EVERY, kinds)) if some}


def _of(split: str, form: str, part: pl.DataFrame, seed: int) -> Iterator[dict]:
    kinds, pictures = sorted(set(part["kind"])), sorted(set(part["image"]))
    weights = np.random.default_rng(seed).multinomial(len(pictures), np.full(len(pictures), 1 / len(pictures)), size=_DRAWS)
    methods = {name: frame for (name,), frame in part.group_by("method", maintain_order=True)}
    hits = {name: Hits(frame, pictures, kinds) for name, frame in methods.items()}
    one = np.ones((1, len(pictures)))
    for group, some in _groups(kinds, form).items():
        for name, mine in hits.items():
            within = methods[name].filter(pl.col("kind").is_in(some))
            facts = {"split": split, "form": form, "kind": group, "method": name, "n": len(within), "pictures": within["image"].n_unique()}
            facts["unreadable"] = None if form == OPEN else float((within["answer"] == NONE).mean())
            facts["chance"] = float(within.group_by("kind").agg(pl.col("chance").mean())["chance"].mean())
            low, high = _interval(mine, weights, some)
            yield facts | {"less": None, "value": float(mine.mean(one, some)[0]), "low": low, "high": high}
            if name != MODEL:
                gap = hits[MODEL].mean(weights, some) - mine.mean(weights, some)
                value = float((hits[MODEL].mean(one, some) - mine.mean(one, some))[0])
                low, high = np.nanquantile(gap, [0.025, 0.975])
                yield facts | {"method": MODEL, "less": name, "value": value, "low": float(low), "high": float(high), "chance": None}


def _interval(mine: Hits, weights: np.ndarray, kinds: Sequence[str]) -> tuple[float, float]:
    """By the bootstrap; of one kind by a formula that has a width also where all answers are right, or none."""
    if len(kinds) == 1:
        at = mine.kinds.index(kinds[0])
        there = mine.asked[:, at] > 0
        return clustered_share(mine.right[there, at], mine.asked[there, at])
    low, high = np.nanquantile(mine.mean(weights, kinds), [0.025, 0.975])
    return float(low), float(high)


def _over_prompts(said: pl.DataFrame, options: dict[str, int], seed: int) -> Iterator[dict]:
    """The mean over the prompts, and the best of them, which the paper prints; kinds of questions are weighed alike."""
    for (split,), part in said.group_by("split", maintain_order=True):
        kinds, pictures = sorted(set(part["kind"])), sorted(set(part["image"]))
        weights = np.random.default_rng(seed).multinomial(len(pictures), np.full(len(pictures), 1 / len(pictures)), size=_DRAWS)
        weights = np.concatenate([np.ones((1, len(pictures)), dtype=int), weights])  # the first row is the whole sample
        drawn: dict[str, np.ndarray] = {}
        for (method,), frame in part.group_by("method", maintain_order=True):
            drawn[method] = np.stack([Hits(frame.filter(form=form), pictures, kinds).mean(weights, kinds) for form in PROMPTS])
            first = frame.filter(form="letter")
            facts = {"split": split, "kind": EVERY, "method": method, "less": None, "n": len(first), "pictures": len(pictures)}
            facts |= {"unreadable": float((frame["answer"] == NONE).mean())}
            by_kind = first.with_columns(chance=pl.Series([1 / options[name] for name in first["question"]])).group_by("kind")
            facts |= {"chance": float(by_kind.agg(pl.col("chance").mean())["chance"].mean())}
            yield facts | {"form": MEAN} | _summary(drawn[method].mean(0))
            yield facts | {"form": BEST} | _summary(drawn[method].max(0))
        for other in sorted(drawn.keys() - {MODEL}):
            facts = {"split": split, "kind": EVERY, "method": MODEL, "less": other, "n": len(first), "pictures": len(pictures)}
            yield facts | {"form": MEAN, "chance": None, "unreadable": None} | _summary(drawn[MODEL].mean(0) - drawn[other].mean(0))


def _summary(values: np.ndarray) -> dict[str, float]:
    low, high = np.nanquantile(values[1:], [0.025, 0.975])
    return {"value": float(values[0]), "low": float(low), "high": float(high)}
