"""Statements in addresses: parameters filled in where they are parameters, and nowhere else."""

import duckdb
import pytest
from app_helpers import replace_catalog, visit

from app_lib import data, sql_links
from catalog.database import sql_text

TRICKY = [
    "SELECT '$a', $b, \"$c\", $b -- $d\n, /* $e /* $f */ $g */ $h",
    "SELECT 'it''s $a', e'it\\'s $b', E'\\\\', $c",
    "SELECT $$ $a $$, $tag$ $b $$ $c $tag$, $d::INT, [$e], {'k': $f}, $g+$h",
    'SELECT 1 AS x$a, 2 AS "say ""$b""", $c',
    "SELECT $größe, $_under, $a1",
    "SELECT 1 / $a * $b - -$c",
]


@pytest.mark.parametrize("sql", TRICKY)
def test_parameters_are_those_that_duckdb_finds(sql):
    assert set(sql_text.parameters(sql)) == duckdb.extract_statements(sql)[0].named_parameters


def test_values_become_literals_and_texts_and_comments_stay():
    sql = "SELECT '$p', \"$p\", $p, $n, $f, $b, $z, $other -- $p"
    values = {"p": "it's", "n": -3, "f": 1e-5, "b": True, "z": None}
    filled = sql_text.fill(sql, values)
    assert filled == "SELECT '$p', \"$p\", 'it''s', -3, 1e-05, true, NULL, $other -- $p"
    assert sql_text.fill("SELECT $p", {"p": "$q", "q": "never"}) == "SELECT '$q'"
    for value in ("'; DROP TABLE x; --", "$$", "\\", "ünï\n", "", float("inf"), -2.5, 10**18, None, False):
        assert duckdb.execute(sql_text.fill("SELECT $v AS v", {"v": value})).fetchone() == (value,)


def test_a_statement_has_a_link_where_it_fits_into_an_address():
    assert sql_links.query_params(" SELECT 1 -- 50 % of #1\n") == {"sql": "SELECT 1 -- 50 % of #1"}
    longest = "SELECT 1".ljust(sql_links.MAX_LINK, "1")
    assert sql_links.query_params(longest) == {"sql": longest}
    assert sql_links.query_params(longest + "1") is None and sql_links.query_params("\n") is None


def test_a_claim_whose_rows_have_a_long_statement_has_no_link(shown):
    def links():
        return [link for link in visit("system", {"system": "demo_heads"}).get("page_link") if link.proto.label == "Open the rows"]

    assert len(links()) > 1
    replace_catalog(shown, "UPDATE claims SET sql_rows = 'SELECT ' || repeat('1', 4000)")
    assert links() == []


def test_every_claim_opens_on_the_page_with_its_values(shown):
    rows = data.records("SELECT * FROM claims")
    # The database has filled the parameters in; a claim's view of its rows is what a reader opens first.
    statements = {row[part] for row in rows for part in ("sql_rows", "sql_ours", "sql_against") if row[part]}
    assert len(statements) > 5 and not any("$" in sql for sql in statements)
    for sql in sorted(statements):
        app = visit("sql", sql_links.query_params(sql))
        assert not app.exception and not app.error and not app.warning
        assert app.text_area(key="sql").value == sql.strip()


def test_the_address_fills_parameters_and_a_second_link_is_followed(shown):
    app = visit("sql", {"sql": "SELECT $profile AS p", "profile": "it's"})
    assert app.text_area(key="sql").value == "SELECT 'it''s' AS p" and app.dataframe[0].value["p"].tolist() == ["it's"]
    app.text_area(key="sql").set_value("SELECT 1 AS typed").run()
    assert app.dataframe[0].value["typed"].tolist() == [1]  # what is typed stays
    app.query_params["sql"] = "SELECT 2 AS linked"
    app.run()
    assert app.dataframe[0].value["linked"].tolist() == [2]


def test_a_statement_too_long_or_a_name_unknown_is_said_so(shown):
    for query, said in (({"sql": "x" * 5000}, "too long"), ({"query": "nope"}, "no query called")):
        app = visit("sql", query)
        assert not app.exception and len(app.warning) == 1 and said in app.warning[0].value


def test_a_parameter_without_a_value_is_named(shown):
    app = visit("sql", {"sql": "SELECT $model"})
    assert len(app.error) == 1 and "$model" in app.error[0].value.replace("\\", "")
