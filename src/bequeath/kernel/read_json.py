"""Small JSON files that somebody else wrote, read without trusting their size or their kind."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from bequeath.kernel.errors import JobError, JobPath, Problem
from bequeath.kernel.files import read_most, regular

LARGEST = 32_000_000  # bytes
# Texts, numbers, lists and mappings, by the characters that begin or part them. Each costs some
# sixty bytes once it is parsed, so a few characters of text could else fill the memory.
MOST_PARTS = 4_000_000


def read_json(path: Path, *, at: JobPath) -> dict[str, Any]:
    """A JSON mapping from a small file. JobError (M313) says what is wrong with it."""
    try:
        value = parse_json(read_small(path))
        if not isinstance(value, dict):
            raise ValueError("it is not a mapping")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise JobError(
            Problem("M313", f"`{path}` cannot be read as JSON", at=at, notes=(reason,))
        ) from None
    return value


def read_small(path: Path) -> bytes:
    """A regular file of at most `LARGEST` bytes. OSError or ValueError for any other."""
    with regular(path).open("rb") as file:
        return read_most(file, LARGEST)


def parse_json(data: bytes) -> Any:
    """The value of a JSON text in UTF-8, of bounded size once parsed. ValueError for all else.

    A name said twice in a mapping is refused: two readers would understand it differently.
    """
    if sum(map(data.count, (b'"', b",", b"[", b"{"))) > MOST_PARTS:
        raise ValueError("it has too many parts")
    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=_mapping)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def _mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = Counter(name for name, _ in pairs)
        twice = next(name for name, count in names.items() if count > 1)
        raise ValueError(f"it names `{twice}` twice")
    return found
