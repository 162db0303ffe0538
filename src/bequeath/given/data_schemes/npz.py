"""`npz:FILE`: NumPy's zip of arrays. Headers are read in plain Python: a check needs no NumPy."""

from __future__ import annotations

import ast
import math
import re
import struct
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any, NamedTuple, NoReturn

from bequeath.given.data_schemes.arrays import from_array, kind_of, unfit
from bequeath.given.data_schemes.select import ALIASES
from bequeath.given.data_schemes.source import (
    Found,
    Raw,
    fail,
    listed,
    local,
    memory_limit,
    missing_path,
    near,
)
from bequeath.kernel.archives import open_zip
from bequeath.kernel.errors import JobError
from bequeath.kernel.units import show_size

_LONGEST_HEADER = 65_536
_MOST_NAMES = 1_000_000
# RuntimeError: a member that is encrypted, or packed in a way that zipfile does not know
_UNREADABLE = (ValueError, OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)


class Header(NamedTuple):
    """shape; code: NumPy's type letter (`u`, `f`, `U`, ...); size: bytes of data declared."""

    shape: tuple[int, ...]
    code: str
    item: int

    @property
    def size(self) -> int:
        return math.prod(self.shape) * self.item


def find(rest: str, options: Any) -> Found:
    path = local(rest)
    if problem := missing_path(path, folder=False):
        return Found(problems=[problem])
    try:
        with _archive(path) as archive:
            return _look(archive, path, options)
    except JobError as error:
        return Found(problems=error.problems)


def read(rest: str, options: Any) -> Raw:
    import numpy as np

    path = local(rest)
    with _archive(path) as archive:
        found = _look(archive, path, options)
        x_key, y_key, names_key, native = _keys(archive, path, options)
        arrays = {}
        for key in (x_key, y_key, names_key):
            if key is None:
                continue
            try:
                with archive.open(f"{key}.npy") as member:
                    arrays[key] = np.lib.format.read_array(member, allow_pickle=False)
            except _UNREADABLE as error:
                _damaged(path, f"array `{key}`: {error}")
    kind, x = from_array(arrays[x_key])
    y = arrays[y_key] if y_key is not None else None
    return Raw(kind, x, y, found.classes, native=native)


def _look(archive: zipfile.ZipFile, path: Path, options: Any) -> Found:
    x_key, y_key, names_key, native = _keys(archive, path, options)
    x = _header(archive, x_key, path)
    heads = [x]
    if y_key is not None:
        y = _header(archive, y_key, path)
        heads.append(y)
        if y.shape[:1] != x.shape[:1]:
            fail("D214", f"`{x_key}` has shape {list(x.shape)} but `{y_key}` {list(y.shape)}")
    _fits(heads, path, options)
    kind, shape = kind_of(x.shape, x.code)
    if kind is None:
        unfit(x.shape, {"u": "uint", "i": "int", "f": "float"}.get(x.code, x.code))
    if x.shape[0] == 0:
        fail("D205", f"`{x_key}` in `{path}` is empty: its shape is {list(x.shape)}")
    classes = _names(archive, names_key, path) if names_key is not None else None
    return Found(kind, x.shape[0], shape, classes, native=native)


def _keys(
    archive: zipfile.ZipFile, path: Path, options: Any
) -> tuple[str, str | None, str | None, bool]:
    """Names of the arrays of samples, labels and class names; whether the file has the split.

    With `split: train`, arrays named `x_train` or `train_x` are that split.
    """
    there = [name[:-4] for name in archive.namelist() if name.endswith(".npy")]
    x_key, y_key, native = options.x_key, options.y_key, False
    asked = [options.split, ALIASES.get(options.split, options.split)]
    for split in [s for s in asked if s is not None]:
        for form in ("{key}_{split}", "{split}_{key}"):
            if form.format(key=x_key, split=split) in there and not native:
                x_key = form.format(key=options.x_key, split=split)
                y_key = form.format(key=options.y_key, split=split)
                native = True
    if x_key not in there:
        _no_key(x_key, "x_key", there, path)
    if not options.labels and y_key not in there:
        y_key = None
    elif y_key not in there:
        _no_key(y_key, "y_key", there, path)
    names_key = options.names_key
    if names_key is not None and names_key not in there:
        _no_key(names_key, "names_key", there, path)
    if names_key is None and "names" in there and y_key is not None:
        names_key = "names"
    return x_key, y_key, names_key, native


