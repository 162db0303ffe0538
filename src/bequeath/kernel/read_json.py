"""Small JSON files that somebody else wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bequeath.kernel.errors import JobError, JobPath, Problem

LARGEST = 100_000_000  # bytes


def read_json(path: Path, *, at: JobPath) -> dict[str, Any]:
    """A JSON mapping from a small file. JobError (M313) says what is wrong with it."""
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError("it is larger than 100 MB")
        value = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(value, dict):
            raise ValueError("it is not a mapping")
    except (OSError, ValueError, RecursionError) as error:
        reason = str(error) or type(error).__name__
        raise JobError(
            Problem("M313", f"`{path}` cannot be read as JSON", at=at, notes=(reason,))
        ) from None
    return value
