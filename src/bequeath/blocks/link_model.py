"""Embeddings of a knowledge graph: PyKEEN's models, asked one question at a time for many answers.

A question is (h, r, ?) or (?, r, t). For each of these models its score with an entity e is one
plain function of a question vector q and the entity's vector, so all entities are scored by one
matrix product (or one matrix of distances), and N negatives share their question:

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
    def all_answers(self, side: str, kept: Tensor, relation: Tensor) -> Tensor:
        """Scores of every entity, [B, n]; side: `tail` or `head`, what is asked for."""
        device = self.entities.device
        q = self.questions(kept.to(device), relation.to(device), side == "tail")
        if self.form == "dot":
            return q @ self.entities.T
        # Not through the matrix product: it loses the digits that tell near entities apart.
        exact = "donot_use_mm_for_euclid_dist"
        order = 1.0 if self.form == "l1" else 2.0
        return self.margin - torch.cdist(q, self.entities, p=order, compute_mode=exact)

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
