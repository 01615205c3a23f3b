"""Every system on every pair of levels: its scores, the same scores of resampled documents, and differences of two systems.

A difference is paired: both systems are scored on the same draws of the test documents. Its interval says what other documents might have
given; it knows nothing of what another run of the training would have given, since each variant is trained once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from stages.simdoc import resample
from stages.simdoc.baselines import RULES
from stages.simdoc.score import measure
from stages.simdoc.settings import Pair

KEYS = ["id", "source_level", "target_level"]
SIGNALS = ("coherence", "first_order", "second_order", "bert_precision", "bert_recall", "bert_f1", "bert_source")
COMPARED = ("sari_f1", "sari_p", "dsari", "dsari_robust", "bleu", "bertscore", "fkgl", "coherence", "meaning", "compression")
HUMAN = ("reference",)  # systems that are people's texts, with the level between
BEST_RULE = "best rule"  # the one that a system leads by least


@dataclass(frozen=True)
class Scored:
    """One system on one pair of levels."""

    system: str
    pair: Pair
    facts: dict  # setting, coherence_mode, lambda_r, lambda_c, model
    total: dict  # of stages.simdoc.score.measure, and means of the signals
    rows: list[dict]  # of each document
    values: dict[str, float]  # headline metrics
    draws: dict[str, np.ndarray]  # (B,) of each

    @property
    def key(self) -> dict[str, str]:
        """The columns that tell systems and pairs apart."""
        return {"source_level": self.pair[0], "target_level": self.pair[1], "system": self.system}


def scored(outputs: pl.DataFrame, pairs: pl.DataFrame, model: str, draws: int, seed: int) -> list[Scored]:
    """All systems on all their pairs, in the order of ``outputs``; each pair's documents in the order of their ids."""
    texts = outputs.join(pairs.select(*KEYS, "source", "target"), on=KEYS, how="left", maintain_order="left")
    found = []
    for (name, hard, easy), part in texts.group_by("system", "source_level", "target_level", maintain_order=True):
        part = part.sort("id")
        lists = [part[column].to_list() for column in ("source", "output", "target")]
        total, rows = measure(lists[0], lists[1], [[text] for text in lists[2]])
        for place, signal in enumerate(part.select(SIGNALS).iter_rows(named=True)):
            rows[place] |= signal | {"bertscore": signal["bert_f1"], "meaning": signal["bert_source"]}
            rows[place] |= {"copied_words": rows[place]["copy_rate"], "id": part["id"][place]}
        total |= {signal: part[signal].mean() for signal in SIGNALS}
        made = resample.ingredients(lists[0], lists[1], lists[2], rows)
        one = resample.metrics(made, np.ones((1, len(part))))
        first = part.row(0, named=True)
        facts = {key: first[key] for key in ("setting", "coherence_mode", "lambda_r", "lambda_c")}
        facts |= {"model": None if facts["setting"] == "trivial" else model}
        cut, read = part["cut_tokens"].sum(), part["source_tokens"].sum()
        facts |= {
            "truncation_rate": cut / read if read else None,
            "documents_cut": float((part["cut_tokens"] > 0).mean()) if read else None,
        }
        facts |= {"unfinished": part["unfinished"].sum() / part["pieces"].sum() if read else None}
        times = resample.weights(len(part), draws, seed)
        values = {key: float(value[0]) for key, value in one.items()}
        found.append(Scored(name, (hard, easy), facts, total, rows, values, resample.metrics(made, times)))
    return found


def differences(found: list[Scored], between: str | None) -> pl.DataFrame:
    """Of every language model, and of the level between, less every other system on the same pair, on the same draws of documents.

    For D-SARI also less `BEST_RULE`, the rule with the highest score, with an interval that is simultaneous over all rules: one interval
    for the statement that a model beats all.
    """
    rows = []
    for s in (s for s in found if s.facts["setting"] != "trivial" or s.system == between):
        others = [o for o in found if o.pair == s.pair and o.system != s.system]
        for other in others:
            for metric in COMPARED:
                rows += _difference(s, other.system, metric, [other])
        rules = [o for o in others if o.system in RULES]
        if rules:
            rows += _difference(s, BEST_RULE, "dsari", rules)
    floats = dict.fromkeys(("difference", "low", "high", "low_two", "high_two"), pl.Float64)
    names = dict.fromkeys(("source_level", "target_level", "system", "against", "metric"), pl.String)
    return pl.DataFrame(rows, schema=names | floats | {"documents": pl.Int64})


def _difference(s: Scored, against: str, metric: str, rivals: list[Scored]) -> list[dict]:
    """The row of the least difference to any of the rivals; none where one is not defined.

    Of k rivals each has an interval at the level 1 - .05 / k. All hold at once with 95 %, and then the least difference lies between the
    least low end and the least high end. To take the best rival anew in each draw would count the selection twice.
    """
    own = [s.values[metric] - rival.values[metric] for rival in rivals]
    if not np.isfinite(own).all():
        return []
    bounds = {}
    for name, level in (("", resample.LEVEL), ("_two", resample.LEVEL_OF_TWO)):
        each = 1 - (1 - level) / len(rivals)
        ends = [resample.interval(s.draws[metric] - r.draws[metric], value, each) for r, value in zip(rivals, own, strict=True)]
        known = all(low is not None for low, _ in ends)
        bounds |= {f"{end}{name}": min(values) if known else None for end, values in zip(("low", "high"), zip(*ends), strict=True)}
    return [s.key | {"against": against, "metric": metric, "difference": min(own)} | bounds | {"documents": len(s.rows)}]


def trade_off(found: list[Scored], human: tuple[str, ...]) -> tuple[Pair, float, tuple[float | None, float | None], int]:
    """Correlation over the systems of the first pair of grade and likeness to the source: above 0, simpler texts keep less.

    Texts that people wrote are left out. The interval is over documents, whose number comes last; it does not cover the choice of systems.
    """
    some = [s for s in found if s.pair == found[0].pair and s.system not in human]

    def correlate(grade: np.ndarray, meaning: np.ndarray) -> np.ndarray:
        grade, meaning = (values - values.mean(axis=0) for values in (grade, meaning))
        return (grade * meaning).sum(axis=0) / np.sqrt((grade**2).sum(axis=0) * (meaning**2).sum(axis=0))

    value = correlate(*(np.array([[s.values[name]] for s in some]) for name in ("fkgl", "meaning")))[0]
    draws = correlate(*(np.stack([s.draws[name] for s in some]) for name in ("fkgl", "meaning")))
    return found[0].pair, float(value), resample.interval(draws, float(value)), len(found[0].rows)
