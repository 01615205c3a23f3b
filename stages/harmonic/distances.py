"""Distances between the rows of mixed tables, and nearest rows (HARMONIC, arXiv 2408.02927: neighbours and scores).

Two distances. *Gower's* (1971) is the mean over the columns of |x - y| / range for numbers, capped at 1, and of 0 or 1 for categories; it
lies in [0, 1] and is 0 for equal rows only. *HARMONIC's*, as the paper's code has it, is Euclidean over numbers scaled to [0, 1] and
categories as unscaled integer codes, so that a category of ten levels outweighs every number. In both a missing cell is a value of its
own: 0 to another missing cell, 1 to any number.

Whole matrices are never held: a generator gives one block of rows after the other, of a size that stays in the processor's cache. n is the
number of rows asked about, m of the rows they are compared with.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl

from catalog.base.errors import CatalogError
from stages.harmonic.schema import Coded, Schema, coded

CELLS = 2**16  # of a block: half a megabyte of distances; blocks that leave the cache take up to four times as long
PLACE = "id"  # no column of a schema has this name

Blocks = Iterator[tuple[int, np.ndarray]]


def coded_together(frames: Sequence[pl.DataFrame], schema: Schema) -> list[Coded]:
    """Cells of several tables as numbers and codes that can be compared with each other.

    `coded` numbers levels that the training rows do not have by their order in the one table it is given, so two different unknown
    levels of two tables would share a code.

    Raises:
        CatalogError: a table without rows or without one of the schema's columns.
    """
    for frame in frames:
        if absent := [name for name in schema.names if name not in frame.columns]:
            raise CatalogError(f"A table compared with {schema.table} lacks the column {absent[0]}; add it.")
        if frame.is_empty():
            raise CatalogError(f"A table compared with {schema.table} has no rows, so there is no distance; generate some rows first.")
    kinds = {column.name: pl.Float64 if column.numeric else pl.String for column in schema.columns}
    whole = coded(pl.concat([frame.select(pl.col(name).cast(kind) for name, kind in kinds.items()) for frame in frames]), schema)
    ends = np.cumsum([len(frame) for frame in frames])[:-1]
    return [Coded(*parts) for parts in zip(np.split(whole.numbers, ends), np.split(whole.codes, ends))]


# --- blocks of distances ----------------------------------------------------------------------------------------------------------------


def gower_blocks(a: Coded, b: Coded, schema: Schema, block: int | None = None) -> Blocks:
    """Gower distances of the rows of ``a`` to those of ``b``, some rows of ``a`` at a time.

    A column that has one value in the training rows (range 0) counts 0 where the cells are equal and 1 where they are not.

    Args:
        a, b: coded by one call (`coded_together`), or free of levels that the schema does not have.
        schema: gives the ranges, learnt from the training rows.
        block: rows of ``a`` at a time; None: as many as stay in the cache.

    Yields:
        (number of the first row, (rows, m) float64 in [0, 1]).
    """
    n, m, width = len(a.codes), len(b.codes), len(schema.columns)
    block = block or max(1, CELLS // max(1, m))
    ranges = [column.high - column.low for column in schema.numbers]
    # Comparing small integers is three times as fast as the product of one-hot matrices, and many levels need no memory.
    kind = np.min_scalar_type(max(a.codes.max(initial=0), b.codes.max(initial=0)))
    codes_a, codes_b = a.codes.astype(kind), np.ascontiguousarray(b.codes.T.astype(kind))
    numbers_b = np.ascontiguousarray(b.numbers.T)
    gaps_b = [np.flatnonzero(np.isnan(column)) for column in numbers_b]
    for start in range(0, n, block):
        rows = slice(start, start + block)
        unequal = np.zeros((len(codes_a[rows]), m), dtype=np.min_scalar_type(width))
        differ = np.empty(unequal.shape, dtype=bool)
        for j in range(len(codes_b)):
            np.not_equal(codes_a[rows, j, None], codes_b[j], out=differ)
            np.add(unequal, differ.view(np.uint8), out=unequal)
        total = unequal.astype(np.float64)
        part = np.empty_like(total)
        for j, span in enumerate(ranges):
            total += _difference(a.numbers[rows, j], numbers_b[j], gaps_b[j], span, part, cap=True)
        total /= width
        yield start, total


def euclidean_blocks(a: np.ndarray, b: np.ndarray, block: int | None = None) -> Blocks:
    """Euclidean distances of the points ``a`` (n, d) to ``b`` (m, d), as `gower_blocks`; a NaN is at distance 1 from any number.

    Differences are squared one by one: the product of matrices that is usual for it leaves equal points up to 1e-7 apart.
    """
    block = block or max(1, CELLS // max(1, len(b)))
    columns = np.ascontiguousarray(b.T)
    gaps = [np.flatnonzero(np.isnan(column)) for column in columns]
    for start in range(0, len(a), block):
        rows = slice(start, start + block)
        total = np.zeros((len(a[rows]), len(b)))
        part = np.empty_like(total)
        for j in range(len(columns)):
            found = _difference(a[rows, j], columns[j], gaps[j], 1.0, part, cap=False)
            np.multiply(found, found, out=found)
            total += found
        yield start, np.sqrt(total, out=total)


def _difference(x: np.ndarray, y: np.ndarray, gaps: np.ndarray, span: float, out: np.ndarray, cap: bool) -> np.ndarray:
    """|x - y| / span of (rows,) and (m,) numbers in ``out`` (rows, m); 1 if one is NaN, 0 if both are. gaps: places of NaN in y."""
    np.subtract(x[:, None], y, out=out)
    if span == 0:
        np.not_equal(out, 0, out=out)
    else:
        # Divided after the subtraction: whole numbers at equal differences are then at exactly equal distances.
        np.abs(out, out=out)
        if span != 1:
            np.multiply(out, 1 / span, out=out)
        if cap:
            np.minimum(out, 1, out=out)
    gaps_x = np.flatnonzero(np.isnan(x))
    if len(gaps_x) or len(gaps):
        out[gaps_x] = 1
        out[:, gaps] = 1
        out[np.ix_(gaps_x, gaps)] = 0
    return out


def gower(a: Coded, b: Coded, schema: Schema, block: int | None = None) -> np.ndarray:
    """All Gower distances (n, m) at once, for small tables; see `gower_blocks`."""
    return np.concatenate([found for _, found in gower_blocks(a, b, schema, block)])


# --- nearest rows -----------------------------------------------------------------------------------------------------------------------


def nearest(
    a: Coded, b: Coded, schema: Schema, k: int = 1, exclude_self: np.ndarray | None = None, block: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The k rows of ``b`` with the least Gower distance to each row of ``a``.

    Args:
        exclude_self: (n,) the row of ``b`` that must not be the neighbour of each row of ``a``, or -1.

    Returns:
        Distances (n, k), ascending, and the rows of ``b`` (n, k); of equal distances the row that comes first in ``b``.

    Raises:
        CatalogError: ``b`` has fewer than k rows for some row of ``a``.
    """
    return _smallest(gower_blocks(a, b, schema, block), len(a.codes), len(b.codes), k, exclude_self)


