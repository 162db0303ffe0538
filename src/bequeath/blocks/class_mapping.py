"""Which classes of a source do the samples of a target look like: a histogram, and its top.

Zhang et al. 2023, arXiv 2310.08782 (DP4TL): each target input votes for one source class, by a
classifier of the source classes (label mapping) or by the nearest class mean in feature space
(feature mapping). No label of the target is used.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


def votes_by_label(logits: Iterable[Tensor], n_classes: int) -> Tensor:
    """Label mapping: votes of each source class, int64 [K], from batches of logits [B, K].

    Of equal logits the lower class gets the vote. The order of the samples does not matter.
    """
    votes = torch.zeros(n_classes, dtype=torch.int64)
    for batch in logits:
        votes += torch.bincount(batch.argmax(1).cpu(), minlength=n_classes)
    return votes


def votes_by_feature(features: Iterable[Tensor], centres: Tensor) -> Tensor:
    """Feature mapping: votes int64 [K] of the nearest of the centres [K, d], Euclidean.

    features: batches [B, d]. A centre that is not finite (a class without samples) gets none.
    """
    votes = torch.zeros(len(centres), dtype=torch.int64)
    there = centres.isfinite().all(1).nonzero()[:, 0].cpu()
    known = centres[there].double()
    for batch in features:
        nearest = torch.cdist(batch.double(), known.to(batch.device)).argmin(1).cpu()
        votes += torch.bincount(there[nearest], minlength=len(centres))
    return votes


def ranked(votes: Tensor, generator: torch.Generator) -> Tensor:
    """Classes by falling votes, int64 [K]; among equal votes (often 0) in a random order.

    One order for all cuts, so the kept classes are nested as more are kept.
    """
    shuffled = torch.randperm(len(votes), generator=generator)
    return shuffled[torch.argsort(votes[shuffled], descending=True, stable=True)]


def rows_of_classes(y: Tensor, classes: Tensor) -> Tensor:
    """Positions of all samples of these classes, ascending, int64; whole classes, never parts."""
    return torch.isin(y, classes.to(y.device)).nonzero()[:, 0].cpu()
