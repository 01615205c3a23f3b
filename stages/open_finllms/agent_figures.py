"""Pictures of the trading agent as Vega-Lite specifications: wealth with its drawdown, and its lead over each simple method."""

from __future__ import annotations

import polars as pl

from catalog.report.vega import OTHER, field, plain, spec
from stages.open_finllms.contrasts import TOGETHER
from stages.open_finllms.figures import COLOURS, SHAPES, curves
from stages.open_finllms.simulate import AGENT, HOLDING, MOMENTUM, SHUFFLED, TURNOVER

BASELINES = (HOLDING, MOMENTUM)
OTHERS = (HOLDING, MOMENTUM, SHUFFLED, TURNOVER)


def draw(t: dict[str, pl.DataFrame]) -> dict[str, dict]:
    """File name -> specification; nothing where no agent has traded."""
    traded = t["equity"].filter(pl.col("agent") == AGENT)
    if not traded.height:
        return {}
    made = {"agent_lead": lead(t["contrasts"])}
    return made | {f"agent_wealth_{window}": wealth(t["equity"], window) for window in traded["period"].unique().sort()}


def named(model: str) -> str:
    return f"agent, {model}"


def wealth(equity: pl.DataFrame, window: str) -> dict:
    """Wealth and drawdown by day of the agent and of two simple methods, with fees, on the agent's shares."""
    mine = equity.filter((pl.col("period") == window) & (pl.col("execution") == "fees"))
    shares = mine.filter(pl.col("agent") == AGENT).select("asset", "source").unique()
    models = mine.filter(pl.col("agent") == AGENT)["model"].unique().sort().to_list()
    agents = [*map(named, models), *BASELINES]
    told = pl.when(pl.col("agent") == AGENT).then(pl.format(named("{}"), "model")).otherwise("agent")
    data = mine.join(shares, on=["asset", "source"], how="semi").with_columns(agent=told).filter(pl.col("agent").is_in(agents))
    title = f"Period {window}: the agent's wealth with fees and its drawdown ({', '.join(shares['asset'].sort())}; same wealth in each)"
    return curves(title, data, agents)


def lead(contrasts: pl.DataFrame) -> dict:
    """Sharpe ratio of the agent less that of each simple method on the same days, a view for each window."""
    usual = (pl.col("execution") == "finmem") & (pl.col("hold") == "flat") & (pl.col("other_execution") == "finmem")
    usual &= pl.col("other_hold") == "flat"
    mine = contrasts.filter((pl.col("agent") == AGENT) & usual & pl.col("other").is_in(OTHERS) & pl.col("low").is_not_null())
    models = contrasts.filter(pl.col("agent") == AGENT)["model"].unique().sort().to_list()
    scales = {
        "color": {"domain": models, "range": list(COLOURS[: len(models)])},
        "shape": {"domain": models, "range": list(SHAPES[: len(models)])},
    }
    windows = [window for window in (*TOGETHER, " and ".join(TOGETHER), "after") if window in mine["period"].unique()]
    views = []
    for window in windows:
        data = mine.filter(pl.col("period") == window).select("other", "model", "value", "low", "high")
        legend = {} if len(models) > 1 and window == windows[-1] else {"legend": None}
        place = {
            "x": field("value", "quantitative", "difference of Sharpe ratios"),
            "y": field("other", "nominal", None, sort=list(OTHERS)),
            "yOffset": field("model", "nominal", None, sort=models),
        }
        looks = {name: field("model", "nominal", None, scale=scale, **legend) for name, scale in scales.items()}
        tips = [field("model", "nominal", "model"), field("other", "nominal", "less")]
        tips += [
            field(name, "quantitative", said, format=".2f") for name, said in (("value", "difference"), ("low", "from"), ("high", "to"))
        ]
        bar = {
            "mark": {"type": "rule", "strokeWidth": 2},
            "encoding": place | {"x": place["x"] | {"field": "low"}, "x2": {"field": "high"}, "color": looks["color"]},
        }
        point = {"mark": {"type": "point", "filled": True, "size": 60, "opacity": 1}, "encoding": place | looks | {"tooltip": tips}}
        zero = {"mark": {"type": "rule", "color": OTHER}, "data": {"values": [{}]}, "encoding": {"x": {"datum": 0}}}
        views.append({"title": window, "height": 110, "data": {"values": plain(data)}, "layer": [zero, bar, point]})
    said = f"Agent ({', '.join(models)}): its Sharpe ratio less that of simple methods on the same days, with 95 % intervals"
    return spec(said, "Right of 0 the agent is better", vconcat=views)
