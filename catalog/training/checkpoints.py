"""Checkpoints of unfinished training: `.checkpoints/<stage>/<profile>/<fingerprint>/checkpoint-<step>/`.

They lie outside the outputs of a stage, which DVC deletes before it runs the stage again. The fingerprint holds all
that decides the result, so a run goes on only from its own checkpoint. A checkpoint counts once its list of files,
written last, is there and agrees with them: one that was cut off while it was written is never resumed from.

A second copy of the same stage stops at once: the first holds a lock on `.checkpoints/<stage>/<profile>.lock`, which ends with its process.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import torch

from catalog.base.errors import CatalogError
from catalog.base.io import read_json, write_json
from catalog.base.params import ROOT

FOLDER = ".checkpoints"
LIST = "complete.json"
_locks: dict[Path, TextIO] = {}  # held by this process
_INTEGER = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def is_main() -> bool:
    """Whether this process is the one that writes files (the only one, or rank 0 of several)."""
    return int(os.environ.get("RANK", 0)) == 0


def alone() -> bool:
    """Whether this is the only process that trains."""
    return int(os.environ.get("WORLD_SIZE", 1)) == 1


def checkpoint_folder(
    stage: str,
    profile: str,
    model: torch.nn.Module,
    examples: Sequence[Mapping[str, Any]],
    settings: Any,
    *,
    extra: Any = None,
    root: Path = ROOT,
) -> Path:
    """Folder for the checkpoints of one training run; call it before a LoRA is attached and before training.

    Args:
        stage, profile: names of the stage, which may hold several runs, and of the profile.
        model: the base model as loaded. Its weights are part of the fingerprint.
        examples: the training examples, of plain numbers, texts and lists.
        settings: the dataclass of settings.
        extra: whatever else decides the result, such as the parameters of a loss of one's own; must have a JSON form.

    Returns:
        `<root>/.checkpoints/<stage>/<profile>/<fingerprint>`, the same in all processes of a run.

    Raises:
        CatalogError: another process runs this stage.
    """
    if is_main():
        _lock(Path(root) / FOLDER / stage / f"{profile}.lock")
    name = fingerprint(model, examples, settings, extra) if is_main() else ""
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        from accelerate.utils import broadcast_object_list

        from accelerate import PartialState

        # Under FSDP the weights may be in the main process alone.
        PartialState(cpu=not torch.cuda.is_available())
        name = broadcast_object_list([name])[0]
    return Path(root) / FOLDER / stage / profile / name


def fingerprint(model: torch.nn.Module, examples: Sequence[Mapping[str, Any]], settings: Any, extra: Any = None) -> str:
    """20 hexadecimal digits of a SHA-256 over settings, examples, `extra` and the model's weights.

    Of each weight enter its name, type, shape, the sum of its bit patterns and 64 of its values, which takes a second
    for a model of a billion parameters.
    """
    digest = hashlib.sha256()
    for part in (dataclasses.asdict(settings), extra, torch.__version__):
        digest.update(json.dumps(part, sort_keys=True).encode())
    for example in examples:
        digest.update(json.dumps(dict(example), sort_keys=True).encode())
    with torch.no_grad():
        for name, weight in model.state_dict().items():
            bits = weight.detach().contiguous().view(-1).view(_INTEGER[weight.element_size()])
            some = bits[:: max(1, bits.numel() // 64)][:64].tolist()
            what = [name, str(weight.dtype), list(weight.shape), int(bits.sum(dtype=torch.int64)), some]
            digest.update(json.dumps(what).encode())
    return digest.hexdigest()[:20]


def finish(stage: str, profile: str, root: Path = ROOT) -> None:
    """Remove the checkpoints of a stage; call it at its end, when its outputs are written."""
    if is_main():
        folder = Path(root) / FOLDER / stage
        shutil.rmtree(folder / profile, ignore_errors=True)
        _unlock(folder / f"{profile}.lock")
        with contextlib.suppress(OSError):  # another profile has checkpoints, or there never were any
            folder.rmdir()


def mark_complete(checkpoint: Path) -> None:
    """Record that `checkpoint` is whole: names and sizes of its files, also in folders, where FSDP puts the part of each process."""
    inside = {path.relative_to(checkpoint).as_posix(): path for path in checkpoint.rglob("*") if path.is_file()}
    files = {name: path.stat().st_size for name, path in inside.items() if name != LIST}
    write_json(files, checkpoint / LIST)


def last_complete(folder: Path) -> Path | None:
    """The latest whole checkpoint in `folder`, or None. The main process removes any that are not whole."""
    whole: list[tuple[int, Path]] = []
    for path in folder.glob("checkpoint-*"):
        if _is_whole(path):
            whole.append((int(path.name.rpartition("-")[2]), path))
        elif is_main():
            shutil.rmtree(path, ignore_errors=True)
    return max(whole)[1] if whole else None


def _is_whole(checkpoint: Path) -> bool:
    """Whether the list of files is there and each file has its size."""
    try:
        files = read_json(checkpoint / LIST)
        return all((checkpoint / name).stat().st_size == size for name, size in files.items())
    except Exception:
        return False


def _lock(path: Path) -> None:
    """Hold the file `path` until `_unlock` or the end of this process.

    A lock of POSIX belongs to the process alone: neither a child that outlives it nor a file that a killed one left can block.
    """
    try:
        import fcntl
    except ImportError:  # no such locks on this system
        return
    if path in _locks:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("a+")
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        file.seek(0)
        holder = file.read().strip() or "unknown"
        file.close()
        what = f"Another process (number {holder}) already runs {path.parent.name} ({path.stem})"
        raise CatalogError(f"{what}; wait for it, or end it with `kill {holder}`.") from None
    except OSError as error:
        print(f"{path} cannot be locked ({error.strerror}), so do not start this stage twice.", file=sys.stderr)
    if not path.exists() or not os.path.samestat(path.stat(), os.fstat(file.fileno())):  # its holder removed it just now
        file.close()
        return _lock(path)
    _locks[path] = file
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()


def _unlock(path: Path) -> None:
    """Give up the lock on `path`, if this process holds it."""
    if path in _locks:
        path.unlink(missing_ok=True)
        _locks.pop(path).close()
