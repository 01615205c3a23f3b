"""The few numbers of each system that DVC shows: `dvc metrics show`, `dvc metrics diff` and `dvc plots show`.

DVC prints a row a file and a column a key, so every file has the same few keys: how many claims of the paper have each verdict, how many
checks of ours, and our number for the main claim. Every other number is a row of the database.
"""

import csv
import io as text_io
from pathlib import Path

import duckdb

from catalog.base import io

VERDICTS = ("holds", "fails", "undecided")


def write_all(con: duckdb.DuckDBPyConnection, folder: Path) -> None:
    """Write `metrics/<system>_<profile>.json` and `verdicts.csv` below `folder`, for every profile that a system was measured at."""
    measured = con.execute(
        """
        SELECT c.system, c.profile, any_value(c.ours) FILTER (WHERE c.is_main), any_value(c.ours_low) FILTER (WHERE c.is_main),
            any_value(c.ours_high) FILTER (WHERE c.is_main)
        FROM comparison AS c JOIN systems USING (system)
        GROUP BY c.system, c.profile, sort_order ORDER BY sort_order, c.system, c.profile DESC
        """
    ).fetchall()
    counted = {
        key: count
        for *key, count in con.execute("SELECT system, profile, claimed_by, verdict, count(*) FROM claims GROUP BY ALL").fetchall()
        for key in [tuple(key)]
    }
    lines = [("system", "verdict", "claims")]
    with io.atomic_dir(folder / "metrics") as target:
        for system, profile, ours, low, high in measured:
            found = {by: {v: counted.get((system, profile, by, v), 0) for v in VERDICTS} for by in ("paper", "project")}
            main = {key: value for key, value in (("ours", ours), ("low", low), ("high", high)) if value is not None}
            io.write_json({"main": main, "claims": found["paper"], "checks": found["project"]}, target / f"{system}_{profile}.json")
            lines += [(system, f"{system}, {profile}: {v}", n) for v, n in found["paper"].items()]
    text = text_io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    io.write_text(text.getvalue(), folder / "verdicts.csv")
