"""Verdicts: an effect with its interval against a bound, worked out by hand, and on the claims of the demo project."""

import contextlib
import itertools

import demo_project
import pytest

from catalog.base.errors import CatalogError
from catalog.database import cards, claims, db, sql_text

CLAIMS = "stages/demo_heads/claims.yaml"


@pytest.mark.parametrize(
    ("relation", "low", "high", "said"),
    [
        ("above", 0.51, 0.7, "holds"),
        ("above", 0.5, 0.7, "undecided"),  # strict: the bound itself is not above it
        ("above", 0.3, 0.5, "fails"),
        ("at_least", 0.5, 0.7, "holds"),
        ("at_least", 0.3, 0.5, "undecided"),
        ("at_least", 0.3, 0.49, "fails"),
        ("below", 0.3, 0.49, "holds"),
        ("below", 0.3, 0.5, "undecided"),
        ("below", 0.5, 0.7, "fails"),
        ("at_most", 0.3, 0.5, "holds"),
        ("at_most", 0.5, 0.7, "undecided"),
        ("at_most", 0.51, 0.7, "fails"),
        ("between", 0.5, 0.9, "holds"),
        ("between", 0.4, 0.6, "undecided"),
        ("between", 0.8, 0.95, "undecided"),
        ("between", 0.1, 0.95, "undecided"),
        ("between", 0.1, 0.49, "fails"),
        ("between", 0.91, 0.95, "fails"),
    ],
)
def test_the_whole_interval_decides(relation, low, high, said):
    assert claims.verdict(((low + high) / 2, low, high, 10), relation, 0.5, 0.9 if relation == "between" else None) == said


def test_a_bound_of_zero_is_a_bound():
    assert claims.verdict((0.0, -0.5, 0.5, 3), "between", -1.0, 0.0) == "undecided"
    assert claims.verdict((0.3, 0.1, 0.5, 3), "between", -1.0, 0.0) == "fails"
    with pytest.raises(CatalogError, match="needs both bounds"):
        claims.verdict((0.0, -0.5, 0.5, 3), "between", -1.0)


@pytest.mark.parametrize(("share", "said"), [(1.0, "holds"), (0.95, "holds"), (0.94, "undecided"), (0.06, "undecided"), (0.05, "fails")])
def test_order_and_identity_are_tested_by_a_share_of_resamples(share, said):
    assert claims.verdict((share, share, share, 100), "share", 0.95) == said


def test_nothing_measured_is_no_verdict():
    assert claims.verdict(None, "above", 0.0) == "not measured"


def test_one_failing_test_fails_a_claim_and_one_unmeasured_test_leaves_it_open():
    order = ["holds", "undecided", "fails", "not measured"]  # the worse one counts
    for pair in itertools.product(order, repeat=2):
        assert claims.overall(pair) == max(pair, key=order.index)


def test_claims_hold_fail_stay_undecided_or_are_not_measured(con):
    rows = con.execute(
        "SELECT claim, profile, claimed_by, reported, ours, ours_low, n, against_name, against, verdict FROM claims"
    ).fetchall()
    guess = "a guess among ten digits"
    assert rows == [
        ("few-heads", "full", "paper", 0.5, 0.1, 0.05, 20, "random heads", 0.02, "fails"),
        ("few-heads", "small", "paper", 0.5, 0.45, 0.4, 20, "random heads", 0.02, "holds"),
        # Wilson's intervals of 16 and 18 of 20: .584 to .919 and .699 to .972, both around .85.
        ("solves-task", "full", "paper", 0.9, 0.8, pytest.approx(0.583983, abs=1e-6), 20, guess, 0.1, "undecided"),
        ("solves-task", "small", "paper", 0.9, 0.9, pytest.approx(0.698966, abs=1e-6), 20, guess, 0.1, "undecided"),
        ("late-layers", "full", "project", None, None, None, None, None, None, "not measured"),
        ("late-layers", "small", "project", None, None, None, None, None, None, "not measured"),
        ("lower-loss", "small", "paper", None, 2.25, 2.0, 2, "the model before", 3.0, "holds"),
    ]


