"""The loss of a true triple against false ones that weigh by how true they seem.

    L = 1/2 [ - sum_b u_b log sigma(s_b) / sum u  -  sum_b u_b sum_i w_bi log sigma(-s_bi) / sum u ]
    w_b = softmax_i(alpha s_bi), without gradient; 1/N for alpha = 0

with s the score of a triple (of a distance model the margin is in it) and u_b how much a triple
counts. Sun et al. 2019 (RotatE), arXiv 1902.10197.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def self_adversarial(
    true: Tensor, false: Tensor, alpha: float, valid: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """(loss of the true triple, loss of its false ones), each [B]; u and 1/2 are the caller's.

    true: scores [B]. false: scores [B, N]. alpha: 0 weighs all alike. valid: bool [B, N], false
    triples that count (None: all); a row of none loses nothing.
    """
    losses = -F.logsigmoid(-false)
    if valid is None and alpha == 0:
        return -F.logsigmoid(true), losses.mean(1)
    seeming = alpha * false.detach()
    if valid is not None:
        seeming = seeming.masked_fill(~valid, -torch.inf)
    weights = seeming.softmax(1)
    if valid is not None:  # a row of -inf has no softmax
        weights = weights.masked_fill(~valid, 0.0)
    return -F.logsigmoid(true), (weights * losses).sum(1)


def subsampling(triples: Tensor, n_relations: int, start: int = 4) -> Tensor:
    """u of each training triple, float32 [N]: (count(h, r) + count(t, r^-1))^(-1/2).

    Triples of often asked questions count less. The first occurrence counts `start` (4 in the
    authors' code), each further one 1. triples: int64 [N, 3].
    """
    both = torch.full((len(triples),), 2 * (start - 1), device=triples.device)
    for end in (0, 2):
        key = triples[:, end] * n_relations + triples[:, 1]
        _, place, count = torch.unique(key, return_inverse=True, return_counts=True)
        both += count[place]
    return both.to(torch.float32).rsqrt()
