"""Tables of what every system scores: documents, corpora, differences, coherence, reading levels. No file is read or written here."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from stages.simdoc import levels, resample
from stages.simdoc.analysis import OPERATIONS
from stages.simdoc.readability import counts, fkgl
from stages.simdoc.score import REFERENCE_SETTINGS, SETTINGS, measure
from stages.simdoc.similarity import bleu

KEYS = ["id", "source_level", "target_level"]
SIGNALS = ("coherence", "first_order", "second_order", "bert_precision", "bert_recall", "bert_f1", "bert_source")
COMPARED = ("sari_f1", "sari_p", "dsari", "dsari_robust", "bleu", "bertscore", "fkgl", "coherence", "meaning", "compression")
MAIN = (
    "sari_f1", "sari_p", "sari_add", "sari_keep", "sari_delete_f1", "sari_delete_p", "dsari", "dsari_keep", "dsari_delete", "dsari_add",
    "dsari_robust", "bleu", "rouge_l", "fkgl", "reading_ease", "content_kept", "numbers_new", "compression",
)  # fmt: skip
DONE = (*OPERATIONS, "new", "numbers_kept", "numbers_lost", "numbers_new", "names_new", "content_new", "novel_2", "repetition")
HUMAN = ("reference",)  # systems that are people's texts, with the level between


@dataclass(frozen=True)
class Scored:
    """One system on one pair of levels."""

    system: str
    pair: str
    facts: dict  # setting, coherence_mode, lambda_r, lambda_c, model
    total: dict  # of stages.simdoc.score.measure, and means of the signals
    rows: list[dict]  # of each document
    values: dict[str, float]  # headline metrics
    draws: dict[str, np.ndarray]  # (B,) of each


def pair_name(source: str, target: str) -> str:
    return f"{source} to {target}"


# --- scores -----------------------------------------------------------------------------------------------------------------------------


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
        facts |= {"model": "none" if facts["setting"] == "trivial" else model}
        cut, read = part["cut_tokens"].sum(), part["source_tokens"].sum()
        facts |= {
            "truncation_rate": cut / read if read else None,
            "documents_cut": float((part["cut_tokens"] > 0).mean()) if read else None,
        }
        facts |= {"unfinished": part["unfinished"].sum() / part["pieces"].sum() if read else None}
        times = resample.weights(len(part), draws, seed)
        values = {key: float(value[0]) for key, value in one.items()}
        found.append(Scored(name, pair_name(hard, easy), facts, total, rows, values, resample.metrics(made, times)))
    return found


def main_table(found: list[Scored], seed: int) -> pl.DataFrame:
    """A row for each system and pair."""
    rows = []
    for s in found:
        out = {"system": s.system, "pair": s.pair, "setting": s.facts["setting"], "coherence_mode": s.facts["coherence_mode"]}
        out |= {"lambda_r": s.facts["lambda_r"], "lambda_c": s.facts["lambda_c"], "seed": seed, "documents": len(s.rows)}
        out |= {key: s.total[key] for key in MAIN}
        out |= {"copied_words": s.total["copy_rate"], "bertscore": s.total["bert_f1"], "meaning": s.total["bert_source"]}
        out |= {key: s.total[key] for key in ("coherence", "first_order", "second_order")}
        out |= {key: s.facts[key] for key in ("truncation_rate", "documents_cut", "unfinished")}
        rows.append(out | {"paper_value": None})
    floats = dict.fromkeys(("lambda_r", "lambda_c", "paper_value", "truncation_rate", "documents_cut", "unfinished"), pl.Float64)
    return pl.DataFrame(rows, schema_overrides=floats | dict.fromkeys(MAIN, pl.Float64), infer_schema_length=None)


def document_table(found: list[Scored]) -> pl.DataFrame:
    """A row for each system, pair and document, with everything that was measured of it."""
    drop = (
        "bertscore",
        "meaning",
        "copied_words",
        "dsari_robust_source_words",
        "dsari_robust_reference_words",
        "dsari_robust_output_words",
    )
    rows = []
    for s in found:
        for one in s.rows:
            first = {"system": s.system, "pair": s.pair, "id": one["id"]}
            rows.append(first | {key: value for key, value in one.items() if key not in drop and key != "id"})
    frame = pl.DataFrame(rows, infer_schema_length=None)
    return frame.with_columns(pl.col(pl.Null).cast(pl.Float64))


def operation_table(found: list[Scored]) -> pl.DataFrame:
    """What each system did to sentences, numbers and names: means over documents."""
    rows = [{"system": s.system, "pair": s.pair} | {key: s.total[key] for key in DONE} for s in found]
    return pl.DataFrame(rows, schema_overrides=dict.fromkeys(DONE, pl.Float64), infer_schema_length=None)


def differences(found: list[Scored]) -> pl.DataFrame:
    """Of every language model less every other system on the same pair, on the same draws of documents."""
    rows = []
    for s in (s for s in found if s.facts["setting"] != "trivial"):
        for other in (o for o in found if o.pair == s.pair and o.system != s.system):
            for metric in COMPARED:
                value = s.values[metric] - other.values[metric]
                if np.isfinite(value):
                    low, high = resample.interval(s.draws[metric] - other.draws[metric], value)
                    first = {"pair": s.pair, "system": s.system, "against": other.system, "metric": metric}
                    rows.append(first | {"difference": value, "low": low, "high": high, "documents": len(s.rows)})
    floats = dict.fromkeys(("difference", "low", "high"), pl.Float64)
    names = dict.fromkeys(("pair", "system", "against", "metric"), pl.String)
    return pl.DataFrame(rows, schema=names | floats | {"documents": pl.Int64})


# --- coherence and reading levels -------------------------------------------------------------------------------------------------------


def shuffle_wins(table: pl.DataFrame, scorer: str) -> tuple[np.ndarray, np.ndarray]:
    """(T,) comparisons won and made by each text: its originals, at every level, against their own shuffles; ties count half."""
    first = table.filter(pl.col("version") == 0).select("id", "level", best=pl.col(scorer))
    other = table.filter(pl.col("version") > 0).join(first, on=["id", "level"]).drop_nulls([scorer, "best"])
    won = (pl.col("best") > pl.col(scorer)).cast(pl.Float64) + (pl.col("best") == pl.col(scorer)).cast(pl.Float64) / 2
    by = other.group_by("id").agg(won=won.sum(), made=pl.len()).sort("id")
    return by["won"].to_numpy(), by["made"].to_numpy().astype(float)


def coherence_table(table: pl.DataFrame, found: list[Scored], main: str, draws: int, seed: int) -> pl.DataFrame:
    """How well each scorer tells originals from shuffles, and its means on sources, references and outputs of the main system."""
    test = table.filter(pl.col("split") == "test")
    names = {"model": "score", "first order": "first_order", "second order": "second_order"}
    signals = {"model": "coherence", "first order": "first_order", "second order": "second_order"}
    pair = found[0].pair
    by = {s.system: s for s in found if s.pair == pair}
    rows = []
    for scorer, column in names.items():
        won, made = shuffle_wins(test, column)
        times = resample.weights(len(won), draws, seed)
        value = won.sum() / made.sum()
        low, high = resample.interval((times @ won) / (times @ made), value)
        out = {"scorer": scorer, "train_set": "originals against new orders of their sentences" if scorer == "model" else "none"}
        out |= {"documents": len(test.filter(pl.col("version") == 0)), "comparisons": int(made.sum())}
        out |= {
            "shuffle_accuracy": value,
            "shuffle_low": low,
            "shuffle_high": high,
            "accuracy": None,
            "accuracy_low": None,
            "accuracy_high": None,
        }
        if scorer == "model":  # originals and the first shuffle of each: chance is one half
            two = (
                test.filter(pl.col("version") <= 1).drop_nulls(column).with_columns(right=(pl.col(column) > 0.5) == (pl.col("label") == 1))
            )
            each = two.group_by("id").agg(right=pl.col("right").sum(), asked=pl.len()).sort("id")
            right, asked = (each[name].to_numpy().astype(float) for name in ("right", "asked"))
            times = resample.weights(len(right), draws, seed)
            value = right.sum() / asked.sum()
            low, high = resample.interval((times @ right) / (times @ asked), value)
            out |= {"accuracy": value, "accuracy_low": low, "accuracy_high": high}
        original, shuffled = test.filter(pl.col("version") == 0)[column].mean(), test.filter(pl.col("version") > 0)[column].mean()
        out |= {"mean_original": original, "mean_shuffled": shuffled}
        for label, system in (("source", "identity"), ("target", "reference"), ("output", main)):
            out[f"mean_{label}"] = by[system].total[signals[scorer]] if system in by else None
        rows.append(out)
    floats = [name for name in rows[0] if name.startswith(("mean", "shuffle_", "accuracy"))]
    return pl.DataFrame(rows, schema_overrides=dict.fromkeys(floats, pl.Float64), infer_schema_length=None)


def readings(labels: pl.DataFrame, documents: pl.DataFrame, order: tuple[str, ...]) -> dict[str, tuple[np.ndarray, np.ndarray, list[str]]]:
    """Reader -> true and named level of each test document (0 is the hardest), and the ids; the trivial readers come first."""
    rank = {level: number for number, level in enumerate(order)}
    grade = {text: fkgl(counts(text)) or 0.0 for text in documents["text"]}
    train = documents.filter(pl.col("split") == "train")
    truth_train = [rank[level] for level in train["level"]]
    cuts = levels.fit_thresholds([grade[text] for text in train["text"]], truth_train, len(order))
    asked = labels.select("id", "level").unique().sort("id", "level")
    test = asked.join(documents.select("id", "level", "text"), on=["id", "level"], how="left", maintain_order="left")
    truth, ids = np.array([rank[level] for level in test["level"]]), test["id"].to_list()
    most = int(np.bincount(truth_train, minlength=len(order)).argmax())
    found = {"majority": np.full(len(truth), most), "FKGL thresholds": levels.by_thresholds([grade[text] for text in test["text"]], cuts)}
    for (reader,), part in labels.group_by("reader", maintain_order=True):
        wide = part.pivot(on="label", index=["id", "level"], values="log_prob").sort("id", "level")
        found[reader] = wide.select(order).to_numpy().argmax(axis=1)
    return {reader: (truth, named, ids) for reader, named in found.items()}


def reading_tables(found: dict, order: tuple[str, ...], draws: int, seed: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The tables ``readability`` and ``confusion``; intervals resample texts with all their levels."""
    rows, matrix = [], []
    for reader, (truth, named, ids) in found.items():
        places = {name: number for number, name in enumerate(dict.fromkeys(ids))}
        owner = np.array([places[name] for name in ids])
        times = np.concatenate([np.ones((1, len(ids))), resample.weights(len(places), draws, seed)[:, owner]])
        out = {"reader": reader, "documents": len(ids)}
        measured = {"accuracy": levels.accuracy(truth, named, times), "macro_f1": levels.macro_f1(truth, named, times, len(order))}
        measured["adjacent_accuracy"] = levels.adjacent(truth, named, times)
        for metric, values in measured.items():
            low, high = resample.interval(values[1:], float(values[0]))
            out |= {metric: float(values[0]), f"{metric}_low": low, f"{metric}_high": high}
        rows.append(out)
        for i, line in enumerate(levels.confusion(truth, named, len(order)).tolist()):
            matrix += [{"reader": reader, "level": order[i], "named": order[j], "documents": count} for j, count in enumerate(line)]
    return pl.DataFrame(rows, infer_schema_length=None), pl.DataFrame(matrix)


