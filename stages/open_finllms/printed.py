"""Table 12 of the paper, and what can be checked of it by arithmetic alone."""

from __future__ import annotations

import polars as pl

from stages.open_finllms.trading_metrics import PERIODS

MEASURES = ("cr", "sr", "av", "mdd")
AGENTS = ("Buy&Hold", "LLaMA3.1-8B", "LLaMA3-8B", "FinLLaMA")
# share -> a row for each measure (cumulative return, Sharpe ratio, annual volatility, maximal drawdown), a column for each agent
TABLE_12 = {
    "TSLA": (
        (-0.1633, -0.1829, -0.1552, 0.5573),
        (-0.4769, -0.5557, -0.8486, 2.4532),
        (0.7015, 0.6741, 0.3748, 0.4654),
        (0.5532, 0.5248, 0.2662, 0.1883),
    ),
    "COIN": (
        (-0.0562, -0.3515, -0.0319, 0.1743),
        (-0.1041, -0.7911, -0.0666, 0.5778),
        (1.1047, 0.9103, 0.9823, 0.6181),
        (0.6019, 0.5449, 0.4056, 0.4142),
    ),
    "GOOG": (
        (-0.0562, 0.1651, 0.1631, 0.1098),
        (-0.1041, 0.9464, 1.0128, 0.6927),
        (1.1047, 0.3574, 0.3300, 0.3249),
        (0.6019, 0.1983, 0.2092, 0.1741),
    ),
    "NIO": (
        (-0.3530, -0.2677, -0.3526, 0.4645),
        (-0.8678, -0.6951, -1.0313, 1.9113),
        (0.8332, 0.7891, 0.7005, 0.4979),
        (0.4498, 0.4213, 0.5172, 0.3008),
    ),
}
PRICES = 123  # the number of prices that all rows fit, see `table`
ROUNDED = 5e-5  # a printed figure lies within this of the exact one


def table() -> pl.DataFrame:
    """A row a share and agent: the printed figures, the number of prices that they imply, and whether they fit 123.

    FinMem's Sharpe ratio is (CR / (N / 252)) / AV, so N = 252 CR / (SR AV). All three are rounded to four decimals, so N is known within
    bounds; a row is consistent if 123 lies within them.
    """
    year, rows = PERIODS["shares"], []
    for asset, measures in TABLE_12.items():
        for place, agent in enumerate(AGENTS):
            cr, sr, av, mdd = (row[place] for row in measures)
            at = [year * (abs(cr) + a * ROUNDED) / ((abs(sr) - a * ROUNDED) * (av - a * ROUNDED)) for a in (-1, 1)]
            copies = [other for other, theirs in TABLE_12.items() if other != asset and [row[place] for row in theirs] == [cr, sr, av, mdd]]
            rows.append(
                {"asset": asset, "agent": agent, "cr": cr, "sr": sr, "av": av, "mdd": mdd, "n": year * cr / (sr * av)}
                | {"n_low": at[0], "n_high": at[1], "fits": at[0] <= PRICES <= at[1]}
                | {"sr_at_123": year * cr / (PRICES * av), "same_as": ", ".join(copies) or None}
            )
    return pl.DataFrame(rows, schema_overrides={"same_as": pl.String})
