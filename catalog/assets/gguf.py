"""Read a GGUF file: its metadata in one pass, and its quantised tensors block by block as float32.

GGUF is one header of typed key-value pairs, a table of tensors (name, dimensions with the fastest first,
quantisation, offset), then the aligned tensor data. The header alone holds several hundred thousand vocabulary
entries, which `gguf.GGUFReader` turns into as many numpy views (13 s for a vocabulary of 152,000); here they are read
into plain lists (0.3 s). Dequantisation itself is `gguf.quants`.
"""

import math
import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize

from catalog.base.errors import CatalogError

SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
STRING, ARRAY = 8, 9
FLOAT32 = 6

# Values dequantised at once: a block and its temporaries stay in the processor's cache, which is three times as fast
# as whole tensors.
BLOCK = 2**18


@dataclass(frozen=True)
class Tensor:
    """One tensor of a file.

    Attributes:
        shape: as numpy has it, slowest dimension first: (out, in) for a matrix.
        kind: quantisation.
        data: the raw bytes, (product of all dimensions but the last, bytes of a row).
    """

    shape: tuple[int, ...]
    kind: GGMLQuantizationType
    data: np.ndarray

    def blocks(self) -> Iterator[np.ndarray]:
        """Yield the values as float32 (rows, columns), rows in order, about `BLOCK` values at a time."""
        rows = max(1, BLOCK // self.shape[-1])
        for start in range(0, len(self.data), rows):
            raw = np.array(self.data[start : start + rows])
            yield dequantize(raw, self.kind).reshape(len(raw), self.shape[-1])

    def values(self) -> np.ndarray:
        """All values, float32 of `shape`."""
        return np.concatenate(list(self.blocks())).reshape(self.shape)


def read(path: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the metadata and the tensors of a GGUF file, version 2 or 3; tensor data are read when they are used.

    A float32 of the metadata becomes the shortest decimal number that stands for it (1e-05, not 9.999999747378752e-06).

    Raises:
        CatalogError: not a GGUF file, of another version, truncated, or a quantisation that cannot be read.
    """
    with Path(path).open("rb") as file:
        try:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError:
            raise CatalogError(f"{path} is empty; delete it and fetch it again.") from None
    if data[:4] != b"GGUF":
        raise CatalogError(f"{path} is not a GGUF file; fetch it again or correct its declaration in params.yaml.")
    try:
        return _read(data)
    except (struct.error, UnicodeDecodeError, OverflowError):
        raise CatalogError(f"{path} is damaged or truncated; delete it and fetch it again.") from None
    except ValueError as error:
        raise CatalogError(f"{path} cannot be read: {error}.") from None


def _read(data: mmap.mmap) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The header's key-value pairs, then its table of tensors as views of the mapped file."""
    version, n_tensors, n_pairs = struct.unpack_from("<IQQ", data, 4)
    if version not in (2, 3):
        raise ValueError(f"GGUF version {version} is neither 2 nor 3")
    position = 24
    metadata = {}
    for _ in range(n_pairs):
        key, position = _string(data, position)
        (kind,) = struct.unpack_from("<I", data, position)
        metadata[key], position = _value(data, position + 4, kind)
    table = []
    for _ in range(n_tensors):
        name, position = _string(data, position)
        (n_dims,) = struct.unpack_from("<I", data, position)
        *dims, kind, offset = struct.unpack_from(f"<{n_dims}QIQ", data, position + 4)
        position += 16 + 8 * n_dims
        table.append((name, tuple(reversed(dims)), GGMLQuantizationType(kind), offset))
    alignment = metadata.get("general.alignment", 32)
    start = math.ceil(position / alignment) * alignment
    return metadata, {name: _tensor(data, shape, kind, start + offset) for name, shape, kind, offset in table}


def _tensor(data: mmap.mmap, shape: tuple[int, ...], kind: GGMLQuantizationType, offset: int) -> Tensor:
    """A view of one tensor's bytes, after a check that the file has them."""
    block_values, block_bytes = GGML_QUANT_SIZES[kind]
    if not shape or shape[-1] % block_values:
        raise ValueError(f"a tensor of shape {shape} cannot be of quantisation {kind.name}")
    rows, width = math.prod(shape[:-1]), shape[-1] // block_values * block_bytes
    if offset + rows * width > len(data):
        raise struct.error("tensor data beyond the end of the file")
    raw = np.frombuffer(data, np.uint8, rows * width, offset)
    return Tensor(shape, kind, raw.reshape(rows, width))


def _string(data: mmap.mmap, position: int) -> tuple[str, int]:
    """A length-prefixed UTF-8 string, and the position after it."""
    (length,) = struct.unpack_from("<Q", data, position)
    end = position + 8 + length
    if end > len(data):
        raise struct.error("string beyond the end of the file")
    return data[position + 8 : end].decode("utf-8"), end


def _value(data: mmap.mmap, position: int, kind: int) -> tuple[Any, int]:
    """One metadata value of type number `kind`, and the position after it."""
    if kind == STRING:
        return _string(data, position)
    if kind == ARRAY:
        item_kind, length = struct.unpack_from("<IQ", data, position)
        position += 12
        if item_kind in SCALARS:
            item = SCALARS[item_kind]
            end = position + length * struct.calcsize(item)
            return list(struct.unpack_from(f"<{length}{item[1]}", data, position)), end
        items = []
        for _ in range(length):
            value, position = _value(data, position, item_kind)
            items.append(value)
        return items, position
    if kind not in SCALARS:
        raise ValueError(f"metadata of the unknown type {kind}")
    (value,) = struct.unpack_from(SCALARS[kind], data, position)
    if kind == FLOAT32:
        value = float(str(np.float32(value)))
    return value, position + struct.calcsize(SCALARS[kind])
