"""Metrics in both conventions: printed figures recovered, cases by hand, and the values of two libraries for one series."""

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
from trading_cases import GOOG, prices

from catalog.base.errors import CatalogError
from stages.open_finllms.trading_metrics import DEFINITIONS, drawdown, log_metrics, normalised_sharpe, returns, simple_metrics

# Table 12 of the paper, buy and hold, LLaMA3.1-8B, LLaMA3-8B, FinLLaMA: cumulative return, Sharpe ratio, annual volatility.
TABLE_12 = {
    "TSLA": [(-0.1633, -0.4769, 0.7015), (-0.1829, -0.5557, 0.6741), (-0.1552, -0.8486, 0.3748), (0.5573, 2.4532, 0.4654)],
    "COIN": [(-0.0562, -0.1041, 1.1047), (-0.3515, -0.7911, 0.9103), (-0.0319, -0.0666, 0.9823), (0.1743, 0.5778, 0.6181)],
    "GOOG": [(-0.0562, -0.1041, 1.1047), (0.1651, 0.9464, 0.3574), (0.1631, 1.0128, 0.3300), (0.1098, 0.6927, 0.3249)],
    "NIO": [(-0.3530, -0.8678, 0.8332), (-0.2677, -0.6951, 0.7891), (-0.3526, -1.0313, 0.7005), (0.4645, 1.9113, 0.4979)],
}
# Buy and hold of INVESTOR-BENCH: CR %, SR, AV %, N, returns a year.
INVESTOR_BENCH = {
    "HON": (34.342, 2.4127, 23.913, 150, 252),
    "JNJ": (14.295, 1.3766, 17.445, 150, 252),
    "MSFT": (16.654, 1.1216, 24.946, 150, 252),
    "UVV": (38.235, 2.1955, 29.257, 150, 252),
    "BTC": (40.555, 1.4559, 39.257, 259, 365),
    "ETH": (18.486, 0.6521, 46.611, 222, 365),
}
# Of the returns of GOOG below, computed once by empyrical-reloaded 0.7.1 and quantstats 0.0.86, both with 252 returns a year.
LIBRARIES = {
    "CR": (0.18376306824856004, 0.18376306824856004),
    "AR": (0.42096870731147007, 0.42096870731147007),
    "AV": (0.22120707724803942, 0.22120707724803942),
    "SR": (1.7001323441982157, 1.7001323441982157),
    "MDD": (0.15737256689017665, 0.15737256689017665),
    "Sortino": (2.449492076015604, 2.449492076015604),
    "Calmar": (2.674981514441748, 2.674981514441748),
}


def with_figures(total: float, volatility: float, n: int, periods: int) -> np.ndarray:
    """n - 1 log returns of this sum and annual volatility."""
    shape = np.where(np.arange(n - 1) % 2, 1.0, -1.0)
    shape -= shape.mean()
    return total / (n - 1) + shape / shape.std(ddof=1) * volatility / periods**0.5


@pytest.mark.parametrize("row", [row for rows in TABLE_12.values() for row in rows])
def test_the_printed_sharpe_ratios_follow_from_the_other_columns(row):
    total, sharpe, volatility = row
    got = log_metrics(with_figures(total, volatility, 123, 252))
    assert got["SR"] == pytest.approx(sharpe, abs=5e-4) and got["AV"] == pytest.approx(volatility)


@pytest.mark.parametrize("row", INVESTOR_BENCH.values(), ids=INVESTOR_BENCH)
def test_sharpe_ratios_of_investor_bench_need_the_right_number_of_returns_a_year(row):
    total, sharpe, volatility, n, periods = row
    r = with_figures(total / 100, volatility / 100, n, periods)
    assert log_metrics(r, periods)["SR"] == pytest.approx(sharpe, abs=2e-4)
    assert abs(log_metrics(r, 617 - periods)["SR"] - sharpe) > 0.05  # 252 for 365 and the reverse


@pytest.mark.parametrize(("sharpe", "normalised"), [(1.4088, 73.48), (-0.2739, 45.43), (0.9464, 65.77), (1.0128, 66.88), (-3, 0), (3, 100)])
def test_normalised_sharpe(sharpe, normalised):
    assert normalised_sharpe(sharpe) == pytest.approx(normalised, abs=6e-3)


def test_the_year_of_buying_and_holding_in_both_conventions():
    """HON in INVESTOR-BENCH's window: 34.342 % in logarithms is 40.98 % of the price."""
    prices = [100, 120, 100 * np.exp(0.34342)]
    assert log_metrics(returns(prices, log=True))["CR"] == pytest.approx(0.34342)
    assert simple_metrics(returns(prices))["CR"] == pytest.approx(0.4098, abs=5e-5)


def test_a_loss_on_the_first_day_is_a_drawdown():
    assert drawdown([-0.10, 0.05, -0.02]) == pytest.approx(0.10)
    assert drawdown(returns([47, 52, 44, 50])) == pytest.approx(1 - 44 / 52)
    assert simple_metrics([-0.10, 0.05, -0.02])["MDD"] == log_metrics([-0.10, 0.05, -0.02])["MDD"] == pytest.approx(0.10)
    assert drawdown([]) == drawdown([0.1, 0.2]) == 0
    assert drawdown([-0.5, 1.0]) == drawdown([1.0, -0.5]) == 0.5


