"""Likeness of a synthetic table to the real one, by sdmetrics (DataCebo).

Each function takes polars frames and a schema and returns plain numbers: None where a score is undefined. sdmetrics and pandas are imported
when first needed, which takes seconds; nothing is printed. sdmetrics draws from numpy's global generator (folds of the detection, missing
cells of the random baseline, subsamples), which is seeded for the call and put back afterwards, so a call gives the same number twice.

``real`` are the training rows unless a function says otherwise. All scores lie in [0, 1] and higher is better: more alike, or safer.
"""

from __future__ import annotations

import contextlib
import io
import math
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from catalog.base.errors import CatalogError
from stages.harmonic.schema import Schema

if TYPE_CHECKING:
    import pandas as pd

EXACT_ROWS = 10_000  # above, disclosure is estimated on samples (sdmetrics' own limit): the attack looks up each row in pandas
NAME = "table"


def quality(real: pl.DataFrame, synthetic: pl.DataFrame, schema: Schema, seed: int = 0) -> dict[str, float | int | None]:
    """QualityReport: ``column_shapes`` (1 - KS statistic or 1 - total variation), ``pair_trends`` (likeness of correlations and contingency
    tables), ``overall`` (their mean), ``pairs`` that the trends are over.

    sdmetrics counts only pairs related in the real table: a correlation above 0.5, of categories Cramér's V above 0.3; without any,
    ``pair_trends`` is None and ``overall`` is the shapes alone. A number is cut into ten bins of its own table before it is compared with a
    category, so a synthetic table that lacks the extremes is compared at other bounds. Above 50,000 rows contingency is of a sample.
    """
    from sdmetrics.reports import QualityReport

    report, found = _report(QualityReport, real, synthetic, schema, seed)
    pairs = _details(report, "Column Pair Trends")
    counted = int(pairs["Meets Threshold?"].fillna(False).sum()) if "Meets Threshold?" in pairs else 0
    shapes, trends = _number(found["Column Shapes"]), _number(found["Column Pair Trends"])
    return {"column_shapes": shapes, "pair_trends": trends, "overall": _number(report.get_score()), "pairs": counted}


def diagnostic(real: pl.DataFrame, synthetic: pl.DataFrame, schema: Schema, seed: int = 0) -> dict[str, float | None]:
    """DiagnosticReport: ``validity`` (mean share of cells within the real range or levels), ``structure`` (1: same columns and types),
    ``overall``."""
    from sdmetrics.reports import DiagnosticReport

    report, found = _report(DiagnosticReport, real, synthetic, schema, seed)
    return {
        "validity": _number(found["Data Validity"]),
        "structure": _number(found["Data Structure"]),
        "overall": _number(report.get_score()),
    }


def detection(real: pl.DataFrame, synthetic: pl.DataFrame, schema: Schema, seed: int = 0) -> dict[str, float]:
    """LogisticDetection: how well a logistic regression tells synthetic rows from real ones, over three folds.

    ``score`` is sdmetrics' 1 - mean of max(AUC, 0.5) * 2 - 1 (1: cannot be told apart); ``auc`` the mean of max(AUC, 0.5) that it comes
    from, in [0.5, 1] and lower is better. Levels are turned into 0/1 columns here, missing ones as well, over both tables: sdmetrics would
    stop at a level that only the synthetic table has.
    """
    from sdmetrics.single_table import LogisticDetection

    for rows in (real, synthetic):
        if len(rows) < 3:
            raise CatalogError(f"Detection needs at least three rows of each table, not {len(rows)}.")
    frames = [_indicators(rows, [real, synthetic], schema) for rows in (real, synthetic)]
    metadata = {"tables": {NAME: {"columns": {name: {"sdtype": "numerical"} for name in frames[0].columns}}}}
    with _quiet(seed):
        score = float(LogisticDetection.compute(*frames, metadata=metadata, table_name=NAME))
    return {"score": score, "auc": 1 - score / 2}


