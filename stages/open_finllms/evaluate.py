"""Trading by rules on real prices, and language models before and after pre-training: tables, results with intervals, and pictures.

Every rule is run on every share, window and execution (`simulate`); intervals and comparisons are by blocks of days, all shares of a window
drawn together (`contrasts`). No model is run here: decisions of a language model are one more method with the same tables.
"""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from catalog.base.errors import run
from catalog.base.io import write_json
from catalog.base.params import ROOT, profile_params
from catalog.report.results import describe_dataset, folder, row, write_descriptions, write_results, write_run, write_tables
from stages.open_finllms import figures, language, language_figures, simulate, tables, tasks_report, windows
from stages.open_finllms.contrasts import Drawn
from stages.open_finllms.settings import Params

SYSTEM = "open_finllms"
PRICES = "prices"
FILES = ("daily", "listings", "notes")
MEASURES = {"cumulative_return": "cr", "annual_volatility": "av", "maximal_drawdown": "mdd"}


def results(profile: str, t: dict[str, pl.DataFrame]) -> Iterator[dict]:
    """Means over shares: a row for each window (as the split), execution (as the experiment), method and metric.

    Figures of each share, and differences from other methods, stand in the tables `trading` and `contrasts`.
    """
    usual = pl.col("hold") == pl.when(pl.col("execution") == "finmem").then(pl.lit("flat")).otherwise(pl.lit("keep"))
    for one in t["contrasts"].filter(pl.col("other").is_null() & usual).iter_rows(named=True):
        yield row(
            SYSTEM, profile, one["execution"], PRICES, None, one["agent"], "sharpe_ratio", one["value"], split=one["period"],
            ci=(one["low"], one["high"]), n=one["n"],
        )  # fmt: skip
    holding = pl.col("other") == simulate.HOLDING
    for one in t["contrasts"].filter(holding & usual & (pl.col("execution") == pl.col("other_execution"))).iter_rows(named=True):
        yield row(
            SYSTEM, profile, f"{one['execution']}, less buy and hold", PRICES, None, one["agent"], "sharpe_change", one["value"],
            split=one["period"], ci=(one["low"], one["high"]), n=one["n"],
        )  # fmt: skip
    groups = t["trading"].group_by("period", "execution", "agent", "returns", maintain_order=True)
    for (period, execution, agent, returns), part in groups:
        for metric, name in MEASURES.items():
            known = part[f"{name}_{returns}"].drop_nulls()
            if len(known) == part.height:  # else an account was ruined, and a mean over the others would hide it
                yield row(SYSTEM, profile, execution, PRICES, None, agent, metric, known.mean(), split=period, n=len(known))


def main(profile: str) -> None:
    """Write `reports/open_finllms/<profile>/`."""
    params = profile_params(Params, SYSTEM, profile)
    data = ROOT / "data" / PRICES / profile
    daily = pl.read_parquet(data / "daily.parquet")
    found = windows.spans(daily, params.trading)
    played = list(simulate.play(daily, found, params.trading))
    drawn = Drawn(played, params.trading, params.seed)
    made = tables.build(daily, found, played, drawn, params.trading)
    spoken = language.tables(language.raw(profile))
    asked = tasks_report.build(profile, params.pretrain.model)
    rows = [*results(profile, made), *language.results(profile, params.pretrain.model, spoken)]
    rows += tasks_report.results(profile, asked, params.pretrain.model)
    write_results(rows, SYSTEM, profile)
    write_tables(made | spoken | asked, SYSTEM, profile)
    drawn_up = figures.draw(made) | language_figures.draw(spoken) | tasks_report.draw(asked, params.pretrain.model)
    for name, spec in drawn_up.items():
        write_json(spec, folder(SYSTEM, profile) / "plots" / f"{name}.json")
    datasets, models = language.described(profile)
    datasets += tasks_report.described(profile)
    datasets += [describe_dataset(data / f"{name}.parquet", PRICES, profile) for name in FILES]
    write_descriptions(SYSTEM, profile, datasets, models)
    write_run(SYSTEM, profile, tasks_report.run_facts(profile, language.run_facts(profile)))  # last: it records which results it belongs to


if __name__ == "__main__":
    run(main)
