"""Manifests of subsets: which rows of which data, as files named by their content.

`manifest.json` names, for each source, the digest of its content, how many samples it has, and the
file of the rows kept, `<digest of the rows>.npy` (int64, ascending). Equal selections are equal
files, byte for byte.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bequeath.kernel.errors import Problem, RunError
from bequeath.kernel.files import digest, write_json, write_whole

NAME = "manifest.json"
FORMAT = 1


@dataclass(frozen=True)
class Kept:
    """rows: int64, ascending, without repeats. of: digest of the data's content. n: its samples."""

    rows: np.ndarray
    of: str
    n: int

    @property
    def digest(self) -> str:
        return digest(self.of, np.ascontiguousarray(self.rows, dtype="<i8").tobytes())


def save_manifest(folder: Path, kept: Mapping[str, Kept], **facts: Any) -> Path:
    """Write the rows' files, then `manifest.json`. facts: further JSON values.

    ValueError for rows that are out of order, repeated or out of range.
    """
    parts = {}
    for role, one in kept.items():
        rows = np.asarray(one.rows, dtype=np.int64)
        if len(rows) and (rows[0] < 0 or rows[-1] >= one.n or (np.diff(rows) <= 0).any()):
            raise ValueError(f"the rows kept of `{role}` are ascending, distinct and below {one.n}")
        name = f"{one.digest}.npy"
        write_whole(folder / name, lambda path, rows=rows: _write(path, rows))  # type: ignore[misc]
        parts[role] = {"data": one.of, "n": one.n, "kept": len(rows), "rows": name}
    path = folder / NAME
    write_json(path, {"format": FORMAT, "sources": parts, **facts})
    return path


def load_manifest(folder: Path) -> dict[str, Kept]:
    """Role -> rows kept. RunError G459 where the files are not what the manifest says."""
    try:
        found = json.loads((folder / NAME).read_text(encoding="utf-8"))
        kept = {}
        for role, part in found["sources"].items():
            rows = np.load(folder / part["rows"], allow_pickle=False)
            one = kept[role] = Kept(rows, part["data"], part["n"])
            if f"{one.digest}.npy" != part["rows"] or len(rows) != part["kept"]:
                raise ValueError(f"the rows of `{role}` are not those the manifest was made with")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        problem = Problem(
            "G459",
            f"the manifest in `{folder.name}` cannot be used",
            notes=(str(error),),
            remedies=("make the selection again", "copy the whole folder, with its .npy files"),
        )
        raise RunError(problem) from error
    return kept


def _write(path: Path, rows: np.ndarray) -> None:
    with path.open("wb") as file:
        np.lib.format.write_array(file, rows, allow_pickle=False)
