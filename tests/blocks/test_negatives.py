"""Negatives lie in their pool, are never known to be true, and fall back only when they must."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import chisquare

from bequeath.blocks.negatives import (
    NegativeSampler,
    TrueTriples,
    cosine_at_least,
    head_share,
)
from bequeath.blocks.neighbourhoods import Pools, clustered, everyone, nearest_clusters

N, R = 30, 3


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def triples(count: int = 300, seed: int = 0) -> torch.Tensor:
    drawn = torch.rand(count, 3, generator=seeded(seed)) * torch.tensor([N, R, N])
    return torch.unique(drawn.long(), dim=0)


def text_pools(seed: int = 0) -> Pools:
    z = torch.randn(N, 2, generator=seeded(seed)).numpy()
    return nearest_clusters(z, *clustered(z, 6), 2)


def lists(rows: list[list[int]]) -> Pools:
    starts = torch.tensor([0, *torch.tensor([len(row) for row in rows]).cumsum(0).tolist()])
    return Pools(torch.arange(len(rows)), starts, torch.tensor([i for row in rows for i in row]))


def test_membership_is_exact():
    some = triples()
    true, known = TrueTriples(some, N, R), set(map(tuple, some.tolist()))
    every = torch.cartesian_prod(torch.arange(N), torch.arange(R), torch.arange(N))
    expected = torch.tensor([tuple(row) in known for row in every.tolist()])
    assert torch.equal(true(*every.unbind(1)), expected) and bool(expected.any())
    nothing = TrueTriples(some[:0], N, R)
    assert not bool(nothing(*every.unbind(1)).any())


@pytest.mark.parametrize("anchor", ["kept", "replaced"])
@pytest.mark.parametrize("tail", [True, False])
def test_negatives_lie_in_the_pool_and_are_not_known(anchor, tail):
    train, pools = triples(), text_pools()
    sampler = NegativeSampler(pools, train, N, R, anchor=anchor)
    entity, fell, valid = sampler.draw(train, tail, 12, seeded(1))
    known = set(map(tuple, train.tolist()))
    assert valid is None and entity.shape == (len(train), 12)
    for (h, r, t), drawn, fallback in zip(train.tolist(), entity.tolist(), fell.tolist()):
        pool = pools.pool(h if tail == (anchor == "kept") else t).tolist()
        left = [e for e in pool if ((h, r, e) if tail else (e, r, t)) not in known]
        assert all(((h, r, e) if tail else (e, r, t)) not in known for e in drawn)
        # back to everyone if and only if the pool has nothing left
        assert fallback == [not left] * 12
        if left:
            assert set(drawn) <= set(left)
    assert sampler.notes()["fallback_share"] == float(fell.double().mean())


def test_pools_without_anything_left_fall_back_and_are_counted():
    train = torch.tensor([[0, 0, 1], [0, 0, 2], [3, 0, 1]])
    pools = lists([[1, 2], [0], [0], []])  # of 0: truths only; of 3: nothing at all
    sampler = NegativeSampler(pools, train, 4, 1)
    entity, fell, valid = sampler.draw(train, True, 50, seeded())
    assert bool(fell.all()) and valid is None
    assert set(entity[:2].flatten().tolist()) == {0, 3}
    assert set(entity[2].tolist()) == {0, 2, 3}
    assert sampler.notes() == {
        "negatives_drawn": 150,
        "fallback_share": 1.0,
        "impossible_share": 0.0,
    }


def test_a_question_that_everyone_answers_has_no_negative():
    train = torch.tensor([[0, 0, 0], [0, 0, 1], [0, 0, 2], [1, 0, 2]])
    sampler = NegativeSampler(everyone(3), train, 3, 1)
    _, _, valid = sampler.draw(train, True, 4, seeded())
    assert valid is not None and valid.tolist() == [[False] * 4] * 3 + [[True] * 4]
    assert sampler.notes()["impossible_share"] == 0.75


def test_one_cluster_is_uniform_in_distribution():
    train = triples(60)
    z = torch.randn(N, 2, generator=seeded()).numpy()
    pools = nearest_clusters(z, *clustered(z, 1), 1)
    sampler = NegativeSampler(pools, train, N, R)
    one = train[:1]
    entity, fell, _ = sampler.draw(one, True, 30_000, seeded(2))
    true = {t for h, r, t in train.tolist() if (h, r) == tuple(one[0, :2].tolist())}
    counts = torch.bincount(entity.flatten(), minlength=N)
    assert all(counts[t] == 0 for t in true) and not bool(fell.any())
    left = [int(counts[e]) for e in range(N) if e not in true]
    assert chisquare(left).pvalue > 1e-3


def test_what_is_left_of_a_pool_is_drawn_evenly():
    """Also where nearly all of a pool is true, so that chance seldom finds the rest."""
    train = torch.tensor([[0, 0, t] for t in range(27)])
    sampler = NegativeSampler(lists([list(range(N))] * N), train, N, 1)
    entity, fell, _ = sampler.draw(train[:1].expand(3000, 3), True, 3, seeded())
    assert not bool(fell.any())
    counts = torch.bincount(entity.flatten(), minlength=N)
    assert int(counts[:27].sum()) == 0 and chisquare(counts[27:].tolist()).pvalue > 1e-3


def test_the_same_seed_draws_the_same():
    train = triples()
    first, second, other = (
        NegativeSampler(text_pools(), train, N, R).draw(train, True, 5, seeded(s))[0]
        for s in (1, 1, 2)
    )
    assert torch.equal(first, second) and not torch.equal(first, other)


def test_counts_go_into_the_state():
    train = triples()
    sampler = NegativeSampler(text_pools(), train, N, R)
    sampler.draw(train, True, 5, seeded())
    again = NegativeSampler(text_pools(), train, N, R)
    again.load_state_dict(sampler.state_dict())
    assert again.notes() == sampler.notes() and again.notes()["negatives_drawn"] > 0


def test_cosine_keeps_candidates_in_the_anchors_direction():
    z = torch.randn(N, 2, generator=seeded(), dtype=torch.float64)
    train = triples(40)
    sampler = NegativeSampler(everyone(N), train, N, R, accept=cosine_at_least(z, 0.7))
    entity, fell, _ = sampler.draw(train, False, 8, seeded())
    cosine = torch.cosine_similarity(z[train[:, 2]][:, None], z[entity], dim=-1)
    assert bool((cosine[~fell] >= 0.7 - 1e-12).all()) and not bool(fell.all())


def test_the_head_is_replaced_where_it_has_fewer_right_answers():
    # relation 0: one head, four tails; relation 1: one to one; relation 2: never seen
    train = torch.tensor([[0, 0, 1], [0, 0, 2], [0, 0, 3], [0, 0, 4], [1, 1, 2], [2, 1, 3]])
    assert head_share(train, 3).tolist() == pytest.approx([4 / 5, 1 / 2, 1 / 2])
