"""What the pages of the app share: the connection and its limits, pictures, the pipeline's graph, formats and CSV."""

import json
import threading
import time

import polars as pl
import pytest
from app_helpers import replace_catalog, visit

from app_lib import browse, data, graph, limited_sql, plots, ui
from catalog.base.errors import CatalogError


def test_a_rebuild_ends_the_queries_still_running_on_the_old_file(shown):
    raised = []

    def ask_slowly() -> None:
        try:
            limited_sql.ask("SELECT count(*) FROM range(1000000) a, range(1000000) b WHERE a.range + b.range = 7")
        except CatalogError as error:
            raised.append(str(error))

    asker = threading.Thread(target=ask_slowly)
    asker.start()
    time.sleep(0.5)
    replace_catalog(shown, "DELETE FROM claims; DELETE FROM systems WHERE system = 'demo_text'")
    assert data.one("SELECT count(*) FROM systems") == 1
    asker.join(timeout=5)
    assert len(raised) == 1 and "rebuilt" in raised[0]


def test_every_named_query_runs(shown):
    for row in data.records("SELECT name, sql FROM queries"):
        assert limited_sql.ask(row["sql"]).frame.width > 0, row["name"]


def test_the_row_cap(shown):
    answer = limited_sql.ask("SELECT * FROM range(100)", max_rows=10)
    assert answer.capped and answer.frame["range"].to_list() == list(range(10))
    assert not limited_sql.ask("SELECT * FROM range(10)", max_rows=10).capped


def test_the_time_limit_stops_a_cross_join_and_the_next_query_runs(shown):
    started = time.perf_counter()
    with pytest.raises(CatalogError, match="stopped after 0.3 seconds"):
        limited_sql.ask("SELECT count(*) FROM range(1000000) a, range(1000000) b WHERE a.range + b.range = 7", max_seconds=0.3)
    assert time.perf_counter() - started < 5
    assert limited_sql.ask("SELECT 1 AS one").frame["one"].to_list() == [1]


def test_an_answer_too_big_to_show_is_refused(shown, monkeypatch):
    monkeypatch.setattr(limited_sql, "MAX_BYTES", 1000)
    with pytest.raises(CatalogError, match="select fewer columns"):
        limited_sql.ask("SELECT repeat('x', 2000)")


def test_values_without_a_column_type_become_text(shown):
    frame = limited_sql.ask("SELECT INTERVAL 1 DAY AS i, 'a'::BLOB AS b, [1, 2] AS l, NULL AS n").frame
    assert frame["i"].dtype == pl.String and frame["b"].to_list() == ["a"]
    assert ui.csv(frame.select("l", "n")) == b'l,n\n"[1, 2]",\n'


def test_pictures_stay_in_reports_and_hold_their_own_data(shown):
    assert plots.find("reports/demo_heads/small/plots/square.png").is_file()
    for path in ("reports/demo_heads/small/plots/none.json", "reports/../params.yaml", "/etc/passwd"):
        with pytest.raises(CatalogError, match="is not there"):
            plots.find(path)
    spec = shown.parent / "reports/demo_heads/small/plots/head_drops.json"
    assert plots.read_vega(spec)["mark"] == "rect"
    for text, said in (
        ("{", "is not JSON"),
        ("[]", "one Vega-Lite object"),
        ('{"data": {"url": "https://x.org"}}', "its own"),
    ):
        spec.write_text(text)
        with pytest.raises(CatalogError, match=said):
            plots.read_vega(spec)


def test_stages_are_joined_by_files_folders_and_parts_of_them():
    stages = [
        {
            "stage": "fetch@a",
            "system": None,
            "desc": 'say "hi"\\',
            "deps": ["stages/fetch.py"],
            "outs": ["data/assets/a"],
        },
        {"stage": "x_data", "system": "x", "desc": None, "deps": ["data/assets/a/part.txt"], "outs": ["data/x/small/"]},
        {
            "stage": "x",
            "system": "x",
            "desc": None,
            "deps": ["data/x/small"],
            "outs": ["reports/x/small/results.parquet"],
        },
        {"stage": "catalog", "system": None, "desc": None, "deps": ["reports/x"], "outs": ["catalog.duckdb"]},
        {"stage": "other", "system": "other", "desc": None, "deps": ["data/xy"], "outs": []},
    ]
    pairs = graph.edges(stages)
    assert pairs == [("fetch@a", "x_data"), ("x", "catalog"), ("x_data", "x")]
    assert graph.upstream({"x"}, pairs) == {"fetch@a", "x_data", "x"}
    assert [graph.kind(row["stage"], row["system"]) for row in stages] == [
        "asset",
        "data",
        "evaluation",
        "catalog",
        "evaluation",
    ]
    drawn = graph.dot(stages, {"fetch@a", "x_data"}, pairs)
    assert '"fetch@a" -> "x_data"' in drawn and '"x"' not in drawn and 'tooltip="say \\"hi\\"\\\\"' in drawn


