"""`python -m stages.open_finllms.backtest`: the table, the JSON, what it counts, and what it refuses."""

import json
import subprocess
import sys
from datetime import date, timedelta

import polars as pl
import pytest
from trading_cases import GOOG, weekdays

from catalog.base.errors import CatalogError
from catalog.base.params import ROOT
from stages.open_finllms import backtest

DAYS = weekdays(len(GOOG))
PRICES = ["Date,Open,Close", *(f"{day},{price * 0.99:.6f},{price:.6f}" for day, price in zip(DAYS, GOOG))]
METHODS = ["decisions", "buy and hold", "momentum-3", "random, equal turnover"]


@pytest.fixture
def files(tmp_path):
    def put(actions, days=None, prices=PRICES, head="date,action"):
        rows = [head, *(f'{day},"{action}"' for day, action in zip(days or DAYS, actions))]
        paths = {"--prices": tmp_path / "prices.csv", "--decisions": tmp_path / "decisions.csv"}
        for path, lines in zip(paths.values(), (prices, rows)):
            path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return [str(part) for pair in paths.items() for part in pair] + ["--draws", "50", "--random", "4"]

    return put


def measured(capsys, argv, *more):
    backtest.main([*argv, *more, "--json"])
    return json.loads(capsys.readouterr().out)


def test_the_table_of_a_process(files):
    argv = files(["buy"] * 122)
    done = subprocess.run(
        [sys.executable, "-m", "stages.open_finllms.backtest", *argv], cwd=ROOT, capture_output=True, text=True, check=True
    )
    lines = done.stdout.splitlines()
    assert lines[0] == f"122 decisions, prices of {DAYS[0]} to {DAYS[-1]}" and done.stderr == ""
    assert lines[1] == "actions: 122 buy; answers (strict): 122 ok"
    finmem = lines.index(next(line for line in lines if line.startswith("finmem:")))
    assert lines[finmem + 1].split("  ")[-1].strip() == METHODS[-1]
    # The published figures of the share, for the decisions and for buy and hold.
    for label, value in (("cumulative return", "0.1687"), ("Sharpe ratio", "1.5642"), ("annual volatility", "0.2228")):
        row = next(line for line in lines[finmem:] if line.strip().startswith(label))
        assert row.split()[-4:-2] == [value, value]
    body = [line for line in lines[finmem + 1 :] if line.startswith("  ")]
    assert len({len(line) for line in body}) == 1  # aligned
    assert any(line.startswith("realistic: hold keeps the position, 0 bps a trade, fills at the next open, shorting") for line in lines)
    assert sum(line.startswith("Sharpe ratio: log: (CR / (N / p) - rf) / AV; simple: (mean") for line in lines) == 1


def test_days_without_an_open_are_filled_at_the_close_and_said(capsys, tmp_path):
    decisions, prices = tmp_path / "decisions.csv", tmp_path / "prices.csv"
    days = [f"2024-01-0{day}" for day in (2, 3, 4, 5)]
    decisions.write_text("date,action\n" + "".join(f"{day},buy\n" for day in days[:-1]))
    argv = ["--prices", str(prices), "--decisions", str(decisions)]
    for opens, said in [
        ("9,10,11,12", "fills at the next open, shorting"),
        ("9,,11,12", "fills at the next open, or at the close on days without one (1 of 4), shorting"),
        (None, "fills at the next close, as the file has no opens, shorting"),
    ]:
        cells = [""] * 4 if opens is None else opens.split(",")
        header = "date,close" if opens is None else "date,close,open"
        rows = [f"{day},{close}" + ("" if opens is None else f",{cell}") for day, close, cell in zip(days, (10, 11, 12, 13), cells)]
        prices.write_text("\n".join([header, *rows]) + "\n")
        backtest.main(argv)
        assert said in capsys.readouterr().out


def test_the_command_does_not_import_torch():
    code = "import sys, stages.open_finllms.backtest; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_json_has_both_executions_conventions_and_intervals(capsys, files):
    result = measured(capsys, files(["buy", "sell", "hold", "Sell"] * 30 + ["buy"] * 2), "--fee-bps", "5", "--no-short")
    assert result["actions"] == {"buy": 32, "hold": 30, "sell": 60} and result["statuses"] == {"ok": 122}
    for mode in ("finmem", "realistic"):
        assert list(result["executions"][mode]) == METHODS
        for name, figures in result["executions"][mode].items():
            assert figures["counts"]["N"] == 122 and figures["counts"]["returns"] == 121
            for convention in ("log", "simple"):
                one = figures[convention]
                assert one["SR_low"] < one["SR"] < one["SR_high"]
                assert (one.get("vs_low") is None) == (name in ("buy and hold", METHODS[-1]))
    ours = result["executions"]
    assert ours["finmem"]["decisions"]["counts"]["fees"] == 0 < ours["realistic"]["decisions"]["counts"]["fees"]
    assert ours["realistic"]["decisions"]["simple"]["MDD"] >= 0
    assert result["settings"]["block"] == 5 and result["settings"]["short"] is False
    random = [ours[mode][METHODS[-1]]["counts"]["trades"] for mode in ("finmem", "realistic")]
    assert random[0] == ours["finmem"]["decisions"]["counts"]["trades"]


