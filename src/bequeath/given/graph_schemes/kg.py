"""`kg:FOLDER`: a file of triples for each split, `head TAB relation TAB tail`, plain or gzip."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bequeath.given.data_schemes.source import fail, listed, local, missing_path
from bequeath.given.graph_schemes.source import SPLITS, Found, Splits, find_files, read_files
from bequeath.kernel.errors import JobError

_ENDS = (".txt", ".tsv", ".txt.gz", ".tsv.gz")
_ALIASES = {"train": ("train",), "valid": ("valid", "val", "dev"), "test": ("test",)}


def find(rest: str, options: Any) -> Found:
    try:
        files = _files(rest, options)
    except JobError as error:
        return Found(problems=error.problems)
    return find_files(files, options.sep, options, local(rest))


def read(rest: str, options: Any) -> Splits:
    return read_files(_files(rest, options), options.sep, options, local(rest))


def _files(rest: str, options: Any) -> dict[str, Path]:
    """split -> its file. Once `train` is named, nothing is looked for."""
    folder = local(rest)
    if problem := missing_path(folder, folder=True):
        raise JobError(problem)
    said = {split: getattr(options, split) for split in SPLITS}
    files = {split: folder / name for split, name in said.items() if name is not None}
    if said["train"] is None:
        for split in SPLITS:
            if split not in files and (path := _look(folder, split)):
                files[split] = path
    for split in ("train", "test"):
        if split not in files:
            there = sorted(entry.name for entry in folder.iterdir() if entry.is_file())
            fail(
                "D280",
                f"`{folder}` has no file of {split} triples",
                notes=(f"there are {listed(there)}" if there else "the folder holds no files",),
                remedies=(
                    f"name it: `{split}: FILE`",
                    f"or call it {split}.txt or {split}.tsv",
                    "give one file with all triples as `tsv:FILE`",
                ),
            )
    return {split: files[split] for split in SPLITS if split in files}


def _look(folder: Path, split: str) -> Path | None:
    for stem in _ALIASES[split]:
        for end in _ENDS:
            if (folder / f"{stem}{end}").is_file():
                return folder / f"{stem}{end}"
    return None
