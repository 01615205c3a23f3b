"""The own tables of the evaluation: documents, corpora, differences, coherence, reading levels. No file is read or written here."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from stages.simdoc import levels, resample, systems
from stages.simdoc.analysis import OPERATIONS
from stages.simdoc.readability import counts, fkgl
from stages.simdoc.score import REFERENCE_SETTINGS, SETTINGS
from stages.simdoc.settings import Params
from stages.simdoc.similarity import bleu
from stages.simdoc.systems import Scored

MAIN = (
    "sari_f1", "sari_p", "sari_add", "sari_keep", "sari_delete_f1", "sari_delete_p", "dsari", "dsari_keep", "dsari_delete", "dsari_add",
    "dsari_robust", "bleu", "rouge_l", "fkgl", "reading_ease", "content_kept", "numbers_new", "compression",
)  # fmt: skip
DONE = (*OPERATIONS, "new", "numbers_kept", "numbers_lost", "numbers_new", "names_new", "content_new", "novel_2", "repetition")


@dataclass(frozen=True)
class Raw:
    """What the stages before wrote."""

    outputs: pl.DataFrame
    candidates: pl.DataFrame
    labels: pl.DataFrame
    documents: pl.DataFrame
    pairs: pl.DataFrame
    notes: pl.DataFrame
    judged: pl.DataFrame  # scores of the coherence model
    examples: pl.DataFrame
    levels: pl.DataFrame
    curves: pl.DataFrame


def build(raw: Raw, found: list[Scored], params: Params) -> dict[str, pl.DataFrame]:
    """Every table of tables.yaml by its name."""
    draws, seed, order = params.evaluate.draws, params.seed, params.data.levels
    main_system = next((s.name for s in params.measure.systems if s.setting == "fine-tuned"), params.measure.systems[0].name)
    readability, confusion = reading_tables(readings(raw.labels, raw.documents, order), order, draws, seed)
    models_alone = raw.outputs.filter(pl.col("setting") != "trivial")
    return {
        "main": main_table(found, seed),
        "documents": document_table(found),
        "operations": operation_table(found),
        "differences": systems.differences(found, params.evaluate.between),
        "coherence": coherence_table(raw.judged, found, main_system, draws, seed),
        "readability": readability,
        "confusion": confusion,
        "data_summary": data_table(raw.documents, raw.notes, order),
        "predictions": models_alone.select("source_level", "target_level", "system", "id", "output"),
        "candidates": raw.candidates,
        "training": raw.examples,
        "training_levels": raw.levels,
        "metric_settings": setting_table(),
    }


# --- systems ----------------------------------------------------------------------------------------------------------------------------


def main_table(found: list[Scored], seed: int) -> pl.DataFrame:
    """A row for each system and pair."""
    rows = []
    for s in found:
        out = s.key | {"setting": s.facts["setting"], "coherence_mode": s.facts["coherence_mode"]}
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
            first = s.key | {"id": one["id"]}
            rows.append(first | {key: value for key, value in one.items() if key not in drop and key != "id"})
    frame = pl.DataFrame(rows, infer_schema_length=None)
    return frame.with_columns(pl.col(pl.Null).cast(pl.Float64))


def operation_table(found: list[Scored]) -> pl.DataFrame:
    """What each system did to sentences, numbers and names: means over documents."""
    rows = [s.key | {key: s.total[key] for key in DONE} for s in found]
    return pl.DataFrame(rows, schema_overrides=dict.fromkeys(DONE, pl.Float64), infer_schema_length=None)


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
        value, low, high = _share(won, made, draws, seed)
        out = {"scorer": scorer, "train_set": "originals against new orders of their sentences" if scorer == "model" else "none"}
        out |= {"documents": len(test.filter(pl.col("version") == 0)), "texts": len(made), "comparisons": int(made.sum())}
        out |= {
            "shuffle_accuracy": value,
            "shuffle_low": low,
            "shuffle_high": high,
        }
        out |= _over_cosine(test, column, draws, seed) | dict.fromkeys(("accuracy", "accuracy_low", "accuracy_high"))
        if scorer == "model":  # originals and the first shuffle of each: chance is one half
            two = (
                test.filter(pl.col("version") <= 1).drop_nulls(column).with_columns(right=(pl.col(column) > 0.5) == (pl.col("label") == 1))
            )
            each = two.group_by("id").agg(right=pl.col("right").sum(), asked=pl.len()).sort("id")
            right, asked = (each[name].to_numpy().astype(float) for name in ("right", "asked"))
            value, low, high = _share(right, asked, draws, seed)
            out |= {"accuracy": value, "accuracy_low": low, "accuracy_high": high}
        original, shuffled = test.filter(pl.col("version") == 0)[column].mean(), test.filter(pl.col("version") > 0)[column].mean()
        out |= {"mean_original": original, "mean_shuffled": shuffled}
        for label, system in (("source", "identity"), ("target", "reference"), ("output", main)):
            out[f"mean_{label}"] = by[system].total[signals[scorer]] if system in by else None
        rows.append(out)
    floats = [name for name in rows[0] if name.startswith(("mean", "shuffle_", "accuracy", "over_"))]
    return pl.DataFrame(rows, schema_overrides=dict.fromkeys(floats, pl.Float64), infer_schema_length=None)


def _share(part: np.ndarray, whole: np.ndarray, draws: int, seed: int) -> tuple[float, float | None, float | None]:
    """Sum of ``part`` over sum of ``whole``, each (T,) by text, with its interval over texts."""
    times = resample.weights(len(part), draws, seed)
    value = float(part.sum() / whole.sum())
    return value, *resample.interval((times @ part) / (times @ whole), value)


def _over_cosine(test: pl.DataFrame, column: str, draws: int, seed: int) -> dict[str, float | None]:
    """Shuffle accuracy of a scorer less that of the first-order cosine on the same comparisons, with its interval over texts."""
    both = test.drop_nulls([column, "first_order"])
    own, made = shuffle_wins(both, column)
    cosine, _ = shuffle_wins(both, "first_order")
    return dict(zip(("over_cosine", "over_cosine_low", "over_cosine_high"), _share(own - cosine, made, draws, seed), strict=True))


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
    rows, matrix, usual = [], [], found["majority"][1]
    for reader, (truth, named, ids) in found.items():
        places = {name: number for number, name in enumerate(dict.fromkeys(ids))}
        owner = np.array([places[name] for name in ids])
        times = np.concatenate([np.ones((1, len(ids))), resample.weights(len(places), draws, seed)[:, owner]])
        out = {"reader": reader, "documents": len(ids), "texts": len(places)}
        measured = {"accuracy": levels.accuracy(truth, named, times), "macro_f1": levels.macro_f1(truth, named, times, len(order))}
        measured["adjacent_accuracy"] = levels.adjacent(truth, named, times)
        measured["over_majority"] = measured["accuracy"] - levels.accuracy(truth, usual, times)
        for metric, values in measured.items():
            low, high = resample.interval(values[1:], float(values[0]))
            out |= {metric: float(values[0]), f"{metric}_low": low, f"{metric}_high": high}
        rows.append(out)
        for i, line in enumerate(levels.confusion(truth, named, len(order)).tolist()):
            matrix += [{"reader": reader, "level": order[i], "named": order[j], "documents": count} for j, count in enumerate(line)]
    return pl.DataFrame(rows, infer_schema_length=None), pl.DataFrame(matrix)


# --- data and settings ------------------------------------------------------------------------------------------------------------------


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
            rows.append(first | {"fkgl": grade, "excluded": excluded, "cleaning": steps})
    lists = dict.fromkeys(("excluded", "cleaning"), pl.List(pl.String))
    return pl.DataFrame(rows, schema_overrides=lists | {"fkgl": pl.Float64})


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
