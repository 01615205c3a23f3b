"""Decisions to returns: the two executions worked out by hand, published figures, and what is refused."""

from datetime import date, timedelta

import polars as pl
import pytest
from trading_cases import GOOG, decided, prices, stock, weekdays

from catalog.base.errors import CatalogError
from stages.open_finllms.rules import always_flat, buy_and_hold, momentum
from stages.open_finllms.trading import run
from stages.open_finllms.trading_metrics import metrics

TOY = [100, 110, 99, 99, 104]


def account(closes, actions, opens=None, **options):
    return run(prices(closes, opens), decided(actions), "realistic", **options)


# --- finmem ---------------------------------------------------------------------------------------------------------------------------


def test_toy_all_buy():
    frame = run(prices(TOY), decided(["buy"] * 4))
    assert frame["r"].to_list() == pytest.approx([0.095310, -0.105361, 0, 0.049271, None], abs=5e-7)
    assert frame["position"].to_list() == [1, 1, 1, 1, None] and frame["status"].to_list() == ["ok"] * 4 + ["end"]
    got = metrics(frame)["log"]
    want = {"CR": 0.039221, "AV": 1.366436, "SR": 1.446628, "MDD": 0.105361}
    assert {name: got[name] for name in want} == pytest.approx(want, abs=1e-6)
    assert metrics(frame)["counts"]["N"] == 5


def test_toy_with_all_three_actions():
    frame = run(prices(TOY), decided(["buy", "sell", "hold", "buy"]))
    got = metrics(frame)["log"]
    want = {"CR": 0.249942, "AV": 0.766526, "SR": 16.433969, "MDD": 0}
    assert {name: got[name] for name in want} == pytest.approx(want, abs=1e-6)
    assert frame["shares"].to_list() == [1, 0, 0, 1, 1]  # the agent's own book adds up decisions
    assert frame["traded"].to_list() == [1, 2, 1, 1, 0]
    # A short of simple returns earns -(P'/P - 1), not the reciprocal.
    assert frame["r_simple"][1] == pytest.approx(1 - 99 / 110)


def test_a_decision_on_the_last_day_earns_nothing_yet():
    frame = run(prices(TOY), decided(["buy"] * 5))
    assert frame["r"].to_list() == run(prices(TOY), decided(["buy"] * 4))["r"].to_list()
    assert frame["position"].to_list() == [1] * 5


@pytest.mark.parametrize(
    ("asset", "figures"),
    [
        ("AAPL", (-0.439409, -2.470164, 0.367438, 0.400578)),
        ("FB", (0.449115, 1.679085, 0.552491, 0.198689)),
        ("GOOG", (0.168698, 1.564250, 0.222764, 0.161791)),
        ("IBM", (0.050781, 0.638782, 0.164206, 0.119148)),
        ("MSFT", (-0.066910, -0.735525, 0.187902, 0.158017)),
    ],
)
def test_buy_and_hold_of_real_shares(asset, figures):
    table = prices(GOOG) if asset == "GOOG" else stock(asset)
    got = metrics(run(table, buy_and_hold(table)))
    assert [got["log"][name] for name in ("CR", "SR", "AV", "MDD")] == pytest.approx(figures, abs=1e-6)
    assert got["counts"]["N"] == 122


def test_momentum_of_a_real_share():
    table = prices(GOOG)
    got = metrics(run(table, momentum(table)))["log"]
    assert [got[name] for name in ("CR", "SR", "AV", "MDD")] == pytest.approx((0.032826, 0.308311, 0.219922, 0.106592), abs=1e-6)


@pytest.mark.parametrize(("hold", "sharpe"), [("flat", 0.168973), ("keep", 0.082494), ("book", 1.079486)])
def test_what_hold_means_moves_the_sharpe_ratio(hold, sharpe):
    table = prices(GOOG)
    odd = momentum(table).with_row_index().with_columns(parsed=pl.when(pl.col("index") % 2 == 1).then(pl.lit("hold")).otherwise("parsed"))
    assert metrics(run(table, odd, hold=hold))["log"]["SR"] == pytest.approx(sharpe, abs=1e-6)


def test_the_typed_prices_are_those_of_the_file():
    assert stock("GOOG")["adj_close"].to_list() == pytest.approx(GOOG, abs=1e-7)


# --- realistic ------------------------------------------------------------------------------------------------------------------------


def test_a_decision_is_filled_at_the_next_open():
    # Bought at the open 8 of day 1, worth 10 at its close: 25 %. Sold at the open 12 of day 2: 10 -> 12 is earned, 12 -> 11 is not.
    frame = account([10, 10, 11, 11], ["buy", "sell", "hold"], [10, 8, 12, 11], short=False)
    assert frame["r"].to_list() == pytest.approx([0.25, 0.2, 0, None])
    assert frame["fill"].to_list() == [None, "open", "open", None]
    assert frame["wealth"].to_list() == pytest.approx([1, 1.25, 1.5, 1.5])
    assert frame["position"].to_list() == [1, 0, 0, None]
    assert frame["cash"].to_list() == pytest.approx([1, 0, 1.5, 1.5])


