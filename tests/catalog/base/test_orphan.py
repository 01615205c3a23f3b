"""A stage ends with the `dvc repro` that started it, and so does what the stage itself has started."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from catalog.base import orphan
from catalog.base.params import ROOT

STAGE = """
import os, subprocess, sys, time
from pathlib import Path
from catalog.base.errors import run

def main():
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(120)"])
    Path("started.tmp").write_text(f"{os.getpid()} {child.pid}")
    os.replace("started.tmp", "started")
    time.sleep(120)

run(main)
"""
# A plain command, which a shell replaces itself by; and one whose shell, and a launcher below it, stay between DVC and the stage.
COMMANDS = {
    "direct": "python stage.py",
    "through a shell": "python stage.py && true",
    "through a launcher": 'python -c \'import subprocess; subprocess.run(["python", "stage.py"])\'; true',
}


@pytest.fixture
def environment(monkeypatch):
    monkeypatch.delenv(orphan.VARIABLE, raising=False)
    path = f"{os.path.dirname(sys.executable)}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "SHELL": "/bin/sh"}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_a_stage_ends_when_dvc_is_ended(tmp_path, environment, command):
    (tmp_path / "stage.py").write_text(STAGE)
    (tmp_path / "dvc.yaml").write_text(f"stages:\n  sleep:\n    cmd: >-\n      {command}\n")
    subprocess.run([sys.executable, "-m", "dvc", "init", "-q", "--no-scm"], cwd=tmp_path, env=environment, check=True)
    dvc = subprocess.Popen([sys.executable, "-m", "dvc", "repro"], cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL)
    stage = []
    try:
        assert until(60, (tmp_path / "started").exists), "the stage did not start"
        stage = [psutil.Process(int(number)) for number in (tmp_path / "started").read_text().split()]
        time.sleep(1.5)
        assert all(process.is_running() for process in stage), "ended while DVC was there"
        dvc.send_signal(signal.SIGTERM)
        assert dvc.wait(timeout=30) == -signal.SIGTERM
        assert until(30, lambda: not any(alive(process) for process in stage)), "left behind"
    finally:
        for process in [dvc, *(process for process in stage if alive(process))]:
            process.kill()


def test_a_stage_that_lost_dvc_while_it_was_imported_ends_at_once(tmp_path, environment):
    (tmp_path / "stage.py").write_text(STAGE)
    # As init would be: a parent that is neither DVC nor a Python process, and has another stage's name.
    command = ["/bin/sh", "-c", f"{orphan.VARIABLE}=sleep {sys.executable} stage.py; echo $?"]
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert result.stdout.strip() == "143" and "the dvc that started this stage is gone" in result.stderr
    assert not (tmp_path / "started").exists()


def test_without_dvc_above_nothing_is_watched(monkeypatch):
    monkeypatch.delenv(orphan.VARIABLE, raising=False)
    monkeypatch.setattr(orphan, "find_starter", lambda: pytest.fail("looked for DVC"))
    orphan.end_with_starter()


def until(seconds, true):
    """Whether `true()` holds within so many seconds."""
    deadline = time.monotonic() + seconds
    while not true() and time.monotonic() < deadline:
        time.sleep(0.1)
    return true()


def alive(process):
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
