"""Utility of synthetic rows: classifiers trained on them and tested on real rows (MLE of arXiv 2408.02927).

Two forms. `strict` encodes every table by the real training rows, with parameters fixed beforehand; `paper` does as the released code:
labels encoded in each table by themselves, no scaling, parameters searched on 100 synthetic rows. Both return the prediction for each row
of the test split, which `interval` resamples. `majority` is what a score is worth without any feature.

C is the number of classes: those of the schema, then any other that the synthetic or the test rows hold, by name. Accuracy, F1 and AUC lie
in [0, 1], MCC in [-1, 1], R2 below 1. What is undefined (AUC of a test split with one class) is None and never 0.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from sklearn.base import BaseEstimator
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, ParameterGrid, StratifiedKFold
from sklearn.svm import SVC, SVR

from catalog.base.errors import CatalogError
from stages.harmonic.predictions import METRICS, Prediction, Utility, measure
from stages.harmonic.schema import Schema, coded, scale

CLASSIFIERS = ("lr", "svm", "rf", "xgb")
REGRESSORS = ("ridge", "svr", "rf", "xgb")
PAPER_GRIDS: dict[str, dict[str, list]] = {
    "lr": {"C": [0.001, 0.01, 0.1, 1, 10, 100]},
    "svm": {"C": [0.5, 1], "kernel": ["linear", "rbf"]},
    "rf": {"n_estimators": [10, 50, 100, 200], "max_depth": [None, 10, 20, 30], "min_samples_split": [2, 5, 10]},
    "xgb": {"n_estimators": [10, 50, 100], "learning_rate": [0.01, 0.05, 0.1], "max_depth": [3, 5, 7, 10]},
}
SVM_STEPS = 100_000  # of the paper form; a linear SVM on columns without scaling takes 2e8 steps, 20 seconds, for 100 rows of German credit


# --- training on synthetic, testing on real ---------------------------------------------------------------------------------------------


def strict(train: pl.DataFrame, synthetic: pl.DataFrame, test: pl.DataFrame, schema: Schema, seed: int = 0) -> Utility:
    """Each of `CLASSIFIERS` (in a regression, of `REGRESSORS`) fitted on ``synthetic`` and tested on ``test``.

    ``train`` are the real training rows that the encoding is learnt from; as ``synthetic`` they give the reference. Parameters are fixed:
    logistic regression and ridge with scikit-learn's penalty, SVM with an RBF kernel and C 1 (its decision function is the score), random
    forest of 100 trees, XGBoost with 100 trees of depth 5 at learning rate 0.1. Synthetic rows without a target are left out of the fit. A
    table with one class makes every classifier predict that class: ``classes`` of the rows says 1.
    """
    encoder = encode(train, schema)
    x, x_test = encoder(synthetic), encoder(test)
    if schema.task == "regression":
        y, truth = _values(synthetic, schema), _values(test, schema)
        keep = _trainable(np.isfinite(y), np.isfinite(truth), schema)
        centre, spread = (ends[0] for ends in scale(_values(train, schema)[:, None]))  # an SVM's epsilon and C need a target of unit scale
        predictions = {}
        for kind in REGRESSORS:
            model = _regressor(kind, seed).fit(x[keep], (y[keep] - centre) / spread)
            predictions[kind] = Prediction(model.predict(x_test).astype(np.float64) * spread + centre, None)
        return _utility(predictions, truth, (), int(keep.sum()), None)
    classes, (y, truth) = _labels([synthetic, test], schema)
    keep = _trainable(y >= 0, truth >= 0, schema)
    predictions = {kind: _predict(_classifier(kind, seed), x[keep], y[keep], x_test, len(classes)) for kind in CLASSIFIERS}
    return _utility(predictions, truth, classes, int(keep.sum()), len(np.unique(y[keep])))


def paper(
    synthetic: pl.DataFrame,
    test: pl.DataFrame,
    schema: Schema,
    seed: int = 0,
    grids: Mapping[str, Mapping[str, list]] = PAPER_GRIDS,
    piece: int = 100,
) -> Utility:
    """MLE as released: categories label-encoded in each table by itself, no scaling, parameters by grid search, refit on the other rows.

    ``piece`` random rows (at most half of the table) are cut off for the search by five-fold cross-validation and accuracy, and the best
    parameters refitted on the rest. Where a class has fewer than five rows in the piece there are as many folds as the rarest class has
    rows; classes with a single row are left out of the search, not of the refit; with fewer than two classes left the first values of each
    grid stand. Ours, where the release is silent: parameters outside ``grids`` are the libraries' own, a missing category is a label of its
    own ("?", as in Adult), a missing number the median of its own table. The target alone is encoded in common, as it is 0, 1, ... in the
    released tables. SVMs stop after `SVM_STEPS`.

    Args:
        grids: values of each parameter by classifier; a classifier that is left out is not trained.

    Returns:
        Rows without AUC (the released code prints MCC and weighted F1), with the parameters chosen.

    Raises:
        CatalogError: a regression, a classifier that is none of `CLASSIFIERS`, fewer than two synthetic rows.
    """
    if schema.task == "regression":
        raise CatalogError(f"The paper's form of utility is for classifications; use the strict form for {schema.table}.")
    if unknown := [kind for kind in grids if kind not in CLASSIFIERS]:
        raise CatalogError(f"There is no classifier {unknown[0]!r} to be searched; use {', '.join(CLASSIFIERS)}.")
    classes, (y, truth) = _labels([synthetic, test], schema)
    keep = _trainable(y >= 0, truth >= 0, schema)
    x, x_test, y = _by_itself(synthetic, schema)[keep], _by_itself(test, schema), y[keep]
    if len(y) < 2:
        raise CatalogError("The paper's form of utility needs two synthetic rows, one to search with and one to fit; make more rows.")
    order = np.random.default_rng(seed).permutation(len(y))
    cut, rest = np.split(order, [min(piece, len(y) // 2)])
    predictions, chosen = {}, {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # unscaled columns keep logistic regression and the SVM from converging
        for kind, grid in grids.items():
            chosen[kind] = _searched(kind, grid, x[cut], y[cut], seed)
            model = _bare(kind, seed).set_params(**chosen[kind])
            predictions[kind] = _predict(model, x[rest], y[rest], x_test, len(classes), scored=False)
    found = _utility(predictions, truth, classes, len(rest), len(np.unique(y[rest])))
    for row in found.rows:
        row["parameters"] = chosen[row["classifier"]]
    return found


def majority(train: pl.DataFrame, test: pl.DataFrame, schema: Schema) -> Utility:
    """The most frequent class of ``train`` (the first by name of several) for every row of ``test``; its mean in a regression."""
    if schema.task == "regression":
        y, truth = _values(train, schema), _values(test, schema)
        keep = _trainable(np.isfinite(y), np.isfinite(truth), schema)
        return _utility({"mean": Prediction(np.full(len(truth), y[keep].mean()), None)}, truth, (), int(keep.sum()), None)
    classes, (y, truth) = _labels([train, test], schema)
    keep = _trainable(y >= 0, truth >= 0, schema)
    most = int(np.bincount(y[keep]).argmax())
    found = Prediction(np.full(len(truth), most), np.zeros((len(truth), len(classes))))
    return _utility({"majority": found}, truth, classes, int(keep.sum()), len(np.unique(y[keep])))


def _classifier(kind: str, seed: int) -> BaseEstimator:
    if kind == "lr":
        return LogisticRegression(max_iter=2000)
    if kind == "svm":
        return SVC()
    if kind == "rf":
        return RandomForestClassifier(100, random_state=seed, n_jobs=1)
    from xgboost import XGBClassifier  # takes half a second

    return XGBClassifier(n_estimators=100, max_depth=5, learning_rate=0.1, random_state=seed, n_jobs=1)


def _regressor(kind: str, seed: int) -> BaseEstimator:
    if kind == "ridge":
        return Ridge()
    if kind == "svr":
        return SVR()
    if kind == "rf":
        return RandomForestRegressor(100, random_state=seed, n_jobs=1)
    from xgboost import XGBRegressor

    return XGBRegressor(n_estimators=100, max_depth=5, learning_rate=0.1, random_state=seed, n_jobs=1)


def _bare(kind: str, seed: int) -> BaseEstimator:
    """A classifier of the paper form before its grid."""
    if kind == "lr":
        return LogisticRegression(max_iter=1000)  # released; scikit-learn's own 100 stop before columns without scaling converge
    if kind == "svm":
        return SVC(max_iter=SVM_STEPS)
    if kind == "rf":
        return RandomForestClassifier(random_state=seed, n_jobs=1)
    from xgboost import XGBClassifier

    return XGBClassifier(random_state=seed, n_jobs=1)


def _predict(model: BaseEstimator, x: np.ndarray, y: np.ndarray, x_test: np.ndarray, count: int, scored: bool = True) -> Prediction:
    """A classifier fitted on the classes there are; of the others, and of a single one, all rows have the same score."""
    present = np.unique(y)
    score = np.zeros((len(x_test), count)) if scored else None
    if len(present) == 1:
        return Prediction(np.full(len(x_test), present[0]), score)
    model.fit(x, np.searchsorted(present, y))  # XGBoost wants 0, 1, ... without a gap
    predicted = present[model.predict(x_test)]
    if scored:
        held = model.decision_function(x_test) if isinstance(model, SVC) else model.predict_proba(x_test)
        score[:, present] = np.stack([-held, held], axis=1) if held.ndim == 1 else held
    return Prediction(predicted, score)


# --- search of the paper form -----------------------------------------------------------------------------------------------------------


def _searched(kind: str, grid: Mapping[str, list], x: np.ndarray, y: np.ndarray, seed: int) -> dict:
    """Parameters of the highest mean accuracy over the folds, the first of several in scikit-learn's order."""
    present, counts = np.unique(y, return_counts=True)
    several = np.isin(y, present[counts > 1])
    x, y = x[several], np.unique(y[several], return_inverse=True)[1]
    counts = counts[counts > 1]
    if len(counts) < 2:
        return ParameterGrid(grid)[0]
    folds = StratifiedKFold(min(5, int(counts.min())))
    if kind == "rf":
        return ParameterGrid(grid)[int(_forest_accuracy(grid, x, y, folds, seed).mean(1).argmax())]
    return GridSearchCV(_bare(kind, seed), dict(grid), cv=folds).fit(x, y).best_params_


