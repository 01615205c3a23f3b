"""Free SQL: hostile statements end in time and within memory; what comes back can always be shown; processes end."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import hostile_sql
import pytest
from app_helpers import visit

from app_lib import limited_sql, ui
from catalog.base.errors import CatalogError

SECONDS = 1.0
MEMORY = 500_000_000
CROSS_JOIN = hostile_sql.ENDLESS["cross join"]


class WatchedPool(limited_sql.Pool):
    """A pool that notes the most memory that any of its processes had resident."""

    peak = 0

    def give(self, worker: limited_sql.Worker, usable: bool) -> None:
        try:
            status = Path(f"/proc/{worker.process.pid}/status").read_text()
            self.peak = max([self.peak, *(int(line.split()[1]) * 1024 for line in status.splitlines() if "VmHWM" in line)])
        except OSError:  # ended by itself
            pass
        super().give(worker, usable)


@pytest.fixture(scope="module")
def pool() -> Iterator[WatchedPool]:
    """Few processes with little memory."""
    pool = WatchedPool(MEMORY, most=4)
    yield pool
    pool.close()


def outcome(sql: str, pool: limited_sql.Pool, seconds: float = SECONDS) -> limited_sql.Answer | str:
    """What a reader gets: an answer or a sentence; and no later than a second after the deadline."""
    worker = pool.take(60)  # only the query is timed, and not the start of its process on a busy machine
    pool.give(worker, usable=True)
    started = time.perf_counter()
    try:
        found: limited_sql.Answer | str = limited_sql.ask(sql, max_seconds=seconds, pool=pool)
    except CatalogError as error:
        found = str(error)
        assert found and "\n" not in found and len(found) < 700
    assert time.perf_counter() - started < seconds + 1 + STARTS
    return found


STARTS = 3.0  # seconds that a query may wait for a process, when four end at once on two cores


def test_endless_and_hungry_statements_end_in_time_and_within_memory(shown, pool):
    statements = hostile_sql.ENDLESS | hostile_sql.HUNGRY
    seconds = [0.5 if name in hostile_sql.ENDLESS else SECONDS for name in statements]  # the hungry ones need time to take memory
    with ThreadPoolExecutor(3) as threads:
        said = threads.map(lambda sql, limit: outcome(sql, pool, limit), statements.values(), seconds)
        found = dict(zip(statements, said, strict=True))
    limits = ("stopped after 0.5 seconds", "500 MB of memory", "broke its process off", "over 50 MB")
    for name, said in found.items():
        if name in hostile_sql.ENDLESS:
            assert isinstance(said, str) and any(limit in said for limit in limits), (name, said)
    assert sum(isinstance(said, str) for said in found.values()) > len(found) - 6
    assert pool.peak < MEMORY
    assert limited_sql.ask("SELECT 1 AS one", pool=pool).frame["one"].to_list() == [1]


def test_other_hostile_statements_end_and_give_nothing_away(shown, pool):
    statements = hostile_sql.OTHERS
    with ThreadPoolExecutor(3) as threads:
        found = dict(zip(statements, threads.map(lambda sql: outcome(sql, pool, 10), statements.values()), strict=True))
    assert pool.peak < MEMORY
    for name, said in found.items():
        text = said if isinstance(said, str) else said.frame.write_csv()
        assert str(shown.parent) not in text and "root:" not in text, name
    refused = {
        "COPY",
        "ATTACH",
        "INSTALL",
        "LOAD",
        "SET",
        "RESET",
        "PRAGMA memory",
        "CALL",
        "EXPORT",
        "CHECKPOINT",
        "VACUUM",
    }
    refused |= {"BEGIN", "PREPARE", "EXECUTE", "CREATE MACRO", "USE"}
    assert {name for name, said in found.items() if "the catalog is read only" in str(said)} == refused
    disabled = {
        "IMPORT",
        "read_text",
        "read_csv",
        "read_blob",
        "read_parquet by http",
        "glob",
        "query of text",
        "secrets",
        "extensions",
    }
    assert {name for name, said in found.items() if "disabled by configuration" in str(said)} == disabled
    assert found["ten million rows"].capped and found["ten million rows"].frame.height == limited_sql.MAX_ROWS
    assert not isinstance(found["one cell of 10 MB"], str), found["one cell of 10 MB"]
    assert found["one cell of 10 MB"].frame.item().endswith("x … (cut here; the text has 10000000 characters)")
    assert found["900 columns with one name"].frame.columns[:3] == ["a", "a_1", "a_2"]
    assert "10,000 columns" in found["10,000 columns"] and "shorten it" in found["statement of 5 MB"]
    assert "one statement at a time" in found["several statements"] and "there is none" in found["comments only"]
    assert "does not exist" in found["variable of the process"] and "surrogate" in found["lone surrogate"]
    assert "locked" in found["PRAGMA profiling"] and "read-only" in found["EXPLAIN ANALYZE DELETE"]


@pytest.mark.parametrize("name", hostile_sql.EXOTIC)
def test_every_type_is_shown_and_saved(shown, name):
    app = visit("sql", state={"sql": hostile_sql.EXOTIC[name]})
    assert not app.exception and not app.error, name
    assert len(app.dataframe) == 2
    assert ui.csv(limited_sql.ask(hostile_sql.EXOTIC[name]).frame).count(b"\n") >= 1


def test_values_of_unusual_types(shown):
    def row(name: str) -> tuple[object, ...]:
        return limited_sql.ask(hostile_sql.EXOTIC[name]).frame.row(0)

    assert row("union") == ("1",) and row("infinity") == ("infinity", "-infinity", "infinity")
    assert row("far dates") == ("200000-01-01", "4000-01-01 (BC)", "290000-01-01 00:00:00")
    assert row("nested") == ("{a=[1, 2]}", "{'a': {'b': [{'c': infinity}]}}", "[[1], NULL, []]", "[1, 2]")
    assert row("geometry") == ("POINT (1 2)",) and row("null") == (None, None, None)
    assert row("big numbers")[:2] == (
        "-170141183460469231731687303715884105727",
        "340282366920938463463374607431768211455",
    )
    assert limited_sql.ask("SELECT sum(range) AS s FROM range(5)").frame["s"].to_list() == [10]  # a HUGEINT that fits
    names = limited_sql.ask(hostile_sql.EXOTIC["names"]).frame.columns
    assert names == ["a", "a_1", "a_1_1", "column 4", "_index", "=1+1", "a b", "__index_level_0__", "A"]
    assert ui.csv(limited_sql.ask(hostile_sql.EXOTIC["formulas"]).frame) == b"'@a,'-b,'+c\n'=1+1,'\t=1,'+1\n"


def test_the_path_of_the_catalog_is_never_shown(shown):
    for sql in (
        "PRAGMA database_list",
        "SELECT path, reverse(path) AS r FROM duckdb_databases()",
        "SELECT name, value, reverse(value) AS r FROM duckdb_settings()",
        "SELECT current_setting('allowed_paths') AS a, current_setting('secret_directory') AS s",
        "SELECT * FROM pragma_database_size()",
        "EXPLAIN ANALYZE SELECT * FROM claims",
    ):
        text = limited_sql.ask(sql).frame.write_csv()
        folder = str(shown.parent)
        assert folder not in text and folder[::-1] not in text, sql
        assert str(limited_sql._PROJECT) not in text, sql
    guess = "SELECT count(*) FROM duckdb_databases() WHERE path LIKE '%project%'"
    assert shown.parent.name == "project" and limited_sql.ask(guess).frame.item() == 0
