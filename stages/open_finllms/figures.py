"""Pictures of the trading simulation as Vega-Lite specifications: wealth with its drawdown, Sharpe ratios, what hold means."""

from __future__ import annotations

from typing import Any

import polars as pl

from catalog.report.vega import OTHER, field, plain, spec
from stages.open_finllms.simulate import HALF, HOLDING, MOMENTUM, RANDOM, REVERSION

SHORT = ("bear", "bull", "after")  # windows whose wealth is drawn day by day
COMPARED = (HOLDING, MOMENTUM, REVERSION, HALF, RANDOM)
COLOURS = ("#2f6f9f", "#b4483a", "#7a8b3c", "#8c6bb1", "#868e96")
DASHES = ([1, 0], [6, 3], [2, 2])
SHAPES = ("circle", "diamond", "triangle-up", "square")


def draw(t: dict[str, pl.DataFrame]) -> dict[str, dict]:
    """File name -> specification. Windows that the profile does not have are left out."""
    there = [name for name in SHORT if name in t["equity"]["period"].unique()]
    made = {f"wealth_{name}": wealth(t["equity"], t["windows"], name) for name in there}
    return made | {"sharpe": sharpe(t["contrasts"]), "hold": hold(t["conventions"])}


def portfolio(equity: pl.DataFrame) -> pl.DataFrame:
    """date, agent, value and drawdown of the same wealth put into every share."""
    mean = equity.group_by("agent", "date").agg(pl.col("value").mean()).sort("agent", "date")
    return mean.with_columns(drawdown=1 - pl.col("value") / pl.col("value").cum_max().over("agent", order_by="date"))


def wealth(equity: pl.DataFrame, windows: pl.DataFrame, window: str) -> dict:
    """Wealth and drawdown by day: one view above the other."""
    mine = equity.filter((pl.col("period") == window) & (pl.col("execution") == "fees") & pl.col("agent").is_in(COMPARED))
    shares = windows.filter((pl.col("period") == window) & pl.col("opens"))
    named = ", ".join(shares["asset"].unique().sort())
    title = f"Period {window}: wealth with fees and its drawdown ({named}; same wealth in each)"
    return curves(title, mine, [name for name in COMPARED if name in mine["agent"].unique()])


def curves(title: str, mine: pl.DataFrame, agents: list[str]) -> dict:
    """Two views of the same wealth put into every share by each of ``agents``: its value, and the loss from its highest value so far."""
    data = portfolio(mine)
    across = field("date", "temporal", None, scale={"type": "utc"})
    scales = _scales(agents)

    def view(name: str, title: str, height: int, legend: bool) -> dict[str, Any]:
        tips = [field("date", "temporal", "day"), field("agent", "nominal", "method"), field(name, "quantitative", title, format=".3f")]
        down = name == "drawdown"
        up = field(name, "quantitative", title, scale={"zero": down, "reverse": down}, axis={"format": ".0%" if down else ".2f"})
        looks = {
            "color": field("agent", "nominal", None, scale=scales["color"], **({} if legend else {"legend": None})),
            "strokeDash": field("agent", "nominal", None, scale=scales["strokeDash"], **({} if legend else {"legend": None})),
        }
        return {
            "height": height,
            "mark": {"type": "line", "strokeWidth": 1.8},
            "encoding": {"x": across, "y": up, **looks, "tooltip": tips},
        }

    views = [view("value", "wealth, 1 at the start", 200, False), view("drawdown", "drawdown", 110, True)]
    return spec(title, "Wealth by day above, loss from the highest wealth so far below", data, vconcat=views)


def _scales(agents: list[str]) -> dict[str, dict]:
    # A method has the same colour in all pictures; an agent those that no method of them has.
    free = iter((COLOURS[-2], COLOURS[-1], COLOURS[2]))
    colours = [COLOURS[COMPARED.index(name)] if name in COMPARED else next(free) for name in agents]
    return {
        "color": {"domain": agents, "range": colours},
        "strokeDash": {"domain": agents, "range": [DASHES[place % len(DASHES)] for place in range(len(agents))]},
    }


