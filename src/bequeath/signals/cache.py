"""A teacher's answers on disk: addressed by their content, whole or absent, memory-mapped.

    $BEQUEATH_CACHE (or ~/.cache/bequeath/signals)
      <key>/
        meta.json           the parts of the key in the clear, shapes, checksums, what it cost
        logits-0.npy        one output of one view, [n, ...] float32
        embedding-0.npy
      <key>.damaged/        files that failed their checksum, out of the way
      <key>.lock            one process fills, the others wait

The key is a digest of everything an answer depends on; one ingredient changed is another folder.
A view is listed in meta.json after all its files are in place, so a fill that was interrupted goes
on with the next view. Files are written by plain writes, never through a memory map: a disk that
fills up is then an error and not a bus error.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from bequeath.kernel.errors import Problem, RunError
from bequeath.kernel.files import canonical, digest, write_json
from bequeath.kernel.units import show_size

FORMAT = 1
SPARE = 64 * 2**20
_CHUNK = 2**22

Rows = dict[str, np.ndarray]


def root() -> Path:
    """Where the caches are: `$BEQUEATH_CACHE`, or `~/.cache/bequeath/signals`."""
    chosen = os.environ.get("BEQUEATH_CACHE")
    return Path(chosen) if chosen else Path.home() / ".cache" / "bequeath" / "signals"


def contents() -> list[dict[str, Any]]:
    """What is kept: key, bytes, views, samples, created, teacher and data, newest first."""
    found = []
    for folder in _folders():
        meta = _read_meta(folder) or {}
        parts = meta.get("parts", {})
        found.append(
            {
                "key": folder.name,
                "bytes": _bytes_in(folder),
                "views": len(meta.get("views", {})),
                "samples": parts.get("n"),
                "outputs": sorted(meta.get("outputs", {})),
                "teacher": parts.get("architecture"),
                "teacher_hash": parts.get("teacher"),
                "data_hash": parts.get("data"),
                "created": meta.get("created"),
            }
        )
    return sorted(found, key=lambda one: one["created"] or "", reverse=True)


def clear(key: str | None = None) -> int:
    """Remove one cache, by its key or the beginning of it, or all; returns the bytes freed.

    RunError S710 unless it is exactly one. A process that is reading keeps what it has open.
    """
    known = [folder.name for folder in _folders()]
    chosen = known if key is None else [name for name in known if name.startswith(key)]
    if key is not None and len(chosen) != 1:
        raise RunError(
            Problem(
                "S710",
                f"there {'are several teacher caches' if chosen else 'is no teacher cache'} "
                f"`{key}`",
                notes=(f"there are: {', '.join(chosen or known) or 'none'}",),
                remedies=("`bequeath cache` lists what is kept",),
            )
        )
    freed = 0
    for name in chosen:
        with locked(root(), name):
            for folder in (root() / name, root() / f"{name}.damaged"):
                freed += _bytes_in(folder)
                shutil.rmtree(folder, ignore_errors=True)
    return freed


@contextmanager
def locked(where: Path, key: str) -> Iterator[None]:
    """One process at a time; the lock of a process that died is free."""
    from filelock import FileLock

    with FileLock(where / f"{key}.lock"):
        yield


class Cache:
    """The folder of one key. Whoever writes, or reads meta.json in order to, holds `lock()`.

    parts: what the answers depend on, JSON values; `n` among them is the number of samples.
    """

    def __init__(self, parts: dict[str, Any], where: Path | None = None):
        self.parts = {"format": FORMAT, **parts}
        self.key = digest(canonical(self.parts))
        self.where = where or root()
        self.folder = self.where / self.key
        self.meta: dict[str, Any] = {}

    @contextmanager
    def lock(self) -> Iterator[None]:
        """RunError S705 when the folder of caches cannot be written."""
        with _writing(self):
            self.where.mkdir(parents=True, exist_ok=True)
        with locked(self.where, self.key):
            for part in self.folder.glob(".*.part"):  # of a process that was killed
                shutil.rmtree(part, ignore_errors=True) if part.is_dir() else part.unlink()
            yield

    def load(self, *, put_aside: bool = True) -> None:
        """Read meta.json. An unreadable one is put aside with its files, unless told not to.

        RunError S702 when it belongs to another key: a folder that was copied or renamed.
        """
        meta = _read_meta(self.folder)
        if meta is None and put_aside and self.folder.exists():
            self.set_aside([])
        if meta is not None and meta["parts"] != self.parts:
            raise RunError(_of_another(self, meta["parts"]))
        self.meta = meta or {"views": {}}

    def missing(self, views: int) -> list[int]:
        """The views among 0..views-1 that are still to be asked for."""
        return [view for view in range(views) if str(view) not in self.meta.get("views", {})]

    def damaged(self, views: int) -> dict[str, str]:
        """file -> what is wrong with it (size, checksum), of the views that are listed."""
        found = {}
        for view in range(views):
            listed = self.meta["views"].get(str(view), {"files": {}})["files"]
            for name, expected in listed.items():
                wrong = _wrong_with(self.folder / name, expected)
                if wrong:
                    found[name] = wrong
        return found

    def set_aside(self, files: Iterable[str]) -> None:
        """Move damaged files (none named: all) to `<key>.damaged` and forget their views."""
        files = set(files)
        aside = self.where / f"{self.key}.damaged"
        shutil.rmtree(aside, ignore_errors=True)
        if not files:
            self.folder.replace(aside)
            return
        aside.mkdir()
        views = self.meta["views"]
        for view in [v for v, one in views.items() if files & set(one["files"])]:
            for name in views.pop(view)["files"]:
                if (self.folder / name).exists():
                    (self.folder / name).replace(aside / name)
        write_json(self.folder / "meta.json", self.meta)

    def check_room(self, size: int) -> None:
        """RunError S705 unless `size` more bytes and some to spare are free."""
        free = free_bytes(self.where)
        if size + SPARE > free:
            raise RunError(
                _no_room(self, f"it takes {show_size(size + SPARE)} and {show_size(free)} are free")
            )

    def write_view(
        self, view: int, batches: Iterable[tuple[Rows, float]], made_with: dict[str, Any]
    ) -> None:
        """Write one view whole.

        batches: (output -> float32 [B, ...], seconds the teacher took), in the order of samples.
        RunError S705 when the disk is full or not writable; no part of the view is left then.
        """
        part = self.folder / f".view-{view}.{os.getpid()}.part"
        with _writing(self):
            self.folder.mkdir(parents=True, exist_ok=True)
            part.mkdir()
        try:
            files, shapes, seconds = _write_rows(self, part, view, batches)
            if self.meta.setdefault("outputs", shapes) != shapes:
                raise ValueError(f"view {view} holds {shapes}, earlier {self.meta['outputs']}")
            self.meta |= {"key": self.key, "parts": self.parts, "made_with": made_with}
            self.meta.setdefault("created", datetime.now(UTC).isoformat(timespec="seconds"))
            self.meta["views"][str(view)] = {"files": files, "seconds": seconds}
            with _writing(self):
                for name in files:
                    (part / name).replace(self.folder / name)
                write_json(self.folder / "meta.json", self.meta)
        except BaseException:
            self.meta.get("views", {}).pop(str(view), None)
            raise
        finally:
            shutil.rmtree(part, ignore_errors=True)

    def read(self, views: int) -> list[Rows]:
        """For each view, output -> read-only memory map [n, ...]."""
        return [
            {
                name: np.load(self.folder / f"{name}-{view}.npy", mmap_mode="r", allow_pickle=False)
                for name in self.meta["outputs"]
            }
            for view in range(views)
        ]

    def seconds(self) -> float:
        """How long the teacher took for one sample, on average over what is kept."""
        views = self.meta["views"].values()
        return sum(one["seconds"] for one in views) / max(1, len(views) * self.parts["n"])

    def size(self) -> int:
        return sum(f["bytes"] for one in self.meta["views"].values() for f in one["files"].values())


def free_bytes(where: Path) -> int:
    """Free disk where `where` is or will be."""
    while not where.exists() and where != where.parent:
        where = where.parent
    return shutil.disk_usage(where).free


def _write_rows(
    cache: Cache, part: Path, view: int, batches: Iterable[tuple[Rows, float]]
) -> tuple[dict[str, dict[str, int]], dict[str, list[int]], float]:
    """Stream the batches into one .npy an output: each file's size and checksum, shapes, seconds.

    Only the writing is guarded: a data set that cannot be read is no fault of the cache.
    """
    outputs: dict[str, _Npy] = {}
    total = 0.0
    try:
        for rows, seconds in batches:
            total += seconds
            with _writing(cache):
                for name, values in rows.items():
                    if name not in outputs:
                        shape = (cache.parts["n"], *values.shape[1:])
                        outputs[name] = _Npy(part / f"{name}-{view}.npy", shape)
                    outputs[name].append(values)
        with _writing(cache):
            files = {one.path.name: one.finish() for one in outputs.values()}
    finally:
        for one in outputs.values():
            # closing flushes, which fails again on a full disk and would hide the first error
            with suppress(OSError):
                one.file.close()
    return files, {name: list(one.shape[1:]) for name, one in outputs.items()}, round(total, 4)


class _Npy:
    """A .npy file of float32 written front to back, its checksum kept along the way."""

    def __init__(self, path: Path, shape: tuple[int, ...]):
        self.path, self.shape, self.rows = path, shape, 0
        self.file = path.open("w+b")
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self.file, header)
        self.file.flush()
        self.crc = zlib.crc32(path.read_bytes())

    def append(self, values: np.ndarray) -> None:
        if values.shape[1:] != self.shape[1:]:
            raise ValueError(f"`{self.path.name}`: {values.shape[1:]} after {self.shape[1:]}")
        data = np.ascontiguousarray(values, dtype="<f4").tobytes()
        self.file.write(data)
        self.crc = zlib.crc32(data, self.crc)
        self.rows += len(values)

    def finish(self) -> dict[str, int]:
        if self.rows != self.shape[0]:
            raise ValueError(f"`{self.path.name}`: {self.rows} rows of {self.shape[0]}")
        self.file.flush()
        os.fsync(self.file.fileno())
        return {"bytes": self.file.tell(), "crc32": self.crc}


def _wrong_with(path: Path, expected: dict[str, int]) -> str:
    try:
        size = path.stat().st_size
        if size != expected["bytes"]:
            return f"{size} bytes, {expected['bytes']} were written"
        crc = 0
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                crc = zlib.crc32(chunk, crc)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return "" if crc == expected["crc32"] else f"checksum {crc:08x}, was {expected['crc32']:08x}"


def _read_meta(folder: Path) -> dict[str, Any] | None:
    try:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        for view, one in meta["views"].items():
            if set(one["files"]) != {f"{name}-{int(view)}.npy" for name in meta["outputs"]}:
                return None
            for file in one["files"].values():
                if type(file["bytes"]) is not int or type(file["crc32"]) is not int:
                    return None
            if not one["seconds"] >= 0:
                return None
        return meta if isinstance(meta["parts"], dict) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _folders() -> list[Path]:
    if not root().is_dir():
        return []
    return sorted(p for p in root().iterdir() if p.is_dir() and len(p.name) == 32)


def _bytes_in(folder: Path) -> int:
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) if folder.exists() else 0


@contextmanager
def _writing(cache: Cache) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        reason = "the disk is full" if full else f"{error.strerror}: `{error.filename}`"
        raise RunError(_no_room(cache, reason)) from error


def _no_room(cache: Cache, reason: str) -> Problem:
    return Problem(
        "S705",
        f"the teacher's answers cannot be kept on disk: {reason}",
        notes=(f"the cache is in {cache.where}",),
        remedies=(
            "set the environment variable BEQUEATH_CACHE to a folder with more room",
            "remove what is kept: `bequeath cache --clear`",
            "set `train.cache: off` to ask the teacher live",
        ),
    )


def _of_another(cache: Cache, parts: dict[str, Any]) -> Problem:
    words = {"teacher": "another teacher (its tensors differ)", "data": "other data"}
    words |= {"preprocess": "another preprocessing", "augment": "other random views"}
    keys = [k for k in cache.parts if parts.get(k) != cache.parts[k]]
    return Problem(
        "S702",
        f"the teacher cache `{cache.key}` was made from {', '.join(words.get(k, k) for k in keys)}",
        notes=tuple(f"{k}: {parts.get(k)} there, {cache.parts[k]} here" for k in keys),
        remedies=(f"remove it, it will be made again: `bequeath cache --clear {cache.key}`",),
    )
