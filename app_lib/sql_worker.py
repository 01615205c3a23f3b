"""The process in which the statements of users run: `python -m app_lib.sql_worker FD PARENT MEMORY_BYTES`.

DuckDB alone cannot keep a statement within limits: constant folding and scalar functions cannot be interrupted, and
lists and long texts are allocated past its `memory_limit`. Hence a process that can be killed, with a limit that the
kernel keeps. It reads one request after another from a socket, and answers each with a header in JSON and, where there
are rows, a second message with them in Arrow's stream format.

The limit is RLIMIT_DATA and not RLIMIT_AS: DuckDB and glibc reserve a gigabyte of addresses before the first query and
crash when the reservation fails, while RLIMIT_DATA counts what can really be written to. On Linux both DuckDB's and
Arrow's failed allocations then end in an error.

The catalog is read from a private copy, whose name is removed as soon as it is open, because DuckDB tells the path of
its file to anybody who asks (`PRAGMA database_list`). The copy takes milliseconds, since the catalog has a few MB.

Only DuckDB and Arrow are imported, so that a new process is ready in a third of a second.
"""

import ctypes
import fcntl
import json
import os
import re
import resource
import shutil
import signal
import sys
import tempfile
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

MAX_COLUMNS = 1_000
MAX_CELL = 100_000  # characters; the longest text of the catalog, a card, has a third of it
MAX_NAME = 200  # characters of a column's name, which may be a whole expression
_BATCH = 1_024  # rows
_GRACE = 2.0  # seconds after the deadline at which a process whose parent did not kill it ends itself
_SHARE = 0.5  # of the memory for what DuckDB accounts for; the rest is for what it does not

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_READING = {duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN, duckdb.StatementType.PRAGMA}
_NUMBERS = {"boolean", "float", "double", "decimal"} | {
    f"{sign}{size}int" for sign in ("", "u") for size in ("tiny", "small", "big")
} | {"integer", "uinteger"}
_WIDE = {"hugeint", "uhugeint"}  # the type of sum() over integers: numbers where 64 bits hold all of them


class Refused(Exception):
    """A statement that is not run or not answered; the text is the sentence that the user reads."""


def one_line(error: Exception) -> str:
    """Return a DuckDB error as one line, without the excerpt of the query that follows it."""
    text = " ".join(str(error).split("\n\nLINE ")[0].split("\nLINE ")[0].split())
    return text if len(text) <= 500 else f"{text[:500]} …"


def cannot_open(error: Exception, name: str) -> str:
    """Return the sentence for a catalog that DuckDB cannot open."""
    if isinstance(error, BlockingIOError) or "Could not set lock" in str(error):
        return f"{name} is open for writing in another program: close it there, then try again."
    if isinstance(error, PermissionError) or "Permission denied" in str(error):
        return f"{name} may not be read by the user who runs the app: change its permissions."
    if isinstance(error, FileNotFoundError):
        return f"{name} does not exist: build it with `dvc repro -s catalog`."
    return f"{name} is no database that DuckDB {duckdb.__version__} can read: build it again with `dvc repro -f -s catalog`."


