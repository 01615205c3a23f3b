"""What the tests of the app share."""

from pathlib import Path

import pytest


@pytest.fixture
def shown(demo_catalog: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The demo catalog, as the one that the app shows."""
    monkeypatch.setenv("CATALOG_DB", str(demo_catalog))
    monkeypatch.setenv("CATALOG_ROOT", str(demo_catalog.parent))
    return demo_catalog
