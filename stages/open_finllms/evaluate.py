"""Trading by rules and by an agent on real prices, language models before and after pre-training, and answers to the offline tasks.

Every rule is run on every share, window and execution (`simulate`); intervals and comparisons are by blocks of days, all shares of a window
drawn together (`contrasts`). No model is run here: what a language model decided in `trade.py` is one more method with the same tables.
"""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from catalog.base.errors import run
from catalog.base.io import read_json, write_json
from catalog.base.params import ROOT, profile_params
from catalog.report.results import describe_dataset, folder, row, write_descriptions, write_results, write_run, write_tables
from stages.open_finllms import (
    agent_figures,
    agent_tables,
    figures,
    language,
    language_figures,
    simulate,
    tables,
    tasks_report,
    vision_report,
    windows,
)
from stages.open_finllms.contrasts import Drawn
from stages.open_finllms.settings import Params
from stages.open_finllms.trader import Options

SYSTEM = "open_finllms"
PRICES, TRADES = "prices", "finance_trades"
FILES = ("daily", "listings", "notes")
MEASURES = {"cumulative_return": "cr", "annual_volatility": "av", "maximal_drawdown": "mdd"}


def results(profile: str, t: dict[str, pl.DataFrame]) -> Iterator[dict]:
    """Means over shares: a row for each window (as the split), execution (as the experiment), method and metric.

    Figures of each share, and differences from other methods, stand in the tables `trading` and `contrasts`.
    """
    usual = pl.col("hold") == pl.when(pl.col("execution") == "finmem").then(pl.lit("flat")).otherwise(pl.lit("keep"))
    elsewhere = pl.col("agent").is_in([simulate.HOLDING, simulate.MOMENTUM]) & pl.col("model").is_not_null()  # on the agent's shares alone
    for one in t["contrasts"].filter(pl.col("other").is_null() & usual & ~elsewhere).iter_rows(named=True):
        yield row(
            SYSTEM, profile, one["execution"], PRICES, one["model"], one["agent"], "sharpe_ratio", one["value"], split=one["period"],
            ci=(one["low"], one["high"]), n=one["n"],
        )  # fmt: skip
    holding = pl.col("other") == simulate.HOLDING
    for one in t["contrasts"].filter(holding & usual & (pl.col("execution") == pl.col("other_execution"))).iter_rows(named=True):
        yield row(
            SYSTEM, profile, f"{one['execution']}, less buy and hold", PRICES, one["model"], one["agent"], "sharpe_change", one["value"],
            split=one["period"], ci=(one["low"], one["high"]), n=one["n"],
        )  # fmt: skip
    groups = t["trading"].group_by("period", "execution", "agent", "model", "returns", maintain_order=True)
    for (period, execution, agent, model, returns), part in groups:
        for metric, name in MEASURES.items():
            known = part[f"{name}_{returns}"].drop_nulls()
            if len(known) == part.height:  # else an account was ruined, and a mean over the others would hide it
                yield row(SYSTEM, profile, execution, PRICES, model, agent, metric, known.mean(), split=period, n=len(known))


def agent_results(profile: str, agents: pl.DataFrame) -> Iterator[dict]:
    """How often a model that writes its answer names one action."""
    for one in agents.filter(pl.col("period") == agent_tables.ALL, pl.col("written") > 0).iter_rows(named=True):
        share = one["written_named"] / one["written"]
        yield row(
            SYSTEM, profile, "written answers", PRICES, one["model"], simulate.AGENT, "named_action", share, split="all",
            ci=(one["named_low"], one["named_high"]), n=one["written"],
        )  # fmt: skip


def own_tables(daily: pl.DataFrame, raw: dict[str, pl.DataFrame], params: Params) -> dict[str, pl.DataFrame]:
    """All tables by name."""
    p, a = params.trading, params.agent
    found = windows.spans(daily, p)
    played = list(simulate.play(daily, found, p, agent_tables.decided(raw["decisions"])))
    made = tables.build(daily, found, played, Drawn(played, p, params.seed), p)
    options = Options(mode=a.mode, form=a.form, top_k=a.top_k, limit=a.limit, calibrated=a.calibrated)
    traded = raw["decisions"].select("window", "asset", "source").unique(maintain_order=True)
    made["leaks"] = pl.concat([made["leaks"], pl.DataFrame(agent_tables.leaks(daily, found, traded, options), schema=made["leaks"].schema)])
    return made | {"agents": agent_tables.summary(raw), "agent_days": agent_tables.days(raw, daily)}


def numbered(*parts: dict[str, dict]) -> dict[str, dict]:
    """Pictures under names that sort in their order: 01_wealth_bear, 02_wealth_bull, …"""
    return {f"{place:02}_{name}": spec for place, (name, spec) in enumerate(((n, s) for part in parts for n, s in part.items()), 1)}


def run_facts(profile: str) -> dict:
    """What `run.json` says of all stages that ran a model: their seconds together, and the highest memory."""
    facts = language.run_facts(profile)
    names = (tasks_report.ANSWERS, TRADES, vision_report.MODEL, vision_report.ANSWERS)
    others = {name: read_json(ROOT / "models" / name / f"{profile}.run.json") for name in names}
    facts["seconds"] = round(facts["seconds"] + sum(made["seconds"] for made in others.values()), 1)
    facts["peak_memory_mb"] = max([facts["peak_memory_mb"], *(made["peak_memory_mb"] for made in others.values())])
    return facts | {"agent": others[TRADES]}


def main(profile: str) -> None:
    """Write `reports/open_finllms/<profile>/`."""
    params = profile_params(Params, SYSTEM, profile)
    base, data = params.pretrain.model, ROOT / "data" / PRICES / profile
    daily, raw = pl.read_parquet(data / "daily.parquet"), agent_tables.read(ROOT / "models" / TRADES / profile)
    made, spoken, asked = own_tables(daily, raw, params), language.tables(language.raw(profile)), tasks_report.build(profile, base)
    rows = [*results(profile, made), *agent_results(profile, made["agents"]), *language.results(profile, base, spoken)]
    seen = vision_report.build(profile, params.seed)
    write_results([*rows, *tasks_report.results(profile, asked, base), *vision_report.results(profile, seen)], SYSTEM, profile)
    write_tables(made | spoken | asked | seen, SYSTEM, profile)
    drawn = [figures.draw(made), agent_figures.draw(made), language_figures.draw(spoken), tasks_report.draw(asked, base)]
    for name, spec in numbered(*drawn, vision_report.draw(seen)).items():
        write_json(spec, folder(SYSTEM, profile) / "plots" / f"{name}.json")
    datasets, models = language.described(profile)
    charts, sighted = vision_report.described(profile)
    datasets, models = datasets + tasks_report.described(profile) + charts, models + sighted
    datasets += [describe_dataset(data / f"{name}.parquet", PRICES, profile) for name in FILES]
    write_descriptions(SYSTEM, profile, datasets, models)
    write_run(SYSTEM, profile, run_facts(profile))  # last: it records which results it belongs to


if __name__ == "__main__":
    run(main)
