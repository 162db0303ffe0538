"""A teacher's answers on disk: addressed by their content, whole or absent, memory-mapped.

    $BEQUEATH_CACHE (or ~/.cache/bequeath/signals)
      <key>/
        meta.json                   the parts of the key in the clear, and the files
        logits-0.npy                one output in one view, [n, ...] float32
        embedding@fc.input-0.npy
      <key>.damaged/                files that failed their checksum, out of the way
      <key>.lock                    one process fills, the others wait

The key is a digest of everything an answer depends on; one ingredient changed is another folder.
Which outputs were asked for is not among them: an output that is missing is added to those there.
A file is listed in meta.json after it is in place, so a fill that was interrupted goes on with the
next view. Files are written by plain writes, never through a memory map: a disk that fills up is
then an error and not a bus error.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from bequeath.kernel.errors import Problem, RunError
from bequeath.kernel.files import canonical, digest, leftovers, remove, write_json
from bequeath.kernel.units import show_size
from bequeath.signals.npy import Npy, wrong_with

FORMAT = 2
SPARE = 64 * 2**20
# the name of an output is part of the name of a file
NAME = re.compile(r"[A-Za-z0-9@_=][A-Za-z0-9@._=-]{0,99}")

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
        parts, files = meta.get("parts", {}), meta.get("files", {}).values()
        found.append(
            {
                "key": folder.name,
                "bytes": _bytes_in(folder),
                "views": len({file["view"] for file in files}),
                "samples": parts.get("n"),
                "outputs": sorted({file["output"] for file in files}),
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
    Outputs go by names that fit in the name of a file (`signals/outputs.py`).
    """

    def __init__(self, parts: dict[str, Any], where: Path | None = None):
        self.parts = {"format": FORMAT, **parts}
        self.key = digest(canonical(self.parts))
        self.where = where or root()
        self.folder = self.where / self.key
        self.meta: dict[str, Any] = {}

    @property
    def files(self) -> dict[str, dict[str, Any]]:
        """What is listed: file -> output, view, shape of a row, bytes, crc32, seconds, made_with.

        seconds: of the teacher, in the pass over all samples that this file comes from.
        """
        return self.meta.setdefault("files", {})

    def listed(self, outputs: Iterable[str], views: int) -> dict[str, dict[str, Any]]:
        """Those of `files` that hold one of the outputs in one of the views 0..views-1."""
        wanted = {file_name(output, view) for output in outputs for view in range(views)}
        return {name: one for name, one in self.files.items() if name in wanted}

    @contextmanager
    def lock(self) -> Iterator[None]:
        """RunError S705 when the folder of caches cannot be written."""
        with ExitStack() as stack:
            with _writing(self):
                self.where.mkdir(parents=True, exist_ok=True)
                stack.enter_context(locked(self.where, self.key))
                for part in list(leftovers(self.folder)):
                    remove(part)
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
        self.meta = meta or {"files": {}}

    def missing(self, outputs: Iterable[str], views: int) -> dict[int, list[str]]:
        """view -> the outputs still to be asked for in it; views with nothing missing left out."""
        names = list(outputs)
        table = {
            view: [name for name in names if file_name(name, view) not in self.files]
            for view in range(views)
        }
        return {view: absent for view, absent in table.items() if absent}

    def damaged(self, outputs: Iterable[str], views: int) -> dict[str, str]:
        """file -> what is wrong with it (size, checksum), of those that are listed."""
        found = {
            name: wrong_with(self.folder / name, expected)
            for name, expected in self.listed(outputs, views).items()
        }
        return {name: wrong for name, wrong in found.items() if wrong}

    def set_aside(self, files: Iterable[str]) -> None:
        """Move damaged files (none named: all) to `<key>.damaged` and forget them."""
        files = set(files)
        aside = self.where / f"{self.key}.damaged"
        shutil.rmtree(aside, ignore_errors=True)
        if not files:
            self.folder.replace(aside)
            return
        aside.mkdir()
        for name in files:
            del self.files[name]
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
        """Write outputs of one view, all that `batches` hold, whole.

        batches: (output -> float32 [B, ...], seconds the teacher took), in the order of samples.
        RunError S705 when the disk is full or not writable; no part of the view is left then.
        """
        part = self.folder / f".view-{view}.{os.getpid()}.part"
        with _writing(self):
            self.folder.mkdir(parents=True, exist_ok=True)
            part.mkdir()
        before = dict(self.files)
        try:
            found = _write_rows(self, part, view, batches)
            self.meta |= {"key": self.key, "parts": self.parts}
            self.meta.setdefault("created", datetime.now(UTC).isoformat(timespec="seconds"))
            self.files.update(
                {name: {**one, "made_with": made_with} for name, one in found.items()}
            )
            with _writing(self):
                for name in found:
                    (part / name).replace(self.folder / name)
                write_json(self.folder / "meta.json", self.meta)
        except BaseException:
            self.meta["files"] = before
            raise
        finally:
            shutil.rmtree(part, ignore_errors=True)

    def read(self, outputs: Iterable[str], views: int) -> list[Rows]:
        """For each view, output -> read-only memory map [n, ...]."""
        names = list(outputs)
        return [
            {
                name: np.load(
                    self.folder / file_name(name, view), mmap_mode="r", allow_pickle=False
                )
                for name in names
            }
            for view in range(views)
        ]

    def seconds(self, outputs: Iterable[str], views: int) -> float:
        """How long the teacher took for one sample, on average over these files."""
        taken = [one["seconds"] for one in self.listed(outputs, views).values()]
        return sum(taken) / max(1, len(taken) * self.parts["n"])


