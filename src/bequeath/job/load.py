"""From a file, its `extends:` and the `--set` of the command line to one tree with places."""

from __future__ import annotations

import difflib
import errno
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bequeath.job import yaml
from bequeath.job.document import COMMAND_LINE, Document, Entry, Node, merge
from bequeath.job.foreign import translated
from bequeath.kernel.errors import JobError, JobPath, Place, Problem

MAX_EXTENDS = 16

# What a bare value stands for where a mapping may stand: `method: kd` is `method: {name: kd}`.
SHORT = {"method": "name", "models": "ref", "data": "ref", "graphs": "ref"}


def load_document(path: str | Path, overrides: Sequence[str] = ()) -> Document:
    """Read a job file, lay it over what it extends, and apply `a.b=1` overrides in order.

    JobError J100 (the file cannot be read), J101, J106, J107 (YAML), J108 (extends), J109 (--set).
    """
    document = read(Path(path))
    document = replace(document, root=_extend(document, Path(path), (Path(path).resolve(),)))
    return override(translated(document), overrides)


def read(path: Path, place: Place | None = None) -> Document:
    """One file, alone. `place` is where it was named, for the error when it cannot be read."""
    try:
        if place is not None and path.exists() and not path.is_file():
            raise OSError(errno.EINVAL, "it is no file")  # a pipe might never answer
        with path.open("rb") as file:  # a device (`/dev/zero`) has no size and no end
            data = file.read(yaml.MAX_BYTES + 1)
        if len(data) > yaml.MAX_BYTES:
            limit = f"{yaml.MAX_BYTES // 1000} kB"
            raise JobError(Problem("J106", f"`{path}` is larger than a job ({limit})", place=place))
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        why = f"byte {error.start} is not UTF-8"
        raise JobError(Problem("J100", f"`{path}` is not text: {why}", place=place)) from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        remedies = _near_files(path)
        raise JobError(
            Problem("J100", f"cannot read `{path}`: {why}", place=place, remedies=remedies)
        ) from None
    return yaml.parse(text, str(path))


def override(document: Document, overrides: Sequence[str]) -> Document:
    """`a.b=1`, `method.0.temperature=2`: the value is YAML; what is missing on the way is made.

    JobError J109 with every override that cannot be applied.
    """
    problems: list[Problem] = []
    root = document.root
    if root.value is None and overrides:
        root = Node({}, root.place)
    for number, text in enumerate(overrides, 1):
        try:
            at, key, node = _parse_override(text, number)
            root = _put(root, at, (), Entry(key, node))
        except JobError as error:
            problems += error.problems
    if problems:
        raise JobError(problems)
    return replace(document, root=root)


def _extend(document: Document, path: Path, seen: tuple[Path, ...]) -> Node:
    root = document.root
    entry = root.value.get("extends") if isinstance(root.value, dict) else None
    if entry is None or entry.node.value is None:
        return root
    name, place = entry.node.value, entry.node.place
    if not isinstance(name, str) or not name:
        label = "the path of one job file, from this file's folder"
        raise JobError(Problem("J108", "`extends` takes one path", label=label, place=place))
    base_path = path.parent / name
    base = read(base_path, place)
    if base_path.resolve() in seen:
        chain = " -> ".join(p.name for p in (*seen, base_path.resolve()))
        raise JobError(Problem("J108", f"`extends` goes in a circle: {chain}", place=place))
    if len(seen) >= MAX_EXTENDS:
        raise JobError(Problem("J108", f"more than {MAX_EXTENDS} `extends`", place=place))
    if base.problems:
        raise JobError(base.problems)
    below = _extend(base, base_path, (*seen, base_path.resolve()))
    return below if root.value is None else merge(below, root)


def _parse_override(text: str, number: int) -> tuple[tuple[str, ...], Place, Node]:
    dotted, equals, value = text.partition("=")
    shown = f"--set {text}"
    key = Place(COMMAND_LINE, number, 7, max(1, len(dotted)), shown)
    at = tuple(part.strip() for part in dotted.split("."))
    if not equals or not all(at) or len(at) > yaml.MAX_DEPTH:
        label = "write it as --set train.epochs=10"
        raise JobError(Problem("J109", f"`--set {text}` sets nothing", label=label, place=key))
    shift = key.column + len(dotted)  # columns before the value
    try:
        root = yaml.parse(value, COMMAND_LINE).root
    except JobError as error:
        problem = error.problems[0]
        column = problem.place.column if problem.place else 1
        place = Place(COMMAND_LINE, number, shift + column, 1, shown)
        raise JobError(replace(problem, place=place)) from None
    return at, key, _moved(root, number, shift, shown)


def _moved(node: Node, number: int, shift: int, shown: str) -> Node:
    def move(place: Place | None) -> Place | None:
        if place is None:
            return None
        return Place(COMMAND_LINE, number, place.column + shift, place.length, shown)

    value = node.value
    if isinstance(value, dict):
        value = {
            k: Entry(move(e.key), _moved(e.node, number, shift, shown)) for k, e in value.items()
        }
    elif isinstance(value, list):
        value = [_moved(one, number, shift, shown) for one in value]
    return Node(value, move(node.place), node.size)


def _put(node: Node, rest: tuple[str, ...], done: JobPath, entry: Entry) -> Node:
    """A copy of the tree with `entry` at the end of the path `rest`."""
    if not rest:
        return entry.node
    node = _spelled_out(node, done, entry.key)
    part, value = rest[0], node.value
    if isinstance(value, list):
        if not part.isdecimal() or len(part) > 6 or int(part) >= len(value):
            where = f"`{'.'.join(map(str, done))}` is a list of {len(value)}"
            label = f"{where}; count from 0" if value else f"{where}, empty"
            raise JobError(Problem("J109", f"no item {_shown(part)}", label=label, place=entry.key))
        items = list(value)
        items[int(part)] = _put(items[int(part)], rest[1:], (*done, int(part)), entry)
        return Node(items, node.place, node.size)
    if not isinstance(value, dict):
        where = ".".join(map(str, done))
        label = f"`{where}` is {_shown(value)}, which has nothing inside"
        raise JobError(Problem("J109", f"cannot set `{part}` in it", label=label, place=entry.key))
    old = value.get(part)
    below = _put(old.node if old else Node(None), rest[1:], (*done, part), entry)
    return Node({**value, part: Entry(entry.key, below)}, node.place, node.size)


def _spelled_out(node: Node, done: JobPath, place: Place | None) -> Node:
    """The long form of a short value: `--set method.temperature=2` works on `method: kd`."""
    if node.value is None:
        return Node({}, place)
    if not isinstance(node.value, str) or not done:
        return node
    short = SHORT.get(str(done[0]))
    depth = 2 if done[0] != "method" else 1
    deep_enough = len(done) == depth or (done[0] == "method" and len(done) == 2)
    return Node({short: Entry(None, node)}, node.place) if short and deep_enough else node


def _shown(value: Any) -> str:
    text = str(value)
    return f"`{text[:40]}...`" if len(text) > 40 else f"`{text}`"


def _near_files(path: Path) -> tuple[str, ...]:
    """The YAML file that was probably meant."""
    try:
        names = [p.name for p in path.parent.iterdir() if p.suffix in (".yaml", ".yml")]
    except OSError:
        return ()
    near = difflib.get_close_matches(path.name, sorted(names)[:1000], 1)
    return (f"did you mean `{path.parent / near[0]}`?",) if near else ()
