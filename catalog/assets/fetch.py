"""Fetch a declared asset from the first source that gives the bytes of its SHA-256.

An asset is its hash, not its address. Its files are hashed while they are copied, so none is held in memory, and the
folder appears only when every file is whole and right.
"""

import contextlib
import hashlib
import re
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from tqdm import tqdm

from catalog.assets.sources import SourceError, chunks, describe, kind_of
from catalog.base.errors import CatalogError
from catalog.base.io import atomic_dir, sha256
from catalog.base.scratch import scratch

KEYS = {"licence", "file", "bytes", "sha256", "files", "sources"}
LOG_SECONDS = 30  # between two lines of progress where there is no terminal


@dataclass(frozen=True)
class AssetFile:
    """One file of an asset: name, size in bytes, SHA-256 and, where it differs from the source's, archive member."""

    name: str
    size: int
    sha256: str
    member: str | None = None


def asset_files(name: str, spec: Mapping[str, Any]) -> list[AssetFile]:
    """Check the declaration of an asset and return its files.

    Raises:
        CatalogError: a missing, unknown or malformed key.
    """
    where = f"assets.{name}"
    if not isinstance(spec, Mapping) or spec.keys() - KEYS:
        raise CatalogError(f"params.yaml, {where} must be a mapping with the keys {', '.join(sorted(KEYS))}.")
    if "licence" not in spec:
        raise CatalogError(f"params.yaml, {where} has no licence; name the one its files are under.")
    if ("files" in spec) == ("file" in spec):
        raise CatalogError(f"params.yaml, {where} needs either file, bytes and sha256, or files.")
    declared = spec["files"] if "files" in spec else {spec["file"]: {key: spec.get(key) for key in ("bytes", "sha256")}}
    if not isinstance(declared, Mapping) or not declared:
        raise CatalogError(f"params.yaml, {where}.files must be a mapping of file names.")
    files = []
    for file, entry in declared.items():
        parts = PurePosixPath(file).parts if isinstance(file, str) else ()
        if not parts or ".." in parts or file.startswith("/"):
            raise CatalogError(f"params.yaml, {where}: {file!r} is no file name relative to the asset's folder.")
        if not isinstance(entry, Mapping) or entry.keys() - {"bytes", "sha256", "member"}:
            raise CatalogError(f"params.yaml, {where}: {file} must have the keys bytes, sha256 and perhaps member.")
        size, digest = entry.get("bytes"), entry.get("sha256")
        if not isinstance(size, int) or isinstance(size, bool) or size < 0:
            raise CatalogError(f"params.yaml, {where}: bytes of {file} is {size!r} but must be a whole number.")
        if not isinstance(digest, str) or not re.fullmatch("[0-9a-f]{64}", digest):
            raise CatalogError(f"params.yaml, {where}: sha256 of {file} is {digest!r} but must be 64 hexadecimal digits.")
        files.append(AssetFile(file, size, digest, entry.get("member")))
    return sorted(files, key=lambda file: file.name)


def fetch(name: str, spec: Mapping[str, Any], dest: Path, sources: list[Mapping[str, Any]] | None = None) -> None:
    """Make the folder `dest` with the files of an asset; nothing is downloaded if it has them already.

    Args:
        name: key of the asset, for messages.
        spec: its declaration: licence, file, bytes, sha256 (or files) and sources.
        dest: folder to make; anything else in it is removed.
        sources: try these and not the declared ones.

    Raises:
        CatalogError: the declaration is wrong, or no source gives the declared bytes. `dest` is then as it was.
    """
    files = asset_files(name, spec)
    sources = spec.get("sources") if sources is None else sources
    if not isinstance(sources, list) or not sources:
        raise CatalogError(f"params.yaml, assets.{name}.sources must be a list of at least one source.")
    for i, source in enumerate(sources):
        kind_of(source, f"assets.{name}.sources[{i}]")
    if is_complete(dest, files):
        return
    failures = []
    for source in sources:
        try:
            _fetch_from(source, name, files, dest)
            return
        except SourceError as error:
            failures.append(f"{describe(source)}: {error}")
    tried = "; ".join(failures)
    raise CatalogError(
        f"No source has the asset {name} ({tried}); try again with a network, add a source to "
        f"assets.{name}.sources of params.yaml, or remove assets.{name} and what uses it."
    )


def is_complete(dest: Path, files: list[AssetFile]) -> bool:
    """Whether the folder `dest` has exactly these files, with the right sizes and hashes."""
    there = {path.relative_to(dest).as_posix(): path for path in dest.rglob("*") if path.is_file()}
    if there.keys() != {file.name for file in files}:
        return False
    return all(there[file.name].stat().st_size == file.size and sha256(there[file.name]) == file.sha256 for file in files)


def _fetch_from(source: Mapping[str, Any], name: str, files: list[AssetFile], dest: Path) -> None:
    """Copy and check all files from one source. SourceError if any cannot be had or differs."""
    with (
        scratch(dest) as work,
        atomic_dir(dest) as folder,
        _progress(f"{name} from {describe(source)}", sum(f.size for f in files), work, folder),
    ):
        for file in files:
            _copy(source, file, work, folder / file.name)


def _copy(source: Mapping[str, Any], file: AssetFile, work: Path, path: Path) -> None:
    """Write one file, hashing it on the way; stops at the first byte too many."""
    path.parent.mkdir(parents=True, exist_ok=True)
    digest, size = hashlib.sha256(), 0
    with path.open("wb") as out:
        for chunk in chunks(source, file.name, file.member, work):
            size += len(chunk)
            if size > file.size:
                raise SourceError(f"{file.name} is longer than the declared {file.size} bytes")
            digest.update(chunk)
            out.write(chunk)
    if size < file.size:
        raise SourceError(f"{file.name} is truncated: {size} of {file.size} bytes")
    if digest.hexdigest() != file.sha256:
        raise SourceError(f"{file.name} has the sha256 {digest.hexdigest()} and not {file.sha256}")


@contextlib.contextmanager
def _progress(label: str, total: int, *folders: Path) -> Iterator[None]:
    """Show how far the work in `folders` is: a bar on a terminal, else a line every `LOG_SECONDS`.

    What grows is measured, whoever writes it (pip, npm, the hub's client, this process): the largest of the folders'
    sizes.
    """
    stop = threading.Event()
    terminal = sys.stderr.isatty()

    def watch() -> None:
        start = time.monotonic()
        with tqdm(total=total, desc=label, unit="B", unit_scale=True, disable=not terminal, leave=False) as bar:
            while not stop.wait(0.5 if terminal else LOG_SECONDS):
                done = min(total, max(_size(folder) for folder in folders))
                bar.update(done - bar.n)
                if not terminal:
                    rate = done / (time.monotonic() - start)
                    left = f", {(total - done) / rate:.0f} s left" if rate else ""
                    print(
                        f"{label}: {done / 1e6:.0f} of {total / 1e6:.0f} MB, {rate / 1e6:.1f} MB/s{left}",
                        file=sys.stderr,
                        flush=True,
                    )

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _size(folder: Path) -> int:
    """Bytes of all files under `folder`, which may be changing."""
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            total += path.lstat().st_size
    return total
