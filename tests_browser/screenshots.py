"""Take the pictures of the app that the README and the documentation show, from the catalog in the project's root.

    python tests_browser/screenshots.py [FOLDER]

writes `overview.png`, `system.png`, `where.png`, `pipeline.png` and `sql.png` into FOLDER, by default `docs/images`. The page `where` shows
maps only where they are built.
"""

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import expect
from serving import ROOT, browser, served

PAGES = {"overview": "", "system": "system", "where": "where", "pipeline": "pipeline", "sql": "sql"}
SETTLE_MS = 3_000  # charts are drawn after their page


def main(folder: Path) -> None:
    """Write one PNG a page."""
    catalog = ROOT / "catalog.duckdb"
    if not catalog.is_file():
        sys.exit("There is no catalog to take pictures of; build it with `dvc repro -s catalog`.")
    folder.mkdir(parents=True, exist_ok=True)
    with served(catalog, ROOT) as address, tempfile.TemporaryDirectory() as profile:
        with browser(Path(profile)) as context:
            for name, path in PAGES.items():
                page = context.new_page()
                page.goto(f"{address}/{path}")
                expect(page.get_by_role("heading", level=1)).to_be_visible(timeout=60_000)
                page.wait_for_timeout(SETTLE_MS)
                page.screenshot(path=folder / f"{name}.png")
                page.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "images")
