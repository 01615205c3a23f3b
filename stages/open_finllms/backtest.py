"""`python -m stages.open_finllms.backtest`: what daily decisions would have earned, in every convention, beside simple rules.

    python -m stages.open_finllms.backtest --prices AAPL.csv --decisions decisions.csv --fee-bps 5 --no-short

The prices are one share's (`stages.open_finllms.prices.read_csv`); the decisions have the columns ``date`` and ``action``, where an action
is buy, hold or sell, or the whole answer of a language model. A Sharpe ratio says little by itself, and which position a "hold" means moves
it further than most methods do. So both executions of `stages.open_finllms.trading` are shown, each with the metrics of both conventions of
`stages.open_finllms.trading_metrics`, next to buy and hold, momentum-3 and random decisions with equal turnover on the same days, and with
95 % intervals by the block bootstrap.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from catalog.base.errors import CatalogError, run
from catalog.base.io import write_parquet, write_text
from catalog.base.text import print_out
from stages.open_finllms import actions, block_bootstrap, rules, trading
from stages.open_finllms.csv_cells import dates
from stages.open_finllms.csv_table import LINE, read_cells, role_of
from stages.open_finllms.prices import read_csv
from stages.open_finllms.trading_metrics import DEFINITIONS, metrics

ACTION_COLUMNS = ("action", "decision", "signal", "answer", "output", "response")
RANDOM = "random, equal turnover"
LIMITS = (  # of options; more draws do not fit into memory, and NaN lies within no limits
    ("periods", 1, 100_000),
    ("rf", -10, 10),
    ("draws", 1, 100_000),
    ("random", 0, 10_000),
    ("seed", 0, 2**63 - 1),
)
RATIOS = {  # shown in both conventions
    "SR": "Sharpe ratio",
    "SR_low": "  95 % from",
    "SR_high": "  to",
    "vs_low": "  less buy and hold, from",
    "vs_high": "  to",
    "NSR": "normalised Sharpe",
    "AV": "annual volatility",
    "MDD": "maximal drawdown",
}
TABLE = {
    "log": (
        "Log returns, as FinMem computes",
        {
            "CR": "cumulative return",
            **RATIOS,
        },
    ),
    "simple": (
        "Simple returns, compounded",
        {
            "CR": "cumulative return",
            "AR": "annual return",
            **RATIOS,
            "Sortino": "Sortino ratio",
            "Calmar": "Calmar ratio",
        },
    ),
    "counts": (
        "Counts",
        {
            "N": "prices (N)",
            "returns": "returns",
            "in_market": "days in the market",
            "trades": "trades",
            "turnover": "turnover (of wealth)",
            "fees": "fees (start wealth 1)",
            "holds": "holds by choice",
            "failures": "answers without an action",
            "other": "sold on another answer",
            "missing": "days without a decision",
        },
    ),
}


def read_decisions(path: str, mode: str = "strict", date_format: str | None = None) -> pl.DataFrame:
    """The decisions of a CSV, read by `stages.open_finllms.actions.parse`.

    Raises:
        CatalogError: an absent file, no or several columns of dates or actions, a date of another form.
    """
    if not Path(path).is_file():
        raise CatalogError(f"{path} is no file; give the path of a CSV file with the columns date and action.")
    cells, _ = read_cells(path)
    names = [name for name in cells.columns if name != LINE]
    roles = {
        "date": [name for name in names if role_of(name) == "date"],
        "action": [name for name in names if name.strip().lower() in ACTION_COLUMNS],
    }
    for role, found in roles.items():
        if len(found) != 1:
            what = f"no column {role}" if not found else f"several columns for the {role} ({', '.join(found)})"
            raise CatalogError(f"{path} has {what}; its columns are {', '.join(names)}; name one {role}.")
    cells = cells.select(LINE, date=roles["date"][0], action=roles["action"][0])
    if not cells.height:
        raise CatalogError(f"{path} has no decision below its header; write one a line.")
    return actions.decisions(dates(cells, path, date_format), cells["action"], mode)


def measure(prices: pl.DataFrame, decisions: pl.DataFrame, options: argparse.Namespace) -> tuple[dict, dict[str, pl.DataFrame]]:
    """For each execution the figures of each method, and the daily results of the decisions."""
    settings = {name: getattr(options, name) for name in ("fee_bps", "short", "fill", "unparsed", "missing")}
    days = trading.window(trading.series(prices), decisions, options.missing).filter(pl.col("status") != "end")
    simple_rules = {name: rules.RULES[name](prices).join(days, on="date", how="semi") for name in ("buy and hold", "momentum-3")}
    drawn = [rules.equal_turnover(days, seed, exchange=options.short) for seed in range(options.random)]
    found, daily = {}, {}
    for mode in trading.MODES:
        frames = {name: trading.run(prices, each, mode, **settings) for name, each in ({"decisions": decisions} | simple_rules).items()}
        daily[mode] = frames["decisions"]
        found[mode] = {name: _with_intervals(frame, frames["buy and hold"], options) for name, frame in frames.items()}
        found[mode][RANDOM] = _over_seeds([metrics(trading.run(prices, d, mode, **settings), options.periods, options.rf) for d in drawn])
    return found, daily


def _with_intervals(frame: pl.DataFrame, reference: pl.DataFrame, options: argparse.Namespace) -> dict[str, dict]:
    found = metrics(frame, options.periods, options.rf)
    for convention in ("log", "simple"):
        ours, theirs = frame[f"r_{convention}"][:-1], reference[f"r_{convention}"][:-1]
        how = {
            "statistic": block_bootstrap.sharpe(options.periods, convention, options.rf),
            "block": options.block,
            "draws": options.draws,
            "seed": options.seed,
        }
        none = (None, None)
        low, high = none if ours.null_count() else block_bootstrap.interval(ours, **how)
        alone = frame is reference or ours.null_count() or theirs.null_count()
        vs_low, vs_high = none if alone else block_bootstrap.difference(ours, theirs, **how)
        found[convention] |= {"SR_low": low, "SR_high": high, "vs_low": vs_low, "vs_high": vs_high}
    return found


def _over_seeds(found: list[dict[str, dict]]) -> dict[str, dict]:
    """The mean of each figure over random decisions, and the middle 95 % of their Sharpe ratios."""
    means = {}
    for group in found[0] if found else ():
        values = {name: pl.Series([one[group][name] for one in found], dtype=pl.Float64) for name in found[0][group]}
        means[group] = {name: column.mean() for name, column in values.items()}
        if "SR" in values:
            means[group] |= {"SR_low": values["SR"].quantile(0.025), "SR_high": values["SR"].quantile(0.975)}
    return means


def main(argv: Sequence[str] | None = None) -> None:
    """Read the files named on the command line, trade, and print."""
    options = _parser().parse_args(argv)
    _check(options)
    notes: list[str] = []
    prices = read_csv(options.prices, date_format=options.date_format, weekend_trading=options.weekend_trading, tell=notes.append)
    decisions = read_decisions(options.decisions, options.answers, options.date_format)
    try:
        found, daily = measure(prices, decisions, options)
    except CatalogError:
        for note in notes:
            if note.startswith("dropped"):  # why a day of the file has no price
                print(note, file=sys.stderr)
        raise
    if options.daily:
        _write(pl.concat([frame.select(pl.lit(mode).alias("execution"), pl.all()) for mode, frame in daily.items()]), options.daily)
    frame = daily["realistic"]
    parsed, status = (dict(decisions[name].value_counts().drop_nulls().sort(name).iter_rows()) for name in ("parsed", "status"))
    result = {
        "first": str(frame["date"][0]),
        "last": str(frame["date"][-1]),
        "decisions": decisions.height,
        "actions": parsed,
        "statuses": status,
        "notes": notes,
        "days_without_open": prices["open"].null_count() if "open" in prices.columns else prices.height,
        "days": prices.height,
        "settings": vars(options) | {"block": options.block or block_bootstrap.block_length(frame.height - 1)},
        "executions": found,
        "definitions": DEFINITIONS,
    }
    text = json.dumps(result, indent=1, ensure_ascii=False, allow_nan=False) if options.json else table(result)
    print_out(text)


def table(result: dict) -> str:
    """The result of `main` as text: a table for each execution, a line a metric, a column a method."""
    settings = result["settings"]
    counted = {name: ", ".join(f"{count} {value}" for value, count in result[name].items()) or "none" for name in ("actions", "statuses")}
    lines = [
        f"{result['decisions']} decisions, prices of {result['first']} to {result['last']}",
        f"actions: {counted['actions']}; answers ({settings['answers']}): {counted['statuses']}",
        *result["notes"],
    ]
    fill = f"fills at the next {settings['fill']}"
    if settings["fill"] == "open" and (lacking := result["days_without_open"]):
        some = f"fills at the next open, or at the close on days without one ({lacking} of {result['days']})"
        fill = "fills at the next close, as the file has no opens" if lacking == result["days"] else some
    cost = f"{settings['fee_bps']:g} bps a trade, {fill}, {'shorting' if settings['short'] else 'no shorting'}"
    heads = {
        "finmem": "finmem: the day's direction for one day, hold is flat, free shorting, no costs",
        "realistic": f"realistic: hold keeps the position, {cost}",
    }
    for mode, methods in result["executions"].items():
        widths = [max(14, len(name) + 2) for name in methods]
        lines += ["", heads[mode], f"{'':<30}" + "".join(f"{name:>{width}}" for name, width in zip(methods, widths))]
        for group, (title, names) in TABLE.items():
            lines.append(title)
            for key, label in names.items():
                cells = [_cell(figures.get(group, {}).get(key)) for figures in methods.values()]
                lines.append(f"  {label:<28}" + "".join(f"{cell:>{width}}" for cell, width in zip(cells, widths)))
    return "\n".join([*lines, "", *_explained(settings)])


def _explained(settings: dict) -> list[str]:
    drawn, draws = settings["random"], f"{settings['draws']} draws, seed {settings['seed']}"
    lines = [
        f"{settings['periods']} returns a year, risk-free rate {settings['rf']:g}; an answer without an action: {settings['unparsed']}",
        f"95 %: circular blocks of {settings['block']} days, {draws}; differences on the same days",
    ]
    if drawn:
        halves = "; buy and sell are exchanged in about half of them" if settings["short"] else ""
        lines.append(f"{RANDOM}: mean of {drawn} draws, from / to is the middle 95 % of them{halves}")
    return lines + [f"{name}: log: {texts['log']}; simple: {texts['simple']}" for name, texts in DEFINITIONS.items()]


def _cell(value: float | int | None) -> str:
    return "-" if value is None else str(value) if isinstance(value, int) else f"{value:.4f}"


def _check(options: argparse.Namespace) -> None:
    for name, least, most in LIMITS:
        if not least <= getattr(options, name) <= most:
            raise CatalogError(f"--{name} is {getattr(options, name)}; give a number from {least} to {most}.")
    if options.daily and Path(options.daily).suffix not in (".parquet", ".csv"):
        raise CatalogError(f"{options.daily} cannot be written; end its name in .parquet or .csv.")
    if options.daily and Path(options.daily).resolve() in (Path(options.prices).resolve(), Path(options.decisions).resolve()):
        raise CatalogError(f"{options.daily} is one of the files to read; give --daily another name, since it would be overwritten.")


def _write(frame: pl.DataFrame, path: str) -> None:
    try:
        if path.endswith(".csv"):
            write_text(frame.write_csv(), path)
        else:
            write_parquet(frame, path)
    except OSError as error:
        raise CatalogError(f"{path} cannot be written ({error.strerror}); choose another place.") from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m stages.open_finllms.backtest", description="Trade daily decisions, beside simple rules."
    )
    add = parser.add_argument
    add("--prices", required=True, metavar="FILE", help="CSV of one share: date and close at least; open, adjusted close, volume")
    add("--decisions", required=True, metavar="FILE", help="CSV with the columns date and action")
    add("--fee-bps", type=float, default=0.0, metavar="BPS", help="fee of a trade in hundredths of a per cent of its notional (default 0)")
    add("--no-short", dest="short", action="store_false", help="sell means cash, under realistic execution")
    add("--fill", choices=("open", "close"), default="open", help="where a decision is filled on the next day")
    add("--answers", choices=("strict", "paper"), default="strict", help="how an answer is read; paper: everything but buy and hold sells")
    add("--unparsed", choices=("flat", "keep"), default="flat", help="what an answer without an action does")
    add("--missing", choices=("error", "hold"), default="error", help="what a trading day without a decision is")
    add("--periods", type=int, default=252, help="returns a year: 252 for shares, 365 for what trades every day, 52 for weeks")
    add("--rf", type=float, default=0.0, help="risk-free rate a year")
    add("--block", type=int, help="days of a block of the bootstrap (default: cube root of the number of returns)")
    add("--draws", type=int, default=2000, help="resamples of the bootstrap")
    add("--random", type=int, default=100, help="draws of random decisions")
    add("--seed", type=int, default=0, help="of the bootstrap")
    add("--date-format", metavar="FORMAT", help="how both files write dates, such as %%d/%%m/%%Y; by default 2020-12-31")
    add("--weekend-trading", action="store_true", help="the market is open at weekends")
    add("--daily", metavar="FILE", help="also write the daily results, to .parquet or .csv")
    add("--json", action="store_true", help="print JSON in place of the table")
    return parser


if __name__ == "__main__":
    run(lambda: main(), [])
