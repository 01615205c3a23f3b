"""The evaluation of simdoc: corpus metrics of resamples, reading levels by hand, and every table of a small project."""

import dataclasses
import json

import numpy as np
import polars as pl
import pytest
from ruamel.yaml import YAML

from catalog.base import io, params
from catalog.base.errors import CatalogError
from catalog.base.params import profile_params
from stages.simdoc import baselines, corpora, dataset, evaluate, levels, resample, systems, tables
from stages.simdoc.score import measure
from stages.simdoc.settings import Params

SMALL = profile_params(Params, "simdoc", "small")
PAIR = {"source_level": "advanced", "target_level": "elementary"}
FACTS = {"device": "cpu", "dtype": "float32", "seconds": 2.0, "tokens": 100, "peak_memory_mb": 7}
SOURCES = [
    "The old museum opened in 1950. It attracts 1,000 visitors and sells tickets.",
    "A bridge was built in 120. It fell. It rose again.",
]
OUTPUTS = ["The museum opened in 1950. It sells tickets.", "A bridge was built in 121. It fell down."]
REFERENCES = ["The museum opened in 1950. It sells tickets now.", "People built a bridge in 120. It fell down."]


def rows_of(sources, outputs, references):
    total, rows = measure(sources, outputs, [[text] for text in references])
    for row in rows:
        row |= {"bertscore": 0.5, "coherence": None, "meaning": 0.25, "copied_words": row["copy_rate"]}
    return total, rows


# --- resamples --------------------------------------------------------------------------------------------------------------------------


def test_ones_give_the_corpus_metrics():
    total, rows = rows_of(SOURCES, OUTPUTS, REFERENCES)
    found = resample.metrics(resample.ingredients(SOURCES, OUTPUTS, REFERENCES, rows), np.ones((1, 2)))
    same = ("sari_f1", "sari_p", "bleu", "fkgl", "compression", "dsari", "dsari_robust", "rouge_l", "content_kept", "numbers_new")
    for metric in same:
        assert found[metric][0] == pytest.approx(total[metric], rel=1e-9), metric
    assert found["copied_words"][0] == pytest.approx(total["copy_rate"]) and found["meaning"][0] == 0.25
    assert np.isnan(found["coherence"][0]) and set(found) == set(resample.METRICS)


def test_a_weight_of_two_is_the_document_twice():
    _, rows = rows_of(SOURCES, OUTPUTS, REFERENCES)
    made = resample.ingredients(SOURCES, OUTPUTS, REFERENCES, rows)
    twice = [[texts[0], texts[0], texts[1]] for texts in (SOURCES, OUTPUTS, REFERENCES)]
    total, _ = rows_of(*twice)
    found = resample.metrics(made, np.array([[2.0, 1.0], [0.0, 1.0]]))
    assert found["sari_f1"][0] == pytest.approx(total["sari_f1"]) and found["fkgl"][0] == pytest.approx(total["fkgl"])
    assert found["bleu"][0] == pytest.approx(total["bleu"])
    assert found["dsari"][1] == pytest.approx(rows[1]["dsari"]) and found["numbers_new"].tolist() == pytest.approx([1 / 3, 1.0])


def test_resamples_have_all_documents_and_repeat():
    times = resample.weights(5, 40, 3)
    assert times.shape == (40, 5) and (times.sum(axis=1) == 5).all() and times.std() > 0
    assert np.array_equal(times, resample.weights(5, 40, 3)) and not np.array_equal(times, resample.weights(5, 40, 4))


def test_intervals_hold_their_value_and_need_defined_draws():
    assert resample.interval(np.arange(1000.0), 1200.0) == (pytest.approx(24.975), 1200.0)
    assert resample.interval(np.array([np.nan] * 5 + [1.0] * 5), 1.0) == (None, None)


def test_empty_outputs_and_single_sentences_are_scored():
    outputs = ["", "It fell."]
    _, rows = rows_of(SOURCES, outputs, REFERENCES)
    found = resample.metrics(resample.ingredients(SOURCES, outputs, REFERENCES, rows), np.array([[1.0, 1.0], [2.0, 0.0]]))
    assert (
        found["bleu"].tolist() == [0.0, 0.0]
        and np.isnan(found["fkgl"][1])
        and found["compression"][1] == 0
        and np.isfinite(found["fkgl"][0])
    )


# --- reading levels ---------------------------------------------------------------------------------------------------------------------


