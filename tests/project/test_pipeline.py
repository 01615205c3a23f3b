"""This project's declarations against its code, and the checks of `declarations.py` on a small project with one fault at a time."""

import json
import shutil
import subprocess
import sys

import pytest
from declarations import CHECKS, ROOT, dvc_md5, file_and_key, stage_module

from catalog.database import pipeline


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_this_project(check):
    problems = list(check(ROOT))
    assert not problems, "\n".join([*problems, "Correct dvc.yaml or the parameters; for dvc.lock run `dvc repro`."])


def test_data_and_catalog_stages_import_no_torch():
    modules = {stage_module(stage["cmd"]) for stage in pipeline.stages(ROOT)}
    light = sorted(
        module
        for module in modules
        if module in ("stages.fetch", "stages.base_model", "stages.build_catalog") or module.endswith(".dataset")
    )
    code = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    importlib.import_module(name)\n"
        "    heavy = {'torch', 'transformers', 'sdmetrics', 'streamlit'} & set(sys.modules)\n"
        "    if heavy:\n"
        "        sys.exit(f'{name} imports {heavy}')\n"
    )
    result = subprocess.run([sys.executable, "-c", code, *light], cwd=ROOT, capture_output=True, text=True)
    assert light and result.returncode == 0, result.stderr


def test_dvc_reads_the_pipeline_as_the_catalog_does():
    from dvc.repo import Repo

    with Repo(str(ROOT), config={"core": {"no_scm": True}}) as repo:
        theirs = {
            stage.addressing: (
                stage.cmd,
                sorted(dep.def_path for dep in stage.deps if not hasattr(dep, "params")),
                sorted(out.def_path for out in stage.outs),
                sorted((dep.def_path, key) for dep in stage.deps for key in getattr(dep, "params", [])),
            )
            for stage in repo.index.stages
        }
    ours = {
        stage["stage"]: (stage["cmd"], stage["deps"], stage["outs"], sorted(map(file_and_key, stage["params"])))
        for stage in pipeline.stages(ROOT)
    }
    assert ours == theirs


# The checks themselves, on a small project with one fault at a time

FILES = {
    "params.yaml": "profile: small\nseed: 0\nassets: {}\nmodels: {}\n",
    "stages/demo/params.yaml": "small: {n: 1}\nfull: {n: 9}\n",
    "dvc.yaml": (
        "stages:\n  demo:\n    desc: Evaluate\n    cmd: python -m stages.demo.evaluate ${profile}\n"
        "    deps: [catalog/a.py, catalog/b.py, stages/demo/evaluate.py]\n"
        "    params: [seed, stages/demo/params.yaml: ['${profile}']]\n"
        "    outs:\n      - reports/demo/${profile}/m.json: {cache: false}\n"
        "      - reports/demo/${profile}/plots: {cache: false}\n"
    ),
    "catalog/__init__.py": '"""Shared."""\n',
    "catalog/a.py": "def f():\n    from catalog.b import g\n    return g\n",
    "catalog/b.py": "g = 1\n",
    "stages/__init__.py": '"""Stages."""\n',
    "stages/demo/evaluate.py": "import json\n\nfrom catalog import a\n",
    "stages/demo/README.md": "---\nname: demo\n---\n",
    "reports/demo/small/m.json": "{}\n",
    "reports/demo/small/plots/p.json": "[]\n",
}


@pytest.fixture
def project(tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    deps = ["catalog/a.py", "catalog/b.py", "stages/demo/evaluate.py"]
    outs = ["reports/demo/small/m.json", "reports/demo/small/plots"]
    entry = {
        "cmd": "python -m stages.demo.evaluate small",
        "deps": [{"path": path, "md5": dvc_md5(tmp_path / path)} for path in deps],
        "params": {"params.yaml": {"seed": 0}, "stages/demo/params.yaml": {"small": {"n": 1}}},
        "outs": [{"path": path, "md5": dvc_md5(tmp_path / path)} for path in outs],
    }
    (tmp_path / "dvc.lock").write_text(json.dumps({"schema": "2.0", "stages": {"demo": entry}}))
    return tmp_path


def all_problems(root):
    return [problem for check in CHECKS for problem in check(root)]


def test_a_project_without_fault(project):
    assert all_problems(project) == []
    (project / "dvc.lock").unlink()
    assert all_problems(project) == []


def test_a_fresh_clone_lacks_cached_files_and_may_lack_reports(project):
    shutil.rmtree(project / "reports")
    assert all_problems(project) == []


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("stages/demo/params.yaml", "{n: 9}", "{m: 9}", "demo has only at one profile: m, n"),
        ("stages/demo/params.yaml", "small: {n: 1}", "small: {n: 2}", "another small of stages/demo/params.yaml"),
        ("params.yaml", "seed: 0", "seed: 1", "demo ran with another seed of params.yaml"),
        ("dvc.yaml", "[seed, ", "[", "demo has other params than dvc.yaml: seed"),
        ("dvc.yaml", "'${profile}'", "'${profile}.m'", "the parameter small.m, which is not in stages/demo/params.yaml"),
        ("dvc.yaml", "    desc: Evaluate\n", "", "demo has no desc"),
        ("dvc.yaml", "reports/demo/${profile}/m.json", "reports/demo/small/m.json", "m.json without ${profile}"),
        ("dvc.yaml", "evaluate ${profile}", "evaluate small", "the cmd of demo does not pass ${profile}"),
        ("dvc.yaml", "catalog/b.py, ", "", "demo lacks the dep catalog/b.py"),
        ("dvc.yaml", "catalog/b.py, ", "catalog/b.py, catalog/c.py, ", "demo depends on catalog/c.py"),
        ("dvc.yaml", "  demo:\n", "  other:\n", "demo has no stage of its own name"),
        ("dvc.yaml", "python -m", "python3 -m", "demo ran another cmd"),
        ("dvc.lock", '{"demo"', '{"gone"', "gone is no stage of dvc.yaml"),
        ("catalog/b.py", "g = 1", "g = 2", "demo recorded another catalog/b.py"),
        ("catalog/a.py", "from catalog.b import g", "g = 1", "demo never imports its dep catalog/b.py"),
        ("reports/demo/small/m.json", "{}", "{ }", "demo recorded another reports/demo/small/m.json"),
        ("reports/demo/small/plots/p.json", "[]", "[1]", "demo recorded another reports/demo/small/plots"),
    ],
)
def test_faults_are_found(project, file, old, new, said):
    text = (project / file).read_text()
    assert old in text
    (project / file).write_text(text.replace(old, new))
    assert any(said in problem for problem in all_problems(project))