class Catalog:
    """The copy of a catalog that is open now."""

    def __init__(self) -> None:
        self.con: duckdb.DuckDBPyConnection | None = None
        self.origin: tuple[str, int, int, int] | None = None
        self.folder = ""  # of the copy

    def open(self, path: str, memory: int) -> duckdb.DuckDBPyConnection:
        """Return a new connection to the catalog at `path` as it is now.

        Raises:
            Refused: it is absent, locked, or not a database.
        """
        try:
            status = os.stat(path)
            origin = (path, status.st_mtime_ns, status.st_size, status.st_ino)
            if self.con is None or origin != self.origin:
                self.close()
                self.con = self._open_copy(path, memory)
                self.origin = origin
        except (OSError, duckdb.Error) as error:
            raise Refused(cannot_open(error, Path(path).name)) from None
        return self.con.cursor()

    def close(self) -> None:
        """Forget the copy."""
        if self.con is not None:
            self.con.close()
        self.con = self.origin = None

    def _open_copy(self, path: str, memory: int) -> duckdb.DuckDBPyConnection:
        self.folder = tempfile.mkdtemp()
        copy = f"{self.folder}/{Path(path).name}"
        try:
            with open(path, "rb") as source, open(copy, "wb") as target:
                fcntl.lockf(source, fcntl.LOCK_SH | fcntl.LOCK_NB)  # the lock of DuckDB's own readers
                shutil.copyfileobj(source, target, 1 << 20)
            config = {
                "enable_external_access": "false",
                "lock_configuration": "true",
                "memory_limit": f"{int(memory * _SHARE)}B",
                "threads": str(min(2, os.cpu_count() or 1)),
                "temp_directory": "",  # a query that does not fit fails, and does not fill the disk
                "autoinstall_known_extensions": "false",
                "autoload_known_extensions": "false",
                "python_enable_replacements": "false",  # or `FROM name` reads variables of this module
            }
            return duckdb.connect(copy, read_only=True, config=config)
        finally:
            shutil.rmtree(self.folder)


def answer(con: duckdb.DuckDBPyConnection, sql: str, max_rows: int, max_bytes: int) -> tuple[dict[str, Any], pa.Table]:
    """Run one reading statement.

    Returns:
        names (of the columns, each one once), capped (there are more rows), cut (there are longer texts); the rows.

    Raises:
        Refused: not one reading statement, or an answer too big to show.
        duckdb.Error: SQL that is wrong, or that the settings forbid.
    """
    kinds = [statement.type for statement in con.extract_statements(sql)]
    if len(kinds) != 1:
        raise Refused("Write one statement: there is none here." if not kinds else "Write one statement at a time.")
    if kinds[0] not in _READING:
        raise Refused("Write a SELECT, DESCRIBE, SUMMARIZE, SHOW or EXPLAIN statement: the catalog is read only.")
    rows = con.sql(sql)
    if rows is None:
        raise Refused("This statement has no rows to show: write a SELECT.")
    if len(rows.columns) > MAX_COLUMNS:
        raise Refused(f"The answer has {len(rows.columns):,} columns and a page shows at most {MAX_COLUMNS:,}: name those you need.")
    kinds = [kind.id for kind in rows.types]
    shown = rows.project(", ".join(f"{_plain(place, str(kind))} AS c{place}" for place, kind in enumerate(rows.types)))
    shown = shown.project(", ".join(_short(place, kind) for place, kind in enumerate(kinds))).limit(max_rows + 1)
    batches, size = [], 0
    reader = shown.to_arrow_reader(_BATCH)
    for batch in reader:
        size += batch.nbytes
        if size > max_bytes:
            raise Refused(f"The answer is over {max_bytes / 1e6:g} MB: select fewer columns or add a LIMIT.")
        batches.append(batch)
    table = pa.Table.from_batches(batches, reader.schema)
    cut = [place for place, kind in enumerate(kinds) if kind not in _NUMBERS]
    was_cut = any(pc.any(pc.greater(pc.utf8_length(table.column(place)), MAX_CELL)).as_py() for place in cut)
    for place, kind in enumerate(kinds):
        if kind in _WIDE:
            table = table.set_column(place, f"c{place}", _as_integers(table.column(place)))
    header = {"names": _names(rows.columns), "capped": table.num_rows > max_rows, "cut": was_cut}
    return header, table.slice(0, max_rows)


def _plain(place: int, kind: str) -> str:
    """The SQL of a column: numbers and texts as they are, every other type as its text in SQL.

    Dates and times too: they may be infinite or beyond the year 9999, which neither the page nor its CSV can hold.
    """
    return f"#{place + 1}" if kind == "VARCHAR" or kind.split("(")[0].lower() in _NUMBERS else f"CAST(#{place + 1} AS VARCHAR)"