def test_a_test_keeps_its_bound_its_effect_and_the_smallest_it_could_see(con):
    rows = con.execute(
        "SELECT says, relation, bound, bound_from, value, low, high, n, smallest_effect FROM claim_tests WHERE claim = 'lower-loss'"
    ).fetchall()
    # Two seeds: 2.0 - 3.0 and 2.5 - 3.0.
    assert rows == [("below that of the model before", "below", 0.0, None, -0.75, -1.0, -0.5, 2, 0.25)]


def test_the_stored_sql_runs_as_it_stands_and_gives_the_stored_number(con):
    found = con.execute("SELECT sql_ours, ours, sql_against, against, sql_rows FROM claims").fetchall()
    for ours, value, other, against, rows in found:
        assert con.execute(ours).fetchall()[0][0] == value
        assert other is None or float(con.execute(other).fetchall()[0][0]) == against
        assert con.execute(rows).fetchall()
    for sql, value in con.execute("SELECT sql, value FROM claim_tests").fetchall():
        assert con.execute(sql).fetchall()[0][0] == value
    (rows,) = con.execute("SELECT sql_rows FROM claims WHERE claim = 'few-heads' AND profile = 'small'").fetchone()
    found = con.execute(rows)
    assert "method" in [column[0] for column in found.description] and len(found.fetchall()) == 1  # the result, with all its columns
    (rows,) = con.execute("SELECT sql_rows FROM claims WHERE claim = 'late-layers' AND profile = 'small'").fetchone()
    assert len(con.execute(rows).fetchall()) == 12  # a minimum over the table: all of the table


def test_evidence_names_table_file_and_stage(con):
    rows = con.execute("SELECT claim, table_name, path, stage FROM claim_evidence WHERE profile = 'small' ORDER BY ALL").fetchall()
    assert rows == [
        ("few-heads", "results", "reports/demo_heads/small/results.parquet", "demo_heads"),
        ("late-layers", "heads", "reports/demo_heads/small/tables/heads.parquet", "demo_heads"),
        ("lower-loss", "results", "reports/demo_text/small/results.parquet", "demo_text"),
        ("solves-task", "results", "reports/demo_heads/small/results.parquet", "demo_heads"),
    ]


