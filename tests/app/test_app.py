"""The pages of the app: on a demo catalog, an empty one and none; rebuilds; wrong SQL; text that is not trusted."""

import contextlib
import json
import re
import subprocess
import sys
from pathlib import Path

import demo_maps
import duckdb
import pytest
from app_helpers import APP, replace_catalog, texts, visit
from streamlit.testing.v1 import AppTest

from app_lib import data, glossary, graph
from catalog.base import params
from catalog.database import content, db

PAGES = ["overview", "system", "compare", "where", "datasets", "models", "pipeline", "sql"]
PARTS = ["Results", "Tables", "Card", "Parameters", "Pipeline"]


@pytest.fixture(scope="module")
def empty_catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with all tables and no row."""
    path = tmp_path_factory.mktemp("empty") / "catalog.duckdb"
    with duckdb.connect(str(path)) as con:
        con.execute((params.ROOT / "catalog/database/schema.sql").read_text(encoding="utf-8"))
    return path


@pytest.mark.parametrize("page", PAGES)
def test_every_page_renders(shown, page):
    demo_maps.add(shown)
    app = visit(page)
    assert len(app.title) == 1
    assert not app.exception and not app.error and not app.warning and not app.info


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("system", ["demo_heads", "demo_text"])
def test_every_part_of_a_system_renders(shown, system, part):
    app = visit("system", {"system": system, "part": part})
    assert app.title[0].value == {"demo_heads": "Heads of a demo model", "demo_text": "Texts of a demo model"}[system]
    assert not app.exception and not app.error and not app.warning and not app.info


@pytest.mark.parametrize("page, name", [("datasets", "demo_sums"), ("datasets", "demo_letters"), ("models", "demo_base")])
def test_one_data_set_and_one_model(shown, page, name):
    app = visit(page, {page[:-1]: name})
    assert not app.exception and not app.error and not app.warning
    assert "Apache" in texts(app) or "CC" in texts(app)


def test_first_rows_and_meaning_of_columns(shown):
    tables = [frame.value for frame in visit("datasets", {"dataset": "demo_sums"}).dataframe]
    schema = next(table for table in tables if "meaning" in table)
    assert schema["meaning"].tolist() == ["The sum to solve.", "Its result."]
    assert next(table for table in tables if "prompt" in table)["answer"].tolist() == [1, 2, 3, 4, 5]


def test_overview_says_whether_the_main_claim_holds_and_where(shown):
    text = texts(visit("overview"))
    assert "small\\: holds" in text and "full\\: fails" in text
    assert ":orange-badge[**0\\.5** paper]" in text and ":blue-badge[**0\\.45 \\[0\\.4, 0\\.5\\], n \\= 20** ours]" in text


def test_a_claim_shows_its_rule_its_bound_and_its_rows(shown):
    app = visit("system", {"system": "demo_heads"})
    text = texts(app)
    assert ":green[:material/check_circle:] more than a quarter of the accuracy goes" in text
    assert "0\\.45 \\[0\\.4, 0\\.5\\]; must be more than 0\\.25 · n \\= 20 · smallest effect it can see 0\\.05" in text
    assert ":violet[:material/help:] at least 85 % of the answers are right" in text  # undecided, and says so
    assert ":gray-badge[**0\\.1** a guess among ten digits]" in text and "Checks of ours" in text


def test_the_profile_switch_changes_the_figures(shown):
    app = visit("system", {"system": "demo_heads"})
    assert ":blue-badge[**0\\.45 \\[0\\.4, 0\\.5\\], n \\= 20** ours]" in texts(app)
    app.segmented_control[0].set_value("full").run()
    assert ":blue-badge[**0\\.1 \\[0\\.05, 0\\.15\\], n \\= 20** ours]" in texts(app) and not app.exception


def test_compare_ranks_by_the_direction_of_the_metric(shown):
    app = visit("compare", state={"metric": "loss"})
    rows = app.dataframe[0].value
    assert list(zip(rows["rank"], rows["value"], strict=True)) == [(1, 2.0), (2, 2.5), (3, 3.0)]
    assert app.dataframe[1].value["value"].tolist() == [2.0]


def test_an_unknown_name_is_said_so(shown):
    for page, query in (
        ("system", {"system": "nope"}),
        ("datasets", {"dataset": "nope"}),
        ("models", {"model": "no*e"}),
    ):
        app = visit(page, query)
        assert not app.exception and len(app.warning) == 1 and "no" in app.warning[0].value


@pytest.mark.parametrize("page", PAGES)
def test_an_absent_catalog_gives_one_sentence(tmp_path, monkeypatch, page):
    monkeypatch.setenv("CATALOG_DB", str(tmp_path / "none.duckdb"))
    app = visit(page)
    assert not app.exception and len(app.warning) == 1 and len(app.title) == 1
    assert "`make app`" in app.warning[0].value and "`dvc repro -f -s catalog`" in app.warning[0].value


@pytest.mark.parametrize("page", PAGES)
def test_an_empty_catalog_says_what_fills_it(empty_catalog, monkeypatch, page):
    monkeypatch.setenv("CATALOG_DB", str(empty_catalog))
    app = visit(page)
    assert not app.exception and not app.error and not app.warning
    assert len(app.title) == 1
    assert page == "sql" or (len(app.info) == 1 and "`make repro`" in app.info[0].value)


def test_files_that_are_no_catalog_give_one_sentence(tmp_path, monkeypatch):
    (tmp_path / "text.duckdb").write_text("not a database")
    duckdb.connect(str(tmp_path / "blank.duckdb")).close()
    for name in ("text.duckdb", "blank.duckdb"):
        monkeypatch.setenv("CATALOG_DB", str(tmp_path / name))
        app = visit("overview")
        assert not app.exception and len(app.warning) == 1 and name.split(".")[0] in app.warning[0].value


def test_a_rebuild_is_followed_without_a_restart(shown):
    app = visit("overview")
    assert app.metric[0].value == "2"
    replace_catalog(shown, "DELETE FROM claims; DELETE FROM systems WHERE system = 'demo_text'")
    app.run()
    assert app.metric[0].value == "1" and not app.exception


def test_sql_page_runs_what_is_typed(shown):
    app = visit("sql", state={"sql": "SELECT 6 * 7 AS answer, 1 AS a, 2 AS a;"})
    rows = app.dataframe[0].value
    assert rows.iloc[0].tolist() == [42, 1, 2] and list(rows.columns) == ["answer", "a", "a_1"]


def test_the_dictionary_begins_with_the_claims(shown):
    app = visit("sql")
    assert app.selectbox(key="dictionary").value == app.selectbox(key="dictionary").options.index("claims")
    assert {"claim", "verdict", "reported", "ours"} <= set(app.dataframe[1].value["column"])


def test_abbreviations_are_explained_once_beside_the_text_that_uses_them(shown):
    replace_catalog(shown, "UPDATE systems SET summary = 'LoRAs beside DPO'; UPDATE claims SET text = 'DPO-trained: a higher AUC and aucs'")
    helps = [element.help for element in visit("overview").markdown if element.help]
    assert helps[:2] == [f"**LoRA**: {glossary.TERMS['LoRA']}\n\n**DPO**: {glossary.TERMS['DPO']}", f"**AUC**: {glossary.TERMS['AUC']}"]
    assert glossary.of("nothing of the kind, and no DPOX") is None


def test_the_legend_of_the_pipeline_has_the_colours_of_the_stages():
    names = {"fetch@a": "asset", "model@a": "base model", "s_data": "data", "s_train": "training", "s_measure": "measuring"}
    names |= {"s": "evaluation", "catalog": "catalog"}
    assert tuple(names.values()) == graph.KINDS
    stages = [{"stage": name, "system": "s" if name[0] == "s" else None, "desc": None} for name in names]

    def colours(dot):
        found = re.findall(r'^"([^"]+)" \[(fillcolor="#\w+", fontcolor="#\w+")', dot, re.MULTILINE)
        return {names.get(name, name): colour for name, colour in found}

    assert colours(graph.legend(set(graph.KINDS))) == colours(graph.dot(stages, set(names), [])) and len(set(graph.KINDS)) == 7
    assert list(colours(graph.legend({"data", "asset"}))) == ["asset", "data"]


def test_a_named_query_fills_the_editor(shown):
    app = visit("sql")
    app.selectbox(key="named_query").set_value("demo_worst_heads").run()
    assert "demo_heads.heads" in app.text_area(key="sql").value
    assert app.dataframe[0].value["drop"].tolist()[0] == 0.45 and not app.error


@pytest.mark.parametrize(
    "sql, said",
    [
        ("SELEC 1", "syntax error"),
        ("SELECT * FROM nowhere", "nowhere does not exist"),
        ("", "one statement"),
        ("SELECT 1; SELECT 2", "one statement at a time"),
        ("DROP TABLE results", "read only"),
        ("SET threads = 1", "read only"),
        ("COPY results TO '/tmp/x.csv'", "read only"),
        ("ATTACH ':memory:' AS other", "read only"),
        ("SELECT * FROM read_csv('/etc/passwd')", "disabled by configuration"),
        ("SELECT $name", "parameters"),
        ("SELECT '![x](https://example.org/x.png)'::INT", "Could not convert"),
    ],
)
def test_wrong_or_refused_sql_is_one_sentence(shown, sql, said):
    app = visit("sql", state={"sql": sql})
    assert not app.exception and len(app.error) == 1 and len(app.dataframe) == 1  # the dictionary alone
    message = app.error[0].value.replace("\\", "")
    assert said in message and "\n" not in message
    assert "![" not in app.error[0].value.replace("\\[", "")


def test_outputs_that_may_offend_are_folded_and_never_markdown(shown):
    def hostile(app: AppTest) -> bool:
        return any("generation" in frame.value for frame in app.dataframe)

    closed = visit("system", {"system": "demo_text", "part": "Tables"})
    assert len(closed.expander) == 1 and not hostile(closed)
    opened = visit("system", {"system": "demo_text", "part": "Tables"}, {"sensitive_demo_text": True})
    assert hostile(opened) and "<script>" not in texts(opened)
    assert not visit("system", {"system": "demo_heads", "part": "Tables"}).expander


def test_search_and_column_filter_of_a_table(shown):
    state = {"search_demo_text_outputs": "'; drop table", "sensitive_demo_text": True}
    app = visit("system", {"system": "demo_text", "part": "Tables"}, state)
    found = next(frame.value for frame in app.dataframe if "generation" in frame.value)
    assert found["prompt"].tolist() == ["Write another"]
    app = visit("system", {"system": "demo_heads", "part": "Tables"}, {"column_main_results": "method"})
    app.multiselect[0].set_value(["none"]).run()
    assert app.dataframe[0].value["method"].tolist() == ["none"] and not app.exception


def test_hostile_names_are_shown_as_they_are(shown):
    replace_catalog(shown, "UPDATE models SET summary = '**x** ![y](https://example.org/y.png) <b>z</b> :red[w]'")
    text = texts(visit("models"))
    assert "\\*\\*x\\*\\* \\!\\[y\\]\\(https" in text and "\\<b\\>" in text and "\\:red\\[w" in text


def test_no_page_renders_html():
    sources = [APP, *(params.ROOT / "app_pages").glob("*.py"), *(params.ROOT / "app_lib").glob("*.py")]
    assert len(sources) > len(PAGES)
    for source in sources:
        text = source.read_text(encoding="utf-8")
        html = text.count("st.html(") - text.count("st.html(strips.")  # pictures made of numbers alone; see test_strips.py
        html -= text.count("st.html(SCROLL)")  # a constant style
        assert "unsafe_allow" not in text and html == 0 and "st.iframe" not in text, source.name


def test_heavy_libraries_are_not_imported(shown):
    script = (
        "import sys; from streamlit.testing.v1 import AppTest\n"
        f"app = AppTest.from_file({str(APP)!r}, default_timeout=60).run(); assert len(app.title) == 1, app.warning\n"
        f"for page in {PAGES[1:]}: assert not app.switch_page(f'app_pages/{{page}}.py').run().exception\n"
        "heavy = {'torch', 'transformers', 'sdmetrics', 'peft', 'accelerate', 'sklearn', 'dvc'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=params.ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "leaked" not in done.stderr  # of DuckDB, where a thread of ours still runs when Python ends


def test_a_picture_with_a_description_is_drawn_without_a_warning(shown, caplog):
    path = shown.parent / "reports/demo_heads/small/plots/head_drops.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"description": "Bars"}))
    app = visit("system", {"system": "demo_heads"})
    assert not app.exception and not app.warning and app.get("vega_lite_chart") and "Bars" not in caplog.text


def test_a_picture_that_cannot_be_drawn_is_one_sentence(shown):
    (shown.parent / "reports/demo_heads/small/plots/head_drops.json").write_text('{"data": {"url": "https://x.org"}}')
    app = visit("system", {"system": "demo_heads"})
    assert not app.exception and len(app.warning) == 1 and "its own data" in app.warning[0].value


def test_a_database_older_than_the_reports_is_said_on_each_page(demo_catalog, monkeypatch):
    monkeypatch.delenv("CATALOG_DB", raising=False)
    monkeypatch.setenv("CATALOG_ROOT", str(demo_catalog.parent))
    data.outdated.clear()
    for page in ("overview", "datasets"):
        (warning,) = visit(page).warning
        assert "catalog.json" in warning.value.replace("\\", "") and "`dvc repro -s catalog`" in warning.value
    with contextlib.closing(db.connect(demo_catalog)) as con:
        content.write(con, demo_catalog.parent)
    data.outdated.clear()
    assert not visit("overview").warning
    data.outdated.clear()