def sharpe(contrasts: pl.DataFrame) -> dict:
    """Mean Sharpe ratio over shares with its interval, a view for each window."""
    usual = ((pl.col("execution") == "finmem") & (pl.col("hold") == "flat")) | (pl.col("execution") == "fees")
    mine = contrasts.filter(
        pl.col("other").is_null() & pl.col("model").is_null() & usual & pl.col("agent").is_in(COMPARED) & pl.col("low").is_not_null()
    )
    windows = mine["period"].unique(maintain_order=True).to_list()
    executions = ["finmem", "fees"]
    looks = {
        "color": {"domain": executions, "range": list(COLOURS[:2])},
        "shape": {"domain": executions, "range": list(SHAPES[:2])},
    }
    views = []
    for window in windows:
        data = mine.filter(pl.col("period") == window)
        legend = {} if window == windows[-1] else {"legend": None}
        place = {
            "x": field("value", "quantitative", "Sharpe ratio"),
            "y": field("agent", "nominal", None, sort=list(COMPARED)),
            "yOffset": field("execution", "nominal", None, sort=executions),
        }
        colour = field("execution", "nominal", None, scale=looks["color"], **legend)
        bar = {
            "mark": {"type": "rule", "strokeWidth": 2},
            "encoding": place | {"x": place["x"] | {"field": "low"}, "x2": {"field": "high"}, "color": colour},
        }
        tips = [field("agent", "nominal", "method"), field("execution", "nominal", "execution")]
        tips += [
            field(name, "quantitative", said, format=".2f") for name, said in (("value", "Sharpe ratio"), ("low", "from"), ("high", "to"))
        ]
        point = {
            "mark": {"type": "point", "filled": True, "size": 60, "opacity": 1},
            "encoding": place
            | {"color": colour, "shape": field("execution", "nominal", None, scale=looks["shape"], **legend), "tooltip": tips},
        }
        zero = {"mark": {"type": "rule", "color": OTHER}, "data": {"values": [{}]}, "encoding": {"x": {"datum": 0}}}
        count = data["shares"].max()
        titled = f"{window}: {count} share{'' if count == 1 else 's'}, {data['n'].max()} days"
        columns = data.select("agent", "execution", "value", "low", "high")
        views.append({"title": titled, "height": 150, "data": {"values": plain(columns)}, "layer": [zero, bar, point]})
    title = "Sharpe ratio by period: mean over shares, with 95 % intervals"
    return spec(title, "Methods under the paper's script and in an account with fees", vconcat=views)


def hold(conventions: pl.DataFrame) -> dict:
    """Sharpe ratios of the same decisions under three meanings of hold, share by share."""
    mine = conventions.filter((pl.col("period") == "long") & (pl.col("agent") == HALF) & (pl.col("returns") == "log"))
    data = mine.select("asset", "hold", "sr").drop_nulls().sort("asset", "hold")
    order = data.filter(pl.col("hold") == "flat").sort("sr", "asset")["asset"].to_list()
    meanings = ["flat", "keep", "book"]
    place = {
        "y": field("asset", "nominal", None, sort=order, axis={"labelOverlap": False}),
        "x": field("sr", "quantitative", "Sharpe ratio"),
    }
    points = {
        "mark": {"type": "point", "filled": True, "size": 55, "opacity": 0.9},
        "encoding": place
        | {
            "color": field("hold", "nominal", "hold means", scale={"domain": meanings, "range": list(COLOURS[:3])}),
            "shape": field("hold", "nominal", "hold means", scale={"domain": meanings, "range": list(SHAPES[:3])}),
            "tooltip": [
                field("asset", "nominal", "share"),
                field("hold", "nominal", "hold"),
                field("sr", "quantitative", "Sharpe ratio", format=".2f"),
            ],
        },
    }
    ends = {"x": place["x"] | {"aggregate": "min"}, "x2": {"field": "sr", "aggregate": "max"}, "y": place["y"]}
    spans = {"mark": {"type": "rule", "color": OTHER}, "encoding": ends}
    title = f"The same decisions, three meanings of hold ({HALF}; period long)"
    return spec(title, "Sharpe ratio of each share", data, height=400, layer=[spans, points])
