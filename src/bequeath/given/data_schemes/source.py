"""What a scheme hands back, and the small helpers all of them use. No torch, no NumPy at import."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from bequeath.kernel.errors import JobError, Problem

NAMED = 10  # how many rows or files an error names before it only counts


@dataclass
class Found:
    """What is known of a source before it is opened; None where it takes opening to know.

    n: samples before `classes`, a derived `split` and `take`. counts: samples in each class.
    shape: of one sample. native: the source itself has the split that the options ask for.
    """

    kind: str | None = None
    n: int | None = None
    shape: tuple[int, ...] | None = None
    classes: tuple[str, ...] | None = None
    counts: tuple[int, ...] | None = None
    native: bool = False
    problems: list[Problem] = field(default_factory=list)


@dataclass
class Raw:
    """An opened source, before labels are checked and samples chosen.

    x: array [N, ...], list of str, or `Pictures`. y: array or list [N] of class numbers or names.
    unit: what an error calls a sample (`row`, `image`). chosen: the source has obeyed `split` and
    `take` itself. columns: name -> further values, one a sample, that batches carry.
    """

    kind: str
    x: Any
    y: Any = None
    classes: tuple[str, ...] | None = None
    native: bool = False
    unit: str = "row"
    chosen: bool = False
    columns: dict[str, list[Any]] = field(default_factory=dict)


def answering(prompts: Sequence[str], answers: Sequence[str], y: Any = None, **more: Any) -> Raw:
    """Texts [N] that are a prompt and the answer to it; `prompt` says how many characters of each
    are the former."""
    texts = [prompt + answer for prompt, answer in zip(prompts, answers, strict=True)]
    return Raw("text", texts, y, columns={"prompt": [len(p) for p in prompts]}, **more)


def fail(code: str, message: str, **details: Any) -> NoReturn:
    details.setdefault("at", ("ref",))
    raise JobError(Problem(code, message, **details))


def near(name: str, known: Iterable[str]) -> str:
    """`did you mean ...?`, or nothing."""
    match = difflib.get_close_matches(name, [one for one in known if one != name], 1, 0.6)
    return f"did you mean `{match[0]}`?" if match else ""


def listed(names: Sequence[str], most: int = 20) -> str:
    """`a`, `b`, `c` and 4 more."""
    text = ", ".join(f"`{name}`" for name in names[:most])
    return text + (f" and {len(names) - most} more" if len(names) > most else "")


def rows_named(rows: Sequence[int], unit: str = "row") -> str:
    """`rows 3, 7 and 12 more`; the first row is row 0."""
    head = ", ".join(str(int(row)) for row in rows[:NAMED])
    more = f" and {len(rows) - NAMED} more" if len(rows) > NAMED else ""
    return f"{unit}{'s' if len(rows) != 1 else ''} {head}{more}"


def local(text: str) -> Path:
    """A path as written in a job; `~` is the home folder, where there is such a user."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Path(text)


def missing_path(path: Path, *, folder: bool) -> Problem | None:
    """The problem with `path` as a file (or folder), or None."""
    what = "folder" if folder else "file"
    if path.is_dir() if folder else path.is_file():
        return None
    if path.exists():
        other = "folder" if path.is_dir() else "file" if path.is_file() else "device or pipe"
        return Problem("D201", f"`{path}` is a {other}, not a {what}", at=("ref",))
    parent = path.parent
    siblings = sorted(p.name for p in parent.iterdir()) if parent.is_dir() else []
    notes = () if parent.is_dir() else (f"the folder `{parent}` does not exist either",)
    return Problem(
        "D201",
        f"there is no {what} `{path}`",
        at=("ref",),
        label=near(path.name, siblings),
        remedies=("paths are relative to the folder the command runs in",),
        notes=notes,
    )


def memory_limit(options: Any) -> int:
    """Bytes the samples may take: what the job says, or half of the memory that is free."""
    if options.memory is not None:
        return int(options.memory)
    import psutil

    return int(psutil.virtual_memory().available // 2)


def missing_library(name: str, extra: str, scheme: str) -> NoReturn:
    fail(
        "D217",
        f"`{scheme}:` needs the library `{name}`, which is not installed",
        remedies=(f"pip install 'bequeath[{extra}]'",),
    )
