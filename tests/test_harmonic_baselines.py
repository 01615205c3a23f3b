"""Generators, utility and fidelity of the tables system: shapes and ranges, relations, metric values by hand, loops as a check."""

import numpy as np
import polars as pl
import pytest
from sklearn import metrics as sk
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import GridSearchCV, StratifiedKFold

from catalog.errors import CatalogError
from catalog.intervals import bootstrap
from stages.harmonic import baselines, fidelity, measures, utility
from stages.harmonic.tables import learn

SMALL_GRIDS = {
    "lr": {"C": [0.1, 10]},
    "svm": {"C": [1], "kernel": ["linear", "rbf"]},
    "rf": {"n_estimators": [5, 10], "max_depth": [None, 2]},
    "xgb": {"n_estimators": [3, 10]},
}


def mixed(n: int, seed: int) -> pl.DataFrame:
    """Three classes behind two numbers and two categories, cells missing in one of each."""
    rng = np.random.default_rng(seed)
    risk = rng.standard_normal(n)
    age = np.clip(np.round(45 + 12 * risk + 5 * rng.standard_normal(n)), 18, 90)
    income = np.round(np.exp(7 + 0.5 * risk + 0.2 * rng.standard_normal(n)), 2)
    job = np.array(["clerk", "nurse", "smith"], dtype=object)[np.digitize(risk + 0.3 * rng.standard_normal(n), [-0.4, 0.6])]
    town = np.array(["north", "south"], dtype=object)[rng.integers(0, 2, n)]
    label = np.array(["bad", "fair", "good"], dtype=object)[np.digitize(risk + 0.3 * rng.standard_normal(n), [-0.8, 0.3])]
    job[rng.random(n) < 0.08] = None
    income[(rng.random(n) < 0.5) & (town == "north")] = np.nan  # missing in the north only
    columns = {"age": age, "income": income, "job": job.tolist(), "town": town.tolist(), "label": label.tolist()}
    return pl.DataFrame(columns).with_columns(pl.col("income").fill_nan(None))


TRAIN, TEST = mixed(400, 0), mixed(300, 1)
SCHEMA = learn(TRAIN, "mixed", "label", "classification")


def numbers_only(n: int, seed: int) -> pl.DataFrame:
    """A regression: y = 3 a - b + noise."""
    a, b, noise = np.random.default_rng(seed).standard_normal((3, n))
    return pl.DataFrame({"a": np.round(a, 3), "b": np.round(b, 3), "y": np.round(3 * a - b + 0.3 * noise, 2) * 1000 + 20_000})


LINE = numbers_only(200, 0)
LINE_SCHEMA = learn(LINE, "line", "y", "regression")


def table(**columns) -> pl.DataFrame:
    return pl.DataFrame(columns)


def correlation(rows: pl.DataFrame, a: str, b: str) -> float:
    """Of the rows that have both."""
    known = rows.select(a, b).drop_nulls()
    return float(np.corrcoef(known[a].to_numpy(), known[b].to_numpy())[0, 1])


def rated(rows: pl.DataFrame) -> pl.DataFrame:
    """Categories as numbers, to correlate them; gap says that the income is missing."""
    return rows.with_columns(
        (pl.col("label") == "good").cast(float).alias("good"),
        (pl.col("town") == "north").cast(float).alias("north"),
        (pl.col("job") == "smith").cast(float).alias("smith"),
        pl.col("income").is_null().cast(float).alias("gap"),
    )


# --- generators: what all of them hold --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", baselines.GENERATORS)
@pytest.mark.parametrize("n", [1, 650])
def test_rows_fit_the_schema(name, n):
    made = baselines.GENERATORS[name](TRAIN, SCHEMA, n, 3)
    assert made.columns == SCHEMA.names and len(made) == n
    for column in SCHEMA.columns:
        cells = made[column.name]
        assert cells.dtype == (pl.Float64 if column.numeric else pl.String)
        if column.numeric:
            known = cells.drop_nulls().to_numpy()
            assert np.isfinite(known).all() and (known >= column.low).all() and (known <= column.high).all()
            assert (known == np.round(known, column.decimals)).all()
        else:
            assert set(cells.drop_nulls()) <= set(column.levels)
        assert bool(cells.null_count()) == (n == 650 and column.missing > 0) or n == 1