def test_level_measures_by_hand():
    truth, named, one = np.array([0, 0, 1, 2]), np.array([0, 1, 1, 0]), np.ones((1, 4))
    assert levels.accuracy(truth, named, one)[0] == 0.5 and levels.adjacent(truth, named, one)[0] == 0.75
    # F1 of the three levels: 2/4, 2/3, 0
    assert levels.macro_f1(truth, named, one, 3)[0] == pytest.approx((0.5 + 2 / 3) / 3)
    assert levels.confusion(truth, named, 3).tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 0]]
    assert levels.accuracy(truth, named, np.array([[2.0, 0.0, 0.0, 2.0]]))[0] == 0.5


def test_thresholds_part_grades_best():
    grades, truth = [12.0, 11.0, 7.0, 8.0, 3.0, 9.0], [0, 0, 1, 1, 2, 2]
    cuts = levels.fit_thresholds(grades, truth, 3)
    assert cuts.tolist() == [10.0, 5.0]  # one document of the last level stays wrong
    assert levels.by_thresholds(grades, cuts).tolist() == [0, 0, 1, 1, 2, 1] and levels.by_thresholds([10.5, 5.0, 4.9], cuts).tolist() == [
        0,
        2,
        2,
    ]
    rng = np.random.default_rng(0)
    for _ in range(20):  # against all places of two cuts
        grade, level = rng.integers(0, 12, 14).astype(float), rng.integers(0, 3, 14)
        right = (levels.by_thresholds(grade, levels.fit_thresholds(grade, level, 3)) == level).sum()
        places = np.arange(-0.5, 13)
        assert right == max((levels.by_thresholds(grade, np.array([a, b])) == level).sum() for a in places for b in places if a >= b)
    with pytest.raises(CatalogError, match="need training documents"):
        levels.fit_thresholds([], [], 3)


def test_shuffle_wins_by_hand():
    rows = [
        ("a", "x", 0, 0.8),
        ("a", "x", 1, 0.5),
        ("a", "x", 2, 0.8),
        ("b", "x", 0, 0.1),
        ("b", "x", 1, 0.5),
        ("b", "y", 0, 0.9),
        ("b", "y", 1, None),
    ]
    frame = pl.DataFrame(rows, ["id", "level", "version", "score"], orient="row")
    won, made = tables.shuffle_wins(frame, "score")
    assert won.tolist() == [1.5, 0.0] and made.tolist() == [2.0, 1.0]


def scored(system, setting, dsari, draws):
    """A system of two documents of which only D-SARI is known, the same in every draw but where ``draws`` says otherwise."""
    nothing = {metric: float("nan") for metric in systems.COMPARED}
    made = {metric: np.full(4, np.nan) for metric in systems.COMPARED} | {"dsari": np.array(draws, dtype=float)}
    return systems.Scored(system, ("hard", "easy"), {"setting": setting}, {}, [{}, {}], nothing | {"dsari": dsari}, made)


def test_differences_are_paired_and_that_to_the_best_rule_holds_for_every_rule():
    found = [
        scored("identity", "trivial", 10, [10, 12, 8, 10]),
        scored("first sentence", "trivial", 11, [9, 13, 12, 10]),
        scored("middle", "trivial", 30, [30, 30, 30, 30]),  # no rule
        scored("own", "fine-tuned", 12, [11, 14, 12, 11]),
    ]
    table = systems.differences(found, "middle")
    own = {row["against"]: row for row in table.filter(system="own").iter_rows(named=True)}
    assert set(own) == {"identity", "first sentence", "middle", "best rule"} and set(table["system"]) == {"own", "middle"}
    # identity: 1, 2, 4, 1 above; first sentence: 2, 1, 0, 1 above. Two rules, so the tails of each are half as long
    assert own["identity"]["difference"] == 2 and own["best rule"]["difference"] == 1
    for against, gains, rules in (("identity", [[1, 2, 4, 1]], 1), ("best rule", [[1, 2, 4, 1], [2, 1, 0, 1]], 2)):
        for name, tail in (("", 0.025 / rules), ("_two", 0.0125 / rules)):
            ends = np.quantile(gains, [tail, 1 - tail], axis=1).min(axis=1)
            assert (own[against][f"low{name}"], own[against][f"high{name}"]) == pytest.approx(tuple(ends))
    assert own["best rule"]["low"] < own["identity"]["low"] and own["middle"]["high"] < 0
    assert set(table["source_level"]) == {"hard"} and set(table["target_level"]) == {"easy"} and set(table["documents"]) == {2}


