"""Declarations against code: dvc.yaml, the parameters, the cards and dvc.lock say what is so.

Each check is a function of a project's root that returns the problems it finds, so that it can be tried on a project
with known faults as well as on this one.
"""

import ast
import hashlib
import json
import re
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

import pytest
from ruamel.yaml import YAML

from catalog import io, params, pipeline

ROOT = params.ROOT
PROFILES = ("small", "full")
SHARED = re.compile(r"(fetch|model)@.+|catalog")  # stages that belong to no system


def read_yaml(path):
    return (YAML(typ="safe").load(path.read_text(encoding="utf-8")) if path.exists() else None) or {}


def systems(root):
    """The systems that have parameters: blocks that have a profile."""
    return {
        name: block
        for name, block in params.load(root).items()
        if isinstance(block, dict) and any(profile in block for profile in PROFILES)
    }


# Parameters, stages and cards


def profile_problems(root):
    for name, block in systems(root).items():
        if set(block) != set(PROFILES):
            yield f"{params.system_file(name)}: {name} has {', '.join(block)} and not small and full"
        elif set(block["small"]) != set(block["full"]):
            differing = ", ".join(sorted(set(block["small"]) ^ set(block["full"])))
            yield f"{params.system_file(name)}: {name} has only at one profile: {differing}"


def stage_problems(root):
    declared = {stage["stage"]: stage for stage in pipeline.stages(root)}
    names, values = systems(root), {}
    for name, stage in declared.items():
        owner = pipeline.owner(name, names)
        if not stage["desc"]:
            yield f"dvc.yaml: {name} has no desc"
        if owner is None and not SHARED.fullmatch(name):
            yield f"dvc.yaml: {name} belongs to no system that has parameters"
        for file, key in map(file_and_key, stage["params"]):
            if file not in values:
                values[file] = read_yaml(root / file)
            if lookup(values[file], key) is MISSING:
                yield f"dvc.yaml: {name} depends on the parameter {key}, which is not in {file}"
        for path in (Path(dep) for dep in stage["deps"]):
            if (
                path.suffix in (".py", ".sql", ".yaml", ".md")
                and path.parts[0] != "reports"
                and not (root / path).exists()
            ):
                yield f"dvc.yaml: {name} depends on {path}, which does not exist"
    raw = read_yaml(root / "dvc.yaml").get("stages", {})
    for name, block in raw.items():
        if pipeline.owner(name, names) is None:
            continue
        for out in (out for kind in ("outs", "metrics", "plots") for out in block.get(kind, [])):
            path = next(iter(out)) if isinstance(out, dict) else out
            if "${profile}" not in path:
                yield f"dvc.yaml: {name} writes {path} without ${{profile}}"
        if "${profile}" not in str(block["cmd"]):
            yield f"dvc.yaml: the cmd of {name} does not pass ${{profile}}"


def system_problems(root):
    stages = {stage["stage"] for stage in pipeline.stages(root)}
    folders = {path.parent.name for path in root.glob("stages/*/README.md") if not path.parent.name.startswith("_")}
    for name in systems(root):
        if name not in folders:
            yield f"{params.system_file(name)}: {name} has no card stages/{name}/README.md"
        if name not in stages:
            yield f"{params.system_file(name)}: {name} has no stage of its own name in dvc.yaml"
    yield from (f"stages/{name}/README.md: {name} has no parameters" for name in folders - systems(root).keys())


# Imports against deps


def stage_module(cmd):
    """The module that a stage's cmd runs: ``… -m stages.demo.train small`` -> ``stages.demo.train``."""
    found = re.search(r"-m (stages\.[\w.]+)", cmd)
    return found[1] if found else None


def project_file(root, module):
    """The file of a module of this project, or None."""
    path = root.joinpath(*module.split("."))
    if module.split(".")[0] not in ("catalog", "stages"):
        return None
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.exists()), None)