def nearest_points(
    a: np.ndarray, b: np.ndarray, k: int = 1, exclude_self: np.ndarray | None = None, block: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The k points of ``b`` (m, d) with the least Euclidean distance to each point of ``a`` (n, d); otherwise as `nearest`."""
    return _smallest(euclidean_blocks(a, b, block), len(a), len(b), k, exclude_self)


def _smallest(
    blocks: Blocks, n: int, m: int, k: int, exclude_self: np.ndarray | None = None, groups: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The k least distances of each row and where they are; ``groups`` (n,) leaves out the rows of one's own group (then n = m)."""
    if not 1 <= k <= m:
        raise CatalogError(f"{k} neighbours were asked for, but there are {m} rows to choose from; set the number to 1 to {m}.")
    distance, index = np.empty((n, k)), np.empty((n, k), dtype=np.int64)
    for start, found in blocks:
        rows = np.arange(start, start + len(found))
        if exclude_self is not None:
            known = np.flatnonzero(exclude_self[rows] >= 0)
            found[known, exclude_self[rows][known]] = np.inf
        if groups is not None:
            found[groups[rows, None] == groups] = np.inf
        if k == 1:
            index[rows, 0] = found.argmin(1)
            distance[rows] = np.take_along_axis(found, index[rows], 1)
        else:
            # np.argpartition picks any of the rows that tie for the last place, so those at or below its distance are sorted in full.
            row, column = np.nonzero(found <= np.partition(found, k - 1, axis=1)[:, k - 1 : k])
            order = np.lexsort((column, found[row, column], row))
            row, column = row[order], column[order]
            first = np.searchsorted(row, np.arange(len(found)))
            index[rows] = column[first[:, None] + np.arange(k)]
            distance[rows] = np.take_along_axis(found, index[rows], 1)
    short = np.flatnonzero(np.isinf(distance[:, -1]))
    if len(short):
        raise CatalogError(
            f"{len(short)} rows (the first is row {short[0]}) have fewer than {k} neighbours that are other rows than themselves; "
            "ask for fewer neighbours or remove duplicate rows."
        )
    return distance, index


def harmonic_points(frame: pl.DataFrame, schema: Schema, include_label: bool) -> np.ndarray:
    """Rows as points (n, d) of HARMONIC's distance, as released.

    Numbers are scaled to [0, 1] by the schema's range (NaN for missing); categories are their codes 0, 1, ..., the place among the sorted
    levels, not scaled; the target is one of them, or an unscaled number in a regression.

    Args:
        include_label: False leaves the target out, which the released code does not.
    """
    cells = coded_together([frame], schema)[0]
    columns = []
    for values, column in zip(cells.numbers.T, schema.numbers):
        if column.name == schema.target:
            columns += [values] if include_label else []
        else:
            columns.append((values - column.low) / ((column.high - column.low) or 1.0))
    for values, column in zip(cells.codes.T, schema.categories):
        if column.name != schema.target or include_label:
            columns.append(values.astype(np.float64))
    if not columns:
        raise CatalogError(f"{schema.table} has no column besides its target; use a table with more.")
    return np.stack(columns, axis=1)


def neighbours(frame: pl.DataFrame, schema: Schema, distance: str, k: int, include_label: bool) -> np.ndarray:
    """The k nearest other rows of each row of a table, nearest first: (n, k) places in ``frame``.

    Args:
        distance: ``gower`` leaves out the row itself and its exact duplicates (equal in every column, the target too), which would give
            the answer away in the prompt; ``harmonic``, as released, leaves out the row itself only, by its place. (The released code
            drops the first of k + 1 neighbours, which is another row where duplicates come first.)
        include_label: whether the target counts in the distance.

    Raises:
        CatalogError: an unknown distance, or fewer than k rows are left for some row.
    """
    n = len(frame)
    if not 1 <= k < n:
        raise CatalogError(f"{k} neighbours were asked for in a table of {n} rows; set the number to 1 to {n - 1}.")
    if distance == "harmonic":
        points = harmonic_points(frame, schema, include_label)
        return nearest_points(points, points, k, np.arange(n))[1]
    if distance != "gower":
        raise CatalogError(f"The distance {distance!r} is unknown; use gower or harmonic.")
    used = schema if include_label else restricted(schema, [name for name in schema.names if name != schema.target])
    cells = coded_together([frame], used)[0]
    places = frame.select(schema.names).with_columns(pl.Series(PLACE, np.arange(n)))
    first = places.select(pl.col(PLACE).min().over(schema.names))[PLACE].to_numpy()  # the first row equal to each row
    if (first == np.arange(n)).all():
        return nearest(cells, cells, used, k, np.arange(n))[1]
    return _smallest(gower_blocks(cells, cells, used), n, n, k, groups=first)[1]


def restricted(schema: Schema, names: Sequence[str]) -> Schema:
    """``schema`` with the columns ``names`` only, in the schema's order.

    Raises:
        CatalogError: no name, or one that is no column.
    """
    if unknown := [name for name in names if name not in schema.names]:
        raise CatalogError(f"{schema.table} has no column {unknown[0]!r}; its columns are {', '.join(schema.names)}.")
    if not names:
        raise CatalogError(f"A distance between rows of {schema.table} needs at least one column; name one.")
    return Schema(schema.table, schema.target, schema.task, tuple(column for column in schema.columns if column.name in names))


def keep(labels: np.ndarray, neighbour_labels: np.ndarray, minimum: int) -> np.ndarray:
    """Which targets to keep: those with at least ``minimum`` neighbours of their own label, of any number of classes.

    The released code knows the labels 0 and 1 only and drops all others.

    Args:
        labels: (n,) of the targets.
        neighbour_labels: (n, k).

    Returns:
        (n,) bool.
    """
    labels, neighbour_labels = np.asarray(labels), np.asarray(neighbour_labels)
    if minimum > neighbour_labels.shape[1]:
        raise CatalogError(f"No target can have {minimum} of {neighbour_labels.shape[1]} neighbours with its label; ask for fewer.")
    return (neighbour_labels == labels[:, None]).sum(1) >= minimum
