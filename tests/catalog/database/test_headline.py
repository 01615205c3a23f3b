"""The files that DVC shows: the same few numbers of every system."""

import csv
import json
import subprocess
import sys

import pytest
import yaml

from catalog.base import io, params
from catalog.database import headline


def test_every_file_has_the_same_keys_and_counts_the_claims(con, demo_root):
    folder = demo_root / "reports/catalog"
    io.write_text("old", folder / "metrics/gone.json")
    headline.write_all(con, folder)
    found = {path.stem: json.loads(path.read_text()) for path in (folder / "metrics").glob("*.json")}
    measured = con.execute("SELECT DISTINCT system || '_' || profile FROM claims").fetchall()
    assert set(found) == {name for (name,) in measured} and "gone" not in found
    for name, numbers in found.items():
        system, profile = name.rsplit("_", 1)
        ours, low, high = con.execute(
            "SELECT ours, ours_low, ours_high FROM comparison WHERE is_main AND system = ? AND profile = ?", [system, profile]
        ).fetchone()
        assert numbers["main"] == {k: pytest.approx(v) for k, v in (("ours", ours), ("low", low), ("high", high)) if v is not None}
        for key, by in (("claims", "paper"), ("checks", "project")):
            counted = con.execute(
                "SELECT verdict, count(*) FROM claims WHERE system = ? AND profile = ? AND claimed_by = ? GROUP BY 1", [system, profile, by]
            ).fetchall()
            assert numbers[key] == dict.fromkeys(headline.VERDICTS, 0) | {v: n for v, n in counted if v in headline.VERDICTS}
    with (folder / "verdicts.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * len(found) and sum(int(row["claims"]) for row in rows) == sum(sum(n["claims"].values()) for n in found.values())


def test_dvc_shows_them(con, tmp_path_factory):
    """The real DVC, in a folder of its own with this project's declarations of the leaf: a row a system, and one plot."""
    own = tmp_path_factory.mktemp("dvc")  # the demo project has a pipeline of its own
    headline.write_all(con, own / "reports/catalog")
    declared = yaml.safe_load((params.ROOT / "dvc.yaml").read_text())["stages"]["catalog"]
    leaf = {"cmd": "true", "metrics": declared["metrics"], "plots": declared["plots"]}
    io.write_text(yaml.safe_dump({"stages": {"catalog": leaf}}), own / "dvc.yaml")

    def dvc(*words: str) -> str:
        done = subprocess.run([sys.executable, "-m", "dvc", *words], cwd=own, capture_output=True, text=True, check=True)
        return done.stdout

    dvc("init", "--no-scm")
    lines = dvc("metrics", "show").splitlines()
    assert len(lines) == 1 + len(list((own / "reports/catalog/metrics").iterdir())) and len(lines[0]) < 200
    assert "claims.undecided" in lines[0] and "main.ours" in lines[0]
    dvc("plots", "show", "--out", "shown")
    assert "Claims of the papers by verdict" in (own / "shown/index.html").read_text()