@pytest.mark.parametrize("name", baselines.GENERATORS)
def test_a_seed_gives_the_same_rows_and_another_one_others(name):
    make = baselines.GENERATORS[name]
    assert make(TRAIN, SCHEMA, 50, 1).equals(make(TRAIN, SCHEMA, 50, 1))
    assert not make(TRAIN, SCHEMA, 50, 1).equals(make(TRAIN, SCHEMA, 50, 2))


@pytest.mark.parametrize("name", baselines.GENERATORS)
def test_regressions_and_tables_of_one_kind_of_column(name):
    make = baselines.GENERATORS[name]
    made = make(LINE, LINE_SCHEMA, 333, 0)
    assert made.schema == LINE.schema and len(made) == 333
    words = TRAIN.select("job", "town", "label")
    made = make(words, learn(words, "words", "label", "classification"), 333, 0)
    assert made.schema == words.schema and len(made) == 333 and made["label"].n_unique() == 3


@pytest.mark.parametrize("name", baselines.GENERATORS)
def test_generators_refuse_what_they_cannot_use(name):
    make = baselines.GENERATORS[name]
    for rows, n in ((TRAIN, 0), (TRAIN[:0], 5)):
        with pytest.raises(CatalogError, match="needs real rows"):
            make(rows, SCHEMA, n, 0)
    with pytest.raises(CatalogError, match="no column 'town'"):
        make(TRAIN.drop("town"), SCHEMA, 5, 0)


@pytest.mark.parametrize("name", ["smote", "cart", "copula"])
def test_a_level_that_the_schema_lacks_is_named(name):
    with pytest.raises(CatalogError, match="job has a level 'baker'"):
        baselines.GENERATORS[name](TRAIN.with_columns(pl.lit("baker").alias("job")), SCHEMA, 5, 0)


# --- generators: relations --------------------------------------------------------------------------------------------------------------

PAIRS = [("age", "income"), ("age", "good"), ("good", "smith"), ("gap", "north")]


def test_marginals_keep_columns_and_lose_relations():
    made = baselines.marginals(TRAIN, SCHEMA, 4000, 0)
    assert abs(correlation(TRAIN, "age", "income")) > 0.6
    assert max(abs(correlation(rated(made), a, b)) for a, b in PAIRS) < 0.06
    for name in SCHEMA.names:
        assert set(made[name].unique()) <= set(TRAIN[name].unique())
    assert made["age"].mean() == pytest.approx(TRAIN["age"].mean(), abs=1)
    assert made["job"].null_count() / 4000 == pytest.approx(SCHEMA["job"].missing, abs=0.02)


@pytest.mark.parametrize(("name", "near"), [("cart", 0.06), ("copula", 0.1)])
def test_cart_and_copula_keep_relations(name, near):
    made = rated(baselines.GENERATORS[name](TRAIN, SCHEMA, 4000, 0))
    real = rated(TRAIN)
    for a, b in PAIRS:
        assert correlation(made, a, b) == pytest.approx(correlation(real, a, b), abs=near), (a, b)
        assert abs(correlation(real, a, b)) > 0.35
    for name in ("label", "job", "town"):
        shares = [rows[name].value_counts(normalize=True).sort(name)["proportion"].to_numpy() for rows in (made, real)]
        assert np.abs(shares[0] - shares[1]).max() < 0.04
    assert made["gap"].mean() == pytest.approx(real["gap"].mean(), abs=0.03)


def test_copula_of_yes_and_no_columns_does_not_shrink_their_relation():
    rng = np.random.default_rng(0)
    x = rng.random(1000) < 0.5
    y = np.where(rng.random(1000) < 0.85, x, ~x)
    rows = table(x=np.where(x, "yes", "no").tolist(), y=np.where(y, "yes", "no").tolist())
    made = baselines.copula(rows, learn(rows, "t", "y", "classification"), 5000, 0)
    agree = (made["x"] == made["y"]).mean()
    assert agree == pytest.approx((x == y).mean(), abs=0.03)  # 0.75 from the correlation of the scores as it is