def _no_key(key: str, option: str, there: list[str], path: Path) -> NoReturn:
    remedies = [f"say `{option}: NAME`"]
    if option == "y_key":
        remedies.append("or `labels: false` for data without labels")
    fail(
        "D204",
        f"there is no array `{key}` in `{path}`",
        at=(option,),
        label=near(key, there),
        notes=(f"it holds {listed(there)}" if there else "it holds no arrays",),
        remedies=tuple(remedies),
    )


def _archive(path: Path) -> zipfile.ZipFile:
    try:
        return open_zip(path)
    except (zipfile.BadZipFile, OSError, ValueError, struct.error, NotImplementedError) as error:
        _damaged(path, f"{error}")


def _damaged(path: Path, why: str) -> NoReturn:
    fail(
        "D202",
        f"`{path}` is not a whole .npz file",
        notes=(why,) if why else (),
        remedies=("copy or write it again; numpy.savez makes such files",),
    )


def _header(archive: zipfile.ZipFile, key: str, path: Path) -> Header:
    """The header of one array, checked against what the zip says of the member's size."""
    info = archive.getinfo(f"{key}.npy")
    try:
        with archive.open(info) as member:
            header, start = _parse(member, key, path)
    except _UNREADABLE as error:
        _damaged(path, f"array `{key}`: {error}")
    if start + header.size != info.file_size:
        declared, there = show_size(header.size), show_size(info.file_size - start)
        _damaged(path, f"array `{key}` declares {declared} of numbers but holds {there}")
    return header


def _parse(member: IO[bytes], key: str, path: Path) -> tuple[Header, int]:
    """The header and the position at which the numbers begin (NumPy format 1.0 to 3.0)."""
    first = member.read(8)
    if len(first) < 8 or first[:6] != b"\x93NUMPY":
        _damaged(path, f"member `{key}.npy` is not a NumPy array")
    width = 2 if first[6] == 1 else 4
    length = int.from_bytes(member.read(width), "little")
    if length > _LONGEST_HEADER:
        _damaged(path, f"array `{key}` claims a header of {length} bytes")
    try:
        said = ast.literal_eval(member.read(length).decode("utf-8" if first[6] > 2 else "latin1"))
        shape, descr = said["shape"], said["descr"]
        whole = isinstance(shape, tuple) and all(type(s) is int and s >= 0 for s in shape)
    except (ValueError, SyntaxError, KeyError, TypeError, MemoryError, RecursionError):
        whole = False
    if not whole:
        _damaged(path, f"the header of array `{key}` cannot be read")
    match = re.fullmatch(r"[<>|=]?([biufcSUOVmM])(\d{0,9})(\[.*\])?", str(descr))
    if match is None or match[1] == "O":
        fail(
            "D209",
            f"array `{key}` in `{path}` holds Python objects, which are refused",
            notes=("reading them would run whatever code the file brings along",),
            remedies=("write numbers, or strings as numpy.array(texts, dtype=str)",),
        )
    item = int(match[2] or 0) * (4 if match[1] == "U" else 1)
    return Header(shape, match[1], item), 8 + width + length


def _fits(heads: list[Header], path: Path, options: Any) -> None:
    # a text of no letters takes no room in the file, and some all the same once it is read
    total = sum(max(head.size, math.prod(head.shape)) for head in heads)
    limit = memory_limit(options)
    if total > limit:
        fail(
            "D210",
            f"`{path}` unpacks to {show_size(total)}, more than the {show_size(limit)} allowed",
            notes=(f"the file itself has {show_size(path.stat().st_size)}",),
            remedies=("say `memory` if so much is meant and there", "or make a smaller file"),
        )


def _names(archive: zipfile.ZipFile, key: str, path: Path) -> tuple[str, ...]:
    """Class names without NumPy: fixed-width UTF-32 (`U`) or bytes (`S`)."""
    header = _header(archive, key, path)
    if header.code not in "US" or len(header.shape) != 1 or not 0 < header.size <= _MOST_NAMES * 64:
        fail("D213", f"`{key}` is not a list of class names", at=("names_key",))
    try:
        with archive.open(f"{key}.npy") as member:
            _, start = _parse(member, key, path)
        data = archive.read(f"{key}.npy")[start:]
    except _UNREADABLE as error:
        _damaged(path, f"array `{key}`: {error}")
    parts = [data[i : i + header.item] for i in range(0, header.size, header.item)]
    encoding = "utf-8" if header.code == "S" else "utf-32-le"
    return tuple(part.decode(encoding, "replace").rstrip("\0") for part in parts)
