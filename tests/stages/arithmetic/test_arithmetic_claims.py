"""The SQL of the claims of arithmetic on signals of the shape that the stages write: each measures one row, and says no when it should."""

from dataclasses import replace

import duckdb
import polars as pl
import pytest
from arithmetic_signals import signals

from catalog.base.params import profile_params
from catalog.database import claims, ledger
from catalog.report import results
from catalog.report.tables import declared
from stages.arithmetic import effects, evaluate, tables
from stages.arithmetic.settings import Params

SMALL = profile_params(Params, "arithmetic", "small")
SMALL = replace(SMALL, measure=replace(SMALL.measure, confirm_heads=2))  # of the three that the signals confirm; the third is random


def verdicts(**changed):
    """Verdict of each claim and of each of its tests, with some signals changed."""
    raw, tuned, coefficients, kept = signals()
    tuned = changed.pop("tuned", lambda table: table)(tuned)
    coefficients = changed.pop("coefficients", lambda table: table)(coefficients)
    raw |= {name: change(raw[name]) for name, change in changed.items()}
    own = tables.build(raw, tuned, coefficients, kept, SMALL)
    rows = evaluate.results("small", own, raw, tuned, SMALL)
    con = duckdb.connect()
    con.register("rows", pl.DataFrame(rows, schema=results.SCHEMA).to_arrow())
    con.execute("CREATE TABLE results AS FROM rows; CREATE SCHEMA arithmetic")
    for name, table in (own | effects.build(raw, tuned, coefficients, kept, SMALL)).items():
        con.register("rows", table.to_arrow())
        con.execute(f"CREATE TABLE arithmetic.{name} AS SELECT 'small' AS profile, * FROM rows")
    card = {"name": "arithmetic", "ledger": ledger.read("arithmetic"), "tables": declared("arithmetic")}
    found = claims.evaluate(con, [card], [])
    tests = {}
    for row in found["claim_tests"]:
        tests.setdefault(row["claim"], []).append(row["verdict"])
    return {row["claim"]: row["verdict"] for row in found["claims"]}, tests


@pytest.fixture(scope="module")
def as_they_are():
    return verdicts()


def test_every_claim_is_measured(as_they_are):
    found, tests = as_they_are
    unmeasured = {claim for claim, verdict in found.items() if verdict == "not measured"}
    assert unmeasured == {"same-drop-memorise"}  # three problems that lose both kinds together have no spread to resample
    assert tests["same-drop-memorise"] == ["undecided", "undecided", "not measured"]


def test_planted_effects_are_found(as_they_are):
    found, tests = as_they_are
    # +: the two heads lie where the paper has them; coefficients, LoRAs and the lowest neuron have large effects on few items
    assert found["same-head-add-sub"] == found["head-feeds-neurons"] == found["lowest-feeds-rest"] == "holds"
    assert found["lora-raises-coefficients"] == found["limited-search"] == "holds"
    assert tests["lora-shallow"] == ["holds", "undecided"]  # six and three of eight
    assert tests["cna-mask"] == ["undecided", "undecided"]  # four of eight
    assert tests["cna-keep"] == ["fails", "undecided"]  # four of eight: at least .215 by Wilson's interval, more than a fifth
    assert tests["few-heads"] == ["undecided", "undecided"] and tests["operation-heads"] == ["undecided"] * 4


def test_false_sentences_do_not_hold():
    swapped = {"-": "*", "*": "-"}  # subtraction rests on the head of division then
    _, tests = verdicts(
        verify=lambda t: t.with_columns(correct=True, coef_drop=0.3 + 0.1 * pl.col("control").cast(int)),
        tuned=lambda t: t.with_columns(correct=(pl.col("layer") == 4).fill_null(value=False)),
        coefficients=lambda t: t.with_columns(coef_tuned=pl.col("coef_tuned") * 0.2),
        heads=lambda t: t.with_columns(pl.col("operation").replace(swapped)),
    )
    assert tests["cna-mask"] == ["fails", "undecided"]  # masking takes no answer
    assert tests["head-feeds-neurons"] == ["holds", "fails"] and tests["lowest-feeds-rest"] == ["holds", "fails"]  # random ones fall more
    assert tests["lora-shallow"] == ["undecided", "fails"]  # only the deep LoRA answers
    assert tests["lora-raises-coefficients"] == ["fails", "holds"]  # both lower them
    assert tests["same-head-add-sub"] == ["fails"]


def test_answers_that_only_random_neurons_keep():
    _, tests = verdicts(verify=lambda t: t.with_columns(correct=pl.col("control")), heads=lambda t: t.filter(pl.col("operation") != "/"))
    assert tests["cna-mask"] == ["holds", "holds"] and tests["cna-keep"] == ["fails", "fails"]
    assert tests["same-head-add-sub"] == ["not measured"] and tests["operation-heads"][3] == "not measured"
