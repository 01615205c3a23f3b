"""The leaf of the pipeline: gather cards and reports in `catalog.duckdb`, and write what it holds and what other tools read.

Reads nothing of `data/` and `models/` but the cards, so it also runs in a fresh clone: `dvc repro -s catalog`.
"""

import contextlib

from catalog.base import params
from catalog.base.errors import run
from catalog.database import content, db, export, headline


def main() -> None:
    """Write `catalog.duckdb`, `catalog.json`, and what is under `reports/catalog/`."""
    path = db.build()
    with contextlib.closing(db.connect(path)) as con:
        export.write_all(con, params.ROOT / "reports" / "catalog")
        headline.write_all(con, params.ROOT / "reports" / "catalog")
        content.write(con)
        systems, results, claims = con.execute(
            "SELECT (SELECT count(*) FROM systems), (SELECT count(*) FROM results), (SELECT count(*) FROM claims)"
        ).fetchone()
    print(f"{path.name}: {systems} systems, {results} results, {claims} tested claims.")


if __name__ == "__main__":
    run(main)