def test_answers_that_name_no_action_are_counted_and_choose_nothing(capsys, files):
    answers = [
        "Shareholders and buyers disagree.",
        "",
        "do not buy",
        "strong buy",
        "buy or sell",
        "Rating：Sell（bearish）",
        "目前不宜買進，續抱即可",
    ]
    argv = files([*answers, *["buy"] * 115])
    result = measured(capsys, argv)
    assert result["statuses"] == {"empty": 1, "ok": 117, "several": 1, "unparsed": 3}
    assert result["actions"] == {"buy": 115, "hold": 1, "sell": 1}
    for mode in ("finmem", "realistic"):
        assert result["executions"][mode]["decisions"]["counts"]["failures"] == 5
    paper = measured(capsys, argv, "--answers", "paper")
    assert paper["actions"] == {"buy": 115, "hold": 1, "sell": 6} and paper["statuses"] == {"empty": 1, "ok": 115, "other": 6}
    assert paper["executions"]["finmem"]["decisions"]["counts"]["other"] == 6
    assert paper["executions"]["finmem"]["decisions"]["log"]["CR"] != result["executions"]["finmem"]["decisions"]["log"]["CR"]
    keep = measured(capsys, files([*["buy"] * 10, *["nonsense"] * 112]), "--unparsed", "keep")
    assert keep["executions"]["finmem"]["decisions"]["log"]["CR"] == pytest.approx(0.168698, abs=1e-6)
    only = measured(capsys, files(["nonsense"] * 122))["executions"]["realistic"]["decisions"]
    assert only["simple"]["CR"] == 0 and only["simple"]["SR"] is None and only["counts"]["failures"] == 122


def test_order_of_rows_and_columns_changes_nothing(capsys, files, tmp_path):
    actions = ["buy", "sell", "hold"] * 40 + ["buy"] * 2
    one = measured(capsys, files(actions))["executions"]
    turned = [PRICES[0], *reversed(PRICES[1:])]
    assert measured(capsys, files(actions[::-1], DAYS[::-1], turned))["executions"] == one
    argv = files(actions)
    path = tmp_path / "decisions.csv"
    path.write_text("Reason,Action,Date\n" + "".join(f"why,{action},{day}\n" for action, day in zip(actions, DAYS)))
    assert measured(capsys, argv)["executions"] == one


def test_later_prices_change_nothing_that_is_traded(capsys, files):
    actions = ["buy", "sell", "hold"] * 20
    more = measured(capsys, files(actions))
    less = measured(capsys, files(actions, prices=PRICES[:62]))  # the header, sixty days and the next one
    assert more["executions"] == less["executions"] and more["last"] == str(DAYS[60])


def test_dates_of_another_form_are_refused_or_declared(capsys, files):
    days = [day.strftime("%d/%m/%Y") for day in DAYS]
    with pytest.raises(CatalogError, match="decisions.csv, line 2: the date is '01/01/2024'"):
        measured(capsys, files(["buy"] * 122, days))
    other = [PRICES[0], *(line.replace(str(day), text) for line, day, text in zip(PRICES[1:], DAYS, days))]
    declared = measured(capsys, files(["buy"] * 122, days, other), "--date-format", "%d/%m/%Y")
    assert declared["executions"] == measured(capsys, files(["buy"] * 122))["executions"]


def test_missing_days_are_refused_or_hold(capsys, files):
    argv = files(["buy", "sell"], [DAYS[0], DAYS[9]])
    with pytest.raises(CatalogError, match="8 trading days"):
        measured(capsys, argv)
    counts = measured(capsys, argv, "--missing", "hold")["executions"]["realistic"]["decisions"]["counts"]
    assert counts["missing"] == 8 and counts["N"] == 11 and counts["trades"] == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"days": [DAYS[0], DAYS[0]]}, "has 2 decisions"),
        ({"days": [DAYS[0], date(2024, 1, 6)]}, "days without a price, the first on Saturday 2024-01-06"),
        ({"days": [date(2031, 1, 1), date(2031, 1, 2)]}, "2 of 2 decisions are on days without a price"),
        ({"days": [DAYS[-1]]}, "no price after"),
        ({"days": []}, "no decision below its header"),
        ({"head": "date,why"}, "no column action; its columns are date, why"),
        ({"head": "when,action"}, "no column date; its columns are when, action"),
        ({"prices": PRICES[:2]}, "1 days with a price"),
        ({"prices": ["Date,Price open", *PRICES[1:]]}, "."),
    ],
)
def test_files_that_do_not_fit_are_refused(capsys, files, change, message):
    days = change.pop("days", DAYS[:2])
    argv = files(["buy"] * len(days), days or [None], **change)
    with pytest.raises(CatalogError, match=message):
        measured(capsys, argv)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--periods", "0"], "--periods is 0; give a number from 1"),
        (["--periods", "1000000"], "--periods is 1000000"),
        (["--rf", "nan"], "--rf is nan; give a number from -10 to 10"),
        (["--rf", "inf"], "--rf is inf"),
        (["--draws", "100000000000"], "--draws is 100000000000; give a number from 1 to 100000"),
        (["--seed", "-1"], "--seed is -1"),
        (["--random", "-1"], "--random is -1"),
        (["--date-format", "%d/%m"], "does not give year, month and day"),
        (["--fee-bps", "-5"], "basis points"),
        (["--block", "500"], "choose 1 to 121"),
        (["--daily", "out.txt"], r"\.parquet or \.csv"),
        (["--decisions", "absent.csv"], "absent.csv is no file"),
        (["--prices", "absent.csv"], "absent.csv does not exist"),
    ],
)
def test_options_that_cannot_be_are_refused(capsys, files, more, message):
    with pytest.raises(CatalogError, match=message):
        measured(capsys, files(["buy"] * 122), *more)


