"""The table of prices: files of each layout in a small project, and known values of the real files where they are fetched."""

import math
from dataclasses import replace
from datetime import date, timedelta

import polars as pl
import pytest

from catalog.base.errors import CatalogError
from catalog.base.params import ROOT, load_shared, profile_params
from stages.open_finllms import prices
from stages.open_finllms.settings import Params, PriceFile, Prices
from stages.open_finllms.trading_metrics import drawdown, returns

ASSETS = ROOT / "data" / "assets"
SOURCES = ("bokeh_stocks", "skfolio_sp500", "kaggle_stocks")
MONDAY = date(2024, 1, 8)
ONE = PriceFile("src", "one.csv", "one", None, "share", "as traded", "splits", {"ZZ": "Zed"})
LONG = replace(ONE, file="long.csv", layout="long", names={"AA": "Alpha", "BB": "Beta"})
WIDE = replace(ONE, source="other", file="wide.csv", layout="wide", kind="index", names={"AA": "Alpha"})


@pytest.fixture
def root(tmp_path):
    """Five weekdays from a Monday: ZZ lacks Wednesday, AA of the long file splits on Tuesday, AA of the wide file halves on Friday."""
    for source in ("src", "other"):
        (tmp_path / "data/assets" / source).mkdir(parents=True)
    days = [MONDAY + timedelta(i) for i in range(5)]
    one = [f"{day},{p},{p},{p},{p},0" for i, (day, p) in enumerate(zip(days, (10, 11, 12, 11, 10))) if i != 2]
    (tmp_path / "data/assets/src/one.csv").write_text("\n".join(["Date,Open,High,Low,Close,Dividends", *one]))
    long = [
        f"{name},{day},{close},{adj}" for name in ("BB", "AA") for day, close, adj in zip(days, (20, 10, 10, 11, 12), (10, 10, 10, 11, 12))
    ]
    (tmp_path / "data/assets/src/long.csv").write_text("\n".join(["Ticker,Date,Close,Adj Close", *long]))
    wide = [f"{day},1,{aa}" for day, aa in zip(days, (5, 5, 5, 6, 3))]
    (tmp_path / "data/assets/other/wide.csv").write_text("\n".join(["Date,CC,AA", *wide]))
    return tmp_path


def test_files_of_each_layout_in_one_table(root):
    made = prices.build(Prices((ONE, LONG, WIDE), min_days=2, present=0.5), root)
    daily = made["daily"]
    assert daily.select(prices.KEY).unique().sort(prices.KEY).rows() == [("AA", "other"), ("AA", "src"), ("BB", "src"), ("ZZ", "src")]
    assert daily.select(*prices.KEY, "date").is_duplicated().sum() == 0 and daily["adj_close"].null_count() == 0
    assert daily.filter(asset="AA", source="other")["adj_close"].to_list() == [5, 5, 5, 6, 3]
    assert daily.filter(asset="AA", source="other")["close"].null_count() == 5
    assert daily.filter(asset="AA", source="src")["split"].to_list() == [None, 2.0, None, None, None]
    listed = {(row["asset"], row["source"]): row for row in made["listings"].to_dicts()}
    zed, index = listed["ZZ", "src"], listed["AA", "other"]
    assert (zed["name"], zed["first"], zed["last"], zed["days"], zed["has_open"], zed["missing"]) == (
        "Zed", MONDAY, MONDAY + timedelta(4), 4, True, 1,
    )  # fmt: skip
    assert (index["kind"], index["has_open"], index["splits"], index["missing"], index["dropped"]) == ("index", False, 0, 0, 0)
    assert listed["AA", "src"]["splits"] == 1
    wednesday = made["notes"].filter(kind="missing day")
    assert wednesday.rows() == [("ZZ", "src", date(2024, 1, 10), "missing day", "3 of 3 other series have a price")]
    assert ("ZZ", "src", None, "file", "columns not read: Dividends") in made["notes"].rows()
    assert ("AA", "other", date(2024, 1, 12), "move", "-50.0% in a day") in made["notes"].rows()


