"""Two copies of one training stage: the second stops, and a killed one blocks nobody."""

import os
import subprocess
import sys

import pytest
from tiny_training import LORA, ROOT, copying, tiny

from catalog.base.errors import CatalogError
from catalog.training import checkpoints

STAGE = """
import os, sys, time
from pathlib import Path
from tiny_training import LORA, copying, tiny
from catalog.training import checkpoints

checkpoints.checkpoint_folder("demo_train", "small", tiny(), copying(), LORA, root=Path(sys.argv[1]))
if os.fork() == 0:  # as the workers of a pool
    time.sleep(30)
    os._exit(0)
print("ready", flush=True)
time.sleep(60)
"""


def folder(root):
    return checkpoints.checkpoint_folder("demo_train", "small", tiny(), copying(), LORA, root=root)


@pytest.fixture
def first(tmp_path):
    """Another process that runs the stage."""
    tests = os.path.dirname(os.path.abspath(sys.modules["tiny_training"].__file__))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), tests])}
    process = subprocess.Popen([sys.executable, "-c", STAGE, tmp_path], env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    yield process
    process.kill()
    process.wait()


def test_the_second_copy_of_a_stage_stops_and_names_the_first(tmp_path, first):
    with pytest.raises(CatalogError, match=rf"^Another process \(number {first.pid}\) already runs demo_train \(small\); wait for it"):
        folder(tmp_path)
    with pytest.raises(CatalogError):
        folder(tmp_path)
    checkpoints.finish("demo_train", "small", root=tmp_path)  # not this process's lock
    assert (tmp_path / ".checkpoints/demo_train/small.lock").exists()


def test_the_lock_of_a_killed_stage_blocks_nobody(tmp_path, first):
    first.kill()
    first.wait()
    assert (tmp_path / ".checkpoints/demo_train/small.lock").exists()
    assert folder(tmp_path) == folder(tmp_path)  # a stage has several runs
    assert (tmp_path / ".checkpoints/demo_train/small.lock").read_text() == f"{os.getpid()}\n"
    checkpoints.finish("demo_train", "small", root=tmp_path)
    assert not (tmp_path / ".checkpoints/demo_train").exists()
    assert folder(tmp_path)
    checkpoints.finish("demo_train", "small", root=tmp_path)