def data_table(documents: pl.DataFrame, notes: pl.DataFrame, order: tuple[str, ...]) -> pl.DataFrame:
    """Documents, words, sentences and grade by level and split, with what was left out or cleaned in the whole corpus."""
    excluded = notes.filter(pl.col("step").is_in(["excluded", "duplicate"]))["id"].drop_nulls().unique().sort().to_list()
    steps = notes.filter(~pl.col("step").is_in(["excluded", "duplicate"]))["step"].unique().sort().to_list()
    rows = []
    for level in order:
        for split in ("train", "validation", "test"):
            part = documents.filter(pl.col("level") == level, pl.col("split") == split)
            grade = fkgl(sum((counts(text) for text in part["text"]), start=counts(""))) if len(part) else None
            first = {
                "level": level,
                "split": split,
                "documents": len(part),
                "words": part["words"].sum(),
                "sentences": part["sentences"].sum(),
            }
            rows.append(first | {"fkgl": grade, "excluded": ", ".join(excluded), "cleaning": ", ".join(steps)})
    return pl.DataFrame(rows)


def setting_table() -> pl.DataFrame:
    """metric, setting: tokenisers, splitters and signatures, without which the scores cannot be compared with others."""
    own = {
        "BLEU": bleu(["a"], [["a"]]).signature,
        "BERTScore": "F1 of last hidden states of the sentence encoder, special tokens left out, no idf, no rescaling, mean over documents",
        "coherence": "sentences by rule; documents of fewer than two sentences left out",
        "intervals": "percentile bootstrap over documents, 95 %, the same draws for all systems of a pair",
    }
    rows = sorted((REFERENCE_SETTINGS | SETTINGS | own).items())
    return pl.DataFrame(rows, schema={"metric": pl.String, "setting": pl.String}, orient="row")


def trade_off(found: list[Scored], human: tuple[str, ...]) -> tuple[str, float, tuple[float | None, float | None], int]:
    """Correlation over the systems of the first pair of grade and likeness to the source: above 0, simpler texts keep less.

    Texts that people wrote are left out.
    """
    some = [s for s in found if s.pair == found[0].pair and s.system not in human]

    def correlate(grade: np.ndarray, meaning: np.ndarray) -> np.ndarray:
        grade, meaning = (values - values.mean(axis=0) for values in (grade, meaning))
        return (grade * meaning).sum(axis=0) / np.sqrt((grade**2).sum(axis=0) * (meaning**2).sum(axis=0))

    value = correlate(*(np.array([[s.values[name]] for s in some]) for name in ("fkgl", "meaning")))[0]
    draws = correlate(*(np.stack([s.draws[name] for s in some]) for name in ("fkgl", "meaning")))
    return found[0].pair, float(value), resample.interval(draws, float(value)), len(some)
