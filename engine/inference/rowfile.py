"""One file a row of windows: arrays under names, compressed, checksummed, written whole or not at all.

Guarantees: a file that has its final name was written to its end; damage is noticed on reading
(:class:`RowDamagedError`) and never returned as data; single arrays are read without touching the others. Importing
this module does not import torch.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

_MAGIC = b"RSVROW1\n"
_PREFIX = struct.Struct("<8sII")
_ZSTD_LEVEL = 1


class RowDamagedError(Exception):
    """A row file is not what was written; the row is computed again."""


@dataclass(frozen=True, slots=True)
class _Block:
    dtype: str
    shape: tuple[int, ...]
    codec: str
    offset: int
    stored: int
    crc: int


def write_rowfile(
    path: Path, arrays: Mapping[str, npt.NDArray[Any]], *, meta: Mapping[str, Any], raw: Iterable[str] = ()
) -> None:
    """Write arrays to ``path`` under a temporary name and rename.

    Args:
        path: The final name.
        arrays: Arrays by name.
        meta: What else to keep, JSON-able.
        raw: Names of arrays that do not compress (noise-like floats) and are stored as they are.
    """
    zstd = pa.Codec("zstd", compression_level=_ZSTD_LEVEL)
    uncompressed = set(raw)
    blocks: dict[str, dict[str, Any]] = {}
    bodies: list[memoryview] = []
    offset = 0
    for name, array in arrays.items():
        flat = np.ascontiguousarray(array)
        codec = "raw" if name in uncompressed or flat.nbytes == 0 else "zstd"
        body = flat.reshape(-1).view(np.uint8).data if codec == "raw" else memoryview(zstd.compress(flat))
        size = body.nbytes
        blocks[name] = {
            "dtype": flat.dtype.str,
            "shape": flat.shape,
            "codec": codec,
            "offset": offset,
            "stored": size,
            "crc": zlib.crc32(body),
        }
        bodies.append(body)
        offset += size
    header = json.dumps({"meta": dict(meta), "blocks": blocks}, separators=(",", ":")).encode()
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as file:
        file.write(_PREFIX.pack(_MAGIC, len(header), zlib.crc32(header)))
        file.write(header)
        for body in bodies:
            file.write(body)
    temporary.replace(path)


class RowFile:
    """A row file opened for reading; holds its header, opens the file only while it reads an array."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("rb") as file:
            prefix = file.read(_PREFIX.size)
            if len(prefix) < _PREFIX.size:
                raise RowDamagedError(f"{path} is cut off")
            magic, length, crc = _PREFIX.unpack(prefix)
            header = file.read(length) if magic == _MAGIC else b""
        if magic != _MAGIC or len(header) != length or zlib.crc32(header) != crc:
            raise RowDamagedError(f"{path} is damaged in its header")
        parsed = json.loads(header)
        self.meta: dict[str, Any] = parsed["meta"]
        self._start = _PREFIX.size + length
        self._blocks = {
            name: _Block(b["dtype"], tuple(b["shape"]), b["codec"], b["offset"], b["stored"], b["crc"])
            for name, b in parsed["blocks"].items()
        }

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the arrays."""
        return tuple(self._blocks)

    def read(self, name: str) -> npt.NDArray[Any]:
        """Read one array."""
        return self.read_many((name,))[0]

    def read_many(self, names: Iterable[str]) -> list[npt.NDArray[Any]]:
        """Read several arrays with one opening of the file."""
        found = []
        with self.path.open("rb") as file:
            for name in names:
                block = self._blocks[name]
                file.seek(self._start + block.offset)
                body = file.read(block.stored)
                if len(body) != block.stored or zlib.crc32(body) != block.crc:
                    raise RowDamagedError(f"{self.path} is damaged in {name}")
                found.append(_decode(block, body))
        return found

    def verify(self) -> None:
        """Read everything once.

        Raises:
            RowDamagedError: Something is not as it was written.
        """
        self.read_many(self._blocks)


def _decode(block: _Block, body: bytes) -> npt.NDArray[Any]:
    dtype = np.dtype(block.dtype)
    if block.codec == "zstd":
        size = int(np.prod(block.shape, dtype=np.int64)) * dtype.itemsize
        buffer = pa.Codec("zstd").decompress(body, size)
        return np.frombuffer(buffer, dtype).reshape(block.shape)
    return np.frombuffer(body, dtype).reshape(block.shape)
