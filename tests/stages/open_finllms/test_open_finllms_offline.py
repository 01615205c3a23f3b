"""The offline tasks: labels can be worked out again from what is printed, splits share nothing, no label leaks through words."""

import dataclasses
import itertools
import json
import random
import re
from datetime import date, timedelta

import polars as pl
import pytest

from catalog.base.errors import CatalogError
from catalog.base.params import profile_params
from stages.open_finllms import instructions, offline, offline_notes, offline_real, offline_tables, tasks
from stages.open_finllms.offline_facts import COMPANIES, Day, Facts
from stages.open_finllms.offline_wordings import HEADLINE_QUESTIONS, HEADLINES, INSTRUCTIONS, NOTES, SPLITS, TABLE_QUESTIONS
from stages.open_finllms.settings import Params
from stages.open_finllms.task_scores import words

P = profile_params(Params, "open_finllms", "small")
SIZES = dict.fromkeys(P.tasks.sizes, (24, 6, 12))


def prices(p=P.tasks):
    """Random walks of every share in the days of its split."""
    daily, listings = [], []
    for at, (split, by_source) in enumerate(sorted(p.shares.items())):
        first = date.fromisoformat(p.spans[split][0])
        for source, assets in by_source.items():
            for asset in assets:
                rng, close = random.Random(asset), 40.0 + at
                for day in range(400):
                    close = round(close * (1 + rng.gauss(0, 0.013)), 4)
                    daily.append((asset, source, first + timedelta(day), max(close, 5.0)))
                listings.append((asset, source, f"{asset} Inc"))
    columns = {"asset": pl.String, "source": pl.String}
    return (
        pl.DataFrame(daily, schema={**columns, "date": pl.Date, "adj_close": pl.Float64}, orient="row"),
        pl.DataFrame(listings, schema={**columns, "name": pl.String}, orient="row"),
    )


def real():
    """Stand-ins for the real sets."""
    rows = {}
    for task in ("german", "fiqa", "summaries"):
        rows[task] = {
            split: [
                {"instruction": INSTRUCTIONS[task][split][0], "context": f"{task} {split} {at}", "gold": ("good", "bad")[at % 2],
                 "type": task, "template": "x", "unit": str(at)} | ({"choices": ["good", "bad"]} if task == "german" else {})
                for at in range(40)
            ]
            for split in SPLITS
        }  # fmt: skip
    return rows


@pytest.fixture(scope="module")
def facts():
    return Facts(*prices(), P.tasks)


@pytest.fixture(scope="module")
def items(facts):
    return offline.build(facts, dataclasses.replace(P.tasks, sizes=SIZES), 0, real())


def test_a_day_as_printed():
    day = Day("PFE", "Pfizer", date(2014, 5, 3), 35.0, 35.49, 1.4)
    assert day.direction == "up" and day.fields["signed"] == "+1.4%" and day.fields["date"] == "3 May 2014"
    directions = {change: Day("A", "A", date(2014, 5, 3), 1, 1, change).direction for change in (1.0, 0.9, 0.2, -0.2, -0.3, -1.0)}
    assert directions == {1.0: "up", 0.9: None, 0.2: "flat", -0.2: "flat", -0.3: None, -1.0: "down"}


def test_splits_share_nothing(items):
    for column in ("context", "template", "asset", "date", "instruction"):
        some = items.filter(~pl.col("task").is_in(["german", "fiqa", "summaries"]))
        some = some.filter(pl.col("task") != "stock") if column in ("context", "template") else some
        sets = [set(some.filter(pl.col("split") == split)[column].drop_nulls()) for split in SPLITS]
        assert all(sets) and not any(a & b for a, b in itertools.combinations(sets, 2)), column
    assert items["id"].n_unique() == len(items)
    for table in (NOTES, HEADLINES, *HEADLINE_QUESTIONS.values(), *TABLE_QUESTIONS.values(), *INSTRUCTIONS.values()):
        flat = [{word for some in found.values() for word in some} if isinstance(found, dict) else set(found) for found in table.values()]
        assert not any(a & b for a, b in itertools.combinations(flat, 2))


