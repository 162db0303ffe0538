"""`pykeen:NAME`: the small graphs that PyKEEN carries with it. Its files are read, not its code."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from bequeath.given.data_schemes.source import fail, listed, missing_library, near
from bequeath.given.graph_schemes.source import SPLITS, Found, Splits, find_files, read_files
from bequeath.kernel.errors import JobError

# What the installed package holds; a test compares this with it.
BUNDLED = ("kinships", "nations", "umls")


def find(rest: str, options: Any) -> Found:
    try:
        files = _files(rest)
    except JobError as error:
        return Found(problems=error.problems)
    return find_files(files, "\t", options)


def read(rest: str, options: Any) -> Splits:
    return read_files(_files(rest), "\t", options)


def _files(rest: str) -> dict[str, Path]:
    name = rest.lower()
    if name not in BUNDLED:
        fail(
            "D216",
            f"PyKEEN carries no graph `{rest}` with it",
            label=near(name, BUNDLED),
            notes=(f"it carries {listed(BUNDLED)}",),
            remedies=("for others give the folder of their files as `kg:FOLDER`",),
        )
    spec = importlib.util.find_spec("pykeen")
    if spec is None or not spec.submodule_search_locations:
        missing_library("pykeen", "graph", "pykeen")
    folder = Path(spec.submodule_search_locations[0]) / "datasets" / name
    return {split: folder / f"{split}.txt" for split in SPLITS}
