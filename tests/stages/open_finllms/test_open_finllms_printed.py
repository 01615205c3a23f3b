"""Table 12 of the paper by arithmetic, and the ledger's copy of it."""

import pytest

from catalog.base.params import ROOT
from catalog.base.yaml_text import parse_yaml
from stages.open_finllms import printed
from stages.open_finllms.trading_metrics import normalised_sharpe


def test_every_row_implies_123_prices():
    table = printed.table()
    assert table.height == 16 and table["fits"].all()
    assert (table["sr_at_123"] - table["sr"]).abs().max() == pytest.approx(3.1e-4, abs=5e-6)
    # By hand: 252 * .5573 / (2.4532 * .4654)
    row = table.filter(asset="TSLA", agent="FinLLaMA")
    assert row["n"].item() == pytest.approx(123.007, abs=5e-4)
    assert row["n_low"].item() < 123 < row["n_high"].item() and row["n_high"].item() - row["n_low"].item() < 0.1


def test_another_number_of_prices_does_not_fit(monkeypatch):
    for prices, fit in ((122, 0), (124, 0)):
        monkeypatch.setattr(printed, "PRICES", prices)
        assert printed.table()["fits"].sum() == fit


def test_one_row_is_printed_twice():
    copied = printed.table().drop_nulls("same_as")
    assert copied.select("asset", "agent", "same_as").rows() == [("COIN", "Buy&Hold", "GOOG"), ("GOOG", "Buy&Hold", "COIN")]


def test_the_ledger_has_the_same_figures():
    metrics = {"cumulative_return": "cr", "sharpe_ratio": "sr", "annual_volatility": "av", "maximal_drawdown": "mdd"}
    ledger = parse_yaml((ROOT / "stages/open_finllms/claims.yaml").read_text())["reported"]
    ledger = [row for row in ledger if row["metric"] in metrics]
    said = {(row["dataset"], row["model"], metrics[row["metric"]]): row["value"] for row in ledger if "mean" not in row["id"]}
    ours = {
        (row["asset"], "none" if row["agent"] == "Buy&Hold" else row["agent"], name): row[name]
        for row in printed.table().iter_rows(named=True)
        for name in printed.MEASURES
    }
    assert said == ours and len(ours) == 64
    means = {(row["model"], metrics[row["metric"]]): row["value"] for row in ledger if "mean" in row["id"]}
    assert means.pop(("none", "sr")) == -0.3823  # not the mean of the four printed ratios, which is -.3882
    for (model, name), value in means.items():
        rows = [number for (_, who, what), number in ours.items() if (who, what) == (model, name)]
        assert value == pytest.approx(sum(rows) / 4, abs=1e-4)  # both sides are rounded to four decimals


def test_normalised_ratios_that_do_not_follow():
    """The paper prints 82.44 and 83.88 for the last two."""
    assert [normalised_sharpe(value) for value in (1.4088, -0.2739, 0.9464, 1.0128)] == pytest.approx(
        [73.48, 45.435, 65.773, 66.88], abs=1e-3
    )
