"""Knowledge graphs the user owns, by reference: what is known before opening, and opening them.

A scheme is one module of `graph_schemes`; no torch until `load`.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn

from pydantic import BaseModel

from bequeath.given.access import deny
from bequeath.given.graph_options import GRAPH_OPTIONS
from bequeath.given.graph_schemes.assemble import Numbered, assemble
from bequeath.given.graph_schemes.source import NAMES, SPLITS, Found, Splits
from bequeath.given.option_types import Ref, parse_ref, typed_ref
from bequeath.kernel.errors import JobError, Problem
from bequeath.kernel.files import digest

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class GraphFacts:
    """What is known of a graph; None where it takes opening to know.

    entities, relations: how many. train, valid, test: triples. texts: entities that have one.
    has_text: whether texts were asked for (None: they may lie beside the triples). hash: digest
    of the content.
    """

    entities: int | None = None
    relations: int | None = None
    train: int | None = None
    valid: int | None = None
    test: int | None = None
    texts: int | None = None
    has_text: bool | None = None
    hash: str | None = None


@dataclass(frozen=True, repr=False)
class Graph:
    """An open knowledge graph.

    entities, relations: names in the order of their numbers (sorted). train, valid, test: int64
    [N, 3] of (head, relation, tail), each triple once. texts: one an entity, or None. hash: digest
    of all of it. notes: what was left out or mended on opening, with counts.
    """

    entities: tuple[str, ...]
    relations: tuple[str, ...]
    train: Tensor
    valid: Tensor
    test: Tensor
    texts: tuple[str | None, ...]
    hash: str
    notes: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Graph({self.n_entities} entities, {len(self.train)} triples to train on)"

    def __len__(self) -> int:
        """Triples to train on."""
        return len(self.train)

    @property
    def n_entities(self) -> int:
        return len(self.entities)

    @property
    def n_relations(self) -> int:
        return len(self.relations)

    @property
    def facts(self) -> GraphFacts:
        texts = sum(text is not None for text in self.texts)
        counts = (len(self.train), len(self.valid), len(self.test))
        return GraphFacts(self.n_entities, self.n_relations, *counts, texts, texts > 0, self.hash)


class GraphView:
    """A graph as a method sees it: without its test triples, which are kept for the evaluator."""

    __slots__ = (
        "_attempts", "entities", "hash", "n_entities", "n_relations", "relations", "role", "texts",
        "train", "valid",
    )  # fmt: skip

    def __init__(self, role: str, graph: Graph, attempts: list[str] | None = None):
        """attempts: where a reach for the test triples is noted, besides being refused."""
        self.role, self._attempts = role, attempts
        self.entities, self.relations, self.texts = graph.entities, graph.relations, graph.texts
        self.n_entities, self.n_relations = graph.n_entities, graph.n_relations
        self.train, self.valid, self.hash = graph.train, graph.valid, graph.hash

    def __repr__(self) -> str:
        return f"GraphView({self.role!r}, {self.n_entities} entities)"

    @property
    def test(self) -> NoReturn:
        """Always AccessDenied."""
        deny(f"the method may not see the test triples of graph `{self.role}`", self._attempts)


class GraphHandle:
    """A graph that is named but not opened. Problems are placed at `graphs.<role>...`."""

    def __init__(self, role: str, ref: str, options: BaseModel):
        self.role, self.ref, self.options = role, ref, options
        self._graph: Graph | None = None

    def __repr__(self) -> str:
        return f"GraphHandle({self.role!r}, {self.ref!r})"

    @property
    def facts(self) -> GraphFacts:
        """What is known without opening; once `load` has run, everything."""
        if self._graph is not None:
            return self._graph.facts
        asked = getattr(self.options, "text", None)
        return GraphFacts(has_text=True if asked is not None else None)

    def static_problems(self) -> list[Problem]:
        """What is wrong as far as listings and first lines show."""
        return list(self._known)

    def load(self) -> Graph:
        """Read, number and check, once. Raises JobError with every problem found."""
        if self._graph is None:
            if self._known:
                raise JobError(self._known)
            rest, module = self._scheme()
            try:
                splits: Splits = module.read(rest, self.options)
                self._graph = as_graph(assemble(splits, self.options))
            except JobError as error:
                raise JobError(self._placed(error.problems)) from None
        return self._graph

    @cached_property
    def _known(self) -> list[Problem]:
        rest, module = self._scheme()
        try:
            found: Found = module.find(rest, self.options)
        except OSError as error:  # a folder one may not enter, a path too long
            message = f"`{rest}` cannot be opened: {error.strerror or error}"
            found = Found(problems=[Problem("D201", message, at=("ref",))])
        return self._placed(found.problems)

    def _scheme(self) -> tuple[str, Any]:
        parsed = parse_ref(self.ref)
        module = importlib.import_module(f"bequeath.given.graph_schemes.{parsed.scheme}")
        return parsed.rest, module

    def _placed(self, problems: Iterable[Problem]) -> list[Problem]:
        return [problem.under("graphs", self.role) for problem in problems]


def graph_handle(
    role: str, ref: str | Ref, options: BaseModel | dict[str, Any] | None = None
) -> GraphHandle:
    """A handle on `ref` (`kg:folder?text=names`) for `role`; opens nothing.

    options: of the scheme's class in `GRAPH_OPTIONS`, or a mapping; settings in the reference come
    on top of a mapping. Raises ValueError for a reference or a setting that is wrong.
    """
    return GraphHandle(role, *typed_ref(ref, options, GRAPH_OPTIONS, "graph"))


def as_graph(found: Numbered) -> Graph:
    """Numbered triples as tensors, with the digest of the whole graph."""
    import torch

    parts = {
        split: torch.tensor(found.triples[split], dtype=torch.int64).reshape(-1, 3)
        for split in SPLITS
    }
    names = ["\x1f".join(part) for part in (found.entities, found.relations)]
    texts = "\x1f".join("\x00" if text is None else text for text in found.texts)
    content = digest(*names, texts, *(parts[split].numpy().tobytes() for split in SPLITS))
    return Graph(
        found.entities,
        found.relations,
        parts["train"],
        parts["valid"],
        parts["test"],
        found.texts,
        content,
        found.notes,
    )


__all__ = [
    "GRAPH_OPTIONS",
    "NAMES",
    "Graph",
    "GraphFacts",
    "GraphHandle",
    "GraphView",
    "as_graph",
    "graph_handle",
]
