"""Errors of the user's own code, told at its line: not with ours, and not as if they were ours.

Code of a job (`py:`, `./file.py:name`) runs only when it is allowed. What it raises may be
anything, `SystemExit` too, which would end the program as if all were well.
"""

from __future__ import annotations

import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from bequeath.kernel.errors import BequeathError, JobError, JobPath, Place, Problem, RunError
from bequeath.kernel.files import refusal

RAISED = (Exception, SystemExit)
# What `ast.parse` makes of a file that is no Python, or Python nested without end.
UNPARSED = (SyntaxError, ValueError, RecursionError, MemoryError, OSError)


@contextmanager
def located(kind: type[JobError] | type[RunError]) -> Iterator[None]:
    """In place of what the user's code raises in the block: T690 at its line.

    What comes from bequeath or from a library alone, and a full disk, goes on as it is.
    """
    try:
        yield
    except BequeathError:
        raise
    except RAISED as error:
        if refusal(error) is not None or (place := place_of(error)) is None:
            raise
        problem = Problem("T690", "the job's own code failed", label=said(error), place=place)
        raise kind(problem) from error


def place_of(error: BaseException) -> Place | None:
    """The innermost line of an error's way that is neither bequeath's nor a library's."""
    if isinstance(error, SyntaxError) and error.filename:
        frames = [(error.filename, error.lineno or 1, (error.text or "").rstrip("\n"))]
    else:
        steps = traceback.extract_tb(error.__traceback__)
        frames = [(step.filename, step.lineno or 1, step.line or "") for step in steps]
    for file, line, text in reversed(frames):
        path = Path(file).resolve()
        known = any(path.is_relative_to(folder) for folder in (_ours(), *_libraries()))
        if not file.startswith("<") and not known:
            return Place(_short(file), line, 1, max(1, len(text)), text)
    return None


def notes_of(error: BaseException) -> tuple[str, ...]:
    """What was raised, and at which line of the user's."""
    place = place_of(error)
    where = () if place is None else (f"at {place.file}:{place.line}: {place.text}"[:300],)
    return (said(error), *where)


def said(error: BaseException) -> str:
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:300].rstrip(": ")


def failed(code: str, message: str, error: BaseException, at: JobPath) -> JobError:
    """A problem at a place of the job, with the line of the user's code in its notes."""
    return JobError(Problem(code, message, at=at, notes=notes_of(error)))


@cache
def _ours() -> Path:
    return Path(__file__).resolve().parents[1]


@cache
def _libraries() -> tuple[Path, ...]:
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    return tuple({Path(sysconfig.get_path(name)).resolve() for name in names})


def _short(file: str) -> str:
    """Below the folder one works in, as the job says it; else in full."""
    path = Path(file)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else file
