"""Free SQL with limits: one reading statement, at most so many rows, so many seconds and so much memory.

The statement runs in a process of its own (`sql_worker`), which is killed at the deadline. One is always kept ready, so
that an ordinary query does not wait for its start, and several may run at once, so that a slow query of one visitor
does not hold up the others.
"""

import atexit
import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from multiprocessing import Pipe
from pathlib import Path

import polars as pl
import pyarrow as pa

from app_lib import data
from app_lib.sql_answer import MAX_CELL, one_line
from catalog.base.errors import CatalogError

__all__ = ["MAX_CELL", "MAX_ROWS", "MAX_SECONDS", "Answer", "Pool", "ask", "one_line", "warm"]

MAX_ROWS = 5_000
MAX_SECONDS = 10.0
MAX_BYTES = 50_000_000  # of an answer
MAX_STATEMENT = 1_000_000  # characters
MEMORY = 1_000_000_000  # bytes a process; an idle one has taken 0.24 GB of them
MOST = 3  # processes at once
_START_SECONDS = 30.0  # until a process is ready, on a very busy machine
_TICK = 0.1  # seconds between two looks whether the catalog was rebuilt
_KEPT = ("PATH", "TMPDIR", "LD_LIBRARY_PATH", "TZ")
# Arrow's own allocator reserves a gigabyte at once, which would count. No folder of the user's is named.
_ENVIRONMENT = {"HOME": "/", "ARROW_DEFAULT_MEMORY_POOL": "system", "MALLOC_ARENA_MAX": "2"}
_PROJECT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Answer:
    """Rows of a query, whether the row cap cut them, the seconds it took, and whether long texts were cut."""

    frame: pl.DataFrame
    capped: bool
    seconds: float
    cut: bool


