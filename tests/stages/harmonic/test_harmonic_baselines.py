"""Generators without a language model: rows fit the schema, relations are kept or lost, SMOTE stays between neighbours."""

import numpy as np
import polars as pl
import pytest
from harmonic_frames import LINE, LINE_SCHEMA, SCHEMA, TEST, TRAIN, correlation, rated, table

from catalog.base.errors import CatalogError
from stages.harmonic import baselines
from stages.harmonic.schema import learn

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
