"""Errors a person can act on: a code, the place in the file, the reason, the remedy.

A `Problem` may be raised far from the job file (a resolver that cannot read an image knows
nothing of YAML). It then carries `at`, the path in the job (`("data", "train", "ref")`), and the
job loader, which kept the positions, adds the `Place`. All problems of a gate travel together in
one `JobError`.
"""

from __future__ import annotations

import unicodedata
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

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.problems,)  # as raised in another process, not as its text


class RunError(BequeathError):
    """A run failed after it began (non-finite loss, disk full, teacher cache that lies)."""

    def __init__(self, problem: Problem):
        self.problem = problem
        super().__init__(render(problem))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.problem,)


class Interrupted(BequeathError):
    """Stopped by Ctrl-C or SIGTERM, with a checkpoint left; the same command goes on from there."""

    exit_code = 130


class Spoken(BequeathError):
    """The job is over in this process too; another one has said why."""

    def __init__(self, exit_code: int):
        self.exit_code = exit_code
        super().__init__("another process of this job has said why it is over")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.exit_code,)


class AccessDenied(BequeathError):
    """A method reached for something it did not declare in its `Needs`."""


Span = tuple[str, str]
WIDEST = 120
LONGEST = 400  # characters of one message, label, note or remedy


def render(problem: Problem) -> str:
    """Plain text in the manner of a compiler; the command line colours the same lines."""
    return "\n".join("".join(text for _, text in line) for line in spans(problem))


def spans(problem: Problem) -> list[list[Span]]:
    """The lines of `render`, each as (style, text) pairs.

    Styles: error, title, gutter, place, source, caret, note, help. Control characters in what the
    user wrote are shown as `\\x1b`, so that a file cannot steer the terminal.
    """
    place, label = problem.place, shortened(problem.label)
    message: list[Span] = [
        ("error", f"error[{problem.code}]"),
        ("title", f": {shortened(problem.message)}"),
    ]
    gutter = " " * (len(str(place.line)) + 1) if place is not None else "   "
    lines: list[list[Span]] = [message]
    if place is not None:
        where = f"{place.file}:{place.line}:{place.column}"
        lines.append([("gutter", f"{gutter[:-1]}--> "), ("place", visible(where))])
    elif problem.at:
        lines.append([("gutter", "  --> "), ("place", visible(dotted(problem.at)))])
    if place is not None and place.text:
        source, caret = _window(place)
        lines += [
            [("gutter", f"{gutter}|")],
            [("gutter", f"{place.line} | "), ("source", source)],
            [("gutter", f"{gutter}| "), ("caret", f"{caret} {label}".rstrip())],
        ]
    elif label:
        lines.append([("gutter", f"{gutter}= "), ("note", label)])
    lines += [[("gutter", f"{gutter}= "), ("note", shortened(note))] for note in problem.notes]
    for remedy in problem.remedies or _usual_remedy(problem):
        lines.append([("gutter", f"{gutter}= "), ("help", "help: "), ("note", shortened(remedy))])
    return lines


def _usual_remedy(problem: Problem) -> tuple[str, ...]:
    """What the code's page says, for a problem that itself does not say what to do."""
    from bequeath.kernel.codes import CODES

    code = None if problem.label else CODES.get(problem.code)
    return () if code is None else (code.fix,)


def _window(place: Place) -> tuple[str, str]:
    """The part of the source line that fits, and the carets under the span.

    Carets are placed by the width characters have on a terminal, not by their number.
    """
    start, text = place.column - 1, place.text
    end = min(max(start + 1, start + place.length), max(len(text), start + 1))
    left = max(0, start - WIDEST // 3) if len(text) > WIDEST else 0
    right = min(len(text), left + WIDEST)
    head = "..." if left else ""
    tail = "..." if right < len(text) else ""
    before = head + visible(text[left:start])
    under = visible(text[start : min(end, right)])
    source = head + visible(text[left:right]) + tail
    return source, " " * _width(before) + "^" * max(1, _width(under))


def visible(text: str) -> str:
    """Control characters written out, tabs as one space."""
    if text.isprintable():
        return text
    text = text.replace("\t", " ")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def text_of(error: BaseException) -> str:
    """What an error says; nothing, where an error of the user's cannot say what it is."""
    try:
        return str(error)
    except Exception:
        return ""


def visible_lines(text: str) -> str:
    """`visible`, line by line: code that others wrote, or a file of theirs."""
    return "\n".join(visible(line) for line in text.split("\n"))


def shortened(text: str) -> str:
    """`visible`, and of a text without end only its beginning and its end."""
    if len(text) > LONGEST:
        text = f"{text[: LONGEST - 63]} ... {text[-58:]}"
    return visible(text)


def _width(text: str) -> int:
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(unicodedata.combining(c) != 0 for c in text)


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
