"""End a stage when the DVC that started it is gone.

`dvc repro` that is ended by SIGTERM (a closed session, a scheduler, a lack of memory) leaves the stage's process running, since nobody
passes the signal on; the next `dvc repro` then starts a second copy beside it. Linux can signal a process when its parent dies,
but DVC's child is a shell or a launcher as often as the stage itself. So a thread looks after the DVC process, wherever above it stands.
"""

import os
import re
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil

VARIABLE = "DVC_STAGE"  # DVC gives it to the command of a stage, and everything that the command starts inherits it
EXIT_CODE = 143  # of a process that SIGTERM ended


def end_with_starter(interval: float = 1.0) -> None:
    """Watch the DVC process that started this stage; return at once. Without DVC above, nothing is watched.

    Args:
        interval: seconds between two looks.
    """
    if VARIABLE not in os.environ:
        return
    starter = find_starter()
    if starter is None:
        _end()
    threading.Thread(target=_watch, args=(starter, interval), name="end_with_starter", daemon=True).start()


def find_starter() -> psutil.Process | None:
    """Return the process that set the name of this stage: the nearest one above that has another or none. None if it is gone."""
    for process in psutil.Process().parents():
        try:
            if process.environ().get(VARIABLE) == os.environ[VARIABLE]:
                continue
            # An orphan's parent is init or a supervisor. DVC is a program of that name, or some Python that uses it.
            program = Path(next(iter(process.cmdline()), "")).name
            names = (process.name(), program)
            return process if any(re.match("dvc|python|pypy", name, re.IGNORECASE) for name in names) else None
        except psutil.AccessDenied:
            return process
        except psutil.Error:
            return None
    return None


def _watch(starter: psutil.Process, interval: float) -> None:
    """Look every `interval` seconds whether `starter` runs; a number that the system gave to another process does not count."""
    while starter.is_running() and starter.status() != psutil.STATUS_ZOMBIE:
        time.sleep(interval)
    _end()


def _end() -> None:
    """End the processes below this one, then this one. Unfinished files have names of their own; the next run removes them."""
    below = psutil.Process().children(recursive=True)
    for process in below:
        _quietly(process.terminate)
    for process in psutil.wait_procs(below, timeout=3)[1]:
        _quietly(process.kill)
    _quietly(lambda: print("Ended, since the dvc that started this stage is gone; run it again to go on.", file=sys.stderr, flush=True))
    os._exit(EXIT_CODE)


def _quietly(action: Callable[[], object]) -> None:
    """Do what may fail because somebody else was faster."""
    try:
        action()
    except (psutil.Error, OSError):
        pass
