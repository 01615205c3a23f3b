"""Sharpe ratios of all draws at once, against the plain bootstrap; means over shares and differences on the same days."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from test_open_finllms_windows import P, daily
from trading_cases import GOOG, weekdays

from stages.open_finllms import block_bootstrap, contrasts, simulate, tables, windows
from stages.open_finllms.contrasts import Drawn
from stages.open_finllms.settings import Execution, Window
from stages.open_finllms.simulate import HALF, HOLDING, MOMENTUM, RANDOM

RETURNS = np.diff(np.log(GOOG))
EXECUTIONS = {
    "finmem": Execution("finmem", 0, True),
    "free": Execution("realistic", 0, True),
    "fees": Execution("realistic", 10, True),
    "long-only": Execution("realistic", 10, False),
}


def market() -> pl.DataFrame:
    """Two shares and an index of 122 days: one has the prices of GOOG, the other their inverse, so it falls where the first rises."""
    days = weekdays(len(GOOG))
    closes = {("AB", "a"): GOOG, ("CD", "b"): [1e5 / price for price in GOOG], ("SP", "a"): GOOG}
    parts = [
        pl.DataFrame({"date": days, "adj_close": values}).with_columns(asset=pl.lit(asset), source=pl.lit(source))
        for (asset, source), values in closes.items()
    ]
    return pl.concat(parts).with_columns(close="adj_close", open="adj_close")


PLAN = replace(
    P, executions=EXECUTIONS, draws=200, windows={"w": Window("last", 60, "2024-01-01", "2024-12-31", ("both",))}, random=3, equity_every=7
)


@pytest.fixture(scope="module")
def played() -> list[simulate.Played]:
    table = market()
    return list(simulate.play(table, windows.spans(table, PLAN), PLAN))


@pytest.mark.parametrize("convention", ["log", "simple"])
def test_all_draws_at_once_are_the_plain_bootstrap(convention):
    weights = contrasts.counts(len(RETURNS), 5, 300, 4)
    assert (weights.sum(1) == len(RETURNS)).all()
    flat = np.zeros_like(RETURNS)
    values = contrasts.sharpes(weights, np.column_stack([RETURNS, flat, flat + 0.001]), 252, priced=convention == "log")
    plain = block_bootstrap.interval(RETURNS, block_bootstrap.sharpe(252, convention), block=5, draws=300, seed=4)
    assert contrasts.interval(values[:, 0]) == pytest.approx(plain)
    assert np.isnan(values[:, 1:]).all()
    assert contrasts.interval(values[:, 1]) == (None, None)


def test_measured_ratio_is_that_of_the_metrics(played):
    drawn = Drawn(played, PLAN, 0)
    for one in played:
        measured = one.figures[one.convention]["SR"]
        value = drawn.values[("w", one.agent, one.execution, one.hold), (one.span.asset, one.span.source), one.seed][0]
        assert np.isnan(value) if measured is None else value == pytest.approx(measured)


def test_shares_are_drawn_together_and_methods_on_the_same_days(played):
    drawn = Drawn(played, PLAN, 0)
    side = ("w", HOLDING, "finmem", "flat")
    # The log returns of the two shares are each other's negatives, and so are their ratios on any days: no uncertainty is left in the mean.
    mean = drawn.mean(side)
    assert mean["value"] == pytest.approx(0) and (mean["low"], mean["high"]) == pytest.approx((0, 0))
    assert (mean["n"], mean["shares"]) == (59, 2)
    itself = drawn.mean(side, side)
    assert (itself["value"], itself["low"], itself["high"]) == (0, 0, 0)
    one = drawn.of(side, ("AB", "a"))
    plain = block_bootstrap.interval(np.diff(np.log(GOOG[-60:])), block_bootstrap.sharpe(252, "log"), draws=200)
    assert contrasts.interval(one[1:]) == pytest.approx(plain)


def test_random_decisions_are_the_mean_of_their_draws(played):
    drawn = Drawn(played, PLAN, 0)
    side = ("w", RANDOM, "fees", "keep")
    seeds = [drawn.values[side, ("AB", "a"), seed] for seed in range(3)]
    assert drawn.of(side, ("AB", "a")) == pytest.approx(np.mean(seeds, axis=0))


def test_flat_has_no_ratio(played):
    assert Drawn(played, PLAN, 0).mean(("w", "always flat", "finmem", "flat")) is None


def test_holds_on_every_other_day(played):
    actions = {(one.agent, one.hold): one for one in played if one.span.asset == "AB" and one.execution == "finmem"}
    half, whole = actions[HALF, "flat"], actions[MOMENTUM, "flat"]
    assert (half.returns[1::2] == 0).all() and half.returns[::2] == pytest.approx(whole.returns[::2])
    # Keep earns on the days between what the day before decided.
    moves = np.diff(np.log(GOOG[-60:]))
    signs = np.sign(whole.returns / moves)
    assert actions[HALF, "keep"].returns[1::2] == pytest.approx(signs[:-1:2][: len(moves[1::2])] * moves[1::2])


def test_a_window_has_its_prices_and_one_decision_fewer(played):
    (span, *_), days = windows.spans(market(), PLAN), weekdays(len(GOOG))[-60:]
    for decided in simulate.decisions(market().filter(asset="AB"), span).values():
        assert decided["date"].to_list() == days[:-1]  # the last price pays the last decision
    assert {(len(one.dates), len(one.returns)) for one in played} == {(60, 59)}
    # The days before the window are known: momentum has a direction on the first one.
    assert all(one.returns[0] != 0 for one in played if one.agent == MOMENTUM and one.execution == "finmem")


def test_tables_of_the_evaluation(played):
    table = market()
    drawn = Drawn(played, PLAN, 0)
    made = tables.build(table, windows.spans(table, PLAN), played, drawn, PLAN)
    trading = made["trading"].filter(pl.col("asset") == "AB")
    # A ratio's difference from buy and hold is the difference of the two ratios.
    for execution, convention in (("finmem", "log"), ("fees", "simple")):
        ratios = dict(trading.filter(pl.col("execution") == execution).select("agent", f"sr_{convention}").iter_rows())
        leads = dict(trading.filter(pl.col("execution") == execution).select("agent", "lead").iter_rows())
        assert leads[MOMENTUM] == pytest.approx(ratios[MOMENTUM] - ratios[HOLDING]) and leads[HOLDING] is None
        assert ratios["always flat"] is None and leads["always flat"] is None
    assert trading.filter(pl.col("agent") == RANDOM)["seeds"].unique().to_list() == [3]
    wealth = made["equity"].filter((pl.col("agent") == HOLDING) & (pl.col("execution") == "finmem") & (pl.col("asset") == "AB"))
    assert wealth["value"].to_list() == pytest.approx([price / GOOG[-60] for price in GOOG[-60:]], abs=1e-6)
    assert wealth["drawdown"].max() == pytest.approx(trading.filter(agent=HOLDING, execution="finmem")["mdd_simple"].item(), abs=1e-6)
    # Every trade starts where the one before ended, and there are as many as are counted.
    trades = made["trades"].filter((pl.col("agent") == MOMENTUM) & (pl.col("asset") == "AB")).sort("date")
    assert trades["before"].to_list() == [0, *trades["after"][:-1]] and (trades["before"] != trades["after"]).all()
    assert trades.height == trading.filter(agent=MOMENTUM, execution="fees")["trades"].item()
    assert set(made["trades"]["execution"]) == {"fees"} and (made["trades"]["fee"] > 0).all()
    leaks = made["leaks"]
    assert leaks.filter(~pl.col("looks_ahead"))["changed"].sum() == 0 < leaks.filter("looks_ahead")["changed"].sum()


def test_contrasts_say_what_is_subtracted(played):
    made = contrasts.table(Drawn(played, PLAN, 0), PLAN)
    assert not made.select(made.columns[:7]).is_duplicated().any()
    own = {
        tuple(row[:3]): row[3] for row in made.filter(pl.col("other").is_null()).select("agent", "execution", "hold", "value").iter_rows()
    }
    for row in made.filter(pl.col("other").is_not_null()).iter_rows(named=True):
        both = (row["agent"], row["execution"], row["hold"]), (row["other"], row["other_execution"], row["other_hold"])
        if set(both) <= set(own):
            assert row["value"] == pytest.approx(own[both[0]] - own[both[1]])
        assert row["low"] < row["high"] or row["value"] == 0
    fees = made.filter((pl.col("execution") == "fees") & (pl.col("other_execution") == "free") & (pl.col("agent") == MOMENTUM))
    assert fees["high"].item() < 0


def test_shares_of_other_days_have_their_own_draws():
    table = daily()
    plan = replace(PLAN, windows={"w": Window("last", 4, "2024-01-01", "2024-12-31", ("both",))})
    drawn = Drawn(list(simulate.play(table, windows.spans(table, plan), plan)), plan, 0)
    # AB earns on the last three of eight days, CD on three days that end two earlier: one day in both, five in all.
    assert drawn.mean(("w", HOLDING, "finmem", "flat"))["n"] == 5