def test_copula_orders_levels_by_the_target():
    rng = np.random.default_rng(0)
    level = rng.integers(0, 3, 900)
    rows = table(c=np.array(list("abc"))[level].tolist(), y=np.array([0.0, 10, 1])[level] + rng.integers(0, 3, 900))  # b, not c, is highest
    made = baselines.copula(rows, learn(rows, "t", "y", "regression"), 3000, 0)
    means = dict(made.group_by("c").agg(pl.col("y").mean()).iter_rows())
    assert means["b"] > 9 and means["a"] < 4 and means["c"] < 4


def test_cart_draws_training_values_of_the_leaf():
    x = np.repeat(np.arange(5.0), 20)
    rows = table(x=x, same=x * 10, y=np.where(x > 2, "hi", "lo").tolist())
    made = baselines.cart(rows, learn(rows, "t", "y", "classification"), 500, 0)
    assert (made["same"] == made["x"] * 10).all() and ((made["x"] > 2) == (made["y"] == "hi")).all()
    assert set(made["x"]) == set(x)
    apart = pl.concat([rows, table(x=[9.0] * 3, same=[7.5] * 3, y=["hi"] * 3)])  # three of a kind are no leaf of their own
    made = baselines.cart(apart, learn(apart, "t", "y", "classification"), 3000, 0).filter(pl.col("x") == 9)
    assert len(made) > 30 and 0 < (made["same"] == 7.5).mean() < 0.6


def test_copies_use_every_row_before_any_twice():
    rows = TRAIN.with_columns(pl.int_range(400).cast(float).alias("age"))
    schema = learn(rows, "t", "label", "classification")
    whole = baselines.copy_of_train(rows, schema, 400, 0)
    assert whole.sort("age").equals(rows) and not whole.equals(rows)
    counts = baselines.copy_of_train(rows, schema, 1000, 0)["age"].value_counts()["count"]
    assert len(counts) == 400 and counts.min() == 2 and counts.max() == 3
    held = baselines.holdout_rows(TEST.with_columns(pl.lit("baker").alias("job")), SCHEMA, 20, 0)
    assert held.columns == SCHEMA.names and set(held["job"]) == {"baker"}  # real rows stay as they are


# --- SMOTE ------------------------------------------------------------------------------------------------------------------------------


def test_smote_keeps_the_class_shares():
    counts = TRAIN["label"].value_counts().sort("label")["count"].to_numpy()
    made = baselines.smote(TRAIN, SCHEMA, 137, 0)["label"].value_counts().sort("label")["count"].to_numpy()
    assert np.abs(made - 137 * counts / 400).max() < 1 and made.sum() == 137
    assert baselines.smote(TRAIN, SCHEMA, 137, 0)["label"][:20].n_unique() > 1  # not class by class
    assert baselines._apportioned(np.array([6, 3, 1]), 11).tolist() == [7, 3, 1]  # 6.6, 3.3, 1.1
    assert baselines._apportioned(np.array([1, 1, 1]), 2).tolist() == [1, 1, 0]


def test_smote_stays_between_neighbours_of_a_class():
    near = table(a=[0.0, 10, 100, 110], b=[0.0, 10, 100, 110], y=["n", "n", "f", "f"])
    schema = learn(near.with_columns(pl.col("a", "b") + 0.001), "t", "y", "classification")  # three decimals
    made = baselines.smote(near, schema, 200, 0)
    low = made.filter(pl.col("y") == "n")
    assert len(low) == 100 and low["a"].max() <= 10 and made.filter(pl.col("y") == "f")["a"].min() >= 100
    assert ((low["a"] - low["b"]).abs() < 0.003).all()  # on the segment
    assert low["a"].n_unique() > 90 and low["a"].std() > 1  # anywhere on it


def test_smote_finds_neighbours_on_one_scale():
    rng = np.random.default_rng(0)
    side = np.repeat([0.0, 1.0], 30)  # two groups a unit apart, hidden behind a column of thousands
    rows = table(unit=side + np.round(0.01 * rng.random(60), 3), large=np.round(1000 * rng.random(60)), y=["p"] * 60)
    rows = rows.with_columns(pl.when(pl.int_range(60) < 2).then(pl.lit("q")).otherwise("y").alias("y"))
    made = baselines.smote(rows, learn(rows, "t", "y", "classification"), 400, 0)
    between = ((made["unit"] > 0.05) & (made["unit"] < 0.95)).mean()
    assert between < 0.15  # near half where the large column alone decides


