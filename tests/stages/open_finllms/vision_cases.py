"""Small charts with known figures, and the data set built on random walks."""

import random
from dataclasses import replace
from datetime import date, timedelta

import polars as pl

from catalog.base.params import profile_params
from stages.open_finllms import vision_data
from stages.open_finllms.settings import Params
from stages.open_finllms.vision_content import ATTRIBUTES, Content

P = profile_params(Params, "open_finllms", "small").vision_data
FEW = {"line": 10, "bar": 9, "grouped": 4, "pie": 4, "table": 6}


def content(form, values, colours, series=("X",), labels=None, title="T", origin="prices"):
    labels = labels or tuple(f"l{at}" for at in range(len(values[0])))
    return Content(form, title, tuple(series), tuple(labels), tuple(map(tuple, values)), tuple(colours), origin)


def prices(p=P, days=700):
    """Random walks of every share from the first day of its split."""
    rows = []
    for split in ("train", "valid", "test"):
        first = date.fromisoformat(p.spans[split][0])
        for asset in p.shares[split]:
            rng, close = random.Random(asset), 40.0
            for day in range(days):
                close *= 1 + rng.gauss(0, 0.012 * (5 if rng.random() < 0.05 else 1))
                rows.append((asset, p.source, first + timedelta(day), close))
    return pl.DataFrame(rows, schema={"asset": pl.String, "source": pl.String, "date": pl.Date, "adj_close": pl.Float64}, orient="row")


def people(count=400):
    rng = random.Random(0)
    return [{name: rng.choice(list(values)) for name, values in ATTRIBUTES.items()} for _ in range(count)]


def built(few=FEW, **changed):
    p = replace(P, images=dict.fromkeys(vision_data.SPLITS, few), **changed)
    return vision_data.build(prices(), people(), p, seed=0)
