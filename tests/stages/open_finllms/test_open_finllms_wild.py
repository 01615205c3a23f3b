"""Properties that hold whatever the texts are: on random strings of the pieces that broke readers, each drawn from a seed.

Cleaning twice is cleaning once, blocks of blocks are the blocks, no reader ends in an error or finds what is not there, and a day's
figures do not depend on rows before it.
"""

import random
from datetime import timedelta

import polars as pl
import pytest
from trading_cases import GOOG, weekdays

from stages.open_finllms import trading
from stages.open_finllms.actions import ACTIONS, STATUSES, decisions, parse
from stages.open_finllms.blocks import blocks, frame_rows, reblocked
from stages.open_finllms.cleaning import clean
from stages.open_finllms.dedup import Seen, normalised
from stages.open_finllms.documents import Document
from stages.open_finllms.html_table import number
from stages.open_finllms.labels import paper_label, strict_label
from stages.open_finllms.prices import read_csv
from stages.open_finllms.score_numbers import as_number, one_number
from stages.open_finllms.trading_metrics import metrics, returns, simple_metrics

PIECES = 'Ã Â © â € ™ ƒ http:// www. x.com @ a b. - − “ （ ） é … 1 ² ﬁ <a=" ： ／ ò = ， ٣ ５ ½ %'.split(" ") + list(
    "\x80\x99\u0301\u200b\ufeff\ud83d\ude00\x85\xad\u202e\u212b\u1e9b\u0323 \n\r\t\u2028\u3000\xa0"
)
WORDS = (
    'true not Prediction: Explanation: buy sell hold do {"action": } Answer: A (B) no yes . , Rating：Sell 不宜 買進 False NEI 1. % - ('
).split(" ") + ["5", "½", "٣", "\n", " "]
MARKUP = (
    "<table> <tr> <td> <th> <td|rowspan=2> <td|colspan=3> <td|rowspan=0> </td> </tr> </table> <thead> </thead> <tbody> x 1 &lt; & <".split()
)


def drawn(pieces, seed, most, count=400, joint=""):
    rng = random.Random(seed)
    return [joint.join(rng.choices(pieces, k=rng.randint(0, most))).replace("|", " ") for _ in range(count)]


def test_cleaning_twice_is_cleaning_once():
    for text in drawn(PIECES, 1, 14):
        once, _ = clean(text)
        assert clean(once) == (once, {}), text
        once.encode()  # no half of a pair is left


def test_blocks_of_blocks_are_the_blocks():
    made = 0
    for text in drawn(MARKUP, 2, 16):
        text = f"<table><tr><td>{text}"
        once = list(reblocked(text, lambda texts: [1] * len(texts), 5))
        assert [block for part in once for block in reblocked(part, lambda texts: [1] * len(texts), 5)] == once, text
        made += len(once)
    assert made > 100


def test_readers_of_answers_always_say_what_became_of_one():
    found = set()
    for text in drawn(WORDS, 3, 8, joint=" "):
        action, status = parse(text)
        assert status in STATUSES and (action in ACTIONS) == (status == "ok"), text
        assert action is None or action in text.casefold() or action == "buy" and "買進" in text, text
        label, status = strict_label(text, ("true", "false", "nei"))
        assert status in ("ok", "several", "unparsable", "empty") and (label is not None) == (status == "ok"), text
        assert label is None or label in text.casefold() and paper_label(text, (label,)) == label, text
        value, status = one_number(text)
        assert (value is not None) == (status == "ok"), text
        for reader in (number, as_number):
            assert reader(text) is None or any(character in "0123456789" for character in text), text
        found |= {status, label, action}
    assert {"ok", "several", "unparsable", "true", "false", "buy", "sell", "hold"} <= found


def test_an_answer_is_read_the_same_in_any_company():
    texts = drawn(WORDS, 4, 8, joint=" ")
    days = weekdays(len(texts))
    together = decisions(days, texts).select("parsed", "status").rows()
    assert together == [decisions([day], [text]).select("parsed", "status").row(0) for day, text in zip(days, texts)]
    assert together[::-1] == decisions(days[::-1], texts[::-1]).select("parsed", "status").rows()


