"""A tiny graph with texts for the methods of `ground`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from method_cases import Case, Done, look
from torch import Tensor

from bequeath.blocks import text_encoder, triples
from bequeath.blocks.triples import Triples
from bequeath.given.graph_options import KgGraph
from bequeath.given.graph_schemes.assemble import assemble
from bequeath.given.graph_schemes.source import Splits, Triple
from bequeath.given.graphs import as_graph
from bequeath.methods.contract import Method, Outcome
from bequeath.methods.ground import Protocol
from bequeath.train.seeds import generator

PROTOCOL = Protocol(model="rotate", dim=4, negatives=5)
TRAIN = {"optimizer": {"name": "adam", "lr": 0.01}}
KINDS = ("river", "town", "person", "animal")


class WatchedTriples(Triples):
    """Triples that count how often they are looked at."""

    def fetch(self, idx: Tensor) -> dict[str, Any]:
        look()
        return super().fetch(idx)

    def to(self, device: torch.device | str) -> Triples:
        return WatchedTriples(self.triples, self.weight, self.hash)


def splits(n: int = 24, count: int = 90) -> Splits:
    """Entities of four kinds, relations that tend to join kinds, every name in train."""
    g = torch.Generator().manual_seed(3)
    names = [f"{KINDS[i % 4]}_{i}" for i in range(n)]
    made: dict[Triple, None] = {}
    for i in range(n):
        made[names[i], "next", names[(i + 1) % n]] = None
        made[names[i], "like", names[(i + 4) % n]] = None
    while len(made) < count:
        h, t = torch.randint(n, (2,), generator=g).tolist()
        made[names[h], ("next", "like", "near")[h % 3], names[t]] = None
    every = list(made)
    parts = {"train": every[:-12], "valid": every[-12:-6], "test": every[-6:]}
    return Splits(parts, {name: f"a {name.split('_')[0]} number {name[-1]}" for name in names})


def graph() -> Any:
    return as_graph(assemble(splits(), KgGraph()))


def build(one: Case, store: Path, seed: int, loaded: Any) -> dict[str, Any]:
    pytest.importorskip("pykeen")
    triples.Triples = WatchedTriples  # type: ignore[misc]
    return {"graphs": {"kg": graph()}, "protocol": PROTOCOL}


def result(outcome: Outcome) -> dict[str, Tensor]:
    state = outcome.answer.model.module.state_dict()
    return {name: tensor.detach().clone() for name, tensor in state.items()}


def start(one: Case, seed: int) -> dict[str, Tensor]:
    """What the methods begin with, before any step; rotations of length 1."""
    from bequeath.blocks.link_model import link_model

    kg, p = graph(), PROTOCOL
    drawn = generator(seed, "embeddings")
    model = link_model(p.model, p.dim, p.margin, kg.n_entities, kg.n_relations, drawn)
    model.constrain()
    return dict(model.module.state_dict())


def check(done: Done, tmp: Path) -> None:
    """What `bequeath.json` says opens the embeddings, and they score as they did."""
    folder = done.outcome.folder
    assert folder is not None
    kg, answer = graph(), done.outcome.answer
    code = json.loads((folder / "bequeath.json").read_text(encoding="utf-8"))["load"]
    assert "bequeath" not in code
    for file in ("entities.json", "relations.json", "embeddings.safetensors"):
        code = code.replace(f"'{file}'", repr(str(folder / file)))
    names: dict[str, Any] = {}
    exec(code, names)
    assert tuple(names["entities"]) == kg.entities and tuple(names["relations"]) == kg.relations
    h, r, t = kg.test.unbind(1)
    ours = answer.model.exact_answers("tail", h, r, t).float()
    with torch.no_grad():
        theirs = names["model"].score_hrt(kg.test).flatten()
    torch.testing.assert_close(theirs, ours, rtol=1e-5, atol=1e-5)


def job(one: Method) -> dict[str, Any]:
    pytest.importorskip("pykeen")
    graphs = {"kg": {"ref": "pykeen:nations", "text": "names"}}
    return {"want": "ground", "method": one.name, "graphs": graphs}


def _by_words(texts: Any, encoder: str, *, device: Any = "cpu") -> Any:
    """The tiny graph's texts need no sentence encoder: these cases are not about encoders."""
    tiny = list(texts) == list(graph().texts)
    return _encode(texts, "tfidf" if tiny else encoder, device=device)


_encode, text_encoder.encode = text_encoder.encode, _by_words
