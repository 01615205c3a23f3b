"""Prices and decisions for the tests of trading: small ones to work out by hand, and real ones."""

import gzip
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

STOCKS = Path(__file__).parents[3] / "data/assets/bokeh_stocks/stocks.csv.gz"
START = date(2024, 1, 1)  # a Monday
# Adjusted closes of GOOG from 2012-09-04 to 2013-03-01, typed from bokeh-sampledata (public domain).
GOOG = [
    float(price)
    for price in """
    341.5744075 341.4139120 350.7828330 354.1682836 351.4699541 347.1666703 346.5096421 354.1131133 355.9387488 356.0892133 360.2520636
    364.8763383 365.1855929 368.1313863 375.8502136 375.7398730 377.8965304 379.4212370 378.4181405 382.0694117 379.6669956 382.4305264
    385.2141191 385.0134998 380.0933116 373.1970235 373.4327511 376.9034649 373.5280453 371.6372085 373.5029679 378.9146733 348.5760208
    341.9505686 340.3857382 341.2283392 339.6997205 339.9293293 338.6202884 341.2020581 344.8595484 345.0240562 342.5373801 341.9154603
    334.5928561 327.1548958 332.5415238 333.9809673 330.5469668 327.2852984 324.6321082 324.5919844 335.1395437 336.0222686 333.9659208
    335.0191721 331.5986132 336.3934142 342.8934793 347.0162058 350.2662383 348.7014078 346.5848743 344.9749045 346.6350291 343.1643154
    343.7711887 349.5189315 349.8599843 352.4379422 352.0684014 361.5059342 361.6513832 361.1698969 362.2983804 358.9229608 355.8484701
    355.5324948 354.2385003 351.0887774 354.7851879 362.7447583 362.9554086 370.1275483 368.5125630 367.7853180 370.2017774 371.8879826
    371.1406757 362.7447583 363.5873593 358.7022796 356.7612879 353.3457445 352.5232054 371.8980135 378.0821032 378.0018555 376.5273037
    378.0068710 378.0821032 379.0149829 389.0008082 380.6851386 384.0555427 386.2774013 388.1732536 393.9009344 392.4213672 391.5587042
    392.6420484 395.1297276 397.6725771 404.6741905 397.4569114 398.9966645 401.0931361 396.6092949 396.2883040 401.1282445 401.8404430
    404.3431686
""".split()
]


def weekdays(n: int) -> list[date]:
    days = (START + timedelta(days=i) for i in range(2 * n + 7))
    return [day for day in days if day.weekday() < 5][:n]


def prices(closes, opens=None) -> pl.DataFrame:
    """A share of consecutive weekdays: adjusted like the close, with opens where they are given."""
    frame = pl.DataFrame({"date": weekdays(len(closes)), "close": closes, "open": opens or [None] * len(closes)})
    return frame.with_columns(pl.col("close", "open").cast(pl.Float64)).with_columns(adj_close="close")


def walk(n=900, seed=5, scale=0.015):
    """A share with opens, highs, lows and volumes that trades on weekdays, now calm, now wild."""
    rng = np.random.default_rng(seed)
    swing = scale * np.exp(np.sin(np.arange(n) / 40))
    close = 50 * np.exp(np.cumsum(rng.normal(0, swing)))
    opened = np.concatenate([[50], close[:-1]]) * np.exp(rng.normal(0, swing / 2))
    high, low = np.maximum(opened, close) * np.exp(swing * rng.exponential(1, n)), np.minimum(opened, close) / 1.01
    volume = np.round(1e6 * np.exp(rng.normal(0, 0.5, n)))
    return pl.DataFrame(
        {"date": weekdays(n), "open": opened, "high": high, "low": low, "close": close, "adj_close": close * 0.9, "volume": volume}
    )


def decided(actions, days=None) -> pl.DataFrame:
    """Decisions on consecutive weekdays; None is an answer that names no action."""
    return pl.DataFrame({"date": days or weekdays(len(actions)), "parsed": actions}, schema={"date": pl.Date, "parsed": pl.String})


def stock(asset: str) -> pl.DataFrame:
    """The window of the published figures of one share; skips the test where the file has not been fetched."""
    if not STOCKS.exists():
        pytest.skip("the file stocks.csv.gz has not been fetched")
    table = pl.read_csv(gzip.decompress(STOCKS.read_bytes()), try_parse_dates=True)
    window = table.filter((pl.col("Ticker") == asset) & pl.col("Date").is_between(date(2012, 9, 4), date(2013, 3, 1)))
    return window.select(date="Date", open="Open", close="Close", adj_close="Adj Close", volume="Volume")
