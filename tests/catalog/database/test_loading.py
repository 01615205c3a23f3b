"""Parquet files of reports: what is not what was declared is refused, not cast."""

import polars as pl
import pytest

from catalog.base import io
from catalog.base.errors import CatalogError
from catalog.database import db

RESULTS = "reports/demo_text/small/results.parquet"
HEADS = "reports/demo_heads/small/tables/heads.parquet"


@pytest.mark.parametrize(
    ("path", "change", "said"),
    [
        (RESULTS, lambda df: df.with_columns(seed=pl.lit(1.7)), "has the column seed of type DOUBLE, which must be BIGINT"),
        (RESULTS, lambda df: df.with_columns(n=pl.lit(19.6)), "has the column n of type DOUBLE, which must be BIGINT"),
        (RESULTS, lambda df: df.with_columns(value=pl.lit("1")), "has the column value of type VARCHAR, which must be DOUBLE"),
        (RESULTS, lambda df: df.drop("split"), "lacks the column split"),
        (RESULTS, lambda df: df.with_columns(more=pl.lit(1)), "has the column more, which is not declared"),
        (RESULTS, lambda df: pl.concat([df, df]), r"has two rows with one key \(system demo_text, profile small"),
        (RESULTS, lambda df: df.with_columns(metric=pl.lit("shear")), "has the metric 'shear', which no metrics.yaml declares"),
        (RESULTS, lambda df: df.clear(), "has no rows"),
        (RESULTS, lambda df: df.with_columns(value=pl.lit(float("nan"))), "NaN or infinite number in the column value"),
        (RESULTS, lambda df: df.with_columns(ci_high=pl.lit(float("inf"))), "NaN or infinite number in the column ci_high"),
        (
            HEADS,
            lambda df: df.with_columns(layer=pl.lit(0.6)),
            "does not fit .*: it has the column layer of type DOUBLE, which must be BIGINT",
        ),
        (HEADS, lambda df: df.drop("drop"), "does not fit .*: it lacks the column drop"),
        (HEADS, lambda df: pl.concat([df, df]), r"has two rows with one key \(layer 0, head 0\)"),
        (HEADS, lambda df: df.with_columns(pl.lit(float("nan")).alias("drop")), "NaN or infinite number in the column drop"),
    ],
)
def test_a_file_that_is_not_as_declared_is_refused(demo_root, path, change, said):
    io.write_parquet(change(pl.read_parquet(demo_root / path)), demo_root / path)
    with pytest.raises(CatalogError, match=said) as error:
        db.build(demo_root)
    message = str(error.value)
    assert message.startswith(path) and message.endswith(f"run `dvc repro -f {path.split('/')[1]}`.") and "\n" not in message


def test_numbers_in_lists_are_checked_and_empty_ones_are_no_fault(demo_root):
    text = "curves: {description: Curves., key: [i], columns: {i: {int: Number.}, y: {floats: Values.}}}\n"
    io.write_text(text, demo_root / "stages/demo_text/tables.yaml")
    file = demo_root / "reports/demo_text/small/tables/curves.parquet"
    good = pl.DataFrame({"i": [1, 2, 3], "y": [[0.5, None], [], None]})
    io.write_parquet(good, file)
    db.build(demo_root)
    io.write_parquet(pl.DataFrame({"i": [1], "y": [[0.5, float("nan")]]}), file)
    with pytest.raises(CatalogError, match="NaN or infinite number in the column y"):
        db.build(demo_root)