def imports(path):
    """Modules that a file imports anywhere, also inside functions; for ``from a import b`` both a and a.b."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def code_files(root, module):
    """Paths from the root of all project files that a module is made of, package files without code left out."""
    todo, seen = [project_file(root, module)], set()
    while todo:
        path = todo.pop()
        if path is not None and path not in seen:
            seen.add(path)
            todo += [project_file(root, name) for name in imports(path)]
    return {
        path.relative_to(root).as_posix()
        for path in seen
        if len(ast.parse(path.read_text("utf-8")).body) > 1 or path.name != "__init__.py"
    }


def import_problems(root):
    for stage in pipeline.stages(root):
        module = stage_module(stage["cmd"])
        if module is None or project_file(root, module) is None:
            yield f"dvc.yaml: the cmd of {stage['stage']} runs no module of stages/"
            continue
        needed, declared = code_files(root, module), set(stage["deps"])
        missing = [path for path in sorted(needed) if not declared & {path, *map(str, PurePosixPath(path).parents)}]
        yield from (f"dvc.yaml: {stage['stage']} lacks the dep {path}" for path in missing)
        code = {path for path in declared if path.endswith(".py")}
        yield from (f"dvc.yaml: {stage['stage']} never imports its dep {path}" for path in sorted(code - needed))


# dvc.lock against the working tree


def dvc_md5(path):
    """The hash DVC records: the md5 of a file, or of the list of a folder's files, with ``.dir``."""
    if path.is_file():
        return io.md5(path)
    ignored = [line.strip("/\n") for line in (ROOT / ".dvcignore").open() if not line.startswith("#")]
    files = {file.relative_to(path): file for file in path.rglob("*") if file.is_file()}
    listing = [
        {"md5": io.md5(file), "relpath": name.as_posix()}
        for name, file in sorted(files.items(), key=lambda item: item[0].as_posix())
        if not any(fnmatch(part, pattern) for part in name.parts for pattern in ignored)
    ]
    return hashlib.md5(json.dumps(listing, sort_keys=True).encode(), usedforsecurity=False).hexdigest() + ".dir"


def lock_problems(root):
    """What dvc.lock says and is not so. Cached outputs may be large or absent: those are compared within the lock."""
    declared = {stage["stage"]: stage for stage in pipeline.stages(root)}
    recorded = pipeline.lock(root)
    cached = {path for stage in declared.values() for path in stage["cached"]}
    outs = {path: md5 for entry in recorded.values() for path, (md5, _) in entry["out"].items()}
    recorded_params = read_yaml(root / "dvc.lock").get("stages", {})
    files = {file for entry in recorded_params.values() for file in entry.get("params") or {}}
    values = {file: read_yaml(root / file) for file in files}
    for name, entry in recorded.items():
        if name not in declared:
            yield f"dvc.lock: {name} is no stage of dvc.yaml; delete its entry"
            continue
        stage = declared[name]
        if entry["cmd"] != stage["cmd"]:
            yield f"dvc.lock: {name} ran another cmd"
        for kind, paths in (("dep", stage["deps"]), ("out", stage["outs"])):
            differing = ", ".join(sorted(set(entry[kind]) ^ set(paths)))
            if differing:
                yield f"dvc.lock: {name} has another {kind} than dvc.yaml: {differing}"
        for path, (md5, _) in {**entry["dep"], **entry["out"]}.items():
            if path in cached:
                there = outs.get(path, md5)
            else:
                there = dvc_md5(root / path) if (root / path).exists() else md5
            if there != md5:
                yield f"dvc.lock: {name} recorded another {path}"
        ran_with = recorded_params[name].get("params") or {}
        keys = {key if file == "params.yaml" else f"{file}:{key}" for file in ran_with for key in ran_with[file]}
        differing = ", ".join(sorted(keys ^ set(stage["params"])))
        if differing:
            yield f"dvc.lock: {name} has other params than dvc.yaml: {differing}"
        for file, entries in ran_with.items():
            for key, value in entries.items():
                if lookup(values[file], key) != value:
                    yield f"dvc.lock: {name} ran with another {key} of {file}"


MISSING = object()


def file_and_key(param):
    """``file:key`` or, of params.yaml, ``key``, apart."""
    file, _, key = param.rpartition(":")
    return file or "params.yaml", key


def lookup(values, key):
    for part in key.split("."):
        values = values.get(part, MISSING) if isinstance(values, dict) else MISSING
    return values


CHECKS = [profile_problems, stage_problems, system_problems, import_problems, lock_problems]


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