GUESS = "SELECT 0.1, 0.1, 0.1, 20"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (GUESS, "SELECT value, 1, 1, 1 FROM result", "reads result; a claim reads its own system's tables"),
        (GUESS, "SELECT value, 1, 1, 1 FROM main.results", "reads main.results; a claim reads its own"),
        (GUESS, "SELECT value, ci_low, ci_high, n FROM results", "must give one row; it gives several"),
        (GUESS, "SELECT 0.1, 0.2", "must give four columns, value, low, high and n; it gives 2"),
        (GUESS, "SELECT 'many', 1, 1, 1", "must give finite numbers; it gives 'many'"),
        (GUESS, "SELECT 1e0 / 0, 1, 1, 1", "must give finite numbers; it gives inf"),
        (GUESS, "SELECT 0.1, 'nan'::DOUBLE, 1, 1", "must give finite numbers; it gives nan"),
        (GUESS, "SELECT true, 1, 1, 1", "must give finite numbers; it gives True"),
        (GUESS, "SELECT 0.1, NULL, NULL, 20", "gives 0.1 without its interval or n"),
        (GUESS, "SELECT 0.1, 0.2, 0.3, 20", "do not fit together"),
        (GUESS, "SELECT 0.1, 0.1, 0.1, 0", "do not fit together"),
        (GUESS, "DELETE FROM results", "is wrong SQL"),
        (GUESS, "SELECT 0.1; SELECT 0.2", "must be one SELECT"),
        (GUESS, "SELECT $profil", "uses .profil, which has no value; the parameters are profile, wanted"),
        (GUESS, "SELECT wrong, 1, 1, 1", "is wrong SQL: Binder Error"),
        (
            GUESS,
            "SELECT (SELECT count(*) FROM results), 1, 1, 1 FROM (WITH Results AS (SELECT 1 a) FROM results)",
            "WITH results, which is",
        ),
        (GUESS, "WITH heads AS (SELECT 1 a) SELECT a, a, a, a FROM heads", "names a query of its WITH heads"),
        (GUESS, "WITH drops AS (SELECT 1 a) SELECT a, a, a, a FROM drops", "names a query of its WITH drops"),
        (GUESS, "SELECT (SELECT count(*) FROM runs), 1, 1, 1 FROM (WITH runs AS (SELECT 1 a) FROM runs)", "reads runs; a claim reads"),
        (GUESS, "SELECT count(*), 1, 1, 1 FROM read_csv('/etc/passwd')", r"reads read_csv\(\); of table functions use"),
        (GUESS, "SELECT count(*), 1, 1, 1 FROM glob('*')", r"reads glob\(\)"),
        (GUESS, "SELECT count(*), 1, 1, 1 FROM duckdb_tables()", r"reads duckdb_tables\(\)"),
        (GUESS, "SELECT count(*), 1, 1, 1 FROM query_table('main.results')", r"reads query_table\(\)"),
        (GUESS, "SELECT count(*), 1, 1, 1 FROM (SHOW TABLES)", "uses SHOW, DESCRIBE or SUMMARIZE"),
        (GUESS, "SELECT count(*), 1, 1, 1 FROM (SUMMARIZE results)", "uses SHOW, DESCRIBE or SUMMARIZE"),
        (GUESS, "SELECT count(*), 1, 1, 1 FROM results USING SAMPLE 2", "draws a sample"),
        (GUESS, "SELECT random(), 0, 1, 1", "uses random, which may give something else"),
        (GUESS, "SELECT year(NOW()), 0, 1, 1", "uses now, which may"),
        (GUESS, "SELECT year(current_timestamp), 0, 1, 1", "uses current_timestamp, which may"),
        (GUESS, "SELECT year(today()), length(uuid()), 1, 1", "which may give something else"),
        ('SELECT min(layer) FROM heads WHERE "drop" > 0.9', "SELECT min(layer), 1 FROM heads", "must give one column, the value"),
    ],
)
def test_a_wrong_claim_is_named(demo_root, old, new, said):
    demo_project.change(demo_root, CLAIMS, old, new)
    with pytest.raises(CatalogError, match=said) as error:
        db.build(demo_root)
    assert str(error.value).startswith(f"{CLAIMS}: claims.") and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "sql",
    [
        "WITH RECURSIVE t AS (SELECT 1 AS a UNION ALL SELECT a + 1 FROM t) SELECT max(a), 1, 1, 1 FROM t",
        "SELECT sum(a.range * b.range % 7), 1, 1, 1 FROM range(1000000000) a, range(1000000000) b",
    ],
)
def test_a_query_without_an_end_is_stopped(demo_root, monkeypatch, sql):
    monkeypatch.setattr(claims, "LONGEST", 0.3)
    demo_project.change(demo_root, CLAIMS, GUESS, sql)
    with pytest.raises(CatalogError, match=r"claims.solves-task \(full\): against takes longer than 0.3 seconds and was stopped"):
        db.build(demo_root)


@pytest.mark.parametrize(
    ("view", "said"),
    [
        ("FROM nothing", "views.unused reads nothing"),
        ("SELECT gone FROM results", "views.unused is wrong SQL: Binder Error"),
        ("FROM read_text('/etc/passwd')", r"views.unused reads read_text\(\)"),
        ("SELECT $gone FROM results", "views.unused uses .gone, which has no value"),
        ("WITH results AS (SELECT 1) FROM results", "views.unused names a query of its WITH results"),
    ],
)
def test_a_view_that_no_claim_reads_is_checked_too(demo_root, view, said):
    demo_project.change(demo_root, CLAIMS, "views:\n", f'views:\n  unused: "{view}"\n')
    with pytest.raises(CatalogError, match=said):
        db.build(demo_root)


