"""Fixtures shared by the tests: a tiny invented project and the database built from it."""

import contextlib
import gc
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import demo_project
import duckdb
import pytest

# Tiny models: threads cost more than they bring, and on a busy machine far more. Set before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from catalog.database import db  # noqa: E402


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Tiny models spend their time waiting for a second thread, above all on a busy machine; what loads a model is kept from taking one."""
    import torch

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        yield
        torch.set_num_threads(threads)


@pytest.fixture(scope="module", autouse=True)
def _libraries_are_no_garbage() -> None:
    """Leave what is imported by now out of garbage collection.

    Each training run collects garbage, and to look through torch and transformers for it takes a third of a second.
    """
    gc.collect()
    gc.freeze()


def pytest_sessionfinish() -> None:
    """Let Python tidy up at its end what `_libraries_are_no_garbage` left out."""
    gc.unfreeze()


@pytest.fixture(scope="session")
def _demo_built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo project with its database, built once; tests get copies."""
    root = demo_project.make(tmp_path_factory.mktemp("demo"))
    db.build(root)
    return root


@pytest.fixture
def demo_root(_demo_built: Path, tmp_path: Path) -> Path:
    """Folder of a tiny complete project, systems demo_heads and demo_text, no database yet. A test may change it."""
    root = tmp_path / "project"
    shutil.copytree(_demo_built, root, ignore=shutil.ignore_patterns(db.FILE))
    return root


@pytest.fixture
def demo_catalog(_demo_built: Path, demo_root: Path) -> Path:
    """Path of the DuckDB file built from `demo_root`, in which it lies. A test may change it."""
    return Path(shutil.copy(_demo_built / db.FILE, demo_root / db.FILE))


@pytest.fixture
def con(demo_catalog: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """`demo_catalog`, opened for reading."""
    with contextlib.closing(db.connect(demo_catalog)) as con:
        yield con
