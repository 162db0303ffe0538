"""Divergences between softened class distributions.

Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", 2015 (arXiv 1503.02531);
decoupled form: Zhao, Cui, Song, Qiu, Liang, "Decoupled Knowledge Distillation", CVPR 2022
(arXiv 2203.08679).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def soft_targets(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T^2 KL( softmax(z_T / T) || softmax(z_S / T) ), [B].

    student, teacher: logits [B, K]. T^2 keeps the size of the gradient independent of T
    (Hinton et al., section 2). Zero with zero gradient when the logits are equal.
    """
    log_s = F.log_softmax(student / temperature, dim=1)
    log_t = F.log_softmax(teacher / temperature, dim=1)
    return temperature**2 * kl(log_t, log_s)


def decoupled(
    student: Tensor, teacher: Tensor, y: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """(TCKD, NCKD), the two parts of the softened KL, each times T^2, each [B].

    With b = (p_y, 1 - p_y) and q the distribution over the classes other than y:
    TCKD = KL(b_T || b_S), NCKD = KL(q_T || q_S), and
    KL(p_T || p_S) = TCKD + (1 - p_T,y) NCKD (equation 6 of the paper).

    student, teacher: logits [B, K], K >= 2; y: classes [B]. With K = 2, NCKD is zero.
    """
    z_s, z_t = student / temperature, teacher / temperature
    tckd = kl(_target_or_not(z_t, y), _target_or_not(z_s, y))
    nckd = kl(
        F.log_softmax(_others(z_t, y), dim=1),
        F.log_softmax(_others(z_s, y), dim=1),
    )
    return temperature**2 * tckd, temperature**2 * nckd


def kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p || q) from log-probabilities [B, K], summed over classes: [B]. 0 log 0 = 0."""
    p = log_p.exp()
    return torch.where(p > 0, p * (log_p - log_q), 0.0).sum(dim=1)


def _target_or_not(logits: Tensor, y: Tensor) -> Tensor:
    """Logits [B, K] -> log(p_y), log(1 - p_y) as [B, 2], without cancellation."""
    target = logits.gather(1, y[:, None])
    rest = _others(logits, y).logsumexp(dim=1, keepdim=True)
    return F.log_softmax(torch.cat([target, rest], dim=1), dim=1)


def _others(logits: Tensor, y: Tensor) -> Tensor:
    """The logits of the classes other than y: [B, K - 1]."""
    # by position and not by a mask, whose size is data: this can be batched over models
    others = torch.arange(logits.shape[1] - 1, device=logits.device)
    return logits.gather(1, others + (others >= y[:, None]))
