"""What the user wrote, with the place of every key and value: the tree between YAML and the job."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from bequeath.kernel.errors import JobPath, Place, Problem

COMMAND_LINE = "command line"


@dataclass(frozen=True)
class Node:
    """A value and where it stands. value: a scalar, a dict of `Entry`, or a list of `Node`.

    size: how many nodes there are in it, aliases counted each time they are used.
    """

    value: Any
    place: Place | None = None
    size: int = 1


@dataclass(frozen=True)
class Entry:
    """One key of a mapping: where the key stands, and its value."""

    key: Place | None
    node: Node


@dataclass(frozen=True)
class Document:
    """A job as written: its tree, its name, and what was wrong without making it unreadable."""

    root: Node
    name: str = "job"
    problems: tuple[Problem, ...] = field(default=())

    @property
    def plain(self) -> Any:
        return plain(self.root)

    def place(self, at: JobPath, *, key: bool = False) -> Place | None:
        """The place of the value at a path (of its key if `key`), or of what is nearest above it.

        A mapping or list is pointed at by its key: a caret under its first line would mislead.
        """
        entry = Entry(None, self.root)
        for part in at:
            below = _below(entry.node, part)
            if below is None:
                break
            entry = below
        wants_key = key or isinstance(entry.node.value, dict | list | None)
        return (entry.key if wants_key else None) or entry.node.place or entry.key

    def locate(self, problem: Problem) -> Problem:
        return problem.located(self.place(problem.at)) if problem.at else problem

    def origin(self, at: JobPath) -> str:
        """Where the value at a path comes from, in words: `job.yaml:3:5`, `extends base.yaml:2:1`,
        `--set`, or `default` when nobody wrote it."""
        node = self.root
        for part in at:
            below = _below(node, part)
            if below is None:
                return "default"
            node = below.node
        if node.place is None:
            return "given"
        if node.place.file == COMMAND_LINE:
            return "--set"
        spot = f"{node.place.file}:{node.place.line}:{node.place.column}"
        return spot if node.place.file == self.name else f"extends {spot}"


def plain(node: Node) -> Any:
    """The bare value: dicts, lists and scalars."""
    if isinstance(node.value, dict):
        return {key: plain(entry.node) for key, entry in node.value.items()}
    if isinstance(node.value, list):
        return [plain(one) for one in node.value]
    return node.value


def from_plain(value: Any) -> Node:
    """A tree without places, for jobs written in Python. ValueError for what YAML could not say."""
    if isinstance(value, Mapping):
        entries = {str(key): Entry(None, from_plain(one)) for key, one in value.items()}
        return Node(entries)
    if isinstance(value, list | tuple):
        return Node([from_plain(one) for one in value])
    if value is None or isinstance(value, bool | int | float | str):
        return Node(value)
    raise ValueError(f"a job holds text, numbers, lists and mappings, not {type(value).__name__}")


def merge(below: Node, above: Node) -> Node:
    """`above` laid over `below`: mappings key by key, everything else replaced."""
    if not (isinstance(below.value, dict) and isinstance(above.value, dict)):
        return above
    entries = dict(below.value)
    for key, entry in above.value.items():
        under = entries.get(key)
        entries[key] = entry if under is None else Entry(entry.key, merge(under.node, entry.node))
    return Node(entries, above.place)


def leaves(node: Node, at: JobPath = ()) -> Iterator[tuple[JobPath, Node]]:
    """Every scalar (and empty collection) with its path."""
    if isinstance(node.value, dict) and node.value:
        for key, entry in node.value.items():
            yield from leaves(entry.node, (*at, key))
    elif isinstance(node.value, list) and node.value:
        for i, one in enumerate(node.value):
            yield from leaves(one, (*at, i))
    else:
        yield at, node


def _below(node: Node, part: str | int) -> Entry | None:
    if isinstance(node.value, dict) and isinstance(part, str):
        return node.value.get(part)
    if isinstance(node.value, list) and isinstance(part, int) and 0 <= part < len(node.value):
        return Entry(None, node.value[part])
    return None