def test_without_an_open_it_is_filled_at_the_next_close():
    # Bought at the close 20: nothing of 10 -> 20 is earned, all of 20 -> 30 is.
    for options in ({}, {"opens": [9, 11, 21, 29], "fill": "close"}):
        frame = account([10, 20, 30, 30], ["buy", "buy", "sell"], **options)
        assert frame["r"].to_list() == pytest.approx([0, 0.5, 0, None])
        assert frame["fill"].to_list() == [None, "close", None, "close"]


def test_the_open_is_adjusted_like_the_close():
    # Two shares for one after day 0: the opens and closes as traded fall by half, the adjusted close does not.
    table = pl.DataFrame({"date": weekdays(3), "open": [100.0, 50.0, 55.0], "close": [100.0, 55.0, 55.0], "adj_close": [50.0, 55.0, 55.0]})
    assert run(table, decided(["buy", "hold"]), "realistic")["r"].to_list() == pytest.approx([0.1, 0, None])
    halved = table.with_columns(open=pl.col("open") / 4, close=pl.col("close") / 4)
    assert run(halved, decided(["buy", "hold"]), "realistic").equals(run(table, decided(["buy", "hold"]), "realistic"))


def test_a_fee_is_paid_on_what_is_traded():
    # 1 % of the notional: 1 / 1.01 is bought, sold again at twice the price for 2 / 1.01 less 1 %.
    frame = account([10, 10, 20, 20], ["buy", "sell", "hold"], [10, 10, 20, 20], fee_bps=100, short=False)
    assert frame["wealth"].to_list() == pytest.approx([1, 1 / 1.01, 2 / 1.01 * 0.99, 2 / 1.01 * 0.99])
    assert frame["fee"].to_list() == pytest.approx([0, 0.01 / 1.01, 0.02 / 1.01, 0])
    # Reversing trades what is sold and what is sold short: x = 1 / 1.01 -> y = -(W - fee x) / (1 + fee), the fee on x - y.
    frame = account([10] * 4, ["buy", "sell", "hold"], [10] * 4, fee_bps=100)
    bought = 1 / 1.01
    short = (bought - 0.01 * bought) / 1.01
    assert frame["fee"][2] == pytest.approx(0.01 * (bought + short))
    assert frame["wealth"][2] == pytest.approx(short) and frame["shares"][2] == pytest.approx(-short / 10)
    assert frame["traded"][2] == pytest.approx((bought + short) / bought)


def test_hold_keeps_the_position_and_costs_nothing():
    held = account(TOY, ["buy", "hold", "hold", "hold"], fee_bps=50)
    bought = account(TOY, ["buy"] * 4, fee_bps=50)
    assert held.drop("action", "parsed").equals(bought.drop("action", "parsed"))
    assert run(prices(TOY), decided(["buy", "hold", "hold", "hold"]))["position"].to_list() == [1, 0, 0, 0, None]


def test_a_short_keeps_its_shares():
    # Sold short at 10 with wealth 1: 0.1 share. At 5: 1 + 0.5 = 1.5; at 8: 1.2. A position rebalanced daily would be worth 1.5 * 0.4.
    frame = account([10, 10, 5, 8], ["sell"] * 3)
    assert frame["wealth"].to_list() == pytest.approx([1, 1, 1.5, 1.2])
    assert frame["r"].to_list() == pytest.approx([0, 0.5, -0.2, None])
    assert frame["cash"].to_list() == pytest.approx([1, 2, 2, 2])


def test_a_short_that_loses_all_ends_the_account():
    frame = account([10, 10, 25, 10, 10], ["sell"] * 4)
    assert frame["wealth"].to_list() == [1, 1, 0, 0, 0] and frame["r_simple"].to_list() == [0, -1, 0, 0, None]
    assert frame["fill"].to_list() == [None, "close", "ruined", None, None] and frame["r_log"][1] is None
    figures = metrics(frame)
    assert figures["simple"]["CR"] == -1 and figures["simple"]["MDD"] == 1 and figures["simple"]["AR"] == -1
    assert set(figures["log"].values()) == {None}


def test_without_fees_and_with_the_same_fills_both_executions_agree_on_a_constant_position():
    table = prices(GOOG)
    one, other = (run(table, buy_and_hold(table), mode)["r_simple"].to_list() for mode in ("finmem", "realistic"))
    assert other[0] == 0 and other[1:-1] == pytest.approx(one[1:-1])  # the account buys at the next close, a day later


