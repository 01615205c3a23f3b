"""Where the bytes of an asset come from: the kinds of source that `params.yaml` may declare.

Each is downloaded whole into a scratch folder (once, however many members are taken out of it) and read back in
chunks. A source that cannot deliver raises `SourceError`, and the caller goes on to the next.
"""

import gzip
import hashlib
import lzma
import os
import re
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from catalog.assets import downloads
from catalog.assets.downloads import CHUNK, SourceError
from catalog.base.errors import CatalogError
from catalog.base.params import ROOT

# kind -> (required keys, optional keys)
KINDS = {
    "hub": ({"hub", "revision"}, {"file"}),
    "wheel": ({"wheel", "version"}, {"member"}),
    "npm": ({"npm", "version"}, {"member"}),
    "url": ({"url"}, {"member"}),
    "path": ({"path"}, {"member"}),
    "join": ({"join"}, set()),
}

PACKAGE = re.compile(r"(@[A-Za-z0-9._~-]+/)?[A-Za-z0-9][A-Za-z0-9._-]*")
VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+!_-]*")


# What zipfile and tarfile raise on bytes that are no whole archive, or one they cannot read.
DAMAGED = (
    zipfile.BadZipFile,
    tarfile.TarError,
    gzip.BadGzipFile,
    lzma.LZMAError,
    zlib.error,
    EOFError,
    NotImplementedError,
)


def kind_of(source: Any, where: str) -> str:
    """Return the kind of a declared source after checking its keys.

    Args:
        where: its place in `params.yaml`, for messages.

    Raises:
        CatalogError: an unknown kind, a missing or unknown key, a value that is not a string.
    """
    kinds = [kind for kind in KINDS if isinstance(source, Mapping) and kind in source]
    if len(kinds) != 1:
        raise CatalogError(f"params.yaml, {where}: a source needs exactly one of the keys {', '.join(KINDS)}.")
    kind = kinds[0]
    required, optional = KINDS[kind]
    wrong = sorted((required - source.keys()) | (source.keys() - required - optional))
    if wrong:
        allowed = ", ".join(sorted(required | optional))
        raise CatalogError(f"params.yaml, {where}: {wrong[0]!r} is missing or unknown; a {kind} source has {allowed}.")
    if kind == "join":
        if not isinstance(source["join"], list) or not source["join"]:
            raise CatalogError(f"params.yaml, {where}: 'join' must be a list of sources.")
        for i, part in enumerate(source["join"]):
            kind_of(part, f"{where}.join[{i}]")
        return kind
    for key, value in source.items():
        if not isinstance(value, str):
            raise CatalogError(f"params.yaml, {where}: {key} is {value!r} but must be text; put it in quotes.")
    if kind in ("wheel", "npm") and not (PACKAGE.fullmatch(source[kind]) and VERSION.fullmatch(source["version"])):
        raise CatalogError(f"params.yaml, {where}: {source[kind]!r} {source['version']!r} is no package name and version.")
    return kind


def describe(source: Mapping[str, Any]) -> str:
    """A source in a few words, for messages: ``wheel name==1.0``."""
    if "join" in source:
        first, more = describe(source["join"][0]), len(source["join"]) - 1
        return f"{first} and {more} more" if more else first
    kind = next(kind for kind in KINDS if kind in source)
    version = f"=={source['version']}" if kind == "wheel" else f"@{source['version']}" if kind == "npm" else ""
    return f"{kind} {source[kind]}{version}"


def chunks(source: Mapping[str, Any], name: str, member: str | None, work: Path) -> Iterator[bytes]:
    """Yield the bytes of one file of an asset from one source.

    Args:
        source: a checked source.
        name: the file's name in the asset; stands for `{file}` in the source's `member` or `file`.
        member: the file's own member, which goes before the source's.
        work: scratch folder; what is downloaded stays there for the next file.

    Raises:
        SourceError: out of reach, no such file or member, a damaged archive.
    """
    if "join" in source:
        for part in source["join"]:
            yield from chunks(part, name, None, work)
        return
    if "hub" in source:
        hub_file = source.get("file", "{file}").replace("{file}", name)
        yield from _read(downloads.hub(source["hub"], source["revision"], hub_file, work / "hub").open("rb"))
        return
    member = member or source.get("member", "").replace("{file}", name)
    archive = _download(source, work)
    if not member:
        yield from _read(archive.open("rb"))
        return
    try:
        yield from _member(archive, member)
    except DAMAGED:
        raise SourceError("it is damaged, truncated or no zip or tar archive") from None


def _read(stream: BinaryIO) -> Iterator[bytes]:
    """Yield a stream in chunks and close it."""
    with stream:
        while chunk := stream.read(CHUNK):
            yield chunk


def _member(archive: Path, member: str) -> Iterator[bytes]:
    """Yield one member of a zip (also a wheel) or tar archive."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as file:
            if member not in file.namelist():
                raise SourceError(f"it has no member {member}")
            yield from _read(file.open(member))
    else:
        with tarfile.open(archive) as file:
            stream = file.extractfile(member) if member in file.getnames() else None
            if stream is None:
                raise SourceError(f"it has no member {member}")
            yield from _read(stream)


def _download(source: Mapping[str, Any], work: Path) -> Path:
    """The local file of a wheel, npm, url or path source, downloaded if it is not yet in `work`."""
    if "path" in source:
        path = ROOT / Path(source["path"]).expanduser()
        if not path.is_file():
            raise SourceError("there is no such file")
        return path
    folder = work / hashlib.sha256(describe(source).encode()).hexdigest()[:16]
    done = sorted((folder / "whole").glob("*"))
    if done:
        return done[0]
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "part").mkdir(parents=True)
    if "wheel" in source:
        downloads.wheel(source["wheel"], source["version"], folder / "part")
    elif "npm" in source:
        downloads.npm(source["npm"], source["version"], folder / "part")
    else:
        downloads.url(source["url"], folder / "part" / "file")
    os.replace(folder / "part", folder / "whole")
    return next((folder / "whole").iterdir())