def _forest_accuracy(grid: Mapping[str, list], x: np.ndarray, y: np.ndarray, folds: StratifiedKFold, seed: int) -> np.ndarray:
    """Accuracy (options, folds) of random forests: what `GridSearchCV` finds, with a quarter of its trees.

    A forest's first trees are those of the smaller forest with the same seed, and a limit on the depth that no tree reaches changes none.
    """
    options = list(ParameterGrid(grid))
    accuracy = np.zeros((len(options), folds.get_n_splits()))
    largest = max(grid.get("n_estimators", [100]))
    for fold, (fit, held) in enumerate(folds.split(x, y)):
        grown: dict[tuple, list[tuple[int | None, int, np.ndarray]]] = {}  # by the other parameters: limit, depth reached, hits by size
        for i, option in enumerate(options):
            others = {name: value for name, value in option.items() if name not in ("n_estimators", "max_depth")}
            limit = option.get("max_depth")
            known = grown.setdefault(tuple(sorted(others.items())), [])
            hits = next((h for bound, depth, h in known if bound == limit or _unlimited(bound, depth) and _unlimited(limit, depth)), None)
            if hits is None:
                forest = RandomForestClassifier(largest, max_depth=limit, random_state=seed, n_jobs=1, **others).fit(x[fit], y[fit])
                rows = x[held].astype(np.float32)  # as trees hold them; checking it anew for each tree would take as long as growing it
                votes = np.cumsum([tree.predict_proba(rows, check_input=False) for tree in forest.estimators_], axis=0)
                votes /= np.arange(1, largest + 1)[:, None, None]
                hits = (votes.argmax(-1) == y[held]).mean(-1)
                known.append((limit, max(tree.get_depth() for tree in forest.estimators_), hits))
            accuracy[i, fold] = hits[option.get("n_estimators", 100) - 1]
    return accuracy


