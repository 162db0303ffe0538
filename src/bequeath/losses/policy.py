"""What a word that was written did for the words after it: the returns of MiniLLM.

Gu, Dong, Wei, Huang, "MiniLLM: Knowledge Distillation of Large Language Models", 2023,
arXiv 2306.08543, section 2.2.
"""

from __future__ import annotations

import torch
from torch import Tensor


def later(reward: Tensor, where: Tensor, *, mean: bool) -> Tensor:
    """R_{t+1}: the rewards of all words after each, [B, T]; mean: over how many these are.

    reward: r_t = log p(y_t | .) - log q(y_t | .), [B, T]; where: bool [B, T], the words that count.
    0 behind the last word. The mean is the paper's length normalisation, without which the student
    learns to be short.
    """
    r, n = torch.where(where, reward, 0.0), where.to(reward.dtype)
    after = r.flip(1).cumsum(1).flip(1) - r
    if not mean:
        return torch.where(where, after, 0.0)
    left = n.flip(1).cumsum(1).flip(1) - n
    return torch.where(where & (left > 0), after / left.clamp_min(1), 0.0)


def mixed_weight(log_p: Tensor, log_q: Tensor, share: float) -> Tensor:
    """w_t = q(y_t) / (share p(y_t) + (1 - share) q(y_t)), of words drawn from that mixture.

    The paper's approximation: of the product over all words before it only the last factor, which
    has less variance. 1 where share is 0.
    """
    if share == 0:
        return torch.ones_like(log_q)
    return 1 / (share * (log_p - log_q).exp() + (1 - share))