def test_an_error_is_one_sentence_and_exit_code_1(files):
    argv = files(["buy"], [DAYS[0] + timedelta(days=5)])
    done = subprocess.run([sys.executable, "-m", "stages.open_finllms.backtest", *argv], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("Error: 1 of 1 decisions are on days without a price") and done.stderr.count("\n") == 1


@pytest.mark.parametrize("name", ["daily.csv", "daily.parquet"])
def test_daily_results_can_be_kept(capsys, files, tmp_path, name):
    path = tmp_path / name
    result = measured(capsys, files(["buy", "hold"] * 61), "--daily", str(path))
    table = pl.read_parquet(path) if name.endswith("parquet") else pl.read_csv(path)
    assert table["execution"].value_counts(sort=True).rows() == [("finmem", 122), ("realistic", 122)]
    total = table.filter(pl.col("execution") == "finmem")["r"].sum()
    assert total == pytest.approx(result["executions"]["finmem"]["decisions"]["log"]["CR"])
    with pytest.raises(CatalogError, match="one of the files to read"):
        measured(capsys, files(["buy"] * 122), "--daily", str(tmp_path / "prices.csv"))


def test_a_day_without_trade_is_no_trading_day_and_is_told(capsys, files):
    rows = ["Date,Close,Volume", *(f"{day},{close},{volume}" for day, close, volume in zip(DAYS, [10, 10, 11, 12], [5, 0, 5, 5]))]
    result = measured(capsys, files(["buy"] * 2, [DAYS[0], DAYS[2]], rows))
    assert result["executions"]["finmem"]["decisions"]["counts"]["returns"] == 2
    assert "dropped: no trade: volume of 0, price of the day before (2024-01-02)" in result["notes"]
    with pytest.raises(CatalogError, match="the first on Tuesday 2024-01-02"):
        measured(capsys, files(["buy"] * 3, prices=rows))
    assert "dropped: no trade" in capsys.readouterr().err


def test_a_day_of_great_gains_has_no_annual_return(capsys, files):
    rows = ["Date,Close,Adj Close", *(f"{day},{close},{close}" for day, close in zip(DAYS, (1, 100_000)))]
    found = measured(capsys, files(["buy"], DAYS[:1], rows))["executions"]["finmem"]["decisions"]["simple"]
    assert found["CR"] == pytest.approx(99_999) and found["AR"] is None  # 100,000 to the power of 252 is no float


def test_an_answer_of_any_length_is_read(capsys, files):
    found = measured(capsys, files(["buy", "we think " * 20_000 + "sell", "hold"], DAYS[:3]))
    assert found["actions"] == {"buy": 1, "sell": 1, "hold": 1}


def test_a_reader_that_goes_away_is_no_error(files):
    command = [sys.executable, "-m", "stages.open_finllms.backtest", *files(["buy"] * 122)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as done:
        done.stdout.close()
        assert done.stderr.read() == "" and done.wait() == 0


def test_a_saved_download_with_three_header_lines_is_read_by_name(capsys, files):
    rows = ["Price,Close,High,Low,Open,Volume", "Ticker,ZZ,ZZ,ZZ,ZZ,ZZ", "Date,,,,,"]
    rows += ["2024-01-02,10,11,9,9.5,900", "2024-01-03,11,12,10,10.5,900", "2024-01-04,12.6,13,11,12,900"]
    found = measured(capsys, files(["buy"] * 2, [date(2024, 1, 2), date(2024, 1, 3)], rows))["executions"]
    assert found["finmem"]["decisions"]["simple"]["CR"] == pytest.approx(0.26)
    assert found["realistic"]["decisions"]["simple"]["CR"] == pytest.approx(0.2)  # bought at 10.5, the second open
