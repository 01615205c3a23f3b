"""Answers as actions: the released code's map, and a reading that never makes an action of what names none."""

import time
from datetime import date

import pytest

from catalog.base.errors import CatalogError
from stages.open_finllms.actions import DIRECTION, decisions, parse


@pytest.mark.parametrize(
    ("text", "direction", "status"),
    [
        ("buy", 1, "ok"),
        ("hold", 0, "ok"),
        ("sell", -1, "ok"),
        ("", 0, "empty"),
        (None, 0, "empty"),  # the model call failed
        ("Buy", -1, "other"),
        ("strong buy", -1, "other"),
        ("Hold", -1, "other"),
        (" hold", -1, "other"),
        ("not available", -1, "other"),
    ],
)
def test_the_paper_sells_on_whatever_is_no_exact_answer(text, direction, status):
    action, found = parse(text, "paper")
    assert (DIRECTION[action], found) == (direction, status)


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("buy", "buy"),
        ("Buy", "buy"),
        (" SELL.\n", "sell"),
        ("**Hold**", "hold"),
        ("'buy'", "buy"),
        ("Rating：Sell（bearish）", "sell"),
        ("Rating: Sell (do not buy)", "sell"),
        ("FINAL TRANSACTION PROPOSAL: **BUY**", "buy"),
        ("Some sell, others buy.\nRecommendation: hold", "hold"),
        ('{"investment_decision": "sell", "summary_reason": "buy was wrong; hold"}', "sell"),
        ('Here it is:\n```json\n{"action": "Hold", "ids": [1]}\n```', "hold"),
        ("Do not sell, hold.", "hold"),
        ("Don’t buy or sell; hold", "hold"),
        ("I would not hold but sell", "sell"),
        ("Sell instead of hold", "sell"),
        ("Buy is not advisable, so hold", "hold"),
        ("buy, not sell", "buy"),
        ("Insiders buy back shares, so buy", "buy"),
        ("The sell-off is over: buy", "buy"),
        ("目前不宜買進，續抱即可", "hold"),
        ("建议卖出", "sell"),
        ("评级：买入", "buy"),
        ("没有理由卖出，继续持有", "hold"),
        ("不要买入、卖出，观望", "hold"),
        ("特别看好，买入", "buy"),
        ("不得不卖出", "sell"),
    ],
)
def test_one_action_that_is_named_is_read(text, action):
    assert parse(text) == (action, "ok")


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("", "empty"),
        (None, "empty"),
        ("  \n", "empty"),
        ("Shareholders and buyers disagree.", "unparsed"),
        ("do not buy", "unparsed"),
        ("Don't sell", "unparsed"),
        ("neither buy nor sell", "unparsed"),
        ("不要买入", "unparsed"),
        ("别买进", "unparsed"),
        ("strong buy", "unparsed"),
        ("Rating: Strong Sell", "unparsed"),
        ("强烈买入", "unparsed"),
        ("A sell-off and a buyback", "unparsed"),
        ("cannot say", "unparsed"),
        ("没有理由继续持有", "unparsed"),
        ("I would not yet buy", "unparsed"),
        ("I am not so keen to buy", "unparsed"),
        ("It is too early to buy", "unparsed"),
        ("1", "unparsed"),
        ("buy or sell", "several"),
        ("Buy and hold", "several"),
        ("Decision: buy\nDecision: sell", "several"),
        ("买入还是卖出？", "several"),
    ],
)
def test_what_names_no_single_action_is_none(text, status):
    assert parse(text) == (None, status)


@pytest.mark.parametrize("text", ["Rating：Sell（bearish）", "目前不宜買進，續抱即可", "Do not sell, hold.", "strong buy", "buy or sell"])
def test_case_width_and_white_space_change_nothing(text):
    wide = "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text)
    assert parse(text) == parse(text.upper()) == parse(f"\n {text}\t") == parse(wide)


def test_decisions_keep_the_raw_text_and_the_order():
    days = [date(2024, 1, 3), date(2024, 1, 2)]
    assert decisions(days, ["Buy", None]).rows() == [(days[0], "Buy", "buy", "ok"), (days[1], None, None, "empty")]
    assert decisions(days, ["Buy", None], "paper")["parsed"].to_list() == ["sell", "hold"]


def test_a_long_senseless_answer_takes_no_time():
    begin = time.perf_counter()
    assert parse("buy " * 50_000) == ("buy", "ok") and parse("buy and sell " * 20_000) == (None, "several")
    assert parse('{"action":' * 50_000 + '"buy"}') == ("buy", "ok")  # too deep for JSON, and read as text
    assert time.perf_counter() - begin < 20  # hours, where each word is looked at behind all the others


def test_an_unknown_mode_is_refused():
    with pytest.raises(CatalogError, match="paper or strict"):
        parse("buy", "loose")
