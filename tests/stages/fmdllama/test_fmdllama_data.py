"""The generated set: facts by hand, labels that follow from the text alone, and nothing but the facts to tell labels apart."""

import dataclasses
import datetime
import math

import numpy as np
import polars as pl
import pytest

from catalog.base.errors import CatalogError
from catalog.base.params import ROOT
from stages.fmdllama import articles, dataset, grid, reasons
from stages.fmdllama.facts import monthly
from stages.fmdllama.reader import Reader
from stages.fmdllama.settings import Data, Part
from stages.fmdllama.wording import read

WORDINGS = read(ROOT / dataset.WORDING)
NAMES = {ticker: f"{ticker.title()} Works" for ticker in "ABCD EFGH IJKL MNOP QRST UVWX ZABC ZDEF ZGHI".split()}


def prices(shares, first, last, seed):
    """Prices near 40 dollars on every weekday; calm and wild months alternate at random."""
    days = [first + datetime.timedelta(n) for n in range((last - first).days + 1) if (first + datetime.timedelta(n)).weekday() < 5]
    rng = np.random.default_rng(seed)
    rows = []
    for share in shares:
        swing = np.repeat(rng.uniform(0.005, 0.03, len(days) // 20 + 1), 20)[: len(days)]
        log = [0.0]
        for step in rng.normal(0, 1, len(days) - 1) * swing[1:]:
            log.append(0.97 * log[-1] + step)
        walk = 40 * np.exp(log)
        rows += [{"asset": share, "source": "walk", "date": day, "adj_close": close} for day, close in zip(days, walk)]
    return pl.DataFrame(rows)


SHARES = list(NAMES)
DAILY = prices(SHARES, datetime.date(2000, 1, 1), datetime.date(2012, 12, 31), 0)
KINDS = {
    "direction": 2,
    "sign": 2,
    "compare-by-sign": 2,
    "threshold": 1,
    "compare-by-number": 1,
    "extreme": 1,
    "volatility": 1,
    "streak": 1,
    "drawdown": 1,
    "level": 1,
}
PARAMS = Data(
    sources={},
    source="walk",
    kinds=KINDS,
    splits={
        "train": Part(tuple(SHARES[:3]), (2000, 2005), 26, 12),
        "valid": Part(tuple(SHARES[3:6]), (2006, 2008), 13, 6),
        "test": Part(tuple(SHARES[6:]), (2009, 2012), 13, 6),
    },
)


@pytest.fixture(scope="module")
def items():
    return dataset.build(PARAMS, DAILY, NAMES, WORDINGS, seed=3)


def days(*closes_of_months):
    """Closes of consecutive months, 15 trading days or more each, from January 2001."""
    rows = []
    for month, closes in enumerate(closes_of_months, 1):
        rows += [{"asset": "A", "date": datetime.date(2001, month, day), "adj_close": close} for day, close in enumerate(closes, 1)]
    return pl.DataFrame(rows)


def test_facts_of_a_month_by_hand():
    first = [10.0, 11.0] * 8  # swings of 10 % and 9.1 %; ends at 11
    second = [12.0, 13.0, 14.0, 7.0, 8.0, *[9.0] * 10, 12.1]  # three rises (the first over 11), a fall of a half from 14
    fact = monthly(days(first, second)).row(0, named=True)
    assert fact["month"] == datetime.date(2001, 2, 1)
    assert (fact["before"], fact["last"], fact["change"]) == (11.0, 12.1, 10.0)
    assert (fact["high"], fact["low"], fact["days"], fact["up"], fact["streak"]) == (14.0, 7.0, 16, 6, 3)
    assert fact["drawdown"] == 50.0
    steps = [10.0 / 100] * 8 + [1 / 11] * 7
    assert fact["swing_before"] == pytest.approx(100 * sum(steps) / 15)
    steps = [1 / 11, 1 / 12, 1 / 13, 7 / 14, 1 / 7, 1 / 8, 3.1 / 9]
    assert fact["swing"] == pytest.approx(100 * sum(steps) / 16)


def test_a_run_of_rises_counts_in_its_month_alone():
    """Four rises in a row over the turn of the month: two of them in the second."""
    first = [10.0] * 14 + [11.0, 12.0]
    second = [13.0, 14.0, *[10.0] * 14]
    assert monthly(days(first, second))["streak"].to_list() == [2]


@pytest.mark.parametrize(
    "second",
    [[11.0] * 14, [10.5] * 16, [1.0, 1.5] * 8],
    ids=["too few days", "no change of price", "too cheap"],
)
def test_months_that_are_left_out(second):
    assert len(monthly(days([10.0, 10.5] * 8, [10.0, 11.0] * 8))) == 1
    assert monthly(days([10.0, 10.5] * 8, second)).is_empty()


def test_a_gap_of_a_month_has_no_change():
    frame = days([10.0, 11.0] * 8, [12.0, 13.0] * 8, [14.0, 15.0] * 8).filter(pl.col("date").dt.month() != 2)
    assert monthly(frame).is_empty()


def test_every_label_follows_from_the_deciding_sentences_and_from_them_alone(items):
    reader = Reader(WORDINGS, NAMES.values())
    for row in items.filter(task="claim").iter_rows(named=True):
        assert reader.label(row["claim"], row["context"]) == row["label"], row
        deciding = [row["context"][i] for i in row["deciding"]]
        assert reader.label(row["claim"], deciding) == row["label"]
        rest = [sentence for i, sentence in enumerate(row["context"]) if i not in row["deciding"]]
        assert reader.label(row["claim"], rest) == "NEI"
    for row in items.filter(task="article").iter_rows(named=True):
        assert reader.note_label(row["context"]) == row["label"], row


def test_the_reader_notices_a_wrong_label():
    reader = Reader(WORDINGS, ["Apple"])
    context = ["Apple: +2.0 % in March 2005.", "Apple: -3.0 % in April 2005."]
    assert reader.label("Apple gained in March 2005.", context) == "True"
    assert reader.label("Apple lost in March 2005.", context) == "False"
    assert reader.label("Apple gained in May 2005.", context) == "NEI"
    assert reader.label("Apple lost more than 2.5 % in April 2005.", context) == "True"
    assert reader.label("Apple gained more than 2.5 % in April 2005.", context) == "False"
    assert reader.label("Apple had its highest return of the quarter in March 2005.", context) == "NEI"


def test_claims_come_in_triples_of_the_same_words(items):
    claims = items.filter(task="claim").with_columns(triple=pl.col("id").str.replace("-(True|False|NEI)$", ""))
    for (_,), triple in claims.group_by("triple"):
        assert sorted(triple["label"]) == ["False", "NEI", "True"]
        for column in ("kind", "polarity", "template", "threshold", "context_id"):
            assert triple[column].n_unique() == 1, column
        assert triple["month"].n_unique() == (3 if triple["kind"][0] == "extreme" else 1)
    train = claims.filter(split="train")
    assert train.group_by("label").len()["len"].to_list() == [26 * 3] * 3


def test_kinds_are_as_often_as_asked(items):
    counts = dict(items.filter(task="claim", split="train").group_by("kind").len().iter_rows())
    assert counts == {kind: 3 * 6 * weight for kind, weight in KINDS.items()}


def test_splits_share_no_share_year_or_wording(items):
    parts = items.partition_by("split", as_dict=True)
    for one, a in parts.items():
        for two, b in parts.items():
            if one == two:
                continue
            for key in ("template", "context_id", "claim"):
                first, second = (set(part.filter(task="claim")[key]) for part in (a, b))
                assert not first & second, key
            assert not set(a["assets"].explode()) & set(b["assets"].explode())
            assert not set(a["month"].str.slice(0, 4)) & set(b["month"].str.slice(0, 4))


def test_nothing_can_be_worked_out_from_two_prices_of_a_share(items):
    reader = Reader(WORDINGS, NAMES.values())
    for (_,), rows in items.filter(task="claim").group_by("context_id"):
        levels = [read[2]["x"] for sentence in rows["context"][0] if (read := reader.read(sentence)) and read[0] == "level"]
        assert len(levels) == len(set(levels))


def test_a_context_has_one_sentence_for_each_share_and_month(items):
    reader = Reader(WORDINGS, NAMES.values())
    for (_,), rows in items.filter(task="claim").group_by("context_id"):
        about = [(read[2]["x"], read[2]["m"]) for sentence in rows["context"][0][1:] if (read := reader.read(sentence))]
        assert len(about) == len(set(about)) == 9


def test_the_same_seed_gives_the_same_items(items):
    assert dataset.build(PARAMS, DAILY, NAMES, WORDINGS, seed=3).equals(items)
    assert not dataset.build(PARAMS, DAILY, NAMES, WORDINGS, seed=4).equals(items)


def test_prices_after_a_split_change_none_of_its_items(items):
    """Nor do prices of the other splits' years."""
    later = DAILY.with_columns(
        pl.when(pl.col("date").dt.year() > 2005).then(pl.col("adj_close") * 2).otherwise("adj_close").alias("adj_close")
    )
    assert dataset.build(PARAMS, later, NAMES, WORDINGS, seed=3).filter(split="train").equals(items.filter(split="train"))


def test_fakes_differ_from_their_twins_in_one_figure():
    rng = np.random.default_rng(0)
    true = {"before": 20.0, "last": 21.0, "change": 5.0, "high": 21.5, "low": 19.5, "days": 21, "up": 12, "down": 9}
    assert articles.consistent(true)
    for place, keys in {"change": {"change"}, "days": {"up"}, "range": {"high", "low"}}.items():
        for _ in range(50):
            fake = articles.faked(true, place, rng)
            assert not articles.consistent(fake)
            differs = {key for key in true if true[key] != fake[key]}
            assert differs and differs <= keys
            assert fake["low"] <= fake["high"] and 0 <= fake["up"] <= fake["days"]
            assert math.isfinite(fake["change"]) and abs(fake["change"] - 5) > 0.06 or place != "change"


@pytest.mark.parametrize(
    ("kind", "true", "false", "positive", "threshold"),
    [
        ("threshold", {"change": 5.0}, {"change": 3.0}, True, 4.0),
        ("threshold", {"change": -5.0}, {"change": -3.0}, False, 4.0),
        ("threshold", {"change": 5.0}, {"change": 4.4}, True, None),  # too near
        ("threshold", {"change": 5.0}, {"change": -5.0}, True, None),  # the threshold would be 0
        ("level", {"last": 32.0}, {"last": 30.0}, True, 31.0),
        ("level", {"last": 30.0}, {"last": 32.0}, False, 31.0),
        ("level", {"last": 60.0}, {"last": 30.0}, True, None),  # too far
        ("streak", {"streak": 5}, {"streak": 3}, True, 5.0),
        ("streak", {"streak": 3}, {"streak": 5}, False, 5.0),
        ("drawdown", {"drawdown": 6.0}, {"drawdown": 4.0}, True, 5.0),
    ],
)
def test_thresholds_lie_between_the_true_and_the_false_figure(kind, true, false, positive, threshold):
    fits, found = grid._tells_apart(kind, true, false, positive)
    assert fits is (threshold is not None)
    assert not fits or found == threshold


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"splits": {**PARAMS.splits, "test": Part(("ABCD", "ZDEF", "ZGHI"), (2009, 2012), 1, 1)}}, "ABCD is in the splits train and test"),
        ({"splits": {**PARAMS.splits, "test": Part(tuple(SHARES[6:]), (2008, 2012), 1, 1)}}, "years of the splits valid and test"),
        ({"splits": {"train": PARAMS.splits["train"]}}, "it needs train, valid, test"),
        ({"kinds": {"rumour": 1}}, "names rumour"),
        ({"source": "nowhere"}, "no prices of ABCD from nowhere"),
        ({"splits": {**PARAMS.splits, "test": Part(("ZABC", "ZDEF"), (2009, 2012), 1, 1)}}, "No quarter has three shares"),
    ],
)
def test_parameters_that_cannot_be_are_named(change, said):
    with pytest.raises(CatalogError, match=said):
        dataset.build(dataclasses.replace(PARAMS, **change), DAILY, NAMES, WORDINGS, seed=3)


def test_the_label_follows_from_the_reason_alone():
    """Told another matter: NEI; told what is claimed: True; else False."""
    for row in dataset.build(PARAMS, DAILY, NAMES, WORDINGS, seed=3).filter(task="claim").iter_rows(named=True):
        assert reasons.label(row["reason"]) == row["label"], row["reason"]


def test_a_reason_of_another_form_gives_no_label():
    assert reasons.label("Told: Chevron down, IBM up, so better is IBM; claimed: IBM.") == "True"
    assert reasons.label("Told: Chevron down, IBM a run; claimed: IBM.") == "NEI"
    assert reasons.label("Told: uplift; claimed: lift.") == "False"  # whole words
    assert [reasons.label(text) for text in ("", "Told: up.", "It was up; claimed: up.", "Told: up; claimed: ")] == [None] * 4
