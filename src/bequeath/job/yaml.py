"""YAML 1.2 read as data: every key and value with its place, nothing executed, nothing unbounded.

ruamel.yaml does the parsing; the tree is built here from its events, because an event knows its
place and its tag, and because aliases can be counted before they are followed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from bequeath.job.document import Document, Entry, Node
from bequeath.kernel.errors import JobError, Place, Problem

MAX_BYTES = 1_000_000
MAX_NODES = 20_000
MAX_DEPTH = 32
LONGEST_NUMBER = 250  # characters; beyond them no float holds it

_INT = re.compile(r"[-+]?[0-9]+")
_BASED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORDS: dict[str, Any] = {"": None, "~": None, "null": None, "Null": None, "NULL": None}
_WORDS |= {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_WORDS |= {w: float("inf") for w in (".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF")}
_WORDS |= {w: float("-inf") for w in ("-.inf", "-.Inf", "-.INF")}
_WORDS |= {w: float("nan") for w in (".nan", ".NaN", ".NAN")}


def parse(text: str, name: str) -> Document:
    """Text -> Document. JobError J101 (syntax), J106 (too large, too deep), J107 (a tag).

    Keys written twice (J105) do not stop the reading; they travel in `Document.problems`.
    """
    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise JobError(
            Problem("J106", f"`{name}` is larger than a job file may be ({MAX_BYTES // 1000} kB)")
        )
    builder = _Builder(text.removeprefix("\ufeff"), name)
    root = builder.document()
    return Document(root, name, tuple(builder.problems))


def scalar(text: str) -> Any:
    """What an unquoted scalar means in YAML 1.2: `no` is a text, `1e-4` is a number."""
    if text in _WORDS:
        return _WORDS[text]
    if len(text) > LONGEST_NUMBER:
        return text
    try:
        if _INT.fullmatch(text):
            return int(text)
        if _BASED.fullmatch(text):
            return int(text[2:], 8 if text[1] == "o" else 16)
        if _FLOAT.fullmatch(text):
            return float(text)
    except ValueError:  # `1_0`, which Python would read
        return text
    return text


def _whole_characters(text: str) -> str:
    """JSON writes one character as two escapes (`\\ud83d\\ude00`); half of one is no character."""
    if not any("\ud800" <= c <= "\udfff" for c in text):
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


class _Builder:
    """Walks the events once. Holds what the walk needs: the lines, the anchors, the count."""

    def __init__(self, text: str, name: str):
        self.text, self.name = text, name
        self.lines = re.split(r"\r\n|[\n\r]", text)  # the line breaks of YAML 1.2
        self.anchors: dict[str, Node | None] = {}
        self.problems: list[Problem] = []
        self.events = self._events()

    def document(self) -> Node:
        self._next()
        if type(event := self._next()).__name__ == "StreamEndEvent":
            return Node(None, Place(self.name, 1, 1))
        root = self._node(self._next(), 0)
        self._next()
        if type(event := self._next()).__name__ != "StreamEndEvent":
            self._stop("J101", "a job is one YAML document", event, "a second one begins here")
        return root

    def _events(self) -> Iterator[Any]:
        from ruamel.yaml import YAML
        from ruamel.yaml.error import YAMLError

        try:
            yield from YAML(typ="safe", pure=True).parse(self.text)
        except YAMLError as error:
            raise JobError(self._syntax(error)) from None

    def _next(self) -> Any:
        return next(self.events)

    def _node(self, event: Any, depth: int) -> Node:
        kind = type(event).__name__
        if depth > MAX_DEPTH:
            self._stop("J106", f"nested deeper than {MAX_DEPTH} levels", event)
        if kind == "AliasEvent":
            return self._alias(event)
        if event.tag is not None:
            self._stop("J107", f"the tag `{event.tag}` is refused", event, "a job is plain data")
        if event.anchor:
            self.anchors[event.anchor] = None
        if kind == "ScalarEvent":
            text = _whole_characters(event.value)
            value = scalar(text) if event.implicit[0] and not event.style else text
            node = Node(value, self._place(event))
        elif kind == "SequenceStartEvent":
            node = self._list(event, depth)
        else:
            node = self._mapping(event, depth)
        if event.anchor:
            self.anchors[event.anchor] = node
        return node

    def _alias(self, event: Any) -> Node:
        node = self.anchors.get(event.anchor)
        if node is None:
            self._stop("J101", f"there is no anchor `&{event.anchor}` before this alias", event)
            raise AssertionError("unreachable")
        return Node(node.value, self._place(event), node.size)

    def _list(self, start: Any, depth: int) -> Node:
        items, size = [], 1
        while type(event := self._next()).__name__ != "SequenceEndEvent":
            items.append(self._node(event, depth + 1))
            size = self._bounded(size + items[-1].size, event)
        return Node(items, self._place(start), size)

    def _mapping(self, start: Any, depth: int) -> Node:
        entries: dict[str, Entry] = {}
        size = 1
        while type(event := self._next()).__name__ != "MappingEndEvent":
            key_node = self._node(event, depth + 1)
            if isinstance(key_node.value, dict | list):
                self._stop("J101", "a key is a single word", event)
            # the key as written (`no`, `1.0`), not what YAML makes of it
            key = _whole_characters(getattr(event, "value", str(key_node.value)))
            place = self._place(event)
            value = self._node(self._next(), depth + 1)
            size = self._bounded(size + 1 + value.size, event)
            if key in entries:
                first = entries[key].key
                label = f"first written on line {first.line}" if first else ""
                self.problems.append(
                    Problem("J105", f"the key `{key}` is written twice", label=label, place=place)
                )
            else:
                entries[key] = Entry(place, value)
        return Node(entries, self._place(start), size)

    def _bounded(self, size: int, event: Any) -> int:
        if size > MAX_NODES:
            self._stop("J106", f"more than {MAX_NODES} values, aliases followed", event)
        return size

    def _place(self, event: Any) -> Place:
        start, end = event.start_mark, event.end_mark
        text = self._line(start.line)
        stop = end.column if end.line == start.line else len(text)
        if type(event).__name__ in ("MappingStartEvent", "SequenceStartEvent"):
            stop = start.column + 1
        return Place(self.name, start.line + 1, start.column + 1, max(1, stop - start.column), text)

    def _line(self, number: int) -> str:
        return self.lines[number] if number < len(self.lines) else ""

    def _stop(self, code: str, message: str, event: Any, label: str = "") -> None:
        raise JobError(Problem(code, message, label=label, place=self._place(event)))

    def _syntax(self, error: Any) -> Problem:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        if mark is None:  # the reader: a character YAML does not allow
            at = getattr(error, "position", 0)
            before = self.text[:at]
            line, column = before.count("\n"), at - (before.rfind("\n") + 1)
            said, begun = "a character that YAML does not allow", ""
        else:
            line, column = mark.line, mark.column
            said, begun = str(error.problem or "it cannot be read"), _begun(error)
        text = self._line(line)
        label, remedies = _advice(said, text)
        place = Place(self.name, line + 1, column + 1, 1, text)
        notes = (begun,) if begun else ()
        return Problem(
            "J101", f"this is not YAML: {said}", (), label, tuple(remedies), notes, place
        )


def _begun(error: Any) -> str:
    mark = error.context_mark
    if mark is None or not error.context:
        return ""
    return f"{error.context}, begun on line {mark.line + 1}, column {mark.column + 1}"


def _advice(said: str, line: str) -> tuple[str, list[str]]:
    if "\\t" in said or "\t" in line[: len(line) - len(line.lstrip())]:
        return "a tab", ["YAML is indented with spaces; replace the tab"]
    if "mapping values are not allowed" in said:
        return "a second `:` on this line", ["put the value in quotes if the `:` belongs to it"]
    if "cannot start any token" in said:
        return "", ["put the value in quotes"]
    if "<block mapping start>" in said or "<block end>" in said:
        return "", ["indent the keys of one mapping by the same number of spaces"]
    if "end of stream" in said or "<stream end>" in said:
        return "", ["close the bracket or quote that is open"]
    return "", []