def test_a_scorer_is_held_against_the_cosine_on_the_same_comparisons():
    rows = [  # a: won by the score alone; b: won by the cosine alone; c, of two comparisons: both lost, then both tie
        ("a", "x", 0, 1, 0.9, 0.1), ("a", "x", 1, 0, 0.2, 0.3),
        ("b", "x", 0, 1, 0.1, 0.5), ("b", "x", 1, 0, 0.2, 0.3),
        ("c", "x", 0, 1, 0.5, 0.5), ("c", "x", 1, 0, 0.6, 0.6), ("c", "x", 2, 0, 0.5, 0.5),
        ("d", "x", 0, 1, 0.9, None), ("d", "x", 1, 0, 0.1, 0.2),  # without a cosine: not compared
    ]  # fmt: skip
    frame = pl.DataFrame(rows, ["id", "level", "version", "label", "score", "first_order"], orient="row")
    found = tables._over_cosine(frame, "score", 200, 0)
    assert found["over_cosine"] == 0 and -1 <= found["over_cosine_low"] < 0 < found["over_cosine_high"] <= 1
    only = tables._over_cosine(frame.filter(pl.col("id").is_in(["a", "c"])), "score", 200, 0)
    assert only["over_cosine"] == pytest.approx(1 / 3) and only["over_cosine_low"] == 0 and only["over_cosine_high"] == 1


def test_a_reader_is_held_against_the_majority_on_the_same_documents():
    truth, ids = np.array([0, 1, 0, 1]), ["a", "a", "b", "b"]
    found = {"majority": (truth, np.zeros(4, dtype=int), ids), "own": (truth, np.array([0, 1, 1, 1]), ids)}
    table, _ = tables.reading_tables(found, ("hard", "easy"), 100, 0)
    own = {row["reader"]: row for row in table.iter_rows(named=True)}["own"]
    # both of a are right, one of b: the majority has one of either
    assert own["over_majority"] == pytest.approx(0.25) and (own["over_majority_low"], own["over_majority_high"]) == (0, 0.5)


# --- the stage --------------------------------------------------------------------------------------------------------------------------


def signals(frame, seed):
    """Scores as the stage before leaves them: the reference is itself, identity is its source."""
    rng = np.random.default_rng(seed)
    count = len(frame)
    names = systems.SIGNALS
    made = frame.with_columns(**{name: pl.Series(rng.uniform(0.3, 0.7, count)) for name in names})
    same = pl.when(pl.col("system") == "reference").then(1.0).otherwise(pl.col("bert_f1"))
    return made.with_columns(bert_f1=same, bert_source=pl.when(pl.col("system") == "identity").then(1.0).otherwise(pl.col("bert_source")))