def _unlimited(limit: int | None, depth: int) -> bool:
    """Whether a limit leaves trees of ``depth`` as they are; trees that stop at the limit might have grown beyond it."""
    return limit is None or depth < limit


def _by_itself(frame: pl.DataFrame, schema: Schema) -> np.ndarray:
    """Features (rows, columns) of a table encoded without any other: labels numbered in the order of their names."""
    columns = []
    for column in schema.columns:
        if column.name == schema.target:
            continue
        cells = frame[column.name]
        if column.numeric:
            values = cells.cast(pl.Float64).fill_nan(None)
            columns.append(values.fill_null(values.median() if values.null_count() < len(values) else 0.0).to_numpy())
        else:
            columns.append(np.unique(cells.fill_null("?").to_numpy().astype(str), return_inverse=True)[1])
    return np.stack(columns, axis=1).astype(np.float64)


# --- encoding by the real training rows -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Encoder:
    """Features of any table by what the real training rows showed; call it with a frame for (rows, width) float64."""

    schema: Schema
    fill: np.ndarray  # (p,) of the numbers, p in number: median
    centre: np.ndarray  # (p,)
    spread: np.ndarray  # (p,)
    flagged: np.ndarray  # (p,) bool: missing in the training rows, so worth a column of its own

    def __call__(self, frame: pl.DataFrame) -> np.ndarray:
        schema = self.schema
        cells = coded(frame, schema)
        of_target = [column.name == schema.target for column in schema.numbers]
        numbers = cells.numbers[:, ~np.array(of_target, dtype=bool)]
        gap = np.isnan(numbers)
        parts = [(np.where(gap, self.fill, numbers) - self.centre) / self.spread, gap[:, self.flagged]]
        for j, column in enumerate(schema.categories):
            if column.name != schema.target:  # a level that the training rows lack has zeros throughout
                parts.append(cells.codes[:, j, None] == np.arange(len(column.levels) + (column.missing > 0)))
        return np.hstack(parts).astype(np.float64)


