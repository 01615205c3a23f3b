"""Unfinished work beside its target: a folder of one process, which nobody takes for the target and which never stays for ever.

What is to become `data/x` is made in `data/.x.1f2e3d4c.tmp/`: on the same disk, so that a rename puts it in place, and under a name that
begins with a dot, which DVC and the readers of this project pass over. The digits are drawn anew each time, so two processes that
write the same target have a folder each; the last to end wins, with all its files.

A process holds a lock on its folder, and the system takes the lock away when the process ends, however it ends. So the next writer of
the same target knows what a killed one left behind, and removes it.
"""

import contextlib
import ctypes
import errno
import os
import re
import secrets
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from catalog.base.errors import CatalogError

try:
    import fcntl
except ImportError:  # no such locks on this system
    fcntl = None

WEEK = 7 * 24 * 3600  # seconds; where there are no locks, a folder that nobody changed for so long is left over
TRIES = 100  # so often another writer of the same target may come first
OLD = "old"  # name, in a scratch folder, of what stood in the target's place; there only while that place is empty


@contextlib.contextmanager
def scratch(path: str | Path) -> Iterator[Path]:
    """Give an empty folder beside `path` that is this block's alone and is removed at its end. What killed processes left is removed first.

    Raises:
        CatalogError: a file stands where the folder of `path` would be.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise CatalogError(
            f"{path} cannot be written, since a file stands where its folder {path.parent} should be; move it away."
        ) from None
    _clear(path)
    folder, lock = _make(path)
    try:
        yield folder
    finally:
        try:
            _put_back(folder, path)
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            if lock is not None:
                os.close(lock)


def put_folder(new: Path, path: Path, old: Path) -> None:
    """Put the folder `new` in the place of `path`, whether a folder stands there or not.

    Linux exchanges the two in one step. Elsewhere the old folder stands at `old`, in the scratch folder, for a moment: the end of the
    scratch folder puts it back if something failed then, and the next `scratch(path)` if the process was killed. Afterwards, what stood at
    `path` is at `new`.

    Raises:
        OSError: it cannot be done.
    """
    for _ in range(TRIES):
        if not os.path.lexists(path):
            if _renamed(new, path):
                return
        elif _exchange(new, path):
            return
        else:
            try:
                os.rename(path, old)
            except FileNotFoundError:  # another writer moves it just now
                continue
            if _renamed(new, path):
                os.rename(old, new)
                return
            shutil.rmtree(old)  # another writer's folder stands there, so this one is out of date
    raise OSError(errno.EBUSY, "Other processes write it all the time", str(path))


def _renamed(folder: Path, path: Path) -> bool:
    """Rename; False if another folder stands there already."""
    try:
        os.rename(folder, path)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        return False
    return True


def _exchange(one: Path, other: Path) -> bool:
    """Let two folders take each other's place in one step; False where the system or its disk cannot do it, or one is gone."""
    if sys.platform != "linux":
        return False
    try:
        renameat2 = ctypes.CDLL(None).renameat2
    except (OSError, AttributeError):  # a C library without it
        return False
    here, exchange = -100, 2  # AT_FDCWD of <fcntl.h>, RENAME_EXCHANGE of <linux/fs.h>
    return renameat2(here, os.fsencode(one), here, os.fsencode(other), exchange) == 0


def _make(path: Path) -> tuple[Path, int | None]:
    """A new scratch folder of `path` and the open lock on it, None where there are no locks."""
    for _ in range(TRIES):
        folder = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
        try:
            folder.mkdir()
            lock = _lock(folder)
            if lock is None or os.path.samestat(os.fstat(lock), folder.stat()):
                return folder, lock
            os.close(lock)
        except (FileExistsError, FileNotFoundError, BlockingIOError):  # another process took it for left over before it was locked
            continue
    raise OSError(errno.EBUSY, "No scratch folder can be made beside it", str(path))


def _lock(folder: Path) -> int | None:
    """The open file whose lock on `folder` ends with this process; None where there are no locks. BlockingIOError: another has it."""
    if fcntl is None:
        return None
    opened = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(opened)
        raise
    except OSError:  # a disk of the network without locks
        os.close(opened)
        return None
    return opened


def _clear(path: Path) -> None:
    """Remove the scratch folders of `path` whose processes have ended; put back what one was killed over."""
    name = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{8}}\.tmp")
    for left in [Path(entry) for entry in os.scandir(path.parent) if name.fullmatch(entry.name)]:
        with contextlib.suppress(OSError):  # in use, of another user, or removed by another process just now
            lock = _lock(left)
            try:
                _put_back(left, path)
                if lock is not None or time.time() - left.stat().st_mtime > WEEK:
                    shutil.rmtree(left, ignore_errors=True)
            finally:
                if lock is not None:
                    os.close(lock)


def _put_back(folder: Path, path: Path) -> None:
    """Put what stood at `path` there again, if its writer got no further than to take it away."""
    if not os.path.lexists(path) and (folder / OLD).exists():
        _renamed(folder / OLD, path)