def test_names_of_a_with_count_where_they_are_in_scope_alone():
    inner = "SELECT (SELECT count(*) FROM x) FROM (WITH x AS (SELECT 1) FROM X)"
    assert sql_text.tables(inner, "q") == ["x"] and sql_text.own_names(inner, "q") == ["x"]
    assert sql_text.tables("WITH a AS (FROM b), b AS (FROM a) FROM a, b", "q") == ["b"]
    assert sql_text.tables("WITH RECURSIVE t AS (SELECT 1 a UNION ALL SELECT a + 1 FROM t) FROM t", "q") == []
    assert sql_text.tables("WITH x AS (SELECT 1) FROM main.x", "q") == ["main.x"]


def test_functions_that_read_their_arguments_alone_are_taken():
    assert sql_text.tables("SELECT unnest([1]), age(d, e) FROM range(3), generate_series(1, 2), unnest([4])", "q") == []


def test_views_that_read_one_another_are_named(demo_root):
    old = "  drops: FROM results WHERE metric = 'accuracy_drop_rel'\n"
    demo_project.change(demo_root, CLAIMS, old, "  drops: FROM more\n  more: FROM drops\n")
    with pytest.raises(CatalogError, match="views.drops reads itself, by way of drops and more; break the circle"):
        db.build(demo_root)


def test_a_query_sees_its_own_system_and_profile_alone(demo_root):
    demo_project.change(demo_root, CLAIMS, GUESS, "SELECT count(*), count(*), count(*), 1 FROM results")
    with contextlib.closing(db.connect(db.build(demo_root))) as con:
        rows = con.execute("SELECT profile, against FROM claims WHERE claim = 'solves-task' ORDER BY profile").fetchall()
    assert rows == [("full", 3.0), ("small", 3.0)]  # nine rows are in the table


def test_a_share_of_resamples_as_a_test(demo_root):
    old = 'effect: ours, at_least: 0.85, bound_from: "paper, Table 2"'
    for share, said in ((0.99, "holds"), (0.5, "undecided"), (0.01, "fails")):
        demo_project.change(demo_root, CLAIMS, old, f'share: "SELECT {share}, 200"')
        old = f'share: "SELECT {share}, 200"'
        with contextlib.closing(db.connect(db.build(demo_root))) as con:
            found = con.execute("SELECT verdict FROM claims WHERE claim = 'solves-task'").fetchall()
        assert found == [(said,), (said,)]
    demo_project.change(demo_root, CLAIMS, old, 'share: "SELECT 1.5, 200"')
    with pytest.raises(CatalogError, match="must lie between 0 and 1"):
        db.build(demo_root)


def test_parameters_are_filled_in_outside_texts_and_comments_only():
    sql = "SELECT $a, '$a', \"$a\" -- $a\nFROM t /* $a */ WHERE b = $b AND c = $c"
    filled = sql_text.fill(sql, {"a": "it's", "b": 0.5, "c": None})
    assert filled == "SELECT 'it''s', '$a', \"$a\" -- $a\nFROM t /* $a */ WHERE b = 0.5 AND c = NULL"


def test_tables_are_those_that_the_parser_finds():
    sql = "WITH x AS (FROM heads) SELECT 'FROM other', (SELECT max(a) FROM s.t) FROM x JOIN results USING (a) -- FROM gone"
    assert sql_text.tables(sql, "x") == ["heads", "results", "s.t"]


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("SELECT a, b FROM t WHERE c = 'x' AND d", "SELECT * FROM t WHERE"),
        ("SELECT max(a), b FROM t GROUP BY b", None),
        ("SELECT a + 1 FROM t", None),
        ("SELECT a FROM t ORDER BY a LIMIT 1", None),
        ("SELECT DISTINCT a FROM t", None),
        ("FROM t SELECT a", "SELECT * FROM t"),
    ],
)
def test_rows_behind_a_number_are_those_its_columns_come_from(sql, rows):
    made = sql_text.whole_rows(sql, "x")
    assert made is None if rows is None else made.startswith(rows)


def test_a_claim_of_a_card_is_tested_at_each_profile(demo_root):
    (heads, _) = cards.systems(demo_root)
    assert [claim["id"] for claim in heads["ledger"]["claims"]] == ["few-heads", "solves-task", "late-layers"]
    assert heads["ledger"]["claims"][2]["where"] is None and heads["ledger"]["claims"][2]["exact"]
