"""Losses on how sure a prediction is: entropy, its mean over a batch, soft cross-entropy.

    H(p) = -sum_k p_k log p_k          0 for a sure answer, log K for none

Information maximisation wants each answer sure and all of them together diverse: Krause, Perona,
Gomes 2010; in source-free adaptation Liang, Hu, Feng 2020 (arXiv 2002.08546).
"""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn import functional as F


def entropy(logits: Tensor) -> Tensor:
    """H(softmax(logits)) in nats, [B]. logits: [B, K]."""
    log_p = F.log_softmax(logits, dim=1)
    return -(log_p.exp() * log_p).sum(dim=1)


def normalised_entropy(logits: Tensor) -> Tensor:
    """H / log K, between 0 and 1, [B]. logits: [B, K], K >= 2."""
    return entropy(logits) / math.log(logits.shape[1])


def marginal_entropy(logits: Tensor) -> Tensor:
    """H of the mean prediction of the batch, a 0-d tensor, in nats; log K when all occur alike.

    It is no mean over samples: of an accumulated step it is the mean over the micro-batches.
    """
    p = F.softmax(logits, dim=1).mean(dim=0)
    return -(p * (p + 1e-12).log()).sum()


def soft_cross_entropy(logits: Tensor, targets: Tensor, eps: float = 0.0) -> Tensor:
    """-sum_k t_k log(p_k + eps), [B].

    logits: [B, K]. targets: probabilities [B, K], through which no gradient passes. eps bounds a
    term at -log eps (GLC: 1e-5); at 0 it is computed from the logits.
    """
    log_p = F.log_softmax(logits, dim=1)
    if eps:
        log_p = (log_p.exp() + eps).log()
    return -(targets.detach() * log_p).sum(dim=1)