def written(pairs, documents):
    """Outputs of the trivial systems, and of three models that give identity, splitting and compression under their own names."""
    trivial = baselines.outputs(pairs, documents, "intermediate").with_columns(setting=pl.lit("trivial"))
    frames = [trivial]
    names = {
        "zero-shot": ("identity", "zero-shot"),
        "multi-task": ("sentence splitting", "fine-tuned"),
        "simplify-only": ("compression", "fine-tuned"),
    }
    for name, (own, setting) in names.items():
        part = trivial.filter(pl.col("system") == own, pl.col("target_level") == "elementary")
        frames.append(part.with_columns(system=pl.lit(name), setting=pl.lit(setting)))
    whole = pl.concat(frames)
    model = pl.col("setting") != "trivial"
    counts = {"pieces": 4, "unfinished": 1, "source_tokens": 100, "cut_tokens": 25, "shown": 0}
    extra = {name: pl.when(model).then(pl.lit(value, pl.Int32)) for name, value in counts.items()}
    floats = {"lambda_r": pl.lit(None, pl.Float64), "lambda_c": pl.lit(None, pl.Float64)}
    return signals(whole.with_columns(coherence_mode=pl.lit("none"), **floats, **extra), 0)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Folder of the reports of an evaluation on the project's own documents."""
    root = tmp_path_factory.mktemp("project")
    (root / "stages/simdoc").mkdir(parents=True)
    for name in ("tables.yaml", "metrics.yaml"):
        (root / "stages/simdoc" / name).write_bytes((params.ROOT / "stages/simdoc" / name).read_bytes())
    built = dataset.build(corpora.load("graded", None), dataclasses.replace(SMALL.data, pairs=SMALL.data.pairs[:2]), 0)
    test = built["pairs"].filter(pl.col("split") == "test")
    for name, frame in built.items():
        io.write_parquet(frame, root / "data/simdoc_pairs/small" / f"{name}.parquet")
    raw = root / "data/simdoc_outputs"
    io.write_parquet(written(test, built["documents"]), raw / "small/outputs.parquet")
    candidates = {"system": "multi-task rerank", "id": "a", "source_level": "advanced", "target_level": "elementary", "candidate": [0, 1]}
    io.write_parquet(pl.DataFrame({**candidates, "score": [0.2, 0.3], "chosen": [False, True]}), raw / "small/candidates.parquet")
    asked = built["documents"].filter(pl.col("split") == "test").select("id", "level")
    labels = [
        asked.with_columns(reader=pl.lit("own"), label=pl.lit(label), log_prob=(pl.col("level") == label).cast(pl.Float64) - 1.0)
        for label in SMALL.data.levels
    ]
    io.write_parquet(pl.concat(labels).select("reader", "id", "level", "label", "log_prob"), raw / "small/labels.parquet")
    io.write_json(FACTS, raw / "small.run.json")
    judged = built["shuffled"].select("id", "level", "split", "version", "label")
    judged = judged.with_columns(score=pl.col("label") * 0.2 + 0.4, first_order=pl.lit(0.5), second_order=-1.0 * pl.col("label"))
    import torch

    from stages.simdoc import train

    for name in ("coherence", "simplifier"):
        io.write_safetensors({"w": torch.zeros(2)}, root / f"models/simdoc_{name}/small/model.safetensors")
    io.write_parquet(judged, root / "models/simdoc_coherence/small/scores.parquet")
    curves = pl.DataFrame({"variant": "multi-task", "step": [1, 2], "loss": [2.0, 1.0], "lr": 0.1, "tokens": [5, 9]})
    io.write_parquet(curves, root / "models/simdoc_simplifier/small/curves.parquet")
    counts = {"triples": 446, "classified": 470, "tokens": 9, "tokens_cut": 0, "triples_cut": 0}
    io.write_parquet(pl.DataFrame([counts]), root / "models/simdoc_simplifier/small/examples.parquet")
    learnt = train.level_counts({"elementary": (144, 72), "advanced": (144, 72), "intermediate": (144, 72)})
    io.write_parquet(learnt, root / "models/simdoc_simplifier/small/levels.parquet")
    io.write_json({"runs": [FACTS], "coherence": {"seconds": 1.0}, "other": FACTS}, root / "models/simdoc_simplifier/small.run.json")
    given = dataclasses.replace(SMALL, evaluate=dataclasses.replace(SMALL.evaluate, draws=100))
    with pytest.MonkeyPatch.context() as patch:
        for module in (params, evaluate):
            patch.setattr(module, "ROOT", root)
        patch.setattr(evaluate, "profile_params", lambda *_: given)
        evaluate.main("small")
        first = {path.name: path.read_bytes() for path in (root / "reports/simdoc/small").rglob("*.*")}
        evaluate.main("small")
    assert first == {path.name: path.read_bytes() for path in (root / "reports/simdoc/small").rglob("*.*")}
    return root / "reports/simdoc/small"


def test_the_declared_tables_are_written(published):
    declared = YAML(typ="safe").load((params.ROOT / "stages/simdoc/tables.yaml").read_text(encoding="utf-8"))
    assert set(declared) == {path.stem for path in (published / "tables").glob("*.parquet")}
    for name, own in declared.items():
        table = pl.read_parquet(published / f"tables/{name}.parquet")
        assert table.columns == list(own["columns"]) and len(table), name
    for path in (published / "plots").glob("*.json"):
        assert json.loads(path.read_text())["title"], path.name


def test_trivial_systems_stand_in_every_table_of_systems(published):
    for name in ("main", "operations", "documents"):
        systems = set(pl.read_parquet(published / f"tables/{name}.parquet")["system"])
        assert {"identity", "first 65 %", "compression", "sentence splitting", "intermediate", "reference", "multi-task"} <= systems, name
    results = pl.read_parquet(published / "results.parquet").filter(experiment="simplification")
    assert results["ci_low"].null_count() == 0 and set(results.filter(method="identity")["metric"]) == set(resample.METRICS)


