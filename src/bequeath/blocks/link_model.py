"""Embeddings of a knowledge graph: PyKEEN's models, asked one question at a time for many answers.

A question is (h, r, ?) or (?, r, t). For each of these models its score with an entity e is one
plain function of a question vector q and the entity's vector, so all entities are scored by one
matrix product (or, for the L1 distance, one sweep), and N negatives share their question:

    transe     -|h + r - t|_1          q = h + r   or  t - r
    rotate     -|h o r - t|_2          q = h o r   or  t o conj(r), as |r_i| = 1
    distmult   sum h r t               q = h r     or  r t
    complex    Re sum h r conj(t)      q = h r     or  t conj(r)

Complex vectors are held as pairs of real numbers. `rotate` has PyKEEN's distance, the Euclidean one
of complex vectors; the authors of RotatE sum the moduli instead.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from bequeath.kernel.errors import Problem, RunError
from bequeath.kernel.files import whole_folder, write_json, write_text

Name = Literal["transe", "rotate", "distmult", "complex"]
NAMES: tuple[Name, ...] = get_args(Name)

_CLASSES = {
    "transe": "TransE",
    "rotate": "RotatE",
    "distmult": "DistMult",
    "complex": "ComplEx",
}
# PyKEEN's own defaults would hold entities at length 1 and add a penalty.
_MORE: dict[str, dict[str, Any]] = {
    "transe": {"scoring_fct_norm": 1, "entity_constrainer": None},
    "rotate": {},
    "distmult": {"entity_constrainer": None, "regularizer": None},
    "complex": {"regularizer": None},
}
_PAIRS = 2**21  # numbers of one operand held at once by the exact scores, 16 MB
_BLOCK = 2**20  # numbers of a block of L1 distances, 4 MB
_FORMS = {"transe": "l1", "rotate": "l2", "distmult": "dot", "complex": "dot"}


class LinkModel(nn.Module):
    """A PyKEEN model (`module`) with scores by question.

    margin: gamma, added to minus the distance, so that a score is a logit; 0 for products.
    """

    def __init__(self, name: Name, module: nn.Module, dim: int, margin: float):
        super().__init__()
        self.name, self.module, self.dim = name, module, dim
        self.form = _FORMS[name]
        self.margin = margin if self.form != "dot" else 0.0

    @property
    def entities(self) -> Tensor:
        """All entity vectors, float32 [n, D]; D is 2 dim for complex ones."""
        return self._entity.weight

    def questions(self, kept: Tensor, relation: Tensor, tail: bool) -> Tensor:
        """q [..., D] of (kept, relation, ?), or of (?, relation, kept) unless `tail`."""
        e, r = self._entity(kept), self._relation(relation)
        if self.name == "transe":
            return e + r if tail else e - r
        if self.name == "distmult":
            return e * r
        e, r = _complex(e), _complex(r)
        return torch.view_as_real(e * (r if tail else r.conj())).flatten(-2)

    def answers(self, questions: Tensor, entity: Tensor) -> Tensor:
        """Scores of `entity` [B, N] as answers to questions [B, D] -> [B, N]."""
        vectors = self._entity(entity)
        if self.form == "dot":
            return torch.bmm(vectors, questions[:, :, None]).squeeze(2)
        order = 1 if self.form == "l1" else 2
        apart = torch.linalg.vector_norm(questions[:, None] - vectors, ord=order, dim=-1)
        return self.margin - apart

    @torch.no_grad()
    def rough_answers(self, side: str, kept: Tensor, relation: Tensor) -> tuple[Tensor, Tensor]:
        """(scores of every entity [B, n], how much one of a row may be wrong [B]).

        side: `tail` or `head`, what is asked for. The scores are `exact_answers` but for an
        increasing function of each row: a squared Euclidean distance is a matrix product.
        """
        entities = self.entities
        q = self.questions(kept.to(entities.device), relation.to(entities.device), side == "tail")
        scores, size = _ROUGH[self.form](q, entities)
        precise = torch.finfo(q.dtype)
        unit, width = precise.eps / 2, q.shape[1]
        # A sum of D products is wrong by D units of the sum of their sizes at most, in any order.
        error = (3 * width if self.form == "l1" else width) * unit + 8 * unit
        if torch.get_float32_matmul_precision() != "highest" and self.form != "l1":
            error += 2.0**-7  # the factors may be rounded to bfloat16
        if self.name == "rotate":  # turning back by conj(r) is undoing r when |r| is 1, no sooner
            lengths = self._relation.weight.double().unflatten(1, (-1, 2)).square().sum(2)
            error += 3 * float((lengths - 1).abs().max())
        return scores, 1.01 * error * size + width * precise.tiny

    @torch.no_grad()
    def exact_answers(self, side: str, kept: Tensor, relation: Tensor, entity: Tensor) -> Tensor:
        """PyKEEN's scores of `entity` [A] as answers, in float64 and without margin, [A]."""
        heads, tails = (kept, entity) if side == "tail" else (entity, kept)
        parts = []
        for ends in zip(*(x.split(max(1, _PAIRS // self.dim)) for x in (heads, relation, tails))):
            h, r, t = (x.to(self.entities.device) for x in ends)
            vectors = [self._entity(h), self._relation(r), self._entity(t)]
            vectors = [x.double() for x in vectors]
            if self.name in ("rotate", "complex"):
                vectors = [_complex(x) for x in vectors]
            module: Any = self.module
            parts.append(module.interaction(*vectors))
        return torch.cat(parts)

    def constrain(self) -> None:
        """What PyKEEN does to its weights after each update (rotations have length 1)."""
        module: Any = self.module
        with torch.no_grad():
            module.post_parameter_update()

    def cubes(self) -> Tensor:
        """The sum of |w|^3 over all weights, divided by their number: the L3 penalty."""
        weights = [self._entity.weight, self._relation.weight]
        total = sum((w.abs() ** 3).sum() for w in weights)
        return total / sum(w.numel() for w in weights)  # type: ignore[return-value]

    def save(self, folder: Path, entities: tuple[str, ...], relations: tuple[str, ...]) -> None:
        """A folder that plain PyKEEN opens; `README.md` says how. Whole or absent."""
        from safetensors.torch import save_file

        from bequeath.given.bound import hash_tensors, plain_state

        with whole_folder(folder) as part:
            state = plain_state(self.module)
            save_file(state, part / "embeddings.safetensors", metadata={"format": "pt"})
            write_json(part / "entities.json", list(entities))
            write_json(part / "relations.json", list(relations))
            more = "".join(f"    {key}={value},\n" for key, value in _MORE[self.name].items())
            load = _LOAD.format(cls=_CLASSES[self.name], dim=self.dim, more=more)
            write_text(part / "README.md", _README.format(load=load))
            record = {
                "format": 1,
                "kind": "link model",
                "model": self.name,
                "dim": self.dim,
                "margin": self.margin,
                "entities": len(entities),
                "relations": len(relations),
                "hash": hash_tensors(self.module),
                "load": load,
            }
            write_json(part / "bequeath.json", record)

    @property
    def _entity(self) -> nn.Embedding:
        module: Any = self.module
        return module.entity_representations[0]._embeddings

    @property
    def _relation(self) -> nn.Embedding:
        module: Any = self.module
        return module.relation_representations[0]._embeddings


def link_model(
    name: Name,
    dim: int,
    margin: float,
    n_entities: int,
    n_relations: int,
    generator: torch.Generator,
) -> LinkModel:
    """A fresh model. Entity vectors are uniform within +-bound, relations too, but `rotate`'s
    phases, which are uniform.

    bound: (margin + 2) / dim, as the code of RotatE has it, which puts an L1 distance near the
    margin; (margin + 2) / sqrt(2 dim) does the same for the Euclidean distance of `rotate`; for
    products it is 1 / sqrt(dim).

    RunError T670 when PyKEEN is not installed.
    """
    pykeen = _pykeen()
    bound = _bound(name, dim, margin)

    def uniform(x: Tensor) -> Tensor:
        return x.uniform_(-bound, bound, generator=generator)

    def phases(x: Tensor) -> Tensor:
        angle = torch.rand(x.shape[:-1], generator=generator) * (2 * math.pi)
        return torch.stack([angle.cos(), angle.sin()], dim=-1)

    initial: Callable[[Tensor], Tensor] = phases if name == "rotate" else uniform
    with torch.random.fork_rng(devices=[]):  # PyKEEN seeds the global generators
        module = getattr(pykeen.models, _CLASSES[name])(
            triples_factory=pykeen.triples.KGInfo(n_entities, n_relations, False),
            embedding_dim=dim,
            entity_initializer=uniform,
            relation_initializer=initial,
            random_seed=pykeen.utils.NoRandomSeedNecessary,
            **_MORE[name],
        )
    return LinkModel(name, module, dim, margin)


def _dot(q: Tensor, entities: Tensor) -> tuple[Tensor, Tensor]:
    """q e of all pairs, and the largest of a row in size, by the norms."""
    return q @ entities.T, q.norm(dim=1) * entities.norm(dim=1).max()


def _l2(q: Tensor, entities: Tensor) -> tuple[Tensor, Tensor]:
    """2 q e - |e|^2, which is minus the squared distance but for |q|^2, the same in a row."""
    norms = entities.norm(dim=1)
    scores = torch.addmm(entities.square().sum(1), q, entities.T, beta=-1, alpha=2)
    return scores, (q.norm(dim=1) + norms.max()).square()


def _l1(q: Tensor, entities: Tensor) -> tuple[Tensor, Tensor]:
    """Minus the sum of |q - e|, but for what is the same in a row."""
    totals = entities.sum(1)
    size = q.norm(p=1, dim=1) + entities.norm(p=1, dim=1).max()
    # |q - e| = 2 max(q, e) - q - e: two quick passes over blocks that stay in the processor's
    # cache take half the time of `cdist`. Several threads would meet after every pass, which
    # costs more than it saves where another program holds one of them up.
    if q.device.type != "cpu" or torch.get_num_threads() > 1:
        return -torch.cdist(q, entities, p=1.0), size
    scores = q.new_empty(len(q), len(entities))
    rows = 8
    columns = max(1, _BLOCK // (rows * q.shape[1]))
    most = q.new_empty(rows, columns, q.shape[1])
    for j in range(0, len(entities), columns):
        some = entities[j : j + columns]
        for i in range(0, len(q), rows):
            part = q[i : i + rows, None]
            larger = torch.maximum(part, some, out=most[: len(part), : len(some)])
            torch.sum(larger, 2, out=scores[i : i + rows, j : j + columns])
    return torch.sub(totals, scores, alpha=2, out=scores), size


_ROUGH = {"dot": _dot, "l2": _l2, "l1": _l1}


def _bound(name: str, dim: int, margin: float) -> float:
    if name == "transe":
        return (margin + 2.0) / dim
    if name == "rotate":
        return (margin + 2.0) / math.sqrt(2 * dim)
    return dim**-0.5


def _complex(x: Tensor) -> Tensor:
    return torch.view_as_complex(x.unflatten(-1, (-1, 2)))


def _pykeen() -> Any:
    try:
        with _home_for_pykeen():
            import pykeen.models
            import pykeen.triples
            import pykeen.utils
    except ImportError as error:
        message = "embeddings of graphs need the library PyKEEN, which is not installed"
        remedy = "pip install 'bequeath[graph]'"
        problem = Problem("T670", message, notes=(str(error),), remedies=(remedy,))
        raise RunError(problem) from error
    return pykeen


@contextmanager
def _home_for_pykeen() -> Iterator[None]:
    """PyKEEN makes folders when it is imported: here, and not in the user's home."""
    if "PYKEEN_HOME" in os.environ or "pykeen" in sys.modules:
        yield
        return
    with TemporaryDirectory(prefix="bequeath-pykeen-") as home:
        os.environ["PYKEEN_HOME"] = home
        try:
            yield
        finally:
            del os.environ["PYKEEN_HOME"]


_LOAD = """import json

import torch
from pykeen.models import {cls}
from pykeen.triples import KGInfo
from safetensors.torch import load_file

entities = json.load(open('entities.json', encoding='utf-8'))
relations = json.load(open('relations.json', encoding='utf-8'))
model = {cls}(
    triples_factory=KGInfo(len(entities), len(relations), False),
    embedding_dim={dim},
{more}    random_seed=0,
)
model.load_state_dict(load_file('embeddings.safetensors'))
model.eval()
"""

_README = """# Embeddings of a knowledge graph

`embeddings.safetensors` is the state of a PyKEEN model; row i of
`entity_representations.0._embeddings.weight` belongs to name i of `entities.json`, and so for
relations. Complex vectors are stored as (real, imaginary) pairs.

```python
{load}
# the score of (head, relation, tail); higher is more likely
h, r, t = entities.index(...), relations.index(...), entities.index(...)
model.score_hrt(torch.tensor([[h, r, t]]))
```
"""
