"""The project's one exception, and the command line shared by all stages.

Whatever a user can put right (a parameter, a missing file, a source out of reach) is a `CatalogError` with one
sentence that says what to do. Anything else is a bug and keeps its traceback.
"""

import inspect
import sys
from collections.abc import Callable


class CatalogError(Exception):
    """Bad input, a missing file or a missing service. The message is one sentence that says what to do."""


def run(main: Callable[..., None], argv: list[str] | None = None) -> None:
    """Call `main` with the command-line arguments and turn a `CatalogError` into one sentence on stderr.

    Takes as many positional arguments as `main` has parameters (a stage has one, the profile), all strings.

    Args:
        main: the stage's `main`; its parameter names are printed in the usage line.
        argv: arguments without the program's name; `sys.argv[1:]` by default.

    Raises:
        SystemExit: code 1 after a `CatalogError`, 2 for a wrong number of arguments, 130 when interrupted.
    """
    argv = sys.argv[1:] if argv is None else argv
    names = list(inspect.signature(main).parameters)
    if len(argv) != len(names):
        spec = getattr(sys.modules.get("__main__"), "__spec__", None)
        module = spec.name if spec is not None else main.__module__
        print(" ".join(["Usage: python -m", module, *(f"<{name}>" for name in names)]), file=sys.stderr)
        raise SystemExit(2)
    try:
        main(*argv)
    except CatalogError as error:
        print(f"Error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        print("Interrupted; run the same command again to go on.", file=sys.stderr)
        raise SystemExit(130) from None
