"""What happened to a share in a month: the facts that generated claims are about.

Facts are computed from adjusted closing prices, since unadjusted ones fall by half when a share is split. They are rounded as a context
prints them, and every label follows from the rounded figures, so that a reader of the context can check it.
"""

from __future__ import annotations

import polars as pl

DAYS = 15  # trading days that a month must have
LEAST = 2.0  # dollars: below it, a change of a cent is a change of half a percent
COLUMNS = ("asset", "month", "before", "last", "change", "high", "low", "days", "up", "streak", "drawdown", "swing", "swing_before")


def monthly(daily: pl.DataFrame) -> pl.DataFrame:
    """Facts of each share and month that follows another.

    Args:
        daily: ``asset``, ``date`` and ``adj_close``, one row a trading day; other columns are ignored.

    Returns:
        ``asset``; ``month``, its first day; ``before`` and ``last``, the last close of the month before and of this one (dollars, two
        decimals); ``change`` (percent, one decimal, from the two rounded closes); ``high`` and ``low`` of the month's closes; ``days``, of
        which ``up`` closed above the day before; ``streak``, the longest run of such days that lies in the month; ``drawdown``, the
        largest fall from an earlier close of the month (percent, one decimal); ``swing`` and ``swing_before``, the mean absolute daily
        change (percent) of this month and the month before. Left out: months of fewer than `DAYS` days or without any change of price,
        months that follow such a month, and prices below `LEAST`.
    """
    days = (
        daily.select("asset", "date", pl.col("adj_close").alias("close"))
        .sort("asset", "date")
        .with_columns(month=pl.col("date").dt.truncate("1mo"))
        .with_columns(step=(pl.col("close") / pl.col("close").shift(1).over("asset") - 1))
    )
    rises = pl.col("step").fill_null(0) > 0
    days = days.with_columns(rise=rises, run=rises.rle_id().over("asset", "month"))
    runs = days.filter("rise").group_by("asset", "month", "run").len().group_by("asset", "month").agg(streak=pl.col("len").max())
    months = (
        days.with_columns(fall=1 - pl.col("close") / pl.col("close").cum_max().over("asset", "month"))
        .group_by("asset", "month")
        .agg(
            last=pl.col("close").last().round(2),
            high=pl.col("close").max().round(2),
            low=pl.col("close").min().round(2),
            days=pl.len(),
            up=pl.col("rise").sum(),
            drawdown=(pl.col("fall").max() * 100).round(1),
            swing=pl.col("step").abs().mean() * 100,
        )
        .join(runs, on=["asset", "month"], how="left")
        .sort("asset", "month")
        .with_columns(
            pl.col("streak").fill_null(0),
            **{
                new: pl.col(old).shift(1).over("asset")
                for new, old in (("before", "last"), ("swing_before", "swing"), ("day_count", "days"))
            },
            previous=pl.col("month").shift(1).over("asset"),
        )
    )
    follows = pl.col("previous") == pl.col("month").dt.offset_by("-1mo")
    whole = (pl.col("days") >= DAYS) & (pl.col("day_count") >= DAYS)
    traded = (pl.col("swing") > 0) & (pl.col("swing_before") > 0) & (pl.min_horizontal("before", "last") >= LEAST)
    return (
        months.filter(follows & whole & traded)
        .with_columns(change=((pl.col("last") / pl.col("before") - 1) * 100).round(1))
        .select(*COLUMNS)
        .with_columns(pl.col("days", "up", "streak").cast(pl.Int32))
    )
