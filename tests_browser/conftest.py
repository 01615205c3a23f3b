"""The demo project of the unit tests serves the browser tests too."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))
