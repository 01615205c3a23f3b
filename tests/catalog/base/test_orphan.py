"""A stage ends with the `dvc repro` that started it, and so does what the stage itself has started."""

import os
import shutil
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


@pytest.fixture(scope="module")
def environment():
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(orphan.VARIABLE, raising=False)
        path = f"{os.path.dirname(sys.executable)}{os.pathsep}{os.environ['PATH']}"
        yield {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "SHELL": "/bin/sh"}


@pytest.fixture(scope="module")
def running(tmp_path_factory, environment):
    """A `dvc repro` of each command, all at once, as long as a stage takes to look for DVC: name -> (dvc, processes of the stage)."""
    root, found = tmp_path_factory.mktemp("orphan"), {}
    subprocess.run([sys.executable, "-m", "dvc", "init", "-q", "--no-scm"], cwd=root, env=environment, check=True)
    places = {name: root.with_name(f"{root.name} {name}") for name in COMMANDS}
    for name, place in places.items():
        shutil.copytree(root, place)
        (place / "stage.py").write_text(STAGE)
        (place / "dvc.yaml").write_text(f"stages:\n  sleep:\n    cmd: >-\n      {COMMANDS[name]}\n")
    command = [sys.executable, "-m", "dvc", "repro"]
    started = {name: subprocess.Popen(command, cwd=place, env=environment, stdout=subprocess.DEVNULL) for name, place in places.items()}
    try:
        for name, place in places.items():
            assert until(60, (place / "started").exists), f"the stage did not start {name}"
            found[name] = started[name], [psutil.Process(int(number)) for number in (place / "started").read_text().split()]
        time.sleep(1.5)
        yield found
    finally:
        for process in [*started.values(), *(process for _, stage in found.values() for process in stage if alive(process))]:
            process.kill()
            process.wait()


@pytest.mark.parametrize("name", COMMANDS)
def test_a_stage_ends_when_dvc_is_ended(running, name):
    dvc, stage = running[name]
    assert len(stage) == 2 and all(alive(process) for process in stage), "ended while DVC was there"
    dvc.send_signal(signal.SIGTERM)
    assert dvc.wait(timeout=30) == -signal.SIGTERM
    assert until(30, lambda: not any(alive(process) for process in stage)), "left behind"


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
