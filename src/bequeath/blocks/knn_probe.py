"""kNN probe: how well nearest neighbours tell the classes in a feature space, without training.

Also a score of how much a network that learnt one task suits another.
"""

from __future__ import annotations

import torch
from torch import Tensor

_CELLS = 4_000_000  # distances held at once


def knn_predict(known: Tensor, y: Tensor, asked: Tensor, k: int, n_classes: int) -> Tensor:
    """Classes of `asked` [M, d] by a vote of their k nearest in `known` [N, d], int64 [M].

    y: int64 [N]. Euclidean distances; k is at most N. A tied vote goes to the lower class.
    Never holds all M x N distances. ValueError when nothing is known or k < 1.
    """
    if not len(known) or k < 1:
        raise ValueError("at least one neighbour is needed")
    k = min(k, len(known))
    half = known.square().sum(1) / 2
    votes = []
    for part in asked.split(max(1, _CELLS // len(known))):
        near = (part @ known.T - half).topk(k, dim=1).indices
        count = torch.zeros(len(part), n_classes, device=part.device)
        count.scatter_add_(1, y[near], torch.ones_like(near, dtype=count.dtype))
        votes.append((count == count.amax(1, keepdim=True)).int().argmax(1))
    return torch.cat(votes) if votes else y.new_empty(0)


def knn_accuracy(
    features: Tensor, y: Tensor, k: int, generator: torch.Generator, held_out: float = 1 / 3
) -> float:
    """Share of a random held-out part that the k nearest of the rest classify right.

    features [N, d], y int64 [N] from 0 on. ValueError below 2 samples.
    """
    n = len(y)
    asked = max(1, round(n * held_out))
    if n < 2 or asked >= n:
        raise ValueError(f"{n} samples cannot be divided into known and held out")
    order = torch.randperm(n, generator=generator).to(y.device)
    test, train = order[:asked], order[asked:]
    said = knn_predict(features[train], y[train], features[test], k, int(y.max()) + 1)
    return float((said == y[test]).double().mean())