def file_name(output: str, view: int) -> str:
    """The file that holds an output of all samples in one view."""
    return f"{output}-{view}.npy"


def free_bytes(where: Path) -> int:
    """Free disk where `where` is or will be."""
    while not where.exists() and where != where.parent:
        where = where.parent
    return shutil.disk_usage(where).free


def _write_rows(
    cache: Cache, part: Path, view: int, batches: Iterable[tuple[Rows, float]]
) -> dict[str, dict[str, Any]]:
    """Stream the batches into one .npy an output; -> what meta.json says of each file.

    Only the writing is guarded: a data set that cannot be read is no fault of the cache.
    """
    outputs: dict[str, Npy] = {}
    total = 0.0
    try:
        for rows, seconds in batches:
            total += seconds
            with _writing(cache):
                for name, values in rows.items():
                    if name not in outputs:
                        shape = (cache.parts["n"], *values.shape[1:])
                        outputs[name] = Npy(part / file_name(name, view), shape)
                    outputs[name].append(values)
        with _writing(cache):
            sizes = {name: one.finish() for name, one in outputs.items()}
    finally:
        for one in outputs.values():
            # closing flushes, which fails again on a full disk and would hide the first error
            with suppress(OSError):
                one.file.close()
    found = {}
    for name, one in outputs.items():
        row = list(one.shape[1:])
        there = next((f["shape"] for f in cache.files.values() if f["output"] == name), row)
        if there != row:
            raise ValueError(f"`{name}` is {row} in view {view}, earlier {there}")
        entry = {"output": name, "view": view, "shape": row, "seconds": round(total, 4)}
        found[one.path.name] = {**entry, **sizes[name]}
    return found


def _read_meta(folder: Path) -> dict[str, Any] | None:
    try:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        for name, one in meta["files"].items():
            numbers = (one["view"], one["bytes"], one["crc32"])
            if not NAME.fullmatch(one["output"]) or any(type(v) is not int for v in numbers):
                return None
            if name != file_name(one["output"], one["view"]) or type(one["shape"]) is not list:
                return None
            if not one["seconds"] >= 0 or type(one["made_with"]) is not dict:
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
