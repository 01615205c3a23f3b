"""Run a page of the app as a visitor would, read what it shows, and rebuild the catalog under it."""

import os
from pathlib import Path

import duckdb
from streamlit.testing.v1 import AppTest

from catalog.base import params

APP = params.ROOT / "app.py"


def visit(page: str, query: dict[str, str] | None = None, state: dict[str, object] | None = None) -> AppTest:
    """Run one page, as a first visit to its address."""
    app = AppTest.from_file(str(APP), default_timeout=60)
    if page != "overview":
        app.switch_page(f"app_pages/{page}.py")
    for name, value in (query or {}).items():
        app.query_params[name] = value
    for name, value in (state or {}).items():
        app.session_state[name] = value
    return app.run()


def texts(app: AppTest) -> str:
    """All text that a page shows as Markdown."""
    kinds = ("title", "subheader", "markdown", "caption", "info", "warning", "error")
    return "\n".join(element.value for kind in kinds for element in getattr(app, kind))


def replace_catalog(target: Path, sql: str) -> None:
    """Put a changed copy of the catalog in its place, the way the leaf stage does."""
    changed = target.with_name("changed.duckdb")
    changed.write_bytes(target.read_bytes())
    with duckdb.connect(str(changed)) as con:
        con.execute(sql)
    os.replace(changed, target)