def encode(train: pl.DataFrame, schema: Schema) -> Encoder:
    """Encoder of the features: numbers standardised, missing ones at the median with a 0/1 column; a 0/1 column for each level.

    Whether cells of a column can be missing is taken from ``train`` for numbers and from the schema for categories; they agree where the
    schema was learnt from ``train``.
    """
    names = [column.name for column in schema.numbers if column.name != schema.target]
    numbers = np.array([train[name].cast(pl.Float64).fill_null(np.nan).to_numpy() for name in names]).reshape(len(names), len(train)).T
    gap = np.isnan(numbers)
    if gap.all(axis=0).any() or not len(train):
        raise CatalogError(f"The training rows of {schema.table} have a number without any value; encode by the rows of the schema.")
    fill = np.nanmedian(numbers, axis=0) if names else np.zeros(0)
    filled = np.where(gap, fill, numbers)
    return Encoder(schema, fill, *scale(filled), gap.any(axis=0))


def _labels(frames: Sequence[pl.DataFrame], schema: Schema) -> tuple[tuple[str, ...], list[np.ndarray]]:
    """Classes, and the place of each row's among them (rows,) int64, -1 without a target."""
    levels = schema[schema.target].levels
    extra = {value for frame in frames for value in frame[schema.target].drop_nulls().unique()} - set(levels)
    classes = (*levels, *sorted(extra))
    place = {level: i for i, level in enumerate(classes)} | {None: -1}
    return classes, [np.array([place[value] for value in frame[schema.target]], dtype=np.int64) for frame in frames]


def _values(frame: pl.DataFrame, schema: Schema) -> np.ndarray:
    return frame[schema.target].cast(pl.Float64).fill_null(np.nan).to_numpy()


def _trainable(train: np.ndarray, test: np.ndarray, schema: Schema) -> np.ndarray:
    """Rows to train on, from which rows have a target."""
    if not len(test) or not test.all():
        raise CatalogError(f"The test rows of {schema.table} must all have their {schema.target}; test on real rows.")
    if not train.any():
        raise CatalogError(f"No row to train on has its {schema.target}; make rows of {schema.table} first.")
    return train


def _utility(predictions: dict[str, Prediction], truth: np.ndarray, classes: tuple[str, ...], trained: int, seen: int | None) -> Utility:
    rows = []
    for kind, found in predictions.items():
        metrics = ["r2"] if not classes else [m for m in METRICS if m != "auc" or found.score is not None]
        scored = {metric: _number(measure(metric, found, truth, len(classes), np.ones((1, len(truth))))[0]) for metric in metrics}
        rows.append({"classifier": kind, **scored, "n": len(truth), "n_train": trained} | ({"classes": seen} if classes else {}))
    return Utility(rows, predictions, truth, classes)


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