def test_a_year_is_counted_in_returns():
    assert simple_metrics([0.005] * 26, periods=52)["AR"] == pytest.approx(1.005**52 - 1)
    assert simple_metrics([0.005] * 26, periods=52)["AR"] == pytest.approx(0.2961, abs=5e-5)
    assert simple_metrics([0.005] * 26, periods=252)["AR"] == pytest.approx(1.005**252 - 1)


def test_equal_returns_have_no_deviation_and_no_ratio():
    for found in (simple_metrics([0.005] * 26), log_metrics([0.1 / 3] * 7)):
        assert found["AV"] == 0 and found["SR"] is None and found["NSR"] is None
    one = simple_metrics([0.01])
    assert one["CR"] == pytest.approx(0.01) and one["AV"] is None and one["SR"] is None and one["Calmar"] is None and one["Sortino"] is None
    nothing = simple_metrics([])
    assert nothing["CR"] == 0 and nothing["AR"] is None and log_metrics([])["AV"] is None


@pytest.mark.parametrize("gap", [None, float("nan")])
def test_a_missing_close_is_no_return_of_zero(gap):
    r = returns([100, gap, 110, 121])
    assert r.tolist() == pytest.approx([0.1, 0.1]) and simple_metrics(r)["AV"] == 0
    assert returns([100, gap, 110, 121], log=True).tolist() == pytest.approx([np.log(1.1)] * 2)
    with pytest.raises(CatalogError, match="not positive"):
        returns([100, 0, 110])


def test_both_conventions_by_hand():
    # Log returns .1 and -.2: sum -.1; deviation .3 / sqrt(2); wealth 1.1, then .88.
    got = log_metrics([0.1, -0.2], periods=50, rf=0.5)
    assert got["CR"] == pytest.approx(-0.1) and got["AV"] == pytest.approx(0.3 / 2**0.5 * 50**0.5)
    assert got["SR"] == pytest.approx((-0.1 / (3 / 50) - 0.5) / 1.5) and got["MDD"] == pytest.approx(0.2)
    # Simple returns .1 and -.2: 1.1 * .8 = .88; mean -.05 less .5 / 50; below the rate once, by .21.
    got = simple_metrics([0.1, -0.2], periods=50, rf=0.5)
    assert got["CR"] == pytest.approx(-0.12) and got["AR"] == pytest.approx(0.88**25 - 1)
    assert got["SR"] == pytest.approx(-0.06 / (0.3 / 2**0.5) * 50**0.5)
    assert got["Sortino"] == pytest.approx(-0.06 / (0.21 / 2**0.5) * 50**0.5)
    assert got["Calmar"] == pytest.approx((0.88**25 - 1) / 0.2)


def test_simple_metrics_agree_with_two_libraries_and_the_log_ones_do_not():
    got = simple_metrics(returns(GOOG))
    for name, values in LIBRARIES.items():
        assert (got[name], got[name]) == pytest.approx(values, rel=1e-7), name
    # Where they differ: a risk-free rate of 2 % a year.
    assert simple_metrics(returns(GOOG), rf=0.02)["SR"] == pytest.approx(1.6097193237432967, rel=1e-7)  # empyrical, given .02 / 252
    assert simple_metrics(returns(GOOG), rf=252 * (1.02 ** (1 / 252) - 1))["SR"] == pytest.approx(
        1.6106080594126702, rel=1e-7
    )  # quantstats
    log = log_metrics(returns(GOOG, log=True))
    assert abs(log["SR"] - LIBRARIES["SR"][0]) > 0.1 and abs(log["CR"] - LIBRARIES["CR"][0]) > 0.01


def test_simple_metrics_agree_with_empyrical_where_it_is_installed():  # the extra "compare"
    empyrical = pytest.importorskip("empyrical")
    rng = np.random.default_rng(0)
    for periods in (52, 252, 365):
        r, rf = rng.normal(0.001, 0.02, 300), 0.03
        got, how = simple_metrics(r, periods, rf), {"annualization": periods}
        assert got["CR"] == pytest.approx(empyrical.cum_returns_final(r))
        assert got["AR"] == pytest.approx(empyrical.annual_return(r, **how))
        assert got["AV"] == pytest.approx(empyrical.annual_volatility(r, **how))
        assert got["SR"] == pytest.approx(empyrical.sharpe_ratio(r, risk_free=rf / periods, **how))
        assert got["MDD"] == pytest.approx(-empyrical.max_drawdown(r))
        assert got["Sortino"] == pytest.approx(empyrical.sortino_ratio(r, required_return=rf / periods, **how))


def test_every_metric_is_defined_in_every_convention():
    assert {frozenset(texts) for texts in DEFINITIONS.values()} == {frozenset({"log", "simple", "empyrical", "quantstats"})}
    assert all(text.strip() for texts in DEFINITIONS.values() for text in texts.values())


def test_calendar_days_take_no_part():
    # The same prices on weekdays and a month apart: the metrics count returns.
    closes = [100.0, 101, 99, 104]
    table = prices(closes)
    apart = table.with_columns(date=pl.Series([date(2024, 1, 1) + timedelta(days=30 * i) for i in range(4)]))
    assert simple_metrics(returns(table["close"])) == simple_metrics(returns(apart["close"]))
