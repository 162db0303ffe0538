"""Losses on the norm and the direction of penultimate features.

Wang et al., "Improving Knowledge Distillation via Regularizing Feature Norm and Direction", 2023
(arXiv 2305.17007). Notation: f_S, f_T features [B, d]; e unit class means of the teacher [B, d]
(the row of each sample's label).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def norm_and_direction(f_s: Tensor, f_t: Tensor, e: Tensor) -> Tensor:
    """L_ND = 1 - <f_S, e> / max(|f_S|, |f_T|), [B], in [0, 2].

    A student shorter than its teacher is pulled to grow along e (the gradient is -e / |f_T|); a
    longer one is only turned, for then this is 1 - cos. The maximum is not detached: that is what
    makes the second case a cosine. Zero only for f_S parallel to e and at least as long as f_T.
    """
    longest = torch.maximum(f_s.norm(dim=1), f_t.norm(dim=1))
    return 1 - (f_s * e).sum(dim=1) / longest.clamp_min(torch.finfo(f_s.dtype).tiny)


def direction_only(f_s: Tensor, e: Tensor) -> Tensor:
    """1 - cos(f_S, e), [B]: the ablation without the norm."""
    return 1 - F.cosine_similarity(f_s, e, dim=1)


def stepwise_larger_norm(f_s: Tensor, step: float) -> Tensor:
    """(|f_S| - (sg|f_S| + r))^2, [B]: the ablation without the direction.

    The stepwise adaptive feature norm of Xu et al., "Larger Norm More Transferable", ICCV 2019.
    Its value is r^2 at any f_S; its gradient, -2 r f_S / |f_S|, is what it is for.
    """
    norm = f_s.norm(dim=1)
    return (norm - (norm.detach() + step)) ** 2


def squared_distance(f_s: Tensor, f_t: Tensor) -> Tensor:
    """|f_S - f_T|^2 / d, [B]: plain feature imitation."""
    return (f_s - f_t).square().mean(dim=1)