def test_the_spans_and_shares_of_the_parameters_are_disjoint():
    assets = [asset for by in P.tasks.shares.values() for some in by.values() for asset in some]
    assert len(assets) == len(set(assets)) and P.tasks.spans["train"][1] < P.tasks.spans["valid"][0]
    assert P.tasks.spans["test"][0] >= P.corpus.until  # no day of test in the corpus
    same = dataclasses.replace(P.tasks, shares=P.tasks.shares | {"valid": P.tasks.shares["test"]})
    with pytest.raises(CatalogError, match="has HD in valid and in test; leave it in one"):
        Facts(*prices(), same)
    days = dataclasses.replace(P.tasks, spans=P.tasks.spans | {"valid": ("2009-12-31", "2012-08-31")})
    with pytest.raises(CatalogError, match="train and valid share days"):
        Facts(*prices(), days)
    with pytest.raises(CatalogError, match="tasks.spans names the splits test, train; it must name train, valid, test"):
        Facts(*prices(), dataclasses.replace(P.tasks, spans={name: P.tasks.spans[name] for name in ("train", "test")}))


def test_labels_of_notes_follow_from_the_printed_figures(items):
    notes = items.filter(pl.col("task") == "sentiment").to_dicts()
    checked = 0
    for row in notes:
        found = re.search(r"([+-]\d+\.\d)%", row["context"])
        if found:
            change = float(found[1])
            assert row["gold"] == ("positive" if change >= 1 else "negative" if change <= -1 else "neutral")
            checked += 1
    assert checked >= 3
    counts = items.filter(pl.col("task") == "sentiment").group_by("split", "gold").len()
    assert counts.group_by("split").agg(pl.col("len").n_unique())["len"].to_list() == [1, 1, 1]