def test_dropped_rows_are_counted_with_reasons(root):
    with (root / "data/assets/src/one.csv").open("a") as file:
        file.write("\n2024-01-13,10,10,10,10,0\n2024-01-14,10,10,10,10,0\n2024-01-15,10,10,10,0,0\n2024-01-16,10,10,10,10,0")
    listing = prices.build(Prices((ONE,), 2, 0.5), root)["listings"].row(0, named=True)
    assert (listing["days"], listing["dropped"], listing["dropped_why"]) == (5, 3, "2 weekend, 1 price of 0")


def test_missing_is_judged_by_the_series_that_run():
    def series(asset, *days):
        return pl.DataFrame({"asset": asset, "source": "s", "date": [MONDAY + timedelta(i) for i in days]})

    # Day 1: A lacks it, B and C have it. Day 3: B lacks it, only A runs then besides, and has it. Day 2: only C has it, of A and B.
    daily = pl.concat([series("A", 0, 3, 4), series("B", 0, 1, 4), series("C", 1, 2)])
    found = prices.missing(daily, 0.5).select("asset", "date").sort("asset", "date").rows()
    assert found == [("A", MONDAY + timedelta(1)), ("B", MONDAY + timedelta(3))]
    assert prices.missing(series("A", 0, 4), 0.5).is_empty()  # nobody to judge by


def test_wrong_declarations(root):
    (root / "data/assets/src/nodate.csv").write_text("Ticker,Day of trade,Close\nAA,2024-01-08,1\n")
    for file, said in [
        (replace(LONG, names={"CC": "Gamma"}), "has no share CC; it has AA, BB"),
        (replace(WIDE, names={"BB": "Beta"}), "has no share BB; it has CC, AA"),
        (replace(ONE, layout="tall"), "the layout 'tall' but it must be one, long or wide"),
        (replace(ONE, names={"AA": "A", "BB": "B"}), "layout one but 2 names"),
        (replace(ONE, layout="long"), "has no share ZZ; it has no column Ticker"),
        (replace(LONG, file="nodate.csv"), "has no column Date; its columns are Ticker, Day of trade, Close"),
        (replace(LONG, layout="one", names={"AA": "Alpha"}), r"holds 2 shares \(AA, BB\)"),
        (replace(ONE, file="none.csv"), "The prices of ZZ are read from data/assets/src/none.csv, which is absent; run `dvc repro`"),
        (
            replace(ONE, source="own", file="mine.csv"),
            "data/own/open_finllms/mine.csv, which is absent; put it there, or remove its entry from",
        ),
    ]:
        with pytest.raises(CatalogError, match=said):
            prices.build(Prices((file,), 2, 0.5), root)
    with pytest.raises(CatalogError, match="The source src gives ZZ twice"):
        prices.build(Prices((ONE, ONE), 2, 0.5), root)
    with pytest.raises(CatalogError, match="Prices of ZZ: .* has 4 days with a price, but at least 9"):
        prices.build(Prices((ONE,), 9, 0.5), root)


@pytest.mark.parametrize("profile", ["small", "full"])
def test_the_parameters_name_declared_assets(profile):
    declared = load_shared(ROOT)["assets"]
    for file in profile_params(Params, "open_finllms", profile).prices.files:
        assert file.source == "own" or file.file in declared[file.source]["files"]


# Known values of the real files


@pytest.fixture(scope="module")
def real():
    if not all((ASSETS / source).is_dir() for source in SOURCES):
        pytest.skip("the assets are not fetched")
    return prices.build(profile_params(Params, "open_finllms", "small").prices)


def buy_and_hold(daily, asset, source, first, last):
    """CR, Sharpe ratio and yearly volatility of log returns, N prices, as FinMem defines them."""
    part = daily.filter(pl.col("date").is_between(first, last), asset=asset, source=source)
    returns = part["adj_close"].log().diff().drop_nulls()
    total, volatility = returns.sum(), returns.std() * math.sqrt(252)
    return total, total / (len(part) / 252) / volatility, volatility, len(part)


