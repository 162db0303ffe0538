"""Bytes into and out of files at given places, and on the disk while the rest is made."""

from __future__ import annotations

import os
import threading
from concurrent.futures import Future, ThreadPoolExecutor

from bequeath.weights.layout import OutputFile

FLUSH = 1 << 25  # bytes written after which they are sent to the disk


class Writer:
    """One output file: the header, then bytes at the places of its tensors.

    What was written goes to the disk while the rest is made: left to the system, most of it would
    wait for the end.
    """

    def __init__(self, fd: int, output: OutputFile, flusher: ThreadPoolExecutor):
        self.fd, self.output, self.flusher = fd, output, flusher
        self._lock, self._unflushed = threading.Lock(), 0
        self._flushing: Future[None] | None = None
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(fd, 0, output.nbytes)  # a full disk says so now
        _write_all(fd, memoryview(output.header), 0)

    def put(self, name: str, start: int, data: memoryview) -> int:
        """Bytes from byte `start` of a tensor on; returns how many."""
        _write_all(self.fd, data, self.output.offsets[name] + start)
        with self._lock:
            self._unflushed += len(data)
            if self._unflushed >= FLUSH and (not self._flushing or self._flushing.done()):
                self._flushed()
                self._unflushed = 0
                self._flushing = self.flusher.submit(os.fsync, self.fd)
        return len(data)

    def finish(self) -> None:
        self._flushed()
        os.fsync(self.fd)

    def _flushed(self) -> None:
        """Waits for it; an error of the disk is told only once, and comes out here."""
        if self._flushing:
            self._flushing.result()


def read_into(fd: int, buffer: memoryview, offset: int) -> int:
    if hasattr(os, "preadv"):
        return os.preadv(fd, [buffer], offset)
    data = os.pread(fd, len(buffer), offset)
    buffer[: len(data)] = data
    return len(data)


def _write_all(fd: int, data: memoryview, offset: int) -> None:
    while len(data):
        written = os.pwrite(fd, data, offset)
        data, offset = data[written:], offset + written
