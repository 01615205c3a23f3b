"""The process in which the statements of users run: `python -m app_lib.sql_worker FD PARENT BYTES FILE`.

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

from app_lib.sql_answer import Refused, answer, cannot_open, one_line

_GRACE = 2.0  # seconds after the deadline at which a process whose parent did not kill it ends itself
_SHARE = 0.5  # of the memory for what DuckDB accounts for; the rest is for what it does not


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

    Where the statement failed, the header has `error`, the sentence for the reader; `spent` means: use another process.
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
        said = "DuckDB failed on this statement with an internal error: write it another way."
        return {"error": said, "spent": True}, None
    except duckdb.Error as error:
        if "bad_alloc" in str(error) or "bad allocation" in str(error):
            return {"error": too_much, "spent": True}, None
        return {"error": one_line(error).replace(f"{catalog.folder}/", ""), "spent": False}, None
    except Exception as error:  # a type that Arrow cannot hold, text that is not Unicode: never a traceback on the page
        return {"error": f"The answer cannot be shown ({type(error).__name__}).", "spent": True}, None


def _counted() -> int:
    """The bytes that count against RLIMIT_DATA now; 0 where the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
    except OSError:
        return 0


def die_with(parent: int) -> None:
    """Let the kernel kill this process when the thread that started it ends; elsewhere the socket's end does it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        sys.exit()


def main(fd: int, parent: int, memory: int, path: str) -> None:
    """Open the catalog, say so, and answer requests until the app is gone."""
    die_with(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ctrl+C is for the app
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    app, catalog = Connection(fd), Catalog()
    # The first query takes ten times as long as the others. If the catalog cannot be opened, the next request says why.
    respond(catalog, {"sql": "SELECT 1, 'x'", "path": path, "max_rows": 1, "max_bytes": 1_000}, memory)
    worn = (_counted() + memory) / 2  # what a query leaves allocated is lacking to the next one
    app.send_bytes(b"ready")
    while True:
        try:
            request = json.loads(app.recv_bytes())
        except EOFError:
            return
        # Without a handler the signal ends the process, even where DuckDB holds Python's lock.
        signal.setitimer(signal.ITIMER_REAL, request["seconds"] + _GRACE)
        header, rows = respond(catalog, request, memory)
        header["spent"] = header.get("spent", False) or _counted() > worn
        app.send_bytes(json.dumps(header).encode())
        if rows is not None:
            app.send_bytes(rows)
        signal.setitimer(signal.ITIMER_REAL, 0)


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:4]), sys.argv[4])
