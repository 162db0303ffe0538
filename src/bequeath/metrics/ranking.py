"""Ranks of the right answers among all entities, filtered, and what is told of them.

A test triple (h, r, t) asks two questions: (h, r, ?) and (?, r, t). Each is answered by a score for
every entity; the rank of the right one is counted among the entities that are not known to be right
too ("filtered", Bordes et al. 2013). Where scores tie, the optimistic rank puts the right one first
and the pessimistic rank last; the realistic rank is their mean, the expected rank over all orders
of the tied (Berrendorf et al. 2020, arXiv 2002.06914). All measures here are of realistic ranks.

A rank needs to know of each entity only whether it is above, below or level with the right one, so
scores may be rough where their error is bounded: an entity that is farther from the right one than
both may err is decided, and the few that are nearer are scored once more, exactly. The ranks are
those of the exact scores, whatever the batch, the number of threads or the device.
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
# the same -> (scores [B, n], by how much a score of the row may be wrong at most [B])
Rough = Callable[[str, Tensor, Tensor], tuple[Tensor, Tensor]]
# (side, entity [A], relation [A], answer [A]) -> scores [A]
Exact = Callable[[str, Tensor, Tensor, Tensor], Tensor]


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

    def rough(side: str, entity: Tensor, relation: Tensor) -> tuple[Tensor, Tensor]:
        scores = score(side, entity, relation)
        # One pass that writes nothing; infinite scores of both signs make it NaN as well.
        if bool(scores.sum().isnan()) and bool(scores.isnan().any()):
            raise ValueError("a score is NaN: entities cannot be ranked by it")
        return scores.clone(), scores.new_zeros(len(scores))

    return exact_ranks(rough, None, triples, known, n_entities, batch=batch)


def exact_ranks(
    rough: Rough,
    exact: Exact | None,
    triples: Tensor,
    known: Tensor,
    n_entities: int,
    *,
    batch: int | None = None,
) -> Ranks:
    """`filtered_ranks` by rough scores, with the exact ones where the rough cannot tell.

    rough: scores of all entities, in any unit that keeps their order, and the largest error of a
    score of the row against the exact one in that unit; the scores are written into. exact: scores
    of chosen answers (None: the rough ones are exact, and their error is 0). Memory: the scores of
    a batch, twice where questions repeat, and two bytes for each.

    Raises ValueError when an error is NaN or infinite.
    """
    size = batch or max(1, _CELLS // max(1, n_entities))
    n_relations = int(max(_most(triples, 1), _most(known, 1))) + 1
    found = torch.zeros(3, 2, len(triples), dtype=torch.int64)
    for row, side in enumerate(SIDES):
        given, asked = (0, 2) if side == "tail" else (2, 0)
        answers = _Answers(known, given, asked, n_relations, n_entities)
        # Equal questions side by side: a batch scores each of its questions once.
        order = (triples[:, given] * n_relations + triples[:, 1]).argsort(stable=True)
        for part in order.split(size) if len(order) else ():
            some = triples[part]
            question = _Question(side, some[:, given], some[:, 1], some[:, asked])
            found[:, row, part] = _batch(rough, exact, question, answers)
    greater, equal, candidates = found
    return Ranks(1 + greater, 1 + greater + equal, candidates)


@dataclass(frozen=True)
class _Question:
    """A batch of them: what is asked for, of what, and the right answers, each int64 [B]."""

    side: str
    entity: Tensor
    relation: Tensor
    right: Tensor


def _batch(rough: Rough, exact: Exact | None, asked: _Question, answers: _Answers) -> Tensor:
    """int64 [3, B]: how many score higher than the right one, how many as high, how many ranked."""
    pairs = torch.stack([asked.entity, asked.relation], 1)
    different, which = torch.unique_consecutive(pairs, dim=0, return_inverse=True)
    scores, slack = rough(asked.side, different[:, 0], different[:, 1])
    if not bool(slack.isfinite().all()):
        raise ValueError("a score is NaN or infinite: entities cannot be ranked by it")
    n, device = scores.shape[1], scores.device
    rows, others = answers.of(different[:, 0], different[:, 1])
    filtered = torch.bincount(rows, minlength=len(different))[which]
    right, which = asked.right.to(device), which.to(device)
    own = scores[which, right][:, None]
    # NaN is neither greater nor equal to anything, so what is masked with it is not ranked.
    scores.index_put_((rows.to(device), others.to(device)), scores.new_tensor(torch.nan))
    if len(different) < len(pairs):
        scores = scores[which]
    known = scores.gather(1, right[:, None]).isnan()[:, 0].cpu()  # or it is counted already
    scores.scatter_(1, right[:, None], torch.nan)
    greater, at, entity = _sides(scores, own, 2 * slack[which][:, None])  # both may err
    equal = torch.bincount(at, minlength=len(right))
    if exact is not None and len(at):
        more, equal = _settled(exact, asked, at, entity)
        greater += more
    return torch.stack([greater, equal, n - filtered + known])


def _sides(scores: Tensor, own: Tensor, wide: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """How many of each row lie above own + wide [B], and which within own +- wide: (row, column).

    scores: [B, n]. own, wide: [B, 1].
    """
    n = scores.shape[1]
    near = scores.new_zeros(len(scores), -(-n // 8) * 8, dtype=torch.bool)
    torch.ge(scores, own - wide, out=near[:, :n])
    above = scores > own + wide
    near[:, :n] ^= above
    # Few of them are set: eight are looked at at once, as one number.
    row, word = near.view(torch.int64).nonzero(as_tuple=True)
    hit, byte = near.view(len(scores), -1, 8)[row, word].nonzero(as_tuple=True)
    greater = above.sum(1, dtype=torch.int32).long()  # as int64 it is several times slower
    return greater.cpu(), row[hit].cpu(), (word[hit] * 8 + byte).cpu()


def _settled(exact: Exact, asked: _Question, at: Tensor, entity: Tensor) -> tuple[Tensor, Tensor]:
    """How many of the entities [A], as answers to the questions `at` [A], score higher, as high."""
    every = torch.cat([torch.arange(len(asked.right)), at])
    answers = torch.cat([asked.right, entity])
    scores = exact(asked.side, asked.entity[every], asked.relation[every], answers).cpu()
    mine, theirs = scores[: len(asked.right)][at], scores[len(asked.right) :]
    higher, level = at[theirs > mine], at[theirs == mine]
    size = len(asked.right)
    return torch.bincount(higher, minlength=size), torch.bincount(level, minlength=size)


class _Answers:
    """The right answers to (entity, relation), each once, looked up for a batch of questions."""

    def __init__(self, known: Tensor, given: int, asked: int, n_relations: int, n: int):
        self.n_relations = n_relations
        key = (known[:, given] * n_relations + known[:, 1]) * n + known[:, asked]
        key = key.unique()
        self.keys, self.values = key // n, key % n

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