@pytest.mark.parametrize(
    ("asset", "source", "first", "last", "expected"),
    [
        ("AAPL", "bokeh_stocks", date(2012, 9, 4), date(2013, 3, 1), (-0.439409, -2.470164, 0.367438, 122)),
        ("FB", "bokeh_stocks", date(2012, 9, 4), date(2013, 3, 1), (0.449115, 1.679085, 0.552491, 122)),
        ("GOOG", "bokeh_stocks", date(2012, 9, 4), date(2013, 3, 1), (0.168698, 1.564250, 0.222764, 122)),
        ("IBM", "bokeh_stocks", date(2012, 9, 4), date(2013, 3, 1), (0.050781, 0.638782, 0.164206, 122)),
        ("MSFT", "bokeh_stocks", date(2012, 9, 4), date(2013, 3, 1), (-0.066910, -0.735525, 0.187902, 122)),
        # INVESTOR-BENCH's window, from its own file of prices: the figures agree to the digits given.
        ("JNJ", "skfolio_sp500", date(2020, 10, 1), date(2021, 5, 6), (0.14295, 1.3766, 0.17445, 150)),
        ("MSFT", "skfolio_sp500", date(2020, 10, 1), date(2021, 5, 6), (0.16654, 1.1216, 0.24946, 150)),
    ],
)
def test_buying_and_holding(real, asset, source, first, last, expected):
    digits = 1e-6 if source == "bokeh_stocks" else 1e-4
    assert buy_and_hold(real["daily"], asset, source, first, last) == pytest.approx(expected, abs=digits)


@pytest.mark.parametrize(("asset", "loss"), [("JNJ", 0.09847), ("MSFT", 0.09428)])
def test_drawdowns_of_investor_bench(real, asset, loss):
    """On log returns compounded as if they were simple, as FinMem does; in its window, from another file of prices."""
    part = real["daily"].filter(pl.col("date").is_between(date(2020, 10, 1), date(2021, 5, 6)), asset=asset, source="skfolio_sp500")
    assert drawdown(returns(part["adj_close"].to_list(), log=True)) == pytest.approx(loss, abs=1e-5)


def test_series_of_the_real_files(real):
    listed = {(row["asset"], row["source"]): row for row in real["listings"].to_dicts()}
    assert len(listed) == 32 and len(real["daily"]) == 203160
    days = {asset: listed[asset, "bokeh_stocks"]["days"] for asset in ("AAPL", "IBM", "MSFT", "GOOG", "FB")}
    assert days == {"AAPL": 3270, "IBM": 3270, "MSFT": 3270, "GOOG": 2148, "FB": 196}
    assert {row["days"] for (_, source), row in listed.items() if source == "skfolio_sp500"} == {8313}
    nvidia = listed["NVDA", "kaggle_stocks"]
    assert (nvidia["first"], nvidia["last"], nvidia["has_open"]) == (date(1999, 1, 22), date(2025, 2, 14), True)
    index = listed["SP500", "kaggle_stocks"]
    assert (index["days"], index["dropped"], index["dropped_why"]) == (1259, 566, "520 weekend, 46 repeats the day before")
    assert real["listings"]["missing"].sum() == 0
    splits = real["notes"].filter(kind="split").sort("date").select("asset", "date", "what").rows()
    assert splits == [
        ("AAPL", date(2000, 6, 21), "2 for 1"),
        ("MSFT", date(2003, 2, 18), "2 for 1"),
        ("AAPL", date(2005, 2, 28), "2 for 1"),
    ]


@pytest.mark.parametrize(
    ("asset", "one", "least"), [("MSFT", "bokeh_stocks", 0.999), ("AAPL", "bokeh_stocks", 0.999), ("SP500", "kaggle_stocks", 0.999999)]
)
def test_sources_agree_on_the_same_share(real, asset, one, least):
    def returns(source):
        return real["daily"].filter(asset=asset, source=source).select("date", r=pl.col("adj_close").log().diff())

    both = returns(one).join(returns("skfolio_sp500"), on="date").drop_nulls()
    assert len(both) > 1000 and both.select(pl.corr("r", "r_right")).item() > least
