"""Arrays on disk: written front to back with their checksum, and looked at once a process."""

from __future__ import annotations

import os
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np

_CHUNK = 2**22
# A clock of files may tick in steps this long; within one, a change leaves no trace in the times.
_TICK_NS = 2 * 10**9

_SOUND: dict[tuple[Any, ...], int] = {}


class Npy:
    """A .npy file of float32 [n, ...] in the making."""

    def __init__(self, path: Path, shape: tuple[int, ...]):
        self.path, self.shape, self.rows = path, shape, 0
        self.file = path.open("w+b")
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self.file, header)
        self.file.flush()
        self.crc = zlib.crc32(path.read_bytes())

    def append(self, values: np.ndarray) -> None:
        """The next rows. ValueError when they have another shape than those before."""
        if values.shape[1:] != self.shape[1:]:
            raise ValueError(f"`{self.path.name}`: {values.shape[1:]} after {self.shape[1:]}")
        data = np.ascontiguousarray(values, dtype="<f4").tobytes()
        self.file.write(data)
        self.crc = zlib.crc32(data, self.crc)
        self.rows += len(values)

    def finish(self) -> dict[str, int]:
        """Size and checksum, when all is on the disk. ValueError when rows are missing."""
        if self.rows != self.shape[0]:
            raise ValueError(f"`{self.path.name}`: {self.rows} rows of {self.shape[0]}")
        self.file.flush()
        os.fsync(self.file.fileno())
        return {"bytes": self.file.tell(), "crc32": self.crc}


def wrong_with(path: Path, expected: dict[str, Any]) -> str:
    """What is wrong with a file of `expected` bytes and crc32, in words; nothing: the empty text.

    A file is read once by a process, and again when its identity, size or times have changed.
    """
    try:
        size = path.stat().st_size
        if size != expected["bytes"]:
            return f"{size} bytes, {expected['bytes']} were written"
        crc = _checksum(path)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return "" if crc == expected["crc32"] else f"checksum {crc:08x}, was {expected['crc32']:08x}"


def _checksum(path: Path) -> int:
    with path.open("rb") as file:
        found = os.fstat(file.fileno())
        key = (str(path), found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        if key in _SOUND:
            return _SOUND[key]
        crc = 0
        while chunk := file.read(_CHUNK):
            crc = zlib.crc32(chunk, crc)
    if time.time_ns() - max(found.st_mtime_ns, found.st_ctime_ns) > _TICK_NS:
        _SOUND[key] = crc
    return crc
