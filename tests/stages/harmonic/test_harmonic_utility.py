"""Utility scores of harmonic: metrics by hand, both protocols, intervals against a loop."""

import numpy as np
import polars as pl
import pytest
from harmonic_frames import LINE, LINE_SCHEMA, SCHEMA, SMALL_GRIDS, TEST, TRAIN, numbers_only, table
from sklearn import metrics as sk
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import GridSearchCV, StratifiedKFold

from catalog.base.errors import CatalogError
from catalog.report.intervals import bootstrap
from stages.harmonic import baselines, predictions, utility
from stages.harmonic.schema import learn

# --- metrics by hand --------------------------------------------------------------------------------------------------------------------

BY_HAND = [
    # accuracy, MCC = (50 * 35 - 10 * 5) / sqrt(60 * 40 * 55 * 45), F1 of the classes 100/115 and 70/85
    ([[50, 10], [5, 35]], 0.85, 1700 / 5_940_000**0.5, 0.6 * 100 / 115 + 0.4 * 70 / 85, (100 / 115 + 70 / 85) / 2),
    # hits 6 of 10; MCC = (60 - 34) / sqrt((100 - 36)(100 - 34)); F1 3/4, 4/7, 2/5
    ([[3, 1, 0], [0, 2, 2], [1, 0, 1]], 0.6, 26 / 4224**0.5, (3 + 16 / 7 + 0.8) / 10, (3 / 4 + 4 / 7 + 2 / 5) / 3),
    # one class predicted: MCC 0; F1 140/170 and 0
    ([[70, 0], [30, 0]], 0.7, 0.0, 0.7 * 140 / 170, 70 / 170),
    # the third class is on neither side and is no part of the macro mean
    ([[4, 0, 0], [0, 6, 0], [0, 0, 0]], 1.0, 1.0, 1.0, 1.0),
]


@pytest.mark.parametrize(("confusion", "accuracy", "mcc", "weighted", "macro"), BY_HAND)
def test_scores_by_hand(confusion, accuracy, mcc, weighted, macro):
    found = predictions.scores(np.array(confusion))
    expected = {"accuracy": accuracy, "mcc": mcc, "weighted_f1": weighted, "macro_f1": macro}
    assert {name: float(value) for name, value in found.items()} == pytest.approx(expected)


def test_auc_by_hand_with_ties_and_weights():
    truth, score = np.array([0, 0, 1, 1]), np.array([0.1, 0.5, 0.5, 0.9])
    both = np.stack([-score, score], axis=1)
    assert predictions.auc(truth, both)[0] == 3.5 / 4  # of four pairs three are right and one is a tie
    weights = np.array([[1, 1, 1, 1], [2, 1, 1, 0], [0, 0, 3, 1]], dtype=float)
    assert predictions.auc(truth, both, weights)[:2].tolist() == [3.5 / 4, 2.5 / 3]
    assert np.isnan(predictions.auc(truth, both, weights)[2])  # no row of the first class


def test_auc_of_three_classes_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 60)
    score = np.round(rng.random((60, 3)) + np.eye(3)[truth] * 0.4, 1)  # many ties
    score /= score.sum(1, keepdims=True)
    assert predictions.auc(truth, score)[0] == pytest.approx(sk.roc_auc_score(truth, score, multi_class="ovr"))


# --- strict -----------------------------------------------------------------------------------------------------------------------------


def test_encoder_by_hand():
    rows = table(x=[1.0, 3, 5, None], c=["a", "b", "a", "a"], d=["u", None, "u", "u"], y=["p", "q", "p", "q"])
    encoder = utility.encode(rows, learn(rows, "t", "y", "classification"))
    new = table(x=[5.0, None], c=["b", "z"], d=["u", None], y=["p", "q"])
    spread = 2**0.5  # of 1, 3, 5 and the median 3
    # x, x missing, c = a, c = b, d = u, d missing
    assert encoder(new) == pytest.approx(np.array([[2 / spread, 0, 0, 1, 1, 0], [0, 1, 0, 0, 0, 1]]))
    with pytest.raises(CatalogError, match="number without any value"):
        utility.encode(rows.with_columns(pl.lit(None, dtype=pl.Float64).alias("x")), encoder.schema)


