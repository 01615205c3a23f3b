"""Declarations against code: dvc.yaml, the parameters, the cards and dvc.lock say what is so.

Each check is a function of a project's root that returns the problems it finds, so that it can be tried on a project
with known faults as well as on this one.
"""

import ast
import hashlib
import json
import re
from fnmatch import fnmatch
from functools import cache
from pathlib import Path, PurePosixPath

from ruamel.yaml import YAML

from catalog.base import io, params
from catalog.database import pipeline

ROOT = params.ROOT
PROFILES = ("small", "full")
PACKAGES = ("catalog/__init__.py", "stages/__init__.py")  # look whether the packages are installed, which changes no output
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
            if path.suffix in (".py", ".sql", ".yaml", ".md") and path.parts[0] != "reports" and not (root / path).exists():
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
    return _imported(path.read_text(encoding="utf-8"))


@cache  # most files are part of many stages
def _imported(text):
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return found


def code_files(root, module):
    """Paths from the root of all project files that a module is made of, package files without code left out."""
    todo, seen = [project_file(root, module)], set()
    while todo:
        path = todo.pop()
        if path is not None and path not in seen:
            seen.add(path)
            todo += [project_file(root, name) for name in imports(path)]
    found = {path.relative_to(root).as_posix(): path for path in seen}
    return {
        name
        for name, path in found.items()
        if name not in PACKAGES and (path.name != "__init__.py" or len(ast.parse(path.read_text("utf-8")).body) > 1)
    }


def rooms(files):
    """A module of `catalog/<room>/` stands for its room, any other file for itself: what a stage's deps name."""
    return {"/".join(file.split("/")[:2]) if file.startswith("catalog/") and file.count("/") > 1 else file for file in files}


def import_problems(root):
    for stage in pipeline.stages(root):
        module = stage_module(stage["cmd"])
        if module is None or project_file(root, module) is None:
            yield f"dvc.yaml: the cmd of {stage['stage']} runs no module of stages/"
            continue
        needed, declared = rooms(code_files(root, module)), set(stage["deps"])
        missing = [path for path in sorted(needed) if not declared & {path, *map(str, PurePosixPath(path).parents)}]
        yield from (f"dvc.yaml: {stage['stage']} lacks the dep {path}" for path in missing)
        code = {path for path in declared if path.endswith(".py") or re.fullmatch(r"catalog/\w+", path)}
        yield from (f"dvc.yaml: {stage['stage']} never imports its dep {path}" for path in sorted(code - needed))


# The rooms of catalog/: each imports itself and those below it

BELOW = {
    "base": (),
    "assets": ("base",),
    "models": ("base",),
    "inside": ("base", "models"),
    "training": ("base", "models", "inside"),
    "vision": ("base", "models", "inside", "training"),
    "report": ("base",),
    "database": ("base", "report"),
}


def room_problems(root):
    for path in sorted(root.glob("catalog/**/*.py")):
        place = path.relative_to(root)
        if len(place.parts) < 3:
            if place.as_posix() not in PACKAGES and len(ast.parse(path.read_text("utf-8")).body) > 1:
                yield f"{place} stands in no room"
            continue
        room = place.parts[1]
        if room not in BELOW:
            yield f"{place}: the room {room} is not in docs/layout.md"
            continue
        for name in imports(path):
            parts = name.split(".")
            if parts[0] == "stages" or (parts[0] == "catalog" and len(parts) > 1 and parts[1] not in (room, *BELOW[room])):
                yield f"{place} imports {name}, which is not below {room}"
        seen = project_file(root, ".".join(place.with_suffix("").parts))
        for name in imports(path):
            other = project_file(root, name)
            if other not in (None, seen) and place.as_posix() in code_files(root, name) and other.name != "__init__.py":
                yield f"{place} and {name} import each other"


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


CHECKS = [profile_problems, stage_problems, system_problems, import_problems, room_problems, lock_problems]