class Worker:
    """One process and the socket to it."""

    def __init__(self, memory: int) -> None:
        self.socket, theirs = Pipe()
        with theirs:
            command = [sys.executable, "-m", "app_lib.sql_worker", str(theirs.fileno()), str(os.getpid()), str(memory)]
            command.append(str(data.catalog_path().absolute()))
            self.process = subprocess.Popen(
                command,
                cwd=_PROJECT,
                env=_ENVIRONMENT | {name: os.environ[name] for name in _KEPT if name in os.environ},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        self.ready = False

    def wait_ready(self) -> bool:
        """Return whether the process is there to take a request; a dead one never is."""
        try:
            self.ready = self.ready or (self.socket.poll(_START_SECONDS) and self.socket.recv_bytes() == b"ready")
        except (EOFError, OSError):
            return False
        return self.ready and self.process.poll() is None

    def kill(self) -> None:
        """End the process, whatever it does."""
        self.process.kill()
        self.process.wait()
        self.socket.close()


class Pool:
    """At most `most` processes, of which one is kept ready and at most two wait."""

    def __init__(self, memory: int = MEMORY, most: int = MOST) -> None:
        self.memory, self.most = memory, most
        self._idle: list[Worker] = []
        self._count = 0  # idle, busy and starting
        self._changed = threading.Condition()
        self._keeper: threading.Thread | None = None

    def warm(self) -> None:
        """Begin to start a process, if none is ready."""
        with self._changed:
            if self._keeper is None:
                # The kernel ends a process with the *thread* that started it: it must not be one of Streamlit's, which
                # end with each run of a page.
                self._keeper = threading.Thread(target=self._keep, name="sql-workers", daemon=True)
                self._keeper.start()

    def take(self, seconds: float) -> Worker:
        """Return a process that is ready, waiting for one if need be.

        Raises:
            CatalogError: all are busy, or none can be started.
        """
        self.warm()
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            with self._changed:
                if not self._changed.wait_for(lambda: self._idle, until - time.monotonic()):
                    break
                worker = self._idle.pop()
                self._changed.notify_all()
            if worker.wait_ready():
                return worker
            self.give(worker, usable=False)
            if worker.process.returncode > 0:  # ended by itself, not by a signal
                raise CatalogError("The process for SQL cannot be started: stop the app and run `make app` again.")
        raise CatalogError(f"All {self.most} processes for SQL are busy with other queries: try again in some seconds.")

    def give(self, worker: Worker, usable: bool) -> None:
        """Take a process back, or end it and let another one start."""
        with self._changed:
            usable = usable and len(self._idle) < 2
            if usable:
                self._idle.append(worker)
                self._changed.notify_all()
        if not usable:
            worker.kill()
            with self._changed:
                self._count -= 1
                self._changed.notify_all()

    def close(self) -> None:
        """End the processes and the thread that starts them."""
        with self._changed:
            self.most = 0
            idle, self._idle = self._idle, []
            self._changed.notify_all()
        for worker in idle:
            worker.kill()
        if self._keeper is not None:
            self._keeper.join()  # processes that are busy with a query end with it

    def _keep(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: not self.most or (not self._idle and self._count < self.most))
                if not self.most:
                    return
                self._count += 1
            try:
                worker = Worker(self.memory)
            except OSError:  # no memory or no more processes: perhaps later
                worker = None
                time.sleep(1)
            with self._changed:
                if worker is None:
                    self._count -= 1
                elif self.most:
                    self._idle.append(worker)
                else:
                    worker.kill()
                self._changed.notify_all()


_POOL = Pool()
# A thread that still runs when Python ends keeps objects of DuckDB alive, and DuckDB then prints a page about leaks.
atexit.register(_POOL.close)


def warm() -> None:
    """Start the process for the first query, so that it is ready when a visitor asks."""
    _POOL.warm()


def ask(sql: str, max_rows: int | None = None, max_seconds: float | None = None, pool: Pool | None = None) -> Answer:
    """Run one SELECT typed by a user on the read-only catalog.

    Args:
        sql: one statement; `;` at its end is allowed.
        max_rows: rows beyond this are not fetched.
        max_seconds: wall-clock limit, after which the process of the query is killed.
        pool: the processes to use; by default those that all visitors of the app share.

    Raises:
        CatalogError: not one SELECT, refused or wrong SQL, over a limit, no catalog, or one rebuilt meanwhile.
    """
    seconds = MAX_SECONDS if max_seconds is None else max_seconds
    if len(sql) > MAX_STATEMENT:
        raise CatalogError(f"The statement has {len(sql):,} characters and may have {MAX_STATEMENT:,}: shorten it.")
    if any("\ud800" <= sign <= "\udfff" for sign in sql):
        raise CatalogError("The statement has half a surrogate pair, which is no character: delete it.")
    stamp = data.version()
    rows = MAX_ROWS if max_rows is None else max_rows
    path = data.catalog_path().absolute()
    request = {"sql": sql, "path": str(path), "max_rows": rows, "max_bytes": MAX_BYTES, "seconds": seconds}
    pool = pool or _POOL
    worker = pool.take(_START_SECONDS)
    usable = False
    try:
        started = time.perf_counter()
        worker.socket.send_bytes(json.dumps(request).encode())
        while not worker.socket.poll(max(0.0, min(_TICK, started + seconds - time.perf_counter()))):
            if time.perf_counter() - started >= seconds:
                raise CatalogError(f"The query was stopped after {seconds:g} seconds: ask for less at once.")
            if data.stamp(path) != stamp:
                raise CatalogError("The catalog was rebuilt while this query ran: run it again.")
        header = json.loads(worker.socket.recv_bytes())
        usable = not header["spent"]
        if "error" in header:
            raise CatalogError(header["error"])
        table = pa.ipc.open_stream(worker.socket.recv_bytes()).read_all()
    except (EOFError, OSError):
        usable = False
        raise CatalogError(
            "The query broke its process off, as a lack of memory or stack does: ask for less at once, or nest less."
        ) from None
    finally:
        pool.give(worker, usable)
    took = time.perf_counter() - started
    frame = pl.DataFrame(pl.from_arrow(table)).rename(dict(zip(table.column_names, header["names"], strict=True)))
    return Answer(frame, header["capped"], took, header["cut"])