def test_the_ends_of_the_scale(published):
    main = {row["system"]: row for row in pl.read_parquet(published / "tables/main.parquet").filter(**PAIR).iter_rows(named=True)}
    assert main["reference"]["dsari_robust"] == pytest.approx(100) and main["reference"]["dsari"] < 100
    assert main["identity"]["sari_add"] == main["identity"]["dsari_delete"] == 0 and main["identity"]["meaning"] == 1
    assert main["zero-shot"]["sari_f1"] == main["identity"]["sari_f1"] and main["identity"]["truncation_rate"] is None
    assert main["multi-task"]["truncation_rate"] == 0.25 and main["multi-task"]["unfinished"] == 0.25
    assert main["sentence splitting"]["fkgl"] < main["identity"]["fkgl"] and main["reference"]["paper_value"] is None
    documents = pl.read_parquet(published / "tables/documents.parquet").filter(system="multi-task", **PAIR)
    assert documents["dsari"].mean() == pytest.approx(main["multi-task"]["dsari"]) and len(documents) == 16


def test_differences_are_those_of_the_table_and_nothing_differs_from_itself(published):
    main = {row["system"]: row for row in pl.read_parquet(published / "tables/main.parquet").filter(**PAIR).iter_rows(named=True)}
    found = pl.read_parquet(published / "tables/differences.parquet").filter(**PAIR)
    one = found.filter(system="multi-task", against="first 65 %", metric="dsari").row(0, named=True)
    assert one["difference"] == pytest.approx(main["multi-task"]["dsari"] - main["first 65 %"]["dsari"])
    assert one["low"] <= one["difference"] <= one["high"]
    copy = found.filter(system="zero-shot", against="identity", metric="fkgl").row(0, named=True)
    assert (copy["difference"], copy["low"], copy["high"]) == (0, 0, 0)
    assert found.filter(pl.col("system") == pl.col("against")).is_empty()
    assert set(found["system"]) == {"zero-shot", "multi-task", "simplify-only", "intermediate"}
    # the person's intermediate version is held against every other system, too
    human = found.filter(system="intermediate", against="first sentence", metric="dsari").row(0, named=True)
    assert human["difference"] == pytest.approx(main["intermediate"]["dsari"] - main["first sentence"]["dsari"])
    best = found.filter(against="best rule")
    assert set(best["metric"]) == {"dsari"} and best.filter(system="zero-shot")["difference"].item() < 0  # it copies, as a rule does


def test_results_name_cards_or_nothing_and_the_pair_is_a_split(published):
    results = pl.read_parquet(published / "results.parquet")
    assert set(results["dataset"]) == {"simdoc_pairs"} and set(results["model"]) == {None, "smollm2", "simdoc_coherence"}
    assert set(results.filter(experiment="simplification")["split"]) == {"advanced to elementary", "advanced to intermediate"}
    assert set(results.filter(pl.col("method").is_in(["identity", "majority", "chance", "first order"]))["model"]) == {None}


def test_scorers_and_readers_beside_chance(published):
    table = {row["scorer"]: row for row in pl.read_parquet(published / "tables/coherence.parquet").iter_rows(named=True)}
    assert table["model"]["shuffle_accuracy"] == table["model"]["accuracy"] == 1 and table["first order"]["shuffle_accuracy"] == 0.5
    assert table["second order"]["shuffle_accuracy"] == 0 and table["second order"]["accuracy"] is None
    assert [table["model"][name] for name in ("documents", "texts", "comparisons")] == [48, 16, 192]
    assert (table["model"]["over_cosine"], table["model"]["over_cosine_low"]) == (0.5, 0.5) and table["first order"]["over_cosine"] == 0
    readers = {row["reader"]: row for row in pl.read_parquet(published / "tables/readability.parquet").iter_rows(named=True)}
    assert readers["own"]["accuracy"] == 1 and readers["majority"]["accuracy"] == pytest.approx(1 / 3)
    assert readers["FKGL thresholds"]["accuracy"] > 0.9  # the levels were made by this grade
    assert readers["majority"]["macro_f1"] == pytest.approx(1 / 6) and readers["own"]["accuracy_low"] == 1
    assert readers["own"]["over_majority"] == pytest.approx(2 / 3) and readers["majority"]["over_majority_high"] == 0


def test_data_are_counted(published):
    table = pl.read_parquet(published / "tables/data_summary.parquet")
    assert table["documents"].sum() == 198 and table.filter(level="elementary", split="test")["documents"].item() == 16
    grades = table.filter(split="test").sort("fkgl", descending=True)["level"].to_list()
    assert grades == ["advanced", "intermediate", "elementary"] and table["excluded"].to_list() == [[]] * 9


def test_the_evaluation_imports_no_torch():
    import subprocess
    import sys

    code = "import sys, stages.simdoc.evaluate; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=params.ROOT, check=True)
