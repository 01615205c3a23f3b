"""Generators that need no language model, and the two ends of the privacy scale.

Each is ``f(train, schema, n, seed)`` and returns n rows with the schema's columns in its order: String for a category, Float64 for a
number, null for a missing cell. All that it knows comes from ``train``; every value lies in the schema's range, at its decimals, among
its levels. The same seed gives the same rows.

- `marginals`: each column by itself. What a score is worth when every relation is lost.
- `smote`: interpolation between neighbours of one class (Chawla et al. 2002). Strong in utility, weak in privacy in the paper's table.
- `cart`: one column after another, each from a decision tree on those before it (Reiter 2005).
- `copula`: correlated normals behind the columns' own distributions.
- `copy_of_train`: real rows of the training split, the worst privacy there is; `holdout_rows`: of people no generator saw, the yardstick.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy.special import ndtri
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from catalog.base.errors import CatalogError
from stages.harmonic.schema import COPY, Column, Schema, scale

LEAF = 5  # rows in a leaf at least (synthpop's minbucket): fewer would pass on single rows
COPULA_DRAWS, COPULA_STEPS = 20_000, 12  # of the fit of the latent correlations


def marginals(train: pl.DataFrame, schema: Schema, n: int, seed: int) -> pl.DataFrame:
    """Each column drawn by itself from its cells in ``train``, missing ones included: right columns, no relation between them."""
    table, rng = _checked(train, schema, n), np.random.default_rng(seed)
    return pl.DataFrame([table[name].gather(rng.integers(0, len(table), n)) for name in schema.names])


def copy_of_train(train: pl.DataFrame, schema: Schema, n: int, seed: int) -> pl.DataFrame:
    """Rows of ``train`` in random order, none twice before each was drawn once: the end of the scale without any privacy."""
    table, rng = _checked(train, schema, n), np.random.default_rng(seed)
    return table[np.concatenate([rng.permutation(len(table)) for _ in range(-(-n // len(table)))])[:n]]


def holdout_rows(holdout: pl.DataFrame, schema: Schema, n: int, seed: int) -> pl.DataFrame:
    """`copy_of_train` of the split that no generator saw: real rows of other people, the yardstick of privacy and of utility.

    The rows stay as they are, so a value may lie outside the ranges and levels that the schema learnt from the training rows.
    """
    return copy_of_train(holdout, schema, n, seed)


# --- SMOTE ------------------------------------------------------------------------------------------------------------------------------


def smote(train: pl.DataFrame, schema: Schema, n: int, seed: int, k: int = 5) -> pl.DataFrame:
    """SMOTE-NC (Chawla et al. 2002, section 6.1) by imbalanced-learn: points between a row and one of its k neighbours of the same class.

    imbalanced-learn adds rows to a class until it has as many as asked for; here each class is asked for its share of n (largest
    remainders) on top of its rows, and only the new ones are kept. Numbers are standardised for the search of neighbours, which the
    original leaves out: otherwise the column of the largest unit alone decides who is near. A category takes its most frequent level among
    the neighbours, so rare levels become rarer. Missing cells are a level of their own; of a number, a flag that is voted on like a
    category, while the median takes the cell's place in the interpolation.

    A class with fewer than k + 1 rows uses the neighbours it has, a class of one row repeats it. In a regression all rows are one class
    and the target is interpolated like any other number, without bins. A table without numbers is made by SMOTEN, the same authors' form
    for categories alone (section 6.2).
    """
    table, rng = _checked(train, schema, n), np.random.RandomState(seed)  # the kind of generator that imbalanced-learn takes
    goal = schema[schema.target]
    levels = [column for column in schema.categories if column.name != schema.target]
    codes = np.array([_places(table[column.name], column) for column in levels], dtype=np.int64).reshape(len(levels), len(table)).T
    group = np.zeros(len(table), dtype=np.int64) if goal.numeric else _places(table[goal.name], goal)
    classes, counts = np.unique(group, return_counts=True)
    wanted = dict(zip(classes.tolist(), _apportioned(counts, n).tolist()))

    p = len(schema.numbers)
    numbers = np.array([table[column.name].fill_null(np.nan).to_numpy() for column in schema.numbers]).reshape(p, len(table)).T
    if p:
        flags = np.isnan(numbers)
        flagged = flags.any(axis=0)
        filled = np.where(flags, np.nanmedian(numbers, axis=0), numbers)
        centre, spread = scale(filled)
        points = np.hstack([(filled - centre) / spread, codes, flags[:, flagged]])
        new = [_between(points[group == c], range(p, points.shape[1]), count, k, rng) for c, count in wanted.items()]
        new, classes_new = np.vstack(new), np.repeat(list(wanted), list(wanted.values()))
        numbers = new[:, :p] * spread + centre
        numbers[:, flagged] = np.where(new[:, p + codes.shape[1] :] > 0.5, np.nan, numbers[:, flagged])
        codes = new[:, p : p + codes.shape[1]].astype(np.int64)
    else:
        codes, classes_new = _voted(codes, group, wanted, k, rng)
    order = rng.permutation(n)  # the rows come class by class
    made = {column.name: _numbers(numbers[order, j], column) for j, column in enumerate(schema.numbers)}
    made |= {column.name: _texts(codes[order, j], column) for j, column in enumerate(levels)}
    if not goal.numeric:
        made[goal.name] = _texts(classes_new[order], goal)
    return pl.DataFrame([made[name] for name in schema.names])


def _between(points: np.ndarray, categorical: range, count: int, k: int, rng: np.random.RandomState) -> np.ndarray:
    """``count`` new points of one class from its ``points`` (m, columns)."""
    from imblearn.over_sampling import SMOTE, SMOTENC  # takes a second, and most callers do without

    if len(points) == 1 or not count:
        return np.repeat(points[:1], count, axis=0)
    options = {"sampling_strategy": {0: len(points) + count}, "k_neighbors": min(k, len(points) - 1), "random_state": rng}
    sampler = SMOTENC(categorical_features=list(categorical), **options) if categorical else SMOTE(**options)
    # A second class is demanded; one row stands for it, gets no new ones and is cut off again.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the class asked for becomes the largest
        found, _ = sampler.fit_resample(np.vstack([points, points[:1]]), np.arange(len(points) + 1) // len(points))
    return found[len(points) + 1 :]


def _voted(codes: np.ndarray, group: np.ndarray, wanted: dict[int, int], k: int, rng) -> tuple[np.ndarray, np.ndarray]:
    """New rows of categories alone (n, columns) and their classes (n,). The distance between levels is learnt from all classes at once."""
    from imblearn.over_sampling import SMOTEN

    counts = dict(zip(*(part.tolist() for part in np.unique(group, return_counts=True))))
    if len(counts) < 2 or not codes.shape[1]:
        raise CatalogError("SMOTE of a table without numbers needs a category besides the target and two classes; use another generator.")
    alone = [c for c in wanted if counts[c] == 1]
    several = {c: counts[c] + count for c, count in wanted.items() if counts[c] > 1 and count}
    parts = [(np.repeat(codes[group == c], wanted[c], axis=0), np.full(wanted[c], c)) for c in alone]
    if several:
        near = min(k, *(counts[c] - 1 for c in several))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sampler = SMOTEN(sampling_strategy=several, k_neighbors=near, random_state=rng)
            found, classes = sampler.fit_resample(codes, group)
        parts.append((found[len(codes) :], classes[len(codes) :]))
    return np.vstack([part for part, _ in parts]), np.concatenate([part for _, part in parts])


def _apportioned(counts: np.ndarray, n: int) -> np.ndarray:
    """n in whole numbers by the shares of ``counts``: the largest remainders are rounded up."""
    exact = n * counts / counts.sum()
    whole = np.floor(exact).astype(np.int64)
    whole[np.argsort(whole - exact, kind="stable")[: n - whole.sum()]] += 1
    return whole


# --- CART -------------------------------------------------------------------------------------------------------------------------------


def cart(train: pl.DataFrame, schema: Schema, n: int, seed: int) -> pl.DataFrame:
    """Sequential synthesis by decision trees (Reiter 2005; the default of R's synthpop): the target first, then the schema's order.

    The first column is drawn from its own cells; each later one is predicted from those before it by a tree fitted on ``train`` with at
    least `LEAF` rows a leaf and no pruning, and a new row takes the cell of a random training row of its leaf. Every value is therefore
    one of the training values. A missing category is a level; of a number with missing cells, a tree decides first whether the cell is
    missing and a second one, on the rows that have it, draws the value. Trees split missing predictors off by themselves.
    """
    table, rng = _checked(train, schema, n), np.random.default_rng(seed)
    order = [schema.target] + [name for name in schema.names if name != schema.target]
    made, before, before_new = {}, [], []
    for name in order:
        column, cells = schema[name], table[name]
        if not before:
            donors = rng.integers(0, len(table), n)
        elif not column.numeric:
            donors = _donors(np.hstack(before), _places(cells, column), np.hstack(before_new), False, seed, rng)
        else:
            donors = _number_donors(np.hstack(before), cells, np.hstack(before_new), seed, rng)
        made[name] = cells.gather(donors)
        before.append(_predictors(cells, column))
        before_new.append(_predictors(made[name], column))
    return pl.DataFrame([made[name] for name in schema.names])


def _number_donors(x: np.ndarray, cells: pl.Series, x_new: np.ndarray, seed: int, rng: np.random.Generator) -> np.ndarray:
    """Training rows (n,) whose cells of a number the new rows take; the missing ones are decided on first."""
    gap = cells.is_null().to_numpy()
    known = np.flatnonzero(~gap)
    if not gap.any():
        return _donors(x, cells.to_numpy(), x_new, True, seed, rng)
    donors = _donors(x, gap.astype(int), x_new, False, seed, rng)
    filled = ~gap[donors]
    if filled.any():
        donors[filled] = known[_donors(x[known], cells.to_numpy()[known], x_new[filled], True, seed, rng)]
    return donors


def _donors(x: np.ndarray, y: np.ndarray, x_new: np.ndarray, number: bool, seed: int, rng: np.random.Generator) -> np.ndarray:
    """A training row (n,) of the leaf of each new row, for a tree of ``y`` (m,) on ``x`` (m, predictors)."""
    tree = (DecisionTreeRegressor if number else DecisionTreeClassifier)(min_samples_leaf=LEAF, random_state=seed).fit(x, y)
    leaves, reached = tree.apply(x), tree.apply(x_new)
    order = np.argsort(leaves, kind="stable")
    first = np.searchsorted(leaves[order], reached, side="left")
    count = np.searchsorted(leaves[order], reached, side="right") - first
    return order[first + (rng.random(len(x_new)) * count).astype(np.int64)]


def _predictors(cells: pl.Series, column: Column) -> np.ndarray:
    """A column for a tree: a number with NaN for missing (rows, 1), or a 0/1 column for each level and one for missing."""
    if column.numeric:
        return cells.fill_null(np.nan).to_numpy()[:, None]
    return (_places(cells, column)[:, None] == np.arange(len(column.levels) + 1)).astype(np.float64)


# --- Gaussian copula --------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Axis:
    """One standard normal behind the table, cut into intervals: one for each value, in order, as wide as the value is frequent."""

    place: np.ndarray  # (m,) interval of each training row, -1 where a number is missing
    cuts: np.ndarray  # (values - 1,) bounds between the intervals
    scores: np.ndarray  # (values,) normal score of the middle of each interval's cumulative share
    values: list  # what an interval stands for
    flag: int | None = None  # the axis whose second interval means that this one's cell is missing


def copula(train: pl.DataFrame, schema: Schema, n: int, seed: int) -> pl.DataFrame:
    """Gaussian copula: correlated normals, each turned into its column by the column's empirical quantiles. The target is a column as well.

    A value (a number with ties, a level) owns the interval of its cumulative share and is scored by the interval's middle. The levels of a
    category are ordered by the mean score of the target, so that a relation with it can be monotone; those of a target by name. A missing
    category is a level; whether a number is missing is an axis of its own, so missing cells keep their relations too.

    Correlations of scores of few levels are smaller than those of the normals behind them (by a fifth to a third for two even levels), and
    sampling from them would shrink relations a second time. The latent correlations are therefore raised until simulated rows show the
    correlations of the training rows.
    """
    table, rng = _checked(train, schema, n), np.random.default_rng(seed)
    axes, of = _axes(table, schema)
    observed = _correlation(_scores([axis.place for axis in axes], axes))
    noise, latent = rng.standard_normal((COPULA_DRAWS, len(axes))), observed
    for _ in range(COPULA_STEPS):
        simulated = _correlation(_scores(_intervals(noise @ _root(latent), axes), axes))
        latent = np.clip(latent + observed - simulated, -0.999, 0.999)
    places = _intervals(rng.standard_normal((n, len(axes))) @ _root(latent), axes)
    made = []
    for column in schema.columns:
        axis, place = axes[of[column.name]], places[of[column.name]]
        if column.numeric:
            made.append(_numbers(np.where(place < 0, np.nan, np.array(axis.values)[place]), column))
        else:
            made.append(pl.Series(column.name, np.array(axis.values, dtype=object)[place].tolist(), dtype=pl.String))
    return pl.DataFrame(made)


def _axes(table: pl.DataFrame, schema: Schema) -> tuple[list[_Axis], dict[str, int]]:
    """Axes of a table, and the place of each column's among them."""
    axes, of = [], {}
    goal = None  # (m,) scores of the target, which the levels of the others are ordered by
    for name in [schema.target] + [name for name in schema.names if name != schema.target]:
        column, cells = schema[name], table[name]
        flag = None
        if column.numeric:
            values, place = np.unique(cells.drop_nulls().to_numpy(), return_inverse=True)
            gap = cells.is_null().to_numpy()
            if gap.any():
                flag = len(axes) + 1
                known, place = place, np.full(len(table), -1)
                place[~gap] = known
        else:
            names = [*column.levels, None]
            found, place = np.unique(_places(cells, column), return_inverse=True)
            if goal is not None:
                means = np.bincount(place, weights=goal) / np.bincount(place)
                order = np.argsort(means, kind="stable")
                found, place = found[order], np.argsort(order)[place]
            values = [names[code] for code in found]
        of[name] = len(axes)
        axes.append(_axis(place, list(values), flag))
        if flag is not None:
            axes.append(_axis(gap.astype(np.int64), [False, True], None))
        if goal is None:
            goal = _scores([place], axes[:1])[:, 0]
    return axes, of


def _axis(place: np.ndarray, values: list, flag: int | None) -> _Axis:
    counts = np.bincount(place[place >= 0], minlength=len(values))
    upper = np.cumsum(counts) / counts.sum()
    return _Axis(place, ndtri(upper[:-1]), ndtri(upper - counts / counts.sum() / 2), values, flag)


def _intervals(normals: np.ndarray, axes: list[_Axis]) -> list[np.ndarray]:
    """Intervals (rows,) on each axis of normals (rows, axes); -1 where the flag of a number says that it is missing."""
    places = [np.searchsorted(axis.cuts, normals[:, j]) for j, axis in enumerate(axes)]
    return [place if axis.flag is None else np.where(places[axis.flag] == 1, -1, place) for place, axis in zip(places, axes)]


def _scores(places: list[np.ndarray], axes: list[_Axis]) -> np.ndarray:
    """Normal scores (rows, axes); 0, the middle, where a number is missing."""
    return np.stack([np.where(place < 0, 0.0, axis.scores[place]) for place, axis in zip(places, axes)], axis=1)


def _correlation(scores: np.ndarray) -> np.ndarray:
    """Correlations of (rows, axes); 0 with an axis that does not vary."""
    centred = scores - scores.mean(0)
    spread = np.sqrt((centred**2).mean(0))
    unit = np.divide(centred, spread, out=np.zeros_like(centred), where=scores.max(0) > scores.min(0))
    found = unit.T @ unit / len(scores)
    np.fill_diagonal(found, 1.0)
    return found


def _root(correlation: np.ndarray) -> np.ndarray:
    """(axes, axes) factor that gives independent normals the correlations, or the nearest that any normals can have."""
    values, vectors = np.linalg.eigh(correlation)
    root = vectors * np.sqrt(np.maximum(values, 1e-8))
    return (root / np.linalg.norm(root, axis=1, keepdims=True)).T


# --- shared -----------------------------------------------------------------------------------------------------------------------------


def _checked(rows: pl.DataFrame, schema: Schema, n: int) -> pl.DataFrame:
    """The schema's columns of real ``rows``."""
    if n < 1 or rows.is_empty():
        raise CatalogError(f"A generator needs real rows and at least one row to make, but there are {len(rows)} and {n} are asked for.")
    if absent := [name for name in schema.names if name not in rows.columns]:
        raise CatalogError(f"The rows given to a generator have no column {absent[0]!r}; give rows of the table {schema.table}.")
    return rows.select(schema.names).with_columns(pl.selectors.float().fill_nan(None))


def _places(cells: pl.Series, column: Column) -> np.ndarray:
    """Place (rows,) of each level in the schema; the number of levels for a missing cell.

    Raises:
        CatalogError: a level that the schema does not have.
    """
    place = {level: i for i, level in enumerate(column.levels)} | {None: len(column.levels)}
    try:
        return np.array([place[cell] for cell in cells], dtype=np.int64)
    except KeyError as error:
        raise CatalogError(f"Column {column.name} has a level {error} that its schema lacks; learn the schema from these rows.") from None


def _texts(places: np.ndarray, column: Column) -> pl.Series:
    """Levels of `_places`."""
    return pl.Series(column.name, np.array([*column.levels, None], dtype=object)[places].tolist(), dtype=pl.String)


def _numbers(values: np.ndarray, column: Column) -> pl.Series:
    """Numbers (rows,) at the column's decimals and within its range; NaN becomes null."""
    rounded = np.clip(np.round(values, column.decimals), column.low, column.high) + 0.0  # no negative zero
    return pl.Series(column.name, rounded, dtype=pl.Float64).fill_nan(None)


GENERATORS: dict[str, Callable[[pl.DataFrame, Schema, int, int], pl.DataFrame]] = {
    "marginals": marginals,
    "smote": smote,
    "cart": cart,
    "copula": copula,
    COPY: copy_of_train,
}