def _short(place: int, kind: str) -> str:
    """The SQL of a column without what a cell cannot show of a long text."""
    name = f"c{place}"
    if kind in _NUMBERS:
        return name
    mark = f"' … (cut here; the text has ' || length({name}) || ' characters)'"
    return f"CASE WHEN length({name}) > {MAX_CELL} THEN left({name}, {MAX_CELL}) || {mark} ELSE {name} END AS {name}"


def _as_integers(column: pa.ChunkedArray) -> pa.ChunkedArray:
    try:
        return column.cast(pa.int64())
    except pa.ArrowInvalid:
        return column


def _names(columns: list[str]) -> list[str]:
    """Return names that can be shown and differ, which those of a SELECT need not: a, a becomes a, a_1."""
    names: list[str] = []
    taken: set[str] = set()
    for place, column in enumerate(columns):
        visible = _CONTROL.sub(" ", column).strip() or f"column {place + 1}"
        first = name = visible if len(visible) <= MAX_NAME else f"{visible[:MAX_NAME]} …"
        repeat = 0
        while name in taken:
            repeat += 1
            name = f"{first}_{repeat}"
        names.append(name)
        taken.add(name)
    return names


def _without(table: pa.Table, folder: str) -> pa.Table:
    """Return the rows without the folder of the copy, whose name means nothing to the reader."""
    for place, field in enumerate(table.schema):
        if pa.types.is_string(field.type) or pa.types.is_large_string(field.type):
            table = table.set_column(place, field.name, pc.replace_substring(table.column(place), f"{folder}/", ""))
    return table


def _stream(table: pa.Table) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return sink.getvalue()


def respond(catalog: Catalog, request: dict[str, Any], memory: int) -> tuple[dict[str, Any], pa.Buffer | None]:
    """Return the header and the rows in Arrow's stream format.

    Where the statement failed, the header has `error`, the sentence for the reader, and `spent`: use another process.
    """
    too_much = f"The query needs more than the {memory / 1e6:,.0f} MB of memory that it may use: ask for less at once."
    try:
        con = catalog.open(request["path"], memory)
        with con:
            header, table = answer(con, request["sql"], request["max_rows"], request["max_bytes"])
        return header, _stream(_without(table, catalog.folder))
    except Refused as error:
        return {"error": str(error), "spent": False}, None
    except (MemoryError, duckdb.OutOfMemoryException):
        return {"error": too_much, "spent": True}, None
    except (duckdb.InternalException, duckdb.FatalException):
        return {"error": "DuckDB failed on this statement with an internal error: write it another way.", "spent": True}, None
    except duckdb.Error as error:
        if "bad_alloc" in str(error) or "bad allocation" in str(error):
            return {"error": too_much, "spent": True}, None
        return {"error": one_line(error).replace(f"{catalog.folder}/", ""), "spent": False}, None
    except Exception as error:  # a type that Arrow cannot hold, text that is not Unicode: never a traceback on the page
        return {"error": f"The answer cannot be shown ({type(error).__name__}).", "spent": True}, None


def die_with(parent: int) -> None:
    """Let the kernel kill this process when the thread that started it ends; elsewhere the socket's end does it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        sys.exit()


def main(fd: int, parent: int, memory: int) -> None:
    """Answer requests until the app is gone."""
    die_with(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ctrl+C is for the app
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    app, catalog = Connection(fd), Catalog()
    app.send_bytes(b"ready")
    while True:
        try:
            request = json.loads(app.recv_bytes())
        except EOFError:
            return
        # Without a handler the signal ends the process, even where DuckDB holds Python's lock.
        signal.setitimer(signal.ITIMER_REAL, request["seconds"] + _GRACE)
        header, rows = respond(catalog, request, memory)
        app.send_bytes(json.dumps(header).encode())
        if rows is not None:
            app.send_bytes(rows)
        signal.setitimer(signal.ITIMER_REAL, 0)


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:4]))
