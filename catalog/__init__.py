"""Plain functions that the systems share, in rooms that import only downwards; each room says who may import it."""

import importlib.util
import sys

# `.venv/bin/dvc repro` without the environment switched on runs its stages with whatever `python` is: say so instead of a traceback.
_MISSING = [name for name in ("duckdb", "polars", "psutil", "ruamel", "torch") if importlib.util.find_spec(name) is None]
if _MISSING:
    sys.exit(
        f"Error: {sys.executable} lacks this project's packages ({', '.join(_MISSING)}); switch the environment on with "
        "`. .venv/bin/activate` (`make test` makes it) and run the command again."
    )
