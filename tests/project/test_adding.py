"""docs/adding.md does what it says: its blocks, followed to the letter in a copy of the project, add a system that works."""

import contextlib
import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import declarations
import numpy as np
import polars as pl
import pytest

from catalog.base import params
from catalog.base.errors import CatalogError
from catalog.database import check, db, pipeline
from stages._template import dataset, evaluate, method
from stages._template.settings import Data

ROOT = params.ROOT
NAME = "my_system"


def blocks(text: str) -> dict[str, list[str]]:
    """The fenced blocks of the document: the last `name` in the sentence that leads to a block -> its texts, in order."""
    found = {}
    for lead, body in re.findall(r"([^\n]+(?:\n[^\n]+)*)\n\n```\w+\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL):
        key = re.findall(r"`([^`]+)`", lead)[-1:] if lead.endswith(":") else []
        found.setdefault(key[0] if key else "shell", []).append(body)
    return found


def insert_before(path: Path, mark: str, text: str) -> None:
    """Put `text` before the one line that begins with `mark`."""
    head, found, tail = path.read_text("utf-8").partition(f"\n{mark}")
    assert found, f"{path.name} has no line {mark!r}"
    path.write_text(f"{head}\n{text}{found.removeprefix(chr(10))}{tail}", "utf-8")


def run(root: Path, *command: str) -> str:
    """Run a command in the copy, with this Python first on the path; return what it prints."""
    settings = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "DVC_NO_ANALYTICS": "1"}
    settings |= {f"DVC_{kind}": str(root.parent / "dvc") for kind in ("GLOBAL_CONFIG_DIR", "SITE_CACHE_DIR")}
    # The tests of the document find the copy's modules, not those of the project that started them.
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("CATALOG_", "PYTEST_"))}
    done = subprocess.run(command, cwd=root, env=environment | settings, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def add_system(root: Path) -> None:
    """Follow docs/adding.md in the project at `root`, up to the running of the pipeline."""
    found = blocks((ROOT / "docs" / "adding.md").read_text("utf-8"))
    run(root, "sh", "-ec", found["shell"][0])
    for path in (f"tests/test_{NAME}.py", f"data/{NAME}/README.md"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(found[path][0], "utf-8")
    own = params.system_file(NAME)
    assert (root / own).read_text("utf-8") == found[own][0], "the template's parameters are not those of the document"
    stages, deps, artifacts = found["dvc.yaml"]
    pipe = root / "dvc.yaml"
    insert_before(pipe, "  catalog:\n", f"{stages}\n")
    head, leaf = pipe.read_text("utf-8").split("\n  catalog:\n")
    pipe.write_text(f"{head}\n  catalog:\n{leaf.replace('    outs:', f'{deps}    outs:', 1)}{artifacts}", "utf-8")


def copy_code(root: Path) -> Path:
    """The project's code and declarations in the new folder `root`, without its other systems, assets and models."""
    leave = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "catalog", root / "catalog", ignore=leave)
    shutil.copytree(ROOT / "stages" / "_template", root / "stages" / "_template", ignore=leave)
    for path in [*(ROOT / "stages").glob("*.py"), *(ROOT / name for name in ("dvc.yaml", "params.yaml", ".dvcignore"))]:
        shutil.copy(path, root / path.relative_to(ROOT))
    return root


def leave_only_shared(root: Path) -> None:
    """Take every asset, base model and system out of params.yaml and dvc.yaml, as texts, so that comments stay."""
    text = (root / "params.yaml").read_text("utf-8")
    text = re.sub(r"^(assets|models):[^\n]*\n(?:[ #][^\n]*\n|\n)*", "", text, flags=re.MULTILINE)
    (root / "params.yaml").write_text(text.rstrip() + "\n\nassets: {}\nmodels: {}\n", "utf-8")
    text = (root / "dvc.yaml").read_text("utf-8")
    systems = "|".join(check.declared_systems(params.load()))
    text = re.sub(rf"^  (?:{systems})(?:_\w+)?:\n(?:   [^\n]*\n|\n)*", "", text, flags=re.MULTILINE)
    text = re.sub(r"^      - (?:reports|data|models)/\w+(?:/README\.md)?\n", "", text, flags=re.MULTILINE)
    (root / "dvc.yaml").write_text(text[: text.index("\nartifacts:")] + "\nartifacts:\n", "utf-8")


@pytest.fixture(scope="module")
def added(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project in which docs/adding.md was followed to its end."""
    root = tmp_path_factory.mktemp("adding") / "project"
    root.mkdir()
    copy_code(root)
    leave_only_shared(root)
    add_system(root)
    (root / "models").mkdir()
    run(root, sys.executable, "-m", "dvc", "init", "--quiet", "--no-scm")
    told = blocks((ROOT / "docs" / "adding.md").read_text("utf-8"))["shell"][-1].splitlines()[:2]
    commands = [line.partition("#")[0].split() for line in told]
    assert commands == [["dvc", "repro", NAME], ["dvc", "repro", "-s", "catalog"]]
    for command in commands:
        run(root, sys.executable, "-m", *command)
    return root


def test_the_declarations_agree_with_the_code_in_the_whole_project(tmp_path):
    root = copy_code(tmp_path)
    for card in (ROOT / "stages").glob("[!_]*/README.md"):
        shutil.copytree(card.parent, root / card.parent.relative_to(ROOT), ignore=shutil.ignore_patterns("__pycache__"))
    add_system(root)
    checks = [test for test in declarations.CHECKS if test is not declarations.lock_problems]
    assert [problem for test in checks for problem in test(root) if NAME in problem] == []
    assert f"data/{NAME}/small" in {path for stage in pipeline.stages(root) for path in stage["outs"]}


def test_the_new_system_stands_in_the_database_with_its_claim(added):
    with contextlib.closing(db.connect(added / db.FILE)) as con:
        assert check.problems(con, added) == []
        assert con.execute("SELECT system, main_claim FROM systems").fetchall() == [(NAME, "context-helps")]
        claims = con.execute("SELECT profile, reported, ours, baseline, holds FROM comparison").fetchall()
        lines = con.execute(f"SELECT method, count(*), avg(loss) FROM {NAME}.lines GROUP BY ALL ORDER BY ALL").fetchall()
        used = con.execute("SELECT kind, name, stage FROM uses ORDER BY ALL").fetchall()
        plots = con.execute("SELECT kind, title FROM plots").fetchall()
        rows = con.execute("SELECT rows FROM dataset_files").fetchall()
    (_, bigram), (_, uniform), (_, unigram) = [(method, loss) for method, _, loss in lines]
    assert [row[:2] for row in lines] == [("bigram", 30), ("uniform", 30), ("unigram", 30)]
    assert claims == [("small", 2.301, pytest.approx(bigram), pytest.approx(unigram), True)]
    assert bigram < unigram < uniform == pytest.approx(math.log(27))
    assert used == [("dataset", NAME, NAME), ("dataset", NAME, f"{NAME}_data")]
    assert plots == [("vega", "Loss of each test line")] and rows == [(90,)]


def test_the_same_stage_gives_the_same_bytes(added):
    reports = added / "reports" / NAME / "small"
    before = {path.name: path.read_bytes() for path in reports.iterdir() if path.is_file()}
    assert {"results.parquet", "lines.parquet", "metrics.json", "run.json", "datasets.json"} <= set(before)
    run(added, sys.executable, "-m", f"stages.{NAME}.dataset", "small")
    run(added, sys.executable, "-m", f"stages.{NAME}.evaluate", "small")
    assert {path.name: path.read_bytes() for path in reports.iterdir() if path.is_file()} == before


def test_the_test_of_the_document_passes(added):
    shutil.copy(ROOT / "pyproject.toml", added)
    assert "2 passed" in run(added, sys.executable, "-m", "pytest", "-q", f"tests/test_{NAME}.py")


# The template itself


def test_losses_by_hand():
    line = method.encode("abab", "ab")
    table = method.fit([line], 2, 1.0, size=2)
    assert np.exp(table) == pytest.approx(np.array([[1 / 4, 3 / 4], [2 / 3, 1 / 3]]))
    assert method.line_loss(line, table) == pytest.approx(-math.log(3 / 4 * 3 / 4 * 2 / 3) / 3)
    alone = method.fit([line], 1, 1.0, size=2)
    assert method.line_loss(line, alone) == pytest.approx(-math.log(3 / 5 * 2 / 5 * 3 / 5) / 3)


@pytest.mark.parametrize(("line", "said"), [("", "is empty"), ("A b", "outside the alphabet")])
def test_a_line_that_cannot_be_encoded_is_named(line, said):
    with pytest.raises(CatalogError, match=said):
        method.encode(line)


def test_lines_follow_the_seed():
    table = dataset.build(Data(train=3, test=2, words=4), 1)
    assert table["split"].to_list() == ["train"] * 3 + ["test"] * 2
    assert all(len(text.split()) == 4 for text in table["text"])
    assert table.equals(dataset.build(Data(train=3, test=2, words=4), 1))
    assert not table.equals(dataset.build(Data(train=3, test=2, words=4), 2))


def test_every_method_is_scored_on_the_test_lines_only():
    lines = pl.DataFrame({"id": [0, 1], "split": ["train", "test"], "text": ["abab", "ab"]})
    scored = dict(evaluate.losses(lines, 1.0).select("method", "loss").iter_rows())
    # 27 symbols with one pseudo-count each: p(b|a) = 3/29, p(b) = 3/30.
    by_hand = {"bigram": math.log(29 / 3), "unigram": math.log(10), "uniform": math.log(27)}
    assert scored == pytest.approx(by_hand)