def test_strict_tells_related_rows_from_unrelated_ones():
    real = utility.strict(TRAIN, TRAIN, TEST, SCHEMA)
    assert [row["classifier"] for row in real.rows] == list(utility.CLASSIFIERS)
    assert all(row["n"] == 300 and row["n_train"] == 400 and row["classes"] == 3 for row in real.rows)
    assert predictions.mean(real, "mcc") > 0.5 and predictions.mean(real, "auc") > 0.8
    lost = utility.strict(TRAIN, baselines.marginals(TRAIN, SCHEMA, 400, 0), TEST, SCHEMA)
    assert abs(predictions.mean(lost, "mcc")) < 0.15 and abs(predictions.mean(lost, "auc") - 0.5) < 0.1
    cart = utility.strict(TRAIN, baselines.cart(TRAIN, SCHEMA, 400, 0), TEST, SCHEMA)
    assert predictions.mean(cart, "mcc") > 0.4
    again = utility.strict(TRAIN, TRAIN, TEST, SCHEMA)
    assert again.rows == real.rows
    for row in real.rows:  # the rows are scores of the predictions
        found = real.predictions[row["classifier"]]
        assert row["mcc"] == pytest.approx(sk.matthews_corrcoef(real.truth, found.predicted))
        assert row["macro_f1"] == pytest.approx(sk.f1_score(real.truth, found.predicted, average="macro"))
        assert row["weighted_f1"] == pytest.approx(sk.f1_score(real.truth, found.predicted, average="weighted"))
        assert found.predicted.shape == (300,) and found.score.shape == (300, 3)


def test_a_synthetic_table_with_one_class():
    flat = TRAIN.with_columns(pl.lit("fair").alias("label"))
    for found in (utility.strict(TRAIN, flat, TEST, SCHEMA), utility.paper(flat, TEST, SCHEMA, grids=SMALL_GRIDS)):
        assert len(found.rows) == 4
        for row in found.rows:
            assert (found.predictions[row["classifier"]].predicted == found.classes.index("fair")).all()
            assert row["classes"] == 1 and row["mcc"] == 0 and row.get("auc", 0.5) == 0.5
            assert row["accuracy"] == pytest.approx((TEST["label"] == "fair").mean())


def test_classes_that_one_side_lacks():
    few = TRAIN.filter(pl.col("label") != "fair")
    found = utility.strict(TRAIN, few, TEST, SCHEMA)
    assert found.classes == ("bad", "fair", "good")
    for row in found.rows:
        assert row["classes"] == 2 and not (found.predictions[row["classifier"]].predicted == 1).any()
        assert 0.5 < row["accuracy"] < 1 - (TEST["label"] == "fair").mean()
        assert row["auc"] > 0.7  # 0.5 for the class never heard of, high for the others
    odd = pl.concat([TRAIN, TRAIN[:30].with_columns(pl.lit("new").alias("label"))])
    found = utility.strict(TRAIN, odd, TEST.with_columns(pl.lit("good").alias("label")), SCHEMA)
    assert found.classes == ("bad", "fair", "good", "new")
    assert all(row["auc"] is None and row["classes"] == 4 for row in found.rows)  # one class in the test split


def test_rows_without_a_target():
    gaps = TRAIN.with_columns(pl.when(pl.int_range(400) < 100).then(None).otherwise("label").alias("label"))
    assert utility.strict(TRAIN, gaps, TEST, SCHEMA).rows[0]["n_train"] == 300
    with pytest.raises(CatalogError, match="test rows of mixed must all have their label"):
        utility.strict(TRAIN, TRAIN, gaps, SCHEMA)
    with pytest.raises(CatalogError, match="No row to train on"):
        utility.strict(TRAIN, gaps[:100], TEST, SCHEMA)
    with pytest.raises(CatalogError, match="No row to train on"):
        utility.majority(gaps[:100], TEST, SCHEMA)