def test_answers_without_an_action_are_flat_or_keep():
    closes, actions = [10, 11, 12, 13], ["buy", None, "hold"]
    assert run(prices(closes), decided(actions))["position"].to_list() == [1, 0, 0, None]
    assert run(prices(closes), decided(actions), unparsed="keep")["position"].to_list() == [1, 1, 0, None]
    assert account(closes, actions)["position"].to_list() == [1, 0, 0, None]
    assert account(closes, actions, unparsed="keep")["position"].to_list() == [1, 1, 1, None]
    counts = metrics(run(prices(closes), decided(actions)))["counts"]
    assert counts["failures"] == 1 and counts["holds"] == 1


def test_no_short_means_cash():
    assert account(TOY, ["sell", "buy", "sell", "hold"], short=False)["position"].to_list() == [0, 1, 0, 0, None]
    assert account(TOY, ["sell"] * 4, short=False)["wealth"].to_list() == [1] * 5


def test_always_flat_earns_nothing_in_either():
    for mode in ("finmem", "realistic"):
        figures = metrics(run(prices(TOY), always_flat(prices(TOY)), mode, fee_bps=10))
        assert figures["simple"]["CR"] == 0 and figures["simple"]["SR"] is None and figures["counts"]["trades"] == 0


# --- days -----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["finmem", "realistic"])
def test_order_of_rows_and_days_outside_change_nothing(mode):
    table, decisions = prices(GOOG), decided(["buy", "sell", "hold", None] * 5, weekdays(40)[10:30])
    frame = run(table, decisions, mode, fee_bps=5)
    assert run(table.sample(fraction=1, shuffle=True, seed=1), decisions.reverse(), mode, fee_bps=5).equals(frame)
    assert run(table[10:31], decisions, mode, fee_bps=5).equals(frame)
    assert frame.height == 21


def test_a_day_without_a_price_is_no_trading_day():
    table = prices([100, None, 110, 121])
    days = [weekdays(4)[i] for i in (0, 2)]
    frame = run(table, decided(["buy", "buy"], days))
    assert frame["r_simple"].to_list() == pytest.approx([0.1, 0.1, None])
    figures = metrics(frame)
    assert figures["counts"]["returns"] == 2 and figures["simple"]["AV"] == 0
    with pytest.raises(CatalogError, match="1 of 3 decisions are on days without a price, the first on Tuesday 2024-01-02"):
        run(table, decided(["buy"] * 3))


def test_a_missing_decision_is_refused_or_holds():
    days = [weekdays(5)[i] for i in (0, 3)]
    with pytest.raises(CatalogError, match="2 trading days from 2024-01-01 to 2024-01-04 have no decision, the first is 2024-01-02"):
        run(prices(TOY), decided(["buy", "sell"], days))
    frame = run(prices(TOY), decided(["buy", "sell"], days), "realistic", missing="hold")
    assert frame["position"].to_list() == [1, 1, 1, -1, None]
    assert frame["status"].to_list() == ["ok", "missing", "missing", "ok", "end"]
    counts = metrics(frame)["counts"]
    assert counts["missing"] == 2 and counts["holds"] == 0


def test_decisions_and_prices_that_do_not_fit_are_refused():
    table, day = prices(TOY), weekdays(1)[0]
    for decisions, message in (
        (decided([]), "no decision"),
        (decided(["buy", "sell"], [day, day]), "2024-01-01 has 2 decisions"),
        (decided(["buy"], [day + timedelta(days=5)]), "Saturday 2024-01-06"),
        (decided(["buy"], [date(2030, 1, 1)]), "prices: 2024-01-01 to 2024-01-05"),
        (decided(["Buy"]), "'Buy' is no action"),
        (decided(["buy"], weekdays(5)[4:]), "no price after 2024-01-05"),
    ):
        with pytest.raises(CatalogError, match=message):
            run(table, decisions)
    for wrong, message in (
        (table[:1], "two days"),
        (pl.concat([table, table[:1]]), "2024-01-01 twice"),
        (prices([100, -1, 99]), "2024-01-02 is not positive"),
        (table.with_columns(asset=pl.Series(["A", "A", "B", "B", "B"])), "asset"),
    ):
        with pytest.raises(CatalogError, match=message):
            run(wrong, decided(["buy"]))


@pytest.mark.parametrize(
    "option",
    [
        {"mode": "real"},
        {"hold": "sell"},
        {"fill": "high"},
        {"unparsed": "sell"},
        {"missing": "skip"},
        {"fee_bps": -1},
        {"fee_bps": float("nan")},
    ],
)
def test_an_unknown_option_is_refused(option):
    with pytest.raises(CatalogError, match="use|give a number"):
        run(prices(TOY), decided(["buy"] * 4), **option)
