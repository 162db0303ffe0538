"""`folder:PATH`: a folder for each class with images in it, at any depth below.

With `split: train`, `PATH/train` is used where there is one. Data without labels may lie in `PATH`
directly. Names that begin with a dot are passed over; classes are in the order of their names.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NoReturn

from bequeath.given.data_schemes.pictures import SUFFIXES, Pictures
from bequeath.given.data_schemes.select import ALIASES
from bequeath.given.data_schemes.source import Found, Raw, fail, listed, local, missing_path, near
from bequeath.kernel.errors import JobError

_SPLITS = {"train", "test", "val", "valid", "validation", "dev"}


def find(rest: str, options: Any) -> Found:
    try:
        _, classes, files, native = _listing(rest, options)
    except JobError as error:
        return Found(problems=error.problems)
    size = options.size
    shape = None
    if size is not None and options.channels != "auto":
        shape = (size, size, 1 if options.channels == "grey" else 3)
    counts = tuple(len(group) for group in files)
    return Found("image", sum(counts), shape, classes, counts, native)


def read(rest: str, options: Any) -> Raw:
    root, classes, files, native = _listing(rest, options)
    paths = [path for group in files for path in group]
    labels = [i for i, group in enumerate(files) for _ in group] if classes is not None else None
    names = [path.relative_to(root).as_posix() for path in paths]
    return Raw("image", Pictures(paths, names), labels, classes, native, unit="image")


def _listing(
    rest: str, options: Any
) -> tuple[Path, tuple[str, ...] | None, list[list[Path]], bool]:
    """The folder used, its classes (None: no labels), the images of each, whether it is a split."""
    root = local(rest)
    if problem := missing_path(root, folder=True):
        raise JobError(problem)
    root, native = _split_folder(root, options)
    folders = sorted(
        (entry for entry in root.iterdir() if entry.is_dir() and not _hidden(entry.name)),
        key=lambda entry: entry.name,
    )
    if not folders or not options.labels:
        loose = _images(root)
        if not options.labels and loose and not folders:
            return root, None, [loose], native
        if not folders:
            _no_classes(root, len(loose))
    files = [_images(folder) for folder in folders]
    bare = [folder.name for folder, images in zip(folders, files) if not images]
    if bare:
        fail(
            "D203",
            f"{len(bare)} of {len(folders)} class folders in `{root}` hold no images",
            notes=(
                f"without images: {listed(bare)}",
                f"images end in {' '.join(sorted(SUFFIXES))}",
            ),
            remedies=("fill or remove them",),
        )
    return root, tuple(folder.name for folder in folders), files, native


def _split_folder(root: Path, options: Any) -> tuple[Path, bool]:
    there = sorted(p.name for p in root.iterdir() if p.is_dir() and p.name.lower() in _SPLITS)
    if options.split is None:
        if there and all(
            p.name in there or not p.is_dir() or _hidden(p.name) for p in root.iterdir()
        ):
            fail(
                "D215",
                f"`{root}` holds splits, not classes",
                notes=(f"there are {listed(there)}",),
                remedies=(f"say which: `split: {there[0]}`",),
            )
        return root, False
    for name in there:
        if ALIASES.get(name.lower(), name.lower()) == ALIASES.get(options.split, options.split):
            return root / name, True
    if there:
        fail(
            "D215",
            f"there is no split `{options.split}` in `{root}`",
            at=("split",),
            label=near(options.split, there),
            notes=(f"there are {listed(there)}",),
        )
    return root, False


def _images(folder: Path) -> list[Path]:
    """Images below `folder`, in the order of their paths."""
    found = []
    for where, inner, names in os.walk(folder, onerror=_cannot_enter):
        inner[:] = sorted(name for name in inner if not _hidden(name))
        here = Path(where)
        found += [
            here / name
            for name in sorted(names)
            if not _hidden(name) and Path(name).suffix.lower() in SUFFIXES
        ]
    return found


def _cannot_enter(error: OSError) -> NoReturn:
    raise error


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _no_classes(root: Path, loose: int) -> NoReturn:
    fail(
        "D203",
        f"`{root}` has no class folders",
        notes=(f"{loose} images lie in it directly" if loose else "and no images either",),
        remedies=(
            "put the images of each class into a folder with the class's name",
            "or say `labels: false` for images without labels",
        ),
    )