def test_majority_by_hand():
    train = table(x=[1.0] * 5, y=["b", "a", "b", "b", "a"])
    test = table(x=[1.0] * 4, y=["b", "b", "b", "a"])
    (row,) = utility.majority(train, test, learn(train, "t", "y", "classification")).rows
    assert row == {"classifier": "majority", "accuracy": 0.75, "mcc": 0, "weighted_f1": pytest.approx(0.75 * 6 / 7)} | {
        "macro_f1": pytest.approx(3 / 7),
        "auc": 0.5,
        "n": 4,
        "n_train": 5,
        "classes": 2,
    }


def test_regression():
    test = numbers_only(150, 1)
    found = utility.strict(LINE, LINE, test, LINE_SCHEMA)
    assert [row["classifier"] for row in found.rows] == list(utility.REGRESSORS)
    assert all(row["r2"] > 0.8 for row in found.rows) and found.rows[0]["r2"] > 0.97 and found.classes == ()
    for row in found.rows:
        assert row["r2"] == pytest.approx(sk.r2_score(test["y"], found.predictions[row["classifier"]].predicted))
    lost = utility.strict(LINE, baselines.marginals(LINE, LINE_SCHEMA, 200, 0), test, LINE_SCHEMA)
    assert predictions.mean(lost, "r2") < 0.1
    (row,) = utility.majority(LINE, test, LINE_SCHEMA).rows
    assert row["classifier"] == "mean" and -0.1 < row["r2"] <= 0
    with pytest.raises(CatalogError, match="for classifications"):
        utility.paper(LINE, test, LINE_SCHEMA)


# --- the paper's form -------------------------------------------------------------------------------------------------------------------


def test_paper_encodes_each_table_by_itself():
    rows = table(c=["m", None, "z", "m"], x=[1.0, None, 5, 3], y=["p", "q", "p", "q"])
    schema = learn(rows, "t", "y", "classification")
    # the missing category is "?", before any letter; the missing number the median 3
    assert utility._by_itself(rows, schema).tolist() == [[1, 1], [0, 3], [2, 5], [1, 3]]
    assert utility._by_itself(rows[2:], schema).tolist() == [[1, 5], [0, 3]]  # m is 0 where nothing comes before it


def test_paper_searches_and_refits():
    found = utility.paper(TRAIN, TEST, SCHEMA, grids=SMALL_GRIDS)
    assert [row["classifier"] for row in found.rows] == list(SMALL_GRIDS)
    for row in found.rows:
        grid = SMALL_GRIDS[row["classifier"]]
        assert row["n_train"] == 300 and row["n"] == 300 and "auc" not in row
        assert row["parameters"].keys() == grid.keys() and all(value in grid[name] for name, value in row["parameters"].items())
        assert row["mcc"] == pytest.approx(sk.matthews_corrcoef(found.truth, found.predictions[row["classifier"]].predicted))
    assert found.rows[2]["mcc"] > 0.4
    assert utility.paper(TRAIN, TEST, SCHEMA, grids={"lr": {"C": [1e-9, 1]}}).rows[0]["parameters"] == {"C": 1}
    assert utility.paper(TRAIN, TEST, SCHEMA, grids=SMALL_GRIDS).rows == found.rows
    assert utility.paper(TRAIN, TEST, SCHEMA, seed=1, grids={"rf": SMALL_GRIDS["rf"]}).rows[0] != found.rows[2]
    assert utility.paper(TRAIN[:60], TEST, SCHEMA, grids={"lr": {"C": [1]}}).rows[0]["n_train"] == 30  # no piece above half
    with pytest.raises(CatalogError, match="no classifier 'mlp'"):
        utility.paper(TRAIN, TEST, SCHEMA, grids={"mlp": {}})
    with pytest.raises(CatalogError, match="two synthetic rows"):
        utility.paper(TRAIN[:1], TEST, SCHEMA, grids=SMALL_GRIDS)


