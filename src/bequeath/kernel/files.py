"""Files that are whole or not there: write beside, flush to disk, rename over.

What a killed process was writing lies beside it as `.NAME.TOKEN.part`; nobody reads those, and who
works in a folder next takes them away (`leftovers`).
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from bequeath.kernel.errors import BequeathError, text_of
from bequeath.kernel.units import show_size

PIECE = 1 << 20  # bytes read at once
# What the system says when a disk does not take what is written, whoever writes.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)
NOT_ALLOWED = (errno.EACCES, errno.EPERM)


def write_whole(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write(temporary_path)` make the file, then rename it to `path` in one step.

    A crash at any instant leaves the old file or the new one. On failure the temporary file is
    removed and the error goes on; of a disk that does not take it, as an OSError with its number
    and `path`, whatever library wrote.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(path)
    try:
        with _refusing(path, temporary):
            write(temporary)
            _flush(temporary)
            temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def regular(path: Path) -> Path:
    """The path of a regular file, links followed. OSError for anything else.

    A pipe or a device would never end, or never begin.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    return path


def read_most(file: IO[bytes], most: int) -> bytes:
    """What is left of an open file; ValueError when that is more than `most` bytes.

    Piece by piece: `file.read(most)` would take the room for all of it at once.
    """
    parts, room = [], most
    while part := file.read(min(PIECE, room + 1)):
        room -= len(part)
        if room < 0:
            raise ValueError(f"it is larger than {show_size(most)}")
        parts.append(part)
    return b"".join(parts)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, whole or not at all."""

    def write(part: Path) -> None:
        part.write_text(text, encoding="utf-8")

    write_whole(path, write)


def write_json(path: Path, value: Any) -> None:
    """UTF-8, two-space indent, no NaN (a reader in another language would choke on it)."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yield a folder to fill; rename it to `path` when the block ends well, remove it otherwise.

    Errors of the disk are told as by `write_whole`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(path)
    temporary.mkdir()
    try:
        with _refusing(path, temporary / ".again"):
            yield temporary
            for written in temporary.rglob("*"):
                if written.is_file():
                    _flush(written)
            remove(path)
            temporary.replace(path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def refusal(error: BaseException) -> int | None:
    """The system's number, where an error says that a disk does not take what is written.

    Libraries in Rust raise errors of their own, with the number in the text.
    """
    if isinstance(error, OSError):
        return error.errno if error.errno in NO_ROOM else None
    if isinstance(error, BequeathError):  # it is told already
        return None
    code = re.search(r"\(os error (\d+)\)", text_of(error))
    number = int(code[1]) if code else None
    return number if number in (*NO_ROOM, *NOT_ALLOWED) else None


@contextmanager
def _refusing(path: Path, again: Path) -> Iterator[None]:
    """OSError about `path`, with its number, in place of what libraries raise for a full disk.

    numpy's says only that less was written than asked. Why is asked anew: by writing to `again`.
    """
    try:
        yield
    except Exception as error:
        number = refusal(error)
        if number is None and isinstance(error, OSError) and error.errno is None:
            number = _refused(again)
        if number is None:
            raise
        raise OSError(number, os.strerror(number), str(path)) from error


def _refused(path: Path) -> int | None:
    """What the system says to some more bytes; None where it takes them."""
    try:
        with path.open("ab", buffering=0) as file:
            for _ in range(16):  # of a first write it may take a part
                file.write(bytes(4096))
    except OSError as error:
        return error.errno
    return None


def remove(path: Path) -> None:
    """Take away a file or a folder, at once: killed half way, no part of it lies at `path`."""
    if not path.is_dir() or path.is_symlink():
        path.unlink(missing_ok=True)
        return
    gone = path if is_part(path.name) else _beside(path)
    if gone != path:
        path.replace(gone)
    shutil.rmtree(gone, ignore_errors=True)


def leftovers(folder: Path) -> Iterator[Path]:
    """What killed processes were writing, or removing, in `folder` and below."""
    for found in folder.rglob(".*.part"):
        if not any(is_part(above.name) for above in found.parents):
            yield found


def is_part(name: str) -> bool:
    """Whether a file or folder of this name is one that was not finished."""
    return name.startswith(".") and name.endswith(".part")


def _beside(path: Path) -> Path:
    # The number of a process is not enough: two containers that share a disk both have a first one.
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part")


def _flush(path: Path) -> None:
    with path.open("rb") as written:
        os.fsync(written.fileno())


def digest(*parts: bytes | str) -> str:
    """BLAKE2b-128 of the parts, each preceded by its length, in hex (32 characters)."""
    h = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        h.update(len(data).to_bytes(8, "little"))
        h.update(data)
    return h.hexdigest()


def canonical(value: Any) -> str:
    """The JSON text that two equal values share: sorted keys, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
