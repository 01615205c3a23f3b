"""Write files whole or not at all, with the same bytes for the same content.

Every writer makes a temporary file or folder beside its target and moves it into place (`scratch.py`), so a killed stage never leaves
half a file that a later stage takes for a whole one, and two writers of one file never mix. Parent folders are made. Nothing here imports
torch unless it is given tensors.
"""

import contextlib
import hashlib
import json
import math
import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from catalog.base import missing
from catalog.base.errors import CatalogError
from catalog.base.scratch import OLD, put_folder, scratch

DEEPEST = 100  # levels of JSON; what is nested deeper would break the first function that walks through it
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; when the block ends without error the file made there becomes `path`.

    Raises:
        CatalogError: `path` is a folder.
    """
    path = Path(path)
    if path.is_dir():
        raise CatalogError(f"{path} cannot be written, since it is a folder; move it away.")
    with scratch(path) as folder:
        temporary = folder / path.name
        yield temporary
        # Some writers make the file readable by its owner alone, which breaks caches shared by several users.
        temporary.chmod(0o666 & ~_umask())
        os.replace(temporary, path)


@contextlib.contextmanager
def atomic_dir(path: str | Path) -> Iterator[Path]:
    """Give an empty temporary folder beside `path`; when the block ends without error it takes the place of `path`.

    Raises:
        CatalogError: `path` is a file.
    """
    path = Path(path)
    _require_no_file(path)
    with scratch(path) as folder:
        new = folder / "new"
        new.mkdir()
        yield new
        _require_no_file(path)
        put_folder(new, path, folder / OLD)


def write_parquet(df: pl.DataFrame, path: str | Path, sort_by: list[str] | None = None) -> None:
    """Write `df` as zstd Parquet, its rows sorted by the columns `sort_by` (ties keep their order, nulls first)."""
    if sort_by:
        df = df.sort(sort_by, maintain_order=True)
    with replacing(path) as temporary:
        df.write_parquet(temporary, compression="zstd")


def write_json(obj: Any, path: str | Path) -> None:
    """Write `obj` as JSON: keys sorted, indent 1, floats rounded to 10 significant digits, newline at the end.

    Tuples become lists, numpy scalars and arrays plain numbers and lists, paths strings.

    Raises:
        CatalogError: a NaN or infinite number, a key that is no text, half of a surrogate pair, or a value JSON has no form for.
    """
    try:
        plain = _plain(obj)
    except ValueError as error:
        raise CatalogError(f"{path} was not written: {error}.") from None
    write_text(json.dumps(plain, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False) + "\n", path)


def write_text(text: str, path: str | Path) -> None:
    """Write `text` as UTF-8 with its line ends as they are; CatalogError for half of a surrogate pair, which UTF-8 has no form for."""
    try:
        data = text.encode("utf-8")
    except UnicodeEncodeError as error:
        half = f"\\u{ord(text[error.start]):04x}"
        raise CatalogError(f"{path} was not written: its text has half a character, {half}; correct where it comes from.") from None
    write_bytes(data, path)


def write_bytes(data: bytes, path: str | Path) -> None:
    """Write `data`."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_safetensors(tensors: Mapping[str, Any], path: str | Path) -> None:
    """Write named tensors, all of torch or all of numpy, as one safetensors file that `from_pretrained` reads.

    Args:
        tensors: name -> tensor; those on an accelerator or not contiguous are copied. Two names must not share memory.
    """
    import numpy as np

    # One metadata entry only: safetensors does not keep the order of several, which would change the bytes.
    metadata = {"format": "pt"}
    if all(isinstance(tensor, np.ndarray) for tensor in tensors.values()):
        from safetensors.numpy import save_file

        ready = {name: np.ascontiguousarray(tensor) for name, tensor in sorted(tensors.items())}
    else:
        from safetensors.torch import save_file

        ready = {name: tensor.detach().cpu().contiguous() for name, tensor in sorted(tensors.items())}
    with replacing(path) as temporary:
        save_file(ready, str(temporary), metadata=metadata)


