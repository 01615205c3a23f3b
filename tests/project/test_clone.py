"""What somebody else has: a clone with other line ends, a copy without git; both build the database and stay clean."""

import os
import re
import shutil
import subprocess
import sys

import pytest
from declarations import ROOT

BIN = os.path.dirname(sys.executable)

needs_git = pytest.mark.skipif(not (ROOT / ".git").exists(), reason="this copy has no git")


def sh(command, cwd, **variables):
    environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(cwd), **variables}
    environment.pop("DVC_STAGE", None)
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=True, timeout=300).stdout


@needs_git
def test_a_clone_with_another_setting_of_line_ends_has_the_same_bytes(tmp_path):
    clone = tmp_path / "clone"
    sh(["git", "clone", "-q", "-c", "core.autocrlf=true", str(ROOT), str(clone)], tmp_path)
    ends = sh(["git", "ls-files", "--eol"], clone)
    assert " w/lf " in ends and not re.search(r"w/(crlf|mixed)", ends)
    changed = set(sh(["git", "diff", "--name-only", "HEAD"], ROOT).split())  # work in progress here
    differing = [
        name
        for name in sh(["git", "ls-files"], clone).splitlines()
        if name not in changed and (ROOT / name).is_file() and (clone / name).read_bytes() != (ROOT / name).read_bytes()
    ]
    assert not differing


@needs_git
def test_a_copy_without_git_builds_the_database_and_a_second_build_changes_no_file(tmp_path):
    copy = tmp_path / "copy"
    for name in sh(["git", "ls-files", "--cached", "--others", "--exclude-standard"], ROOT).splitlines():
        if (ROOT / name).is_file() and not name.startswith(("tests", "docs/images")):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, copy / name)
    # The environment is there, so make is not to install one.
    (copy / ".venv").mkdir()
    build = ["make", f"BIN={BIN}", "-o", ".venv/installed", "database"]
    sh(build, copy)
    assert (copy / "catalog.duckdb").is_file()
    kept = {path: path.read_bytes() for path in [copy / "dvc.lock", *(copy / "reports").rglob("*.*")] if path.is_file()}
    (copy / "catalog.duckdb").unlink()  # catalog.json is there, and in DVC's cache
    sh(build, copy)
    assert (copy / "catalog.duckdb").is_file()
    assert all(path.read_bytes() == data for path, data in kept.items())
    before = (copy / "catalog.duckdb").stat().st_mtime_ns
    sh(build, copy)
    assert (copy / "catalog.duckdb").stat().st_mtime_ns == before, "built again though nothing changed"


def test_make_begins_with_an_estimate_and_runs_one_system_on_request():
    plan = sh(["make", "-n", "-o", ".venv/installed", "repro", "SYSTEM=harmonic"], ROOT)
    order = ["catalog.database.estimate harmonic", "dvc repro harmonic\n", "dvc repro -s catalog", "catalog.database.summary"]
    assert sorted(order, key=plan.index) == order
    assert "dvc repro -s catalog" in sh(["make", "-n", "-o", ".venv/installed", "app"], ROOT)
