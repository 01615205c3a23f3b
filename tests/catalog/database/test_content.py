"""The leaf's recorded output says what the database holds, and whether it is older than the reports; what cannot be opened says why."""

import contextlib
import subprocess
import sys

import demo_project
import duckdb
import pytest

from catalog.base import io, params
from catalog.base.errors import CatalogError
from catalog.database import check, content, db, summary


def held(path):
    with contextlib.closing(duckdb.connect(str(path), read_only=True)) as con:
        return content.tables(con)


def test_two_builds_of_this_project_hold_the_same(tmp_path):
    first, second = (held(db.build(path=tmp_path / f"{name}.duckdb")) for name in "ab")
    assert first == second and len(first) > 20


def test_each_change_of_content_shows_and_the_order_of_rows_does_not(tmp_path):
    path = tmp_path / "t.duckdb"

    def of(*statements):
        path.unlink(missing_ok=True)
        with contextlib.closing(duckdb.connect(str(path))) as con:
            for sql in statements:
                con.execute(sql)
            return content.tables(con)

    table = "CREATE TABLE t (a INTEGER, b VARCHAR)"
    base = of(table, "INSERT INTO t VALUES (1, 'x'), (2, NULL)")
    assert base["main.t"].startswith("2 rows, ")
    assert of(table, "INSERT INTO t VALUES (2, NULL), (1, 'x')") == base
    different = [
        of(table, "INSERT INTO t VALUES (1, 'x'), (2, 'NULL')"),
        of(table, "INSERT INTO t VALUES (1, 'x')"),
        of(table, "INSERT INTO t VALUES (1, 'x'), (1, 'x'), (2, NULL)"),
        of(table, "INSERT INTO t VALUES (1, 'x'), (2, NULL)", "COMMENT ON COLUMN t.a IS 'a number'"),
        of(table.replace("INTEGER", "BIGINT"), "INSERT INTO t VALUES (1, 'x'), (2, NULL)"),
        of(table, "INSERT INTO t VALUES (1, 'x'), (2, NULL)", "CREATE VIEW v AS FROM t"),
    ]
    assert base not in different and len({repr(found) for found in different}) == len(different)


@pytest.fixture
def project(demo_root, monkeypatch):
    """The demo project, built as the leaf builds it, with its database as the project's own."""
    demo_project.change(demo_root, "dvc.yaml", "deps: [reports/demo_heads,", "deps: [catalog, stages, reports/demo_heads,")
    monkeypatch.setattr(params, "ROOT", demo_root)
    monkeypatch.delenv("CATALOG_DB", raising=False)
    build(demo_root)
    return demo_root


def build(root):
    with contextlib.closing(db.connect(db.build(root))) as con:
        content.write(con, root)


def test_readers_say_that_the_database_is_older_than_the_reports(project, capsys):
    assert content.outdated(project) is None
    summary.main()
    assert "main claim" in capsys.readouterr().out
    # As `git pull` or `dvc repro demo_text` would: other numbers lie in reports/.
    source = project / "reports/demo_text/small/results.parquet"
    source.write_bytes((project / "reports/demo_heads/small/results.parquet").read_bytes())
    said = r"^catalog\.duckdb was built from another state of reports/demo_text; renew it with `dvc repro -s catalog`\.$"
    for command in (summary.main, check.main):
        with pytest.raises(CatalogError, match=said):
            command()


def test_a_renewed_database_is_current_and_an_absent_one_says_so(project):
    io.write_text("another card", project / "reports/demo_text/note.md")
    assert "another state of reports/demo_text" in content.outdated(project)
    build(project)
    assert content.outdated(project) is None
    (project / content.FILE).unlink()
    assert content.outdated(project) == (
        "catalog.json, which says what catalog.duckdb was built from, does not exist; renew both with `dvc repro -s catalog`."
    )
    (project / db.FILE).unlink()
    assert content.outdated(project) == (
        "catalog.duckdb does not exist; build it from the committed reports with `dvc repro -f -s catalog`."
    )


@pytest.mark.parametrize("written", ["[]", "{}", "null", '{"inputs": []}'])
def test_a_record_of_another_form_makes_the_database_old(project, written):
    io.write_text(written, project / content.FILE)
    said = "catalog.json does not say what catalog.duckdb was built from; delete it and renew both with `dvc repro -s catalog`."
    assert content.outdated(project) == said
    (project / content.FILE).unlink()
    (project / content.FILE).mkdir()
    assert content.outdated(project).startswith("catalog.json is a folder; delete it")


def test_temporary_files_and_code_elsewhere_make_nothing_old(project):
    for name in ("stages/demo_text/evaluate.py", "stages/__pycache__/x.pyc", "reports/demo_text/.x.tmp"):
        io.write_text("x = 1\n", project / name)
    assert content.outdated(project) is None
    io.write_text("x = 1\n", project / "catalog/database/gather.py")
    assert "another state of catalog;" in content.outdated(project)


def test_another_database_by_catalog_db_is_taken_as_it_is(project, monkeypatch):
    io.write_text("changed", project / "reports/demo_text/note.md")
    monkeypatch.setenv("CATALOG_DB", str(project / db.FILE))
    content.require_current(project)


# What cannot be opened


def test_a_duckdb_file_of_something_else_is_named(tmp_path, monkeypatch):
    path = tmp_path / "other.duckdb"
    duckdb.connect(str(path)).execute("CREATE TABLE results (a INTEGER)").close()
    with pytest.raises(CatalogError, match=r"^other\.duckdb is a DuckDB file but not one of this catalog; build it again"):
        db.connect(path)
    monkeypatch.setenv("CATALOG_DB", str(path))
    with pytest.raises(CatalogError, match=r"not one of this catalog; unset CATALOG_DB or let it name a database of this catalog\.$"):
        db.connect()


def test_a_database_that_another_program_writes_is_not_to_be_built_again(demo_catalog):
    code = "import duckdb, sys; con = duckdb.connect(sys.argv[1]); print(1, flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, str(demo_catalog)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout.readline() == "1\n"
        with pytest.raises(CatalogError) as error:
            db.connect(demo_catalog)
        writer.stdin.close()
    said = str(error.value)
    assert said.startswith("catalog.duckdb is open for writing in another program (") and f"PID {writer.pid}" in said
    assert said.endswith("; close it there.") and "again" not in said