def read_json(path: str | Path) -> Any:
    """Return the content of a JSON file.

    Raises:
        CatalogError: the file is absent or is not JSON.
    """
    try:
        return parse_json(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CatalogError(missing.explain(error) or f"{path} does not exist; run `dvc repro` to make it.") from None
    except (CatalogError, UnicodeDecodeError) as error:
        raise CatalogError(f"{path} is not valid JSON ({error}); delete it and run `dvc repro`.") from None


def parse_json(text: str) -> Any:
    """Return the value of one JSON text, taking nothing that JSON leaves open or that would be lost without a word.

    The standard library takes the last of two equal keys, takes `NaN`, makes infinity of `1e999`, keeps halves of characters (`"\\ud800"`)
    that no file can hold, and ends in a `RecursionError` where arrays are nested thousands of levels deep. All of these are errors here.

    Args:
        text: a whole file, or a line of a file with one value a line.

    Raises:
        CatalogError: the reason alone, in a few words without a full stop: `f"{path}, line {number}: {error}; correct it."`.
    """
    try:
        value = json.loads(text, object_pairs_hook=_object, parse_constant=_constant, parse_float=_finite)
    except json.JSONDecodeError as error:
        place = f"column {error.colno}" if error.lineno == 1 and "\n" not in text.strip() else f"line {error.lineno} column {error.colno}"
        raise CatalogError(f"{error.msg} at {place}") from None
    except RecursionError:
        raise CatalogError(f"it is nested more than {DEEPEST} levels deep") from None
    except ValueError as error:  # an integer of thousands of digits
        raise CatalogError(str(error)) from None
    if text.count("[") + text.count("{") > DEEPEST and _deeper(value):
        raise CatalogError(f"it is nested more than {DEEPEST} levels deep")
    if _SURROGATE.search(text):
        try:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError as error:
            raise CatalogError(f"\\u{ord(error.object[error.start]):04x} is half a character") from None
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; CatalogError if a key occurs twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for i, key in enumerate(keys) if key in keys[:i])
        raise CatalogError(f"the key {twice!r} occurs twice in one object")
    return found


def _constant(word: str) -> None:
    """Refuse `NaN`, `Infinity` and `-Infinity`, which are no JSON."""
    raise CatalogError(f"{word} is no number of JSON")


def _finite(digits: str) -> float:
    """A number with a point or an exponent; CatalogError if it is larger than a float can be."""
    number = float(digits)
    if not math.isfinite(number):
        raise CatalogError(f"the number {digits[:20]} is too large")
    return number


def _deeper(value: Any) -> bool:
    """Whether `value` is nested more than `DEEPEST` levels deep; found level by level, so that any depth is survived."""
    level = [value]
    for _ in range(DEEPEST):
        inner = (outer.values() if isinstance(outer, dict) else outer for outer in level if isinstance(outer, (dict, list)))
        level = [item for items in inner for item in items]
    return any(isinstance(item, (dict, list)) for item in level)


def sha256(path: str | Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def md5(path: str | Path) -> str:
    """Hexadecimal MD5 of a file, as DVC records it."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _plain(obj: Any) -> Any:
    """Reduce `obj` to what JSON has a form for; ValueError says what it has none for."""
    if obj is None or isinstance(obj, (bool, int, str)):
        return obj
    if isinstance(obj, float):
        if not math.isfinite(obj):
            raise ValueError(f"JSON has no form for the number {obj}")
        return float(f"{obj:.10g}")
    if isinstance(obj, Mapping):
        for key in obj:
            if not isinstance(key, str):  # as texts, 1 and "1" would be one key
                raise ValueError(f"the keys of JSON are texts, and {key!r} is of type {type(key).__name__}")
        return {key: _plain(value) for key, value in obj.items()}
    if isinstance(obj, (list, tuple)):
        return [_plain(value) for value in obj]
    if isinstance(obj, Path):
        return obj.as_posix()
    if hasattr(obj, "tolist"):
        return _plain(obj.tolist())
    raise ValueError(f"JSON has no form for a value of type {type(obj).__name__}")


def _require_no_file(path: Path) -> None:
    """Raise `CatalogError` if a file or a broken link stands where a folder goes."""
    try:
        mode = os.lstat(path).st_mode  # once: another writer may be moving a folder away and back
    except (FileNotFoundError, NotADirectoryError):
        return
    if not stat.S_ISDIR(mode) and not (stat.S_ISLNK(mode) and path.is_dir()):
        raise CatalogError(f"The folder {path} cannot be written, since a file of that name is there; move it away.")


def _umask() -> int:
    """The process's file mode mask, which can only be read by setting it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
