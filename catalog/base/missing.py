"""What to do where a stage that is run by hand finds no input: which stage writes the file, by the `outs` of `dvc.yaml`.

Only files of the project's own `data/`, `models/` and `reports/` are spoken of. Any other file that is not there is a bug of the code, as
is one that the running stage itself should have written, and keeps its traceback.
"""

import errno
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

ROOT = Path(__file__).resolve().parents[2]
PROFILES = ("small", "full")  # those of params.py, which stands on errors.py and so on this module
MADE = ("data", "models", "reports")
# polars and safetensors write the path into the message and leave the error's fields empty; of a long one polars gives only the end.
_SAID = re.compile(r'(No such file or directory|Not a directory|Is a directory|Permission denied)(?: \(os error \d+\))?: "?(.+?)"?')
_CUT = re.compile(r"\.\.\.(.+) \(set POLARS_VERBOSE=1 to see full path\)")
_ERRNO = {
    "No such file or directory": errno.ENOENT,
    "Not a directory": errno.ENOTDIR,
    "Is a directory": errno.EISDIR,
    "Permission denied": errno.EACCES,
}


def read_error(error: OSError) -> tuple[int | None, str | None]:
    """Return the number of an error of the system and the path it is about, from its fields or else from its message."""
    if error.errno is not None:
        return error.errno, os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes, os.PathLike)) else None
    found = _SAID.fullmatch(str(error))
    return (_ERRNO[found[1]], found[2]) if found else (None, None)


def explain(error: OSError, module: str = "", root: Path | None = None) -> str | None:
    """Return one sentence on a file that an earlier stage should have written, or None if the error is about something else.

    Args:
        error: as the stage raised it.
        module: the module that runs, `stages.<system>.<step>`.
        root: the project's folder; this project's by default.
    """
    root = root or ROOT
    number, path = read_error(error)
    if path is None or number not in (errno.ENOENT, errno.ENOTDIR, errno.EISDIR):
        return None
    try:
        place = Path(os.path.abspath(_whole(path, root))).relative_to(root)
    except ValueError:
        return None
    if len(place.parts) < 2 or place.parts[0] not in MADE or any(part.startswith(".") for part in place.parts):
        return None
    try:
        stage = _writer(place.as_posix(), root)
    except (OSError, YAMLError, TypeError, AttributeError, KeyError):  # no dvc.yaml that can be read
        stage = None
    if stage is not None and f" {module} " in f" {stage[1]} ":
        return None
    remedy = f"run `{stage[0]}`, which writes it" if stage else "no stage of dvc.yaml writes it, so put it there and run this again"
    if number == errno.EISDIR:
        return f"{place.as_posix()} is a folder and should be a file; delete it and {remedy}."
    if number == errno.ENOTDIR:
        file = next((above for above in place.parents if (root / above).is_file()), place.parent)
        return f"{file.as_posix()} is a file and should be a folder; delete it and {remedy}."
    return f"{place.as_posix()} does not exist; {remedy}."


def _whole(path: str, root: Path) -> str:
    """A path of which polars may give only the end, made whole again where that end begins within the project's folder."""
    cut = _CUT.fullmatch(path)
    if cut is None:
        return path
    for found in re.finditer(f"/(?:{'|'.join(MADE)})/", cut[1]):
        if found.start() and str(root).endswith(cut[1][: found.start()]):
            return f"{root}{cut[1][found.start() :]}"
    return cut[1]


def _writer(place: str, root: Path) -> tuple[str, str] | None:
    """The command that makes DVC write the file or folder `place`, and the command of the stage; None if it is no output of any."""
    yaml = YAML(typ="safe")
    params = yaml.load((root / "params.yaml").read_text(encoding="utf-8"))
    for name, stage in yaml.load((root / "dvc.yaml").read_text(encoding="utf-8"))["stages"].items():
        body = stage.get("do", stage)
        for out in _outs(body):
            # ${profile} and ${key} stand for a name each; the rest of the path is as it is written.
            parts = re.split(r"\$\{([^}]*)\}", out)
            found = re.fullmatch("".join("([^/]+)" if i % 2 else re.escape(part) for i, part in enumerate(parts)) + "(?:/.*)?", place)
            named = dict(zip(parts[1::2], found.groups(), strict=True)) if found else {}
            if found is None or named.get("profile", PROFILES[0]) not in PROFILES:
                continue
            if "foreach" in stage:
                declared = params.get(re.sub(r"[${} ]", "", str(stage["foreach"]))) or {}
                if named.get("key") not in declared:
                    continue
                name = f"{name}@{named['key']}"
            profile = named.get("profile", params.get("profile"))
            command = f"dvc repro {name}" if profile == params.get("profile") else f"dvc exp run -S profile={profile} {name}"
            return command, str(body.get("cmd"))
    return None


def _outs(stage: Mapping[str, Any]) -> Iterator[str]:
    """The paths of a stage's outputs, as they are written in `dvc.yaml`."""
    for kind in ("outs", "metrics", "plots"):
        for out in stage.get(kind) or []:
            yield from out if isinstance(out, Mapping) else [out]
