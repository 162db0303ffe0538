"""`vars:` names a text once; `${name}` stands for it anywhere else in the job."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from bequeath.job import words
from bequeath.job.document import Document, Entry, Node, plain
from bequeath.kernel.errors import Problem

_USE = re.compile(r"\$\{([^${}]*)\}")
LONGEST = 10_000  # characters of a value: a few variables could else fill the memory


def filled(document: Document) -> Document:
    """The document with every `${name}` replaced; places stay. What cannot be is J126, or J106."""
    root = document.root
    written = plain(root).get("vars") if isinstance(root.value, dict) else None
    if not isinstance(written, Mapping):
        written = {}
    values = {
        name: str(value)
        for name, value in written.items()
        if isinstance(value, str | int | float) and not isinstance(value, bool)
    }
    problems: list[Problem] = []

    def fill(node: Node) -> Node:
        if isinstance(node.value, dict):
            return replace(
                node, value={k: Entry(e.key, fill(e.node)) for k, e in node.value.items()}
            )
        if isinstance(node.value, list):
            return replace(node, value=[fill(one) for one in node.value])
        if not isinstance(node.value, str) or "${" not in node.value:
            return node
        for name in _USE.findall(node.value):
            if name not in values:
                label = words.one_of(name, values) if values else "the job has no `vars:`"
                message = f"there is no variable `{words.shown(name)}`"
                problems.append(Problem("J126", message, label=label, place=node.place))
        uses = [values.get(name, "") for name in _USE.findall(node.value)]
        if len(node.value) + sum(map(len, uses)) > LONGEST:
            message = f"with its variables filled in, this is longer than {LONGEST} characters"
            problems.append(Problem("J106", message, place=node.place))
            return node
        return replace(node, value=_USE.sub(lambda use: values.get(use[1], use[0]), node.value))

    if isinstance(root.value, dict):
        entries = {
            key: entry if key == "vars" else Entry(entry.key, fill(entry.node))
            for key, entry in root.value.items()
        }
        root = replace(root, value=entries)
    return replace(document, root=root, problems=(*document.problems, *problems))
