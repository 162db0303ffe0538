"""Errors a person can act on: a code, the place in the file, the reason, the remedy.

A `Problem` may be raised far from the job file (a resolver that cannot read an image knows
nothing of YAML). It then carries `at`, the path in the job (`("data", "train", "ref")`), and the
job loader, which kept the positions, adds the `Place`. All problems of a gate travel together in
one `JobError`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

JobPath = tuple[str | int, ...]


@dataclass(frozen=True)
class Place:
    """A span in a file. `line` and `column` count from 1; `text` is the whole source line."""

    file: str
    line: int
    column: int
    length: int = 1
    text: str = ""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, and what to do about it.

    code: `J101`-like; `bequeath explain CODE` tells more.
    message: what is wrong, one line, names in backticks.
    at: path in the job, from the root; empty when the job is not where the fault lies.
    label: short text beside the caret (a did-you-mean, an expectation).
    remedies: what the user can do, most useful first.
    notes: facts that help (shapes, counts, names), one a line.
    """

    code: str
    message: str
    at: JobPath = ()
    label: str = ""
    remedies: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    place: Place | None = None

    def located(self, place: Place | None) -> Problem:
        """The same problem with a place, unless it has one already."""
        return self if self.place is not None or place is None else replace(self, place=place)

    def under(self, *prefix: str | int) -> Problem:
        """The same problem, its path put below `prefix`: a resolver knows only its own part."""
        return replace(self, at=(*prefix, *self.at))

    def to_dict(self) -> dict[str, Any]:
        place = self.place
        return {
            "code": self.code,
            "message": self.message,
            "at": list(self.at),
            "label": self.label,
            "remedies": list(self.remedies),
            "notes": list(self.notes),
            "place": None
            if place is None
            else {"file": place.file, "line": place.line, "column": place.column},
        }


class BequeathError(Exception):
    """Base of everything bequeath raises on purpose. `exit_code` is what the command returns."""

    exit_code = 1


class JobError(BequeathError):
    """The job, or what it points at, is wrong; nothing heavy has run. Holds every problem found."""

    exit_code = 2

    def __init__(self, problems: Iterable[Problem] | Problem):
        self.problems: list[Problem] = (
            [problems] if isinstance(problems, Problem) else list(problems)
        )
        super().__init__("\n\n".join(render(p) for p in self.problems))


class RunError(BequeathError):
    """A run failed after it began (non-finite loss, disk full, teacher cache that lies)."""

    def __init__(self, problem: Problem):
        self.problem = problem
        super().__init__(render(problem))


class AccessDenied(BequeathError):
    """A method reached for something it did not declare in its `Needs`."""


def render(problem: Problem) -> str:
    """Plain text in the manner of a compiler; the command line colours the same lines."""
    lines = [f"error[{problem.code}]: {problem.message}"]
    place = problem.place
    gutter = "   "
    if place is not None:
        gutter = " " * (len(str(place.line)) + 1)
        lines.append(f"{gutter[:-1]}--> {place.file}:{place.line}:{place.column}")
        if place.text:
            caret = " " * (place.column - 1) + "^" * max(1, place.length)
            lines += [
                f"{gutter}|",
                f"{place.line} | {place.text}",
                f"{gutter}| {caret} {problem.label}".rstrip(),
            ]
        elif problem.label:
            lines.append(f"{gutter}= {problem.label}")
    else:
        if problem.at:
            lines.append(f"  --> {dotted(problem.at)}")
        if problem.label:
            lines.append(f"{gutter}= {problem.label}")
    lines += [f"{gutter}= {note}" for note in problem.notes]
    lines += [f"{gutter}= help: {remedy}" for remedy in problem.remedies]
    return "\n".join(lines)


def dotted(path: Sequence[str | int]) -> str:
    """`("method", 1, "nd")` -> `method[1].nd`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


@dataclass
class Problems:
    """A gate's basket: collect everything, then raise once."""

    found: list[Problem] = field(default_factory=list)

    def add(self, code: str, message: str, **details: Any) -> None:
        self.found.append(Problem(code, message, **details))

    def extend(self, problems: Iterable[Problem]) -> None:
        self.found.extend(problems)

    def raise_if_any(self) -> None:
        if self.found:
            raise JobError(self.found)
