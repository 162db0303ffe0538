"""Errors of the user's own code, told at its line: not with ours, and not as if they were ours.

Code of a job (`py:`, `./file.py:name`) runs only when it is allowed. What it raises may be
anything, `SystemExit` too, which would end the program as if all were well.
"""

from __future__ import annotations

import linecache
import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from bequeath.kernel.errors import (
    BequeathError,
    JobError,
    JobPath,
    Place,
    Problem,
    RunError,
    text_of,
)
from bequeath.kernel.files import refusal

RAISED = BaseException  # but for Ctrl-C, which is the user's own: `notes_of` lets it through
# What `ast.parse` makes of a file that is no Python, or Python nested without end.
UNPARSED = (SyntaxError, ValueError, RecursionError, MemoryError, OSError)


@contextmanager
def located(kind: type[JobError] | type[RunError]) -> Iterator[None]:
    """In place of what the user's code raises in the block: T690 at its line.

    What comes from bequeath or from a library alone, and a full disk, goes on as it is.
    """
    try:
        yield
    except (BequeathError, KeyboardInterrupt):
        raise
    except RAISED as error:
        if refusal(error) is not None or (place := place_of(error)) is None:
            raise
        problem = Problem("T690", "the job's own code failed", label=said(error), place=place)
        raise kind(problem) from error


def place_of(error: BaseException) -> Place | None:
    """The innermost line of an error's way that is neither bequeath's nor a library's.

    Python puts errors of its own in place of some (of a StopIteration, a RuntimeError): where such
    an error has no line of the user's, what it came from has.
    """
    if isinstance(error, SyntaxError) and error.filename:
        frames = [(error.filename, error.lineno or 1, (error.text or "").rstrip("\n"))]
    else:
        steps = traceback.extract_tb(error.__traceback__)
        frames = [(step.filename, step.lineno or 1, step.line or "") for step in steps]
    for file, line, text in reversed(frames):
        if not _known(file):
            return Place(_short(file), line, 1, max(1, len(text)), text)
    return None if error.__cause__ is None else place_of(error.__cause__)


def place_in(function: object) -> Place | None:
    """Where a function is defined, if that is neither in bequeath nor in a library."""
    code = getattr(function, "__code__", None)
    if code is None or _known(code.co_filename):
        return None
    text = linecache.getline(code.co_filename, code.co_firstlineno).strip()
    return Place(_short(code.co_filename), code.co_firstlineno, 1, max(1, len(text)), text)


def notes_of(error: BaseException) -> tuple[str, ...]:
    """What was raised, and at which line of the user's. KeyboardInterrupt is raised again."""
    if isinstance(error, KeyboardInterrupt):
        raise error
    place = place_of(error)
    where = () if place is None else (f"at {place.file}:{place.line}: {place.text}"[:300],)
    return (said(error), *where)


def said(error: BaseException) -> str:
    lines = text_of(error).splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:300].rstrip(": ")


def failed(code: str, message: str, error: BaseException, at: JobPath) -> JobError:
    """A problem at a place of the job, with the line of the user's code in its notes."""
    return JobError(Problem(code, message, at=at, notes=notes_of(error)))


def _known(file: str) -> bool:
    """Whether a file is bequeath's or a library's, or none at all."""
    path = Path(file).resolve()
    places = (_ours(), *_libraries())
    return file.startswith("<") or any(path.is_relative_to(folder) for folder in places)


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
