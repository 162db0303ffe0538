"""Metrics where some samples are of classes the model never learnt.

A model of C classes answers one of them, or "unknown" where it is not sure enough. A sample is
known (its class is one of the C) or unknown.

    known_accuracy     mean over the known classes that occur of the share answered right; an answer
                       "unknown" is wrong
    unknown_accuracy   share of the unknown that are answered "unknown"
    h_score            2 a b / (a + b) of these two: 0 where one of them is (Fu et al. 2020)
    unknown_auroc      probability that an unknown sample scores higher than a known one, ties half;
                       no threshold in it
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def known_terms(pred: Tensor, y: Tensor) -> Tensor:
    """float64 [N] whose mean over the numbers is the mean accuracy of the known classes.

    pred: int64 [N], -1 for "unknown". y: int64 [N], -1 for unknown samples, which get NaN. Right
    answers count N_known / (classes * samples of the class). ValueError without a known sample.
    """
    known = y >= 0
    if not bool(known.any()):
        raise ValueError("no sample is of a known class")
    counts = torch.bincount(y[known]).double()
    classes = int((counts > 0).sum())
    weight = int(known.sum()) / (classes * counts[y.clamp_min(0)])
    return torch.where(known, (pred == y) * weight, torch.nan)


def unknown_terms(pred: Tensor, y: Tensor) -> Tensor:
    """float64 [N] whose mean over the numbers is the share of unknown samples rejected."""
    unknown = y < 0
    if not bool(unknown.any()):
        raise ValueError("no sample is of an unknown class")
    return torch.where(unknown, (pred < 0).double(), torch.nan)


def h_score(known: float, unknown: float) -> float:
    """The harmonic mean of two shares; 0 where one of them is."""
    return 2 * known * unknown / (known + unknown) if known > 0 and unknown > 0 else 0.0


def auroc(score: Tensor, positive: Tensor) -> float:
    """P(score of a positive > score of a negative) + P(equal) / 2.

    score: float [N]. positive: bool [N]. ValueError unless both occur.
    """
    n1, n0 = int(positive.sum()), int((~positive).sum())
    if not n1 or not n0:
        raise ValueError("both sorts of samples are needed")
    _, inverse, counts = torch.unique(score.double(), return_inverse=True, return_counts=True)
    ends = counts.cumsum(0)
    ranks = (ends - counts + 1 + ends).double() / 2  # equal scores share their mean rank
    total = float(ranks[inverse[positive]].sum())
    return (total - n1 * (n1 + 1) / 2) / (n1 * n0)


def rejected(entropy: Tensor, threshold: float) -> Tensor:
    """bool [N]: whose normalised entropy is above the threshold. NaN is refused (ValueError)."""
    if bool(entropy.isnan().any()) or math.isnan(threshold):
        raise ValueError("an entropy is not a number")
    return entropy > threshold