def disclosure(
    real: pl.DataFrame,
    synthetic: pl.DataFrame,
    schema: Schema,
    known: Sequence[str],
    sensitive: Sequence[str],
    seed: int = 0,
) -> dict[str, float | None]:
    """DisclosureProtection: what an attacker who knows a real person's ``known`` columns learns of the ``sensitive`` ones.

    Correct attribution probability: the attacker looks up the synthetic rows with the same known cells and guesses their sensitive ones;
    real rows without any such row do not count, and ``score`` is None if there is none with one. Numbers are cut into ten bins.
    ``cap_protection`` is 1 - mean probability of the right guess; ``baseline_protection`` that of a guess among the levels at random;
    ``score`` their ratio, at most 1. Above `EXACT_ROWS` rows of either table the mean over ten samples of 1,000 rows.

    Raises:
        CatalogError: no known or sensitive column, one that the table lacks, one that is both.
    """
    from sdmetrics.single_table.privacy import DisclosureProtection, DisclosureProtectionEstimate

    if not known or not sensitive or set(known) & set(sensitive):
        raise CatalogError("Disclosure needs columns that are known and others that are sensitive; name at least one of each.")
    if absent := [name for name in (*known, *sensitive) if name not in schema.names]:
        raise CatalogError(f"The table {schema.table} has no column {absent[0]!r}; its columns are {', '.join(schema.names)}.")
    used = [name for name in schema.names if name in known or name in sensitive]
    continuous = [name for name in used if schema[name].numeric]
    exact = max(len(real), len(synthetic)) <= EXACT_ROWS
    frames = [_pandas(rows, schema, used) for rows in (real, synthetic)]
    options = {} if exact else {"verbose": False}
    with _quiet(seed):
        found = (DisclosureProtection if exact else DisclosureProtectionEstimate).compute_breakdown(
            *frames, list(known), list(sensitive), continuous_column_names=continuous or None, **options
        )
    return {name: _number(found[name]) for name in ("score", "cap_protection", "baseline_protection")}


def dcr_baseline_protection(
    real: pl.DataFrame, synthetic: pl.DataFrame, schema: Schema, seed: int = 0, rows: int | None = None
) -> dict[str, float | None]:
    """DCRBaselineProtection: ``score`` = median distance to the closest real row (``synthetic``) over that of rows drawn uniformly from the
    ranges and levels (``random``), at most 1. Distances are Gower's: mean over the columns, in [0, 1].

    The random rows come from a generator that sdmetrics leaves unseeded; it is seeded here.

    Args:
        rows: at most so many random rows of each table. The time grows with the product of the tables' rows, some seconds for 800 x 700,
            and fewer real rows are farther away: compare tables at one setting only.
    """
    from sdmetrics.single_table.privacy import DCRBaselineProtection

    class Seeded(DCRBaselineProtection):
        _seed = seed

    real, synthetic = (_few(frame, rows, seed) for frame in (real, synthetic))
    whole = _whole([real, synthetic], schema)
    with _quiet(seed):
        found = Seeded.compute_breakdown(
            _pandas(real, schema, whole=whole), _pandas(synthetic, schema, whole=whole), _metadata(schema), table_name=NAME
        )
    medians = found["median_DCR_to_real_data"]
    return {
        "score": _number(found["score"]),
        "synthetic": _number(medians["synthetic_data"]),
        "random": _number(medians["random_data_baseline"]),
    }


def dcr_overfitting_protection(
    train: pl.DataFrame, holdout: pl.DataFrame, synthetic: pl.DataFrame, schema: Schema, seed: int = 0, rows: int | None = None
) -> dict[str, float | None]:
    """DCROverfittingProtection: ``score`` = min(2 (1 - ``closer_to_train``), 1) of the share of synthetic rows strictly closer to a
    training row than to any holdout row.

    ``train`` and ``holdout`` should have equally many rows: real rows of neither score 0.46 against 600 and 200, 0.95 against 200 and 200.

    Args:
        rows: as in `dcr_baseline_protection`.
    """
    from sdmetrics.single_table.privacy import DCROverfittingProtection

    frames = [_pandas(_few(frame, rows, seed), schema) for frame in (train, synthetic, holdout)]
    with _quiet(seed):
        found = DCROverfittingProtection.compute_breakdown(*frames, _metadata(schema), table_name=NAME)
    return {"score": _number(found["score"]), "closer_to_train": _number(found["synthetic_data_percentages"]["closer_to_training"])}


