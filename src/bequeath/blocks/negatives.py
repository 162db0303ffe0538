"""False triples to learn from: candidates from pools, none of them known to be true.

For a triple (h, r, t) whose tail is replaced, candidates come from the pool of the entity that
stays (`kept`, h) or of the one that goes (`replaced`, t); those that make a training triple are
drawn again. Only when nothing in the pool is left are all entities drawn from, and that is counted:
with many such falls a sampler is the uniform one under another name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from bequeath.blocks.neighbourhoods import Pools, everyone

_ROUNDS = 4  # redraws of what was refused, before the rest of a pool is listed
_MIX = -7046029254386353131  # 2^64 over the golden ratio, as int64: spreads keys over the table

# (anchor, candidate) -> bool, whether it may be taken from the anchor's pool; shapes broadcast
Accept = Callable[[Tensor, Tensor], Tensor]


class TrueTriples:
    """Membership in a set of triples, int64 [M, 3]: exact, and quick for what is not in it."""

    def __init__(self, triples: Tensor, n_entities: int, n_relations: int):
        self.n, self.r = n_entities, n_relations
        self.keys = self._key(triples[:, 0], triples[:, 1], triples[:, 2]).unique()  # sorted
        bits = max(4, (16 * max(1, len(self.keys))).bit_length())
        self.shift, self.mask = 64 - bits, 2**bits - 1
        # One byte a place; a key that is in the set always finds its place taken.
        self.taken = torch.zeros(2**bits, dtype=torch.bool, device=triples.device)
        self.taken[self._place(self.keys)] = True

    def __call__(self, h: Tensor, r: Tensor, t: Tensor) -> Tensor:
        """Whether (h, r, t) is in the set, bool of their common shape."""
        key = self._key(h, r, t)
        found = self.taken[self._place(key)]
        rest = key[found]
        at = torch.searchsorted(self.keys, rest).clamp_(max=len(self.keys) - 1)
        found[found.clone()] = self.keys[at] == rest
        return found

    def _key(self, h: Tensor, r: Tensor, t: Tensor) -> Tensor:
        return (h * self.r + r) * self.n + t

    def _place(self, key: Tensor) -> Tensor:
        return ((key * _MIX) >> self.shift) & self.mask


class NegativeSampler(nn.Module):
    """Draws the entities that take the place of heads or tails.

    pools: where candidates come from. train: int64 [M, 3], the triples that are never returned.
    anchor: whose pool it is, that of the entity `kept` or of the one `replaced`. accept: what else
    a candidate from a pool must satisfy.

    What it counts is in buffers, so it goes on counting after a stop if it is trained along.
    """

    drawn: Tensor
    fallen: Tensor
    impossible: Tensor

    def __init__(
        self,
        pools: Pools,
        train: Tensor,
        n_entities: int,
        n_relations: int,
        *,
        anchor: Literal["kept", "replaced"] = "kept",
        accept: Accept | None = None,
    ):
        super().__init__()
        self.anchor, self.accept = anchor, accept
        self.pools, self.all = pools, everyone(n_entities).to(train.device)
        self.true = TrueTriples(train, n_entities, n_relations)
        for name in ("drawn", "fallen", "impossible"):
            self.register_buffer(name, torch.zeros((), dtype=torch.int64, device=train.device))

    @torch.no_grad()
    def draw(
        self, triples: Tensor, tail: bool, count: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """(entities [B, count], whether each fell back on all entities, which are negatives).

        triples: int64 [B, 3]. tail: whether the tail is replaced, or the head. The third is None
        when all are, as always in a graph with more than a handful of entities: a question that
        every entity answers has no negative.
        """
        h, r, t = triples.unbind(1)
        kept, replaced = (h, t) if tail else (t, h)
        asked = _Asked(kept, r, kept if self.anchor == "kept" else replaced, tail, self.accept)
        low, size = self.pools.bounds(asked.anchor)
        at = _numbers((len(h), count), generator) % size.clamp(min=1)[:, None]
        entity = self.pools.members[(low[:, None] + at).clamp(max=len(self.pools.members) - 1)]
        wanted = ~self._good(asked.each(), entity) | (size == 0)[:, None]
        self._fill(entity, wanted, self.pools, asked, generator)
        fell = wanted.clone()
        self._fill(entity, wanted, self.all, replace(asked, accept=None), generator)
        self.drawn += entity.numel()
        self.fallen += fell.sum()
        self.impossible += wanted.sum()
        return entity, fell, ~wanted if bool(wanted.any()) else None

    def notes(self) -> dict[str, Any]:
        """What was counted, shares being of all that was drawn.

        fallback_share: from all entities, because a pool had nothing to give. impossible_share:
        left empty, because every entity is a right answer.
        """
        drawn = max(1, int(self.drawn))
        return {
            "negatives_drawn": int(self.drawn),
            "fallback_share": int(self.fallen) / drawn,
            "impossible_share": int(self.impossible) / drawn,
        }

    def _fill(
        self,
        entity: Tensor,
        wanted: Tensor,
        pools: Pools,
        asked: _Asked,
        generator: torch.Generator,
    ) -> None:
        """Fill the wanted places from the pools; those that stay wanted have nothing to take."""
        low, size = pools.bounds(asked.anchor)
        for _ in range(_ROUNDS):
            rows, columns = wanted.nonzero(as_tuple=True)
            if not len(rows):
                return
            at = _numbers((len(rows),), generator) % size[rows].clamp(min=1)
            picked = pools.members[(low[rows] + at).clamp(max=len(pools.members) - 1)]
            good = self._good(asked.at(rows), picked) & (size[rows] > 0)
            entity[rows[good], columns[good]] = picked[good]
            wanted[rows[good], columns[good]] = False
        for some in wanted.any(1).nonzero().flatten().split(64):
            self._fill_listed(entity, wanted, pools, some, asked, generator)

    def _fill_listed(
        self,
        entity: Tensor,
        wanted: Tensor,
        pools: Pools,
        some: Tensor,
        asked: _Asked,
        generator: torch.Generator,
    ) -> None:
        """The same for the rows `some`, which chance did not fill, from all there is to take."""
        low, size = pools.bounds(asked.anchor[some])
        owner = torch.arange(len(some), device=some.device).repeat_interleave(size)
        within = torch.arange(len(owner), device=some.device)
        within -= (size.cumsum(0) - size).repeat_interleave(size)
        listed = pools.members[low[owner] + within]
        good = self._good(asked.at(some[owner]), listed)
        owner, listed = owner[good], listed[good]
        left = torch.bincount(owner, minlength=len(some))
        rows, columns = wanted[some].nonzero(as_tuple=True)
        number = _numbers((len(rows),), generator) % left[rows].clamp(min=1)
        there = left[rows] > 0
        rows, columns, number = rows[there], columns[there], number[there]
        entity[some[rows], columns] = listed[(left.cumsum(0) - left)[rows] + number]
        wanted[some[rows], columns] = False

    def _good(self, asked: _Asked, candidate: Tensor) -> Tensor:
        ends = (asked.kept, asked.relation, candidate)
        good = ~(self.true(*ends) if asked.tail else self.true(*reversed(ends)))
        return good if asked.accept is None else good & asked.accept(asked.anchor, candidate)


@dataclass(frozen=True)
class _Asked:
    """Questions (kept, relation, ?), or (?, relation, kept) unless `tail`; all int64 [B]."""

    kept: Tensor
    relation: Tensor
    anchor: Tensor
    tail: bool
    accept: Accept | None

    def at(self, rows: Tensor) -> _Asked:
        ends = (self.kept[rows], self.relation[rows], self.anchor[rows])
        return _Asked(*ends, self.tail, self.accept)

    def each(self) -> _Asked:
        """To be held against candidates [B, n]."""
        ends = (self.kept[:, None], self.relation[:, None], self.anchor[:, None])
        return _Asked(*ends, self.tail, self.accept)


def cosine_at_least(points: Tensor, least: float) -> Accept:
    """Accepts candidates whose cosine with the anchor in `points` [n, p] is `least` or more."""
    unit = nn.functional.normalize(points, dim=1)

    def accept(anchor: Tensor, candidate: Tensor) -> Tensor:
        return (unit[anchor] * unit[candidate]).sum(-1) >= least

    return accept


def head_share(train: Tensor, n_relations: int) -> Tensor:
    """The probability of replacing the head, float32 [R]: tails per head / (that + heads per tail).

    Bernoulli sampling (Wang et al. 2014, TransH): the side with fewer true answers is replaced
    more often, so fewer negatives are true unknown to us.
    """
    pairs_hr = torch.unique(train[:, :2], dim=0)[:, 1]
    pairs_rt = torch.unique(train[:, 1:], dim=0)[:, 0]
    triples, heads, tails = (
        torch.bincount(column, minlength=n_relations).to(torch.float32)
        for column in (train[:, 1], pairs_hr, pairs_rt)
    )
    per_head, per_tail = triples / heads.clamp(min=1), triples / tails.clamp(min=1)
    return torch.where(triples > 0, per_head / (per_head + per_tail), torch.full_like(triples, 0.5))


def _numbers(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Random whole numbers wide enough that `% size` favours nobody by more than 1e-12."""
    return torch.randint(2**62, shape, generator=generator, device=generator.device)
