"""Scores of the offline tasks: which answer is used, paired differences by hand, and the printed figures against chance."""

import polars as pl
import pytest

from stages.open_finllms import printed_mcc, task_gains, task_scores, tasks, tasks_report
from stages.open_finllms.answer import SCHEMA


def said(rows):
    """(task, model, mode, id, unit, score, status) as predictions."""
    names = ("task", "model", "mode", "id", "unit", "score", "status")
    return pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String) | {"score": pl.Float64}, orient="row")


def test_paper_reads_the_answer_to_the_prompt_cut_from_the_left():
    rows = [("m", "t", "a", cut, "p", cut, 9, True) for cut in ("context", "left")] + [("m", "t", "b", "context", "p", "whole", 3, False)]
    answers = pl.DataFrame(rows, schema=SCHEMA, orient="row")
    assert dict(task_scores.outputs(answers, "paper").select("id", "output").iter_rows()) == {"a": "left", "b": "whole"}
    assert dict(task_scores.outputs(answers, "strict").select("id", "output").iter_rows()) == {"a": "context", "b": "whole"}


def test_differences_are_paired_by_item_and_averaged_over_tasks():
    rows = [("x", "new", "strict", str(at), f"u{at // 2}", float(at < 3), "ok") for at in range(4)]
    rows += [("x", "old", "strict", str(at), f"u{at // 2}", float(at < 1), "empty") for at in range(4)]
    rows += [("y", "new", "strict", str(at), str(at), 0.5, "ok") for at in range(2)]
    rows += [("y", "old", "strict", str(at), str(at), 0.25, "ok") for at in range(3)]  # the third has no partner
    found = task_gains.compared(task_gains.by_side(said(rows)), ["x", "y"], [(("new", "strict"), ("old", "strict"))], "score")
    assert found["x"]["value"] == 0.5 and found["x"]["n"] == 4 and found["y"]["value"] == 0.25 and found["y"]["n"] == 2
    assert found[task_gains.MEAN] == pytest.approx(
        {"value": 0.375, "n": 6, "tasks": 2} | {k: found[task_gains.MEAN][k] for k in ("low", "high")}
    )
    # Both units of x have one gain among two items, whatever is drawn: units are resampled, not items. Two units that agree say little: a
    # share of 1 - .025 ** .5 of all units may differ.
    assert (found["x"]["low"], found["x"]["high"]) == pytest.approx((0.5 - 0.8419, 1.0), abs=1e-4)
    assert (found["y"]["low"], found["y"]["high"]) == pytest.approx((0.25 - 0.8419, 1.0), abs=1e-4)
    readable = task_gains.compared(task_gains.by_side(said(rows)), ["x"], [(("new", "strict"), ("old", "strict"))], "readable")
    assert readable["x"]["value"] == 1 and task_gains.MEAN not in readable


def test_several_pairs_are_averaged_item_by_item():
    rows = [("x", model, mode, "1", "1", value, "ok") for model, mode, value in
            (("a", "paper", 1.0), ("a", "strict", 0.0), ("b", "paper", 1.0), ("b", "strict", 1.0))]  # fmt: skip
    sides = [((model, "paper"), (model, "strict")) for model in "ab"]
    found = task_gains.differences(task_gains.by_side(said(rows)), "x", sides, "score")
    assert found == {"1": [0.5]}
    rows.pop()  # an item that one pair lacks is in none
    assert task_gains.differences(task_gains.by_side(said(rows)), "x", sides, "score") == {}


def test_the_interval_of_a_mean_of_coins():
    """40 units, half of them 1: a standard error of .079, so an interval of about .34 to .66."""
    values = {str(at): [float(at % 2)] for at in range(40)}
    low, high = task_gains.interval(task_gains.draws(values, "x"))
    assert low == pytest.approx(0.345, abs=0.03) and high == pytest.approx(0.655, abs=0.03)


def test_tables_of_answers_that_are_all_right_or_all_wrong():
    files = tasks.load(tasks.FOLDER / "offline")
    base = {"task": "german", "instruction": "i", "question": "", "choices": ["good", "bad"]}
    train = [base | {"id": f"t{at}", "split": "train", "unit": f"t{at}", "context": "old" if at % 2 else "new",
                     "gold": "bad" if at % 2 else "good"} for at in range(6)]  # fmt: skip
    test = [row | {"id": f"e{at}", "split": "test", "unit": f"e{at}"} for at, row in enumerate(train)]
    items = pl.DataFrame(train + test)
    rows = []
    for model, answer in (("base", lambda row: "hm"), ("first", lambda row: "good"), ("last", lambda row: row["gold"])):
        rows += [(model, "german", row["id"], "context", "p", answer(row), 5, False) for row in test]
    found = task_scores.scored(items, pl.DataFrame(rows, schema=SCHEMA, orient="row"), files)
    table = task_scores.score_table(found, files)

    def value(model, mode, metric):
        return table.filter(model=model, mode=mode, metric=metric)["value"].to_list()

    assert value("last", "strict", "mcc") == [1.0] and value(task_scores.WORDS, "strict", "acc") == [1.0]
    assert value("first", "strict", "mcc") == [0.0] and value("first", "strict", "mcc_50") == [50.0]
    assert value("base", "strict", "acc") == [0.0] and value("base", "paper", "acc") == [0.5]  # the published code puts good in
    assert value("base", "paper", "defaulted") == [1.0]
    assert table.filter(model="last", metric="mcc", mode="strict")["constant"].to_list() == [0.0]
    predictions = task_scores.predictions(found, items)
    assert predictions.height == 4 * 2 * 6
    gains = task_gains.gains(predictions, "base", ("first", "last"), task_scores.WORDS, ["german"])
    flat = gains.filter(comparison="paper less strict", model="all", task="german")
    assert flat["value"].to_list() == [pytest.approx(1 / 6)] and flat["overall"].to_list() == [True]  # .5 of one of three models
    # first says good throughout, half of which is right; the base says nothing that can be read, which the published code takes for good.
    both = {mode: gains.filter(comparison="zero-shot gain", model="first", other="base", mode=mode) for mode in ("paper", "strict")}
    assert {mode: rows["value"].to_list() for mode, rows in both.items()} == {"paper": [0.0], "strict": [0.5]}
    assert gains.filter(comparison="zero-shot", measure="score", model="base").sort("mode")["value"].to_list() == [0.5, 0.0]
    named = [row["experiment"] + row["method"] + row["metric"] for row in tasks_report.results("small", {"gains": gains}, "base")]
    assert len(named) == len(set(named)) and any("zero-shot gain, mode paper" in name for name in named)


def test_printed_figures_that_are_chance():
    table = printed_mcc.table()
    assert table.height == 18 and table.filter(model="FinLLaMA")["chance"].to_list() == [True] * 6
    worst = table.filter(~pl.col("chance"))
    assert worst.select("dataset", "model").rows() == [("taiwan", "LLaMA3-8B")]  # 45.8: worse than chance
    assert worst["mcc"].to_list() == [pytest.approx(-0.084)] and worst["reach"].to_list() == [pytest.approx(1.96 / 1364**0.5, abs=1e-5)]
