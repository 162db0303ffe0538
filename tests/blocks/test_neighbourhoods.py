"""Pools of entities: by distance to the centres, by chance with the same sizes, by steps."""

from __future__ import annotations

import numpy as np
import torch

from bequeath.blocks.neighbourhoods import (
    clustered,
    everyone,
    nearest_clusters,
    reduced,
    shuffled,
    within_hops,
)


def points(n: int = 60, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, 2))


def test_pools_are_the_members_of_the_nearest_clusters():
    z = points()
    labels, centres = clustered(z, 7)
    for q in (1, 3):
        pools = nearest_clusters(z, labels, centres, q)
        for e in range(len(z)):
            near = sorted(range(7), key=lambda k: np.linalg.norm(z[e] - centres[k]))[:q]
            assert pools.pool(e).tolist() == [i for i in range(len(z)) if labels[i] in near]
            assert pools.sizes[e] == len(pools.pool(e))
    assert torch.equal(pools.sizes, nearest_clusters(z, labels, centres, 3).sizes)


def test_all_clusters_are_everyone():
    z = points()
    labels, centres = clustered(z, 4)
    pools = nearest_clusters(z, labels, centres, 4)
    assert len(pools) == 1 and torch.equal(pools.members, everyone(60).members)
    assert torch.equal(pools.of, everyone(60).of)


def test_shuffled_pools_keep_their_sizes():
    z = points()
    labels, centres = clustered(z, 6)
    pools = nearest_clusters(z, labels, centres, 2)
    other = shuffled(pools, torch.Generator().manual_seed(1))
    assert torch.equal(other.sizes, pools.sizes)
    assert not torch.equal(other.members, pools.members)
    for e in (0, 17, 59):
        assert len(set(other.pool(e).tolist())) == len(pools.pool(e))
    # one renaming for all pools: entities that shared pools still do, under other names
    names = torch.randperm(60, generator=torch.Generator().manual_seed(1))
    assert torch.equal(other.members, names[pools.members])


def test_pca_is_centred_and_keeps_the_directions_of_most_variance():
    x = np.random.default_rng(0).standard_normal((80, 5)) * np.array([1, 9, 1, 5, 1]) + 3
    z = reduced(x, 2)
    assert z.shape == (80, 2) and np.abs(z.mean(0)).max() < 1e-9
    values = np.linalg.eigvalsh(np.cov(x.T))[::-1]
    np.testing.assert_allclose(z.var(0, ddof=1), values[:2], rtol=1e-6)
    assert reduced(x[:3], 100).shape == (3, 3)
    assert np.isfinite(reduced(np.ones((4, 3)), 2)).all()


def test_equal_points_leave_clusters_empty():
    labels, centres = clustered(np.zeros((10, 2)), 3)
    pools = nearest_clusters(np.zeros((10, 2)), labels, centres, 3)
    assert pools.sizes.tolist() == [10] * 10


def test_hops_against_a_walk():
    triples = torch.tensor([[0, 0, 1], [1, 0, 2], [2, 1, 3], [4, 0, 0], [5, 0, 5]])
    near: dict[int, set[int]] = {i: set() for i in range(7)}
    for h, _, t in triples.tolist():
        near[h].add(t)
        near[t].add(h)
    for hops in (1, 2, 3):
        pools = within_hops(triples, 7, hops)
        for e in range(7):
            reach, edge = {e}, {e}
            for _ in range(hops):
                edge = {other for name in edge for other in near[name]} - reach
                reach |= edge
            assert pools.pool(e).tolist() == sorted(reach - {e}), (hops, e)
    assert pools.pool(6).tolist() == []