# --- the border to pandas ---------------------------------------------------------------------------------------------------------------


def _pandas(rows: pl.DataFrame, schema: Schema, names: Sequence[str] | None = None, whole: Sequence[str] = ()) -> pd.DataFrame:
    """Columns of the schema (or ``names``) as pandas has them: float64 with NaN, objects with None; int64 where ``whole`` says so."""
    import pandas as pd

    if absent := [name for name in schema.names if name not in rows.columns]:
        raise CatalogError(f"The rows have no column {absent[0]!r}; give rows of the table {schema.table}.")
    if rows.is_empty():
        raise CatalogError(f"There are no rows to compare with the table {schema.table}; make rows first.")
    columns = {}
    for name in schema.names if names is None else names:
        if schema[name].numeric:
            cells = rows[name].cast(pl.Float64).fill_null(np.nan).to_numpy()
            columns[name] = cells.astype(np.int64) if name in whole else cells
        else:
            columns[name] = np.array(rows[name].to_list(), dtype=object)
    return pd.DataFrame(columns)


def _whole(frames: Sequence[pl.DataFrame], schema: Schema) -> list[str]:
    """Numbers that are whole and never missing in the frames: of these a random baseline draws whole numbers as well."""
    return [
        column.name
        for column in schema.numbers
        if not column.decimals and all((frame[column.name].fill_null(0.5).fill_nan(0.5) % 1 == 0).all() for frame in frames)
    ]


def _indicators(rows: pl.DataFrame, frames: Sequence[pl.DataFrame], schema: Schema) -> pd.DataFrame:
    """Numbers as they are, and a 0/1 column for each level that any of the frames has, a missing one included."""
    plain = _pandas(rows, schema)
    columns = {column.name: plain[column.name].to_numpy() for column in schema.numbers}
    for column in schema.categories:
        levels = sorted({level for frame in frames for level in frame[column.name].unique()}, key=lambda level: (level is None, level))
        cells = plain[column.name].to_numpy()
        for i, level in enumerate(levels):
            columns[f"{column.name} {i}"] = np.array([cell == level for cell in cells], dtype=np.float64)
    return type(plain)(columns)


def _metadata(schema: Schema) -> dict:
    kinds = {column.name: {"sdtype": "numerical" if column.numeric else "categorical"} for column in schema.columns}
    return {"tables": {NAME: {"columns": kinds}}}


def _report(kind: type, real: pl.DataFrame, synthetic: pl.DataFrame, schema: Schema, seed: int) -> tuple:
    """A report of sdmetrics and its properties: score by name."""
    report = kind()
    with _quiet(seed):
        report.generate({NAME: _pandas(real, schema)}, {NAME: _pandas(synthetic, schema)}, _metadata(schema), verbose=False)
        found = report.get_properties()
    return report, dict(zip(found["Property"], found["Score"]))


def _details(report, name: str) -> pd.DataFrame:
    with _quiet(0):
        return report.get_details(name)


def _few(frame: pl.DataFrame, rows: int | None, seed: int) -> pl.DataFrame:
    if rows is None or len(frame) <= rows:
        return frame
    return frame[np.sort(np.random.default_rng(seed).permutation(len(frame))[:rows])]


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


@contextlib.contextmanager
def _quiet(seed: int) -> Iterator[None]:
    """numpy's global generator seeded and put back; no output and no warnings."""
    state = np.random.get_state()
    np.random.seed(seed)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        np.random.set_state(state)
