"""Two copies of one training stage: the second stops, and a killed one blocks nobody."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from tiny_training import LORA, ROOT, copying, tiny

from catalog.base.errors import CatalogError
from catalog.training import checkpoints

STAGE = """
import os, sys, time
from pathlib import Path
from tiny_training import LORA, copying, tiny
from catalog.training import checkpoints

for root in sys.argv[1:]:  # a stage in each folder
    if os.fork() == 0:
        checkpoints.checkpoint_folder("demo_train", "small", tiny(), copying(), LORA, root=Path(root))
        if os.fork() == 0:  # as the workers of a pool
            time.sleep(30)
            os._exit(0)
        os.write(1, f"{os.getpid()} {root}\\n".encode())  # a line in one piece, whichever of the two comes first
        time.sleep(30)
        os._exit(0)
while True:
    os.wait()
"""


def folder(root):
    return checkpoints.checkpoint_folder("demo_train", "small", tiny(), copying(), LORA, root=root)


@pytest.fixture(scope="module")
def stages(tmp_path_factory):
    """Two other processes that run the stage, each in a folder of its own: [(process, folder)]."""
    tests = os.path.dirname(os.path.abspath(sys.modules["tiny_training"].__file__))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), tests])}
    roots = [tmp_path_factory.mktemp("stage") for _ in range(2)]
    command = [sys.executable, "-c", STAGE, *map(str, roots)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as starter:
        lines = [starter.stdout.readline().split() for _ in roots]
        yield [(psutil.Process(int(number)), Path(root)) for number, root in lines]
        for process in [*psutil.Process(starter.pid).children(recursive=True), starter]:
            process.kill()


def test_the_second_copy_of_a_stage_stops_and_names_the_first(stages):
    first, root = stages[0]
    with pytest.raises(CatalogError, match=rf"^Another process \(number {first.pid}\) already runs demo_train \(small\); wait for it"):
        folder(root)
    with pytest.raises(CatalogError):
        folder(root)
    checkpoints.finish("demo_train", "small", root=root)  # not this process's lock
    assert (root / ".checkpoints/demo_train/small.lock").exists()


def test_the_lock_of_a_killed_stage_blocks_nobody(stages):
    first, root = stages[1]
    first.kill()
    first.wait()
    assert (root / ".checkpoints/demo_train/small.lock").exists()
    assert folder(root) == folder(root)  # a stage has several runs
    assert (root / ".checkpoints/demo_train/small.lock").read_text() == f"{os.getpid()}\n"
    checkpoints.finish("demo_train", "small", root=root)
    assert not (root / ".checkpoints/demo_train").exists()
    assert folder(root)
    checkpoints.finish("demo_train", "small", root=root)
