"""Which entities are near which: pools of candidates from text vectors, by chance, or from a graph.

A pool is a list of entities; every entity points to one pool, and many may share it. Pools by text:

    Z = PCA_p(E);  K-means on Z -> centres m_k;  pool(e) = members of the q centres nearest to Z_e

with Euclidean distance to the centres, not to the entities.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Pools:
    """of: int64 [n], the pool of each entity. starts: int64 [P + 1], members: int64 [M]; pool p
    holds members[starts[p] : starts[p + 1]], in rising order where they come from here."""

    of: Tensor
    starts: Tensor
    members: Tensor

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def sizes(self) -> Tensor:
        """int64 [n], the size of each entity's pool."""
        return self.bounds(torch.arange(len(self.of), device=self.of.device))[1]

    def bounds(self, entities: Tensor) -> tuple[Tensor, Tensor]:
        """(where their pools begin in `members`, sizes), each int64 of the shape of `entities`."""
        pool = self.of[entities]
        low = self.starts[pool]
        return low, self.starts[pool + 1] - low

    def pool(self, entity: int) -> Tensor:
        """The members of one entity's pool."""
        p = int(self.of[entity])
        return self.members[int(self.starts[p]) : int(self.starts[p + 1])]

    def to(self, device: torch.device | str) -> Pools:
        return Pools(self.of.to(device), self.starts.to(device), self.members.to(device))


def everyone(n: int) -> Pools:
    """One pool of all n entities: uniform sampling."""
    return Pools(torch.zeros(n, dtype=torch.int64), torch.tensor([0, n]), torch.arange(n))


def reduced(vectors: np.ndarray, dimensions: int) -> np.ndarray:
    """PCA of text vectors [n, D] -> float64 [n, p], centred; p is at most min(n, D)."""
    from sklearn.decomposition import PCA

    p = min(dimensions, *vectors.shape)
    with warnings.catch_warnings():  # all texts alike: nothing varies, which is no error here
        warnings.simplefilter("ignore", RuntimeWarning)
        return PCA(p, random_state=0).fit_transform(vectors.astype(np.float64))


def clustered(points: np.ndarray, clusters: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """K-means (k-means++, 10 restarts, 300 iterations): (cluster of each [n], centres [K, p]).

    Where fewer points differ than clusters are asked for, some clusters are empty.
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = KMeans(clusters, n_init=10, max_iter=300, random_state=seed).fit(points)
    return found.labels_.astype(np.int64), found.cluster_centers_


def nearest_clusters(
    points: np.ndarray, labels: np.ndarray, centres: np.ndarray, nearest: int
) -> Pools:
    """The pool of e: members of the `nearest` clusters whose centres are nearest to points[e].

    points: [n, p]. labels: int [n]. centres: [K, p]. Equal distances go by cluster number.
    """
    from scipy.spatial.distance import cdist

    order = np.argsort(cdist(points, centres), axis=1, kind="stable")[:, :nearest]
    unions, of = np.unique(np.sort(order, axis=1), axis=0, return_inverse=True)
    pools = [np.flatnonzero(np.isin(labels, union)) for union in unions]
    return _packed(torch.from_numpy(of.reshape(-1).astype(np.int64)), pools)


def shuffled(pools: Pools, generator: torch.Generator) -> Pools:
    """Pools of the same sizes for the same entities, with members by chance.

    One random renaming of all entities: what a pool's size alone does, without its meaning.
    """
    names = torch.randperm(len(pools.of), generator=generator)
    return replace(pools, members=names[pools.members])


def within_hops(triples: Tensor, n: int, hops: int) -> Pools:
    """The pool of e: entities reached from e in 1 to `hops` steps along any relation, either way.

    triples: int64 [N, 3]. An entity alone has an empty pool. Source of the idea: SANS, Ahrabian et
    al. 2020, arXiv 2009.11355.
    """
    from scipy.sparse import csr_array, eye_array

    h, t = triples[:, 0].numpy(), triples[:, 2].numpy()
    ones = np.ones(2 * len(h), dtype=bool)
    edges = (ones, (np.concatenate([h, t]), np.concatenate([t, h])))
    step = (csr_array(edges, shape=(n, n)) + eye_array(n, dtype=bool, format="csr")).astype(bool)
    reach = step
    for _ in range(hops - 1):
        reach = (reach @ step).astype(bool)
    reach = reach.tolil()
    reach.setdiag(False)
    found = reach.tocsr()
    found.eliminate_zeros()
    found.sort_indices()
    starts, members = found.indptr.astype(np.int64), found.indices.astype(np.int64)
    return Pools(torch.arange(n), torch.from_numpy(starts), torch.from_numpy(members))


def _packed(of: Tensor, pools: list[np.ndarray]) -> Pools:
    starts = np.concatenate([[0], np.cumsum([len(pool) for pool in pools])]).astype(np.int64)
    members = np.concatenate(pools).astype(np.int64)
    return Pools(of, torch.from_numpy(starts), torch.from_numpy(members))