def test_smote_votes_on_categories_and_missing_cells():
    rows = table(
        x=[0.0, 1, 2, 3, 4, 5, 50, 51, 52, 53, 54, 55],
        z=[None] * 6 + [1.0, 2, 3, 4, 5, 6],
        c=["a"] * 6 + ["b"] * 5 + [None],
        y=["p"] * 6 + ["q"] * 6,
    )
    made = baselines.smote(rows, learn(rows, "t", "y", "classification"), 200, 0)
    p, q = made.filter(pl.col("y") == "p"), made.filter(pl.col("y") == "q")
    assert set(p["c"]) == {"a"} and set(q["c"]) == {"b"}  # one missing of six loses every vote
    assert p["z"].null_count() == 100 and q["z"].null_count() == 0
    assert q["x"].min() >= 50


def test_smote_of_small_classes():
    rows = table(x=[*map(float, range(20)), 40.0, 41.0, 90.0], c=["a", "b"] * 10 + ["a", "a", "b"], y=["p"] * 20 + ["q"] * 2 + ["r"])
    made = baselines.smote(rows, learn(rows, "t", "y", "classification"), 230, 0)
    counts = dict(made["y"].value_counts().iter_rows())
    assert counts == {"p": 200, "q": 20, "r": 10}
    assert set(made.filter(pl.col("y") == "r")["x"]) == {90.0} and set(made.filter(pl.col("y") == "q")["x"]) <= {40.0, 41.0}
    words = rows.with_columns(pl.Series("d", ["u"] * 22 + ["v"])).drop("x")
    made = baselines.smote(words, learn(words, "t", "y", "classification"), 230, 0)
    assert dict(made["y"].value_counts().iter_rows()) == counts
    assert set(made.filter(pl.col("y") == "r").rows()) == {("b", "r", "v")}
    with pytest.raises(CatalogError, match="two classes"):
        baselines.smote(words[:20], learn(words, "t", "y", "classification"), 5, 0)


def test_smote_interpolates_the_target_of_a_regression():
    x = np.arange(50.0)
    rows = table(x=x, c=["a"] * 50, y=2 * x + 0.25)
    schema = learn(rows.with_columns(pl.col("x") + 0.001), "t", "y", "regression")
    made = baselines.smote(rows, schema, 300, 0)
    assert ((made["y"] - 2 * made["x"] - 0.25).abs() < 0.02).all() and made["y"].n_unique() > 100


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
    found = measures.scores(np.array(confusion))
    expected = {"accuracy": accuracy, "mcc": mcc, "weighted_f1": weighted, "macro_f1": macro}
    assert {name: float(value) for name, value in found.items()} == pytest.approx(expected)


def test_auc_by_hand_with_ties_and_weights():
    truth, score = np.array([0, 0, 1, 1]), np.array([0.1, 0.5, 0.5, 0.9])
    both = np.stack([-score, score], axis=1)
    assert measures.auc(truth, both)[0] == 3.5 / 4  # of four pairs three are right and one is a tie
    weights = np.array([[1, 1, 1, 1], [2, 1, 1, 0], [0, 0, 3, 1]], dtype=float)
    assert measures.auc(truth, both, weights)[:2].tolist() == [3.5 / 4, 2.5 / 3]
    assert np.isnan(measures.auc(truth, both, weights)[2])  # no row of the first class


def test_auc_of_three_classes_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 60)
    score = np.round(rng.random((60, 3)) + np.eye(3)[truth] * 0.4, 1)  # many ties
    score /= score.sum(1, keepdims=True)
    assert measures.auc(truth, score)[0] == pytest.approx(sk.roc_auc_score(truth, score, multi_class="ovr"))


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
    assert measures.mean(real, "mcc") > 0.5 and measures.mean(real, "auc") > 0.8
    lost = utility.strict(TRAIN, baselines.marginals(TRAIN, SCHEMA, 400, 0), TEST, SCHEMA)
    assert abs(measures.mean(lost, "mcc")) < 0.15 and abs(measures.mean(lost, "auc") - 0.5) < 0.1
    cart = utility.strict(TRAIN, baselines.cart(TRAIN, SCHEMA, 400, 0), TEST, SCHEMA)
    assert measures.mean(cart, "mcc") > 0.4
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
    assert measures.mean(lost, "r2") < 0.1
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