@pytest.mark.parametrize("depths", [[None, 2], [9, 1, None]])
def test_the_short_search_of_forests_is_the_grid_search(depths):
    grid = {"n_estimators": [3, 8], "max_depth": depths, "min_samples_split": [2, 8]}
    x = np.random.default_rng(0).standard_normal((60, 6))
    y = (x[:, 0] + 0.8 * np.random.default_rng(1).standard_normal(60) > 0).astype(int) + (x[:, 1] > 0.5)
    full = GridSearchCV(RandomForestClassifier(random_state=0), grid, cv=StratifiedKFold(5)).fit(x, y)
    expected = np.stack([full.cv_results_[f"split{k}_test_score"] for k in range(5)], axis=1)
    assert utility._forest_accuracy(grid, x, y, StratifiedKFold(5), 0).tolist() == expected.tolist()
    assert utility._searched("rf", grid, x, y, 0) == full.best_params_


def test_paper_searches_on_one_piece_and_fits_on_the_rest(monkeypatch):
    rows = TRAIN.with_columns(pl.int_range(400).cast(float).alias("age"))
    schema = learn(rows, "t", "label", "classification")
    parts = {}
    monkeypatch.setattr(utility, "_searched", lambda kind, grid, x, y, seed: parts.update(search=x[:, 0]) or {"C": 1})
    predict = utility._predict
    monkeypatch.setattr(utility, "_predict", lambda model, x, *rest, **more: parts.update(fit=x[:, 0]) or predict(model, x, *rest, **more))
    utility.paper(rows, TEST, schema, grids={"lr": {"C": [1]}})
    assert len(parts["search"]) == 100 and sorted([*parts["search"], *parts["fit"]]) == list(range(400))
    assert parts["search"].tolist() != list(range(100))


def test_search_with_rare_classes(monkeypatch):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((40, 3))
    folds = []
    real = StratifiedKFold
    monkeypatch.setattr(utility, "StratifiedKFold", lambda k: folds.append(k) or real(k))
    for kind, grid in SMALL_GRIDS.items():
        y = np.repeat([0, 2, 5], [20, 17, 3])
        assert utility._searched(kind, grid, x, y, 0).keys() == grid.keys()
        y = np.repeat([0, 2, 5], [20, 19, 1])  # the single row takes no part
        assert utility._searched(kind, grid, x, y, 0).keys() == grid.keys()
        y = np.repeat([0, 2], [39, 1])
        assert utility._searched(kind, grid, x, y, 0) == {name: values[0] for name, values in grid.items()}
    assert folds == [3, 5] * 4
    rare = pl.concat([TRAIN.filter(pl.col("label") != "bad"), TRAIN.filter(pl.col("label") == "bad")[:3]])
    assert len(utility.paper(rare, TEST, SCHEMA, grids=SMALL_GRIDS).rows) == 4


def test_the_grids_are_those_of_the_release():
    sizes = {kind: int(np.prod([len(values) for values in grid.values()])) for kind, grid in utility.PAPER_GRIDS.items()}
    assert sizes == {"lr": 6, "svm": 4, "rf": 48, "xgb": 36}


# --- intervals --------------------------------------------------------------------------------------------------------------------------