def test_formats():
    assert [ui.number(value) for value in (None, 0.0, 12345.0, 0.12345, 1234.56, -0.5)] == [
        "–",
        "0",
        "12,345",
        "0.123",
        "1,235",
        "-0.5",
    ]
    assert [ui.size(value) for value in (None, 999, 81234, 988_000_000, 2.5e9)] == [
        "–",
        "999 B",
        "81.2 kB",
        "988 MB",
        "2.5 GB",
    ]
    assert [ui.short_count(value) for value in (7, 2400, 134_515_008, 7e9)] == ["7", "2.4k", "135M", "7B"]
    assert [ui.duration(value) for value in (None, 12.5, 185, 7800)] == ["–", "12.5 s", "3 min 05 s", "2 h 10 min"]
    assert ui.profiles_in_order(["other", "full", "small", "full"]) == ["small", "full", "other"]
    assert ui.esc("a_b\n*c*") == "a\\_b \\*c\\*"
    assert ui.message("Run `dvc repro x_y` in [here]") == "Run `dvc repro x_y` in \\[here\\]"
    assert ui.message("one ` only") == "one \\` only"


def test_csv_does_not_hold_formulas():
    rows = pl.DataFrame({"text": ["=1+1", "plain", "@x", None, "-5"], "value": [-1.5, 2.0, None, 0.0, 1.0]})
    assert ui.csv(rows).decode().splitlines() == ["text,value", "'=1+1,-1.5", "plain,2.0", "'@x,", ",0.0", "'-5,1.0"]


def test_marks_without_a_colour_of_their_own_are_readable_on_both_pages(shown):
    path = shown.parent / "reports/demo_heads/small/plots/head_drops.json"
    spec = json.loads(path.read_text(encoding="utf-8")) | {"config": {"rule": {"color": "red"}, "view": {"stroke": None}}}
    path.write_text(json.dumps(spec), encoding="utf-8")
    app = visit("system", {"system": "demo_heads"})
    drawn = [json.loads(chart.proto.spec) for chart in app.get("vega_lite_chart")]
    config = next(spec["config"] for spec in drawn if "view" in spec.get("config", {}))
    assert config["text"] == {"color": plots.NEUTRAL} and config["rule"] == {"color": "red"} and config["view"] == {"stroke": None}


def test_joined_views_without_a_width_are_drawn_each_as_wide_as_the_card():
    view = {"mark": "bar", "encoding": {"x": {"field": "a", "type": "quantitative"}}}
    joined = {
        "config": {"view": {}},
        "data": {"values": [{"a": 1}]},
        "columns": 2,
        "concat": [{"title": "one"} | view, {"title": "two"} | view],
    }
    one, two = plots._parts(joined)
    assert (one["title"], two["title"]) == ("one", "two") and "concat" not in one and "columns" not in one
    assert one["data"] == joined["data"] and one["config"] == joined["config"] and one["mark"] == "bar"
    assert one["autosize"]["type"] == "fit-x" and plots._stretches(one)
    fixed = joined | {"concat": [{"width": 200} | view, view]}
    assert plots._parts(fixed) == [fixed] and not plots._stretches(fixed)
    faceted = {"facet": {"field": "a"}, "spec": view}
    assert plots._parts(faceted) == [faceted] and not plots._stretches(faceted)


def test_legends_have_as_many_columns_as_fit_a_phone():
    """A letter is taken to be 7 pixels wide and a symbol 34: of names of 6 letters three fit side by side into 300, of 40 letters one."""
    spec = {
        "data": {"values": [{"kind": "abcdef", "long": "x" * 40, "size": 1}]},
        "layer": [
            {"mark": "bar", "encoding": {"color": {"field": "kind", "type": "nominal"}, "x": {"field": "long", "type": "nominal"}}},
            {"mark": "point", "encoding": {"shape": {"field": "long", "type": "nominal", "legend": {"title": None}}}},
            {"mark": "rule", "encoding": {"color": {"field": "kind", "type": "nominal", "legend": None}}},
            {"mark": "rect", "encoding": {"color": {"field": "size", "type": "quantitative"}}},
        ],
    }
    described, (dressed,) = plots._dressed({"title": "T", "description": "D"} | spec)
    bar, point, rule, rect = (layer["encoding"] for layer in dressed["layer"])
    assert bar["color"]["legend"] == {"columns": 3} and "legend" not in bar["x"]
    assert point["shape"]["legend"] == {"columns": 1, "title": None}
    assert rule["color"]["legend"] is None and "legend" not in rect["color"]
    assert described == "D" and not {"title", "description"} & set(dressed)
    assert dressed["config"]["legend"]["orient"] == "bottom"


def test_tables_of_a_system(shown):
    assert browse.system_tables("demo_heads") == {"heads": "Accuracy lost when one head is removed."}
    assert browse.system_tables("no_such_schema") == {}