def test_each_headline_has_a_yes_and_a_no(items):
    asked = items.filter(pl.col("task") == "headlines")
    assert asked.group_by("unit").agg(pl.col("gold").sort())["gold"].to_list() == [["No", "Yes"]] * (len(asked) // 2)
    for row in asked.to_dicts():
        if row["label_type"] in ("past", "compare"):
            assert row["gold"] == ("Yes" if {"past": "{prev}", "compare": "{other}"}[row["label_type"]] in row["template"] else "No")
        for direction in ("up", "down", "flat"):
            if row["template"] in HEADLINES[row["split"]][direction] and row["label_type"] in ("up", "down", "flat"):
                assert row["gold"] == ("Yes" if row["label_type"] == direction else "No")


def test_entities_and_relations_stand_in_their_texts(items):
    for row in items.filter(pl.col("task") == "ner").to_dicts():
        words_of = row["text"].split()
        assert len(row["label"]) == len(words_of)
        spans = [name.rpartition(", ") for name in row["gold"].split("\n")]
        begun = [at for at, tag in enumerate(row["label"]) if tag.startswith("B-")]
        assert len(begun) == len(spans)
        for at, (name, _, kind) in zip(begun, spans):
            assert words_of[at : at + len(name.split())] == name.split() and row["label"][at] == f"B-{kind}"
    for row in items.filter(pl.col("task") == "relations").to_dicts():
        assert row["label"] and row["gold"] == "\n".join(row["label"])
        for relation in row["label"]:
            assert all(part in row["context"] for part in relation.partition(": ")[2].split(", "))
    assert offline_notes.tags("Best Buy of New York , Best Buy", {"Best Buy": "ORG", "New York": "LOC"}) == [
        "B-ORG", "I-ORG", "O", "B-LOC", "I-LOC", "O", "B-ORG", "I-ORG"
    ]  # fmt: skip


def test_numbers_are_those_of_the_table(items):
    assert offline_tables.answer("lookup", [1.0, 2.5], 1) == "2.50" and offline_tables.answer("lowest", [3.0, 2.5], 0) == "2.50"
    for row in items.filter(pl.col("task") == "table_qa").to_dicts():
        closes = [float(number) for number in re.findall(r"<td>(\d+\.\d\d)</td>", row["context"])]
        at = next((i for i, day in enumerate(re.findall(r"<td>(\d+ \w+)</td>", row["context"])) if day in row["question"]), 0)
        assert len(closes) == P.tasks.rows and row["gold"] == offline_tables.answer(row["label_type"], closes, at)
    assert items.filter(pl.col("task") == "table_qa").group_by("unit").len()["len"].unique().to_list() == [2]


def test_movements_follow_the_rule_and_show_nothing_of_the_next_day(items, facts):
    at = [offline_tables.movement(100, close, P.tasks) for close in (100.56, 100.54, 99.51, 99.49)]
    assert at == ["Rise", None, None, "Fall"]
    for row in items.filter(pl.col("task") == "stock").to_dicts():
        days, closes = facts.series[row["split"]][row["asset"]]
        place = days.index(date.fromisoformat(row["date"]))
        assert offline_tables.movement(closes[place - 1], closes[place], P.tasks) == row["gold"]
        shown = row["context"].split("\n")
        assert len(shown) == P.tasks.shown + 1 and shown[-1].startswith(f"{days[place - 1]:%m-%d},")
        assert f"{days[place]:%m-%d}," not in row["context"]
    table = offline_tables.stock_table([date(2020, 1, day) for day in range(1, 12)], [*[10.0] * 10, 20.0], 1)
    assert table == "date,close,inc-5,inc-10\n01-11,100.0,-40.0,-45.0"  # means 12 and 11 of a close of 20


def test_words_alone_do_not_tell_the_labels(facts):
    """Wordings of test are new, so a regression on words gets hardly more than the best constant answer, a third."""
    sizes = SIZES | {"sentiment": (300, 6, 300)}
    made = offline.build(facts, dataclasses.replace(P.tasks, sizes=sizes), 0, real()).filter(pl.col("task") == "sentiment")
    train, test = (made.filter(pl.col("split") == split).to_dicts() for split in ("train", "test"))
    said = words(train, test)
    assert sum(said[row["id"]] == row["gold"] for row in test) / len(test) < 0.5
    again = words(train, train)  # the probe does learn: within the wordings of train it gets most
    assert sum(again[row["id"]] == row["gold"] for row in train) / len(train) > 0.75


def test_too_many_items_are_refused(facts):
    with pytest.raises(CatalogError, match="sentiment gives .* different items of train, not 9000; lower tasks.sizes.sentiment"):
        rows = ({"context": str(at % 50), "question": ""} for at in itertools.count())
        offline.take(rows, "sentiment", "train", 9000, set(), True)
    assert len(offline.take(iter([{"context": "A b"}, {"context": "a  B"}]), "fiqa", "train", 5, set(), False)) == 1


def test_german_credit_and_other_files(tmp_path):
    path = tmp_path / "credit.arff"
    head = "@relation x\n@attribute checking_status {'<0', no}\n@attribute personal_status {a}\n@attribute class {good, bad}\n@data\n"
    path.write_text(head + "'<0',a,good\nno,a,bad\n")
    found = offline_real.german(path, 0, (1, 0, 1))
    rows = found["train"] + found["test"]
    assert {(row["context"], row["gold"]) for row in rows} == {("checking status: <0", "good"), ("checking status: no", "bad")}
    path.write_text(head + "'<0',good\n")
    with pytest.raises(CatalogError, match="Row 1 of .* has 2 cells and the class 'good'; it needs 3"):
        offline_real.german(path, 0, (1, 0, 0))
    path.write_text("nothing")
    with pytest.raises(CatalogError, match="is not the German credit table as ARFF"):
        offline_real.german(path, 0, (1, 0, 0))
    other = tmp_path / "fiqa.jsonl"
    other.write_text(json.dumps({"question": "How?"}) + "\n")
    with pytest.raises(CatalogError, match="Line 1 of .* has no question with an answer"):
        offline_real.fiqa(other, P.tasks, 0)
    answer = "A fund holds\u2028many shares."  # a line separator within a string of JSON ends no line
    other.write_text(json.dumps({"question": "How?", "answer": answer}, ensure_ascii=False) + "\n", encoding="utf-8")
    assert [row["gold"] for rows in offline_real.fiqa(other, P.tasks, 0).values() for row in rows] == ["A fund holds many shares."]
    assert offline_real.first_sentences("One two. Three four! Five six.", 4) == "One two. Three four!"
    assert offline_real.first_sentences("One two three. Four.", 2) == "One two three."


def test_the_merge_keeps_the_first_source_and_counts_pairs():
    rows = {
        "tasks": [("t", "train", b"1", "p", "a"), ("t", "train", b"2", "p", "a"), ("t", "train", b"9", "p", "a")],
        "collection": [("t", "train", b"2", "q", "a"), ("t", "train", b"3", "q", "a"), ("t", "train", b"3", "q", "a")],
    }
    kept, counts, pairs = instructions.merge(rows, {b"9": "test"})
    assert [row["id"] for row in kept] == ["tasks:1", "tasks:2", "collection:1"]
    assert counts.rows() == [("tasks", 3, 2), ("collection", 3, 1)]
    assert pairs.rows() == [("collection", "collection", 1), ("tasks", "collection", 1), ("test", "tasks", 1)]


def test_instructions_hold_no_test_text_and_the_prompts_of_the_task_files(items, facts):
    files = tasks.load(instructions.OFFLINE)
    p = dataclasses.replace(P, tasks=dataclasses.replace(P.tasks, sizes=SIZES))
    made = instructions.build(items, facts, instructions.further(facts, p, real(), items), files, P.instructions, 0)
    found = made["items"]
    assert found.columns == ["id", "source", "task", "split", "prompt", "answer"] and found["id"].n_unique() == len(found)
    assert set(found["split"]) == {"train", "valid"} and set(found["source"]) == set(instructions.SOURCES)
    test = items.filter(pl.col("split") == "test")["context"].to_list()
    assert not any(context in prompt for context in test for prompt in found["prompt"] if len(context) > 20)
    sources = dict(made["sources"].select("source", "before").iter_rows())
    assert sources["collection"] == 4 * 12 and made["duplicates"].filter(pl.col("other") == "collection")["n"].sum() > 5
    assert made["sources"]["before"].sum() - made["sources"]["after"].sum() == made["duplicates"]["n"].sum()
    row = items.filter((pl.col("task") == "headlines") & (pl.col("split") == "train")).to_dicts()[0]
    prompt = f"{row['instruction']}\nHeadline: {row['context']}\nQuestion: {row['question']}\nAnswer:"
    assert (prompt, row["gold"]) in found.select("prompt", "answer").rows()
    assert instructions.shortened("a b  c d", 3) == "a b " and instructions.shortened("a b", 3) == "a b"


def test_sums_and_checks_are_right(facts):
    for prompt, answer in instructions.sums(30, 0):
        numbers = [float(number) for number in re.findall(r"\d+(?:\.\d+)?", prompt)]
        a, b = numbers[0], numbers[1]
        right = 100 * (b / a - 1) if "goes from" in prompt else a * b / 100 if prompt.startswith("What is") else a * (1 + b / 100)
        assert float(answer) == pytest.approx(right, abs=0.051 if "goes from" in prompt else 0.0051)
    answers = [answer for _, answer in instructions.checks(facts, 40, 0)]
    assert answers.count("True") == answers.count("False") == 20
    assert all(asset in COMPANIES for asset in facts.names)