def test_exact_twins_do_not_depend_on_the_order_and_one_more_changes_no_other():
    texts = drawn(WORDS, 5, 3, count=120, joint=" ")

    def kept(some):
        seen = Seen()
        return [text for i, text in enumerate(some) if seen.twin(Document(str(i), "p", "s", text), near=False) is None]

    once = kept(texts)
    assert len(once) < len(texts) and kept(once) == once
    assert {normalised(text) for text in kept(texts[::-1])} == {normalised(text) for text in once}
    assert kept([*texts, "a text of its own"]) == [*once, "a text of its own"]


@pytest.mark.parametrize("mode", trading.MODES)
def test_days_before_and_behind_the_decisions_change_no_figure(mode):
    """The day before the first decision and the days behind the last return take no part, whatever they hold."""
    days = weekdays(len(GOOG))
    prices = pl.DataFrame({"date": days, "close": GOOG})
    rng = random.Random(6)
    given = decisions(days[20:80], [rng.choice(["buy", "sell", "hold", "?"]) for _ in range(60)])
    alone = metrics(trading.run(prices[20:81], given, mode, fee_bps=5))
    wild = prices.with_columns(close=pl.when(pl.int_range(pl.len()).is_between(20, 80)).then("close").otherwise(pl.col("close") * 9))
    assert metrics(trading.run(wild, given, mode, fee_bps=5)) == alone
    assert metrics(trading.run(prices.sample(fraction=1, shuffle=True, seed=1), given.reverse(), mode, fee_bps=5)) == alone
    other = wild.with_columns(close=pl.when(pl.col("date") == days[50]).then(pl.col("close") * 1.5).otherwise("close"))
    assert metrics(trading.run(other, given, mode, fee_bps=5)) != alone  # a price within does


@pytest.mark.parametrize("scale", [0.001, 1000.0])
def test_the_currency_changes_no_figure(scale):
    """Nothing guesses a unit from the size of prices."""
    days = weekdays(len(GOOG))
    given = decisions(days[:60], ["buy", "sell", "hold"] * 20)
    one, other = (
        trading.run(pl.DataFrame({"date": days, "close": [price * times for price in GOOG]}), given, "realistic", fee_bps=5)
        for times in (1, scale)
    )
    assert other["r"].to_list()[:-1] == pytest.approx(one["r"].to_list()[:-1], abs=1e-12)
    assert simple_metrics(returns([price * scale for price in GOOG])) == pytest.approx(simple_metrics(returns(GOOG)))


def test_a_table_of_prices_comes_back_from_a_file_as_it_was(tmp_path):
    """Read, written and read again, by rows in any order and with one row more, no day changes."""
    days = weekdays(len(GOOG))
    lines = [f"{day},{price:.6f},{i % 7 + 1}" for i, (day, price) in enumerate(zip(days, GOOG))]

    def read(rows):
        path = tmp_path / "prices.csv"
        path.write_text("\n".join(["Date,Close,Volume", *rows]) + "\n")
        return read_csv(path, tell=lambda line: None)

    one = read(lines)
    (tmp_path / "again.csv").write_text(one.drop("split").write_csv())
    assert read_csv(tmp_path / "again.csv", tell=lambda line: None).equals(one)
    assert read(random.Random(7).sample(lines, len(lines))).equals(one)
    later = days[-1] + timedelta(days=7)
    assert read([*lines, f"{later},{GOOG[-1]},1"]).head(len(one)).equals(one)
    frame = one.drop_nulls("close").select("date", "close", "volume")
    assert list(blocks(["d", "c", "v"], frame_rows(frame), lambda texts: [1] * len(texts), 20)) == [
        block
        for start in range(0, len(frame), 18)
        for block in blocks(["d", "c", "v"], frame_rows(frame[start : start + 18]), lambda texts: [1] * len(texts), 20)
    ]
