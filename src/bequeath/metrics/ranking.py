"""Ranks of the right answers among all entities, filtered, and what is told of them.

A test triple (h, r, t) asks two questions: (h, r, ?) and (?, r, t). Each is answered by a score for
every entity; the rank of the right one is counted among the entities that are not known to be right
too ("filtered", Bordes et al. 2013). Where scores tie, the optimistic rank puts the right one first
and the pessimistic rank last; the realistic rank is their mean, the expected rank over all orders
of the tied (Berrendorf et al. 2020, arXiv 2002.06914). All measures here are of realistic ranks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

SIDES = ("tail", "head")
_CELLS = 2**22  # scores held at once, 16 MB in float32

# (side, entity [B], relation [B]) -> scores [B, n]; `side` is what is asked for
Score = Callable[[str, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Ranks:
    """Of T triples, one row a side: row 0 asks for the tail, row 1 for the head.

    optimistic, pessimistic: int64 [2, T], from 1. candidates: int64 [2, T], entities that were
    ranked, the right one among them.
    """

    optimistic: Tensor
    pessimistic: Tensor
    candidates: Tensor

    @property
    def realistic(self) -> Tensor:
        """float64 [2, T], whole or half numbers."""
        return (self.optimistic + self.pessimistic).to(torch.float64) / 2


def filtered_ranks(
    score: Score, triples: Tensor, known: Tensor, n_entities: int, *, batch: int | None = None
) -> Ranks:
    """The ranks of the right heads and tails of `triples`.

    triples: int64 [T, 3] of (head, relation, tail). known: int64 [M, 3], all that is known to be
    true; those of `triples` may be among them. score: gives the scores of all entities for a batch
    of questions, on any device. batch: questions at once (default: as many as 16 MB of scores).

    Raises ValueError when a score is NaN: nothing can be ranked by it.
    """
    size = batch or max(1, _CELLS // max(1, n_entities))
    n_relations = int(max(_most(triples, 1), _most(known, 1))) + 1
    parts: list[list[Tensor]] = []
    for side in SIDES:
        given, asked = (0, 2) if side == "tail" else (2, 0)
        answers = _Answers(known, given, asked, n_relations)
        for some in triples.split(size):
            parts.append(_batch(score, side, some[:, given], some[:, 1], some[:, asked], answers))
    if not parts:
        empty = torch.zeros(2, 0, dtype=torch.int64)
        return Ranks(empty, empty, empty)
    greater, equal, candidates = (torch.cat(column).view(2, -1) for column in zip(*parts))
    return Ranks(1 + greater, 1 + greater + equal, candidates)


def _batch(
    score: Score, side: str, given: Tensor, relation: Tensor, right: Tensor, answers: _Answers
) -> list[Tensor]:
    """How many score higher than the right one, how many as high, how many were ranked."""
    scores = score(side, given, relation)
    if bool(scores.isnan().any()):
        raise ValueError("a score is NaN: entities cannot be ranked by it")
    rows, others = answers.of(given, relation)
    device = scores.device
    right, rows, others = right.to(device), rows.to(device), others.to(device)
    own = scores.gather(1, right[:, None])
    # NaN is neither greater nor equal to anything, so what is masked with it is not ranked.
    scores = scores.index_put((rows, others), scores.new_tensor(torch.nan))
    scores.scatter_(1, right[:, None], torch.nan)
    greater, equal = (scores > own).sum(1), (scores == own).sum(1)
    candidates = scores.shape[1] - scores.isnan().sum(1) + 1
    return [part.cpu() for part in (greater, equal, candidates)]


class _Answers:
    """The right answers to (entity, relation), looked up for a batch of questions."""

    def __init__(self, known: Tensor, given: int, asked: int, n_relations: int):
        self.n_relations = n_relations
        key = known[:, given] * n_relations + known[:, 1]
        self.keys, order = key.sort()
        self.values = known[:, asked][order]

    def of(self, entity: Tensor, relation: Tensor) -> tuple[Tensor, Tensor]:
        """(question number, entity) of every right answer, each int64 [A]."""
        key = entity * self.n_relations + relation
        low = torch.searchsorted(self.keys, key)
        count = torch.searchsorted(self.keys, key, right=True) - low
        rows = torch.arange(len(key)).repeat_interleave(count)
        within = torch.arange(len(rows)) - (count.cumsum(0) - count).repeat_interleave(count)
        return rows, self.values[low.repeat_interleave(count) + within]


def _most(triples: Tensor, column: int) -> int:
    return int(triples[:, column].max()) if len(triples) else 0


def reciprocal(ranks: Tensor) -> Tensor:
    """1 / rank of each question; their mean is the MRR."""
    return 1.0 / ranks


def hits(ranks: Tensor, k: int) -> Tensor:
    """1 where the rank is at most k, else 0; their mean is Hits@k."""
    return (ranks <= k).to(torch.float64)


def adjusted(ranks: Tensor, candidates: Tensor) -> Tensor:
    """The terms of the adjusted mean rank index; their mean is it.

    1 - sum(rank - 1) / sum(expected rank - 1), where a random order of c candidates expects the
    rank (c + 1) / 2: 1 is perfect, 0 is chance, below 0 is worse than chance (Berrendorf et al.
    2020). The denominator is the same for all models, so models may be compared term by term.
    """
    chance = (candidates.to(torch.float64) - 1).mean() / 2
    if not chance > 0:
        return torch.zeros_like(ranks)
    return 1.0 - (ranks - 1.0) / chance
