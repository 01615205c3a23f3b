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
TEST = f"tests/stages/{NAME}/test_{NAME}.py"
FOLDERS = tuple(f"{place}/{NAME}/" for place in ("stages", "tests/stages", "data", "data/own", "models", "reports"))


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
    for path in (TEST, f"data/{NAME}/README.md"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(found[path][0], "utf-8")
    for name in ("claims", "tables", "metrics", "params"):
        own = f"stages/{NAME}/{name}.yaml"
        assert (root / own).read_text("utf-8") == found[own][0], f"the template's {name}.yaml is not that of the document"
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
    systems = "|".join(check.declared_systems(params.load()))  # a stage is <system> or <system>_<step>
    text = re.sub(rf"^  (?:{systems})(?:_\w+)?:\n(?:   [^\n]*\n|\n)*", "", text, flags=re.MULTILINE)
    text = re.sub(r"^      - (?:reports|data|models)/\w+(?:/README\.md)?\n", "", text, flags=re.MULTILINE)
    (root / "dvc.yaml").write_text(text[: text.index("\nartifacts:")] + "\nartifacts:\n", "utf-8")


def files(root: Path) -> dict[str, bytes]:
    """Path from `root` -> content of every file but the compiled ones."""
    found = (path for path in root.rglob("*") if path.is_file() and path.suffix != ".pyc")
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in found}


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


def test_a_new_system_changes_one_shared_file_and_adds_only_files_of_its_own(tmp_path):
    root = copy_code(tmp_path)
    leave_only_shared(root)
    before = files(root)
    add_system(root)
    after = files(root)
    assert {path for path in before if after.get(path) != before[path]} == {"dvc.yaml"}  # params.yaml too with an asset or a model
    new = after.keys() - before.keys()
    assert new and [path for path in sorted(new) if not path.startswith(FOLDERS)] == []


def test_no_shared_code_names_a_system():
    shared = [ROOT / "app.py", *(path for room in ("catalog", "app_lib", "app_pages") for path in (ROOT / room).rglob("*"))]
    texts = {path.relative_to(ROOT).as_posix(): path.read_text("utf-8") for path in shared if path.suffix in (".py", ".sql", ".yaml")}
    systems = re.compile(rf"\b(?:{'|'.join(check.declared_systems(params.load()))})\b")
    assert "catalog/report/metrics.yaml" in texts and systems.search("stages/simdoc/method.py")
    assert {path: found[0] for path, text in texts.items() if (found := systems.search(text))} == {}


def test_the_new_system_stands_in_the_database_with_its_claims(added):
    with contextlib.closing(db.connect(added / db.FILE)) as con:
        assert check.problems(con, added) == []
        assert con.execute("SELECT system, main_claim FROM systems").fetchall() == [(NAME, "context-helps")]
        claims = con.execute("SELECT claimed_by, claim, verdict, reported, ours, against, n FROM comparison").fetchall()
        tests = con.execute("SELECT claim, verdict, relation, value, low <= value AND value <= high, n FROM claim_tests").fetchall()
        lines = con.execute(f"SELECT method, count(*), avg(loss) FROM {NAME}.lines GROUP BY ALL ORDER BY ALL").fetchall()
        used = con.execute("SELECT kind, name, stage FROM uses ORDER BY ALL").fetchall()
        plots = con.execute("SELECT kind, title FROM plots").fetchall()
        rows = con.execute("SELECT rows FROM dataset_files").fetchall()
    (_, bigram), (_, uniform), (_, unigram) = [(method, loss) for method, _, loss in lines]
    assert [row[:2] for row in lines] == [("bigram", 30), ("uniform", 30), ("unigram", 30)]
    assert claims == [
        ("paper", "context-helps", "holds", 2.301, pytest.approx(bigram), pytest.approx(unigram), 30),
        ("paper", "order-of-models", "holds", None, 1.0, None, None),
        ("project", "every-line-scored", "holds", None, 30.0, None, None),
    ]
    assert tests == [
        ("context-helps", "holds", "below", pytest.approx(bigram - unigram), True, 30),
        ("order-of-models", "holds", "share", 1.0, True, 30),
        ("every-line-scored", "holds", "at_least", 1.0, True, None),
    ]
    assert bigram < unigram < uniform == pytest.approx(math.log(27))
    assert used == [("dataset", NAME, NAME), ("dataset", NAME, f"{NAME}_data")]
    assert plots == [("vega", "Loss of each test line")] and rows == [(90,)]


def test_the_same_stage_gives_the_same_bytes(added):
    reports = added / "reports" / NAME / "small"
    before = files(reports)
    assert {"results.parquet", "tables/lines.parquet", "run.json", "datasets.json", "plots/losses.json"} <= set(before)
    run(added, sys.executable, "-m", f"stages.{NAME}.dataset", "small")
    run(added, sys.executable, "-m", f"stages.{NAME}.evaluate", "small")
    assert files(reports) == before


def test_the_test_of_the_document_passes(added):
    shutil.copy(ROOT / "pyproject.toml", added)
    assert "2 passed" in run(added, sys.executable, "-m", "pytest", "-q", TEST)


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


def test_the_share_of_the_order_counts_resamples_of_lines():
    assert evaluate.share_in_order(np.array([[1.0, 2, 3], [2, 3, 4]])) == 1
    # A tie on the first line: not in order when that line is drawn twice, one time in four.
    assert evaluate.share_in_order(np.array([[1.0, 2, 2], [2, 3, 4]])) == pytest.approx(3 / 4, abs=0.03)
    # Right on the first line, by little; wrong on the second, by much: true only when the first is drawn twice, one time in four.
    assert evaluate.share_in_order(np.array([[1.0, 2, 3], [9, 5, 1]])) == pytest.approx(1 / 4, abs=0.03)
    assert evaluate.share_in_order(np.array([[3.0, 2, 1], [4, 2, 1]])) == 0
