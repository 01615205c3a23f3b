"""What the paper prints of credit, fraud and distress as "MCC", and what chance would be. By arithmetic alone.

FinLLaMA's figures for six sets lie between 49.55 and 50.55. If they are 50 (1 + MCC), which is our reading and not stated, MCC is 0 but
for chance: under no association n MCC² has about the chi-squared distribution with one degree of freedom, so |MCC| is below 1.96 / √n in
95 of 100 cases.
"""

from __future__ import annotations

import polars as pl

MODELS = ("LLaMA3-8B", "LLaMA3.1-8B", "FinLLaMA")
# set -> test items, and the printed figure of each model (Tables 8 to 10)
PRINTED = {
    "ccf": (2278, (50.10, 50.06, 50.10)),
    "ccfraud": (2097, (49.20, 48.02, 50.25)),
    "polish": (1736, (47.65, 50.0, 50.0)),
    "taiwan": (1364, (45.8, 47.75, 50.0)),
    "PortoSeguro": (2381, (48.95, 49.35, 49.55)),
    "travelinsurance": (3800, (50.0, 50.0, 50.55)),
}
Z = 1.959964


def table() -> pl.DataFrame:
    """A row a set and model: the printed figure, the MCC that it would be, and whether that is within chance."""
    rows = []
    for name, (n, values) in PRINTED.items():
        for model, value in zip(MODELS, values, strict=True):
            mcc, reach = value / 50 - 1, Z / n**0.5
            rows.append(
                {"dataset": name, "model": model, "n": n, "printed": value, "mcc": mcc, "reach": reach, "chance": abs(mcc) <= reach}
            )
    return pl.DataFrame(rows)
