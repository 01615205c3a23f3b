"""What the tests of the app share."""

from pathlib import Path

import pytest


@pytest.fixture
def shown(demo_catalog: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The demo catalog, as the one that the app shows."""
    monkeypatch.setenv("CATALOG_DB", str(demo_catalog))
    monkeypatch.setenv("CATALOG_ROOT", str(demo_catalog.parent))
    return demo_catalog


@pytest.fixture(autouse=True)
def _no_component_scan(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each run of AppTest reads the metadata of all installed packages, to find components; the app has none."""
    monkeypatch.setattr("streamlit.components.v2.manifest_scanner.scan_component_manifests", list, raising=False)