def small_utility(classes: int = 3, n: int = 40, seed: int = 0) -> measures.Utility:
    """Three classifiers that are right in about six of ten rows."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, n)
    found = {}
    for kind in ("one", "two", "three"):
        predicted = np.where(rng.random(n) < 0.6, truth, rng.integers(0, classes, n))
        found[kind] = measures.Prediction(predicted, rng.random((n, classes)) + np.eye(classes)[predicted] / 2)
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


@pytest.mark.parametrize("metric", measures.METRICS)
def test_draws_are_those_of_a_loop(metric):
    found = small_utility()
    index = resampled(40, 60, 7)
    loop = {kind: [BY_LOOP[metric](found.truth[i], p.predicted[i], p.score[i]) for i in index] for kind, p in found.predictions.items()}
    assert measures.draws(found, metric, ["two"], 60, 7) == pytest.approx(np.array(loop["two"]))
    together = np.mean(list(loop.values()), axis=0)  # the same rows for all three
    assert measures.draws(found, metric, None, 60, 7) == pytest.approx(together)
    low, high = measures.interval(found, metric, None, 60, 0.9, 7)
    assert (low, high) == pytest.approx(tuple(np.quantile(together, [0.05, 0.95])))
    assert low < measures.mean(found, metric) < high


def test_draws_of_r2_are_those_of_a_loop():
    rng = np.random.default_rng(0)
    truth = 1e6 + rng.standard_normal(50)  # far from zero
    found = utility._utility({"m": measures.Prediction(truth + 0.5 * rng.standard_normal(50), None)}, truth, (), 50, None)
    loop = [sk.r2_score(truth[i], found.predictions["m"].predicted[i]) for i in resampled(50, 40, 0)]
    assert measures.draws(found, "r2", n_boot=40) == pytest.approx(np.array(loop), abs=1e-6)


def test_draws_do_not_depend_on_chunks_and_are_those_of_the_catalog(monkeypatch):
    found = small_utility()
    whole = measures.draws(found, "mcc")
    hits = (found.predictions["one"].predicted == found.truth).astype(float)
    assert measures.interval(found, "accuracy", ["one"]) == pytest.approx(bootstrap(hits))
    assert measures.interval(found, "mcc", seed=1) != measures.interval(found, "mcc")
    monkeypatch.setattr(measures, "_CELLS", 40 * 64)
    assert (measures.draws(found, "mcc") == whole).all()


def test_undefined_draws_are_left_out():
    truth = np.array([0, 0, 0, 1])
    score = np.array([[-0.1, 0.1], [-0.2, 0.2], [-0.3, 0.3], [-0.4, 0.4]])
    found = utility._utility({"m": measures.Prediction(np.zeros(4, dtype=int), score)}, truth, ("a", "b"), 4, 2)
    assert np.isnan(measures.draws(found, "auc")).mean() == pytest.approx(0.75**4, abs=0.04)
    assert measures.interval(found, "auc") == (1, 1)
    none = utility._utility({"m": measures.Prediction(np.zeros(4, dtype=int), score)}, truth * 0, ("a", "b"), 4, 2)
    assert measures.interval(none, "auc") == (None, None) and measures.mean(none, "auc") is None


def test_draws_name_what_cannot_be_had():
    found = small_utility()
    with pytest.raises(CatalogError, match="no prediction of svm"):
        measures.draws(found, "mcc", ["svm"])
    with pytest.raises(CatalogError, match="'r2' cannot be had"):
        measures.draws(found, "r2")
    bare = utility._utility({"m": measures.Prediction(found.truth, None)}, found.truth, found.classes, 40, 3)
    with pytest.raises(CatalogError, match="'auc' cannot be had"):
        measures.draws(bare, "auc")


# --- fidelity ---------------------------------------------------------------------------------------------------------------------------

CALLS = {
    "quality": lambda s: fidelity.quality(TRAIN, TEST, SCHEMA, s),
    "diagnostic": lambda s: fidelity.diagnostic(TRAIN, TEST, SCHEMA, s),
    "detection": lambda s: fidelity.detection(TRAIN, TEST, SCHEMA, s),
    "disclosure": lambda s: fidelity.disclosure(TRAIN, TEST, SCHEMA, ["age", "town"], ["job"], s),
    "baseline": lambda s: fidelity.dcr_baseline_protection(TRAIN, TEST, SCHEMA, s, 60),
    "overfitting": lambda s: fidelity.dcr_overfitting_protection(TRAIN, TEST, TEST, SCHEMA, s, 60),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_call_gives_the_same_twice_in_silence_and_leaves_the_generator_alone(name, capfd):
    np.random.seed(5)
    first = CALLS[name](1)
    np.random.seed(99)
    before = np.random.get_state()[1].copy()
    assert CALLS[name](1) == first
    assert (np.random.get_state()[1] == before).all()
    assert capfd.readouterr() == ("", "")
    assert all(value is None or 0 <= value <= 1 for key, value in first.items() if key != "pairs")
    if name in ("detection", "baseline"):
        assert CALLS[name](2) != first


def test_quality_by_hand():
    real = table(c=["a"] * 6 + ["b"] * 4, x=[float(i) for i in range(10)], y=["p"] * 5 + ["q"] * 5)
    schema = learn(real, "t", "y", "classification")
    assert fidelity.quality(real, real, schema)["overall"] == 1
    synthetic = table(c=["a"] * 9 + ["b"], x=[float(i) for i in range(5, 15)], y=["p"] * 5 + ["q"] * 5)
    found = fidelity.quality(real, synthetic, schema)
    assert found["column_shapes"] == pytest.approx((0.7 + 0.5 + 1) / 3)  # total variation 0.3, KS 0.5, none
    assert found["overall"] == pytest.approx((found["column_shapes"] + found["pair_trends"]) / 2)
    assert found["pairs"] == 3
    apart = table(c=["a", "b"] * 50, y=["p", "p", "q", "q"] * 25)
    assert fidelity.quality(apart, apart, learn(apart, "t", "y", "classification")) == {
        "column_shapes": 1,
        "pair_trends": None,  # no pair is related in the real table
        "overall": 1,
        "pairs": 0,
    }


def test_diagnostic_by_hand():
    real = table(x=[0.0, 1, 2, 3], y=["p", "q", "p", "q"])
    schema = learn(real, "t", "y", "classification")
    assert fidelity.diagnostic(real, real, schema) == {"validity": 1, "structure": 1, "overall": 1}
    odd = table(x=[0.0, 9, 9, 9], y=["p", "q", "p", "z"])
    assert fidelity.diagnostic(real, odd, schema) == {"validity": (0.25 + 0.75) / 2, "structure": 1, "overall": 0.75}


def test_detection():
    same = fidelity.detection(TRAIN, mixed(400, 7), SCHEMA)
    assert same["score"] > 0.8 and 0.5 <= same["auc"] < 0.6
    far = TRAIN.with_columns(pl.col("age") + 100)
    assert fidelity.detection(TRAIN, far, SCHEMA) == {"score": pytest.approx(0, abs=1e-9), "auc": pytest.approx(1)}
    unseen = TRAIN.with_columns(pl.lit("baker").alias("job"))  # sdmetrics alone stops here
    assert fidelity.detection(TRAIN, unseen, SCHEMA)["auc"] > 0.95
    with pytest.raises(CatalogError, match="at least three rows"):
        fidelity.detection(TRAIN, TRAIN[:2], SCHEMA)


def test_detection_is_that_of_sdmetrics():
    from sdmetrics.single_table import LogisticDetection

    lost = baselines.marginals(TRAIN, SCHEMA, 400, 0).with_columns(pl.col("age") + 9)
    frames = [fidelity._pandas(rows, SCHEMA) for rows in (TRAIN, lost)]
    with fidelity._quiet(4):
        expected = LogisticDetection.compute(*frames, metadata=fidelity._metadata(SCHEMA), table_name="table")
    assert fidelity.detection(TRAIN, lost, SCHEMA, 4)["score"] == pytest.approx(expected, abs=0.02)
    assert expected < 0.9


def test_disclosure_by_hand():
    real = table(k=["a", "a", "b", "c"], s=["u", "v", "u", "u"], y=["p", "q", "p", "q"])
    synthetic = table(k=["a", "a", "a", "b"], s=["u", "u", "v", "v"], y=["p", "q", "p", "q"])
    schema = learn(real, "t", "y", "classification")
    found = fidelity.disclosure(real, synthetic, schema, ["k"], ["s"])
    # the right guess: 2/3, 1/3 and 0; c has no row. Two levels: a random guess leaves 1/2.
    assert found["cap_protection"] == pytest.approx(2 / 3) and found["baseline_protection"] == 0.5 and found["score"] == 1
    assert fidelity.disclosure(real, synthetic.with_columns(pl.lit("z").alias("k")), schema, ["k"], ["s"])["score"] is None
    copied = fidelity.disclosure(real.head(1), real.head(1), schema, ["k"], ["s"])
    assert copied["cap_protection"] == 0
    for known, sensitive in (([], ["s"]), (["k"], []), (["k"], ["k"])):
        with pytest.raises(CatalogError, match="at least one of each"):
            fidelity.disclosure(real, synthetic, schema, known, sensitive)
    with pytest.raises(CatalogError, match="no column 'age'"):
        fidelity.disclosure(real, synthetic, schema, ["age"], ["s"])


def test_disclosure_of_large_tables_is_estimated(monkeypatch, capfd):
    args = TRAIN[:60], TEST[:60], SCHEMA, ["age", "town"], ["job"]
    exact = fidelity.disclosure(*args)
    monkeypatch.setattr(fidelity, "EXACT_ROWS", 59)
    assert fidelity.disclosure(*args) == pytest.approx(exact)  # samples of 1,000 rows are the whole tables here
    assert capfd.readouterr() == ("", "")


def test_the_ends_of_the_privacy_scale():
    copies = baselines.copy_of_train(TRAIN, SCHEMA, 80, 0)
    assert fidelity.dcr_baseline_protection(TRAIN, copies, SCHEMA)["score"] == 0
    few, other = (rows.drop_nulls("income")[:100] for rows in (TRAIN, TEST))  # no row of both
    assert fidelity.dcr_overfitting_protection(few, other, few[:50], SCHEMA) == {"score": 0, "closer_to_train": 1}
    assert fidelity.dcr_overfitting_protection(other, few, few[:50], SCHEMA)["score"] == 1
    fresh = fidelity.dcr_baseline_protection(TRAIN[:100], TEST[:80], SCHEMA)
    assert fresh["score"] == pytest.approx(fresh["synthetic"] / fresh["random"]) and 0.01 < fresh["score"] < 1


def test_the_random_baseline_of_whole_numbers_is_whole():
    rows = table(x=[0.0, 1] * 10, y=["p", "q"] * 10)
    schema = learn(rows, "t", "y", "classification")
    assert fidelity.dcr_baseline_protection(rows, rows, schema)["random"] in (0.0, 0.5)
    assert fidelity._whole([rows], schema) == ["x"] and fidelity._whole([rows, rows.with_columns(pl.col("x") / 2)], schema) == []
    assert fidelity._whole([TRAIN, TEST], SCHEMA) == ["age"]


def test_distances_of_a_part():
    few = fidelity._few(TRAIN, 60, 0)
    assert len(few) == 60 and few.is_unique().sum() >= 55 and not few.equals(fidelity._few(TRAIN, 60, 1))
    assert fidelity._few(TRAIN, 400, 0) is TRAIN
    found = fidelity.dcr_baseline_protection(TRAIN, TEST, SCHEMA, 0, 60)
    assert found == fidelity.dcr_baseline_protection(few, fidelity._few(TEST, 60, 0), SCHEMA, 0)


def test_fidelity_refuses_other_tables():
    with pytest.raises(CatalogError, match="no column 'town'"):
        fidelity.quality(TRAIN, TEST.drop("town"), SCHEMA)
    with pytest.raises(CatalogError, match="make rows first"):
        fidelity.diagnostic(TRAIN, TEST[:0], SCHEMA)