def small_utility(classes: int = 3, n: int = 40, seed: int = 0) -> predictions.Utility:
    """Three classifiers that are right in about six of ten rows."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, n)
    found = {}
    for kind in ("one", "two", "three"):
        predicted = np.where(rng.random(n) < 0.6, truth, rng.integers(0, classes, n))
        found[kind] = predictions.Prediction(predicted, rng.random((n, classes)) + np.eye(classes)[predicted] / 2)
    return utility._utility(found, truth, tuple("abc"[:classes]), n, classes)


def resampled(n: int, n_boot: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, n, size=(n_boot, n))


BY_LOOP = {
    "accuracy": lambda t, p, s: sk.accuracy_score(t, p),
    "mcc": lambda t, p, s: sk.matthews_corrcoef(t, p),
    "weighted_f1": lambda t, p, s: sk.f1_score(t, p, average="weighted", zero_division=0),
    "macro_f1": lambda t, p, s: sk.f1_score(t, p, average="macro", zero_division=0),
    "auc": lambda t, p, s: np.mean([sk.roc_auc_score(t == c, s[:, c]) for c in range(3)]),
}


@pytest.mark.parametrize("metric", predictions.METRICS)
def test_draws_are_those_of_a_loop(metric):
    found = small_utility()
    index = resampled(40, 60, 7)
    loop = {kind: [BY_LOOP[metric](found.truth[i], p.predicted[i], p.score[i]) for i in index] for kind, p in found.predictions.items()}
    assert predictions.draws(found, metric, ["two"], 60, 7) == pytest.approx(np.array(loop["two"]))
    together = np.mean(list(loop.values()), axis=0)  # the same rows for all three
    assert predictions.draws(found, metric, None, 60, 7) == pytest.approx(together)
    low, high = predictions.interval(found, metric, None, 60, 0.9, 7)
    assert (low, high) == pytest.approx(tuple(np.quantile(together, [0.05, 0.95])))
    assert low < predictions.mean(found, metric) < high


def test_draws_of_r2_are_those_of_a_loop():
    rng = np.random.default_rng(0)
    truth = 1e6 + rng.standard_normal(50)  # far from zero
    found = utility._utility({"m": predictions.Prediction(truth + 0.5 * rng.standard_normal(50), None)}, truth, (), 50, None)
    loop = [sk.r2_score(truth[i], found.predictions["m"].predicted[i]) for i in resampled(50, 40, 0)]
    assert predictions.draws(found, "r2", n_boot=40) == pytest.approx(np.array(loop), abs=1e-6)


def test_draws_do_not_depend_on_chunks_and_are_those_of_the_catalog(monkeypatch):
    found = small_utility()
    whole = predictions.draws(found, "mcc")
    hits = (found.predictions["one"].predicted == found.truth).astype(float)
    assert predictions.interval(found, "accuracy", ["one"]) == pytest.approx(bootstrap(hits))
    assert predictions.interval(found, "mcc", seed=1) != predictions.interval(found, "mcc")
    monkeypatch.setattr(predictions, "_CELLS", 40 * 64)
    assert (predictions.draws(found, "mcc") == whole).all()


def test_undefined_draws_are_left_out():
    truth = np.array([0, 0, 0, 1])
    score = np.array([[-0.1, 0.1], [-0.2, 0.2], [-0.3, 0.3], [-0.4, 0.4]])
    found = utility._utility({"m": predictions.Prediction(np.zeros(4, dtype=int), score)}, truth, ("a", "b"), 4, 2)
    assert np.isnan(predictions.draws(found, "auc")).mean() == pytest.approx(0.75**4, abs=0.04)
    assert predictions.interval(found, "auc") == (1, 1)
    none = utility._utility({"m": predictions.Prediction(np.zeros(4, dtype=int), score)}, truth * 0, ("a", "b"), 4, 2)
    assert predictions.interval(none, "auc") == (None, None) and predictions.mean(none, "auc") is None


def test_draws_name_what_cannot_be_had():
    found = small_utility()
    with pytest.raises(CatalogError, match="no prediction of svm"):
        predictions.draws(found, "mcc", ["svm"])
    with pytest.raises(CatalogError, match="'r2' cannot be had"):
        predictions.draws(found, "r2")
    bare = utility._utility({"m": predictions.Prediction(found.truth, None)}, found.truth, found.classes, 40, 3)
    with pytest.raises(CatalogError, match="'auc' cannot be had"):
        predictions.draws(bare, "auc")
