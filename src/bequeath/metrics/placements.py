"""The area under a ROC curve as a mean over samples, and its interval.

DeLong, DeLong, Clarke-Pearson, "Comparing the Areas under Two or More Correlated Receiver Operating
Characteristic Curves: A Nonparametric Approach", Biometrics 44, 1988.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor


class Area(NamedTuple):
    """auc with the ends of its interval, 0..1; terms: one a member, whose mean is auc, [M]."""

    auc: float
    low: float
    high: float
    terms: Tensor


def area(members: Tensor, nonmembers: Tensor, z: float = 1.959964) -> Area:
    """The chance that a member scores higher than a non-member, a tie counting one half.

    members [M], nonmembers [N]: scores. A member's term is the share of non-members below it. The
    interval is normal on the logit of the area, `z` standard errors to each side (DeLong's), so
    that it stays within 0..1; without any overlap it is that of half a pair out of place.
    ValueError when a side is empty or not finite.
    """
    inside, outside = members.double().flatten(), nonmembers.double().flatten()
    if not len(inside) or not len(outside):
        raise ValueError("both sides need a score")
    if not bool(inside.isfinite().all() and outside.isfinite().all()):
        raise ValueError("a score is not finite")
    above, below = _shares_below(inside, outside), 1 - _shares_below(outside, inside)
    auc = float(above.mean())
    pairs = len(inside) * len(outside)
    safe = min(max(auc, 0.5 / pairs), 1 - 0.5 / pairs)
    spread = sum(float(v.var()) / len(v) for v in (above, below) if len(v) > 1)
    error = max(math.sqrt(spread), 0.5 / pairs) / (safe * (1 - safe))
    middle = math.log(safe / (1 - safe))
    low, high = (1 / (1 + math.exp(-(middle + sign * z * error))) for sign in (-1, 1))
    return Area(auc, min(low, auc), max(high, auc), above)


def _shares_below(scores: Tensor, others: Tensor) -> Tensor:
    """For each score the share of the others below it, a tie counting one half."""
    rising = others.sort().values
    low = torch.searchsorted(rising, scores, right=False)
    high = torch.searchsorted(rising, scores, right=True)
    return (low + high).double() / (2 * len(rising))
