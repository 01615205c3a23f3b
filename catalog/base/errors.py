"""The project's one exception, and the start of every stage: its command line, its end and its memory.

Whatever a user can put right (a parameter, a missing file, a source out of reach) is a `CatalogError` with one
sentence that says what to do. Anything else is a bug and keeps its traceback.
"""

import ctypes
import errno
import inspect
import os
import sys
from collections.abc import Callable

from catalog.base import missing
from catalog.base.orphan import end_with_starter

# What the system refuses and a user can put right.
DENIED = {
    errno.EACCES: "give yourself access to it, or work in a copy of the project that is yours,",
    errno.EPERM: "give yourself access to it, or work in a copy of the project that is yours,",
    errno.EROFS: "work in a copy of the project in a folder that can be written,",
    errno.ENOSPC: "free some space on the disk",
    errno.EDQUOT: "free some of your share of the disk",
}


class CatalogError(Exception):
    """Bad input, a missing file or a missing service. The message is one sentence that says what to do."""


def run(main: Callable[..., None], argv: list[str] | None = None) -> None:
    """Call `main` with the command-line arguments and turn a `CatalogError` into one sentence on stderr.

    Takes as many positional arguments as `main` has parameters (a stage has one, the profile), all strings.

    Args:
        main: the stage's `main`; its parameter names are printed in the usage line.
        argv: arguments without the program's name; `sys.argv[1:]` by default.

    Raises:
        SystemExit: code 1 after a `CatalogError`, where the system denies a file or where an earlier stage has not written one,
            2 for a wrong number of arguments, 130 when interrupted.
    """
    end_with_starter()
    keep_freed_memory()
    argv = sys.argv[1:] if argv is None else argv
    names = list(inspect.signature(main).parameters)
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    module = spec.name if spec is not None else main.__module__
    if len(argv) != len(names):
        print(" ".join(["Usage: python -m", module, *(f"<{name}>" for name in names)]), file=sys.stderr)
        raise SystemExit(2)
    try:
        main(*argv)
    except CatalogError as error:
        print(f"Error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except OSError as error:
        said = _denied(error) or missing.explain(error, module)
        if said is None:
            raise
        print(f"Error: {said}", file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        print("Interrupted; run the same command again to go on.", file=sys.stderr)
        raise SystemExit(130) from None


def _denied(error: OSError) -> str | None:
    """One sentence on a file that the system refuses; None if that is not the error."""
    number, path = missing.read_error(error)
    if number not in DENIED:
        return None
    return f"{path or 'A file'} cannot be used ({os.strerror(number)}); {DENIED[number]} and run this again."


def keep_freed_memory() -> None:
    """Let this process keep the memory of freed tensors for the next ones.

    glibc takes blocks of more than some megabytes from the kernel one by one and gives them back when they are freed, so each large
    tensor is filled page by page anew; on a CPU that takes up to a quarter of a forward pass. Elsewhere than on glibc nothing changes.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # torch asks for huge pages; read at its first tensor
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return
    trim_threshold, top_pad, mmap_max = -1, -2, -4  # names of <malloc.h>
    mallopt(mmap_max, 0)
    mallopt(trim_threshold, 2**31 - 1)
    mallopt(top_pad, 64 * 2**20)
