"""The processes for free SQL: one does not wait for another, dead ones are replaced, none outlives the app."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import duckdb
import hostile_sql
import pytest
from app_helpers import replace_catalog, visit

from app_lib import data, limited_sql, sql_answer, sql_worker
from catalog.base.errors import CatalogError
from catalog.database import db

MEMORY = 500_000_000
CROSS_JOIN = hostile_sql.ENDLESS["cross join"]


def test_a_slow_query_does_not_hold_up_another_session(shown):
    pool = limited_sql.Pool(MEMORY, most=2)
    slow = threading.Thread(target=lambda: pytest.raises(CatalogError, limited_sql.ask, CROSS_JOIN, max_seconds=2, pool=pool))
    slow.start()
    time.sleep(0.3)
    assert limited_sql.ask("SELECT 1 AS one", pool=pool).frame.item() == 1
    assert slow.is_alive()  # the answer came while the slow one ran
    slow.join(10)
    pool.close()


def test_a_query_waits_for_a_free_process_and_says_so_when_there_is_none(shown):
    small = limited_sql.Pool(MEMORY, most=1)
    worker = small.take(60)
    with pytest.raises(CatalogError, match="busy with other queries"):
        small.take(0.2)
    small.give(worker, usable=True)
    assert small.take(1) is worker
    small.give(worker, usable=False)
    small.close()


@pytest.mark.parametrize("kind", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
def test_a_process_that_dies_is_one_sentence_and_another_takes_over(shown, kind):
    small = limited_sql.Pool(MEMORY, most=2)
    worker = small.take(60)
    small.give(worker, usable=True)
    threading.Timer(0.4, os.kill, (worker.process.pid, kind)).start()
    with pytest.raises(CatalogError, match="broke its process off"):
        limited_sql.ask(CROSS_JOIN, max_seconds=20, pool=small)
    assert limited_sql.ask("SELECT 1 AS one", pool=small).frame.item() == 1
    small.close()


def test_a_process_that_died_while_it_waited_is_replaced(shown):
    small = limited_sql.Pool(MEMORY, most=1)
    worker = small.take(60)
    small.give(worker, usable=True)
    worker.process.kill()
    worker.process.wait()
    assert limited_sql.ask("SELECT 1 AS one", pool=small).frame.item() == 1
    small.close()


def test_a_process_that_cannot_start_is_one_sentence(shown, monkeypatch):
    monkeypatch.setattr(limited_sql.sys, "executable", shutil.which("false"))  # it ends at once, as a Python without duckdb would
    small = limited_sql.Pool(MEMORY, most=1)
    with pytest.raises(CatalogError, match="cannot be started"):
        limited_sql.ask("SELECT 1", pool=small)
    small.close()


def test_a_rebuilt_catalog_is_read_by_a_process_that_had_the_old_one(shown):
    small = limited_sql.Pool(MEMORY, most=1)
    assert limited_sql.ask("SELECT count(*) FROM systems", pool=small).frame.item() == 2
    replace_catalog(shown, "DELETE FROM claims; DELETE FROM systems WHERE system = 'demo_text'")
    assert limited_sql.ask("SELECT count(*) FROM systems", pool=small).frame.item() == 1
    small.close()


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_processes_end_with_the_app_even_in_the_middle_of_a_query(shown, how):
    script = (
        "import threading, time\nfrom app_lib import limited_sql\n"
        "pool = limited_sql.Pool(500_000_000, most=2)\nfirst = pool.take(60)\npool.give(first, True)\n"
        f"slow = lambda: limited_sql.ask({CROSS_JOIN!r}, max_seconds=50, pool=pool)\n"
        "threading.Thread(target=slow, daemon=True).start()\ntime.sleep(0.5)\nsecond = pool.take(60)\n"
        "print(first.process.pid, second.process.pid, flush=True)\ntime.sleep(60)"
    )
    app = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=limited_sql._PROJECT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    workers = [int(pid) for pid in app.stdout.readline().split()]
    assert len(set(workers)) == 2 and all(map(_alive, workers))
    app.send_signal(how)
    app.wait()
    app.stdout.close()
    until = time.monotonic() + 5
    while any(map(_alive, workers)) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(map(_alive, workers))


def test_a_process_that_kept_much_memory_is_not_used_again(shown):
    small = limited_sql.Pool(MEMORY, most=2)
    worker = small.take(60)
    request = {"path": str(shown), "max_rows": 1, "max_bytes": 1000, "seconds": 20}
    for sql, spent in (("SELECT 1", False), (hostile_sql.OTHERS["deep CASE"], True)):
        worker.socket.send_bytes(json.dumps(request | {"sql": sql}).encode())
        header = json.loads(worker.socket.recv_bytes())
        assert header["spent"] is spent
        if "error" not in header:
            worker.socket.recv_bytes()
    small.give(worker, usable=False)
    small.close()


def test_a_process_that_nobody_kills_ends_itself(shown):
    worker = limited_sql.Worker(MEMORY)
    assert worker.wait_ready()
    request = {
        "sql": CROSS_JOIN,
        "path": str(shown),
        "max_rows": 1,
        "max_bytes": 1000,
        "seconds": 0.5 - sql_worker._GRACE,
    }
    worker.socket.send_bytes(json.dumps(request).encode())
    try:
        assert worker.process.wait(10) == -signal.SIGALRM
    finally:
        worker.kill()


def _locked_by_another_program(path: Path) -> subprocess.Popen[str]:
    script = f"import duckdb, time; con = duckdb.connect({str(path)!r}); print('open', flush=True); time.sleep(60)"
    other = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert other.stdout.readline() == "open\n"
    return other


def test_absent_locked_and_foreign_files_are_one_true_sentence_each(shown, monkeypatch):
    catalog = sql_worker.Catalog()

    def said(path: Path) -> str:
        with pytest.raises(sql_answer.Refused) as refused:
            catalog.open(str(path), MEMORY)
        return str(refused.value)

    absent, text = shown.with_name("absent.duckdb"), shown.with_name("text.duckdb")
    text.write_text("not a database")
    assert said(absent) == "absent.duckdb does not exist: build it with `dvc repro -f -s catalog`."
    assert "text.duckdb is no database that DuckDB" in said(text) and "build it again" in said(text)
    other = _locked_by_another_program(shown)
    try:
        assert said(shown) == f"{shown.name} is open for writing in another program: close it there, then try again."
        app = visit("overview")
        assert not app.exception and len(app.warning) == 1 and "another program" in app.warning[0].value
        assert "build it again" not in app.warning[0].value
    finally:
        other.kill()
        other.wait()
        other.stdout.close()
    duckdb.connect(str(shown.with_name("blank.duckdb"))).close()
    with catalog.open(str(shown.with_name("blank.duckdb")), MEMORY) as con:
        with pytest.raises(duckdb.CatalogException, match="claims does not exist"):
            sql_answer.answer(con, "SELECT * FROM claims", 10, 1000)
    assert catalog.open(str(shown), MEMORY).execute("SELECT count(*) FROM systems").fetchone() == (2,)
    catalog.close()


CAUSES = {  # what DuckDB says -> words of the true cause, in the sentences of the app and of the other commands
    'Could not set lock on file "/a/c.duckdb": Conflicting lock is held in /bin/python3 (PID 7). See also …': "open for writing",
    'Cannot open file "/a/c.duckdb": Permission denied': "(cannot|may not) be read",
    "The file exists, but it is not a valid DuckDB database file!": f"build it again: `{db.BUILD}`|build it again with `{db.BUILD}`",
}


@pytest.mark.parametrize("said", CAUSES)
def test_the_app_and_the_other_commands_name_the_same_cause(said):
    # The process for SQL imports nothing of `catalog`, so that it starts soon; hence there are two functions.
    error = duckdb.IOException(f"IO Error: {said}")
    for sentence in (sql_answer.cannot_open(error, "c.duckdb"), db._why_closed("c.duckdb", error, f"build it again: `{db.BUILD}`")):
        assert [cause for cause, words in CAUSES.items() if re.search(words, sentence)] == [said], sentence


def test_the_app_and_the_other_commands_say_how_to_build_an_absent_catalog(tmp_path):
    with pytest.raises(CatalogError) as other:
        db.connect(tmp_path / "c.duckdb")
    for sentence in (str(other.value), sql_answer.cannot_open(FileNotFoundError(), "c.duckdb")):
        assert "c.duckdb does not exist" in sentence and f"`{db.BUILD}`" in sentence


def test_a_running_page_query_ends_when_the_catalog_is_rebuilt(shown):
    raised = []

    def read() -> None:
        try:
            data.table(CROSS_JOIN)
        except CatalogError as error:
            raised.append(str(error))

    reader = threading.Thread(target=read)
    reader.start()
    time.sleep(0.5)
    replace_catalog(shown, "DELETE FROM claims; DELETE FROM systems WHERE system = 'demo_text'")
    assert data.one("SELECT count(*) FROM systems") == 1
    reader.join(timeout=5)
    assert len(raised) == 1 and "rebuilt" in raised[0]


def test_the_worker_imports_no_heavy_library():
    script = "import sys, app_lib.sql_worker; print({'torch', 'polars', 'streamlit', 'pandas'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], cwd=limited_sql._PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
